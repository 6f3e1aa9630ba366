package fakeatomos_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// populate makes one of everything and returns the VM.
func populate(t *testing.T, c *c4.Client) c4.VM {
	t.Helper()
	ctx := t.Context()
	boot, err := c.CreateImageVolume(ctx, c4.ImageVolumeRequest{CreatorID: owner, Name: "boot", Private: true, Bootable: true, Clonable: true, Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 10, URL: image})
	succeed(t, err)
	seed := seedOf(t, c, "user", "meta")
	free, err := c.CreateVolume(ctx, volume("free"))
	succeed(t, err)
	succeed(t, c.ExportVolume(ctx, owner, free))
	n := bridge(t, c, 24)
	uid, err := c.Register(ctx, c4.RegisterRequest{
		ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: boot}, {VolumeID: seed}}, Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}},
	})
	succeed(t, err)
	_, err = c.CreateForward(ctx, c4.Forward{CreatorUID: owner, Protocol: "tcp", Port: 6443, TargetVMUID: uid, TargetPort: 4000})
	succeed(t, err)
	var vm c4.VM
	eventually(t, "the VM is up", func() bool { vm = vmsOf(t, c, owner)[0]; return vm.Address != "" })
	return vm
}

func TestAHostThatComesBackHasAllItHad(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = guests })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	before := populate(t, c)
	had := f.Inventory().Resources()
	h.Down()
	h.Down() // again changes nothing
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
	down := f.Inventory().Hosts[0]
	if down.Up || down.VMs[0].State != c4.ShutOff || !down.VMs[0].RunningSince.IsZero() {
		t.Errorf("a host that is down shows %+v", down)
	}
	if greet(t, "", before.Address, 4000) != "" {
		t.Error("a guest outlived its host's power")
	}
	succeed(t, h.Up())
	succeed(t, h.Up()) // again changes nothing
	eventually(t, "the VM has started by itself", func() bool { return vmsOf(t, c, owner)[0].Address != "" })
	if after := vmsOf(t, c, owner)[0]; after.UID != before.UID || after.Address != before.Address || after.MAC != before.MAC || !after.Created.Equal(before.Created) {
		t.Errorf("the VM was %+v and is %+v", before, after)
	}
	if has := f.Inventory().Resources(); !slices.Equal(has, had) {
		t.Errorf("had %v, has %v", had, has)
	}
	eventually(t, "the forward leads there again", func() bool { return greet(t, "", h.Address().String(), 6443) == "vm" })
}

func TestStateOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	guests := newGreeters()
	options := func(o *fakeatomos.Options) { o.StateDir, o.Guests = dir, guests }
	first := start(t, 2, options)
	h := first.Hosts()[0]
	c := dial(t, h, "")
	before := populate(t, c)
	gone := register(t, c, "gone", small())
	succeed(t, c.Unregister(t.Context(), gone))
	had := first.Inventory()
	first.Close()

	second := start(t, 2, func(o *fakeatomos.Options) {
		options(o)
		for i, h := range first.Hosts() {
			o.Hosts[i].Address = h.Address()
		}
	})
	has := second.Inventory()
	if !slices.Equal(has.Resources(), had.Resources()) {
		t.Errorf("had %v, has %v", had.Resources(), has.Resources())
	}
	for i, h := range second.Hosts() {
		if h.Fingerprint() != first.Hosts()[i].Fingerprint() {
			t.Errorf("%s has another certificate", h.Name())
		}
	}
	eventually(t, "the VM is up again", func() bool { return vmsOf(t, c, owner)[0].Address != "" }) // by the same client
	after := vmsOf(t, c, owner)[0]
	if after.UID != before.UID || after.Address != before.Address || after.MAC != before.MAC || len(after.Volumes) != 2 {
		t.Errorf("the VM was %+v and is %+v", before, after)
	}
	if seen := guests.boot(after.UID); string(seen.UserData) != "user" || string(seen.MetaData) != "meta" || seen.KubernetesVersion != "v1.36.3" {
		t.Errorf("the guest boots from %+v", seen)
	}
	for _, v := range has.Hosts[0].Volumes {
		if err := c.DestroyVolume(t.Context(), v.ID); err == nil {
			t.Errorf("%s was destroyed while it is held", v.Name)
		}
	}
	if next := on(t, c, "next", has.Hosts[0].Networks[0]); next.Address == after.Address {
		t.Errorf("the address %s was given twice", next.Address)
	}
}

func TestSecretsOnDiskAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	populate(t, dial(t, start(t, 1, func(o *fakeatomos.Options) { o.StateDir = dir }).Hosts()[0], ""))
	files := 0
	succeed(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		files++
		return err
	}))
	if files == 0 {
		t.Error("nothing was kept")
	}
}

func TestADamagedStateIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	succeed(t, os.MkdirAll(filepath.Join(dir, "h", "vms"), 0o700))
	succeed(t, os.WriteFile(filepath.Join(dir, "h", "vms", "x"), []byte(`{"uid":`), 0o600))
	addresses, err := fakeatomos.FreeAddresses(1)
	succeed(t, err)
	_, err = fakeatomos.Start(t.Context(), fakeatomos.Options{Hosts: []fakeatomos.HostOptions{{Name: "h", Address: addresses[0]}}, StateDir: dir})
	if err == nil || !strings.Contains(err.Error(), filepath.Join("h", "vms", "x")) {
		t.Errorf("got %v", err)
	}
}

func TestAnAddressThatIsTakenIsToldAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	first := start(t, 1, nil)
	free, err := fakeatomos.FreeAddresses(1)
	succeed(t, err)
	_, err = fakeatomos.Start(t.Context(), fakeatomos.Options{Hosts: []fakeatomos.HostOptions{
		{Name: "a", Address: free[0]}, {Name: "b", Address: first.Hosts()[0].Address()},
	}})
	if err == nil {
		t.Fatal("two hosts share an address")
	}
	again, err := fakeatomos.Start(t.Context(), fakeatomos.Options{Hosts: []fakeatomos.HostOptions{{Name: "a", Address: free[0]}}})
	succeed(t, err)
	again.Close()
}

func TestPowerMayComeAndGoAtAnyTime(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) {
		o.Guests, o.BootTime, o.StopTime = newGreeters(), time.Millisecond, time.Millisecond
	})
	h := f.Hosts()[0]
	c := dial(t, h, "")
	n := bridge(t, c, 24)
	var refs []c4.VMRef
	for i := range 8 {
		uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: fmt.Sprint("vm-", i), Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
		succeed(t, err)
		refs = append(refs, c4.VMRef{ClientUID: owner, VMUID: uid})
	}
	var work sync.WaitGroup
	for _, vm := range refs {
		work.Go(func() {
			for i := range 30 {
				_ = []func() error{
					func() error { return c.Start(t.Context(), vm) },
					func() error { return c.Stop(t.Context(), vm) },
					func() error { return c.Reboot(t.Context(), vm) },
				}[i%3]()
			}
		})
	}
	for range 10 {
		h.Down()
		if err := h.Up(); err != nil {
			t.Error(err)
		}
	}
	work.Wait()
	h.Down()
	succeed(t, h.Up())
	c.Close() // connections that the host has cut
	eventually(t, "all VMs are up", func() bool {
		for _, vm := range vmsOf(t, c, owner) {
			if vm.State != c4.Running || greet(t, "", vm.Address, 4000) != vm.Name {
				return false
			}
		}
		return true
	})
	for _, vm := range refs {
		work.Go(func() {
			if err := c.Unregister(t.Context(), vm); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if left := vmsOf(t, c, owner); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}

func TestOneOfTwoUnregistersSucceeds(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() }).Hosts()[0], "")
	vm := register(t, c, "vm", small())
	results := make(chan error, 5)
	for range cap(results) {
		go func() { results <- c.Unregister(t.Context(), vm) }()
	}
	done := 0
	for range cap(results) {
		err := <-results
		switch code := c4.CodeOf(err); {
		case err == nil:
			done++
		case code != c4.NotFound && code != c4.NotDone:
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d of them removed the VM", done)
	}
}

func TestAThousandVMsOnSixteenHosts(t *testing.T) {
	t.Parallel()
	f := start(t, 16, func(o *fakeatomos.Options) { o.BootTime = 20 * time.Millisecond })
	p := prefix(t, 20)
	var work sync.WaitGroup
	failed := make(chan error, 16)
	for _, h := range f.Hosts() {
		c := dial(t, h, "")
		work.Go(func() {
			n, err := c.CreateNetwork(t.Context(), networkOf(p, nil))
			for i := 0; i < 63 && err == nil; i++ {
				_, err = c.Register(t.Context(), c4.RegisterRequest{
					ClientUID: owner, Name: fmt.Sprintf("%s-%d", h.Name(), i), Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}},
				})
			}
			failed <- err
		})
	}
	work.Wait()
	close(failed)
	for err := range failed {
		succeed(t, err)
	}
	eventually(t, "all run, each with an address of its own", func() bool {
		seen := map[string]bool{}
		for _, h := range f.Inventory().Hosts {
			for _, vm := range h.VMs {
				if vm.State == c4.Running && !vm.BootedAt.IsZero() {
					seen[vm.Address] = true
				}
			}
		}
		return len(seen) == 16*63
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	addresses, err := fakeatomos.FreeAddresses(2)
	succeed(t, err)
	sound := func() fakeatomos.Options {
		return fakeatomos.Options{Hosts: []fakeatomos.HostOptions{{Name: "a", Address: addresses[0]}, {Name: "b", Address: addresses[1]}}}
	}
	for name, spoil := range map[string]func(*fakeatomos.Options){
		"no hosts":          func(o *fakeatomos.Options) { o.Hosts = nil },
		"no name":           func(o *fakeatomos.Options) { o.Hosts[0].Name = "" },
		"a path as name":    func(o *fakeatomos.Options) { o.Hosts[0].Name = "../a" },
		"one name twice":    func(o *fakeatomos.Options) { o.Hosts[1].Name = "a" },
		"one address twice": func(o *fakeatomos.Options) { o.Hosts[1].Address = addresses[0] },
		"no address":        func(o *fakeatomos.Options) { o.Hosts[0].Address = netip.Addr{} },
		"negative cores":    func(o *fakeatomos.Options) { o.Hosts[0].Cores = -1 },
		"unknown arch":      func(o *fakeatomos.Options) { o.Hosts[0].Arch = "Z80" },
		"a bad device":      func(o *fakeatomos.Options) { o.Hosts[0].PCI = map[string]int{"x": 1} },
		"a negative time":   func(o *fakeatomos.Options) { o.BootTime = -1 },
		"a control address": func(o *fakeatomos.Options) { o.Control = "nowhere" },
	} {
		o := sound()
		spoil(&o)
		if f, err := fakeatomos.Start(t.Context(), o); err == nil {
			f.Close()
			t.Errorf("%s is accepted", name)
		}
	}
	f, err := fakeatomos.Start(t.Context(), sound())
	succeed(t, err)
	f.Close()
	f.Close() // again changes nothing
	if _, err := f.Host("c"); err == nil || errors.Unwrap(err) != nil {
		t.Errorf("a host that does not exist: %v", err)
	}
}
