package life

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func unstructuredOf(t *testing.T, object runtime.Object) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func TestALifeHasTheFirstMomentOfEachStage(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	r := &Recorder{lives: map[string]*Life{}}
	machine := &clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
	machine.Spec.InfrastructureRef.Name = "em"
	vm := &infrav1.ElementoMachine{ObjectMeta: metav1.ObjectMeta{Name: "em"}}
	seeMachine := func(second int) {
		if err := r.seeMachine(watch.Modified, unstructuredOf(t, machine), at(second)); err != nil {
			t.Fatal(err)
		}
	}
	seeVM := func(event watch.EventType, second int) {
		if err := r.seeInfrastructure(event, unstructuredOf(t, vm), at(second)); err != nil {
			t.Fatal(err)
		}
	}

	seeMachine(1)
	seeVM(watch.Added, 2)
	machine.Spec.Bootstrap.DataSecretName = ptr.To("data")
	seeMachine(3)
	seeMachine(4) // again: the first time counts
	vm.Spec.VMName = "vm"
	seeVM(watch.Modified, 5)
	r.SeeAtomOS(fakeatomos.Inventory{Hosts: []fakeatomos.HostInventory{{VMs: []fakeatomos.VMInventory{
		{Name: "vm", RegisterArrived: at(6), RunningSince: at(7)},
		{Name: "of another", RegisterArrived: at(0), RunningSince: at(0)},
	}}}})
	vm.Status.Initialization.Provisioned = ptr.To(true)
	seeVM(watch.Modified, 8)
	machine.Status.Phase = string(clusterv1.MachinePhaseRunning)
	seeMachine(9)
	now := metav1.Now()
	vm.DeletionTimestamp = &now
	seeVM(watch.Modified, 10)
	seeVM(watch.Deleted, 11)
	if err := r.seeMachine(watch.Deleted, unstructuredOf(t, machine), at(12)); err != nil {
		t.Fatal(err)
	}

	lives := r.Lives()
	if len(lives) != 1 {
		t.Fatalf("there are %d lives, want 1: %+v", len(lives), lives)
	}
	for stage, second := range map[Stage]int{
		Created: 1, BootstrapReady: 3, RegisterArrived: 6, VMRunning: 7, Provisioned: 8, Running: 9, Deleted: 10, Gone: 11, MachineGone: 12,
	} {
		if got := lives[0].At[stage]; !got.Equal(at(second)) {
			t.Errorf("stage %q was reached %s after the start, want %d s", stage, got.Sub(start), second)
		}
	}
	if took := Took(lives, VMRunning, Provisioned); len(took) != 1 || took[0] != time.Second {
		t.Errorf("from VM running to provisioned it took %v", took)
	}
}

func TestALifeThatHasNotComeSoFarHasNoDuration(t *testing.T) {
	t.Parallel()
	r := &Recorder{lives: map[string]*Life{}}
	vm := &infrav1.ElementoMachine{ObjectMeta: metav1.ObjectMeta{Name: "em"}}
	vm.Spec.VMName = "vm"
	if err := r.seeInfrastructure(watch.Added, unstructuredOf(t, vm), time.Now()); err != nil {
		t.Fatal(err)
	}
	// A VM that does not run has no time at which it did.
	r.SeeAtomOS(fakeatomos.Inventory{Hosts: []fakeatomos.HostInventory{{VMs: []fakeatomos.VMInventory{{Name: "vm", RegisterArrived: time.Now()}}}}})
	for _, stages := range [][2]Stage{{RegisterArrived, VMRunning}, {Created, RegisterArrived}, {Deleted, Gone}} {
		if took := Took(r.Lives(), stages[0], stages[1]); len(took) != 0 {
			t.Errorf("from %q to %q it took %v", stages[0], stages[1], took)
		}
	}
}

func TestAnObjectThatIsNoneOfOursIsAnError(t *testing.T) {
	t.Parallel()
	r := &Recorder{lives: map[string]*Life{}}
	strange := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "m"}, "spec": "text"}}
	if err := r.seeMachine(watch.Added, strange, time.Now()); err == nil {
		t.Error("a Machine whose spec is a text is taken down")
	}
	strange.Object["status"] = map[string]any{"initialization": map[string]any{"provisioned": "yes"}}
	delete(strange.Object, "spec")
	if err := r.seeInfrastructure(watch.Added, strange, time.Now()); err == nil {
		t.Error("a machine that is provisioned by a text is taken down")
	}
	if err := r.seeInfrastructure(watch.Added, unstructuredOf(t, &corev1.Secret{Type: "Opaque"}), time.Now()); err != nil {
		t.Errorf("fields that nobody reads are an error: %v", err)
	}
}

func TestAStageIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := &Recorder{lives: map[string]*Life{}}
	vm := &infrav1.ElementoMachine{ObjectMeta: metav1.ObjectMeta{Name: "em"}}
	see := func(event watch.EventType) {
		if err := r.seeInfrastructure(event, unstructuredOf(t, vm), time.Now()); err != nil {
			t.Error(err)
		}
	}
	reached := make(chan error)
	go func() { reached <- r.Await(t.Context(), "em", Provisioned) }()
	see(watch.Added)
	select {
	case err := <-reached:
		t.Fatalf("the wait has ended before the stage was reached: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	vm.Status.Initialization.Provisioned = ptr.To(true)
	see(watch.Modified)
	if err := <-reached; err != nil {
		t.Error(err)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	go func() { reached <- r.Await(ctx, "em", Gone) }()
	giveUp()
	if err := <-reached; err == nil {
		t.Error("who gives up is told that the stage was reached")
	}
}
