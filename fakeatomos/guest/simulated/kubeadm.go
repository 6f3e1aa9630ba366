package simulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/cloudinit"
)

const (
	defaultAPIPort  = 6443
	defaultPKI      = "/etc/kubernetes/pki"
	defaultRegistry = "registry.k8s.io"
)

// SeedError is a seed from which kubeadm cannot make a node. It never quotes
// the seed.
type SeedError struct{ Reason string }

func (e *SeedError) Error() string { return "kubeadm: " + e.Reason }

// plan is what a seed has kubeadm do.
type plan struct {
	seed *cloudinit.Machine
	node nodeRegistration
	// api is where a control plane serves the API; nil for a worker.
	api *localAPIEndpoint
	// vip is the virtual IP that a control plane holds in turn with others; nil
	// without one.
	vip *virtualIP
	// join is nil where the machine begins a cluster.
	join *bootstrapTokenDiscovery
	// cluster is the ClusterConfiguration of a machine that begins one.
	cluster map[string]any
	// calls come before kubeadm.
	calls []*call
}

type nodeRegistration struct {
	Name string `json:"name"`
	// Taints are those of kubeadm's default where the list is absent, and none
	// where it is empty.
	Taints           *[]corev1.Taint `json:"taints"`
	KubeletExtraArgs extraArgs       `json:"kubeletExtraArgs"`
}

type localAPIEndpoint struct {
	AdvertiseAddress string `json:"advertiseAddress"`
	BindPort         uint16 `json:"bindPort"`
}

type bootstrapTokenDiscovery struct {
	Token                    string   `json:"token"`
	APIServerEndpoint        string   `json:"apiServerEndpoint"`
	CACertHashes             []string `json:"caCertHashes"`
	UnsafeSkipCAVerification bool     `json:"unsafeSkipCAVerification"`
}

// document is the union of kubeadm's kinds, as far as they matter here.
type document struct {
	APIVersion       string            `json:"apiVersion"`
	Kind             string            `json:"kind"`
	NodeRegistration nodeRegistration  `json:"nodeRegistration"`
	LocalAPIEndpoint *localAPIEndpoint `json:"localAPIEndpoint"`
	ControlPlane     *struct {
		LocalAPIEndpoint *localAPIEndpoint `json:"localAPIEndpoint"`
	} `json:"controlPlane"`
	Discovery struct {
		BootstrapToken    *bootstrapTokenDiscovery `json:"bootstrapToken"`
		TLSBootstrapToken string                   `json:"tlsBootstrapToken"`
	} `json:"discovery"`
}

// clusterConfiguration is the part of a ClusterConfiguration that shapes a
// simulated cluster.
type clusterConfiguration struct {
	KubernetesVersion    string `json:"kubernetesVersion"`
	ControlPlaneEndpoint string `json:"controlPlaneEndpoint"`
	CertificatesDir      string `json:"certificatesDir"`
	ImageRepository      string `json:"imageRepository"`
	Networking           struct {
		ServiceSubnet string `json:"serviceSubnet"`
		DNSDomain     string `json:"dnsDomain"`
	} `json:"networking"`
	APIServer struct {
		CertSANs []string `json:"certSANs"`
	} `json:"apiServer"`
	DNS struct {
		ImageRepository string `json:"imageRepository"`
		ImageTag        string `json:"imageTag"`
	} `json:"dns"`
	Etcd struct {
		External *struct{} `json:"external"`
	} `json:"etcd"`
	// CertificateValidityPeriod is a Go duration such as "8760h0m0s".
	CertificateValidityPeriod string `json:"certificateValidityPeriod"`
}

// extraArgs are command-line flags by name: a mapping up to v1beta3, a list of
// names and values from v1beta4 on.
type extraArgs map[string]string

func (a *extraArgs) UnmarshalJSON(body []byte) error {
	*a = extraArgs{}
	byName := map[string]string{}
	if err := json.Unmarshal(body, &byName); err == nil {
		*a = byName
		return nil
	}
	var list []struct{ Name, Value string }
	if err := json.Unmarshal(body, &list); err != nil {
		return errors.New("extra arguments are neither a mapping nor a list of names and values")
	}
	for _, arg := range list {
		(*a)[arg.Name] = arg.Value
	}
	return nil
}

var kubeadmCommand = regexp.MustCompile(`\bkubeadm\s+(init|join)\b.*?--config[=\s]\s*['"]?([^\s'"]+)`)

