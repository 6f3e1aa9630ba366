// Package kubeapi is the API of one Kubernetes cluster, in memory: the objects
// with their versions and watches, the HTTP interface that client-go speaks,
// and the few controllers whose work a client can see. It knows nothing of
// machines; who runs it, on which address and for whom is its user's affair.
//
// It differs from the real thing where a client of Cluster API cannot tell, or
// where this list says so: objects are not defaulted and barely validated; an
// apply patch merges and tracks no field owners; a list is never cut into
// pages; there are no custom resources and no admission. Deployments have Pods, which
// have places and no containers (workloads.go).
package kubeapi
