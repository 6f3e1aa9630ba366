package reports

// Checklist is what is to be shown before the provider is signed off: all
// criteria in order, none of them run.
func Checklist() []Criterion {
	checklist := []Criterion{
		{ID: "F1", Title: "Cluster creation end to end", Command: "make poc",
			Target: "3 control planes and 3 workers Ready without a manual step, applied with Clastix's identity"},
		{ID: "F2", Title: "Nodes fully managed by Cluster API", Command: "make poc",
			Target: "every VM on AtomOS has its Machine, and every Machine its VM"},
		{ID: "F3", Title: "Scaling by 3 workers, up and down", Command: "make poc",
			Target: "both directions complete, and the right VMs go"},
		{ID: "F4", Title: "Deletion removes everything", Command: "make poc",
			Target: "AtomOS inventory (VMs, volumes, seeds, networks, forwards) equals the one before, no ElementoCleanup left"},
		{ID: "F5", Title: "Every failure scenario converges", Command: "make scenarios",
			Target: "within 2 reconciliation cycles, wall time for each scenario"},
		{ID: "P1", Title: "API response time: Clastix to Machine created", Command: "make bench ONLY=requests",
			Target: "p50, p90 and p99 reported"},
		{ID: "P2", Title: "VM provisioning time: request to VM running", Command: "make bench ONLY=stages",
			Target: "p50, p90 and p99 reported, and split by stage"},
		{ID: "R1", Title: "24 h stability", Command: "make soak DURATION=24h",
			Target: "one uninterrupted run without faults, no failed reconcile loop of our manager"},
		{ID: "R2", Title: "100 iterations of the VM life cycle", Command: "make iterations",
			Target: "at least 99.9 % of operations succeed"},
		{ID: "R3", Title: "50 cycles of cluster creation and deletion", Command: "make cycles",
			Target: "no leaked resource on AtomOS, in Kubernetes and in our processes"},
		{ID: "C1", Title: "Workload conformance (sonobuoy)", Command: "make conformance",
			Target: "passed, on real nodes"},
		{ID: "C2", Title: "Upstream Cluster API e2e specs", Command: "make upstream",
			Target: "the specs that pass, by name, of those that apply: all that have passed before, and why each other is not run"},
	}
	for i := range checklist {
		checklist[i].Verdict = NotRun
	}
	return checklist
}
