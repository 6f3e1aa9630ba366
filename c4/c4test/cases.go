package c4test

import (
	"context"
	"crypto/rand"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// cases are the contract. A cycle runs again with every call repeated.
var cases = []struct {
	name  string
	cycle bool
	run   func(*suite)
}{
	{"a host tells its hardware", true, hardware},
	{"a host with a token tells its allocation", true, metrics},
	{"a pledge that makes no sense is invalid", false, invalidPledge},
	{"a pledge that is too large cannot be placed", false, tooLarge},
	{"a volume lives", true, volumeLife},
	{"volumes that make no sense are invalid", false, invalidVolumes},
	{"a seed lives", true, seedLife},
	{"a boot volume is made from an image", true, imageLife},
	{"a network lives", true, networkLife},
	{"networks that make no sense are invalid", false, invalidNetworks},
	{"a VM lives", true, vmLife},
	{"a VM is switched off and on", true, powerLife},
	{"a VM belongs to its owner", false, ownership},
	{"two VMs may have one name", false, namesakes},
	{"an exclusive volume keeps a second VM away", false, fence},
	{"a forward lives", true, forwardLife},
	{"volumes are attached and detached", true, attachVolumeLife},
	{"networks are attached and detached", true, attachNetworkLife},
}

// nobody is a client UUID that owns nothing.
func nobody() string { return "c4test-nobody-" + strings.ToLower(rand.Text()) }

func hardware(s *suite) {
	s.step("statusjson", func() error {
		info, err := s.Info(s.Context())
		if err == nil && (info.CPU.MaxCores < 1 || info.CPU.MaxThreads < info.CPU.MaxCores || info.CPU.Arch == "" || info.Mem.Size < 1 || info.Mem.Avail > info.Mem.Size) {
			s.Errorf("statusjson makes no sense: %+v", info)
		}
		return err
	}, done)
	s.step("canallocate", func() error {
		a, err := s.CanAllocate(s.Context(), pledge())
		if err == nil && a.CanAllocate && (a.AvailableSlots < 1 || a.AvailableRAM < 512) {
			s.Errorf("canallocate contradicts itself: %+v", a)
		}
		return err
	}, done)
}

func metrics(s *suite) {
	if s.target.Token == "" {
		_, err := s.Metrics(s.Context())
		s.expect("host/status without a token", err, c4.Unauthenticated, c4.Unsupported)
		s.Skip("no token was given")
	}
	s.step("host/status", func() error {
		m, err := s.Metrics(s.Context())
		if err == nil && (m.TotalCores < 1 || m.AllocatedCores > m.TotalCores) {
			s.Errorf("host/status makes no sense: %+v", m)
		}
		return err
	}, done)
}

func invalidPledge(s *suite) {
	for what, spoil := range map[string]func(*c4.Pledge){
		"no slots":                func(p *c4.Pledge) { p.CPU.Slots = 0 },
		"257 slots":               func(p *c4.Pledge) { p.CPU.Slots = 257 },
		"overprovision 11":        func(p *c4.Pledge) { p.CPU.MaxOverprovision = 11 },
		"a frequency of 9 GHz":    func(p *c4.Pledge) { p.CPU.MinFrequency = "9.0" },
		"an unknown architecture": func(p *c4.Pledge) { p.CPU.Arch = []string{"Z80"} },
		"no memory":               func(p *c4.Pledge) { p.Mem.Capacity = 0 },
	} {
		p := pledge()
		spoil(&p)
		_, err := s.Register(s.Context(), c4.RegisterRequest{ClientUID: s.target.ClientUID, Name: s.name("vm"), Pledge: p, Volumes: []c4.Volume{}, Networks: []c4.NetworkRef{}})
		s.expect("register with "+what, err, c4.Invalid)
	}
	s.none()
}

func tooLarge(s *suite) {
	p := pledge()
	p.Mem.Capacity = 1 << 40
	_, err := s.Register(s.Context(), c4.RegisterRequest{ClientUID: s.target.ClientUID, Name: s.name("vm"), Pledge: p, Volumes: []c4.Volume{}, Networks: []c4.NetworkRef{}})
	s.expect("register with more memory than there is", err, c4.CannotPlace)
	a, err := s.CanAllocate(s.Context(), p)
	s.must("canallocate", err)
	if a.CanAllocate {
		s.Error("canallocate says that it fits")
	}
	s.none()
}

// none checks that the case has made no VM.
func (s *suite) none() {
	s.Helper()
	list, err := s.mine(s.Context())
	s.must("list VMs", err)
	if len(list) != 0 {
		s.Errorf("there are VMs: %+v", list)
	}
}

func volumeLife(s *suite) {
	ctx, client := s.Context(), s.target.ClientUID
	r := c4.VolumeRequest{CreatorID: client, Name: s.name("data"), Private: true, Alg: "no", Format: "qcow2", Bus: "virtio", Size: 1}
	s.step("cancreate", func() error { return s.CanCreateVolume(ctx, r) }, done)
	id := s.create("create", func() (string, error) {
		id, err := s.CreateVolume(ctx, r)
		if err == nil {
			s.made(id)
		}
		return id, err
	})
	s.step("info", func() error {
		v, err := s.Volume(ctx, id)
		if err == nil && (v.VolumeID != id || v.Name != r.Name || v.CreatorID != client || v.Size != 1e9 || !v.Private || v.Bootable || v.Shareable || v.Exported) {
			s.Errorf("info shows %+v", v)
		}
		return err
	}, done)
	s.step("accessible", func() error {
		count := 0
		list, err := s.Volumes(ctx, client)
		for _, v := range list {
			if v.Name == r.Name && v.CreatorID == client {
				count++
			}
		}
		if want := map[bool]int{false: 1, true: 2}[s.repeat]; err == nil && count != want {
			s.Errorf("accessible shows %d volumes of that name, want %d", count, want)
		}
		return err
	}, done)
	theirs, err := s.Volumes(ctx, nobody())
	s.must("accessible of another client", err)
	for _, v := range theirs {
		if v.VolumeID == id {
			s.Error("another client sees a private volume")
		}
	}
	s.step("export", func() error { return s.ExportVolume(ctx, client, id) }, c4.InUse)
	s.expect("destroy while exported", s.DestroyVolume(ctx, id), c4.InUse)
	s.step("unexport", func() error { return s.UnexportVolume(ctx, client, id) }, done)
	s.step("destroy", func() error { return s.DestroyVolume(ctx, id) }, c4.NotFound)
	s.volumeGone(id)
}

func (s *suite) volumeGone(id string) {
	s.Helper()
	s.eventually("the volume is gone", func(ctx context.Context) (bool, error) {
		_, err := s.Volume(ctx, id)
		return c4.CodeOf(err) == c4.NotFound && err != nil, removed(err)
	})
}

func invalidVolumes(s *suite) {
	for what, spoil := range map[string]func(*c4.VolumeRequest){
		"bootable and shareable": func(r *c4.VolumeRequest) { r.Bootable, r.Shareable = true, true },
		"an unknown format":      func(r *c4.VolumeRequest) { r.Format = "tape" },
		"an unknown bus":         func(r *c4.VolumeRequest) { r.Bus = "isa" },
		"no size":                func(r *c4.VolumeRequest) { r.Size = 0 },
	} {
		r := c4.VolumeRequest{CreatorID: s.target.ClientUID, Name: s.name("bad"), Private: true, Alg: "no", Format: "qcow2", Bus: "virtio", Size: 1}
		spoil(&r)
		_, err := s.CreateVolume(s.Context(), r)
		s.expect("create with "+what, err, c4.Invalid)
	}
	_, err := s.Volume(s.Context(), nobody())
	s.expect("info of a volume that does not exist", err, c4.NotFound)
}

func seedLife(s *suite) {
	ctx := s.Context()
	id := s.create("open", func() (string, error) {
		id, err := s.OpenSeed(ctx, s.seed(), []byte("#cloud-config\n{}\n"))
		if err == nil {
			s.made(id)
		}
		return id, err
	})
	s.step("complete", func() error { return s.CompleteSeed(ctx, id, []byte("instance-id: c4test\n")) }, c4.InUse)
	if v := s.made(id); !v.CloudInit || v.Name != s.name("seed") || v.CreatorID != s.target.ClientUID {
		s.Errorf("the seed is %+v", v)
	}
	s.expect("complete a seed that does not exist", s.CompleteSeed(ctx, nobody(), []byte("x")), c4.NotFound)
	s.step("destroy", func() error { return s.DestroyVolume(ctx, id) }, c4.NotFound)
	s.volumeGone(id)
}

func imageLife(s *suite) {
	if s.target.ImageURL == "" {
		s.Skip("no image was given")
	}
	ctx := s.Context()
	_, err := s.CreateImageVolume(ctx, s.image("https://c4test.invalid/none.qcow2"))
	s.expect("create from a URL that leads nowhere", err, c4.Invalid)
	id := s.create("create from an image", func() (string, error) {
		id, err := s.CreateImageVolume(ctx, s.image(s.target.ImageURL))
		if err == nil {
			s.made(id)
		}
		return id, err
	})
	if v := s.made(id); !v.Bootable || v.Shareable || v.Size != 10e9 || v.CreatorID != s.target.ClientUID {
		s.Errorf("the boot volume is %+v", v)
	}
	s.step("destroy", func() error { return s.DestroyVolume(ctx, id) }, c4.NotFound)
}

func networkLife(s *suite) {
	ctx := s.Context()
	want := s.network()
	uid := s.create("create", func() (string, error) {
		n, err := s.CreateNetwork(ctx, want)
		return n.NetworkUID, err
	})
	check := func(n c4.Network) {
		if n.NetworkUID != uid || n.Name != want.Name || n.CreatorUID != want.CreatorUID || n.Mode == nil || *n.Mode != c4.NAT ||
			n.IP.Address != want.IP.Address || n.IP.DHCP.Start != want.IP.DHCP.Start {
			s.Errorf("the network is %+v, want %+v", n, want)
		}
	}
	s.step("info", func() error {
		n, err := s.Network(ctx, uid)
		if err == nil {
			check(n)
		}
		return err
	}, done)
	s.step("list", func() error {
		list, err := s.Networks(ctx)
		found := false
		for _, n := range list {
			if n.NetworkUID == uid {
				found = true
				check(n)
			}
		}
		if err == nil && !found {
			s.Error("list does not show the network")
		}
		return err
	}, done)
	s.step("delete", func() error { return s.DeleteNetwork(ctx, uid) }, c4.NotFound)
	_, err := s.Network(ctx, uid)
	s.expect("info of a network that is gone", err, c4.NotFound)
}

func invalidNetworks(s *suite) {
	n := s.network()
	n.IP = c4.NetworkIP{}
	_, err := s.CreateNetwork(s.Context(), n)
	s.expect("create without ip", err, c4.Invalid)
	n = s.network()
	n.IP.DHCP.End = s.target.Network.Masked().Addr().Prev().String()
	_, err = s.CreateNetwork(s.Context(), n)
	s.expect("create with a DHCP range outside the subnet", err, c4.Invalid)
}

func vmLife(s *suite) {
	s.needRoom()
	ctx := s.Context()
	boot := s.bootVolume()
	var uid string
	s.step("register", func() error {
		got, err := s.register("vm", []string{boot}, nil)
		if err == nil {
			uid = got
		}
		return err
	}, c4.InUse)
	s.step("list", func() error {
		vm, err := s.vm(ctx, uid)
		if err == nil && (vm.Name != s.name("vm") || vm.Slots != 1 || vm.MemoryMiB != 512 || vm.MaxOverprovision != 10 || vm.FullPhysical || len(vm.Volumes) != 1 || vm.Volumes[0].VolumeID != boot) {
			s.Errorf("the VM is %+v", vm)
		}
		return err
	}, done)
	list, err := s.mine(ctx)
	s.must("list VMs", err)
	if len(list) != 1 {
		s.Errorf("%d VMs, want 1", len(list))
	}
	s.inState(uid, c4.Running)
	s.expect("start of a VM that runs", s.Start(ctx, s.ref(uid)), c4.WrongState)
	s.expect("destroy of its boot volume", s.DestroyVolume(ctx, boot), c4.InUse)
	if v := s.made(boot); !v.Exported {
		s.Error("its boot volume is not shown as exported")
	}
	s.step("unregister", func() error { return s.Unregister(ctx, s.ref(uid)) }, c4.NotFound, c4.NotDone)
	s.eventually("the VM is gone", func(ctx context.Context) (bool, error) {
		_, err := s.vm(ctx, uid)
		return err != nil && c4.CodeOf(err) == c4.NotFound, removed(err)
	})
	s.eventually("its volume is free", func(ctx context.Context) (bool, error) {
		v, err := s.Volume(ctx, boot)
		return err == nil && !v.Exported, err
	})
	s.step("destroy", func() error { return s.DestroyVolume(ctx, boot) }, c4.NotFound)
}

func powerLife(s *suite) {
	if s.target.ImageURL == "" {
		s.Skip("no image was given, so there is no guest that would shut down")
	}
	s.needRoom()
	ctx := s.Context()
	uid, err := s.register("vm", []string{s.bootVolume()}, nil)
	s.must("register", err)
	s.inState(uid, c4.Running)
	s.step("stop", func() error { return s.Stop(ctx, s.ref(uid)) }, done, c4.WrongState)
	s.inState(uid, c4.ShutOff)
	s.expect("stop of a VM that is off", s.Stop(ctx, s.ref(uid)), c4.WrongState)
	s.expect("reboot of a VM that is off", s.Reboot(ctx, s.ref(uid)), c4.WrongState)
	s.step("start", func() error { return s.Start(ctx, s.ref(uid)) }, c4.WrongState)
	s.inState(uid, c4.Running)
	s.step("reboot", func() error { return s.Reboot(ctx, s.ref(uid)) }, done, c4.WrongState)
	s.inState(uid, c4.Running)
}

func ownership(s *suite) {
	s.needRoom()
	ctx := s.Context()
	uid, err := s.register("vm", []string{s.bootVolume()}, nil)
	s.must("register", err)
	stranger := c4.VMRef{ClientUID: nobody(), VMUID: uid}
	s.expect("start by a stranger", s.Start(ctx, stranger), c4.NotFound)
	s.expect("stop by a stranger", s.Stop(ctx, stranger), c4.NotFound)
	s.expect("reboot by a stranger", s.Reboot(ctx, stranger), c4.NotFound)
	s.expect("unregister by a stranger", s.Unregister(ctx, stranger), c4.NotFound)
	theirs, _, _, err := s.VMs(ctx, stranger.ClientUID, nil)
	s.must("list of a stranger", err)
	if len(theirs) != 0 {
		s.Errorf("a stranger sees %+v", theirs)
	}
	if _, err := s.vm(ctx, uid); err != nil {
		s.Errorf("the owner does not see the VM any more: %v", err)
	}
}

func namesakes(s *suite) {
	s.needRoom()
	first, err := s.register("twin", []string{s.bootVolume()}, nil)
	s.must("register", err)
	second, err := s.register("twin", []string{s.bootVolume()}, nil)
	s.must("register another one of that name", err)
	list, err := s.mine(s.Context())
	s.must("list VMs", err)
	if first == second || len(list) != 2 {
		s.Errorf("%s and %s: %d VMs, want 2", first, second, len(list))
	}
}

func fence(s *suite) {
	s.needRoom()
	boot := s.bootVolume()
	_, err := s.register("first", []string{boot}, nil)
	s.must("register", err)
	_, err = s.register("second", []string{boot}, nil)
	if c4.CodeOf(err) == c4.LicenseRequired {
		s.Skip("this edition takes no further VM")
	}
	s.expect("register with the boot volume of another VM", err, c4.InUse)
	list, err := s.mine(s.Context())
	s.must("list VMs", err)
	if len(list) != 1 {
		s.Errorf("%d VMs share a boot volume", len(list))
	}
}

func forwardLife(s *suite) {
	s.needRoom()
	ctx := s.Context()
	n, err := s.CreateNetwork(ctx, s.network())
	s.must("create network", err)
	uid, err := s.register("vm", []string{s.bootVolume()}, []string{n.NetworkUID})
	s.must("register", err)
	s.inState(uid, c4.Running)
	vm, err := s.vm(ctx, uid)
	s.must("list VMs", err)
	r := c4.Forward{CreatorUID: s.target.ClientUID, Protocol: "tcp", Port: s.target.ForwardPort, Target: vm.Address, TargetVMUID: uid, TargetPort: 22}
	if r.Target == "" { // the guest may never say
		r.Target = n.IP.DHCP.Start
	}
	var forward c4.Forward
	create := func() error {
		f, err := s.CreateForward(ctx, r)
		if err == nil {
			forward = f
			s.forwards = append(s.forwards, f.ForwardUID)
		}
		return err
	}
	s.step("create", create, c4.InUse)
	s.step("list", func() error {
		list, err := s.Forwards(ctx)
		found := 0
		for _, f := range list {
			if f.ForwardUID == forward.ForwardUID && f.Port == r.Port && f.Target == r.Target && f.TargetVMUID == uid && f.TargetPort == 22 {
				found++
			}
		}
		if err == nil && found != 1 {
			s.Errorf("the list shows the forward %d times: %+v", found, list)
		}
		return err
	}, done)
	before := forward
	r.Force = true
	s.step("replace", create, done)
	s.expect("delete of the one that was replaced", s.DeleteForward(ctx, before.ForwardUID), c4.NotFound)
	s.expect("delete of a network with a VM on it", s.DeleteNetwork(ctx, n.NetworkUID), c4.InUse)
	s.step("delete", func() error { return s.DeleteForward(ctx, forward.ForwardUID) }, c4.NotFound)
	r.Protocol = "smoke"
	_, err = s.CreateForward(ctx, r)
	s.expect("create with an unknown protocol", err, c4.Invalid)
}

func attachVolumeLife(s *suite) {
	s.needRoom()
	ctx := s.Context()
	uid, err := s.register("vm", []string{s.bootVolume()}, nil)
	s.must("register", err)
	s.inState(uid, c4.Running)
	r := c4.AttachRequest{ClientUID: s.target.ClientUID, VMUID: uid, VolumeID: s.volume("data", nil)}
	has := func(want bool) {
		s.Helper()
		vm, err := s.vm(ctx, uid)
		s.must("list VMs", err)
		found := false
		for _, v := range vm.Volumes {
			found = found || v.VolumeID == r.VolumeID
		}
		if found != want {
			s.Errorf("the VM has the volume: %v, want %v", found, want)
		}
	}
	s.step("attach", func() error { return s.Attach(ctx, r) }, done)
	has(true)
	s.expect("destroy of an attached volume", s.DestroyVolume(ctx, r.VolumeID), c4.InUse)
	s.step("detach", func() error { return s.Detach(ctx, r) }, c4.NotFound)
	has(false)
	s.step("destroy", func() error { return s.DestroyVolume(ctx, r.VolumeID) }, c4.NotFound)
	s.step("vmusage", func() error { _, err := s.Usage(ctx, s.ref(uid)); return err }, done)
}

func attachNetworkLife(s *suite) {
	s.needRoom()
	ctx := s.Context()
	n, err := s.CreateNetwork(ctx, s.network())
	s.must("create network", err)
	uid, err := s.register("vm", []string{s.bootVolume()}, nil)
	s.must("register", err)
	s.inState(uid, c4.Running)
	r := c4.AttachRequest{ClientUID: s.target.ClientUID, VMUID: uid, NetworkUID: n.NetworkUID}
	s.step("attach", func() error { return s.Attach(ctx, r) }, done)
	vm, err := s.vm(ctx, uid)
	s.must("list VMs", err)
	if len(vm.Networks) != 1 || vm.Networks[0].NetworkUID != n.NetworkUID {
		s.Errorf("the VM is on %+v", vm.Networks)
	}
	s.expect("delete of a network with a VM on it", s.DeleteNetwork(ctx, n.NetworkUID), c4.InUse)
	s.step("detach", func() error { return s.Detach(ctx, r) }, c4.NotFound)
	s.step("delete", func() error { return s.DeleteNetwork(ctx, n.NetworkUID) }, c4.NotFound)
}
