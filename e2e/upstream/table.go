package main

import (
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// standing is what is known of a spec of upstream's here.
type standing string

const (
	onBoth       standing = "passes on simulated and on container guests"
	onSimulated  standing = "passes on simulated guests"
	onContainers standing = "passes on container guests"
	doesNotApply standing = "does not apply"
	notYet       standing = "not yet"
)

// standings are all, the best first.
var standings = []standing{onBoth, onSimulated, onContainers, doesNotApply, notYet}

// spec is one of upstream's.
type spec struct {
	// name is that of its function, without Spec.
	name string
	// unrun is what is known of one that has no cases: doesNotApply or notYet.
	unrun standing
	// why says what stands in the way of one that is not run, and of one that is run,
	// what of it is not or how this is done.
	why string
	// cases are how it is run; none for one that is not.
	cases []example
}

// standing is that of its first case, which is the plainest; the page tells of others
// that stand elsewhere.
func (s spec) standing() standing {
	if len(s.cases) == 0 {
		return s.unrun
	}
	return s.cases[0].standing()
}

// example is one way to run a spec: the cluster that it is given, or how much of it.
type example struct {
	// of says what is special about it; empty where there is only one.
	of  string
	run func(*suite.Site)
	// passes are the guests on which it has been seen to pass.
	passes []world.Guests
	// needs is what it cannot run without; the zero value is nothing.
	needs needs
}

// standing is where it has been seen to pass.
func (e example) standing() standing {
	on := func(g world.Guests) bool { return slices.Contains(e.passes, g) }
	switch simulated, containers := on(world.GuestsSimulated), on(world.GuestsContainer); {
	case simulated && containers:
		return onBoth
	case simulated:
		return onSimulated
	case containers:
		return onContainers
	}
	return notYet
}

// isKnown tells whether it passes on such guests; those of a real AtomOS are to show it.
func (e example) isKnown(guests world.Guests) bool {
	return guests == world.GuestsAtomOS || slices.Contains(e.passes, guests)
}

// needs is what a run cannot do without.
type needs struct {
	plane  world.Plane
	guests world.Guests
}

// met tells whether there is what is needed.
func (n needs) met(plane world.Plane, guests world.Guests) bool {
	return (n.plane == "" || n.plane == plane) && (n.guests == "" || n.guests == guests)
}

// name is what the run is called.
func (e example) name(of spec) string { return strings.TrimSpace(of.name + " " + e.of) }

// The guests on which a run has passed.
var (
	simulated  = []world.Guests{world.GuestsSimulated}
	containers = []world.Guests{world.GuestsContainer}
	both       = []world.Guests{world.GuestsSimulated, world.GuestsContainer}
)

// table has every spec of upstream's, in the order in which they are told.
func table() []spec {
	onKind := needs{plane: world.PlaneKind}
	inContainers := needs{guests: world.GuestsContainer}
	embedded := needs{plane: world.PlaneEmbedded}
	return []spec{
		{"QuickStart", "", "with upstream's checks of owners, finalizers and resource versions", []example{
			{"", quickStart(""), both, needs{}},
			{"with ClusterClass", quickStart(topology), both, needs{}},
			{"with Cluster API " + world.OlderClusterAPI, quickStartOnOlder, simulated, embedded},
		}},
		{"KCPRemediation", "", "guests call the management cluster with curl, which the simulated ones run too", []example{{"", controlPlaneRemediation, both, needs{}}}},
		{"MachineDeploymentRemediation", "", "", []example{{"", machineDeploymentRemediation, both, needs{}}}},
		{"MachineDeploymentScale", "", "", []example{{"", machineDeploymentScale, both, needs{}}}},
		{"KCPAndMachineDeploymentRollout", "", "with Cluster API's gate MachineTaintPropagation", []example{{"", rollout, simulated, needs{}}}},
		{"MachinePool", doesNotApply, "the provider has no machine pools", nil},
		{"ClusterUpgradeConformance", "", "its upgrade; the conformance tests that can follow are those of C1", []example{
			{"", upgrade("upgrades", 1, 2), both, needs{}},
			{"with ClusterClass and 3 control planes", upgrade(topology, 3, 1), simulated, needs{}},
		}},
		{"ClusterUpgradeWithRuntimeSDK", "", "its extension is a Pod of the management cluster, which is kind's", []example{{"", upgradeWithHooks, containers, onKind}}},
		{"ClusterInPlaceUpdate", doesNotApply, "the provider has no in-place updates: a VM is replaced", nil},
		{"ClusterClassChanges", "", "", []example{{"", clusterClassChanges, simulated, needs{}}}},
		{"ClusterClassRollout", "", "with Cluster API's gate MachineTaintPropagation", []example{{"", clusterClassRollout, simulated, needs{}}}},
		{"ClusterDeletion", "", "", []example{{"", clusterDeletion, simulated, needs{}}}},
		{"NodeDrainTimeout", "", "on simulated guests the Pods that are drained have places and budgets, and no containers", []example{{"", nodeDrain, both, needs{}}}},
		{"SelfHosted", "", "without its upgrade, whose nodes would have to pull the images of the managers; with the cert-manager that is built from its Go module", []example{{"", selfHosted, containers, inContainers}}},
		{"ClusterctlUpgrade", doesNotApply, "it begins with an earlier release of the provider, which there is none of", nil},
		{"K8SConformance", "", "kubetest, with a part of conformance, on 6 nodes; all of it is C1's, by sonobuoy", []example{{"", conformance, containers, inContainers}}},
		{"KCPAdoption", "", "", []example{{"", adoption, simulated, needs{}}}},
		{"KCPInfraAdoption", "", "a patch of the ClusterClass hands on to the new ElementoCluster what the first one had on the hosts", []example{{"", infraAdoption, simulated, needs{}}}},
		{"KubeadmJoinOldNodes", "", "an old worker joins a newer patch of its minor version, by an extension of ours, since upstream's refuses templates of other providers; at its end the spec looks into the container that is called like the Machine, and those of guests are called like their VMs", []example{{"", joinOldNodes, nil, inContainers}}},
		{"Autoscaler", notYet, "the autoscaler that it tests is a program of its own, which is not to be had as a Go module", nil},
		{"Scale", "", "4 clusters of 1 control plane and 1 worker, 2 at a time, upgraded too", []example{{"", scale, simulated, needs{}}}},
	}
}
