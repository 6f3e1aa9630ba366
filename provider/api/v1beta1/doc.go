// Package v1beta1 holds the kinds of the Elemento infrastructure provider:
// clusters and machines on AtomOS hosts, their templates, and the record of what
// is still to be removed from a host that could not be asked. They follow the
// v1beta2 contract of Cluster API.
//
// Specs hold everything that must survive: what the user wants, and the
// provider's own identities and intents (vmName, providerID, host, endpointHost),
// which are written before they take effect. A status can be lost at any time
// and is observed again.
//
// +kubebuilder:object:generate=true
// +groupName=infrastructure.cluster.x-k8s.io
package v1beta1
