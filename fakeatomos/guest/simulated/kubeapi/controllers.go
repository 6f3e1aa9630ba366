package kubeapi

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// This file is the little of a controller manager, scheduler and kubelet that
// Cluster API can tell from its absence. It works inside the write that makes
// it necessary: there is nothing that runs while nothing happens. What becomes of
// Deployments is in workloads.go.

// settleLocked completes an object on its way into the store.
func (s *Store) settleLocked(r *resource, object content) {
	meta := metadataOf(object)
	switch r {
	case namespaces:
		values := content{}
		for name, value := range labelsOf(meta) {
			values[name] = value
		}
		values[corev1.LabelMetadataName] = meta["name"]
		meta["labels"] = values
		object["status"] = content{"phase": string(corev1.NamespaceActive)}
	case pods:
		// A pod that names an existing node runs there at once.
		node, _, _ := unstructured.NestedString(object, "spec", "nodeName")
		phase, _, _ := unstructured.NestedString(object, "status", "phase")
		switch {
		case phase == string(corev1.PodRunning) && meta["deletionTimestamp"] != nil:
			object["status"] = endedPod(object["status"])
		case phase != "" && phase != string(corev1.PodPending):
		case node == "" || s.objects[nodes][key{name: node}] == nil:
			object["status"] = content{"phase": string(corev1.PodPending)}
		default:
			object["status"] = runningPod()
		}
	case deployments:
		if meta["namespace"] != metav1.NamespaceSystem {
			break
		}
		replicas := int64(1)
		switch wanted, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "replicas"); wanted := wanted.(type) {
		case int64:
			replicas = wanted
		case float64:
			replicas = int64(wanted)
		}
		object["status"] = content{
			"observedGeneration": meta["generation"],
			"replicas":           replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
		}
	case daemonSets:
		object["status"] = daemonSetStatus(meta["generation"], int64(len(s.objects[nodes])))
	}
}

// reactLocked does what follows from a change.
func (s *Store) reactLocked(c change) {
	switch {
	case c.resource == nodes && c.kind == watch.Deleted:
		onNode := selection{labels.Everything(), fields.OneTermEqualSelector("spec.nodeName", c.current.key.name)}
		for _, pod := range s.listLocked(pods, "", onNode) {
			_, _ = s.deleteLocked(pods, pod.key, metav1.Preconditions{}, false)
		}
		s.countNodesLocked()
	case c.resource == nodes && c.kind == watch.Added:
		s.countNodesLocked()
	case c.resource == pods && c.kind == watch.Added:
		// A static pod that is shown while its node is being deleted goes too, as
		// the garbage collector would have it.
		owners, _, _ := unstructured.NestedSlice(c.current.decode(), "metadata", "ownerReferences")
		for _, owner := range owners {
			if owner, ok := owner.(content); ok && owner["kind"] == "Node" && !s.hasNodeLocked(owner["name"]) {
				_, _ = s.deleteLocked(pods, c.current.key, metav1.Preconditions{}, false)
				break
			}
		}
	case c.resource == namespaces && c.kind == watch.Deleted:
		for _, r := range resources {
			for _, inside := range s.listLocked(r, c.current.key.name, everything) {
				if r.namespaced {
					_, _ = s.deleteLocked(r, inside.key, metav1.Preconditions{}, false)
				}
			}
		}
	case c.resource == secrets && c.kind == watch.Added:
		s.sweepTokensLocked()
	case c.resource == deployments && c.kind == watch.Deleted:
		s.collectLocked(replicaSets, c.current)
	case c.resource == replicaSets && c.kind == watch.Deleted:
		s.collectLocked(pods, c.current)
	}
	if c.resource == deployments || c.resource == pods || c.resource == nodes {
		s.workLocked()
	}
}

// collectLocked deletes what an object that is gone controlled.
func (s *Store) collectLocked(r *resource, owner *record) {
	for _, owned := range s.ownedLocked(r, read[metav1.PartialObjectMetadata](owner)) {
		_, _ = s.deleteLocked(r, owned.key, metav1.Preconditions{}, false)
	}
}

func (s *Store) hasNodeLocked(name any) bool {
	text, _ := name.(string)
	return s.objects[nodes][key{name: text}] != nil
}

// countNodesLocked lets every daemon set run on all nodes.
func (s *Store) countNodesLocked() {
	for _, found := range s.listLocked(daemonSets, "", everything) {
		object := found.decode()
		object["status"] = daemonSetStatus(metadataOf(object)["generation"], int64(len(s.objects[nodes])))
		_, _ = s.commitLocked(daemonSets, change{kind: watch.Modified, old: found}, found.key, object, false)
	}
}

func daemonSetStatus(generation any, count int64) content {
	return content{
		"observedGeneration": generation, "numberMisscheduled": int64(0),
		"desiredNumberScheduled": count, "currentNumberScheduled": count, "updatedNumberScheduled": count,
		"numberReady": count, "numberAvailable": count,
	}
}

// sweepTokensLocked deletes expired bootstrap tokens, so that a cluster that
// makes machines for weeks does not keep the token of each.
func (s *Store) sweepTokensLocked() {
	tokens := selection{labels.Everything(), fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken))}
	for _, found := range s.listLocked(secrets, metav1.NamespaceSystem, tokens) {
		if token, err := tokenFrom(found); err == nil && token.Expired(time.Now()) {
			_, _ = s.deleteLocked(secrets, found.key, metav1.Preconditions{}, false)
		}
	}
}

// endedPod is what becomes of the status of a pod that ends while it is held.
func endedPod(status any) content {
	ended := content{}
	if status, ok := status.(content); ok {
		maps.Copy(ended, status)
	}
	ended["phase"] = string(corev1.PodSucceeded)
	conditions, _ := ended["conditions"].([]any)
	for _, condition := range conditions {
		if c, ok := condition.(content); ok && (c["type"] == string(corev1.PodReady) || c["type"] == string(corev1.ContainersReady)) {
			c["status"], c["reason"] = string(corev1.ConditionFalse), "PodCompleted"
		}
	}
	return ended
}

func runningPod() content {
	now := time.Now().UTC().Format(time.RFC3339)
	var conditions []any
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		conditions = append(conditions, content{"type": string(kind), "status": string(corev1.ConditionTrue), "lastTransitionTime": now})
	}
	return content{"phase": string(corev1.PodRunning), "startTime": now, "conditions": conditions}
}
