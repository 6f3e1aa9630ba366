package container_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	guests "elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

const (
	owner = "11111111-1111-4111-8111-111111111111"
	// testLabel is that of what tests make besides guests.
	testLabel = "cloud.elemento.test"
	// bootImage is the boot image that VMs have.
	bootImage = "machine"
)

func TestMain(m *testing.M) {
	if config := os.Getenv("FAKE_OF_A_TEST"); config != "" {
		runFake(config)
		return
	}
	code := m.Run()
	if err := removeImage(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = cmp.Or(code, 1)
	}
	os.Exit(code)
}

// engine is the Docker Engine; the test skips where none answers.
var engine = sync.OnceValues(func() (*client.Client, error) {
	api, err := client.New(client.FromEnv)
	if err == nil {
		_, err = api.Ping(context.Background(), client.PingOptions{})
	}
	return api, err
})

var testImage = fmt.Sprintf("elemento.cloud/test-machine:%d", os.Getpid())

// image is the name of the Docker image of testdata/machine.
var image = sync.OnceValues(func() (string, error) {
	api, err := engine()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "machine-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "machine")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./testdata/machine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Name: "machine", Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	reply, err := api.ImageImport(context.Background(), client.ImageImportSource{Source: &archive, SourceName: "-"}, testImage,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/machine"]`, "LABEL " + testLabel + "=image"}})
	if err != nil {
		return "", err
	}
	imported = true
	_, err = io.Copy(io.Discard, reply)
	return testImage, errors.Join(err, reply.Close())
})

// imported tells that the image is there to be removed.
var imported bool

func removeImage() error {
	if !imported {
		return nil
	}
	api, err := engine()
	if err == nil {
		_, err = api.ImageRemove(context.Background(), testImage, client.ImageRemoveOptions{Force: true})
	}
	return err
}

// lab is a Docker network of a test's own.
type lab struct {
	*testing.T
	api    *client.Client
	name   string // of the network, and so of the instance
	subnet netip.Prefix
	image  string
}

// newLab makes the network, and removes it after a look at what the guests have
// left.
func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	return newSerialLab(t)
}

// newSerialLab is one of a test that no other runs beside.
func newSerialLab(t *testing.T) *lab {
	t.Helper()
	api, err := engine()
	if err != nil {
		t.Skipf("these tests need a Docker Engine, and none answers (make docker): %v", err)
	}
	l := &lab{T: t, api: api, name: fmt.Sprintf("elemento-test-%08x", rand.Uint32())}
	l.image, err = image()
	l.must(err)
	for range 20 { // others may have the subnet
		l.subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(180 + rand.IntN(60)), byte(rand.IntN(256)), 0}), 24)
		if _, err = api.NetworkCreate(t.Context(), l.name, client.NetworkCreateOptions{
			Driver: "bridge", Labels: map[string]string{testLabel: "network"},
			IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: l.subnet}}},
		}); err == nil {
			break
		}
	}
	l.must(err)
	if !l.local() {
		l.must(l.removeNetwork())
		t.Skipf("these tests reach guests from here, and the Docker Engine at %s is on another machine, in a VM or rootless: unset DOCKER_HOST to use this machine's", api.DaemonHost())
	}
	t.Cleanup(func() {
		if left := l.left(); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
		if err := l.removeNetwork(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lab) removeNetwork() error {
	_, err := l.api.NetworkRemove(context.Background(), l.name, client.NetworkRemoveOptions{})
	return err
}

// local tells whether the network's gateway is this machine.
func (l *lab) local() bool {
	l.Helper()
	addresses, err := net.InterfaceAddrs()
	l.must(err)
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Masked() == l.subnet
	})
}

// newRootLab is a lab whose guests can be cut off.
func newRootLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can cut a guest off")
	}
	return newLab(t)
}

// left are the containers and volumes of the lab's guests.
func (l *lab) left() (left []string) {
	l.Helper()
	mine := client.Filters{}.Add("label", guests.InstanceLabel+"="+l.name)
	containers, err := l.api.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: mine})
	l.must(err)
	for _, c := range containers.Items {
		left = append(left, "container "+c.Names[0])
	}
	volumes, err := l.api.VolumeList(context.Background(), client.VolumeListOptions{Filters: mine})
	l.must(err)
	for _, v := range volumes.Items {
		left = append(left, "volume "+v.Name)
	}
	return left
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) eventually(what string, met func() bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-ctx.Done():
			l.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// site is a fake with one host whose guests are containers.
type site struct {
	*lab
	fake *fakeatomos.Fake
	host *fakeatomos.Host
	c4   *c4.Client
}

// start starts a fake that ends with the test.
func (l *lab) start(edit func(*guests.Options, *fakeatomos.Options)) *site {
	l.Helper()
	addresses, err := fakeatomos.FreeAddresses(1)
	l.must(err)
	log := slog.New(slog.NewTextHandler(l.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := fakeatomos.Options{
		Hosts: []fakeatomos.HostOptions{{Name: "host-1", Domain: "d1", Address: addresses[0]}}, Images: map[string]string{bootImage: "", "other": ""}, Log: log,
	}
	g := guests.Options{Network: l.name, Images: map[string]string{bootImage: l.image}, Log: log}
	if edit != nil {
		edit(&g, &o)
	}
	runs, err := guests.New(l.Context(), g)
	l.must(err)
	l.Cleanup(runs.Close)
	o.Guests = runs
	fake, err := fakeatomos.Start(context.Background(), o)
	l.must(err)
	l.Cleanup(fake.Close)
	s := &site{lab: l, fake: fake, host: fake.Hosts()[0]}
	s.c4 = l.dial(s.host.URL(), s.host.Fingerprint())
	return s
}

func (l *lab) dial(url, fingerprint string) *c4.Client {
	l.Helper()
	c, err := c4.New(c4.Config{URL: url, Fingerprint: fingerprint})
	l.must(err)
	l.Cleanup(c.Close)
	return c
}

// order is a VM to be made.
type order struct {
	name, userData string
	image          string
	slots          int
	memoryMiB      int64
	mode           *string
	subnet         netip.Prefix
}

// register makes a VM with all it needs.
func (l *lab) register(c *c4.Client, o order) c4.VMRef {
	l.Helper()
	ctx := l.Context()
	subnet := l.subnet
	if o.subnet.IsValid() {
		subnet = o.subnet
	}
	base := subnet.Addr().As4()
	at := func(n byte) string { base[3] = n; return netip.AddrFrom4(base).String() }
	n, err := c.CreateNetwork(ctx, c4.Network{
		CreatorUID: owner, Name: o.name, Type: "libvirt", Mode: o.mode,
		IP: c4.NetworkIP{Address: at(1) + "/24", DHCP: c4.NetworkDHCP{Start: at(128), End: at(250)}},
	})
	l.must(err)
	disk, err := c.CreateImageVolume(ctx, c4.ImageVolumeRequest{
		CreatorID: owner, Name: o.name, Private: true, Bootable: true, Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 10,
		URL: "https://images.example/" + cmp.Or(o.image, bootImage) + ".qcow2",
	})
	l.must(err)
	seed, err := c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: o.name + "-seed", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}, []byte(o.userData))
	l.must(err)
	l.must(c.CompleteSeed(ctx, seed, []byte("instance-id: "+o.name)))
	uid, err := c.Register(ctx, c4.RegisterRequest{
		ClientUID: owner, Name: o.name, Volumes: []c4.Volume{{VolumeID: disk}, {VolumeID: seed}}, Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}},
		Pledge: c4.Pledge{CPU: c4.CPUPledge{Slots: cmp.Or(o.slots, 1)}, Mem: c4.MemPledge{Capacity: cmp.Or(o.memoryMiB, 64)}},
	})
	l.must(err)
	return c4.VMRef{ClientUID: owner, VMUID: uid}
}

// vm is a VM as C4 tells it.
func (l *lab) vm(c *c4.Client, ref c4.VMRef) c4.VM {
	l.Helper()
	all, _, _, err := c.VMs(l.Context(), owner, nil)
	l.must(err)
	for _, vm := range all {
		if vm.UID == ref.VMUID {
			return vm
		}
	}
	return c4.VM{}
}

// up waits until a VM's guest answers, and returns its address.
func (l *lab) up(c *c4.Client, ref c4.VMRef) string {
	l.Helper()
	var address string
	l.eventually("the guest is up", func() bool {
		address = l.vm(c, ref).Address
		return address != "" && l.ask(address, "/hostname") != ""
	})
	return address
}

// ask asks a guest over its own address; "" if it does not answer.
func (l *lab) ask(address, path string) string {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	l.must(err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(content)
}

func (l *lab) file(address, name string) string {
	return l.ask(address, "/file?name="+url.QueryEscape(name))
}

// container is the container of a VM.
func (l *lab) container(ref c4.VMRef) container.InspectResponse {
	l.Helper()
	found, err := l.api.ContainerList(l.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", guests.VMLabel+"="+ref.VMUID)})
	l.must(err)
	if len(found.Items) != 1 {
		l.Fatalf("VM %s has %d containers", ref.VMUID, len(found.Items))
	}
	inspected, err := l.api.ContainerInspect(l.Context(), found.Items[0].ID, client.ContainerInspectOptions{})
	l.must(err)
	return inspected.Container
}

// at is an address of the lab's network.
func (l *lab) at(n byte) netip.Addr {
	a := l.subnet.Addr().As4()
	a[3] = n
	return netip.AddrFrom4(a)
}

// engineTakesMACs tells whether the engine, of version 25 or later, gives a container
// the MAC that was asked for.
func (l *lab) engineTakesMACs() bool {
	l.Helper()
	version, err := l.api.ServerVersion(l.Context(), client.ServerVersionOptions{})
	l.must(err)
	major, minor, _ := strings.Cut(version.APIVersion, ".")
	n, err := strconv.Atoi(minor)
	l.must(err)
	return major != "1" || n >= 44
}

// elsewhere is the URL of the engine, as it would be if it were on another machine: the
// processes of its containers, as it tells, have a number that is another's here.
func (l *lab) elsewhere(pid int) string {
	l.Helper()
	engine := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return l.api.Dialer()(context.Background())
		}},
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if !strings.HasSuffix(r.Request.URL.Path, "/json") {
				return nil
			}
			told, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			told = regexp.MustCompile(`"Pid":[1-9]\d*`).ReplaceAll(told, fmt.Appendf(nil, `"Pid":%d`, pid))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(told)), int64(len(told))
			r.Header.Set("Content-Length", strconv.Itoa(len(told)))
			return nil
		},
	}
	server := httptest.NewServer(engine)
	l.Cleanup(server.Close)
	return "tcp://" + server.Listener.Addr().String()
}

// listens tells whether the guest of a VM would answer, if it had a network.
func (l *lab) listens(ref c4.VMRef) bool {
	l.Helper()
	sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", l.container(ref).State.Pid))
	return err == nil && bytes.Contains(sockets, []byte(":0050 00000000000000000000000000000000:0000 0A"))
}

// fakeConfig is what a fake in a process of its own is told.
type fakeConfig struct {
	Address                             netip.Addr
	Network, Image, StateDir, ReadyFile string
}

// runFake is that process; it ends by a signal.
func runFake(raw string) {
	var config fakeConfig
	err := json.Unmarshal([]byte(raw), &config)
	ctx := context.Background()
	var g *guests.Guests
	if err == nil {
		g, err = guests.New(ctx, guests.Options{Network: config.Network, Images: map[string]string{bootImage: config.Image}, KeepDisks: config.StateDir != ""})
	}
	var f *fakeatomos.Fake
	if err == nil {
		f, err = fakeatomos.Start(ctx, fakeatomos.Options{
			Hosts: []fakeatomos.HostOptions{{Name: "host-1", Address: config.Address}}, Images: map[string]string{bootImage: ""}, Guests: g, StateDir: config.StateDir,
		})
	}
	if err == nil {
		var ready []byte
		ready, err = json.Marshal(f.Ready())
		err = errors.Join(err, os.WriteFile(config.ReadyFile+".new", ready, 0o600), os.Rename(config.ReadyFile+".new", config.ReadyFile))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// process starts a fake in a process of its own. The function kills it.
func (l *lab) process(stateDir string, address netip.Addr) (*c4.Client, func()) {
	l.Helper()
	config := fakeConfig{address, l.name, l.image, stateDir, filepath.Join(l.TempDir(), "ready")}
	raw, err := json.Marshal(config)
	l.must(err)
	self, err := os.Executable()
	l.must(err)
	p := exec.CommandContext(context.Background(), self)
	p.Env = append(os.Environ(), "FAKE_OF_A_TEST="+string(raw))
	p.Stderr = l.Output()
	l.must(p.Start())
	kill := sync.OnceFunc(func() { _, _ = p.Process.Kill(), p.Wait() })
	l.Cleanup(kill)
	var ready fakeatomos.Ready
	l.eventually("the fake is ready", func() bool {
		content, err := os.ReadFile(config.ReadyFile)
		return err == nil && json.Unmarshal(content, &ready) == nil
	})
	return l.dial(ready.Hosts[0].URL, ready.Hosts[0].Fingerprint), kill
}
