// Package c4test checks a host against the contract in ../SPEC.md. It needs
// nothing but the host's address and a client UUID, so that a fake and a real
// AtomOS run the same cases.
//
// Each life cycle runs once, and again with every call repeated. What an
// edition or an older host lacks is skipped, with the reason. All that a case
// made is removed at its end, however it ends; nothing else on the host is
// touched.
package c4test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// Target is the host under test.
type Target struct {
	// URL, Fingerprint and Token are those of c4.Config.
	URL         string
	Fingerprint string
	Token       string
	// ClientUID owns what the suite makes. It may own other things.
	ClientUID string
	// ImageURL leads to an image whose guest reacts to a shutdown request.
	// Without it the cases that need such a guest are skipped.
	ImageURL string
	// Network is a range that the suite's network may have; 192.168.213.0/24
	// by default.
	Network netip.Prefix
	// ForwardPort is a port of the host that is free; 36443 by default.
	ForwardPort int
	// Patience is how long a condition may take to come true; one minute by
	// default.
	Patience time.Duration
}

// Run checks the host.
func Run(t *testing.T, target Target) {
	if target.ClientUID == "" {
		t.Fatal("the contract suite needs a client UUID")
	}
	if !target.Network.IsValid() {
		target.Network = netip.MustParsePrefix("192.168.213.0/24")
	}
	if target.ForwardPort == 0 {
		target.ForwardPort = 36443
	}
	if target.Patience == 0 {
		target.Patience = time.Minute
	}
	client, err := c4.New(c4.Config{URL: target.URL, Fingerprint: target.Fingerprint, Token: target.Token, Timeout: target.Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, repeat := range []bool{false, true} {
			name := c.name
			if repeat {
				if !c.cycle {
					continue
				}
				name += ", every call repeated"
			}
			t.Run(name, func(t *testing.T) {
				s := &suite{T: t, Client: client, target: target, repeat: repeat, prefix: "c4test-" + strings.ToLower(rand.Text()[:10]) + "-"}
				t.Cleanup(s.sweep)
				c.run(s)
			})
		}
	}
}

// suite is one case under way.
type suite struct {
	*testing.T
	*c4.Client
	target Target
	// repeat says that every call is made twice.
	repeat bool
	// prefix begins the name of all that the case makes.
	prefix string
	// forwards are the IDs of forwards, which have no name.
	forwards []string
}

// done is the outcome of a call that succeeds.
const done c4.Code = -1

func outcome(err error) c4.Code {
	if err == nil {
		return done
	}
	return c4.CodeOf(err)
}

// step makes a call that must succeed. When calls are repeated it makes it once
// more, and its outcome must then be one of again. A host that does not know
// the call ends the case.
func (s *suite) step(what string, call func() error, again ...c4.Code) {
	s.Helper()
	s.must(what, call())
	if s.repeat {
		s.expect(what+" again", call(), again...)
	}
}

// must ends the case on an error.
func (s *suite) must(what string, err error) {
	s.Helper()
	switch c4.CodeOf(err) {
	case c4.Unsupported:
		s.Skipf("%s: this host does not know the call", what)
	case c4.LicenseRequired:
		s.Skipf("%s: this edition takes no further VM", what)
	}
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// expect checks an outcome that is not plain success.
func (s *suite) expect(what string, err error, want ...c4.Code) {
	s.Helper()
	if got := outcome(err); !slices.Contains(want, got) {
		names := make([]string, 0, len(want))
		for _, c := range want {
			if c == done {
				names = append(names, "success")
			} else {
				names = append(names, c.String())
			}
		}
		s.Errorf("%s: got %v, want %s", what, err, strings.Join(names, " or "))
	}
}

// eventually waits until a look finds what is wanted. A look that fails for
// another reason than NotFound ends the case.
func (s *suite) eventually(what string, look func(context.Context) (bool, error)) {
	s.Helper()
	if err := s.wait(s.Context(), look); err != nil {
		s.Fatalf("waited %s in vain: %s: %v", s.target.Patience, what, err)
	}
}

func (s *suite) wait(ctx context.Context, look func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.target.Patience)
	defer cancel()
	pause := 5 * time.Millisecond
	for {
		met, err := look(ctx)
		if met || err != nil && c4.CodeOf(err) != c4.NotFound {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}

// name makes a name that the sweep knows.
func (s *suite) name(suffix string) string { return s.prefix + suffix }

// mine lists the VMs that the case has made.
func (s *suite) mine(ctx context.Context) ([]c4.VM, error) {
	all, _, _, err := s.VMs(ctx, s.target.ClientUID, nil)
	return slices.DeleteFunc(all, func(vm c4.VM) bool { return !strings.HasPrefix(vm.Name, s.prefix) }), err
}

// vm returns the VM of that UID; NotFound if the host does not list it.
func (s *suite) vm(ctx context.Context, uid string) (c4.VM, error) {
	list, err := s.mine(ctx)
	if err != nil {
		return c4.VM{}, err
	}
	for _, vm := range list {
		if vm.UID == uid {
			return vm, nil
		}
	}
	return c4.VM{}, &c4.Error{Code: c4.NotFound, Host: s.Host(), Call: "GET matcher/running", Message: "the VM is not in the list"}
}

func (s *suite) ref(uid string) c4.VMRef {
	return c4.VMRef{ClientUID: s.target.ClientUID, VMUID: uid}
}

// inState waits for a power state.
func (s *suite) inState(uid string, want c4.PowerState) {
	s.Helper()
	s.eventually(fmt.Sprintf("the VM is %q", want), func(ctx context.Context) (bool, error) {
		vm, err := s.vm(ctx, uid)
		return vm.State == want, err
	})
}

// made waits until a new volume is visible.
func (s *suite) made(id string) c4.Volume {
	s.Helper()
	var v c4.Volume
	s.eventually("volume "+id+" is visible", func(ctx context.Context) (_ bool, err error) {
		v, err = s.Volume(ctx, id)
		return err == nil, err
	})
	return v
}

// create makes something that has an ID; when calls are repeated a second one
// of the same name, with an ID of its own.
func (s *suite) create(what string, call func() (string, error)) (id string) {
	s.Helper()
	id, err := call()
	s.must(what, err)
	if s.repeat {
		second, err := call()
		s.expect(what+" again", err, done)
		if second == id {
			s.Errorf("%s again: the same ID %s, want another one", what, id)
		}
	}
	return id
}

// volume makes a small empty volume and waits until it is visible.
func (s *suite) volume(suffix string, edit func(*c4.VolumeRequest)) string {
	s.Helper()
	r := c4.VolumeRequest{CreatorID: s.target.ClientUID, Name: s.name(suffix), Private: true, Alg: "no", Format: "qcow2", Bus: "virtio", Size: 1}
	if edit != nil {
		edit(&r)
	}
	id, err := s.CreateVolume(s.Context(), r)
	s.must("create volume", err)
	s.made(id)
	return id
}

// bootVolume makes a boot volume, from the image where there is one.
func (s *suite) bootVolume() string {
	s.Helper()
	if s.target.ImageURL == "" {
		return s.volume("boot", func(r *c4.VolumeRequest) { r.Bootable = true })
	}
	id, err := s.CreateImageVolume(s.Context(), s.image(s.target.ImageURL))
	s.must("create boot volume", err)
	s.made(id)
	return id
}

func (s *suite) image(url string) c4.ImageVolumeRequest {
	return c4.ImageVolumeRequest{
		CreatorID: s.target.ClientUID, Name: s.name("image"), Private: true, Bootable: true, Clonable: true,
		Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 10, URL: url,
	}
}

// seed describes a seed volume.
func (s *suite) seed() c4.SeedRequest {
	return c4.SeedRequest{CreatorID: s.target.ClientUID, Name: s.name("seed"), Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}
}

// network describes a network over the whole range.
func (s *suite) network() c4.Network {
	mode := c4.NAT
	r := s.target.Network.Masked()
	gateway := r.Addr().Next()
	first := gateway.Next()
	return c4.Network{
		CreatorUID: s.target.ClientUID, Name: s.name("net"), Type: "libvirt", Mode: &mode, Private: true,
		IP: c4.NetworkIP{
			Address: netip.PrefixFrom(gateway, r.Bits()).String(),
			DHCP:    c4.NetworkDHCP{Start: first.String(), End: first.Next().Next().Next().String(), Hosts: []c4.NetworkHost{}},
		},
		Routes: []string{},
	}
}

// pledge is the smallest that makes sense.
func pledge() c4.Pledge {
	return c4.Pledge{
		CPU:  c4.CPUPledge{Slots: 1, MaxOverprovision: 10, MinFrequency: "0.5", Arch: []string{}, Flags: []string{}},
		Mem:  c4.MemPledge{Capacity: 512},
		PCI:  c4.PCIPledge{Devices: map[string]int{}},
		Misc: c4.MiscPledge{OSFamily: "linux", OSFlavour: "ubuntu", Manufacturer: "Any"},
	}
}

// register makes a VM of these volumes and networks.
func (s *suite) register(suffix string, volumes, networks []string) (string, error) {
	r := c4.RegisterRequest{
		ClientUID: s.target.ClientUID, Name: s.name(suffix), Pledge: pledge(), HasNetwork: len(networks) > 0,
		Volumes: []c4.Volume{}, Networks: []c4.NetworkRef{},
	}
	for _, id := range volumes {
		v, err := s.Volume(s.Context(), id)
		if err != nil {
			return "", err
		}
		r.Volumes = append(r.Volumes, v)
	}
	for _, uid := range networks {
		r.Networks = append(r.Networks, c4.NetworkRef{NetworkUID: uid})
	}
	return s.Register(s.Context(), r)
}

// needRoom skips the case on a host that is full.
func (s *suite) needRoom() {
	s.Helper()
	a, err := s.CanAllocate(s.Context(), pledge())
	s.must("canallocate", err)
	if !a.CanAllocate {
		s.Skipf("the host has no room for a VM: %+v", a)
	}
}

// sweep removes what the case has made and tells what stays.
func (s *suite) sweep() {
	ctx := context.WithoutCancel(s.Context())
	for _, kind := range []struct {
		what string
		look func(context.Context) (bool, error)
	}{
		{"forwards", s.sweepForwards}, {"VMs", s.sweepVMs}, {"volumes", s.sweepVolumes}, {"networks", s.sweepNetworks},
	} {
		if err := s.wait(ctx, kind.look); err != nil {
			s.Errorf("left behind: %s named %s…: %v", kind.what, s.prefix, err)
		}
	}
}

// removed ignores that a thing is gone already or not yet free.
func removed(err error) error {
	switch c4.CodeOf(err) {
	case c4.NotFound, c4.InUse, c4.NotDone:
		return nil
	}
	return err
}

func (s *suite) sweepForwards(ctx context.Context) (bool, error) {
	list, err := s.Forwards(ctx)
	if c4.CodeOf(err) == c4.Unsupported {
		return true, nil
	}
	gone := true
	for _, f := range list {
		if slices.Contains(s.forwards, f.ForwardUID) || f.CreatorUID == s.target.ClientUID && f.Port == s.target.ForwardPort {
			gone = false
			if err := removed(s.DeleteForward(ctx, f.ForwardUID)); err != nil {
				return false, err
			}
		}
	}
	return gone && err == nil, err
}

func (s *suite) sweepVMs(ctx context.Context) (bool, error) {
	list, err := s.mine(ctx)
	for _, vm := range list {
		if err := removed(s.Unregister(ctx, s.ref(vm.UID))); err != nil {
			return false, err
		}
	}
	return len(list) == 0 && err == nil, err
}

func (s *suite) sweepVolumes(ctx context.Context) (bool, error) {
	list, err := s.Volumes(ctx, s.target.ClientUID)
	gone := true
	for _, v := range list {
		if strings.HasPrefix(v.Name, s.prefix) && v.CreatorID == s.target.ClientUID {
			gone = false
			if v.Exported {
				if err := removed(s.UnexportVolume(ctx, s.target.ClientUID, v.VolumeID)); err != nil {
					return false, err
				}
			}
			if err := removed(s.DestroyVolume(ctx, v.VolumeID)); err != nil {
				return false, err
			}
		}
	}
	return gone && err == nil, err
}

func (s *suite) sweepNetworks(ctx context.Context) (bool, error) {
	list, err := s.Networks(ctx)
	gone := true
	for _, n := range list {
		if strings.HasPrefix(n.Name, s.prefix) {
			gone = false
			if err := removed(s.DeleteNetwork(ctx, n.NetworkUID)); err != nil {
				return false, err
			}
		}
	}
	return gone && err == nil, err
}
