package fakeatomos_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const owner = "11111111-1111-4111-8111-111111111111"

const image = "https://images.example/ubuntu-v1.36.3.qcow2"

// start brings up a fake with that many hosts; edit may change its options.
func start(t *testing.T, hosts int, edit func(*fakeatomos.Options)) *fakeatomos.Fake {
	t.Helper()
	addresses, err := fakeatomos.FreeAddresses(hosts)
	if err != nil {
		t.Fatal(err)
	}
	o := fakeatomos.Options{
		Images: map[string]string{"ubuntu-v1.36.3": "v1.36.3"},
		Log:    testLog(t),
	}
	for i, a := range addresses {
		o.Hosts = append(o.Hosts, fakeatomos.HostOptions{Name: "host-" + string(rune('a'+i)), Domain: "d1", Address: a})
	}
	if edit != nil {
		edit(&o)
	}
	f, err := fakeatomos.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// logWriter hands on what is written until the test ends: connections may be
// logged a moment after their server has been closed.
type logWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

func testLog(t *testing.T) *slog.Logger {
	w := &logWriter{to: t.Output()}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.to = io.Discard
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

// dial returns a client of one host.
func dial(t *testing.T, h *fakeatomos.Host, token string) *c4.Client {
	t.Helper()
	c, err := c4.New(c4.Config{URL: h.URL(), Fingerprint: h.Fingerprint(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// small is a pledge that fits anywhere.
func small() c4.Pledge {
	return c4.Pledge{
		CPU:  c4.CPUPledge{Slots: 2, MaxOverprovision: 4, MinFrequency: "0.5", Arch: []string{"X86_64"}, Flags: []string{}},
		Mem:  c4.MemPledge{Capacity: 1024},
		Misc: c4.MiscPledge{OSFamily: "linux", OSFlavour: "ubuntu", Manufacturer: "Any"},
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAVMLivesFromSeedToNothing(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	ctx := t.Context()

	boot := must[string](t)(c.CreateImageVolume(ctx, c4.ImageVolumeRequest{
		CreatorID: owner, Name: "vm-boot", Private: true, Bootable: true, Clonable: true, Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 20, URL: image,
	}))
	seed := must[string](t)(c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: "vm-seed", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}, []byte("#cloud-config\n")))
	if err := c.CompleteSeed(ctx, seed, []byte("instance-id: vm\n")); err != nil {
		t.Fatal(err)
	}
	subnet, err := fakeatomos.FreeNetwork(24)
	if err != nil {
		t.Fatal(err)
	}
	first := subnet.Addr().Next()
	n := must[c4.Network](t)(c.CreateNetwork(ctx, c4.Network{
		CreatorUID: owner, Name: "net", Type: "libvirt",
		IP: c4.NetworkIP{Address: first.String() + "/24", DHCP: c4.NetworkDHCP{Start: first.Next().String(), End: first.Next().Next().String()}},
	}))
	uid := must[string](t)(c.Register(ctx, c4.RegisterRequest{
		ClientUID: owner, Name: "vm", Pledge: small(), HasNetwork: true,
		Volumes:  []c4.Volume{{VolumeID: boot}, {VolumeID: seed}},
		Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}},
	}))
	vms, listing, changed, err := c.VMs(ctx, owner, nil)
	if err != nil || !changed || len(vms) != 1 {
		t.Fatalf("VMs: %v %v %v", vms, changed, err)
	}
	if vm := vms[0]; vm.UID != uid || vm.State != c4.Running || vm.Address != first.Next().String() || vm.MemoryMiB != 1024 || len(vm.Volumes) != 2 {
		t.Fatalf("unexpected VM: %+v", vm)
	}
	if _, _, changed, err := c.VMs(ctx, owner, listing); changed || err != nil {
		t.Fatalf("nothing has changed, but: %v %v", changed, err)
	}
	ref := c4.VMRef{ClientUID: owner, VMUID: uid}
	for _, step := range []error{c.Stop(ctx, ref), c.Start(ctx, ref), c.Reboot(ctx, ref), c.Unregister(ctx, ref),
		c.DestroyVolume(ctx, boot), c.DestroyVolume(ctx, seed), c.DeleteNetwork(ctx, n.NetworkUID)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if left := f.Inventory().Resources(); len(left) != 0 {
		t.Fatalf("left over: %v", left)
	}
}
