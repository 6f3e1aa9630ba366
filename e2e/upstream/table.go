package main

import (
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// standing is what is known of a spec of upstream's here.
type standing string

const (
	onSimulated  standing = "passes on simulated guests"
	onContainers standing = "passes on container guests"
	doesNotApply standing = "does not apply"
	notYet       standing = "not yet"
)

// standings are all, the best first.
var standings = []standing{onSimulated, onContainers, doesNotApply, notYet}

// isRun tells whether make upstream runs such a spec.
func (s standing) isRun() bool { return s == onSimulated || s == onContainers }

// spec is one of upstream's.
type spec struct {
	// name is that of its function, without Spec.
	name     string
	standing standing
	// why says what stands in the way of one that is not run, and of one that is run,
	// what of it is not or how this is done.
	why string
	// cases are how it is run; none for one that is not.
	cases []example
}

// example is one way to run a spec: the cluster that it is given, or how much of it.
type example struct {
	// of says what is special about it; empty where there is only one.
	of  string
	run func(*suite.Site)
}

// name is what the run is called.
func (e example) name(of spec) string { return strings.TrimSpace(of.name + " " + e.of) }

// table has every spec of upstream's, in the order in which they are told.
func table() []spec {
	return []spec{
		{"QuickStart", onSimulated, "with upstream's checks of owners, finalizers and resource versions", []example{
			{"", quickStart("")},
			{"with ClusterClass", quickStart(topology)},
		}},
		{"KCPRemediation", onSimulated, "guests call the management cluster with curl, which the simulated ones run too", []example{{"", controlPlaneRemediation}}},
		{"MachineDeploymentRemediation", onSimulated, "", []example{{"", machineDeploymentRemediation}}},
		{"MachineDeploymentScale", onSimulated, "", []example{{"", machineDeploymentScale}}},
		{"KCPAndMachineDeploymentRollout", onSimulated, "with Cluster API's gate MachineTaintPropagation", []example{{"", rollout}}},
		{"MachinePool", doesNotApply, "the provider has no machine pools", nil},
		{"ClusterUpgradeConformance", onSimulated, "its upgrade; the conformance tests that can follow need nodes that run Pods, and are those of C1", []example{
			{"", upgrade("upgrades", 1, 2)},
			{"with ClusterClass and 3 control planes", upgrade(topology, 3, 1)},
		}},
		{"ClusterUpgradeWithRuntimeSDK", notYet, "its extension is a Pod of the management cluster behind a Service, for which the plane has to run Pods", nil},
		{"ClusterInPlaceUpdate", doesNotApply, "the provider has no in-place updates: a VM is replaced", nil},
		{"ClusterClassChanges", onSimulated, "", []example{{"", clusterClassChanges}}},
		{"ClusterClassRollout", onSimulated, "with Cluster API's gate MachineTaintPropagation", []example{{"", clusterClassRollout}}},
		{"ClusterDeletion", onSimulated, "", []example{{"", clusterDeletion}}},
		{"NodeDrainTimeout", onSimulated, "the Pods that are drained have places and budgets there, and no containers", []example{{"", nodeDrain}}},
		{"SelfHosted", notYet, "a management cluster inside of a workload cluster needs nodes that run Pods", nil},
		{"ClusterctlUpgrade", doesNotApply, "it begins with an earlier release of the provider, which there is none of", nil},
		{"K8SConformance", notYet, "it runs kubetest, for which nodes have to run Pods; C1 runs the same tests by sonobuoy", nil},
		{"KCPAdoption", onSimulated, "", []example{{"", adoption}}},
		{"KCPInfraAdoption", onSimulated, "a patch of the ClusterClass hands on to the new ElementoCluster what the first one had on the hosts", []example{{"", infraAdoption}}},
		{"KubeadmJoinOldNodes", notYet, "it reads a file of the node with docker exec, and so needs container guests whose containers have the names of their nodes", nil},
		{"Autoscaler", notYet, "the autoscaler that it tests runs as a Pod of a workload cluster", nil},
		{"Scale", onSimulated, "4 clusters of 1 control plane and 1 worker, 2 at a time, upgraded too", []example{{"", scale}}},
	}
}
