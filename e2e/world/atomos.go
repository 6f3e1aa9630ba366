package world

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// The names of the processes of the Elemento side.
const (
	// FakeProcess is the fake AtomOS, all hosts of it.
	FakeProcess = "fakeatomos"
	// ElementoProvider is our manager, as a [Provider] too.
	ElementoProvider = "elemento"
)

// DaemonProcess is the name of the n-th daemon's process, from 1.
func DaemonProcess(n int) string { return fmt.Sprintf("daemon-%d", n) }

// ManagerProcess is the name of the n-th of our managers, from 1, which is
// [ElementoProvider].
func ManagerProcess(n int) string { return replica(ElementoProvider, n) }

// KubernetesVersion is the version of the default image, and OlderVersion of a
// second one to upgrade from: those that e2e/binaries pins, of which there are nodes.
const (
	KubernetesVersion = "v1.36.3"
	OlderVersion      = "v1.36.1"
)

// ImageName is the name of the boot image of a Kubernetes version.
func ImageName(version string) string { return "kubernetes-" + version }

// firstHostAddress is the number, in the world's block, of the fake's first host.
const firstHostAddress = 11

// Guests are what runs in VMs.
type Guests string

const (
	// GuestsSimulated are machines of Kubernetes clusters in all that can be seen from
	// outside.
	GuestsSimulated Guests = "simulated"
	// GuestsContainer are system containers of Docker's that run Kubernetes.
	GuestsContainer Guests = "container"
	// GuestsAtomOS are those of hosts that are there already.
	GuestsAtomOS Guests = "atomos"
)

// AtomOS says what hosts a world has, who owns what is made on them, and how
// many daemons stand before them.
type AtomOS struct {
	// Existing are hosts that are there already, a real AtomOS's or those of a
	// fake that someone else started. Without any, a fake is started.
	Existing []Host
	// ClientUID is the owner on AtomOS; it must be given with Existing, and is
	// "poc" otherwise.
	ClientUID string
	// Daemons is how many daemons to start; 2 by default, -1 for none, where
	// the plane's manager has its own.
	Daemons int

	// ImageURL is where the hosts fetch boot images, with {image} for the name; a
	// fake looks at the name alone, so that it matters with Existing only.
	ImageURL string

	// Hosts is the number of hosts of the fake (3 by default), and Domains how
	// many domains they are dealt to (as many as hosts by default).
	Hosts, Domains int
	// Model is what each host of the fake has; name, domain and address are filled in.
	Model fakeatomos.HostOptions
	// Guests of the fake: GuestsSimulated by default, or GuestsContainer.
	Guests Guests
	// BootTime and StopTime of the fake's VMs; zero is immediate.
	BootTime, StopTime time.Duration
	// Images of the fake: name to Kubernetes version. KubernetesVersion and
	// OlderVersion by default.
	Images map[string]string
	// StateDir keeps the fake's state, so that it survives its process.
	StateDir string
}

// Host is an AtomOS host as the daemons and the suites reach it.
type Host struct {
	// ID is the daemons' name for it.
	ID string `json:"id"`
	// Domain that the host belongs to.
	Domain string `json:"domain"`
	// URL is its scheme and address, without a port.
	URL string `json:"url"`
	// Fingerprint is the SHA-256 of its certificate.
	Fingerprint string `json:"fingerprint,omitempty"`
	// TokenFile holds its bearer token, if it wants one.
	TokenFile string `json:"tokenFile,omitempty"`
}

// C4 is how the suites ask the host themselves.
func (h Host) C4() (c4.Config, error) {
	config := c4.Config{URL: h.URL, Fingerprint: h.Fingerprint}
	if h.TokenFile != "" {
		token, err := os.ReadFile(h.TokenFile)
		if err != nil {
			return config, fmt.Errorf("host %s: %w", h.ID, err)
		}
		config.Token = string(token)
	}
	return config, nil
}

