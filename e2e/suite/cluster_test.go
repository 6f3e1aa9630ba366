package suite

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// aMachine is one that is as it should be.
func aMachine() clusterv1.Machine {
	m := clusterv1.Machine{}
	m.Status.Phase = string(clusterv1.MachinePhaseRunning)
	m.Status.NodeRef.Name = "node"
	m.Status.Conditions = []metav1.Condition{{Type: clusterv1.ReadyCondition, Status: metav1.ConditionTrue}}
	return m
}

func TestWhatAClusterMissesIsSaid(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		spoil   func(*Machines)
		missing bool
	}{
		"nothing":                {func(*Machines) {}, false},
		"a worker":               {func(m *Machines) { m.Workers = nil }, true},
		"nothing, there is more": {func(m *Machines) { m.Workers = append(m.Workers, aMachine()) }, true},
		"a control plane":        {func(m *Machines) { m.ControlPlane = nil }, true},
		"one that stays":         {func(m *Machines) { m.Workers[0].DeletionTimestamp = &now }, true},
		"a Node":                 {func(m *Machines) { m.Workers[0].Status.NodeRef.Name = "" }, true},
		"a phase":                {func(m *Machines) { m.ControlPlane[0].Status.Phase = "Provisioned" }, true},
		"a condition":            {func(m *Machines) { m.Workers[0].Status.Conditions = nil }, true},
		"readiness":              {func(m *Machines) { m.Workers[0].Status.Conditions[0].Status = metav1.ConditionUnknown }, true},
	} {
		m := Machines{ControlPlane: []clusterv1.Machine{aMachine()}, Workers: []clusterv1.Machine{aMachine()}}
		c.spoil(&m)
		if missing := m.Missing(1, 1); (missing != "") != c.missing {
			t.Errorf("%s: what is missing is %q", name, missing)
		}
	}
}

func TestOnlyReadyMachinesCount(t *testing.T) {
	waiting := aMachine()
	waiting.Status.Conditions[0].Status = metav1.ConditionFalse
	if n := Ready([]clusterv1.Machine{aMachine(), waiting, {}}); n != 1 {
		t.Errorf("of one Ready Machine, one that is not and one without conditions, %d are Ready", n)
	}
}

func TestClustersHaveNetworksOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for n := range Networks {
		v := network("127.128.16.0/20", n)
		seen[v["ELEMENTO_NETWORK_CIDR"]] = v["CONTROL_PLANE_ENDPOINT_HOST"]
	}
	if len(seen) != Networks || seen["127.128.16.0/24"] != "127.128.16.254" || seen["127.128.31.0/24"] != "127.128.31.254" {
		t.Errorf("the networks, each with its last address, are %v", seen)
	}
}
