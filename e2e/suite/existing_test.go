package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const (
	// smallestSuite in the environment makes a suite of this test binary.
	smallestSuite = "SMALLEST_SUITE"
	// stalls is its value for a suite that stops in the middle.
	stalls = "stalls"
	// stalled is the step at which it does.
	stalled = "nothing more happens by itself"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(smallestSuite); kind != "" {
		smallest(kind).Main()
		return
	}
	os.Exit(m.Run())
}

// smallest is a suite of one cluster of one control plane.
func smallest(kind string) Program {
	return Program{Name: "smallest", Title: "The smallest suite", AtomOS: Instant(), Describe: func(site *Site) {
		Describe("One cluster", Ordered, func() {
			var before inventory.Inventory
			var cluster *Cluster
			site.Criterion("F1", func(ctx context.Context, e *reports.Examination) {
				var err error
				before, err = site.Hosts.Take(ctx)
				succeeded(err)
				cluster = &Cluster{Site: site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: site.Namespace(ctx, "smallest"), Name: "smallest"}}
				Expect(Apply(ctx, site.Admin, "smallest", cluster.Generate(ctx, 0))).To(Succeed())
				left, err := os.CreateTemp("", "e2e-kubeconfig") // as upstream's specs do
				succeeded(err)
				succeeded(left.Close())
				if kind == stalls {
					e.Step(stalled, func() {})
					<-ctx.Done()
					return
				}
				e.Step("a control plane Ready", func() { cluster.Await(ctx, 0) })
			})
			AfterAll(func(ctx SpecContext) {
				cluster.Delete(ctx, site.Admin)
				site.Unchanged(ctx, before)
			})
		})
	}}
}

// outcomeOf is what a suite leaves.
type outcomeOf struct {
	said   string
	exit   int
	report reports.Report
}

// runOn runs the smallest suite on a plane and hosts that it is told by address,
// and interrupts it where it stalls.
func runOn(t *testing.T, w *world.World, kind string) outcomeOf {
	t.Helper()
	dir, tmp := t.TempDir(), t.TempDir()
	args := []string{
		"--out=" + dir, "--kubeconfig=" + w.AdminKubeconfig(), "--client-uid=" + w.ClientUID(), "--control=" + w.FakeURL(),
	}
	for _, v := range w.TemplateVariables() {
		args = append(args, "--variable="+v)
	}
	for _, h := range w.Hosts() {
		args = append(args, "--atomos="+h.Domain+"="+h.URL+"#"+h.Fingerprint)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	suite := exec.CommandContext(ctx, program, args...)
	suite.Env = append(os.Environ(), smallestSuite+"="+kind, "TMPDIR="+tmp)
	suite.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := suite.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	suite.Stderr = suite.Stdout
	if err := suite.Start(); err != nil {
		t.Fatal(err)
	}
	var o outcomeOf
	for lines := bufio.NewScanner(io.TeeReader(output, t.Output())); lines.Scan(); {
		o.said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), stalled) && kind == stalls {
			if err := suite.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = suite.Wait() // the exit code says it
	o.exit = suite.ProcessState.ExitCode()

	encoded, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &o.report); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{tmp, filepath.Join(dir, "tmp")} {
		if left, _ := os.ReadDir(place); len(left) > 0 {
			t.Errorf("temporary files are left: %v", left)
		}
	}
	return o
}

func TestASuiteActsOnAPlaneThatIsThere(t *testing.T) {
	t.Parallel()
	atomOS := Instant()
	w, err := world.Up(t.Context(), world.Options{
		Dir: t.TempDir(), Progress: t.Output(), QuickReconciles: true, Elemento: &world.Elemento{AtomOS: atomOS},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	admin, err := client.New(w.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	asBefore := func(t *testing.T) {
		t.Helper()
		if err := w.Err(); err != nil {
			t.Errorf("the plane that was there has suffered: %v", err)
		}
		namespaces := &corev1.NamespaceList{}
		if err := admin.List(t.Context(), namespaces); err != nil {
			t.Fatal(err)
		}
		for _, namespace := range namespaces.Items {
			if strings.HasPrefix(namespace.Name, "smallest-") {
				t.Errorf("namespace %s is left", namespace.Name)
			}
		}
		found, err := w.Fake().Inventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range found.Hosts {
			if len(host.VMs) > 0 || len(host.Volumes) > 0 {
				t.Errorf("on %s there are still %v and %v", host.Name, host.VMs, host.Volumes)
			}
		}
	}

	t.Run("and leaves nothing on it", func(t *testing.T) {
		o := runOn(t, w, "whole")
		if o.exit != 0 {
			t.Errorf("it exits with %d", o.exit)
		}
		if f1, _ := o.report.Criterion("F1"); f1.Verdict != reports.Passed || o.report.Verdict != reports.Passed {
			t.Errorf("the verdict of the criterion is %q, that of the run %q: %s", f1.Verdict, o.report.Verdict, f1.Explanation)
		}
		if got := o.report.Environment.Plane; got != string(world.PlaneExisting) {
			t.Errorf("the plane is %q", got)
		}
		asBefore(t)
	})
	t.Run("and takes all away when it is interrupted", func(t *testing.T) {
		o := runOn(t, w, stalls)
		if o.exit != 1 {
			t.Errorf("it exits with %d", o.exit)
		}
		if !strings.Contains(o.said, "interrupted: One cluster F1") {
			t.Error("it does not say what was interrupted")
		}
		if strings.Contains(o.said, "goroutine ") {
			t.Error("it shows goroutines to people")
		}
		if f1, _ := o.report.Criterion("F1"); f1.Verdict != reports.Unknown {
			t.Errorf("the verdict of what was interrupted is %q", f1.Verdict)
		}
		asBefore(t)
	})
}
