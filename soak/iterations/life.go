package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// life is that of one VM in one iteration. What counts as the success of an
// operation is what is so in the end, not what a call has answered:
//
//   - create: the ElementoMachine is provisioned, and there is one VM on its host.
//   - boot, address: the daemon tells that it runs; the ElementoMachine its address.
//   - attach, detach: the daemon and the host show it.
//   - stop: the VM is off. Our manager powers on what it finds off, so it is paused
//     before, as whoever stops a VM by hand has to.
//   - start, reboot: the VM runs with an address, and its guest has booted since.
//   - delete: the Machine and the ElementoMachine are gone, and at that moment the
//     hosts have nothing that is named after the VM.
//
// A call that fails in a way that says so is repeated until the deadline of its
// operation.
type life struct {
	*iterations
	run        string
	number, vm int // of the iteration, and of the VM in it

	name     string // of the Machine
	host, on string // the VM's host and name
	failed   bool

	mu   sync.Mutex
	done []operation
}

const dataVolume = "extra"

func (l *life) live(ctx context.Context) {
	l.name = fmt.Sprintf("%s-%d-%d", map[bool]string{false: "f", true: "q"}[l.run == "without faults"], l.number, l.vm)
	l.make(ctx)
	l.do(ctx, attachVolume, l.attachVolume)
	l.do(ctx, attachNetwork, l.attachNetwork)
	l.do(ctx, pause, func(ctx context.Context, _ *int) error { return l.cluster.setPaused(ctx, l.name, true) })
	l.do(ctx, stop, l.power(rpc.PowerAction_POWER_ACTION_OFF))
	l.do(ctx, start, l.power(rpc.PowerAction_POWER_ACTION_ON))
	l.do(ctx, resume, func(ctx context.Context, _ *int) error { return l.cluster.setPaused(ctx, l.name, false) })
	l.do(ctx, reboot, l.power(rpc.PowerAction_POWER_ACTION_REBOOT))
	l.do(ctx, detachNetwork, l.detachNetwork)
	l.do(ctx, detachVolume, l.detachVolume)
	l.delete(ctx)
}

// do does one operation, unless one before it has failed, and writes it down.
func (l *life) do(ctx context.Context, what kind, operate func(ctx context.Context, attempts *int) error) {
	o := operation{Run: l.run, Iteration: l.number, VM: l.vm, Machine: l.name, Operation: what, Begin: time.Now(), Outcome: skippedOutcome}
	o.Deadline = o.Begin.Add(deadlines[what])
	if l.begun() {
		within, cancel := context.WithDeadline(ctx, o.Deadline)
		defer cancel()
		err := operate(within, &o.Attempts)
		switch {
		case ctx.Err() != nil:
			return // interrupted: it has no outcome
		case err == nil:
			o.Outcome = succeededOutcome
		case errors.As(err, new(*lost)):
			o.Outcome, o.Detail = lostOutcome, err.Error()
		case within.Err() != nil:
			o.Outcome, o.Detail = lateOutcome, err.Error()
		default:
			o.Outcome, o.Detail = failedOutcome, err.Error()
		}
	}
	o.End = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = l.failed || o.Outcome != succeededOutcome
	if err := l.log.add(o); err != nil {
		o.Detail = errors.Join(errors.New(o.Detail), err).Error()
	}
	l.done = append(l.done, o)
}

func (l *life) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.failed
}