// startAtomOS starts the fake, unless there are hosts already.
func (w *World) startAtomOS(ctx context.Context, o AtomOS) error {
	w.clientUID = o.ClientUID
	if len(o.Existing) > 0 {
		if w.clientUID == "" {
			return errors.New("existing AtomOS hosts need a client UUID to act for")
		}
		w.hosts = o.Existing
		return nil
	}
	if w.clientUID == "" {
		w.clientUID = "poc"
	}
	path, err := w.ownProgram(ctx, "fakeatomos/cmd/fakeatomos")
	if err != nil {
		return err
	}
	port, err := w.block.FreePort(w.block.Address(planeAddress))
	if err != nil {
		return err
	}
	config, err := json.Marshal(w.fakeConfig(o, port))
	if err != nil {
		return err
	}
	configFile, err := w.state.write("fakeatomos/config.yaml", config)
	if err != nil {
		return err
	}
	readyFile := w.state.path("fakeatomos/ready.json")
	args := []string{
		"--config=" + configFile,
		"--ready-file=" + readyFile,
		"--guests=" + string(cmp.Or(o.Guests, GuestsSimulated)),
		"--boot-time=" + o.BootTime.String(),
		"--stop-time=" + o.StopTime.String(),
	}
	if w.network != nil {
		args = append(args, "--guest-network="+w.network.name)
	}
	if w.historyDir != "" {
		args = append(args, "--history="+filepath.Join(w.historyDir, "atomos.jsonl"))
	}
	p, err := w.processes.start(Command{
		Name: FakeProcess, Path: path, Args: args, Log: w.log(FakeProcess), Env: w.dockerEnv,
		// Its controls come up after its hosts, and in the end it tells of them.
		Ready: func(ctx context.Context) error {
			if _, err := fakeatomos.Connect("http://" + hostPort(w.block.Address(planeAddress), port)).Faults(ctx); err != nil {
				return err
			}
			_, err := os.Stat(readyFile)
			return err
		},
	})
	if err != nil {
		return err
	}
	if err := p.await(ctx); err != nil {
		return err
	}
	content, err := os.ReadFile(readyFile)
	if err != nil {
		return err
	}
	var ready fakeatomos.Ready
	if err := json.Unmarshal(content, &ready); err != nil {
		return fmt.Errorf("reading what %s has told of itself: %w", FakeProcess, err)
	}
	for _, h := range ready.Hosts {
		w.hosts = append(w.hosts, Host{ID: h.Name, Domain: h.Domain, URL: h.URL, Fingerprint: h.Fingerprint})
	}
	w.fake = fakeatomos.Connect(ready.Control)
	w.fakeURL = ready.Control
	return nil
}

func (w *World) fakeConfig(o AtomOS, controlPort int) map[string]any {
	count := max(o.Hosts, 0)
	if count == 0 {
		count = 3
	}
	domains := o.Domains
	if domains <= 0 || domains > count {
		domains = count
	}
	hosts := make([]fakeatomos.HostOptions, count)
	for i := range hosts {
		hosts[i] = o.Model
		hosts[i].Name = fmt.Sprintf("host-%d", i+1)
		hosts[i].Domain = fmt.Sprintf("domain-%d", i%domains+1)
		hosts[i].Address = netip.MustParseAddr(w.block.Address(byte(firstHostAddress + i)))
	}
	images := o.Images
	if images == nil {
		images = map[string]string{ImageName(KubernetesVersion): KubernetesVersion, ImageName(OlderVersion): OlderVersion}
	}
	config := map[string]any{
		"hosts":   hosts,
		"images":  images,
		"control": hostPort(w.block.Address(planeAddress), controlPort),
	}
	if o.StateDir != "" {
		config["stateDir"] = filepath.Clean(o.StateDir)
	}
	return config
}

// ClientUID is the owner, on AtomOS, of all that the world makes there.
func (w *World) ClientUID() string { return w.clientUID }

// Hosts are the AtomOS hosts.
func (w *World) Hosts() []Host { return w.hosts }

// Domains are the domains of the hosts, each once, in order.
func (w *World) Domains() []string {
	var domains []string
	seen := map[string]bool{}
	for _, h := range w.hosts {
		if !seen[h.Domain] {
			seen[h.Domain] = true
			domains = append(domains, h.Domain)
		}
	}
	return domains
}

// Fake steers the fake AtomOS that the world started; nil where it did not.
func (w *World) Fake() *fakeatomos.Control { return w.fake }

// GuestNetwork is a range of addresses that guests of the fake can have on this
// machine and no other world uses.
func (w *World) GuestNetwork() string {
	if w.twinOf != nil {
		return w.twinOf.GuestNetwork()
	}
	return w.block.guestNetwork()
}

// FakeURL is where the fake's controls are; empty where the world started none.
func (w *World) FakeURL() string { return w.fakeURL }

// TemplateVariables are the values, as NAME=value, that the cluster templates
// need, besides those that have defaults, to make clusters in this world: guests
// of a fake live on this machine's loopback addresses, or on those of the world's
// Docker network.
func (w *World) TemplateVariables() []string {
	if w.fake == nil {
		return nil
	}
	return []string{"ELEMENTO_NETWORK_CIDR=" + w.GuestNetwork()}
}
