package kubeapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// layout is how a person sees objects of a kind: columns between name and age,
// then some that only a wide table shows.
type layout struct {
	columns, wide []string
	// cells returns a value for each column and each wide one.
	cells func(body []byte) []any
}

// cellsOf decodes an object for its cells.
func cellsOf[T any](cells func(*T) []any) func([]byte) []any {
	return func(body []byte) []any {
		var object T
		if err := json.Unmarshal(body, &object); err != nil {
			return nil // stored objects decode
		}
		return cells(&object)
	}
}

// layouts are those of the kinds that people look at; others have a name and
// an age.
var layouts = map[*resource]layout{
	namespaces: {[]string{"Status"}, nil, cellsOf(func(n *corev1.Namespace) []any { return []any{n.Status.Phase} })},
	nodes:      {[]string{"Status", "Roles", "Version"}, []string{"Internal-IP", "Provider-ID"}, cellsOf(nodeCells)},
	pods:       {[]string{"Ready", "Status"}, []string{"IP", "Node"}, cellsOf(podCells)},
	deployments: {[]string{"Ready", "Up-to-date", "Available"}, []string{"Images"}, cellsOf(func(d *appsv1.Deployment) []any {
		return []any{fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, d.Status.Replicas), d.Status.UpdatedReplicas, d.Status.AvailableReplicas, images(d.Spec.Template.Spec)}
	})},
	daemonSets: {[]string{"Desired", "Ready", "Available"}, []string{"Images"}, cellsOf(func(d *appsv1.DaemonSet) []any {
		return []any{d.Status.DesiredNumberScheduled, d.Status.NumberReady, d.Status.NumberAvailable, images(d.Spec.Template.Spec)}
	})},
}

func nodeCells(n *corev1.Node) []any {
	status := "NotReady"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	roles := "<none>"
	if _, ok := n.Labels["node-role.kubernetes.io/control-plane"]; ok {
		roles = "control-plane"
	}
	address := "<none>"
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			address = a.Address
		}
	}
	return []any{status, roles, n.Status.NodeInfo.KubeletVersion, address, n.Spec.ProviderID}
}

func podCells(p *corev1.Pod) []any {
	ready := 0
	status := string(p.Status.Phase)
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			ready++
		}
		if c.State.Waiting != nil {
			status = c.State.Waiting.Reason
		}
	}
	return []any{fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers)), status, p.Status.PodIP, p.Spec.NodeName}
}

func images(pod corev1.PodSpec) string {
	names := make([]string, len(pod.Containers))
	for i, c := range pod.Containers {
		names[i] = c.Image
	}
	return strings.Join(names, ",")
}

// wantsTable tells whether the client asks for a table, as kubectl get does.
func wantsTable(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=Table")
}

// tableOf lays records out as a table.
func tableOf(r *resource, records []*record, revision string) *metav1.Table {
	form := layouts[r]
	table := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}}
	table.ResourceVersion = revision
	column := func(name string, priority int32) {
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: name, Type: "string", Priority: priority})
	}
	column("Name", 0)
	table.ColumnDefinitions[0].Format = "name"
	for _, name := range form.columns {
		column(name, 0)
	}
	column("Age", 0)
	for _, name := range form.wide {
		column(name, 1)
	}
	for _, found := range records {
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(found.json, &object); err != nil {
			continue // stored objects decode
		}
		object.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
		age := duration.HumanDuration(time.Since(object.CreationTimestamp.Time))
		cells := []any{found.key.name, age}
		if form.cells != nil {
			all := form.cells(found.json)
			middle := len(form.columns)
			cells = append(append(append([]any{found.key.name}, all[:middle]...), age), all[middle:]...)
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: &object}})
	}
	return table
}
