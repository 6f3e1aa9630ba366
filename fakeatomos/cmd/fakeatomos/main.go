// Command fakeatomos runs a fake AtomOS until it is interrupted: hosts that
// speak C4 on loopback addresses of their own, and a control listener.
//
// A YAML file (--config) holds the fields of fakeatomos.Options; flags override
// it. Another one (--faults, such as faults.yaml beside this file) lists what goes
// wrong from the start, and --history keeps what happens. Once everything listens,
// --ready-file (or standard output) receives a fakeatomos.Ready as JSON: the hosts'
// URLs and fingerprints and the control URL.
//
// What runs in the VMs is said by --guests: nothing, simulated machines of Kubernetes
// clusters, or system containers on a Docker Engine. For the last, a network of the
// engine is made first, and hosts have addresses on its bridge:
//
//	docker network create --subnet 10.77.1.0/24 --ip-range 10.77.1.0/26 \
//	  --opt com.docker.network.bridge.name=elemento-1 elemento-1
//	ip address add 10.77.1.65/32 dev elemento-1
//	fakeatomos --hosts 1 --network 10.77.1.64/28 --image kubernetes-v1.36.3=v1.36.3 \
//	  --guests container --guest-network elemento-1
//
// The networks of VMs are bridged then and lie in that one (DHCP, say, from
// 10.77.1.128 on), and their boot images are Docker images: elemento.cloud/node of
// their Kubernetes version, or what --guest-image says. The engine is that of
// DOCKER_HOST, or the one at /var/run/docker.sock, whatever the current context of
// Docker's client.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fakeatomos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (failed error) {
	settings, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: settings.level}))
	settings.options.Log, settings.simulated.Log, settings.container.Log = log, log, log
	if settings.history != "" {
		kept, err := history.Open(settings.history)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, kept.Close()) }()
		settings.options.History, settings.simulated.History = kept, kept
	}
	guests, endGuests, err := newGuests(ctx, settings)
	if err != nil {
		return err
	}
	defer endGuests()
	settings.options.Guests = guests
	fake, err := fakeatomos.Start(ctx, settings.options)
	if err != nil {
		return err
	}
	defer fake.Close()
	if err := announce(fake, settings.readyFile, stdout); err != nil {
		return fmt.Errorf("announce readiness: %w", err)
	}
	<-ctx.Done()
	log.Info("shutting down")
	return nil
}

// settings are what flags and file come to.
type settings struct {
	options   fakeatomos.Options
	guests    string
	simulated simulated.Options
	container container.Options
	readyFile string
	history   string
	level     slog.Level
}

