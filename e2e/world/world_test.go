package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
)

// asHarness makes this test binary a harness that brings a world up and waits
// to be killed.
const asHarness = "WORLD_TEST_AS_HARNESS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asHarness); dir != "" {
		if err := harness(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if image := os.Getenv(abandoned); image != "" {
		fmt.Fprintln(os.Stderr, abandon(image))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// report is what a harness says of its world once it is up.
type report struct {
	PIDs  []int
	State string
}

// harness brings a world up, reports it in one line, and waits.
func harness(dir string) error {
	w, err := Up(context.Background(), Options{Dir: dir, Progress: os.Stderr})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{PIDs: pids(w), State: w.state.dir}); err != nil {
		return err
	}
	select {}
}

func pids(w *World) []int {
	var ids []int
	for _, p := range w.processes.running {
		ids = append(ids, p.PID())
	}
	return ids
}

// up brings a world up for a test, and down after it.
func up(t *testing.T, o Options) *World {
	t.Helper()
	ctx := testContext(t)
	o.Dir, o.Progress = t.TempDir(), t.Output()
	w, err := Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Err(); err != nil {
			t.Error(err)
		}
		if err := w.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return w
}

func connect(t *testing.T, kubeconfig string) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, rbacv1.AddToScheme, clusterv1.AddToScheme, bootstrapv1.AddToScheme, controlplanev1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// see waits until done says yes.
func see(t *testing.T, ctx context.Context, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	if err := eventually(ctx, "never seen: "+what, done); err != nil {
		t.Fatal(err)
	}
}

var infrastructure = clusterv1.ContractVersionedObjectReference{
	APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "NoSuchCluster", Name: "of-no-provider",
}

func controlPlane(replicas int32) *controlplanev1.KubeadmControlPlane {
	kcp := &controlplanev1.KubeadmControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-cluster"}}
	kcp.Spec.Replicas = ptr.To(replicas)
	kcp.Spec.Version = "1.36.3"
	kcp.Spec.MachineTemplate.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{
		APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "NoSuchMachineTemplate", Name: "of-no-provider",
	}
	return kcp
}

func TestEveryControllerAndWebhookOfAWorldWorks(t *testing.T) {
	t.Parallel()
	worksWhole(t, up(t, Options{QuickReconciles: true}))
}

// worksWhole sees every controller and webhook of Cluster API's work in a world, and
// users known by their certificates.
func worksWhole(t *testing.T, w *World) {
	t.Helper()
	ctx := testContext(t)
	c := connect(t, w.AdminKubeconfig())

	kcp := controlPlane(3)
	cluster := &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-cluster"},
		Spec: clusterv1.ClusterSpec{
			InfrastructureRef: infrastructure,
			ControlPlaneRef: clusterv1.ContractVersionedObjectReference{
				APIGroup: controlplanev1.GroupVersion.Group, Kind: "KubeadmControlPlane", Name: kcp.Name,
			},
		},
	}
	if err := c.Create(ctx, cluster); err != nil {
		t.Fatal(err)
	}

	t.Run("the control plane provider's webhooks refuse and default", func(t *testing.T) {
		if err := c.Create(ctx, controlPlane(2)); !apierrors.IsInvalid(err) {
			t.Errorf("a control plane of two: %v; want it refused", err)
		}
		if err := c.Create(ctx, kcp); err != nil {
			t.Fatal(err)
		}
		if kcp.Spec.Version != "v1.36.3" {
			t.Errorf("version is %q; want it defaulted to v1.36.3", kcp.Spec.Version)
		}
	})
	t.Run("the core's webhooks default", func(t *testing.T) {
		deployment := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "workers"}}
		deployment.Spec.ClusterName = cluster.Name
		deployment.Spec.Template.Spec.ClusterName = cluster.Name
		deployment.Spec.Template.Spec.Bootstrap.DataSecretName = ptr.To("given")
		deployment.Spec.Template.Spec.InfrastructureRef = kcp.Spec.MachineTemplate.Spec.InfrastructureRef
		if err := c.Create(ctx, deployment); err != nil {
			t.Fatal(err)
		}
		if deployment.Spec.Replicas == nil || *deployment.Spec.Replicas != 1 {
			t.Errorf("replicas are %v; want them defaulted to 1", deployment.Spec.Replicas)
		}
	})
	t.Run("the bootstrap provider's webhooks refuse", func(t *testing.T) {
		config := &bootstrapv1.KubeadmConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "both"}}
		config.Spec.Files = []bootstrapv1.File{{
			Path: "/a", Content: "here",
			ContentFrom: bootstrapv1.FileSource{Secret: bootstrapv1.SecretFileSource{Name: "there", Key: "a"}},
		}}
		if err := c.Create(ctx, config); !apierrors.IsInvalid(err) {
			t.Errorf("a file with two contents: %v; want it refused", err)
		}
	})
	t.Run("the controllers act, with the permissions that they are shipped with", func(t *testing.T) {
		see(t, ctx, "the core's finalizer on the Cluster", func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(cluster), cluster)
			return slices.Contains(cluster.Finalizers, clusterv1.ClusterFinalizer), err
		})
		see(t, ctx, "the control plane provider's owner reference and finalizer", func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(kcp), kcp)
			return len(kcp.OwnerReferences) == 1 && slices.Contains(kcp.Finalizers, controlplanev1.KubeadmControlPlaneFinalizer), err
		})
		config := &bootstrapv1.KubeadmConfig{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "a-config",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Machine", Name: "a-machine", UID: "1"}},
			Labels:          map[string]string{clusterv1.ClusterNameLabel: cluster.Name},
		}}
		machine := &clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-machine"}}
		machine.Spec.ClusterName = cluster.Name
		machine.Spec.Bootstrap.ConfigRef = clusterv1.ContractVersionedObjectReference{
			APIGroup: bootstrapv1.GroupVersion.Group, Kind: "KubeadmConfig", Name: config.Name,
		}
		machine.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{
			APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "NoSuchMachine", Name: "of-no-provider",
		}
		if err := c.Create(ctx, machine); err != nil {
			t.Fatal(err)
		}
		config.OwnerReferences[0].UID = machine.UID
		if err := c.Create(ctx, config); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "the bootstrap provider's conditions on the KubeadmConfig", func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(config), config)
			return len(config.Status.Conditions) > 0, err
		})
	})
	t.Run("what has an owner goes with it", func(t *testing.T) {
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owner"}}
		if err := c.Create(ctx, owner); err != nil {
			t.Fatal(err)
		}
		owned := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "owned",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
		}}
		if err := c.Create(ctx, owned); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(ctx, owner); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "the Secret gone", func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(owned), owned)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
	})
	t.Run("a user may do what its groups may, and is found in the audit log", func(t *testing.T) {
		for _, object := range []client.Object{
			&rbacv1.ClusterRole{
				ObjectMeta: metav1.ObjectMeta{Name: "sees-clusters"},
				Rules:      []rbacv1.PolicyRule{{APIGroups: []string{clusterv1.GroupVersion.Group}, Resources: []string{"clusters"}, Verbs: []string{"get"}}},
			},
			&rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "sees-clusters"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sees-clusters"},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "watchers"}},
			},
		} {
			if err := c.Create(ctx, object); err != nil {
				t.Fatal(err)
			}
		}
		kubeconfig, err := w.UserKubeconfig(ctx, "alice", "watchers")
		if err != nil {
			t.Fatal(err)
		}
		alice := connect(t, kubeconfig)
		see(t, ctx, "the permission in force", func(ctx context.Context) (bool, error) {
			err := alice.Get(ctx, client.ObjectKeyFromObject(cluster), &clusterv1.Cluster{})
			if apierrors.IsForbidden(err) {
				return false, nil
			}
			return err == nil, err
		})
		if err := alice.Delete(ctx, cluster); !apierrors.IsForbidden(err) {
			t.Errorf("deleting the cluster: %v; want it forbidden", err)
		}
		see(t, ctx, "the refusal in the audit log", func(context.Context) (bool, error) {
			return audited(w.AuditLogPath(), "alice", "delete", 403)
		})
	})
	t.Run("the same plane is used as an existing one", func(t *testing.T) {
		existing, err := Up(ctx, Options{Plane: PlaneExisting, Kubeconfig: w.AdminKubeconfig()})
		if err != nil {
			t.Fatal(err)
		}
		if ids := pids(existing); len(ids) > 0 {
			t.Errorf("it started processes: %v", ids)
		}
		kubeconfig, err := existing.UserKubeconfig(ctx, "bob", "watchers")
		if err != nil {
			t.Fatal(err)
		}
		if err := connect(t, kubeconfig).Get(ctx, client.ObjectKeyFromObject(cluster), &clusterv1.Cluster{}); err != nil {
			t.Error(err)
		}
		if err := existing.Down(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(cluster), cluster); err != nil {
			t.Errorf("after the existing plane was let go: %v", err)
		}
	})
}

