package kubeapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// resource is a kind that the API serves.
type resource struct {
	group, version string
	name, kind     string
	namespaced     bool
	// status tells that the kind's status is written through a subresource of
	// its own and kept by writes to the object itself.
	status bool
	short  string
}

func (r *resource) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.group, Version: r.version, Kind: r.kind}
}

func (r *resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.group, Resource: r.name}
}

func (r *resource) apiVersion() string { return r.gvk().GroupVersion().String() }

// resources are the kinds that kubeadm, Cluster API and its suites touch, and
// what else makes the cluster look ordinary to a person with kubectl. A kind
// that is not here is not found, as on a cluster without its definition.
var resources = []*resource{
	{"", "v1", "namespaces", "Namespace", false, true, "ns"},
	{"", "v1", "nodes", "Node", false, true, "no"},
	{"", "v1", "persistentvolumes", "PersistentVolume", false, true, "pv"},
	{"", "v1", "pods", "Pod", true, true, "po"},
	{"", "v1", "configmaps", "ConfigMap", true, false, "cm"},
	{"", "v1", "secrets", "Secret", true, false, ""},
	{"", "v1", "services", "Service", true, true, "svc"},
	{"", "v1", "serviceaccounts", "ServiceAccount", true, false, "sa"},
	{"", "v1", "endpoints", "Endpoints", true, false, "ep"},
	{"", "v1", "events", "Event", true, false, "ev"},
	{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true, true, "pvc"},
	{"", "v1", "resourcequotas", "ResourceQuota", true, true, "quota"},
	{"", "v1", "limitranges", "LimitRange", true, false, "limits"},
	{"apps", "v1", "daemonsets", "DaemonSet", true, true, "ds"},
	{"apps", "v1", "deployments", "Deployment", true, true, "deploy"},
	{"apps", "v1", "replicasets", "ReplicaSet", true, true, "rs"},
	{"apps", "v1", "statefulsets", "StatefulSet", true, true, "sts"},
	{"batch", "v1", "jobs", "Job", true, true, ""},
	{"batch", "v1", "cronjobs", "CronJob", true, true, "cj"},
	{"coordination.k8s.io", "v1", "leases", "Lease", true, false, ""},
	{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, false, ""},
	{"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true, false, "netpol"},
	{"networking.k8s.io", "v1", "ingresses", "Ingress", true, true, "ing"},
	{"policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, true, "pdb"},
	{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false, false, ""},
	{"rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false, false, ""},
	{"rbac.authorization.k8s.io", "v1", "roles", "Role", true, false, ""},
	{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true, false, ""},
	{"scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false, false, "pc"},
	{"storage.k8s.io", "v1", "csidrivers", "CSIDriver", false, false, ""},
	{"storage.k8s.io", "v1", "csinodes", "CSINode", false, false, ""},
	{"storage.k8s.io", "v1", "storageclasses", "StorageClass", false, false, "sc"},
	{"storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", false, true, ""},
}

// The kinds that the API's own controllers handle.
var (
	namespaces  = resourceNamed("", "namespaces")
	nodes       = resourceNamed("", "nodes")
	pods        = resourceNamed("", "pods")
	secrets     = resourceNamed("", "secrets")
	daemonSets  = resourceNamed("apps", "daemonsets")
	deployments = resourceNamed("apps", "deployments")
)

// resourceNamed returns the resource of a group by its plural name, or nil.
func resourceNamed(group, name string) *resource {
	i := slices.IndexFunc(resources, func(r *resource) bool { return r.group == group && r.name == name })
	if i < 0 {
		return nil
	}
	return resources[i]
}

// resourceOfKind returns the resource that serves a kind, or nil.
func resourceOfKind(gvk schema.GroupVersionKind) *resource {
	i := slices.IndexFunc(resources, func(r *resource) bool { return r.gvk() == gvk })
	if i < 0 {
		return nil
	}
	return resources[i]
}

var allVerbs = metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// resourceList is the discovery document of a group's version, nil for one
// that is not served.
func resourceList(group, version string) *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: schema.GroupVersion{Group: group, Version: version}.String(),
	}
	for _, r := range resources {
		if r.group != group || r.version != version {
			continue
		}
		entry := metav1.APIResource{
			Name: r.name, SingularName: strings.ToLower(r.kind), Namespaced: r.namespaced, Kind: r.kind, Verbs: allVerbs,
		}
		if r.short != "" {
			entry.ShortNames = []string{r.short}
		}
		list.APIResources = append(list.APIResources, entry)
		if r.status {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: r.name + "/status", Namespaced: r.namespaced, Kind: r.kind, Verbs: metav1.Verbs{"get", "patch", "update"},
			})
		}
		if r == pods {
			list.APIResources = append(list.APIResources,
				metav1.APIResource{Name: "pods/eviction", Namespaced: true, Group: "policy", Version: "v1", Kind: "Eviction", Verbs: metav1.Verbs{"create"}},
				metav1.APIResource{Name: "pods/portforward", Namespaced: true, Kind: "PodPortForwardOptions", Verbs: metav1.Verbs{"create", "get"}},
			)
		}
	}
	if len(list.APIResources) == 0 {
		return nil
	}
	return list
}

// groupList is the discovery document of all named groups.
func groupList() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, r := range resources {
		seen := slices.ContainsFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == r.group })
		if r.group == "" || seen {
			continue
		}
		version := metav1.GroupVersionForDiscovery{GroupVersion: r.apiVersion(), Version: r.version}
		list.Groups = append(list.Groups, metav1.APIGroup{
			Name: r.group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
		})
	}
	return list
}
