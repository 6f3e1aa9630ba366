package fakeatomos_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const stranger = "22222222-2222-4222-8222-222222222222"

func wantCode(t *testing.T, err error, want c4.Code) {
	t.Helper()
	if err == nil || c4.CodeOf(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// register makes a VM without disks and networks.
func register(t *testing.T, c *c4.Client, name string, p c4.Pledge) c4.VMRef {
	t.Helper()
	uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: p})
	succeed(t, err)
	return c4.VMRef{ClientUID: owner, VMUID: uid}
}

// vmsOf lists a client's VMs.
func vmsOf(t *testing.T, c *c4.Client, client string) []c4.VM {
	t.Helper()
	vms, _, _, err := c.VMs(t.Context(), client, nil)
	succeed(t, err)
	return vms
}

// stateOf is the power state of the only VM.
func stateOf(t *testing.T, c *c4.Client) c4.PowerState {
	t.Helper()
	vms := vmsOf(t, c, owner)
	if len(vms) != 1 {
		t.Fatalf("%d VMs, want 1", len(vms))
	}
	return vms[0].State
}

func TestCapacityIsCountedAndGivenBack(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) {
		o.Hosts[0].Cores, o.Hosts[0].SMT, o.Hosts[0].MemoryMiB = 4, 2, 4096
		o.Hosts[0].PCI = map[string]int{"10de:1eb8": 1}
	})
	c := dial(t, f.Hosts()[0], "")
	full := c4.Pledge{CPU: c4.CPUPledge{Slots: 4, FullPhysical: true, MaxOverprovision: 1}, Mem: c4.MemPledge{Capacity: 1024}}
	a, err := c.CanAllocate(t.Context(), full)
	succeed(t, err)
	if !a.CanAllocate || a.AvailableSlots != 4 || a.AvailableRAM != 4096 {
		t.Errorf("an empty host says %+v", a)
	}
	vm := register(t, c, "full", full)
	if a, err = c.CanAllocate(t.Context(), small()); err != nil || a.CanAllocate || a.AvailableSlots != 0 || a.AvailableRAM != 3072 {
		t.Errorf("a host that is full says %+v, %v", a, err)
	}
	info, err := c.Info(t.Context())
	succeed(t, err)
	if info.CPU.UsedCores != 4 || info.CPU.UsedThreads != 8 || info.Mem.Avail != 3072 || info.PCI[0].Avail != 1 {
		t.Errorf("a host that is full shows %+v", info)
	}
	_, err = c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "more", Pledge: small()})
	wantCode(t, err, c4.CannotPlace)
	succeed(t, c.Unregister(t.Context(), vm))

	gpu := small()
	gpu.PCI.Devices = map[string]int{"10de:1eb8": 1}
	register(t, c, "gpu", gpu)
	_, err = c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "gpu2", Pledge: gpu})
	wantCode(t, err, c4.CannotPlace)
	big := small()
	big.Mem.Capacity = 3073
	_, err = c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "big", Pledge: big})
	wantCode(t, err, c4.CannotPlace)
	big.Mem.Capacity = 3072
	register(t, c, "big", big)
}

func TestHardwareThatIsAbsentCannotBePlaced(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	for name, ask := range map[string]func(*c4.Pledge){
		"arch":         func(p *c4.Pledge) { p.CPU.Arch = []string{"ARM_8"} },
		"flag":         func(p *c4.Pledge) { p.CPU.Flags = []string{"avx512f"} },
		"frequency":    func(p *c4.Pledge) { p.CPU.MinFrequency = "4.5" },
		"ECC":          func(p *c4.Pledge) { p.Mem.RequireECC = true },
		"PCI":          func(p *c4.Pledge) { p.PCI.Devices = map[string]int{"10de:1eb8": 1} },
		"manufacturer": func(p *c4.Pledge) { p.Misc.Manufacturer = "Acme" },
	} {
		p := small()
		ask(&p)
		_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: p})
		wantCode(t, err, c4.CannotPlace)
		if a, err := c.CanAllocate(t.Context(), p); err != nil || a.CanAllocate {
			t.Errorf("%s: canallocate says %+v, %v", name, a, err)
		}
	}
	register(t, c, "plain", small())
}

