package v1beta1_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// The least that each kind takes, as a person would write it.
const (
	leastMachine = `
slots: 2
memoryMiB: 4096
image: kubernetes-v1.36.3`
	leastCluster = `
network:
  managed:
    cidr: 10.20.0.0/24`
	leastCleanup = `
clientUID: 11111111-2222-3333-4444-555555555555
host: host-a
vmName: vm-a
owner: {kind: ElementoMachine, name: m}`
)

// object makes an object of a kind from its spec in YAML and changes to it: each
// sets a field, named by its path, to a value, or removes it if the value is nil.
func object(t *testing.T, kind, namespace, spec string, set map[string]any) *unstructured.Unstructured {
	t.Helper()
	fields := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		t.Fatal(err)
	}
	for path, value := range set {
		steps := strings.Split(path, ".")
		if value == nil {
			unstructured.RemoveNestedField(fields, steps...)
			continue
		}
		// Through YAML, so that numbers and lists are what a manifest makes of them.
		text, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := yaml.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(fields, plain, steps...); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasSuffix(kind, "Template") {
		fields = map[string]any{"template": map[string]any{"spec": fields}}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
	u.SetGroupVersionKind(infrav1.GroupVersion.WithKind(kind))
	u.SetNamespace(namespace)
	u.SetGenerateName("x-")
	return u
}

func TestWrongObjectsAreRefusedWithAReasonThatHelps(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	machine := func(path string, value any) map[string]any { return map[string]any{path: value} }
	for _, test := range []struct {
		name, kind, spec string
		set              map[string]any
		// says are parts of the message: where it is, and what is wrong.
		says []string
	}{
		{"no slots at all", "ElementoMachine", leastMachine, machine("slots", nil), []string{"spec.slots", "Required"}},
		{"0 slots", "ElementoMachine", leastMachine, machine("slots", 0), []string{"spec.slots", "greater than or equal to 1"}},
		{"257 slots", "ElementoMachine", leastMachine, machine("slots", 257), []string{"spec.slots", "less than or equal to 256"}},
		{"slots that are a word", "ElementoMachine", leastMachine, machine("slots", "two"), []string{"spec.slots", "must be of type integer"}},
		{"an overprovision of 11", "ElementoMachine", leastMachine, machine("overprovision", 11), []string{"spec.overprovision", "less than or equal to 10"}},
		{"an overprovision of 0", "ElementoMachine", leastMachine, machine("overprovision", 0), []string{"spec.overprovision", "greater than or equal to 1"}},
		{"no memory", "ElementoMachine", leastMachine, machine("memoryMiB", nil), []string{"spec.memoryMiB", "Required"}},
		{"too little memory", "ElementoMachine", leastMachine, machine("memoryMiB", 127), []string{"spec.memoryMiB", "greater than or equal to 128"}},
		{"an unknown architecture", "ElementoMachine", leastMachine, machine("architecture", "amd64"), []string{"spec.architecture", `"amd64"`, `"X86_64"`, `"ARM_8"`}},
		{"no image", "ElementoMachine", leastMachine, machine("image", nil), []string{"spec.image", "Required"}},
		{"an empty image", "ElementoMachine", leastMachine, machine("image", ""), []string{"spec.image"}},
		{"an image with a blank", "ElementoMachine", leastMachine, machine("image", "ubuntu 24"), []string{"spec.image"}},
		{"an image with a slash", "ElementoMachine", leastMachine, machine("image", "images/ubuntu"), []string{"spec.image", "A-Za-z0-9"}},
		{"more memory than a daemon takes", "ElementoMachine", leastMachine, machine("memoryMiB", 1<<30+1), []string{"spec.memoryMiB", "less than or equal to 1073741824"}},
		{"a data volume like a boot volume", "ElementoMachine", leastMachine, machine("dataVolumes", []map[string]any{{"name": "x-boot", "sizeGiB": 1}}), []string{"spec.dataVolumes[0].name", "must not end in -boot or -seed"}},
		{"a data volume like a seed", "ElementoMachine", leastMachine, machine("dataVolumes", []map[string]any{{"name": "x-seed", "sizeGiB": 1}}), []string{"spec.dataVolumes[0].name", "must not end in -boot or -seed"}},
		{"a data volume like one of another VM", "ElementoMachineTemplate", leastMachine, machine("dataVolumes", []map[string]any{{"name": "a-data-b", "sizeGiB": 1}}), []string{"spec.template.spec.dataVolumes[0].name", "nor contain -data-"}},
		{"a CPU flag in capitals", "ElementoMachine", leastMachine, machine("cpuFlags", []string{"AVX2"}), []string{"spec.cpuFlags[0]"}},
		{"a CPU flag twice", "ElementoMachine", leastMachine, machine("cpuFlags", []string{"avx2", "avx2"}), []string{"spec.cpuFlags[1]", "Duplicate"}},
		{"a PCI vendor in capitals", "ElementoMachine", leastMachine, machine("pciDevices", []map[string]any{{"vendor": "10DE", "model": "2684"}}), []string{"spec.pciDevices[0].vendor", "four digits of lower-case hex, such as 10de"}},
		{"a PCI model with a prefix", "ElementoMachine", leastMachine, machine("pciDevices", []map[string]any{{"vendor": "10de", "model": "0x26"}}), []string{"spec.pciDevices[0].model", "four digits of lower-case hex, such as 2684"}},
		{"a PCI device without a model", "ElementoMachine", leastMachine, machine("pciDevices", []map[string]any{{"vendor": "10de"}}), []string{"spec.pciDevices[0].model", "Required"}},
		{"no PCI devices of a kind", "ElementoMachine", leastMachine, machine("pciDevices", []map[string]any{{"vendor": "10de", "model": "2684", "quantity": 0}}), []string{"spec.pciDevices[0].quantity", "greater than or equal to 1"}},
		{"a PCI device twice", "ElementoMachine", leastMachine, machine("pciDevices", []map[string]any{{"vendor": "10de", "model": "2684"}, {"vendor": "10de", "model": "2684"}}), []string{"spec.pciDevices[1]", "Duplicate"}},
		{"a boot volume of nothing", "ElementoMachine", leastMachine, machine("bootVolume", map[string]any{"sizeGiB": 0}), []string{"spec.bootVolume.sizeGiB", "greater than or equal to 1"}},
		{"an unknown bus", "ElementoMachine", leastMachine, machine("bootVolume", map[string]any{"bus": "nvme"}), []string{"spec.bootVolume.bus", `"nvme"`, `"virtio"`}},
		{"an unknown disk format", "ElementoMachine", leastMachine, machine("bootVolume", map[string]any{"format": "vmdk"}), []string{"spec.bootVolume.format", `"vmdk"`, `"qcow2"`}},
		{"a data volume without a size", "ElementoMachine", leastMachine, machine("dataVolumes", []map[string]any{{"name": "a"}}), []string{"spec.dataVolumes[0].sizeGiB", "Required"}},
		{"two data volumes of a name", "ElementoMachine", leastMachine, machine("dataVolumes", []map[string]any{{"name": "a", "sizeGiB": 1}, {"name": "a", "sizeGiB": 2}}), []string{"spec.dataVolumes[1]", "Duplicate"}},
		{"an unknown firmware", "ElementoMachine", leastMachine, machine("firmware", "UEFI"), []string{"spec.firmware", `"UEFI"`, `"uefi"`}},
		{"a provider ID of another provider", "ElementoMachine", leastMachine, machine("providerID", "docker:////a"), []string{"spec.providerID", "elemento://"}},
		{"a VM name in capitals", "ElementoMachine", leastMachine, machine("vmName", "A"), []string{"spec.vmName"}},
		{"a misspelled domain", "ElementoMachine", leastMachine, machine("domain", "rack 1"), []string{"spec.domain"}},

		{"0 slots in a template", "ElementoMachineTemplate", leastMachine, machine("slots", 0), []string{"spec.template.spec.slots", "greater than or equal to 1"}},
		{"a VM name in a template", "ElementoMachineTemplate", leastMachine, machine("vmName", "a"), []string{"spec.template.spec", "remove them from the template"}},
		{"a host in a template", "ElementoMachineTemplate", leastMachine, machine("host", "a"), []string{"spec.template.spec", "remove them from the template"}},
		{"a provider ID in a template", "ElementoMachineTemplate", leastMachine, machine("providerID", "elemento://a/b"), []string{"spec.template.spec", "remove them from the template"}},

		{"no network", "ElementoCluster", leastCluster, machine("network", nil), []string{"spec.network", "Required"}},
		{"a network that is neither named nor managed", "ElementoCluster", leastCluster, machine("network", map[string]any{}), []string{"spec.network", "give the name of a network that exists on the hosts, or managed"}},
		{"a CIDR that is none", "ElementoCluster", leastCluster, machine("network.managed.cidr", "10.20.0.0.0"), []string{"spec.network.managed.cidr", "such as 10.20.0.0/24"}},
		{"a CIDR with host bits", "ElementoCluster", leastCluster, machine("network.managed.cidr", "10.20.0.1/24"), []string{"spec.network.managed.cidr", "without host bits"}},
		{"a CIDR of IPv6", "ElementoCluster", leastCluster, machine("network.managed.cidr", "fd00:1234::/64"), []string{"spec.network.managed.cidr", "IPv4"}},
		{"a CIDR too small for machines", "ElementoCluster", leastCluster, machine("network.managed.cidr", "10.20.0.0/30"), []string{"spec.network.managed.cidr", "from /8 to /28"}},
		{"an unknown network mode", "ElementoCluster", leastCluster, machine("network.managed.mode", "nat"), []string{"spec.network.managed.mode", `"nat"`, `"NAT"`}},
		{"a NAT network over two domains", "ElementoCluster", leastCluster, map[string]any{"network.managed.mode": "NAT", "domains": []string{"a", "b"}}, []string{"spec", "cannot span domains"}},
		{"a domain twice", "ElementoCluster", leastCluster, machine("domains", []string{"a", "a"}), []string{"spec.domains[1]", "Duplicate"}},
		{"a virtual IP on a NAT network", "ElementoCluster", leastCluster, map[string]any{"network.managed.mode": "NAT", "endpointMode": "VIP"}, []string{"spec", "needs a bridged network"}},
		{"a virtual IP outside of its network", "ElementoCluster", leastCluster, map[string]any{"endpointMode": "VIP", "controlPlaneEndpoint": map[string]any{"host": "10.21.0.254", "port": 6443}},
			[]string{"spec.controlPlaneEndpoint.host", "must be an address of network.managed.cidr"}},
		{"an unknown endpoint mode", "ElementoCluster", leastCluster, machine("endpointMode", "LoadBalancer"), []string{"spec.endpointMode", `"LoadBalancer"`, `"Forward"`}},
		{"an endpoint without a port", "ElementoCluster", leastCluster, machine("controlPlaneEndpoint", map[string]any{"host": "a"}), []string{"spec.controlPlaneEndpoint.port", "Required"}},
		{"an endpoint's host without the endpoint", "ElementoCluster", leastCluster, machine("endpointHost", "a"), []string{"spec", "endpointHost is written by the provider"}},
		{"an identity that the admission policy would not know", "ElementoCluster", leastCluster, machine("identityRef", map[string]any{"name": "credentials"}), []string{"spec.identityRef.name", "must be elemento-identity or end in -elemento-identity"}},

		{"an endpoint in a template", "ElementoClusterTemplate", leastCluster, machine("controlPlaneEndpoint", map[string]any{"host": "a", "port": 6443}), []string{"spec.template.spec", "belong to one cluster"}},
		{"a client UUID in a template", "ElementoClusterTemplate", leastCluster, machine("clientUID", "a"), []string{"spec.template.spec", "belong to one cluster"}},
		{"a managed network with a name in a template", "ElementoClusterTemplate", leastCluster, machine("network.name", "a"), []string{"spec.template.spec", "belongs to one cluster"}},

		{"a cleanup of nothing", "ElementoCleanup", leastCleanup, machine("vmName", nil), []string{"spec", "exactly one"}},
		{"a cleanup of two things", "ElementoCleanup", leastCleanup, machine("networkName", "n"), []string{"spec", "exactly one"}},
		{"a cleanup of no host", "ElementoCleanup", leastCleanup, machine("host", nil), []string{"spec.host", "Required"}},
		{"a cleanup of no one", "ElementoCleanup", leastCleanup, machine("owner", nil), []string{"spec.owner", "Required"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := api.Create(t.Context(), object(t, test.kind, ns, test.spec, test.set))
			if !apierrors.IsInvalid(err) {
				t.Fatalf("got %v, want it refused as invalid", err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message does not say %q:\n%v", part, err)
				}
			}
		})
	}
}

func TestTheLeastThatIsNeededIsEnough(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	for kind, spec := range map[string]string{
		"ElementoMachine":         leastMachine,
		"ElementoMachineTemplate": leastMachine,
		"ElementoCluster":         leastCluster,
		"ElementoClusterTemplate": leastCluster,
		"ElementoCleanup":         leastCleanup,
	} {
		if err := api.Create(t.Context(), object(t, kind, ns, spec, nil)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestAnEndpointThatIsNoAddressOfAManagedNetworkIsTakenWhereItMayBe(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	endpoint := func(host string) map[string]any { return map[string]any{"host": host, "port": 6443} }
	for name, set := range map[string]map[string]any{
		"a virtual IP of the network":             {"endpointMode": "VIP", "controlPlaneEndpoint": endpoint("10.20.0.254")},
		"a virtual IP by its name":                {"endpointMode": "VIP", "controlPlaneEndpoint": endpoint("api.example.com")},
		"a virtual IP that is still to come":      {"endpointMode": "VIP"},
		"a virtual IP of a network that is there": {"endpointMode": "VIP", "controlPlaneEndpoint": endpoint("10.21.0.254"), "network": map[string]any{"name": "lan"}},
		"an address made by someone else":         {"endpointMode": "External", "controlPlaneEndpoint": endpoint("10.21.0.254")},
	} {
		if err := api.Create(t.Context(), object(t, "ElementoCluster", ns, leastCluster, set)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsLeftOutGetsItsDefault(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	m := object(t, "ElementoMachine", ns, leastMachine, map[string]any{
		"dataVolumes": []map[string]any{{"name": "a", "sizeGiB": 5}},
		"pciDevices":  []map[string]any{{"vendor": "10de", "model": "2684"}},
	})
	if err := api.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var machine infrav1.ElementoMachine
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(m), &machine); err != nil {
		t.Fatal(err)
	}
	s := machine.Spec
	if s.Overprovision != 1 || s.Architecture != infrav1.ArchitectureX8664 || s.Firmware != infrav1.FirmwareUEFI ||
		s.BootVolume != (infrav1.BootVolume{SizeGiB: 20, Bus: "virtio", Format: "qcow2"}) ||
		s.DataVolumes[0] != (infrav1.DataVolume{Name: "a", SizeGiB: 5, Bus: "virtio", Format: "qcow2"}) ||
		s.PCIDevices[0].Quantity != 1 {
		t.Errorf("machine has %+v", s)
	}
	c := object(t, "ElementoCluster", ns, leastCluster, map[string]any{"identityRef": map[string]any{"name": ""}})
	if err := api.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var cluster infrav1.ElementoCluster
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(c), &cluster); err != nil {
		t.Fatal(err)
	}
	if cluster.Spec.EndpointMode != infrav1.EndpointModeForward || cluster.Spec.Network.Managed.Mode != infrav1.NetworkModeBridged {
		t.Errorf("cluster has %+v", cluster.Spec)
	}
}

// change updates an object by a function, as a client that has read it would.
func change(t *testing.T, o client.Object, f func()) error {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	before := o.DeepCopyObject().(client.Object)
	f()
	return api.Patch(t.Context(), o, client.MergeFrom(before))
}

func wantRefused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want it refused as invalid", err)
		return
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q:\n%v", part, err)
		}
	}
}

func newMachine(t *testing.T) *infrav1.ElementoMachine {
	t.Helper()
	m := &infrav1.ElementoMachine{Spec: infrav1.ElementoMachineSpec{Slots: 2, MemoryMiB: 4096, Image: "kubernetes"}}
	m.Namespace, m.GenerateName = namespace(t), "m-"
	if err := api.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAMachinesIdentityIsWrittenOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if err := change(t, m, func() {
		m.Spec.VMName, m.Spec.ProviderID, m.Spec.Domain = "vm-a", "elemento://rack-1/vm-a", "rack-1"
	}); err != nil {
		t.Fatalf("writing it for the first time: %v", err)
	}
	wantRefused(t, change(t, m, func() { m.Spec.VMName = "vm-b" }), "spec.vmName", "cannot be changed once it is set")
	wantRefused(t, change(t, m, func() { m.Spec.VMName = "" }), "spec.vmName", "cannot be changed once it is set")
	wantRefused(t, change(t, m, func() { m.Spec.ProviderID = "elemento://rack-1/vm-b" }), "spec.providerID", "cannot be changed once it is set")
	wantRefused(t, change(t, m, func() { m.Spec.ProviderID = "" }), "spec.providerID", "cannot be changed once it is set")
	wantRefused(t, change(t, m, func() { m.Spec.Domain = "rack-2" }), "spec.domain", "cannot be changed once it is set")
	wantRefused(t, change(t, m, func() { m.Spec.Domain = "" }), "spec.domain", "cannot be changed once it is set")
}

func TestAMachinesHostCanBeWrittenAnew(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, host := range []string{"host-a", "host-b", ""} {
		if err := change(t, m, func() { m.Spec.Host = host }); err != nil {
			t.Fatalf("host %q: %v", host, err)
		}
	}
}

func TestAMachineCanBeMendedUntilItsVMExists(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if err := change(t, m, func() { m.Spec.Image, m.Spec.Slots = "kubernetes-v1.36.3", 4 }); err != nil {
		t.Fatalf("before there is a VM: %v", err)
	}
	m.Status.VMUID = "uid-1"
	if err := api.Status().Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	const hint = "change the machine template"
	for name, f := range map[string]func(){
		"slots":         func() { m.Spec.Slots = 8 },
		"fullPhysical":  func() { m.Spec.FullPhysical = true },
		"overprovision": func() { m.Spec.Overprovision = 2 },
		"memoryMiB":     func() { m.Spec.MemoryMiB = 8192 },
		"requireECC":    func() { m.Spec.RequireECC = true },
		"architecture":  func() { m.Spec.Architecture = infrav1.ArchitectureARM8 },
		"cpuFlags":      func() { m.Spec.CPUFlags = []string{"avx2"} },
		"pciDevices":    func() { m.Spec.PCIDevices = []infrav1.PCIDevice{{Vendor: "10de", Model: "2684"}} },
		"firmware":      func() { m.Spec.Firmware = infrav1.FirmwareBIOS },
		"image":         func() { m.Spec.Image = "other" },
		"bootVolume":    func() { m.Spec.BootVolume.SizeGiB = 40 },
		"dataVolumes":   func() { m.Spec.DataVolumes = []infrav1.DataVolume{{Name: "a", SizeGiB: 1}} },
		"networks":      func() { m.Spec.Networks = []infrav1.MachineNetwork{{Name: "a"}} },
		"tags":          func() { m.Spec.Tags = []string{"a"} },
	} {
		wantRefused(t, change(t, m, f), name, hint)
	}
	if err := change(t, m, func() { m.Spec.Host, m.Labels = "host-b", map[string]string{"a": "b"} }); err != nil {
		t.Errorf("a new host and label: %v", err)
	}
}

func newCluster(t *testing.T, spec infrav1.ElementoClusterSpec) *infrav1.ElementoCluster {
	t.Helper()
	c := &infrav1.ElementoCluster{Spec: spec}
	c.Namespace, c.GenerateName = namespace(t), "c-"
	if err := api.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClustersEndpointIsWrittenOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, infrav1.ElementoClusterSpec{Network: infrav1.ClusterNetwork{Managed: infrav1.ManagedNetwork{CIDR: "10.20.0.0/24"}}})
	if err := change(t, c, func() {
		c.Spec.ControlPlaneEndpoint = infrav1.APIEndpoint{Host: "192.0.2.1", Port: 6443}
		c.Spec.EndpointHost = "host-a"
	}); err != nil {
		t.Fatalf("writing it for the first time: %v", err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.ControlPlaneEndpoint.Port = 6444 }), "spec.controlPlaneEndpoint", "cannot be changed once it is set")
	wantRefused(t, change(t, c, func() { c.Spec.ControlPlaneEndpoint = infrav1.APIEndpoint{} }), "spec.controlPlaneEndpoint", "cannot be changed once it is set")
	if err := change(t, c, func() { c.Spec.ClientUID = "a" }); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.ClientUID = "b" }), "spec.clientUID", "cannot be changed once it is set")
	wantRefused(t, change(t, c, func() { c.Spec.EndpointHost = "host-b" }), "spec.endpointHost", "cannot be changed once it is set")
	wantRefused(t, change(t, c, func() { c.Spec.EndpointMode = infrav1.EndpointModeExternal }), "spec.endpointMode", "cannot be changed")
}

