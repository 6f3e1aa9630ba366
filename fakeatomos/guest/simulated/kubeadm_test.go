package simulated

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/cloudinit"
)

func TestExtraArgsAreReadInBothVersions(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"a":"1","b":""}`, `[{"name":"a","value":"1"},{"name":"b","value":""}]`} {
		var args extraArgs
		if err := json.Unmarshal([]byte(text), &args); err != nil || !maps.Equal(args, extraArgs{"a": "1", "b": ""}) {
			t.Errorf("%s is read as %v, %v", text, args, err)
		}
	}
	var args extraArgs
	if err := json.Unmarshal([]byte(`7`), &args); err == nil {
		t.Error("a number is read as arguments")
	}
}

func TestCommandNamesTheConfiguration(t *testing.T) {
	t.Parallel()
	join := []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery: {bootstrapToken: {token: t, caCertHashes: [h]}}\ncontrolPlane: {}\n")
	for _, command := range []string{
		"kubeadm join --config /k.yaml", "kubeadm join --v=5 --config=/k.yaml", `kubeadm join --config "/k.yaml" && echo done`,
		"sleep 1; kubeadm join --config /k.yaml --v 5",
	} {
		p, err := planOf(&cloudinit.Machine{Commands: []string{"echo first", command}, Files: map[string][]byte{"/k.yaml": join}})
		if err != nil || p == nil || p.join.Token != "t" || p.api == nil || p.api.port() != 6443 {
			t.Errorf("%s: %+v, %v", command, p, err)
		}
	}
	for _, command := range []string{"echo kubeadm", "kubeadm reset", "notkubeadm join --config /k.yaml"} {
		if p, err := planOf(&cloudinit.Machine{Commands: []string{command}}); p != nil || err != nil {
			t.Errorf("%s: %+v, %v", command, p, err)
		}
	}
}

func TestLabelsAndTaintsFollowKubeadm(t *testing.T) {
	t.Parallel()
	taint := corev1.Taint{Key: "own", Effect: corev1.TaintEffectNoExecute}
	role := corev1.Taint{Key: controlPlaneRole, Effect: corev1.TaintEffectNoSchedule}
	for name, test := range map[string]struct {
		p    plan
		want []corev1.Taint
	}{
		"a worker":                        {plan{}, nil},
		"a control plane":                 {plan{api: &localAPIEndpoint{}}, []corev1.Taint{role}},
		"a control plane without taints":  {plan{api: &localAPIEndpoint{}, node: nodeRegistration{Taints: &[]corev1.Taint{}}}, nil},
		"a control plane with its own":    {plan{api: &localAPIEndpoint{}, node: nodeRegistration{Taints: &[]corev1.Taint{taint}}}, []corev1.Taint{taint}},
		"a worker with a kubelet's taint": {plan{node: nodeRegistration{KubeletExtraArgs: extraArgs{"register-with-taints": "own=:NoExecute"}}}, []corev1.Taint{taint}},
	} {
		if _, got := labelsAndTaints(&test.p, "n"); !slices.Equal(got, test.want) {
			t.Errorf("%s has the taints %v, not %v", name, got, test.want)
		}
	}
	labels, _ := labelsAndTaints(&plan{node: nodeRegistration{KubeletExtraArgs: extraArgs{"node-labels": "a=1, b=,c"}}}, "n")
	if labels["a"] != "1" || labels[corev1.LabelHostname] != "n" {
		t.Errorf("labels are %v", labels)
	}
}

func TestClusterConfigurationFillsItsGaps(t *testing.T) {
	t.Parallel()
	own := netip.MustParseAddrPort("127.1.2.3:6443")
	for endpoint, want := range map[string]string{"": "127.1.2.3:6443", "10.0.0.1:8443": "10.0.0.1:8443", "api.example.com": "api.example.com:6443"} {
		if got := (&clusterConfiguration{ControlPlaneEndpoint: endpoint}).endpoint(own); got != want {
			t.Errorf("endpoint %q is %q, not %q", endpoint, got, want)
		}
	}
	var config clusterConfiguration
	if got := serviceAddress(&config); got != "10.96.0.1" {
		t.Errorf("the service address is %s", got)
	}
	config.Networking.ServiceSubnet = "10.128.0.0/12,fd00::/112"
	if got := serviceAddress(&config); got != "10.128.0.1" {
		t.Errorf("the service address is %s", got)
	}
	config.KubernetesVersion = "v1.34.2"
	if got := config.coreDNSImage(); got != "registry.k8s.io/coredns/coredns:v1.12.1" {
		t.Errorf("the DNS image is %s", got)
	}
	config.ImageRepository, config.DNS.ImageTag = "registry.example.com/", "v9"
	if got := config.coreDNSImage(); got != "registry.example.com/coredns:v9" {
		t.Errorf("the DNS image is %s", got)
	}
	if got := config.validity(); got != defaultValidity {
		t.Errorf("certificates are good for %s", got)
	}
}

func TestAVirtualIPIsReadAsKubeVIPAndKeepalivedDo(t *testing.T) {
	t.Parallel()
	const manifest, conf = "/etc/kubernetes/manifests/vip.yaml", "/etc/keepalived/keepalived.conf"
	pod := func(env string) string {
		return "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'ghcr.io/kube-vip/kube-vip-iptables:v1.1.2', env: [" + env + "]}]}\n"
	}
	env := func(pairs ...string) string {
		var all []string
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, "{name: "+pairs[i]+", value: '"+pairs[i+1]+"'}")
		}
		return strings.Join(all, ", ")
	}
	sound := []string{"vip_arp", "true", "vip_leaderelection", "true", "cp_enable", "true", "address", "127.1.2.3"}
	with := func(pairs ...string) string { return pod(env(append(slices.Clone(sound), pairs...)...)) }
	at := netip.MustParseAddr("127.1.2.3")
	for name, test := range map[string]struct {
		path, text string
		want       *virtualIP
		broken     bool
	}{
		"kube-vip":                          {manifest, with(), &virtualIP{at, 5 * time.Second}, false},
		"kube-vip with a lease":             {manifest, with("vip_leaseduration", "3", "port", "6443"), &virtualIP{at, 3 * time.Second}, false},
		"kube-vip for services only":        {manifest, with("cp_enable", "false"), nil, false},
		"kube-vip at another port":          {manifest, with("port", "443"), nil, true},
		"kube-vip by BGP":                   {manifest, with("vip_arp", "false"), nil, true},
		"kube-vip on each machine at once":  {manifest, with("vip_leaderelection", "false"), nil, true},
		"kube-vip without an address":       {manifest, with("address", ""), nil, true},
		"kube-vip with no time for a lease": {manifest, with("vip_leaseduration", "0"), nil, true},
		"kube-vip elsewhere":                {"/root/kube-vip.yaml", with(), nil, false},
		"another static pod":                {manifest, strings.ReplaceAll(with(), "kube-vip", "etcd"), nil, false},
		"a manifest that is none":           {manifest, ": [", nil, false},
		"keepalived":                        {conf, "vrrp_instance a {\n advert_int 2\n virtual_ipaddress {\n  127.1.2.3/24 dev eth0\n }\n}\n", &virtualIP{at, 8 * time.Second}, false},
		"keepalived with its own interval":  {conf, "vrrp_instance a {\n virtual_ipaddress {\n  127.1.2.3\n }\n}\n", &virtualIP{at, 4 * time.Second}, false},
		"keepalived without an address":     {conf, "vrrp_instance a {\n}\n", nil, false},
		"keepalived with a name":            {conf, "virtual_ipaddress { api }\n", nil, true},
		"keepalived in no time":             {conf, "advert_int 0\nvirtual_ipaddress { 127.1.2.3 }\n", nil, true},
	} {
		got, err := readVirtualIP(map[string][]byte{test.path: []byte(test.text)}, defaultAPIPort)
		var broken *SeedError
		if errors.As(err, &broken) != test.broken || err != nil && !test.broken || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzPlan looks for a kubeadm configuration that crashes a guest.
func FuzzPlan(f *testing.F) {
	f.Add([]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery: {bootstrapToken: {token: t, caCertHashes: [h]}}\n"), true)
	f.Add([]byte("---\napiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n---\napiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\nnodeRegistration: {taints: []}\n"), false)
	f.Fuzz(func(t *testing.T, file []byte, join bool) {
		command := "kubeadm init --config /k"
		if join {
			command = "kubeadm join --config /k"
		}
		p, err := planOf(&cloudinit.Machine{Commands: []string{command}, Files: map[string][]byte{"/k": file}})
		if (p == nil) == (err == nil) {
			t.Fatalf("neither a plan nor an error, or both: %+v, %v", p, err)
		}
		if p != nil {
			labelsAndTaints(p, p.nodeName("n"))
			if p.cluster != nil {
				if config, err := read[clusterConfiguration](p.cluster); err == nil {
					apiHosts(&config, "n", netip.MustParseAddr("127.0.0.1"), "")
				}
			}
		}
	})
}
