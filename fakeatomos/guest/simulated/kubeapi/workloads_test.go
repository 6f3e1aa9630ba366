package kubeapi_test

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// workload is a Deployment whose Pods do not share nodes.
func workload(name string, replicas int32, change func(*corev1.PodTemplateSpec)) *appsv1.Deployment {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: selector.MatchLabels},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "pause"}},
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: selector, TopologyKey: corev1.LabelHostname}},
			}},
		},
	}
	if change != nil {
		change(&template)
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: template},
	}
}

func deploy(t *testing.T, client kubernetes.Interface, d *appsv1.Deployment) {
	t.Helper()
	if _, err := client.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func addNode(t *testing.T, client kubernetes.Interface, name string, taints ...corev1.Taint) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{Taints: taints}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// available tells whether a Deployment is, and how many of its Pods run.
func available(t *testing.T, client kubernetes.Interface, name string) (bool, int32) {
	t.Helper()
	d, err := client.AppsV1().Deployments("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue
	}), d.Status.ReadyReplicas
}

// podsOn are the Pods of a node, or those that wait for one.
func podsOn(t *testing.T, client kubernetes.Interface, node string) []corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func evict(t *testing.T, client kubernetes.Interface, pod string) error {
	t.Helper()
	return client.CoreV1().Pods("default").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default"}})
}

func TestPodsOfADeploymentGoToNodesThatTakeThem(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	taint := corev1.Taint{Key: "reserved", Effect: corev1.TaintEffectNoSchedule}
	addNode(t, client, "a")
	addNode(t, client, "b", taint)
	deploy(t, client, workload("apart", 2, nil))
	if is, ready := available(t, client, "apart"); is || ready != 1 || len(podsOn(t, client, "")) != 1 {
		t.Fatalf("with one node that takes them: available %v, %d ready", is, ready)
	}
	deploy(t, client, workload("tolerant", 1, func(pod *corev1.PodTemplateSpec) {
		pod.Spec.NodeSelector = map[string]string{"name": "b"}
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "reserved", Operator: corev1.TolerationOpExists}}
	}))
	if is, _ := available(t, client, "tolerant"); !is || len(podsOn(t, client, "b")) != 1 {
		t.Errorf("a Pod that tolerates the taint: available %v, on the node are %v", is, podsOn(t, client, "b"))
	}
	addNode(t, client, "c")
	if is, ready := available(t, client, "apart"); !is || ready != 2 || len(podsOn(t, client, "c")) != 1 {
		t.Errorf("with a second node: available %v, %d ready", is, ready)
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if is, ready := available(t, client, "apart"); is || ready != 1 || len(podsOn(t, client, "")) != 1 {
		t.Errorf("when the node is gone: available %v, %d ready", is, ready)
	}
	if err := client.AppsV1().Deployments("default").Delete(t.Context(), "apart", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if left := append(podsOn(t, client, ""), podsOn(t, client, "a")...); len(left) > 0 {
		t.Errorf("the Deployment is gone, and there are %v", left)
	}
}

func TestABudgetHoldsAnEvictionBack(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	addNode(t, client, "a")
	deploy(t, client, workload("needed", 1, nil))
	none := intstr.FromInt32(0)
	budgets := client.PolicyV1().PodDisruptionBudgets("default")
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "all"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "needed"}}, MaxUnavailable: &none},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := podsOn(t, client, "a")[0].Name
	err := evict(t, client, pod)
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Fatalf("the eviction: %v", err)
	}
	if err := budgets.Delete(t.Context(), "all", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict(t, client, pod); err != nil {
		t.Fatal(err)
	}
	if now := podsOn(t, client, "a"); len(now) != 1 || now[0].Name == pod {
		t.Errorf("after the eviction there is %v", now)
	}
}

func TestAnEvictedPodThatIsHeldHasEnded(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	addNode(t, client, "a")
	deploy(t, client, workload("held", 1, func(pod *corev1.PodTemplateSpec) { pod.Finalizers = []string{"example.com/hold"} }))
	if err := evict(t, client, podsOn(t, client, "a")[0].Name); err != nil {
		t.Fatal(err)
	}
	pod := podsOn(t, client, "a")[0]
	disrupted := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Reason == "EvictionByEvictionAPI" && c.Status == corev1.ConditionTrue
	})
	if pod.DeletionTimestamp == nil || pod.Status.Phase != corev1.PodSucceeded || !disrupted {
		t.Errorf("the Pod is %+v", pod.Status)
	}
	if waiting := podsOn(t, client, ""); len(waiting) != 1 {
		t.Errorf("in its place wait %v", waiting)
	}
	pod.Finalizers = nil
	if _, err := client.CoreV1().Pods("default").Update(t.Context(), &pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if now := podsOn(t, client, "a"); len(now) != 1 || now[0].Name == pod.Name || now[0].Status.Phase != corev1.PodRunning {
		t.Errorf("after it there is %v", now)
	}
}