func parse(args []string, stderr io.Writer) (settings, error) {
	s := settings{options: fakeatomos.Options{BootTime: 200 * time.Millisecond, StopTime: 200 * time.Millisecond, Control: "127.0.0.1:0"}}
	fs := flag.NewFlagSet("fakeatomos", flag.ContinueOnError)
	fs.SetOutput(stderr)
	config := fs.String("config", "", "YAML `file` with the fields of Options; flags override it")
	hosts := fs.Int("hosts", 3, "number of hosts, where the file names none")
	domains := fs.Int("domains", 1, "number of domains over which these hosts are spread: domain-1, domain-2 …")
	network := fs.String("network", "", "`prefix` of the hosts' addresses, such as 127.40.0.0/16; free loopback addresses are drawn by default")
	model := fakeatomos.HostOptions{}
	fs.IntVar(&model.Cores, "cores", 0, "cores of each host")
	fs.IntVar(&model.SMT, "smt", 0, "hardware threads of each core")
	fs.Int64Var(&model.MemoryMiB, "memory-mib", 0, "memory of each host")
	fs.Int64Var(&model.StorageGB, "storage-gb", 0, "storage of each host")
	fs.BoolVar(&model.Community, "community", false, "limit each host to two VMs")
	fs.BoolVar(&model.PublishedOnly, "published-only", false, "leave out the calls that nothing public shows")
	faults := fs.String("faults", "", "YAML `file` with a seed and the faults that are in force from the start")
	fs.StringVar(&s.history, "history", "", "`file` to which what happens is appended, as JSON Lines; none by default")
	tokenFile := fs.String("token-file", "", "`file` with the bearer token that every call must carry")
	images, guestImages := pairsFlag{}, pairsFlag{}
	fs.Var(images, "image", "`name=version` of an image and the Kubernetes in it; may be repeated")
	o := &s.options
	fs.DurationVar(&o.BootTime, "boot-time", o.BootTime, "from start of a VM to running")
	fs.DurationVar(&o.StopTime, "stop-time", o.StopTime, "from stop of a VM to shut off")
	fs.DurationVar(&o.VolumeDelay, "volume-delay", o.VolumeDelay, "how long a new volume stays invisible")
	fs.StringVar(&o.StateDir, "state-dir", o.StateDir, "`directory` that keeps the state; in memory by default")
	fs.StringVar(&o.Control, "control", o.Control, "`address` of the control listener")
	fs.BoolVar(&o.PlainHTTP, "plain-http", o.PlainHTTP, "serve C4 without TLS")
	fs.BoolVar(&o.NoBootVolumeFence, "no-boot-volume-fence", o.NoBootVolumeFence, "let a second VM take an exclusive volume")
	fs.StringVar(&s.guests, "guests", "none", "what runs in the VMs: "+strings.Join(guestKinds(), ", "))
	fs.DurationVar(&s.simulated.NodeStartupTime, "node-startup-time", 0, "from first boot to a ready node, of simulated guests")
	fs.DurationVar(&s.simulated.NodeGrace, "node-grace", time.Second, "how long a node whose VM is off is believed to be ready, of simulated guests")
	fs.DurationVar(&s.simulated.VIPTakeover, "vip-takeover", 0, "how long after the end of a virtual IP's holder another takes it, of simulated guests; 0 is what their seeds say")
	fs.StringVar(&s.container.Network, "guest-network", "", "`name` of the Docker network that container guests are on")
	fs.StringVar(&s.container.Instance, "guest-instance", "", "`name` in the labels of what container guests have on their engine, this fake's alone; that of their network by default")
	fs.Var(guestImages, "guest-image", "`image=name` of a Docker image, where it is not elemento.cloud/node of the image's Kubernetes version; may be repeated")
	fs.DurationVar(&s.container.ShutdownTimeout, "shutdown-timeout", 0, "how long container guests may take to heed their power button; 90s by default")
	fs.StringVar(&s.readyFile, "ready-file", "", "`file` to write the addresses to; standard output by default")
	fs.TextVar(&s.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *config != "" {
		// The file goes over the defaults and the flags that were given over it.
		given := map[string]string{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
		delete(given, "image") // which are added up
		delete(given, "guest-image")
		if err := readFile(*config, o); err != nil {
			return s, fmt.Errorf("%s: %w", *config, err)
		}
		for name, value := range given {
			if err := fs.Set(name, value); err != nil {
				return s, err
			}
		}
	}
	if *tokenFile != "" {
		raw, err := os.ReadFile(*tokenFile)
		if err != nil {
			return s, err
		}
		o.Token = strings.TrimSpace(string(raw))
	}
	if *faults != "" {
		raw, err := os.ReadFile(*faults)
		if err != nil {
			return s, err
		}
		if o.Faults, err = fakeatomos.ParseFaults(raw); err != nil {
			return s, fmt.Errorf("%s: %w", *faults, err)
		}
	}
	if o.Images == nil {
		o.Images = map[string]string{}
	}
	for name, version := range images {
		o.Images[name] = version
	}
	s.container.Images = guestImages
	if len(o.Hosts) == 0 {
		var err error
		if o.Hosts, err = makeHosts(model, *hosts, *domains, *network); err != nil {
			return s, err
		}
	}
	return s, nil
}

func readFile(name string, o *fakeatomos.Options) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(asJSON, o)
}

// makeHosts makes hosts of one model: host-1, host-2 …, dealt to the domains in
// turn.
func makeHosts(model fakeatomos.HostOptions, n, domains int, network string) ([]fakeatomos.HostOptions, error) {
	if n < 1 || domains < 1 || domains > n {
		return nil, fmt.Errorf("%d hosts in %d domains: want at least one host in each domain", n, domains)
	}
	var addresses []netip.Addr
	if network == "" {
		var err error
		if addresses, err = fakeatomos.FreeAddresses(n); err != nil {
			return nil, err
		}
	} else {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("--network: %w", err)
		}
		a := prefix.Masked().Addr()
		for range n {
			if a = a.Next(); !prefix.Contains(a) {
				return nil, fmt.Errorf("--network %s has no room for %d hosts", prefix, n)
			}
			addresses = append(addresses, a)
		}
	}
	hosts := make([]fakeatomos.HostOptions, n)
	for i := range hosts {
		hosts[i] = model
		hosts[i].Name = fmt.Sprintf("host-%d", i+1)
		hosts[i].Domain = fmt.Sprintf("domain-%d", i%domains+1)
		hosts[i].Address = addresses[i]
	}
	return hosts, nil
}

// pairsFlag collects name=value.
type pairsFlag map[string]string

func (f pairsFlag) String() string { return "" }

func (f pairsFlag) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("write name=value")
	}
	f[name] = value
	return nil
}

// announce writes the addresses in one step: a file that is there is whole.
func announce(f *fakeatomos.Fake, file string, stdout io.Writer) error {
	raw, err := json.MarshalIndent(f.Ready(), "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if file == "" {
		_, err := stdout.Write(raw)
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(file), ".ready-*")
	if err != nil {
		return err
	}
	_, err = fresh.Write(raw)
	if err = errors.Join(err, fresh.Close()); err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return os.Rename(fresh.Name(), file)
}