// make applies the Machine. What it leads to begins at one moment and comes one
// after the other.
func (l *life) make(ctx context.Context) {
	applied := l.cluster.machine(ctx, l.name)
	watch := func(so func(context.Context) error) func(context.Context, *int) error {
		return func(ctx context.Context, _ *int) error {
			if applied != nil {
				return applied
			}
			return until(ctx, so)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { l.do(ctx, create, watch(l.provisioned)) })
	all.Go(func() { l.do(ctx, boot, watch(l.booted)) })
	all.Go(func() { l.do(ctx, address, watch(l.addressed)) })
	all.Wait()
	if object, err := l.cluster.get(ctx, l.name); err == nil {
		l.host, l.on = object.Spec.Host, object.Spec.VMName
	}
}

func (l *life) provisioned(ctx context.Context) error {
	object, err := l.cluster.get(ctx, l.name)
	if err != nil {
		return err
	}
	if !ptr.Deref(object.Status.Initialization.Provisioned, false) {
		return fmt.Errorf("ElementoMachine %s is not provisioned", l.name)
	}
	_, err = l.cluster.see(ctx, object.Spec.VMName)
	return err
}

func (l *life) booted(ctx context.Context) error {
	object, err := l.cluster.get(ctx, l.name)
	if err != nil {
		return err
	}
	if object.Spec.Host == "" {
		return fmt.Errorf("ElementoMachine %s has no host", l.name)
	}
	vm, err := l.daemon.get(ctx, object.Spec.Host, object.Spec.VMName)
	if err == nil && vm.PowerState != rpc.PowerState_POWER_STATE_RUNNING {
		err = fmt.Errorf("VM %s is %s", vm.Name, vm.PowerState)
	}
	return err
}

func (l *life) addressed(ctx context.Context) error {
	object, err := l.cluster.get(ctx, l.name)
	if err == nil && len(object.Status.Addresses) == 0 {
		err = fmt.Errorf("ElementoMachine %s has no address", l.name)
	}
	return err
}

// power asks for a power state until the host has come to it.
func (l *life) power(action rpc.PowerAction) func(context.Context, *int) error {
	return func(ctx context.Context, attempts *int) error {
		before, err := l.cluster.see(ctx, l.on)
		if err != nil {
			return err
		}
		return l.askUntil(ctx, attempts,
			func(ctx context.Context) error {
				_, err := l.daemon.vms.SetVMPower(ctx, &rpc.SetVMPowerRequest{ClientUid: l.daemon.clientUID, Host: l.host, VmName: l.on, Action: action})
				return err
			},
			func(ctx context.Context) error {
				now, err := l.cluster.see(ctx, l.on)
				if err != nil {
					return err
				}
				vm, err := l.daemon.get(ctx, l.host, l.on)
				switch off := action == rpc.PowerAction_POWER_ACTION_OFF; {
				case err != nil:
					return err
				case off && (now.running || vm.PowerState != rpc.PowerState_POWER_STATE_OFF):
					return fmt.Errorf("the VM is not off: its host has it running: %t; the daemon tells %s", now.running, vm.PowerState)
				case !off && (vm.PowerState != rpc.PowerState_POWER_STATE_RUNNING || vm.Address == ""):
					return fmt.Errorf("the VM is not up: the daemon tells %s, address %q", vm.PowerState, vm.Address)
				case !off && !now.booted.After(before.booted):
					return errors.New("the VM has not booted since")
				}
				return nil
			})
	}
}

// askUntil makes a call and waits until it is so; after a while it asks again.
func (l *life) askUntil(ctx context.Context, attempts *int, call, so func(context.Context) error) error {
	for {
		if err := ask(ctx, attempts, call); err != nil {
			return err
		}
		patient, cancel := context.WithTimeout(ctx, effectTime)
		err := until(patient, so)
		cancel()
		if err == nil || errors.As(err, new(*lost)) || ctx.Err() != nil {
			return err
		}
	}
}

func (l *life) attachVolume(ctx context.Context, attempts *int) error {
	return l.askUntil(ctx, attempts,
		func(ctx context.Context) error {
			_, err := l.daemon.vms.AttachVolume(ctx, &rpc.AttachVolumeRequest{ClientUid: l.daemon.clientUID, Host: l.host, VmName: l.on, Volume: &rpc.Volume{Name: dataVolume, SizeGib: 1}})
			return err
		}, l.has(3, 1))
}

func (l *life) attachNetwork(ctx context.Context, attempts *int) error {
	return l.askUntil(ctx, attempts,
		func(ctx context.Context) error {
			_, err := l.daemon.vms.AttachNetwork(ctx, &rpc.AttachNetworkRequest{ClientUid: l.daemon.clientUID, Host: l.host, VmName: l.on, Network: dayTwo})
			return err
		}, l.has(3, 2))
}

func (l *life) detachNetwork(ctx context.Context, attempts *int) error {
	return l.askUntil(ctx, attempts,
		func(ctx context.Context) error {
			_, err := l.daemon.vms.DetachNetwork(ctx, &rpc.DetachNetworkRequest{ClientUid: l.daemon.clientUID, Host: l.host, VmName: l.on, NetworkName: dayTwo.Name})
			return err
		}, l.has(3, 1))
}

func (l *life) detachVolume(ctx context.Context, attempts *int) error {
	return l.askUntil(ctx, attempts,
		func(ctx context.Context) error {
			_, err := l.daemon.vms.DetachVolume(ctx, &rpc.DetachVolumeRequest{ClientUid: l.daemon.clientUID, Host: l.host, VmName: l.on, VolumeName: dataVolume})
			return err
		}, func(ctx context.Context) error {
			if err := l.has(2, 1)(ctx); err != nil {
				return err
			}
			left, err := l.cluster.left(ctx, l.on)
			if err == nil && slices.ContainsFunc(left, func(s string) bool { return s == "volume "+l.on+"-data-"+dataVolume+" on "+l.host }) {
				err = &lost{errors.New("the volume was to be destroyed and is still there")}
			}
			return err
		})
}

// has tells what is in the way until daemon and host agree on how many volumes
// and networks the VM has. The call has said that it is so, so a host that does
// not show it is not waited for.
func (l *life) has(volumes, networks int) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := l.cluster.see(ctx, l.on)
		if err != nil {
			return err
		}
		if s.volumes != volumes || s.networks != networks {
			return &lost{fmt.Errorf("the host has the VM with %d volumes and %d networks, want %d and %d", s.volumes, s.networks, volumes, networks)}
		}
		vm, err := l.daemon.get(ctx, l.host, l.on)
		if err == nil && (len(vm.Volumes) != volumes || len(vm.Networks) != networks) {
			err = fmt.Errorf("the daemon tells of volumes %q and networks %q, want %d and %d", vm.Volumes, vm.Networks, volumes, networks)
		}
		return err
	}
}

// delete deletes the Machine, whatever became of it.
func (l *life) delete(ctx context.Context) {
	failed := l.failed
	l.failed = false
	if failed { // its manager may have been told to leave it alone
		within, cancel := context.WithTimeout(ctx, deadlines[resume])
		_ = l.cluster.setPaused(within, l.name, false) // the deletion shows what comes of it
		cancel()
	}
	l.do(ctx, remove, func(ctx context.Context, _ *int) error { return l.cluster.deleteMachine(ctx, l.name, l.on) })
}