func TestOnlyTheOwnerSeesAndMovesAVM(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	mine := register(t, c, "mine", small())
	theirs := c4.VMRef{ClientUID: stranger, VMUID: mine.VMUID}
	ctx := t.Context()
	wantCode(t, c.Unregister(ctx, theirs), c4.NotFound)
	wantCode(t, c.Start(ctx, theirs), c4.NotFound)
	wantCode(t, c.Stop(ctx, theirs), c4.NotFound)
	wantCode(t, c.Reboot(ctx, theirs), c4.NotFound)
	_, err := c.Usage(ctx, theirs)
	wantCode(t, err, c4.NotFound)
	attach := c4.AttachRequest{ClientUID: stranger, VMUID: mine.VMUID, VolumeID: "v"}
	wantCode(t, c.Attach(ctx, attach), c4.NotFound)
	wantCode(t, c.Detach(ctx, attach), c4.NotFound)
	if got := vmsOf(t, c, stranger); len(got) != 0 {
		t.Errorf("a stranger sees %v", got)
	}
	if stateOf(t, c) != c4.Running {
		t.Error("a stranger changed the VM")
	}
}

func TestTwoVMsMayHaveOneName(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	register(t, c, "same", small())
	register(t, c, "same", small())
	if got := vmsOf(t, c, owner); len(got) != 2 {
		t.Errorf("%d VMs, want 2: AtomOS has no rule that names are unique", len(got))
	}
}

func TestTheCommunityEditionTakesTwoVMs(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].Community = true }).Hosts()[0], "")
	first := register(t, c, "one", small())
	register(t, c, "two", small())
	_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: stranger, Name: "three", Pledge: small()})
	wantCode(t, err, c4.LicenseRequired)
	succeed(t, c.Unregister(t.Context(), first))
	register(t, c, "three", small())
}

func TestAVMThatStartsIsNotRunningYet(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.BootTime = time.Hour }).Hosts()[0], "")
	vm := register(t, c, "vm", small())
	if stateOf(t, c) != c4.ShutOff {
		t.Error("the VM runs before it can have started")
	}
	wantCode(t, c.Start(t.Context(), vm), c4.WrongState)
	wantCode(t, c.Reboot(t.Context(), vm), c4.WrongState)
	succeed(t, c.Stop(t.Context(), vm)) // overtakes the start
	wantCode(t, c.Stop(t.Context(), vm), c4.WrongState)
	succeed(t, c.Start(t.Context(), vm))
	succeed(t, c.Unregister(t.Context(), vm))
}

func TestAVMThatShutsDownStillRuns(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.StopTime = time.Hour }).Hosts()[0], "")
	vm := register(t, c, "vm", small())
	succeed(t, c.Stop(t.Context(), vm))
	succeed(t, c.Stop(t.Context(), vm))
	if stateOf(t, c) != c4.Running {
		t.Error("the VM is off before it can have shut down")
	}
	wantCode(t, c.Start(t.Context(), vm), c4.WrongState)
	wantCode(t, c.Reboot(t.Context(), vm), c4.WrongState)
	succeed(t, c.Unregister(t.Context(), vm))
}

func TestPowerChangesInTime(t *testing.T) {
	t.Parallel()
	const pause = 30 * time.Millisecond
	f := start(t, 1, func(o *fakeatomos.Options) { o.BootTime, o.StopTime = pause, pause })
	c := dial(t, f.Hosts()[0], "")
	vm := register(t, c, "vm", small())
	eventually(t, "the VM runs", func() bool { return stateOf(t, c) == c4.Running })
	if seen := f.Inventory().VM("vm")[0]; seen.RunningSince.Sub(seen.Created) < pause {
		t.Errorf("created %s, running %s", seen.Created, seen.RunningSince)
	}
	for range 2 {
		succeed(t, c.Stop(t.Context(), vm))
		eventually(t, "the VM is off", func() bool { return stateOf(t, c) == c4.ShutOff })
		succeed(t, c.Start(t.Context(), vm))
		eventually(t, "the VM runs", func() bool { return stateOf(t, c) == c4.Running })
	}
}