// audited tells whether the audit log has such a request.
func audited(log, user, verb string, code int) (bool, error) {
	f, err := os.Open(log)
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb           string
			User           struct{ Username string }
			ResponseStatus struct{ Code int }
			RequestObject  any
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return false, fmt.Errorf("%w in %q", err, lines.Text())
		}
		if event.RequestObject != nil {
			return false, errors.New("the audit log holds the content of a request")
		}
		if event.User.Username == user && event.Verb == verb && event.ResponseStatus.Code == code {
			return true, nil
		}
	}
	return false, lines.Err()
}

func TestAWorldBesideAnotherIsIndependentAndLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	w := up(t, Options{})
	c := connect(t, w.AdminKubeconfig())

	ids, state := pids(w), w.state.dir
	if err := w.Down(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if alive(id) {
			t.Errorf("process %d is still there", id)
		}
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state in %s: %v; want it gone", state, err)
	}
	if logs, err := filepath.Glob(filepath.Join(w.dir, "logs", "*.log")); err != nil || len(logs) != len(ids) {
		t.Errorf("%d logs of %d processes were kept (%v)", len(logs), len(ids), err)
	}
	if err := c.List(ctx, &clusterv1.ClusterList{}); err == nil {
		t.Error("the API server still answers")
	}
	if err := w.Err(); err != nil {
		t.Errorf("an orderly end is told as a failure: %v", err)
	}
}