func TestAManagedNetworkIsNamedOnceAndMendedUntilItIsInUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t, infrav1.ElementoClusterSpec{Network: infrav1.ClusterNetwork{Managed: infrav1.ManagedNetwork{CIDR: "10.20.0.0/24", Mode: infrav1.NetworkModeNAT}}})
	if err := change(t, c, func() { c.Spec.Network.Name = "net-a" }); err != nil {
		t.Fatalf("naming it: %v", err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.Network.Name = "net-b" }), "spec.network.name", "cannot be changed")
	wantRefused(t, change(t, c, func() { c.Spec.Network.Name = "" }), "spec.network.name", "cannot be changed")
	wantRefused(t, change(t, c, func() { c.Spec.Network.Managed = infrav1.ManagedNetwork{} }), "spec.network.managed", "neither added nor removed")
	if err := change(t, c, func() { c.Spec.Network.Managed.Mode = infrav1.NetworkModeBridged }); err != nil {
		t.Fatalf("before it is in use: %v", err)
	}
	provisioned := true
	c.Status.Initialization.Provisioned = &provisioned
	if err := api.Status().Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.Network.Managed.CIDR = "10.21.0.0/24" }), "spec.network.managed", "cannot be changed any more")
	wantRefused(t, change(t, c, func() { c.Spec.Network.Managed.Mode = infrav1.NetworkModeNAT }), "spec.network.managed", "cannot be changed any more")
}

