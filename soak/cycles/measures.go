package main

// measure is something of a process that must not grow with the clusters that come
// and go.
type measure struct {
	name, unit string
	of         func(sample) float64
	// tolerance is what may be gained with a cycle, in the unit: it has leaked when
	// the whole interval of its growth lies above.
	tolerance float64
}

const mib = 1 << 20

// measures are all of them. What a cluster has is some goroutines, connections and
// about a MiB of objects: of these even a small part is more than is tolerated. A
// heap is that of the last collection, since what has not been collected says
// nothing of leaks; memory is what the system sees, and follows after it. Of these
// something is tolerated: client-go remembers the events of the last 12 minutes,
// which looks like growth to a run that is not much longer.
var measures = []measure{
	{"goroutines", "", func(s sample) float64 { return float64(s.Goroutines) }, 0.1},
	{"open files", "", func(s sample) float64 { return float64(s.OpenFiles) }, 0.1},
	{"listening ports", "", func(s sample) float64 { return float64(len(s.Listening)) }, 0},
	{"heap after collection", "MiB", func(s sample) float64 { return float64(s.LiveHeap) / mib }, 0.05},
	{"resident memory", "MiB", func(s sample) float64 { return float64(s.ResidentMemory) / mib }, 0.25},
}
