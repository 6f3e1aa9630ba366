package daemon

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// ensuring is one EnsureVM call. The caller holds the VM's lock.
type ensuring struct {
	*tenant
	req      *rpc.EnsureVMRequest
	name     string
	imageURL string // with {image}
}

// run continues from whatever an earlier attempt, of whichever daemon, has left
// on the host. What keeps it at one VM, whoever else is at it: a register of this
// daemon's that is still to land is waited for; one of another's finds its seed
// destroyed and, on a host that keeps volumes exclusive, its boot volume taken; and
// doubles that come to be all the same are removed when they are seen.
func (e *ensuring) run(ctx context.Context) (*seenVM, error) {
	seen, err := patiently(ctx, e.look)
	if err != nil {
		return nil, err
	}
	if seen.vms[e.name] != nil {
		return e.present(ctx, seen)
	}
	if e.registered.may(e.name, landsSoon) {
		return nil, failf(rpc.Reason_REASON_WRONG_STATE, e.host.ID, "host %s was asked to register VM %s and does not show it yet; waiting for it, at most %s", e.host.ID, e.name, landsSoon)
	}
	if err := e.settling(); err != nil {
		return nil, err
	}
	volumes, networks, untidy, err := e.parts(ctx)
	if err == nil {
		err = patientlyDo(ctx, func(ctx context.Context) error { return e.register(ctx, volumes, networks) })
		e.host.capacityChanged()
	} else if !errors.Is(err, errAppeared) && reasonOf(err) != rpc.Reason_REASON_IN_USE {
		return nil, err
	}
	// Whatever became of it: what counts is what the host shows.
	seen, lookErr := patiently(ctx, e.look)
	if lookErr != nil {
		return nil, cmp.Or(err, lookErr)
	}
	if seen.vms[e.name] == nil {
		if err == nil {
			e.suspect(e.name)
			err = failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, e.host.ID, "host %s has registered VM %s and does not show it yet", e.host.ID, e.name)
		}
		if reasonOf(err) == rpc.Reason_REASON_IN_USE {
			err = cmp.Or(e.release(ctx), err)
		}
		return nil, err
	}
	if err != nil || untidy {
		// Somebody else was at it too.
		if err := e.tidy(ctx, e.name, seen.vms[e.name].vm); err != nil {
			return nil, err
		}
	}
	return e.present(ctx, seen)
}

// errAppeared ends the making of parts for a VM that has come to be meanwhile.
var errAppeared = errors.New("the VM has appeared")

// present settles on one VM where there are several, and is done.
func (e *ensuring) present(ctx context.Context, seen observation) (*seenVM, error) {
	e.registered.landed(e.name, seen.at)
	e.held.landed(e.name, seen.at)
	if err := e.settle(ctx, e.name, seen); err != nil {
		return nil, err
	}
	vm := seen.vms[e.name]
	if !isUp(vm) {
		e.expect(e.name, isUp)
	}
	return vm, nil
}

// release gives the VM's volumes back for the next attempt, once they have been held
// for so long without a VM that no register of another daemon's is to be seen any more.
func (e *ensuring) release(ctx context.Context) error {
	switch {
	case !e.held.may(e.name, landsLate):
		e.held.add(e.name)
		return nil
	case e.held.may(e.name, landsSoon):
		return nil
	}
	e.held.landed(e.name, time.Now())
	volumes, err := patiently(ctx, e.lookVolumes)
	if err != nil {
		return err
	}
	return e.unexport(ctx, volumesOf(e.name, volumes))
}

