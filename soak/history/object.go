package history

import (
	"encoding/json"
	"fmt"
	"time"
)

// Object is what validators ask of an event of kind object.
type Object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		UID               string            `json:"uid"`
		CreationTimestamp time.Time         `json:"creationTimestamp"`
		DeletionTimestamp time.Time         `json:"deletionTimestamp"`
		Labels            map[string]string `json:"labels"`
		Finalizers        []string          `json:"finalizers"`
	} `json:"metadata"`
	Spec struct {
		// Of an ElementoMachine, and an ElementoCleanup.
		VMName string `json:"vmName"`
		Host   string `json:"host"`
		// Of an ElementoCleanup.
		NetworkName string `json:"networkName"`
		ForwardPort int    `json:"forwardPort"`
		// Of an ElementoCluster.
		Network struct {
			Name    string `json:"name"`
			Managed struct {
				CIDR string `json:"cidr"`
			} `json:"managed"`
		} `json:"network"`
		EndpointHost         string   `json:"endpointHost"`
		ControlPlaneEndpoint Endpoint `json:"controlPlaneEndpoint"`
		// Of a Cluster.
		InfrastructureRef struct {
			Name string `json:"name"`
		} `json:"infrastructureRef"`
	} `json:"spec"`
}

// Endpoint is where a cluster's API is.
type Endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// ObjectOf reads the detail of an event of kind object.
func ObjectOf(e Event) (o Object, err error) {
	if err := json.Unmarshal(e.Detail, &o); err != nil {
		return o, fmt.Errorf("reading object %s: %w", e.Name, err)
	}
	return o, nil
}

// Key names an object of its kind.
func (o Object) Key() string { return o.Metadata.Namespace + "/" + o.Metadata.Name }