func TestNoProcessSurvivesAKilledHarness(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), asHarness+"="+t.TempDir())
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	var world report
	if err := json.NewDecoder(out).Decode(&world); err != nil {
		t.Errorf("the harness says nothing: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if len(world.PIDs) < 6 {
		t.Fatalf("the harness has only the processes %v", world.PIDs)
	}
	for _, id := range world.PIDs {
		see(t, ctx, fmt.Sprintf("the end of process %d", id), func(context.Context) (bool, error) { return !alive(id), nil })
	}
	if !sweepState(world.State) {
		t.Errorf("the next world would not remove the state that was left in %s", world.State)
	}
	if _, err := os.Stat(world.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state in %s: %v; want it gone", world.State, err)
	}
}

// alive tells whether a process runs; one that only waits to be reaped does not.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

// siteOf is a site with nothing running, which is closed with the test.
func siteOf(t *testing.T, o Options) *site {
	t.Helper()
	s, err := newSite(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAnUnexpectedEndIsTold(t *testing.T) {
	t.Parallel()
	s := siteOf(t, Options{})
	start := func(name, script string) *Process {
		p, err := s.processes.start(Command{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Log: s.log(name)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	asked := start("asked", "sleep 60")
	if err := asked.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.processes.err(); err != nil {
		t.Fatalf("a process that was killed on purpose: %v", err)
	}
	again, err := s.processes.revive("asked")
	if err != nil || again.PID() == asked.PID() {
		t.Errorf("reviving it: %v", err)
	}
	if running, err := s.processes.revive("asked"); err != nil || running != again {
		t.Errorf("a running process was started a second time (%v)", err)
	}

	start("unasked", "echo the reason; exit 3")
	<-s.processes.failed
	var exit *ExitError
	if err := s.processes.err(); !errors.As(err, &exit) {
		t.Fatalf("got %v, want an ExitError", err)
	}
	if exit.Name != "unasked" || exit.State != "exit status 3" || !strings.Contains(exit.Tail, "the reason") {
		t.Errorf("got %+v", exit)
	}
}

func TestUsageIsMeasuredWhileAProcessRunsAndAfter(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	p, err := Command{Name: "busy", Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}, Log: filepath.Join(t.TempDir(), "log")}.Start()
	if err != nil {
		t.Fatal(err)
	}
	var running Usage
	see(t, ctx, "100 ms of CPU time used", func(context.Context) (bool, error) {
		running, err = p.Usage()
		return running.CPU >= 100*1e6, err
	})
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	after, err := p.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if after.CPU < running.CPU {
		t.Errorf("running: %+v, after: %+v", running, after)
	}
}