func TestAGivenNetworkCanBeCorrectedUntilItIsInUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t, infrav1.ElementoClusterSpec{Network: infrav1.ClusterNetwork{Name: "lna"}})
	if err := change(t, c, func() { c.Spec.Network.Name = "lan" }); err != nil {
		t.Fatalf("before it is in use: %v", err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.Network.Managed.CIDR = "10.20.0.0/24" }), "spec.network.managed", "neither added nor removed")
	provisioned := true
	c.Status.Initialization.Provisioned = &provisioned
	if err := api.Status().Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, change(t, c, func() { c.Spec.Network.Name = "lan-2" }), "spec.network.name", "cannot be changed any more")
}

func TestACleanupDoesNotChange(t *testing.T) {
	t.Parallel()
	c := object(t, "ElementoCleanup", namespace(t), leastCleanup, nil)
	if err := api.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	cleanup := &infrav1.ElementoCleanup{}
	cleanup.Namespace, cleanup.Name = c.GetNamespace(), c.GetName()
	wantRefused(t, change(t, cleanup, func() { cleanup.Spec.VMName = "vm-b" }), "spec", "cannot be changed")
	if err := change(t, cleanup, func() { cleanup.Finalizers = []string{infrav1.CleanupFinalizer} }); err != nil {
		t.Errorf("adding a finalizer: %v", err)
	}
	if err := change(t, cleanup, func() { cleanup.Finalizers = nil }); err != nil {
		t.Errorf("removing a finalizer: %v", err)
	}
}
