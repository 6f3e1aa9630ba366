package daemon

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Bounds of requests.
const (
	maxSlots         = 256
	maxOverprovision = 10
	minMemoryMiB     = 128
	maxMemoryMiB     = 1 << 30
	maxVolumeGiB     = 1 << 16
	maxDataVolumes   = 32
	maxNetworks      = 16
	maxPCIDevices    = 32
	maxFlags         = 64
	maxTags          = 64
	maxUserData      = 1 << 20
	maxMetaData      = 64 << 10
)

var (
	vmNames  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	images   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+:~@-]{0,252}$`)
	flags    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)
	pciIDs   = regexp.MustCompile(`^[0-9a-f]{4}$`)
	metaKeys = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,63}$`)
)

// invalid is the failure of a request whose field is wrong.
func invalid(field, format string, args ...any) error {
	return failf(rpc.Reason_REASON_INVALID_REQUEST, "", "%s: %s", field, fmt.Sprintf(format, args...))
}

// check runs checks in order and returns the first that fails.
func check(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

func matches(field, value string, pattern *regexp.Regexp, what string) error {
	if value == "" {
		return invalid(field, "missing; give %s", what)
	}
	if !pattern.MatchString(value) {
		return invalid(field, "%q is not %s", value, what)
	}
	return nil
}

func within[N uint32 | uint64](field string, value, least, most N) error {
	if value < least || value > most {
		return invalid(field, "%d is out of range %d–%d", value, least, most)
	}
	return nil
}

func oneOf(field, value string, known ...string) error {
	if value != "" && !slices.Contains(known, value) {
		return invalid(field, "%q is not known; use one of %s", value, strings.Join(known, ", "))
	}
	return nil
}

func atMost(field string, n, most int) error {
	if n > most {
		return invalid(field, "%d of them; at most %d are possible", n, most)
	}
	return nil
}

func checkClient(req interface{ GetClientUid() string }) error {
	return matches("client_uid", req.GetClientUid(), clientUIDs, "a client UUID")
}

func checkVM(req aboutVM) error {
	return check(checkClient(req), checkHost("host", req.GetHost()), checkVMName("vm_name", req.GetVmName()))
}

func checkHost(field, id string) error {
	return matches(field, id, names, "the id of a host")
}

func checkVMName(field, name string) error {
	return matches(field, name, vmNames, "a name of at most 63 lower case letters, digits and '-'")
}

func checkDomains(domains []string) error {
	if len(domains) == 0 {
		return invalid("domains", "missing; name at least one")
	}
	for i, d := range domains {
		if err := matches(fmt.Sprintf("domains[%d]", i), d, names, "the name of a domain"); err != nil {
			return err
		}
	}
	return nil
}

func checkPlaceVM(req *rpc.PlaceVMRequest) error {
	if req.Role != rpc.Role_ROLE_CONTROL_PLANE && req.Role != rpc.Role_ROLE_WORKER {
		return invalid("role", "missing; say whether it is a control plane or a worker")
	}
	return check(checkClient(req), matches("domain", req.Domain, names, "the name of a domain"), checkVMName("vm_name", req.VmName), checkSpec(req.Spec))
}

func checkEnsureVM(req *rpc.EnsureVMRequest) error {
	if err := check(checkVM(req), checkSpec(req.Spec)); err != nil {
		return err
	}
	// Nothing of the content may get into a message.
	if n := len(req.UserData); n == 0 || n > maxUserData {
		return invalid("user_data", "%d bytes; give 1 to %d", n, maxUserData)
	}
	size := 0
	for k, v := range req.MetaData {
		if err := matches("meta_data", k, metaKeys, "a key of letters, digits, '_', '-' and '.'"); err != nil {
			return err
		}
		size += len(k) + len(v)
	}
	if size > maxMetaData {
		return invalid("meta_data", "%d bytes; at most %d are possible", size, maxMetaData)
	}
	return nil
}

func checkSpec(spec *rpc.VMSpec) error {
	if spec == nil {
		return invalid("spec", "missing")
	}
	err := check(
		within("spec.slots", spec.Slots, 1, maxSlots),
		within("spec.max_overprovision", spec.MaxOverprovision, 1, maxOverprovision),
		within("spec.memory_mib", spec.MemoryMib, minMemoryMiB, maxMemoryMiB),
		oneOf("spec.architecture", spec.Architecture, c4.Architectures...),
		oneOf("spec.firmware", spec.Firmware, "bios", "uefi"),
		matches("spec.image", spec.Image, images, "the name of a boot image"),
		atMost("spec.cpu_flags", len(spec.CpuFlags), maxFlags),
		atMost("spec.pci_devices", len(spec.PciDevices), maxPCIDevices),
		atMost("spec.data_volumes", len(spec.DataVolumes), maxDataVolumes),
		atMost("spec.networks", len(spec.Networks), maxNetworks),
		atMost("spec.tags", len(spec.Tags), maxTags),
	)
	if err != nil {
		return err
	}
	for i, f := range spec.CpuFlags {
		if err := matches(fmt.Sprintf("spec.cpu_flags[%d]", i), f, flags, "a CPU flag"); err != nil {
			return err
		}
	}
	for i, d := range spec.PciDevices {
		at := fmt.Sprintf("spec.pci_devices[%d]", i)
		err := check(
			matches(at+".vendor", d.GetVendor(), pciIDs, "four digits of lower case hex"),
			matches(at+".model", d.GetModel(), pciIDs, "four digits of lower case hex"),
			within(at+".quantity", d.GetQuantity(), 1, 64),
		)
		if err != nil {
			return err
		}
	}
	for i, tag := range spec.Tags {
		if tag == "" || len(tag) > 253 {
			return invalid(fmt.Sprintf("spec.tags[%d]", i), "give 1 to 253 characters")
		}
	}
	if spec.BootVolume.GetName() != "" {
		return invalid("spec.boot_volume.name", "a boot volume has no name of its own")
	}
	if err := checkVolume("spec.boot_volume", spec.BootVolume); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, v := range spec.DataVolumes {
		at := fmt.Sprintf("spec.data_volumes[%d]", i)
		if err := checkDataVolume(at, v); err != nil {
			return err
		}
		if seen[v.Name] {
			return invalid(at+".name", "%q is there twice", v.Name)
		}
		seen[v.Name] = true
	}
	seen = map[string]bool{}
	for i, n := range spec.Networks {
		at := fmt.Sprintf("spec.networks[%d]", i)
		if err := checkNetwork(at, n); err != nil {
			return err
		}
		if seen[n.Name] {
			return invalid(at+".name", "%q is there twice", n.Name)
		}
		seen[n.Name] = true
	}
	return nil
}

func checkVolume(field string, v *rpc.Volume) error {
	if v == nil {
		return invalid(field, "missing")
	}
	return check(
		within(field+".size_gib", v.SizeGib, 1, maxVolumeGiB),
		oneOf(field+".bus", v.Bus, "virtio", "sata", "ide", "scsi"),
		oneOf(field+".format", v.Format, "qcow2", "raw"),
	)
}

func checkDataVolume(field string, v *rpc.Volume) error {
	return check(checkVolume(field, v), checkDataVolumeNamed(field+".name", v.GetName()))
}

func checkDataVolumeNamed(field, name string) error {
	if wrong := checkDataVolumeName(name); wrong != "" {
		return invalid(field, "%q; %s", name, wrong)
	}
	return nil
}

func checkNetworkName(field, name string) error {
	return matches(field, name, names, "the name of a network")
}

func checkNetwork(field string, n *rpc.NetworkSpec) error {
	if n == nil {
		return invalid(field, "missing")
	}
	if err := checkNetworkName(field+".name", n.Name); err != nil {
		return err
	}
	if !managed(n) {
		return nil
	}
	p, err := netip.ParsePrefix(n.Cidr)
	if err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() < 8 || p.Bits() > 28 {
		return invalid(field+".cidr", "%q is not an IPv4 network from /8 to /28 without host bits, such as 10.20.0.0/24", n.Cidr)
	}
	if n.Mode != rpc.NetworkMode_NETWORK_MODE_BRIDGED && n.Mode != rpc.NetworkMode_NETWORK_MODE_NAT {
		return invalid(field+".mode", "missing; say whether the network is bridged or NAT")
	}
	return nil
}

func checkSetVMPower(req *rpc.SetVMPowerRequest) error {
	if wishedStates[req.Action] == nil {
		return invalid("action", "missing; ask for on, off or reboot")
	}
	return checkVM(req)
}

func checkAttachVolume(req *rpc.AttachVolumeRequest) error {
	return check(checkVM(req), checkDataVolume("volume", req.Volume))
}

func checkDetachVolume(req *rpc.DetachVolumeRequest) error {
	return check(checkVM(req), checkDataVolumeNamed("volume_name", req.VolumeName))
}

func checkAttachNetwork(req *rpc.AttachNetworkRequest) error {
	return check(checkVM(req), checkNetwork("network", req.Network))
}

func checkDetachNetwork(req *rpc.DetachNetworkRequest) error {
	return check(checkVM(req), checkNetworkName("network_name", req.NetworkName))
}

func checkEnsureNetwork(req *rpc.EnsureNetworkRequest) error {
	if err := check(checkClient(req), checkNetwork("network", req.Network), checkDomains(req.Domains)); err != nil {
		return err
	}
	if !managed(req.Network) {
		return invalid("network.cidr", "missing; only a managed network can be made")
	}
	return nil
}

func checkDeleteNetwork(req *rpc.DeleteNetworkRequest) error {
	return check(checkClient(req), checkNetworkName("network_name", req.NetworkName), checkDomains(req.Domains))
}

func checkPort(field string, port uint32) error { return within(field, port, 1, 65535) }

func checkEndpoint(e *rpc.Endpoint) error {
	return check(checkHost("endpoint.host", e.GetHost()), checkPort("endpoint.port", e.GetPort()))
}

func checkReserveEndpoint(req *rpc.ReserveEndpointRequest) error {
	return check(checkClient(req), checkDomains(req.Domains), checkPort("port", req.Port))
}

func checkEnsureForward(req *rpc.EnsureForwardRequest) error {
	if port := req.Endpoint.GetPort(); slices.Contains(taken, port) {
		return invalid("endpoint.port", "%d is a port of the host's own, for its management; choose another one, such as 6443", port)
	}
	return check(checkClient(req), checkEndpoint(req.Endpoint), checkHost("target_host", req.TargetHost),
		checkVMName("target_vm_name", req.TargetVmName), checkPort("target_port", req.TargetPort))
}

func checkDeleteForward(req *rpc.DeleteForwardRequest) error {
	return check(checkClient(req), checkEndpoint(req.Endpoint))
}