// settle removes all VMs of a name but one, where a host shows several, and
// the volumes that the one does not use. The caller holds the VM's lock.
func (t *tenant) settle(ctx context.Context, name string, seen observation) error {
	all := seen.doubles[name]
	if len(all) == 0 {
		return nil
	}
	for _, double := range all[1:] {
		err := t.host.c4.Unregister(ctx, t.ref(double))
		if err != nil && c4.CodeOf(err) != c4.NotFound {
			return t.host.changeFailed("removing a double of VM "+name, err)
		}
	}
	left, err := t.look(ctx)
	if err != nil {
		return err
	}
	for _, double := range all[1:] {
		if slices.ContainsFunc(left.named(name), func(vm c4.VM) bool { return vm.UID == double.UID }) {
			return failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, t.host.ID, "host %s still shows a double of VM %s, which it was told to remove", t.host.ID, name)
		}
		t.host.log.Warn("removed a double", "vm", name, "host", t.host.ID, "client", t.clientUID, "uid", double.UID, "kept", all[0].UID)
	}
	return t.tidy(ctx, name, all[0])
}

// settleLate does the same beside its caller when doubles show up after those
// who asked for the VM have gone. Whoever holds the VM's lock is at it already,
// so there is one at a time; only the poller begins one, so they come no faster
// than it looks.
func (t *tenant) settleLate(ctx context.Context, seen observation) {
	for name := range seen.doubles {
		if !t.suspects.may(name, landsLate) {
			continue
		}
		unlock, free := t.locks.tryLock(name)
		if !free {
			continue
		}
		t.host.spawn(ctx, func(ctx context.Context) {
			defer unlock()
			t.host.guarded(ctx, func() {
				seen, err := t.look(ctx)
				if err == nil {
					err = t.settle(ctx, name, seen)
				}
				if err != nil {
					t.host.log.Warn("could not remove a double", "vm", name, "host", t.host.ID, "client", t.clientUID, "err", err)
				}
			})
		})
	}
}

// tidy destroys the volumes that are named after a VM and that it does not use.
func (t *tenant) tidy(ctx context.Context, name string, vm c4.VM) error {
	volumes, err := t.lookVolumes(ctx)
	if err != nil {
		return err
	}
	return t.destroyUnused(ctx, volumesOf(name, volumes), vm.Volumes)
}

// destroyUnused destroys the volumes that are neither used nor to be kept.
func (t *tenant) destroyUnused(ctx context.Context, volumes, keep []c4.Volume) error {
	unused := slices.DeleteFunc(slices.Clone(volumes), func(v c4.Volume) bool {
		return v.Exported || slices.ContainsFunc(keep, func(k c4.Volume) bool { return k.VolumeID == v.VolumeID })
	})
	return t.destroyVolumes(ctx, unused)
}

// destroyVolumes destroys volumes at the same time; one that is gone already
// is as good.
func (t *tenant) destroyVolumes(ctx context.Context, volumes []c4.Volume) error {
	return together(len(volumes), func(i int) error {
		err := t.host.c4.DestroyVolume(ctx, volumes[i].VolumeID)
		if err != nil && c4.CodeOf(err) != c4.NotFound {
			return t.host.changeFailed("destroying volume "+volumes[i].Name, err)
		}
		return nil
	})
}

// unexport releases those of the volumes of a VM that is not there which are exported
// all the same: what a register leaves that failed half-way. What is held after all the
// host does not release.
func (t *tenant) unexport(ctx context.Context, volumes []c4.Volume) error {
	for _, v := range volumes {
		if !v.Exported {
			continue
		}
		err := t.host.c4.UnexportVolume(ctx, t.clientUID, v.VolumeID)
		if code := c4.CodeOf(err); err != nil && code != c4.NotFound && code != c4.InUse {
			return t.host.changeFailed("releasing volume "+v.Name, err)
		}
	}
	return nil
}

// stillThere asks for volumes that were seen before, each by its ID: a list that
// does not have them is no proof, since no list at all reads as an empty one.
func (t *tenant) stillThere(ctx context.Context, known map[string]c4.Volume) (left []c4.Volume, err error) {
	for id := range known {
		v, err := t.host.c4.Volume(ctx, id)
		switch code := c4.CodeOf(err); {
		case err == nil:
			left = append(left, v)
		case code != c4.NotFound && code != c4.Unsupported:
			return nil, t.host.lookFailed("asking for volume "+known[id].Name, err)
		}
	}
	return left, nil
}

