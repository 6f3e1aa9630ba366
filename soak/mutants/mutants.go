package main

import "elemento.cloud/cluster-api-provider-elemento/e2e/world"

// mutant is a program of ours that was made wrong on purpose.
type mutant struct {
	// name says what it does wrong.
	name string
	// catches is the validator that is meant for it.
	catches string
	edits   []world.Edit
	// workload exposes it, faults included.
	workload []act
}

// mutants are all of them. Each validator has at least one.
func mutants() []mutant {
	return []mutant{
		{
			name: "a daemon that skips the look before it creates", catches: "OneVM", workload: []act{repeatedCreation},
			edits: []world.Edit{
				{File: "daemon/ensure.go", Old: "	if seen.vms[e.name] != nil {\n		return e.present(ctx, seen)\n	}\n	if e.registered.may(", New: "	if e.registered.may("},
				{File: "daemon/ensure.go", Old: "	spec := e.req.Spec\n	names := []string{", New: "	before = nil\n	spec := e.req.Spec\n	names := []string{"},
				// It takes what it has just made, so that the fence lets it through.
				{File: "daemon/ensure.go", Old: "		if i == seed {\n			v, found", New: "		if made[i] != \"\" {\n			v, found"},
			},
		},
		{
			name: "a daemon that forgets a volume", catches: "NothingLeft", workload: []act{wholeLife},
			edits: []world.Edit{{
				File: "daemon/delete.go", Old: "		d.remember(vms, volumes)\n",
				New: "		if len(vms) == 0 && len(volumes) > 0 {\n			volumes = volumes[1:]\n		}\n		d.remember(vms, volumes)\n",
			}},
		},
		{
			name: "a daemon that trusts a delete", catches: "VMModel", workload: []act{pretendedRemoval, wholeLife},
			edits: []world.Edit{{
				File: "daemon/delete.go", Old: "				return remaining, err\n			}\n			continue\n", New: "				return remaining, err\n			}\n			return nil, nil\n",
			}},
		},
		{
			name: "a manager that takes another host after a lost reply", catches: "OneVM", workload: []act{lostRegister, cluster(1, 0)},
			edits: []world.Edit{
				{
					File: "provider/controllers/machine_create.go", Old: "	case rpc.Reason_REASON_NO_CAPACITY, rpc.Reason_REASON_LICENSE_REQUIRED:\n",
					New: "	case rpc.Reason_REASON_NO_CAPACITY, rpc.Reason_REASON_LICENSE_REQUIRED, rpc.Reason_REASON_OUTCOME_UNKNOWN:\n",
				},
				{
					File: "provider/controllers/machine_create.go",
					Old:  "	if result, err := r.clear(ctx, s); err != nil || result != nil {\n		return result, err\n	}\n	result, err := r.placeElsewhere",
					New:  "	result, err := r.placeElsewhere",
				},
			},
		},
		{
			name: "a manager that drops its finalizer early", catches: "NothingLeft", workload: []act{cluster(1, 0), deletion},
			edits: []world.Edit{{File: "provider/controllers/machine_delete.go", Old: "	if !gone {\n", New: "	if !gone && len(remaining) == 0 {\n"}},
		},
		{
			name: "a manager that removes a VM which is only off", catches: "NoLivingDeleted", workload: []act{cluster(1, 1), crash},
			edits: []world.Edit{{
				File: "provider/controllers/machine_observe.go",
				Old:  "	if err := s.member.SetVMPower(ctx, s.object.Spec.Host, s.object.Spec.VMName, rpc.PowerAction_POWER_ACTION_ON); err != nil {\n",
				New:  "	if _, _, err := s.member.DeleteVM(ctx, &rpc.DeleteVMRequest{Host: s.object.Spec.Host, VmName: s.object.Spec.VMName}); err != nil {\n",
			}},
		},
		{
			name: "a manager that goes on making a VM which was deleted", catches: "NothingForTheDead", workload: []act{cluster(1, 0), deletion},
			edits: []world.Edit{{File: "provider/controllers/machine.go", Old: "r.remove, r.release)", New: "r.remove, r.release, r.awaitBootstrapData, r.create)"}},
		},
		{
			name: "a manager to which waiting is an error", catches: "NoReconcileErrors", workload: []act{cluster(1, 0)},
			edits: []world.Edit{{
				File: "provider/controllers/machine.go", Old: "\"The bootstrap provider has not written the data yet\")\n		return stop(0), nil\n",
				New: "\"The bootstrap provider has not written the data yet\")\n		return nil, apierrors.NewBadRequest(\"not yet\")\n",
			}},
		},
		{
			name: "a guest whose API answers without a quorum", catches: "APIAnswers", workload: []act{cluster(3, 0), quorumLoss},
			edits: []world.Edit{{
				File: "fakeatomos/guest/simulated/cluster.go", Old: "			n.control.setAPI(ctx, runsEtcd && c.quorum))\n", New: "			n.control.setAPI(ctx, runsEtcd))\n",
			}},
		},
	}
}

// control is everything that the mutants go through, for programs as they are.
var control = mutant{
	name:     "no mutant",
	workload: []act{repeatedCreation, pretendedRemoval, wholeLife, lostRegister, cluster(3, 1), crash, quorumLoss, deletion},
}