func TestZeroTimesAreImmediate(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	vm := register(t, c, "vm", small())
	if stateOf(t, c) != c4.Running {
		t.Error("register has answered and the VM does not run")
	}
	succeed(t, c.Stop(t.Context(), vm))
	if stateOf(t, c) != c4.ShutOff {
		t.Error("stop has answered and the VM runs")
	}
	succeed(t, c.Start(t.Context(), vm))
	succeed(t, c.Reboot(t.Context(), vm))
	eventually(t, "the VM is back", func() bool { return stateOf(t, c) == c4.Running })
}

func TestAnExclusiveVolumeGoesToOneVMOnly(t *testing.T) {
	t.Parallel()
	for _, fence := range []bool{true, false} {
		t.Run(fmt.Sprintf("fence=%v", fence), func(t *testing.T) {
			t.Parallel()
			c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.NoBootVolumeFence = !fence }).Hosts()[0], "")
			boot, err := c.CreateVolume(t.Context(), volume("boot"))
			succeed(t, err)
			request := c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: boot}}}
			_, err = c.Register(t.Context(), request)
			succeed(t, err)
			_, err = c.Register(t.Context(), request)
			if fence {
				wantCode(t, err, c4.InUse)
			} else if err != nil {
				t.Errorf("a host that does not check refused: %v", err)
			}
		})
	}
}

func TestVolumesAndNetworksAreAttachedAndDetached(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	ctx := t.Context()
	boot, err := c.CreateVolume(ctx, c4.VolumeRequest{CreatorID: owner, Name: "boot", Private: true, Bootable: true, Alg: "no", Format: "raw", Bus: "virtio", Size: 1})
	succeed(t, err)
	data, err := c.CreateVolume(ctx, volume("data"))
	succeed(t, err)
	network := bridge(t, c, 24)
	uid, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: boot}}})
	succeed(t, err)
	other := register(t, c, "other", small())
	at := func(volume, network string) c4.AttachRequest {
		return c4.AttachRequest{ClientUID: owner, VMUID: uid, VolumeID: volume, NetworkUID: network}
	}
	wantCode(t, c.Attach(ctx, at("", "")), c4.Invalid)
	wantCode(t, c.Attach(ctx, at(data, network.NetworkUID)), c4.Invalid)
	wantCode(t, c.Attach(ctx, at("none", "")), c4.NotFound)
	wantCode(t, c.Attach(ctx, at("", "none")), c4.NotFound)
	wantCode(t, c.Detach(ctx, at(data, "")), c4.NotFound)
	for range 2 { // attaching again changes nothing
		succeed(t, c.Attach(ctx, at(data, "")))
		succeed(t, c.Attach(ctx, at("", network.NetworkUID)))
	}
	vm := vmsOf(t, c, owner)[0]
	if len(vm.Volumes) != 2 || len(vm.Networks) != 1 || vm.Address == "" {
		t.Errorf("after attaching: %+v", vm)
	}
	wantCode(t, c.Attach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: other.VMUID, VolumeID: data}), c4.InUse)
	wantCode(t, c.DestroyVolume(ctx, data), c4.InUse)
	wantCode(t, c.DeleteNetwork(ctx, network.NetworkUID), c4.InUse)
	wantCode(t, c.Detach(ctx, at(boot, "")), c4.WrongState)
	succeed(t, c.Detach(ctx, at(data, "")))
	succeed(t, c.Detach(ctx, at("", network.NetworkUID)))
	succeed(t, c.DestroyVolume(ctx, data))
	succeed(t, c.DeleteNetwork(ctx, network.NetworkUID))
}