func (t *tenant) ref(vm c4.VM) c4.VMRef { return c4.VMRef{ClientUID: t.clientUID, VMUID: vm.UID} }

// parts makes what the VM needs and is not there: volumes (in the order in
// which the VM gets them) and networks. It is untidy when there are volumes of
// the VM's that it will not use.
func (e *ensuring) parts(ctx context.Context) (volumes []c4.Volume, networks []c4.NetworkRef, untidy bool, err error) {
	if c := e.copyOf(bootVolumeName(e.name)); c != nil { // of an earlier call
		if _, err := e.awaitCopy(ctx, bootVolumeName(e.name), c); err != nil {
			return nil, nil, false, e.copyFailed(err)
		}
	}
	before, err := patiently(ctx, e.lookVolumes)
	if err != nil {
		return nil, nil, false, err
	}
	spec := e.req.Spec
	names := []string{bootVolumeName(e.name)}
	for _, d := range spec.DataVolumes {
		names = append(names, dataVolumeName(e.name, d.Name))
	}
	names = append(names, seedVolumeName(e.name))
	seed := len(names) - 1
	made := make([]string, len(names)) // IDs
	networks = make([]c4.NetworkRef, len(spec.Networks))
	for _, name := range names {
		// Slow storage must not be given the same work again and again.
		if _, exists := volumeNamed(name, before); !exists && e.unseen.may(name, landsLate) {
			return nil, nil, false, notShown(e.host, name)
		}
	}

	// All steps run to their end: one cut short for another's failure would
	// only leave one more outcome unknown.
	failed := together(len(names)+len(networks), func(i int) (err error) {
		if n := i - len(names); n >= 0 {
			networks[n].NetworkUID, err = patiently(ctx, func(ctx context.Context) (string, error) {
				return e.host.ensureNetwork(ctx, e.clientUID, spec.Networks[n])
			})
			return err
		}
		_, exists := volumeNamed(names[i], before)
		switch {
		case i == seed:
			made[i], err = e.makeSeed(ctx, names[i], before)
		case exists:
		case i == 0:
			made[i], err = e.makeBootVolume(ctx, names[i])
		default:
			made[i], err = patiently(ctx, func(ctx context.Context) (string, error) {
				return e.makeDataVolume(ctx, names[i], spec.DataVolumes[i-1])
			})
		}
		return err
	})
	// Look again: a new volume may need a while to be seen (it must be, before
	// a deletion can be believed), and another daemon may have made one of the
	// same name meanwhile.
	after, err := e.awaitVolumes(ctx, made)
	if failed != nil || err != nil {
		return nil, nil, false, cmp.Or(failed, err)
	}
	for i, name := range names {
		v, found := volumeNamed(name, after)
		if i == seed {
			v, found = volumeWith(made[i], after) // no other than the one just completed
		}
		if !found {
			return nil, nil, false, failf(rpc.Reason_REASON_WRONG_STATE, e.host.ID, "host %s: volume %s was there and is gone", e.host.ID, name)
		}
		volumes = append(volumes, v)
	}
	return volumes, networks, len(volumesOf(e.name, after)) > len(volumes), nil
}

// awaitVolumes looks until all these volumes can be seen (an empty ID stands
// for none) or the VM can. Published clients know that it may take a while and
// just wait.
func (e *ensuring) awaitVolumes(ctx context.Context, ids []string) ([]c4.Volume, error) {
	for pause := quickest; ; pause = min(2*pause, slowest) {
		all, err := patiently(ctx, e.lookVolumes)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(ids, func(id string) bool {
			_, seen := volumeWith(id, all)
			return id != "" && !seen
		}) {
			return all, nil
		}
		// Another daemon that got there first tidies up.
		if seen, err := e.look(ctx); err == nil && seen.vms[e.name] != nil {
			return nil, errAppeared
		}
		if !wait(ctx, pause) {
			return nil, gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, e.host.ID, "host "+e.host.ID+" does not show the new volumes yet")
		}
	}
}

