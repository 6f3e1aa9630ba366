package reports

import (
	"fmt"
	"slices"
	"strings"
)

// The names of the figures that tell how much a run has looked at. A criterion
// that asks for one stays unknown without it.
const (
	// Hours are those that one process of the harness ran its workload, in h.
	Hours = "hours without interruption"
	// FaultsSet are the faults that the harness set.
	FaultsSet = "faults set"
	// FailedReconciles are the failed reconcile loops of our manager.
	FailedReconciles = "failed reconcile loops of our manager"
	// Iterations are those of the life of a VM.
	Iterations = "iterations of the VM life cycle"
	// SucceededOperations are the share of operations that succeeded, in percent;
	// see [Share].
	SucceededOperations = "operations that succeeded"
	// ClusterCycles are clusters made and deleted, one after the other.
	ClusterCycles = "cycles of creation and deletion"
	// LeakedResources are those left behind on AtomOS, in Kubernetes and in our
	// processes.
	LeakedResources = "leaked resources"
	// ConformanceTests are those of sonobuoy that ran.
	ConformanceTests = "conformance tests run"
	// ConformanceTestsLeft are those that there are and that did not run, and
	// ConformanceRuns the runs of sonobuoy that the others took.
	ConformanceTestsLeft = "conformance tests that did not run"
	ConformanceRuns      = "runs of sonobuoy"
)

// The names of the latencies of which a criterion asks for samples.
const (
	// ClusterApplied, DeploymentScaled and MachineCreated are the answers to P1, at rest.
	ClusterApplied   = "Clastix applies the Cluster alone"
	DeploymentScaled = "Clastix scales a MachineDeployment"
	MachineCreated   = "Clastix scales up by one → its Machine is there"
	// VMRunning and NodeReady are those to P2.
	VMRunning = "request → VM running"
	NodeReady = "request → Node Ready"
)

// What a report tells without a figure.
const (
	processes  = "processes of the harness"
	scenarios  = "scenarios"
	validators = "validators"
	realNodes  = "real nodes"
)

// requirement is how much of something a criterion asks for.
type requirement struct {
	// of is the name of a figure, of a latency where samples is set, or one of what a report
	// tells without.
	of string
	// samples says that so many are asked for of a latency.
	samples         bool
	unit            string
	atLeast, atMost *float64
	// otherwise is what a run is called that does not meet it, and which is unknown
	// then. Without, the criterion has failed.
	otherwise string
}

// judged is asked for where what went on is told by the history only.
var judged = requirement{of: validators, atLeast: at(1), otherwise: "a history that nobody judged"}

// enough are the requirements, by criterion.
var enough = map[string][]requirement{
	"F5": {{of: scenarios, atLeast: at(30), otherwise: "a part of the scenarios"}},
	"P1": sampled(ClusterApplied, DeploymentScaled, MachineCreated),
	"P2": sampled(VMRunning, NodeReady),
	"R1": {
		{of: Hours, unit: "h", atLeast: at(24), otherwise: "a short run"},
		{of: processes, atMost: at(1), otherwise: "a merged run"},
		{of: FaultsSet, atMost: at(0), otherwise: "a run with faults"},
		{of: FailedReconciles, atMost: at(0)},
		judged,
	},
	"R2": {
		{of: Iterations, atLeast: at(100), otherwise: "a short run"},
		{of: SucceededOperations, unit: "%", atLeast: at(99.9)},
		judged,
	},
	"R3": {
		{of: ClusterCycles, atLeast: at(50), otherwise: "a short run"},
		{of: LeakedResources, atMost: at(0)},
		judged,
	},
	"C1": {
		{of: ConformanceTests, atLeast: at(300), otherwise: "a part of the tests"},
		{of: ConformanceTestsLeft, atMost: at(0), otherwise: "a part of the tests"},
		{of: ConformanceRuns, atMost: at(1), otherwise: "merged from several runs"},
		{of: realNodes, atLeast: at(1), otherwise: "nodes that are not real"},
	},
}

