package suite

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// Options say where a suite runs and what it leaves.
type Options struct {
	// Out is the directory of the report, the logs and the evidence.
	Out string
	// World is what the suite acts on.
	World world.Options
	// Control is the control URL of a fake AtomOS that someone else started;
	// empty for a real one.
	Control string
	// Variables are values, as NAME=value, that the cluster templates need besides
	// those that the world knows.
	Variables []string
	// KubernetesVersion of the clusters.
	KubernetesVersion string
	// NeedsFake says that the suite asks what a real AtomOS does not tell.
	NeedsFake bool
	// PodNetwork says that the suite gives its clusters a pod network, without which
	// no Node of guests that are containers is ever Ready.
	PodNetwork bool
	// OwnWorld says that the suite breaks what it stands on, and so does that only to
	// what it has started itself.
	OwnWorld bool
	// Recorded says that a history is kept, in the directory history of Out.
	Recorded bool
	// Lasts is how long the suite may take; 4 hours when zero.
	Lasts time.Duration
	// Dashboards are those of which each query has to give something in the end, by name,
	// where the world is watched.
	Dashboards []string
	// Target is the make target that repeats the run, and Title that of its report, where
	// they are not the suite's own.
	Target, Title string
}

// The environment variables that stand in for flags.
const (
	envPlane       = "E2E_PLANE"
	envGuest       = "E2E_GUEST"
	envNodeImage   = "E2E_NODE_IMAGE"
	envCertManager = "E2E_CERT_MANAGER"
	envClusterAPI  = "E2E_CLUSTER_API"
	envKubeconfig  = "E2E_KUBECONFIG"
	envAtomOS      = "E2E_ATOMOS"
	envImageURL    = "E2E_IMAGE_URL"
	envClientUID   = "E2E_CLIENT_UID"
	envControl     = "E2E_CONTROL"
)

var environment = []string{envPlane, envGuest, envNodeImage, envCertManager, envClusterAPI, envKubeconfig, envAtomOS, envImageURL, envClientUID, envControl}

// Flags registers the flags that all suites have, and their values, of which the
// AtomOS part is the suite's own default. Environment variables of the same
// meaning stand in for the flags that name them.
func (o *Options) Flags(flags *flag.FlagSet, out string, defaults world.AtomOS) {
	o.World = world.Options{Elemento: &world.Elemento{AtomOS: defaults}}
	a := &o.World.Elemento.AtomOS
	flags.StringVar(&o.Out, "out", out, "`directory` for the report, the logs and the evidence")
	flags.StringVar((*string)(&o.World.Plane), "plane", os.Getenv(envPlane), "management `plane`: embedded (the default), kind, which needs Docker, or existing, which is that of --kubeconfig (E2E_PLANE)")
	flags.StringVar((*string)(&a.Guests), "guests", os.Getenv(envGuest), "what runs in the VMs: `guests` that are simulated (the default), container, which needs Docker, or atomos, which are those of the hosts of --atomos (E2E_GUEST)")
	flags.StringVar(&o.World.NodeImage, "node-image", os.Getenv(envNodeImage), "Docker `image` of kind's node; by default that of make node-image, or else the one that kind pulls (E2E_NODE_IMAGE)")
	flags.StringVar(&o.World.CertManager, "cert-manager", os.Getenv(envCertManager), "`file` or URL of cert-manager's manifest, to install it on kind, or "+world.BuiltCertManager+", for the one that is built from its Go module; without one the suite makes the certificates of webhooks itself (E2E_CERT_MANAGER)")
	flags.StringVar(&o.World.ClusterAPI, "cluster-api", os.Getenv(envClusterAPI), "`version` of Cluster API on a management plane that is started, such as "+world.OlderClusterAPI+", the minor before ours; the newest when empty (E2E_CLUSTER_API)")
	flags.StringVar(&o.World.Kubeconfig, "kubeconfig", os.Getenv(envKubeconfig), "use the management plane of this kubeconfig `file` instead of starting one (E2E_KUBECONFIG)")
	flags.Func("atomos", "use the AtomOS `host` [domain=]https://address[#fingerprint] instead of a fake; without a fingerprint its certificate is trusted on first use; may be repeated (E2E_ATOMOS, separated by spaces)", func(s string) error {
		return addHost(a, s)
	})
	flags.StringVar(&a.ImageURL, "image-url", os.Getenv(envImageURL), "`URL`, with {image} in it, from which the hosts of --atomos fetch boot images (E2E_IMAGE_URL)")
	flags.StringVar(&a.ClientUID, "client-uid", os.Getenv(envClientUID), "`owner` on AtomOS of all that the suite makes (E2E_CLIENT_UID)")
	flags.StringVar(&o.Control, "control", os.Getenv(envControl), "control `URL` of the fake behind --atomos, if it is one (E2E_CONTROL)")
	flags.StringVar(&o.KubernetesVersion, "kubernetes-version", world.KubernetesVersion, "`version` of the clusters; AtomOS must have its image")
	flags.Func("variable", "value for the cluster templates, as `NAME=value`; may be repeated", func(s string) error {
		if !strings.Contains(s, "=") {
			return errors.New("write NAME=value")
		}
		o.Variables = append(o.Variables, s)
		return nil
	})
	flags.BoolFunc("prometheus", "have Prometheus watch what is started, and leave pictures of the dashboards beside the report", func(string) error {
		o.World.Prometheus = &world.Prometheus{}
		return nil
	})
	flags.BoolVar(&o.World.QuickReconciles, "quick", false, "lift Cluster API's limit of one reconcile a second for each object; figures are not comparable then")
	flags.DurationVar(&a.BootTime, "boot-time", a.BootTime, "from start of a VM of the fake to running")
	flags.DurationVar(&a.StopTime, "stop-time", a.StopTime, "from stop of a VM of the fake to shut off")
	flags.IntVar(&a.Hosts, "hosts", a.Hosts, "hosts of the fake")
	flags.IntVar(&a.Domains, "domains", a.Domains, "domains that the fake's hosts are dealt to")
}

