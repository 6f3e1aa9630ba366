package main

import (
	"math"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func TestACostIsThatOfItsSpan(t *testing.T) {
	t.Parallel()
	start := time.Now()
	before := cost{at: start, calls: calls{all: 100}, elemento: 3, processes: map[string]float64{world.ElementoProvider: 1, world.DaemonProcess(1): 2, world.Etcd: 50}}
	after := cost{at: start.Add(10 * time.Second), calls: calls{all: 140}, elemento: 3.5, processes: map[string]float64{world.ElementoProvider: 1.3, world.DaemonProcess(1): 2.2, world.Etcd: 70}}
	used := after.less(before)
	if used.took != 10*time.Second || used.rate(used.calls.all) != 4 {
		t.Errorf("in %s there were %g calls a second, want 4 in 10s", used.took, used.rate(used.calls.all))
	}
	if got := used.elemento; math.Abs(got-.5) > 1e-9 {
		t.Errorf("manager and daemon have used %g s, want 0.5 s", got)
	}
	if before.processes[world.Etcd] != 50 || after.processes[world.Etcd] != 70 {
		t.Error("what was measured is changed by taking the difference")
	}
}

func TestTheLeastOfSomeLooksIsTheLiveHeap(t *testing.T) {
	t.Parallel()
	heaps := []float64{30, 21, 20, 24, 22}
	n := 0
	m := least(len(heaps), func() memory { n++; return memory{heap: heaps[n-1], resident: float64(n)} })
	if want := (memory{heap: 20, resident: 3}); m != want || n != len(heaps) {
		t.Errorf("of %d looks it is %+v, want %+v of %d", n, m, want, len(heaps))
	}
}