func at(value float64) *float64 { return &value }

// sampled asks for as many samples of each latency as it takes to speak of its p90.
func sampled(latencies ...string) []requirement {
	var all []requirement
	for _, name := range latencies {
		all = append(all, requirement{of: name, samples: true, atLeast: at(30), otherwise: "few samples"})
	}
	return all
}

// weighed is a criterion, judged by what was gathered, in the light of what it asks
// for: what a run leaves open is unknown, however well all was that it looked at.
func weighed(r Report, c Criterion) Criterion {
	lacks, failures := lacking(r, c)
	for _, l := range lacks {
		if !slices.Contains(c.Lacks, l) {
			c.Lacks = append(c.Lacks, l)
		}
	}
	passed := c.Verdict == Passed
	var reasons []string
	if c.Explanation != "" {
		reasons = append(reasons, c.Explanation)
	}
	reasons = append(append(reasons, failures...), c.Lacks...)
	c.Explanation = strings.Join(reasons, "; ")
	switch {
	case len(failures) > 0:
		c.Verdict = Failed
	case passed && len(c.Lacks) > 0:
		c.Verdict = Unknown
		return c
	}
	c.Lacks = nil // something else keeps it from being passed, or nothing does
	return c
}

// lacking says what a run's answer to a criterion lacks to be one, and what in it
// is a failure.
func lacking(r Report, c Criterion) (lacks, failures []string) {
	for _, q := range enough[c.ID] {
		value, measured := q.value(r, c)
		met := (q.atLeast == nil || value >= *q.atLeast) && (q.atMost == nil || value <= *q.atMost)
		switch {
		case !measured:
			lacks = append(lacks, q.of+": not measured")
		case met:
		case q.otherwise == "":
			failures = append(failures, q.of+": "+number(value, q.unit)+limits(Figure{AtLeast: q.atLeast, AtMost: q.atMost, Unit: q.unit}))
		default:
			lacks = append(lacks, q.otherwise+": "+q.shortfall(r, value))
		}
	}
	return lacks, failures
}

// shortfall is how much there is of how much, as people say it.
func (q requirement) shortfall(r Report, value float64) string {
	switch {
	case q.of == processes:
		return fmt.Sprintf("%d processes one after the other, from the first to the last %s",
			int(value), number(r.End.Sub(r.Start).Hours(), "h"))
	case q.of == realNodes:
		return "guests are " + orUnknown(r.Environment.Guests)
	case q.samples:
		return q.of + ": " + number(value, "") + " of at least " + number(*q.atLeast, "")
	case q.atLeast != nil && q.unit != "":
		return number(value, q.unit) + " of " + number(*q.atLeast, q.unit)
	case q.atLeast != nil:
		return number(value, "") + " of at least " + number(*q.atLeast, "") + " " + q.of
	default:
		return number(value, q.unit) + " " + q.of
	}
}

// value is how much there is of what the requirement asks for, if that is known.
func (q requirement) value(r Report, c Criterion) (float64, bool) {
	if q.samples {
		i := slices.IndexFunc(c.Latencies, func(l Latency) bool { return l.Name == q.of })
		if i < 0 {
			return 0, false
		}
		return float64(c.Latencies[i].Count), true
	}
	switch q.of {
	case processes:
		return float64(max(1, len(r.Parts))), true
	case scenarios:
		return float64(len(c.Scenarios)), true
	case validators:
		return float64(judging(c.Validators)), true
	case realNodes:
		e := r.Environment
		if e.Guests == ContainerGuests || e.Guests != SimulatedGuests && e.Target != "" && !e.IsFake() {
			return 1, true
		}
		return 0, true
	}
	i := slices.IndexFunc(c.Figures, func(f Figure) bool { return f.Name == q.of })
	if i < 0 {
		return 0, false
	}
	return c.Figures[i].Value, true
}