// complete takes what the environment says and checks what cannot work. progress
// is told of the certificates that are trusted because nobody said otherwise.
func (o *Options) complete(ctx context.Context, progress io.Writer) error {
	a := &o.World.Elemento.AtomOS
	if len(a.Existing) == 0 {
		for _, host := range strings.Fields(os.Getenv(envAtomOS)) {
			if err := addHost(a, host); err != nil {
				return fmt.Errorf("%s: %w", envAtomOS, err)
			}
		}
	}
	if err := o.choose(); err != nil {
		return err
	}
	if o.World.Plane == world.PlaneExisting {
		if len(a.Existing) == 0 {
			return errors.New("an existing management plane (--kubeconfig) has daemons and hosts of its own; name the hosts by --atomos and the owner by --client-uid")
		}
	}
	if len(a.Existing) > 0 && a.ClientUID == "" {
		return errors.New("--atomos needs --client-uid, the owner of what is made there")
	}
	if len(a.Existing) > 0 && o.World.Kubeconfig == "" && a.ImageURL == "" && o.Control == "" {
		return errors.New("--atomos without --kubeconfig starts daemons; tell them by --image-url where the hosts fetch boot images")
	}
	if len(a.Existing) == 0 && o.Control != "" {
		return errors.New("--control is of use with --atomos only; a fake that the suite starts is known")
	}
	if o.OwnWorld && o.World.Plane == world.PlaneKind {
		return errors.New("this suite kills and pauses controllers and the API server, which on kind run in pods where it cannot: leave out --plane (E2E_PLANE)")
	}
	if o.OwnWorld && (len(a.Existing) > 0 || o.World.Kubeconfig != "") {
		return errors.New("this suite breaks hosts, daemons and the management plane, and does so only to what it has started itself: leave out --atomos and --kubeconfig (E2E_ATOMOS, E2E_KUBECONFIG)")
	}
	if o.NeedsFake && len(a.Existing) > 0 && o.Control == "" {
		return errors.New("this suite measures moments and calls that only a fake AtomOS tells; name the fake's --control, or leave out --atomos")
	}
	for i := range a.Existing {
		if err := trustOnFirstUse(ctx, &a.Existing[i], progress); err != nil {
			return err
		}
	}
	return nil
}

// choose settles which plane and guests there are to be.
func (o *Options) choose() error {
	plane, a := &o.World.Plane, &o.World.Elemento.AtomOS
	switch *plane {
	case "":
		*plane = world.PlaneEmbedded
		if o.World.Kubeconfig != "" {
			*plane = world.PlaneExisting
		}
	case world.PlaneEmbedded, world.PlaneKind, world.PlaneExisting:
	default:
		return fmt.Errorf("there is no management plane %q: --plane (%s) is %q, %q or %q", *plane, envPlane, world.PlaneEmbedded, world.PlaneKind, world.PlaneExisting)
	}
	if (*plane == world.PlaneExisting) != (o.World.Kubeconfig != "") {
		return fmt.Errorf("an existing management plane is that of a kubeconfig, and only that: --plane (%s) is %q, and --kubeconfig (%s) %q", envPlane, *plane, envKubeconfig, o.World.Kubeconfig)
	}
	if *plane != world.PlaneKind && (o.World.NodeImage != "" || o.World.CertManager != "") {
		return fmt.Errorf("--node-image (%s) and --cert-manager (%s) are for --plane kind", envNodeImage, envCertManager)
	}
	if *plane == world.PlaneExisting && o.World.ClusterAPI != "" {
		return fmt.Errorf("--cluster-api (%s) is for planes that are started; one that exists has its own", envClusterAPI)
	}
	switch a.Guests {
	case "":
		a.Guests = world.GuestsSimulated
		if len(a.Existing) > 0 {
			a.Guests = world.GuestsAtomOS
		}
	case world.GuestsSimulated, world.GuestsContainer, world.GuestsAtomOS:
	default:
		return fmt.Errorf("there are no guests %q: --guests (%s) is %q, %q or %q", a.Guests, envGuest, world.GuestsSimulated, world.GuestsContainer, world.GuestsAtomOS)
	}
	if a.Guests == world.GuestsContainer && !o.PodNetwork {
		return fmt.Errorf("guests that are containers need a pod network before their Nodes are Ready, and this suite gives its clusters none: leave out --guests (%s); make e2e is the suite on real nodes", envGuest)
	}
	if (a.Guests == world.GuestsAtomOS) != (len(a.Existing) > 0) {
		return fmt.Errorf("guests of AtomOS are on hosts that are there, and no others are: --guests (%s) is %q, and hosts of --atomos (%s) there are %d", envGuest, a.Guests, envAtomOS, len(a.Existing))
	}
	return nil
}

