package kubeapi

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

// This file is what becomes of Deployments: ReplicaSets, Pods, their places, and
// what a disruption budget says of their eviction. Their containers are not run: a
// Pod that has a place is running, and one that ends has succeeded. The Deployments
// of kube-system, which are what kubeadm brings, have no Pods and are always
// available.

var (
	replicaSets = resourceNamed("apps", "replicasets")
	budgets     = resourceNamed("policy", "poddisruptionbudgets")
)

// read gives a stored object its type.
func read[T any](found *record) *T {
	typed := new(T)
	if err := json.Unmarshal(found.json, typed); err != nil {
		panic(fmt.Sprintf("kubeapi: %s does not decode: %v", found.key, err)) // it did when it was stored
	}
	return typed
}

// workLocked brings Pods in line with Deployments, and gives them places. What it
// writes is a reason to look again, so it goes on until there is nothing to write.
func (s *Store) workLocked() {
	if s.working {
		s.workMore = true
		return
	}
	s.working = true
	defer func() { s.working = false }()
	for s.workMore = true; s.workMore; {
		s.workMore = false
		work := false
		for _, found := range s.listLocked(deployments, "", everything) {
			if found.key.namespace != metav1.NamespaceSystem {
				s.workOnLocked(found.key, read[appsv1.Deployment](found))
				work = true
			}
		}
		if !work {
			break
		}
		for _, found := range s.listLocked(pods, "", everything) {
			if pod := read[corev1.Pod](found); pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
				s.placeLocked(found, pod)
			}
		}
	}
}

// workOnLocked makes and deletes the Pods of a Deployment, all of one version: that
// of its template, whose predecessors go at once.
func (s *Store) workOnLocked(k key, d *appsv1.Deployment) {
	template, _ := json.Marshal(d.Spec.Template) // it came from JSON
	sum := fnv.New32a()
	_, _ = sum.Write(template)
	current := key{k.namespace, fmt.Sprintf("%s-%08x", d.Name, sum.Sum32())}
	replicas := int32(1)
	if d.Spec.Replicas != nil {
		replicas = *d.Spec.Replicas
	}
	for _, owned := range s.ownedLocked(replicaSets, d) {
		if owned.key != current {
			_, _ = s.deleteLocked(replicaSets, owned.key, metav1.Preconditions{}, false)
		}
	}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: current.name, Labels: d.Spec.Template.Labels}}
	if found := s.objects[replicaSets][current]; found != nil {
		set = read[appsv1.ReplicaSet](found)
	} else {
		set.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}
		set.Spec = appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}
		if !s.putLocked(replicaSets, current, nil, set) {
			return
		}
		set = read[appsv1.ReplicaSet](s.objects[replicaSets][current])
	}

	var there []*corev1.Pod
	for _, owned := range s.ownedLocked(pods, set) {
		if pod := read[corev1.Pod](owned); pod.DeletionTimestamp == nil {
			there = append(there, pod)
		}
	}
	ready := int32(0)
	for i, pod := range there {
		if int32(i) >= replicas {
			_, _ = s.deleteLocked(pods, key{pod.Namespace, pod.Name}, metav1.Preconditions{}, false)
		} else if pod.Status.Phase == corev1.PodRunning {
			ready++
		}
	}
	for i := int32(len(there)); i < replicas; i++ {
		s.made++
		pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
		pod.Namespace, pod.Name = k.namespace, fmt.Sprintf("%s-%05x", set.Name, s.made)
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		s.putLocked(pods, key{pod.Namespace, pod.Name}, nil, pod)
	}

	set.Spec.Replicas = &replicas
	set.Status = appsv1.ReplicaSetStatus{ObservedGeneration: set.Generation, Replicas: replicas, ReadyReplicas: ready, AvailableReplicas: ready}
	s.putLocked(replicaSets, current, s.objects[replicaSets][current], set)
	available := corev1.ConditionFalse
	if ready >= replicas {
		available = corev1.ConditionTrue
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: ready, AvailableReplicas: ready, UnavailableReplicas: replicas - ready,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: available}},
	}
	s.putLocked(deployments, k, s.objects[deployments][k], d)
}

// putLocked stores an object of the controllers', unless it is what was there
// already, and tells whether it is there.
func (s *Store) putLocked(r *resource, k key, old *record, object runtime.Object) bool {
	body, err := toContent(r, object)
	if err != nil {
		return false
	}
	kind := watch.Modified
	if old == nil {
		kind = watch.Added
		if err := s.freshLocked(r, k, body); err != nil {
			return false
		}
	} else if equal(old.decode(), body) {
		return true
	}
	_, err = s.commitLocked(r, change{kind: kind, old: old}, k, body, false)
	return err == nil
}

