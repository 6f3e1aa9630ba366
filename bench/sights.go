package main

import (
	"encoding/json"
	"strings"
	"time"

	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// object is what is asked of an event of kind object.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp time.Time         `json:"deletionTimestamp"`
		OwnerReferences   []struct {
			Kind string `json:"kind"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		// Of a Machine.
		Bootstrap struct {
			DataSecretName string `json:"dataSecretName"`
			ConfigRef      struct {
				Name string `json:"name"`
			} `json:"configRef"`
		} `json:"bootstrap"`
		InfrastructureRef struct {
			Name string `json:"name"`
		} `json:"infrastructureRef"`
		// Of an ElementoMachine, and of a Node, which has its VM's name at the end.
		VMName     string `json:"vmName"`
		ProviderID string `json:"providerID"`
	} `json:"spec"`
	Status struct {
		Phase          string `json:"phase"`
		Initialization struct {
			DataSecretCreated bool `json:"dataSecretCreated"`
			Provisioned       bool `json:"provisioned"`
		} `json:"initialization"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// isReady tells whether an object says that it is.
func (o object) isReady() bool {
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// sight is an object as it was seen at a moment.
type sight struct {
	object
	at   time.Time
	gone bool
}

func (g *gathering) objects(events []history.Event) (all []sight) {
	for _, e := range events {
		if e.Kind != fakehistory.Object || e.Detail == nil {
			continue
		}
		s := sight{at: e.Time, gone: e.Event == "deleted"}
		if json.Unmarshal(e.Detail, &s.object) == nil && (s.Metadata.Namespace == g.namespace || s.Kind == "Node") {
			all = append(all, s)
		}
	}
	return all
}

// controlPlane is the label of a control plane's Machine.
const controlPlane = "cluster.x-k8s.io/control-plane"

// findMachines finds the workers' Machines, and what belongs to them.
func (g *gathering) findMachines(objects []sight) {
	for _, s := range objects {
		if _, of := s.Metadata.Labels[controlPlane]; s.Kind != "Machine" || of || g.machines[s.Metadata.Name] != nil {
			continue
		}
		j := &journey{machine: s.Metadata.Name, at: map[moment]time.Time{}, busy: map[layer][]span{}}
		g.all = append(g.all, j)
		g.machines[s.Metadata.Name] = j
		g.infra[s.Spec.InfrastructureRef.Name] = j
		g.configs[s.Spec.Bootstrap.ConfigRef.Name] = j
	}
	for _, s := range objects {
		if j := g.infra[s.Metadata.Name]; s.Kind == "ElementoMachine" && j != nil && s.Spec.VMName != "" {
			j.vm = s.Spec.VMName
			g.vms[j.vm] = j
		}
	}
}

// seeObject takes the moments of which an object tells.
func (g *gathering) seeObject(s sight) {
	at := func(j *journey, m moment, is bool) {
		if j != nil && is {
			j.reach(m, s.at)
		}
	}
	isDeleted := !s.Metadata.DeletionTimestamp.IsZero()
	switch s.Kind {
	case "Machine":
		j := g.machines[s.Metadata.Name]
		at(j, machineThere, true)
		at(j, dataNamed, s.Spec.Bootstrap.DataSecretName != "")
		at(j, machineRunning, s.Status.Phase == "Running")
		at(j, machineDeleted, isDeleted)
		at(j, machineGone, s.gone)
	case "KubeadmConfig":
		j := g.configs[s.Metadata.Name]
		for _, owner := range s.Metadata.OwnerReferences {
			at(j, configOwned, owner.Kind == "Machine")
		}
		at(j, dataWritten, s.Status.Initialization.DataSecretCreated)
	case "ElementoMachine":
		j := g.infra[s.Metadata.Name]
		at(j, provisioned, s.Status.Initialization.Provisioned)
		at(j, vmDeleted, isDeleted)
		at(j, vmGone, s.gone)
	case "Node":
		j := g.vms[s.Spec.ProviderID[strings.LastIndexByte(s.Spec.ProviderID, '/')+1:]]
		at(j, nodeReady, s.isReady())
	}
}