// trustOnFirstUse takes the fingerprint of a host for which none was given from
// the certificate that it presents, unless that is one that this machine trusts.
func trustOnFirstUse(ctx context.Context, h *world.Host, progress io.Writer) error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "https" || h.Fingerprint != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// Nothing is asked of the host here; what is asked later is asked of the one
	// with this certificate.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	address := net.JoinHostPort(u.Hostname(), strconv.Itoa(c4.MatcherPort))
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("asking host %s for its certificate: %w", u.Hostname(), err)
	}
	defer conn.Close()
	presented := conn.(*tls.Conn).ConnectionState().PeerCertificates
	intermediates := x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	if _, err := presented[0].Verify(x509.VerifyOptions{DNSName: u.Hostname(), Intermediates: intermediates}); err == nil {
		return nil
	}
	h.Fingerprint = c4.Fingerprint(presented[0].Raw)
	fmt.Fprintf(progress, "trusting host %s on first use; to pin it: --atomos %s#%s\n", u.Hostname(), h.URL, h.Fingerprint)
	return nil
}

func addHost(a *world.AtomOS, s string) error {
	domain, address, found := strings.Cut(s, "=")
	if !found {
		domain, address = "domain-1", s
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return fmt.Errorf("%q: write [domain=]https://address[#fingerprint]", s)
	}
	fingerprint := u.Fragment
	u.Fragment = ""
	a.Existing = append(a.Existing, world.Host{
		ID: fmt.Sprintf("host-%d", len(a.Existing)+1), Domain: domain, URL: u.String(), Fingerprint: fingerprint,
	})
	return nil
}

// credentials are those that an address may hold.
var credentials = regexp.MustCompile(`://[^/@\s"]*@`)

// command is how a person repeats a run: by make, with the arguments that the run
// was given but for the place of its report, and what the environment said. What make
// has a variable for is said by it, since the place of the report may follow from it, and
// what the target says itself, a flag without a value whose variable is empty, is not said.
// It holds no credentials.
func command(target string, variables map[string]string, args []string) string {
	var kept []string
	given := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		variable, is := variables[name]
		if !strings.HasPrefix(args[i], "-") || !is && name != "out" {
			kept = append(kept, args[i])
			continue
		}
		if is && variable == "" {
			continue
		}
		if !has && i+1 < len(args) {
			i++
			value = args[i]
		}
		if is {
			given[variable] = value // of several the last counts
		}
	}
	var command strings.Builder
	for _, name := range environment {
		if value := os.Getenv(name); value != "" {
			fmt.Fprintf(&command, "%s=%q ", name, value)
		}
	}
	command.WriteString("make " + target)
	for _, variable := range slices.Sorted(maps.Keys(given)) {
		fmt.Fprintf(&command, " %s=%s", variable, given[variable])
	}
	if len(kept) > 0 {
		fmt.Fprintf(&command, " ARGS=%q", strings.Join(kept, " "))
	}
	return credentials.ReplaceAllString(command.String(), "://")
}

// Trial is the AtomOS of a suite that shows what a cluster does: VMs take a
// moment to start and to stop.
func Trial() world.AtomOS {
	return world.AtomOS{Hosts: 3, Domains: 3, BootTime: 2 * time.Second, StopTime: 2 * time.Second,
		Model: fakeatomos.HostOptions{Cores: 64, MemoryMiB: 1 << 20}}
}

// UnhinderedQPS is what a suite that measures what is ours lets Cluster API's managers ask
// for in a second: more than they can. See [world.Options.ClusterAPIQPS].
const UnhinderedQPS = 1000

// Instant is the AtomOS of a suite that measures what is ours: VMs start and
// stop in no time, and there is room for a great many.
func Instant() world.AtomOS {
	return world.AtomOS{Hosts: 3, Domains: 3, Model: fakeatomos.HostOptions{Cores: 512, MemoryMiB: 1 << 23, StorageGB: 10_000_000}}
}
