package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// callerImage is the name of the image of e2e/nodes/caller. No registry has it: it is
// put onto the nodes.
const callerImage = "elemento.cloud/caller:e2e"

// talk has two pods on two workers call each other by address and by name.
func (s *scenario) talk(ctx SpecContext) { s.talkAcrossNodes(ctx) }

// talkAcrossNodes does so with the nodes that there are by then.
func (s *scenario) talkAcrossNodes(ctx context.Context) {
	GinkgoHelper()
	s.site.Report.Step("a program, built and put onto the nodes", func() { s.loadCaller(ctx) })
	s.site.Report.Step("pods on two workers call each other by address and by Service name", func() { s.call(ctx) })
}

// loadCaller puts the image onto all nodes that there are.
func (s *scenario) loadCaller(ctx context.Context) {
	GinkgoHelper()
	program := filepath.Join(s.site.Dir, "tmp", "caller")
	Expect(binaries.Own(ctx, "e2e/nodes/caller", program, binaries.Way{Packed: true})).To(Succeed())
	var archive bytes.Buffer
	Expect(image.Program(callerImage, program).Write(&archive)).To(Succeed())
	for _, id := range s.guests(ctx) {
		_, err := docker.Run(ctx, bytes.NewReader(archive.Bytes()), "exec", "--interactive", id, "ctr", "--namespace=k8s.io", "images", "import", "-")
		Expect(err).NotTo(HaveOccurred())
	}
}

func (s *scenario) call(ctx context.Context) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "talk-"}}
	Expect(s.workload.Create(ctx, namespace)).To(Succeed())
	nodes := &corev1.NodeList{}
	Expect(s.workload.List(ctx, nodes)).To(Succeed())
	var pods []*corev1.Pod
	for _, n := range nodes.Items {
		if _, is := n.Labels[controlPlaneLabel]; is || len(pods) == 2 {
			continue
		}
		pods = append(pods, s.caller(ctx, namespace.Name, fmt.Sprintf("caller-%d", len(pods)+1), n))
	}
	Expect(pods).To(HaveLen(2), "workers to run pods on")
	for _, p := range pods {
		Eventually(func(g Gomega) {
			g.Expect(s.workload.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
			g.Expect(p.Status.Phase).To(Equal(corev1.PodRunning))
			g.Expect(p.Status.PodIP).NotTo(BeEmpty())
		}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed(), "pod %s on %s", p.Name, p.Spec.NodeSelector)
	}
	Expect(pods[0].Spec.NodeName).NotTo(Equal(pods[1].Spec.NodeName))
	for _, pair := range [][2]*corev1.Pod{{pods[0], pods[1]}, {pods[1], pods[0]}} {
		from, to := pair[0], pair[1]
		s.calls(ctx, from, to, "http://"+to.Status.PodIP+":8080/")
		s.calls(ctx, from, to, "http://"+to.Name+"/")
		s.calls(ctx, from, to, "http://"+to.Name+"."+namespace.Name+".svc.cluster.local/")
	}
	Expect(s.workload.Delete(ctx, namespace)).To(Succeed())
}

// caller makes a pod on a node, and a Service of the same name.
func (s *scenario) caller(ctx context.Context, namespace, name string, on corev1.Node) *corev1.Pod {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		NodeSelector: map[string]string{corev1.LabelHostname: on.Labels[corev1.LabelHostname]},
		Containers:   []corev1.Container{{Name: "caller", Image: callerImage, ImagePullPolicy: corev1.PullNever}},
	}}
	Expect(s.workload.Create(ctx, pod)).To(Succeed())
	Expect(s.workload.Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Selector: meta.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}})).To(Succeed())
	return pod
}

// calls has one pod call another, which must see it come from its own address. The API
// server has it do so, from its own node.
func (s *scenario) calls(ctx context.Context, from, to *corev1.Pod, url string) {
	GinkgoHelper()
	api, err := kubernetes.NewForConfig(s.reach)
	Expect(err).NotTo(HaveOccurred())
	Eventually(func(g Gomega) {
		answer, err := api.CoreV1().Pods(from.Namespace).ProxyGet("http", from.Name, "8080", "call", map[string]string{"url": url}).DoRaw(ctx)
		g.Expect(err).NotTo(HaveOccurred(), string(answer))
		var said struct{ Pod, CalledFrom string }
		g.Expect(json.Unmarshal(answer, &said)).To(Succeed())
		g.Expect(said.Pod).To(Equal(to.Name))
		g.Expect(said.CalledFrom).To(Equal(from.Status.PodIP))
	}, "2m", suite.Often).WithContext(ctx).Should(Succeed(), "%s on %s calls %s", from.Name, from.Spec.NodeName, url)
}
