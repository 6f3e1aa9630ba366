// Package life takes down when a Machine reached each stage of its life: on the
// Kubernetes side when a watch showed it, on AtomOS' side by the fake's own
// clock, which is this machine's too. API timestamps, which have whole seconds,
// are not used.
package life

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// Stage is a moment in the life of a Machine.
type Stage string

// The stages, in the order in which a Machine reaches them.
const (
	// Created is when the Machine was there.
	Created Stage = "Machine created"
	// BootstrapReady is when the Machine named its bootstrap data.
	BootstrapReady Stage = "bootstrap data ready"
	// RegisterArrived is when the request that made the VM came to its host.
	RegisterArrived Stage = "register arrives"
	// VMRunning is when the host had the VM running.
	VMRunning Stage = "VM running"
	// Provisioned is when the ElementoMachine said so.
	Provisioned Stage = "provisioned"
	// Running is when the Machine had a healthy Node.
	Running Stage = "Machine Running"
	// Deleted is when the deletion of the ElementoMachine began.
	Deleted Stage = "ElementoMachine deleted"
	// Gone is when the ElementoMachine was no more, everything of it verified.
	Gone Stage = "ElementoMachine gone"
	// MachineGone is when the Machine was no more.
	MachineGone Stage = "Machine gone"
)

// Life is that of one Machine.
type Life struct {
	// Machine is its name.
	Machine string
	// VM is the name of its VM; empty as long as it has none.
	VM string
	// ControlPlane tells whether it is one of the control plane.
	ControlPlane bool
	// At holds the stages that have been reached.
	At map[Stage]time.Time
}

// Took is the time from one stage to another, if both have been reached.
func (l Life) Took(from, to Stage) (time.Duration, bool) {
	begin, begun := l.At[from]
	end, ended := l.At[to]
	return end.Sub(begin), begun && ended
}

// Took are the times of all lives that have reached both stages.
func Took(lives []Life, from, to Stage) []time.Duration {
	var samples []time.Duration
	for _, l := range lives {
		if d, ok := l.Took(from, to); ok {
			samples = append(samples, d)
		}
	}
	return samples
}

// Recorder watches the Machines of a namespace. Its methods are safe for
// concurrent use.
type Recorder struct {
	mu sync.Mutex
	// lives are found by the name of the ElementoMachine, machines by that of the
	// Machine.
	lives map[string]*Life
	// news, where somebody waits, is closed when something is seen.
	news chan struct{}
}

var (
	machines = clusterv1.GroupVersion.WithResource("machines")
	vms      = infrav1.GroupVersion.WithResource("elementomachines")
)

// Watch starts to watch, and returns when it does. It ends with ctx; wait
// returns when it has, with what went wrong.
func Watch(ctx context.Context, c dynamic.Interface, namespace string) (_ *Recorder, wait func() error, err error) {
	return WatchInfrastructure(ctx, c, namespace, vms)
}

// WatchInfrastructure watches as [Watch] does where Machines are another provider's:
// of its infrastructure machines, which take the place of ElementoMachines in the
// stages, it reads what Cluster API's contract has them say.
func WatchInfrastructure(ctx context.Context, c dynamic.Interface, namespace string, infrastructure schema.GroupVersionResource) (_ *Recorder, wait func() error, err error) {
	r := &Recorder{lives: map[string]*Life{}}
	watches, err := Follow(ctx, c, namespace, map[schema.GroupVersionResource]See{
		machines:       r.seeMachine,
		infrastructure: r.seeInfrastructure,
	})
	if err != nil {
		return nil, nil, err
	}
	return r, watches, nil
}

// Lives are all that have been seen, by name.
func (r *Recorder) Lives() []Life {
	r.mu.Lock()
	defer r.mu.Unlock()
	lives := make([]Life, 0, len(r.lives))
	for _, l := range r.lives {
		copied := *l
		copied.At = maps.Clone(l.At)
		lives = append(lives, copied)
	}
	slices.SortFunc(lives, func(a, b Life) int { return cmp.Compare(a.Machine, b.Machine) })
	return lives
}

// Await waits until the infrastructure machine of that name was seen to have reached a
// stage.
func (r *Recorder) Await(ctx context.Context, name string, stage Stage) error {
	for {
		r.mu.Lock()
		if r.news == nil {
			r.news = make(chan struct{})
		}
		l, news := r.lives[name], r.news
		reached := l != nil && !l.At[stage].IsZero()
		r.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// announce tells those who wait that something was seen. It is called with the lock
// held.
func (r *Recorder) announce() {
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}

// SeeAtomOS takes the times of the VMs from a fake's inventory. It must be
// called while they run.
func (r *Recorder) SeeAtomOS(inventory fakeatomos.Inventory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lives {
		if l.VM == "" {
			continue
		}
		for _, vm := range inventory.VM(l.VM) {
			l.reach(RegisterArrived, vm.RegisterArrived)
			l.reach(VMRunning, vm.RunningSince)
		}
	}
}

// reach keeps the first time of a stage.
func (l *Life) reach(stage Stage, at time.Time) {
	if _, before := l.At[stage]; !before && !at.IsZero() {
		l.At[stage] = at
	}
}

func (r *Recorder) life(infraMachine string) *Life {
	l, ok := r.lives[infraMachine]
	if !ok {
		l = &Life{At: map[Stage]time.Time{}}
		r.lives[infraMachine] = l
	}
	return l
}

func (r *Recorder) seeMachine(event watch.EventType, object *unstructured.Unstructured, at time.Time) error {
	machine := &clusterv1.Machine{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, machine); err != nil {
		return fmt.Errorf("reading a Machine: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.announce()
	l := r.life(machine.Spec.InfrastructureRef.Name)
	l.Machine = machine.Name
	_, l.ControlPlane = machine.Labels[clusterv1.MachineControlPlaneLabel]
	if event == watch.Deleted {
		l.reach(MachineGone, at)
		return nil
	}
	l.reach(Created, at)
	if machine.Spec.Bootstrap.DataSecretName != nil {
		l.reach(BootstrapReady, at)
	}
	if machine.Status.GetTypedPhase() == clusterv1.MachinePhaseRunning {
		l.reach(Running, at)
	}
	return nil
}

func (r *Recorder) seeInfrastructure(event watch.EventType, object *unstructured.Unstructured, at time.Time) error {
	vm, _, err := unstructured.NestedString(object.Object, "spec", "vmName")
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	provisioned, _, err := unstructured.NestedBool(object.Object, "status", "initialization", "provisioned")
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.announce()
	l := r.life(object.GetName())
	if vm != "" {
		l.VM = vm
	}
	if provisioned {
		l.reach(Provisioned, at)
	}
	if object.GetDeletionTimestamp() != nil {
		l.reach(Deleted, at)
	}
	if event == watch.Deleted {
		l.reach(Gone, at)
	}
	return nil
}
