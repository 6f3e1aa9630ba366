package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const (
	owner   = "11111111-1111-4111-8111-111111111111"
	image   = "kubernetes-v1"
	network = "layers"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// hosts are two of a fake, on which the owner has the network.
func hosts(t *testing.T) *fakeatomos.Fake {
	t.Helper()
	o := fakeatomos.Options{Images: map[string]string{image: ""}}
	for i, a := range must(fakeatomos.FreeAddresses(2)) {
		o.Hosts = append(o.Hosts, fakeatomos.HostOptions{Name: fmt.Sprintf("host-%d", i+1), Domain: fmt.Sprintf("d%d", i+1), Address: a})
	}
	fake := must(fakeatomos.Start(context.WithoutCancel(t.Context()), o))
	t.Cleanup(fake.Close)
	for _, h := range fake.Hosts() {
		c := must(c4.New(c4.Config{URL: h.URL(), Fingerprint: h.Fingerprint()}))
		defer c.Close()
		must(c.CreateNetwork(t.Context(), c4.Network{
			CreatorUID: owner, Name: network, Type: "libvirt", Private: true, Routes: []string{},
			IP: c4.NetworkIP{Address: "10.20.0.1/24", DHCP: c4.NetworkDHCP{Start: "10.20.0.2", End: "10.20.0.200", Hosts: []c4.NetworkHost{}}},
		}))
	}
	return fake
}

func directDoor(t *testing.T, fake *fakeatomos.Fake) door {
	t.Helper()
	var configs []c4.Config
	for _, h := range fake.Hosts() {
		configs = append(configs, c4.Config{URL: h.URL(), Fingerprint: h.Fingerprint()})
	}
	d := must(connect(t.Context(), configs, owner, image, network))
	t.Cleanup(d.close)
	return d
}

// daemonDoor starts a daemon before the hosts.
func daemonDoor(t *testing.T, fake *fakeatomos.Fake) door {
	t.Helper()
	authority := must(pki.NewAuthority("daemons"))
	dir := t.TempDir()
	serving := must(authority.Server("127.0.0.1"))
	config := daemon.Config{
		Listen: "127.0.0.1:0", ImageURL: "https://images.example/{image}.qcow2",
		Clients: []daemon.Client{{CommonName: "bench", ClientUIDs: []string{owner}}},
		TLS:     daemon.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")},
	}
	for path, content := range map[string][]byte{config.TLS.CertFile: serving.Cert, config.TLS.KeyFile: serving.Key, config.TLS.ClientCAFile: authority.PEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var domains []string
	for _, h := range fake.Hosts() {
		config.Hosts = append(config.Hosts, daemon.Host{ID: h.Name(), Domain: h.Domain(), URL: h.URL(), Fingerprint: h.Fingerprint()})
		domains = append(domains, h.Domain())
	}
	d := must(daemon.New(config, slog.New(slog.DiscardHandler)))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	pair := must(authority.Client("bench"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM)
	conn := must(grpc.NewClient(d.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{must(tls.X509KeyPair(pair.Cert, pair.Key))},
	}))))
	t.Cleanup(func() { _ = conn.Close() })
	return newThroughDaemon(conn, owner, domains, specOf(image, network))
}

func TestEveryDoorMakesVMsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, *fakeatomos.Fake) door{"the hosts": directDoor, "a daemon": daemonDoor} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := hosts(t)
			before := len(fake.Inventory().Resources())
			d := open(t, fake)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			group := &errgroup.Group{}
			for n := range 6 {
				group.Go(func() error {
					vm := fmt.Sprintf("vm-%d", n)
					if err := d.make(ctx, vm); err != nil {
						return err
					}
					if found := fake.Inventory().VM(vm); len(found) != 1 || found[0].State != c4.Running {
						return fmt.Errorf("of VM %s there are %+v", vm, found)
					}
					return d.remove(ctx, vm)
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			if left := fake.Inventory().Resources(); len(left) != before {
				t.Errorf("left is %q", left)
			}
		})
	}
}

func TestTheDirectWayChangesWhatADaemonChanges(t *testing.T) {
	t.Parallel()
	changes := func(open func(*testing.T, *fakeatomos.Fake) door) map[string]int {
		fake := hosts(t)
		d := open(t, fake)
		if err := d.make(t.Context(), "vm"); err != nil {
			t.Fatal(err)
		}
		if err := d.remove(t.Context(), "vm"); err != nil {
			t.Fatal(err)
		}
		calls := map[string]int{}
		for _, e := range fake.Journal(0) {
			calls[strings.TrimSpace(e.Call)]++
		}
		return calls
	}
	if direct, through := changes(directDoor), changes(daemonDoor); direct["POST matcher/register"] != 1 || !maps.Equal(direct, through) {
		t.Errorf("directly the hosts are asked for %v, and by a daemon for %v", direct, through)
	}
}