// changeFailed is the host's, and remembers that the request may yet land.
func (e *ensuring) changeFailed(what string, err error) error {
	if c4.CodeOf(err).Ambiguous() {
		e.suspect(e.name)
	}
	return e.host.changeFailed(what, err)
}

// making passes on the outcome of a request for a volume of that name, and
// remembers the volume until it is seen.
func (t *tenant) making(name string) func(id string, err error) (string, error) {
	return func(id string, err error) (string, error) {
		if mayShow(err) {
			t.unseen.add(name)
		}
		return id, err
	}
}

// notShown is the failure of who waits for such a volume.
func notShown(h *host, volume string) error {
	return failf(rpc.Reason_REASON_WRONG_STATE, h.ID, "host %s was asked for volume %s and does not show it yet; waiting for it, at most %s", h.ID, volume, landsLate)
}

func (e *ensuring) makeBootVolume(ctx context.Context, name string) (string, error) {
	spec := e.req.Spec
	c, err := e.copyImage(ctx, c4.ImageVolumeRequest{
		CreatorID: e.clientUID, Name: name, Private: true, Bootable: true, Clonable: true, Alg: "cp",
		Format: cmp.Or(spec.BootVolume.Format, "qcow2"), Bus: cmp.Or(spec.BootVolume.Bus, "virtio"),
		Size: int64(spec.BootVolume.SizeGib),
		URL:  strings.ReplaceAll(e.imageURL, "{image}", url.PathEscape(spec.Image)),
	})
	if err != nil {
		return "", err
	}
	id, err := e.awaitCopy(ctx, name, c)
	if err != nil {
		return "", e.copyFailed(err)
	}
	return id, nil
}

// copyFailed explains why there is no boot volume.
func (e *ensuring) copyFailed(err error) error {
	if reasonOf(err) == rpc.Reason_REASON_WRONG_STATE { // it goes on
		return err
	}
	what := "making the boot volume from image " + e.req.Spec.Image
	if code := c4.CodeOf(err); code == c4.Invalid || code == c4.NotFound {
		return e.host.failed(what, err, rpc.Reason_REASON_IMAGE_NOT_FOUND, "the image cannot be had; check its name, and imageURL in the daemon's configuration")
	}
	return e.changeFailed(what, err)
}

func (e *ensuring) makeDataVolume(ctx context.Context, name string, v *rpc.Volume) (string, error) {
	id, err := e.making(name)(e.host.c4.CreateVolume(ctx, dataVolume(e.clientUID, name, v)))
	if err != nil {
		return "", e.changeFailed("making data volume "+v.Name, err)
	}
	return id, nil
}

func dataVolume(clientUID, name string, v *rpc.Volume) c4.VolumeRequest {
	return c4.VolumeRequest{
		CreatorID: clientUID, Name: name, Private: true, Alg: "no",
		Format: cmp.Or(v.Format, "qcow2"), Bus: cmp.Or(v.Bus, "virtio"), Size: int64(v.SizeGib),
	}
}

// makeSeed makes the seed anew. What is there is no good: nothing tells
// whether it is whole, nor whether it holds this user-data.
func (e *ensuring) makeSeed(ctx context.Context, name string, before []c4.Volume) (string, error) {
	var old []c4.Volume
	for _, v := range before {
		if v.Name == name {
			old = append(old, v)
		}
	}
	if err := patientlyDo(ctx, func(ctx context.Context) error { return e.destroyVolumes(ctx, old) }); err != nil {
		return "", err
	}
	metaData, err := metaData(e.name, e.req.MetaData)
	if err != nil {
		return "", err
	}
	id, err := patiently(ctx, func(ctx context.Context) (string, error) {
		return e.making(name)(e.host.c4.OpenSeed(ctx, c4.SeedRequest{
			CreatorID: e.clientUID, Name: name, Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2,
		}, e.req.UserData))
	})
	if err != nil {
		return "", e.changeFailed("uploading the seed", err)
	}
	for pause := quickest; ; pause = min(2*pause, slowest) {
		err := patientlyDo(ctx, func(ctx context.Context) error { return e.host.c4.CompleteSeed(ctx, id, metaData) })
		switch {
		case err == nil:
			return id, nil
		case c4.CodeOf(err) != c4.NotFound:
			return "", e.changeFailed("uploading the seed", err)
		case !wait(ctx, pause): // not to be seen yet
			return "", gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, e.host.ID, "host "+e.host.ID+" does not show the new seed yet")
		}
	}
}

