package main

// mutant is a program of ours that was made wrong on purpose.
type mutant struct {
	// name says what it does wrong.
	name string
	// catches is the validator that is meant for it.
	catches string
	edits   []edit
	// workload exposes it, faults included.
	workload []act
}

// edit replaces a text, which occurs once in a file of the repository, by another.
type edit struct{ file, old, new string }

// mutants are all of them. Each validator has at least one.
func mutants() []mutant {
	return []mutant{
		{
			name: "a daemon that skips the look before it creates", catches: "OneVM", workload: []act{repeatedCreation},
			edits: []edit{
				{"daemon/ensure.go", "	if seen.vms[e.name] != nil {\n		return e.present(ctx, seen)\n	}\n	if e.registered.may(", "	if e.registered.may("},
				{"daemon/ensure.go", "	spec := e.req.Spec\n	names := []string{", "	before = nil\n	spec := e.req.Spec\n	names := []string{"},
				// It takes what it has just made, so that the fence lets it through.
				{"daemon/ensure.go", "		if i == seed {\n			v, found", "		if made[i] != \"\" {\n			v, found"},
			},
		},
		{
			name: "a daemon that forgets a volume", catches: "NothingLeft", workload: []act{wholeLife},
			edits: []edit{{
				"daemon/delete.go", "		d.remember(vms, volumes)\n",
				"		if len(vms) == 0 && len(volumes) > 0 {\n			volumes = volumes[1:]\n		}\n		d.remember(vms, volumes)\n",
			}},
		},
		{
			name: "a daemon that trusts a delete", catches: "VMModel", workload: []act{pretendedRemoval, wholeLife},
			edits: []edit{{
				"daemon/delete.go", "				return remaining, err\n			}\n			continue\n", "				return remaining, err\n			}\n			return nil, nil\n",
			}},
		},
		{
			name: "a manager that takes another host after a lost reply", catches: "OneVM", workload: []act{lostRegister, cluster(1, 0)},
			edits: []edit{
				{
					"provider/controllers/machine_create.go", "	case rpc.Reason_REASON_NO_CAPACITY, rpc.Reason_REASON_LICENSE_REQUIRED:\n",
					"	case rpc.Reason_REASON_NO_CAPACITY, rpc.Reason_REASON_LICENSE_REQUIRED, rpc.Reason_REASON_OUTCOME_UNKNOWN:\n",
				},
				{
					"provider/controllers/machine_create.go",
					"	if result, err := r.clear(ctx, s); err != nil || result != nil {\n		return result, err\n	}\n	result, err := r.placeElsewhere",
					"	result, err := r.placeElsewhere",
				},
			},
		},
		{
			name: "a manager that drops its finalizer early", catches: "NothingLeft", workload: []act{cluster(1, 0), deletion},
			edits: []edit{{"provider/controllers/machine_delete.go", "	if !gone {\n", "	if !gone && len(remaining) == 0 {\n"}},
		},
		{
			name: "a manager that removes a VM which is only off", catches: "NoLivingDeleted", workload: []act{cluster(1, 1), crash},
			edits: []edit{{
				"provider/controllers/machine_observe.go",
				"	if err := s.member.SetVMPower(ctx, s.object.Spec.Host, s.object.Spec.VMName, rpc.PowerAction_POWER_ACTION_ON); err != nil {\n",
				"	if _, _, err := s.member.DeleteVM(ctx, &rpc.DeleteVMRequest{Host: s.object.Spec.Host, VmName: s.object.Spec.VMName}); err != nil {\n",
			}},
		},
		{
			name: "a manager that goes on making a VM which was deleted", catches: "NothingForTheDead", workload: []act{cluster(1, 0), deletion},
			edits: []edit{{"provider/controllers/machine.go", "r.remove, r.release)", "r.remove, r.release, r.awaitBootstrapData, r.create)"}},
		},
		{
			name: "a manager to which waiting is an error", catches: "NoReconcileErrors", workload: []act{cluster(1, 0)},
			edits: []edit{{
				"provider/controllers/machine.go", "\"The bootstrap provider has not written the data yet\")\n		return stop(0), nil\n",
				"\"The bootstrap provider has not written the data yet\")\n		return nil, apierrors.NewBadRequest(\"not yet\")\n",
			}},
		},
		{
			name: "a guest whose API answers without a quorum", catches: "APIAnswers", workload: []act{cluster(3, 0), quorumLoss},
			edits: []edit{{
				"fakeatomos/guest/simulated/cluster.go", "			n.control.setAPI(ctx, runsEtcd && c.quorum))\n", "			n.control.setAPI(ctx, runsEtcd))\n",
			}},
		},
	}
}

// control is everything that the mutants go through, for programs as they are.
var control = mutant{
	name:     "no mutant",
	workload: []act{repeatedCreation, pretendedRemoval, wholeLife, lostRegister, cluster(3, 1), crash, quorumLoss, deletion},
}