// planOf finds out what a seed has kubeadm do; nil where it does not run it. Of the
// commands before it only those matter here that call somebody.
func planOf(seed *cloudinit.Machine) (*plan, error) {
	var calls []*call
	for _, command := range seed.Commands {
		match := kubeadmCommand.FindStringSubmatch(command)
		if match == nil {
			if c := readCall(command); c != nil {
				calls = append(calls, c)
			}
			continue
		}
		file, written := seed.Files[match[2]]
		if !written {
			return nil, &SeedError{"the command names " + match[2] + ", which write_files does not write"}
		}
		read := joinPlan
		if match[1] == "init" {
			read = initPlan
		}
		p, err := read(seed, file)
		if err != nil {
			return nil, err
		}
		p.calls = calls
		if p.api == nil {
			return p, nil
		}
		if p.vip, err = readVirtualIP(seed.Files, p.api.port()); err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, nil
}

func initPlan(seed *cloudinit.Machine, file []byte) (*plan, error) {
	documents, err := split(file)
	if err != nil {
		return nil, err
	}
	p := &plan{seed: seed, api: &localAPIEndpoint{}, cluster: documents["ClusterConfiguration"]}
	if p.cluster == nil {
		return nil, &SeedError{"the configuration has no ClusterConfiguration"}
	}
	init, err := read[document](documents["InitConfiguration"])
	if err != nil {
		return nil, err
	}
	p.node = init.NodeRegistration
	if init.LocalAPIEndpoint != nil {
		p.api = init.LocalAPIEndpoint
	}
	return p, nil
}

func joinPlan(seed *cloudinit.Machine, file []byte) (*plan, error) {
	documents, err := split(file)
	if err != nil {
		return nil, err
	}
	if documents["JoinConfiguration"] == nil {
		return nil, &SeedError{"the configuration has no JoinConfiguration"}
	}
	join, err := read[document](documents["JoinConfiguration"])
	if err != nil {
		return nil, err
	}
	p := &plan{seed: seed, node: join.NodeRegistration, join: join.Discovery.BootstrapToken}
	if p.join == nil {
		return nil, &SeedError{"the JoinConfiguration has no discovery.bootstrapToken, the only discovery that is simulated"}
	}
	if p.join.Token == "" {
		p.join.Token = join.Discovery.TLSBootstrapToken
	}
	if len(p.join.CACertHashes) == 0 && !p.join.UnsafeSkipCAVerification {
		return nil, &SeedError{"the JoinConfiguration has neither caCertHashes nor unsafeSkipCAVerification"}
	}
	if join.ControlPlane != nil {
		p.api = &localAPIEndpoint{}
		if join.ControlPlane.LocalAPIEndpoint != nil {
			p.api = join.ControlPlane.LocalAPIEndpoint
		}
	}
	return p, nil
}

var documentEnd = regexp.MustCompile(`(?m)^---\s*$`)

// split reads the documents of a kubeadm configuration by kind.
func split(file []byte) (map[string]map[string]any, error) {
	documents := map[string]map[string]any{}
	for _, text := range documentEnd.Split(string(file), -1) {
		var body map[string]any
		if err := yaml.Unmarshal([]byte(text), &body); err != nil {
			return nil, &SeedError{"the configuration is not YAML"} // the cause quotes the text
		}
		if body == nil {
			continue
		}
		version, _ := body["apiVersion"].(string)
		switch version {
		case "kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4":
			kind, _ := body["kind"].(string)
			documents[kind] = body
		default:
			if strings.HasPrefix(version, "kubeadm.k8s.io/") {
				return nil, &SeedError{"the configuration's version is neither v1beta3 nor v1beta4"}
			}
		}
	}
	return documents, nil
}

// read gives a document its type.
func read[T any](body map[string]any) (T, error) {
	var typed T
	text, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(text, &typed)
	}
	if err != nil {
		return typed, &SeedError{"a field of the configuration has a wrong type"} // the cause quotes the text
	}
	return typed, nil
}

// nodeName is the name that the kubelet registers.
func (p *plan) nodeName(fallback string) string {
	name := p.node.Name
	if name == "" {
		name = p.node.KubeletExtraArgs["hostname-override"]
	}
	if name == "" {
		name = p.seed.Hostname
	}
	if name == "" {
		name = fallback
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// port is where the API is served.
func (e *localAPIEndpoint) port() uint16 {
	if e.BindPort == 0 {
		return defaultAPIPort
	}
	return e.BindPort
}

// endpoint is the control plane's address as host and port; own where the
// configuration names none.
func (c *clusterConfiguration) endpoint(own netip.AddrPort) string {
	if c.ControlPlaneEndpoint == "" {
		return own.String()
	}
	if _, _, err := net.SplitHostPort(c.ControlPlaneEndpoint); err == nil {
		return c.ControlPlaneEndpoint
	}
	return net.JoinHostPort(c.ControlPlaneEndpoint, strconv.Itoa(defaultAPIPort))
}

func (c *clusterConfiguration) pki() string {
	if c.CertificatesDir == "" {
		return defaultPKI
	}
	return strings.TrimSuffix(c.CertificatesDir, "/")
}

func (c *clusterConfiguration) registry() string {
	if c.ImageRepository == "" {
		return defaultRegistry
	}
	return strings.TrimSuffix(c.ImageRepository, "/")
}

// coreDNSImage is the DNS server's image, by default the one that kubeadm of
// that version brings.
func (c *clusterConfiguration) coreDNSImage() string {
	repository, tag := c.registry(), c.DNS.ImageTag
	if repository == defaultRegistry {
		repository += "/coredns"
	}
	if c.DNS.ImageRepository != "" {
		repository = strings.TrimSuffix(c.DNS.ImageRepository, "/")
	}
	if tag == "" {
		tag = "v1.14.2"
		for minor, older := range map[string]string{
			"v1.31.": "v1.11.3", "v1.32.": "v1.11.3", "v1.33.": "v1.12.0", "v1.34.": "v1.12.1", "v1.35.": "v1.13.1",
		} {
			if strings.HasPrefix(c.KubernetesVersion, minor) {
				tag = older
			}
		}
	}
	return fmt.Sprintf("%s/coredns:%s", repository, tag)
}