// metaData is the seed's meta-data. NoCloud needs an instance-id.
func metaData(vm string, members map[string]string) ([]byte, error) {
	all := map[string]string{"instance-id": vm, "local-hostname": vm}
	for k, v := range members {
		all[k] = v
	}
	return yaml.Marshal(all)
}

// register creates the VM.
func (e *ensuring) register(ctx context.Context, volumes []c4.Volume, networks []c4.NetworkRef) error {
	_, err := e.host.c4.Register(ctx, c4.RegisterRequest{
		ClientUID: e.clientUID, Name: e.name, Pledge: pledge(e.req.Spec),
		Volumes: volumes, HasNetwork: len(networks) > 0, Networks: networks,
	})
	if mayShow(err) {
		e.registered.add(e.name)
	}
	switch code := c4.CodeOf(err); {
	case err == nil:
		return nil
	case code.Ambiguous():
		e.suspect(e.name)
		return &failure{
			reason: rpc.Reason_REASON_OUTCOME_UNKNOWN, host: e.host.ID, err: err,
			message: "host " + e.host.ID + ": registering VM " + e.name + " ended without an answer and the VM is not to be seen (yet)",
		}
	case code == c4.NotFound:
		return e.host.failed("registering VM "+e.name, err, rpc.Reason_REASON_WRONG_STATE, "a volume or network that was just there is gone")
	default:
		return e.host.changeFailed("registering VM "+e.name, err)
	}
}

// pledge is what the VM asks of a host.
func pledge(spec *rpc.VMSpec) c4.Pledge {
	devices := devicesOf(spec)
	if devices == nil {
		devices = map[string]int{} // null is nothing that C4 knows
	}
	return c4.Pledge{
		CPU: c4.CPUPledge{
			Slots: int(spec.Slots), FullPhysical: spec.FullPhysical, MaxOverprovision: int(spec.MaxOverprovision),
			MinFrequency: "0.5", Arch: []string{architecture(spec)}, Flags: append([]string{}, spec.CpuFlags...),
		},
		Mem: c4.MemPledge{Capacity: int64(spec.MemoryMib), RequireECC: spec.RequireEcc},
		PCI: c4.PCIPledge{Devices: devices},
		Misc: c4.MiscPledge{
			OSFamily: "linux", Manufacturer: "Any",
			Firmware: cmp.Or(spec.Firmware, "uefi"), Tags: spec.Tags,
		},
	}
}

// devicesOf are the devices that a VM asks for, by what C4 calls them; nil for none.
func devicesOf(spec *rpc.VMSpec) map[string]int {
	var devices map[string]int
	for _, d := range spec.PciDevices {
		if devices == nil {
			devices = map[string]int{}
		}
		devices[d.Vendor+":"+d.Model] += int(d.Quantity)
	}
	return devices
}

func architecture(spec *rpc.VMSpec) string { return cmp.Or(spec.Architecture, "X86_64") }

// together runs n steps at the same time, all of them to their end, and returns
// the first failure, if there is one that tells more than "not known".
func together(n int, step func(i int) error) error {
	if n == 1 {
		return step(0)
	}
	errs := make([]error, n)
	atOnce(n, func(i int) { errs[i] = step(i) })
	var vague error
	for _, err := range errs {
		if err != nil && reasonOf(err) != rpc.Reason_REASON_OUTCOME_UNKNOWN {
			return err
		}
		vague = cmp.Or(vague, err)
	}
	return vague
}

// wait lets so much time pass and returns false if the context ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