// ownedLocked are the objects of a kind that an object controls.
func (s *Store) ownedLocked(r *resource, owner metav1.Object) []*record {
	var owned []*record
	for _, found := range s.listLocked(r, owner.GetNamespace(), everything) {
		if metav1.IsControlledBy(read[metav1.PartialObjectMetadata](found), owner) {
			owned = append(owned, found)
		}
	}
	return owned
}

// placeLocked gives a Pod the first node that takes it: by its selector, the node's
// taints, and the Pods there that it is not to be beside. Nothing else is asked.
func (s *Store) placeLocked(found *record, pod *corev1.Pod) {
	for _, candidate := range s.listLocked(nodes, "", everything) {
		node := read[corev1.Node](candidate)
		if !labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(node.Labels)) || !tolerates(pod, node) || s.shunsLocked(pod, node.Name) {
			continue
		}
		pod.Spec.NodeName = node.Name
		body, err := toContent(pods, pod)
		if err != nil {
			return
		}
		s.settleLocked(pods, body)
		_, _ = s.commitLocked(pods, change{kind: watch.Modified, old: found}, found.key, body, false)
		return
	}
}

func tolerates(pod *corev1.Pod, node *corev1.Node) bool {
	if node.Spec.Unschedulable || node.DeletionTimestamp != nil {
		return false
	}
	for _, taint := range node.Spec.Taints {
		tolerated := taint.Effect == corev1.TaintEffectPreferNoSchedule
		for _, t := range pod.Spec.Tolerations {
			tolerated = tolerated || t.ToleratesTaint(klog.Background(), &taint, false)
		}
		if !tolerated {
			return false
		}
	}
	return true
}

// shunsLocked tells whether a node has a Pod that this one must not share a node
// with. Any other topology than that of nodes is not asked for.
func (s *Store) shunsLocked(pod *corev1.Pod, node string) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return false
	}
	for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		if err != nil || term.TopologyKey != corev1.LabelHostname {
			continue
		}
		for _, other := range s.listLocked(pods, pod.Namespace, everything) {
			if selector.Matches(other.labels) && read[corev1.Pod](other).Spec.NodeName == node {
				return true
			}
		}
	}
	return false
}

// evict deletes a Pod, if the disruption budgets of its namespace let it go.
func (s *Store) evict(k key, dryRun bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.objects[pods][k]
	if found == nil {
		return apierrors.NewNotFound(pods.groupResource(), k.name)
	}
	pod := read[corev1.Pod](found)
	if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
		for _, b := range s.listLocked(budgets, k.namespace, everything) {
			if err := s.budgetLocked(read[policyv1.PodDisruptionBudget](b), found); err != nil {
				return err
			}
		}
		if !dryRun {
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.Now(),
			})
			s.putLocked(pods, k, found, pod)
		}
	}
	_, err := s.deleteLocked(pods, k, metav1.Preconditions{}, dryRun)
	return err
}

// budgetLocked is the refusal to evict a Pod that a budget needs, or whose budget
// nobody can read.
func (s *Store) budgetLocked(budget *policyv1.PodDisruptionBudget, pod *record) error {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if !selector.Matches(pod.labels) {
		return nil
	}
	all, healthy := 0, 0
	for _, other := range s.listLocked(pods, pod.key.namespace, selection{labels: selector, fields: everything.fields}) {
		if other := read[corev1.Pod](other); other.DeletionTimestamp == nil {
			all++
			if other.Status.Phase == corev1.PodRunning {
				healthy++
			}
		}
	}
	needed := 0
	switch {
	case budget.Spec.MaxUnavailable != nil:
		most, err := intstr.GetScaledValueFromIntOrPercent(budget.Spec.MaxUnavailable, all, true)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		needed = all - most
	case budget.Spec.MinAvailable != nil:
		if needed, err = intstr.GetScaledValueFromIntOrPercent(budget.Spec.MinAvailable, all, true); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	if healthy > needed {
		return nil
	}
	refusal := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	refusal.ErrStatus.Code = http.StatusTooManyRequests
	refusal.ErrStatus.Details.Causes = append(refusal.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    policyv1.DisruptionBudgetCause,
		Message: fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, needed, healthy),
	})
	return refusal
}