func TestCallsThatNothingPublicShowsCanBeAbsent(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].PublishedOnly = true }).Hosts()[0], "")
	vm := register(t, c, "vm", small())
	wantCode(t, c.Attach(t.Context(), c4.AttachRequest{}), c4.Unsupported)
	wantCode(t, c.Detach(t.Context(), c4.AttachRequest{}), c4.Unsupported)
	_, err := c.Usage(t.Context(), vm)
	wantCode(t, err, c4.Unsupported)
}

func TestTokensAreChecked(t *testing.T) {
	t.Parallel()
	guarded := start(t, 1, func(o *fakeatomos.Options) { o.Token = "secret" }).Hosts()[0]
	wantCode(t, dial(t, guarded, "").Ping(t.Context()), c4.Unauthenticated)
	wantCode(t, dial(t, guarded, "wrong").Ping(t.Context()), c4.Unauthenticated)
	c := dial(t, guarded, "secret")
	succeed(t, c.Ping(t.Context()))
	register(t, c, "vm", small())
	m, err := c.Metrics(t.Context())
	succeed(t, err)
	if m.VMs != 1 || m.AllocatedSlots != 2 || m.AllocatedRAMMiB != 1024 || m.Clients != 1 {
		t.Errorf("metrics are %+v", m)
	}
	open := dial(t, start(t, 1, nil).Hosts()[0], "any")
	succeed(t, open.Ping(t.Context()))
	_, err = open.Metrics(t.Context())
	wantCode(t, err, c4.Unauthenticated)
}

// raw sends a request as it is and returns status and body.
func raw(t *testing.T, h *fakeatomos.Host, method, portAndPath, body string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL()+portAndPath, bytes.NewReader([]byte(body)))
	succeed(t, err)
	resp, err := client.Do(req)
	succeed(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	succeed(t, err)
	return resp.StatusCode, string(text)
}

func TestAForeignClientIsUnderstood(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	const pickled = `{"py/object":"a.Register","client_uid":"` + owner + `","vm_name":"vm","volumes":[],"has_network":false,"networks":[],
		"req":{"py/object":"a.Req","cpu":{"py/object":"a.Cpu","slots":1,"fullPhysical":false,"maxOverprovision":1,"min_frequency":"0.5","arch":["X86_64"],"flags":[]},
		"mem":{"py/object":"a.Mem","capacity":512,"requireECC":false},"pci":{"py/object":"a.Pci","devices":{}},"misc":{"os_family":"linux","os_flavour":"ubuntu","manufacturer":"Any"}}}`
	if status, text := raw(t, f.Hosts()[0], "POST", ":7777/api/v1.0/register", pickled); status != 200 {
		t.Errorf("register: %d %s", status, text)
	}
	for _, tc := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", ":7777/api/v1.0", "", 200},
		{"GET", ":7777/api/v1.0/status", "", 200},
		{"GET", ":7777/", "", 404},
		{"GET", ":7777/api/v1.0/none", "", 404},
		{"PUT", ":7777/api/v1.0/register", "{}", 405},
		{"POST", ":7777/api/v1.0/register", "{", 400},
		{"POST", ":7777/api/v1.0/register", "", 400},
		{"POST", ":7777/api/v1.0/register", "{}", 400},
		{"POST", ":7777/api/v1.0/register", `{"client_uid":7}`, 400},
		{"GET", ":7777/api/v1.0/running", "[]", 400},
		{"GET", ":7777/api/v1.0/usage", "", 400},
		{"GET", ":7777/api/v1.0/usage?start_date=2026-01-01&end_date=2026-02-01", "", 200},
		{"POST", ":7772/api/v1.0/register", "{}", 404},
	} {
		if got, text := raw(t, f.Hosts()[0], tc.method, tc.path, tc.body); got != tc.want {
			t.Errorf("%s %s %q: %d %s, want %d", tc.method, tc.path, tc.body, got, text, tc.want)
		}
	}
}
