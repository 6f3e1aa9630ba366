// Package suite is what all suites have in common: the world that they act on,
// the identities, and the report that they leave. A suite describes its specs
// with Ginkgo and calls [Run]; it is a program, not a test binary, so that it
// tells its progress while it runs and is not run by go test ./...
package suite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// Site is where a suite runs. What it holds is there once the suite has begun;
// Report is there at once.
type Site struct {
	Report *reports.Recorder
	// Dir is the directory of the report; see Artifact for what a suite puts there.
	Dir string

	World *world.World
	// Proxy and Admin reach the management plane as its administrator.
	Proxy framework.ClusterProxy
	Admin client.Client
	// Hosts are those of AtomOS.
	Hosts *inventory.Hosts
	// Fake steers the fake AtomOS; nil for a real one.
	Fake *fakeatomos.Control
	// Clusterctl is the path of a clusterctl configuration, with the values that
	// the cluster templates need here, and Provider what clusterctl calls our
	// release there, with its version.
	Clusterctl, Provider string
	// KubernetesVersion of the clusters.
	KubernetesVersion string

	options Options
	kubectl string
	// began is when the world was up.
	began time.Time
	// namespaces are those that were made on a plane that was there before.
	namespaces []string
	// tmp is where the libraries leave their temporary files, and formerTmp the
	// environment's own value.
	tmp, formerTmp string
}

// ErrNotPassed is the end of a suite in which something was not well; see
// [reports.Report.Well].
var ErrNotPassed = errors.New("the suite has not passed")

// Run brings up the world, runs the specs that describe describes, takes the
// world down and writes the report, of which it tells the path. Command is what
// repeats the run.
func Run(title, command string, o Options, describe func(*Site)) error {
	progress := os.Stdout
	if err := o.complete(context.Background(), progress); err != nil {
		return err
	}
	dir, err := filepath.Abs(o.Out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// What the specs and the libraries say of their steps goes to a file; the
	// terminal shows phases and figures.
	log, err := takeLog(dir)
	if err != nil {
		return err
	}
	defer log.Close()
	GinkgoWriter.TeeTo(log)
	ctrl.SetLogger(GinkgoLogr)
	formatter.ColorableStdOut = log // Ginkgo's own words

	site := &Site{
		Report:            reports.Record(title, command, progress),
		Dir:               dir,
		KubernetesVersion: o.KubernetesVersion,
		options:           o,
	}
	site.options.World.Dir, site.options.World.Progress = dir, indented{progress}
	site.Report.Evidence(reports.Evidence{Title: "what the suite said", Path: suiteLog}, reports.Evidence{Title: "logs of all processes", Path: "logs"})

	if o.Recorded {
		site.options.World.History = filepath.Join(dir, "history")
		site.Report.Evidence(reports.Evidence{Title: "the history of the run", Path: "history"})
	}

	RegisterFailHandler(Fail)
	interrupts := tellInterrupts(progress)
	ReportBeforeEach(func(spec SpecReport) { interrupts.now(strings.TrimSpace(spec.FullText())) })
	BeforeSuite(func(ctx SpecContext) {
		site.Report.Step("bring up "+o.describe(), func() { site.up(ctx) })
	}, NodeTimeout(40*time.Minute)) // the first time everything is built
	describe(site)
	AfterSuite(func(ctx SpecContext) {
		interrupts.now("taking everything down")
		site.Report.Step("take everything down", func() { site.down(ctx) })
	})

	ReportAfterSuite("what went wrong outside of the criteria", func(r Report) {
		for _, spec := range r.SpecReports {
			// A criterion that was concluded does not know what failed after it.
			told := slices.Contains(spec.Labels(), Told) && spec.Failure.FailureNodeType == types.NodeTypeIt
			if spec.Failed() && !told {
				site.Report.Explain(strings.TrimSpace(spec.LeafNodeText + " " + spec.Failure.Message))
			}
		}
	})

	suiteConfig, reporterConfig := GinkgoConfiguration()
	suiteConfig.Timeout = cmp.Or(o.Lasts, 4*time.Hour)
	reporterConfig.Succinct, reporterConfig.NoColor = true, true
	ginkgo := &outcome{}
	RunSpecs(ginkgo, title, suiteConfig, reporterConfig)
	during := interrupts.end()
	if err := site.end(); err != nil {
		return err
	}
	if during != "" {
		fmt.Fprintf(progress, "\ninterrupted: %s; all processes that were started have ended\n", during)
	}

	report := site.Report.Finish()
	path, err := reports.Write(dir, report)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress)
	if err := reports.WriteText(progress, report); err != nil {
		return err
	}
	fmt.Fprintf(progress, "report: %s\n", path)
	if ginkgo.failed || !report.Well() {
		fmt.Fprintf(progress, "details: %s\n", filepath.Join(dir, suiteLog))
		return ErrNotPassed
	}
	return nil
}

// takeLog takes a directory for a run: it removes what an earlier run, known by its
// log, has left there, and returns the log, which no other run can take as long as
// it is open. Other logs are appended to, and a run that is killed must not leave
// another one's verdict.
func takeLog(dir string) (_ *os.File, err error) {
	path := filepath.Join(dir, suiteLog)
	_, err = os.Stat(path)
	used := err == nil
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = log.Close()
		}
	}()
	if err := syscall.Flock(int(log.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another suite is writing to %s; give this one another --out: %w", dir, err)
	}
	if used {
		if err := clear(dir); err != nil {
			return nil, err
		}
	}
	return log, log.Truncate(0)
}

func clear(dir string) error {
	for _, pattern := range []string{"report.html", "report.json", "report.xml", "audit.log", "audit-*.jsonl", "*-workers.yaml", "clusterctl", "clusterctl.yaml", "history", "logs", "manifests", "repository", Artifacts, "tmp", "samples", "profiles", dashboardsDir, "recorded"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("removing what an earlier run has left: %w", err)
			}
		}
	}
	return nil
}

// Artifacts is the directory, in that of the report, of what a suite leaves of its own. The
// next run removes it.
const Artifacts = "artifacts"

// Artifact is the path of something in that directory, which there may not be yet.
func (s *Site) Artifact(name string) string { return filepath.Join(s.Dir, Artifacts, name) }

// suiteLog is the file of what the specs and the libraries say.
const suiteLog = "suite.log"

// Told labels the specs whose failures a criterion of the report tells.
const Told = "criterion"

// outcome is what Ginkgo tells at the end.
type outcome struct{ failed bool }

// Fail implements GinkgoTestingT.
func (o *outcome) Fail() { o.failed = true }

// indented puts lines below the step that they belong to.
type indented struct{ w io.Writer }

func (i indented) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if _, err := fmt.Fprintf(i.w, "           %s", line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (o Options) describe() string {
	plane, atomos := "a management plane", "a fake AtomOS"
	switch o.World.Plane {
	case world.PlaneKind:
		plane = "a kind cluster"
	case world.PlaneExisting:
		plane = "nothing on the management plane that is there"
	}
	if len(o.World.Elemento.Existing) > 0 {
		atomos = "no AtomOS, which is there"
	}
	return plane + " and " + atomos
}

func (s *Site) up(ctx context.Context) {
	var err error
	s.kubectl, err = binaries.Path(ctx, binaries.Kubectl, s.options.World.Progress)
	succeeded(err)
	release, err := world.Release(ctx, filepath.Join(s.Dir, "repository"), s.options.World.Progress)
	succeeded(err)
	s.Provider = "elemento:" + world.ReleaseVersion

	s.World, err = world.Up(ctx, s.options.World)
	succeeded(err)
	s.began = time.Now()
	// Upstream's specs take variables from the configuration only.
	s.Clusterctl = filepath.Join(s.Dir, "clusterctl.yaml")
	Expect(clusterctl.CopyAndAmendClusterctlConfig(ctx, clusterctl.CopyAndAmendClusterctlConfigInput{
		ClusterctlConfigPath: release, OutputPath: s.Clusterctl, Variables: s.variables(),
	})).To(Succeed())
	succeeded(s.keepTemporaryFiles())
	succeeded(s.connect())

	var hosts []c4.Config
	for _, h := range s.World.Hosts() {
		c, err := h.C4()
		succeeded(err)
		hosts = append(hosts, c)
	}
	s.Hosts, err = inventory.Connect(s.World.ClientUID(), hosts...)
	succeeded(err)
	s.Fake = s.World.Fake()
	if s.options.Control != "" {
		s.Fake = fakeatomos.Connect(s.options.Control)
	}
	s.Report.Describe(s.environment(ctx))
}

// connect reaches the plane as its administrator.
func (s *Site) connect() (err error) {
	scheme := runtime.NewScheme()
	framework.TryAddDefaultSchemes(scheme)
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), infrav1.AddToScheme(scheme)); err != nil {
		return err
	}
	s.Proxy = proxy{framework.NewClusterProxy("management", s.World.AdminKubeconfig(), scheme)}
	config := s.World.Config()
	config.QPS = -1
	s.Admin, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

// Of is the site with another world, such as the twin of its own, on the same AtomOS.
// Who asks for it takes that world down, and disposes of its Proxy.
func (s *Site) Of(w *world.World) (*Site, error) {
	other := *s
	other.World = w
	return &other, other.connect()
}

// Progress is where a step that lasts tells how far it has come, by lines.
func (s *Site) Progress() io.Writer { return s.options.World.Progress }

// succeeded fails with the words of an error, which say more than its fields.
func succeeded(err error) {
	GinkgoHelper()
	if err != nil {
		Fail(err.Error())
	}
}

func (s *Site) variables() map[string]string {
	values := map[string]string{}
	for _, v := range append(s.World.TemplateVariables(), s.options.Variables...) {
		name, value, _ := strings.Cut(v, "=")
		values[name] = value
	}
	return values
}

func (s *Site) down(ctx context.Context) {
	if s.World == nil {
		return
	}
	failure := s.World.Err()
	unseen := s.look(ctx)
	s.removeNamespaces(ctx)
	if s.Hosts != nil {
		s.Hosts.Close()
	}
	if s.Proxy != nil {
		s.Proxy.Dispose(ctx)
	}
	Expect(s.World.Down(ctx)).To(Succeed())
	Expect(s.removeTemporaryFiles()).To(Succeed())
	Expect(failure).NotTo(HaveOccurred(), "a process of the world ended by itself")
	succeeded(unseen)
}

// end ends what a clean-up that failed or was interrupted has left running.
func (s *Site) end() error {
	if s.World == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(s.World.Down(ctx), s.removeTemporaryFiles())
}

// keepTemporaryFiles has the libraries, which leave kubeconfigs of workload
// clusters among the temporary files, put them where they are found again. What
// worlds share lies among those of the machine.
func (s *Site) keepTemporaryFiles() error {
	s.tmp, s.formerTmp = filepath.Join(s.Dir, "tmp"), os.Getenv("TMPDIR")
	return errors.Join(os.MkdirAll(s.tmp, 0o700), os.Setenv("TMPDIR", s.tmp))
}

func (s *Site) removeTemporaryFiles() error {
	if s.tmp == "" {
		return nil
	}
	return errors.Join(os.Setenv("TMPDIR", s.formerTmp), os.RemoveAll(s.tmp))
}

// environment describes what the suite stands on.
func (s *Site) environment(ctx context.Context) reports.Environment {
	e := reports.ThisMachine(ctx)
	e.Plane, e.Guests, e.Target = string(s.options.World.Plane), "those of the given AtomOS", "fake"
	a := s.options.World.Elemento.AtomOS
	if s.Fake != nil {
		e.Guests = reports.SimulatedGuests
		if a.Guests == world.GuestsContainer {
			e.Guests = reports.ContainerGuests
		}
	}
	if len(a.Existing) > 0 {
		var urls []string
		for _, h := range a.Existing {
			urls = append(urls, h.URL)
		}
		e.Target = strings.Join(urls, ", ")
		// A given AtomOS may be a fake, which says so.
		if makers, err := s.Hosts.Manufacturers(ctx); err == nil {
			e.Manufacturer = strings.Join(makers, ", ")
			e.Fake = slices.Contains(makers, fakeatomos.Manufacturer)
		}
	} else {
		e.Fake = true
		e.Settings = append(e.Settings,
			reports.Setting{Name: "Hosts and domains of the fake", Value: fmt.Sprintf("%d in %d", len(s.World.Hosts()), len(s.World.Domains()))},
			reports.Setting{Name: "Boot and stop time of its VMs", Value: a.BootTime.String() + ", " + a.StopTime.String()})
	}
	if e.Plane != string(world.PlaneExisting) {
		limit := "one a second for each object (default)"
		if s.options.World.QuickReconciles {
			limit = "lifted"
		}
		e.Settings = append(e.Settings,
			reports.Setting{Name: "Cluster API's reconcile limit", Value: limit},
			reports.Setting{Name: "Daemons", Value: fmt.Sprint(len(s.World.Endpoints()))})
		if qps := s.options.World.ClusterAPIQPS; qps > 0 {
			e.Settings = append(e.Settings, reports.Setting{Name: "Requests a second of each of Cluster API's managers", Value: fmt.Sprintf("at most %d (100 by default)", qps)})
		}
		if from := s.options.World.CertManager; from != "" {
			e.Settings = append(e.Settings, reports.Setting{Name: "cert-manager for webhooks", Value: from})
		}
		if version := s.options.World.ClusterAPI; version != "" {
			e.Settings = append(e.Settings, reports.Setting{Name: "Cluster API on the plane", Value: version})
		}
		for _, name := range slices.Sorted(maps.Keys(s.options.World.Features)) {
			e.Settings = append(e.Settings, reports.Setting{Name: "Cluster API's " + name, Value: s.options.World.Features[name]})
		}
	}
	e.Versions = append(e.Versions, s.versions()...)
	return e
}

func (s *Site) versions() []reports.Setting {
	found := []reports.Setting{{Name: "Kubernetes of the clusters", Value: s.KubernetesVersion}}
	if d, err := discovery.NewDiscoveryClientForConfig(s.World.Config()); err == nil {
		if v, err := d.ServerVersion(); err == nil {
			found = append(found, reports.Setting{Name: "Kubernetes of the management plane", Value: v.GitVersion})
		}
	}
	return append(found, modules(
		"sigs.k8s.io/cluster-api", "sigs.k8s.io/cluster-api/test", "sigs.k8s.io/controller-runtime", "k8s.io/client-go",
	)...)
}

// Namespace makes a namespace in which the shipped tenant's bindings give the
// group clastix its role, and returns its name. It is deleted at the end, unless
// its plane goes with it.
func (s *Site) Namespace(ctx context.Context, prefix string) string {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}
	Expect(s.Admin.Create(ctx, namespace)).To(Succeed())
	if s.options.World.Plane == world.PlaneExisting {
		s.namespaces = append(s.namespaces, namespace.Name)
	}
	repository, err := binaries.Repository(ctx)
	Expect(err).NotTo(HaveOccurred())
	s.Kubectl(ctx, "apply", "--namespace", namespace.Name, "--kustomize", filepath.Join(repository, "provider", "config", "tenant"))
	return namespace.Name
}

// removeNamespaces deletes the namespaces that were made on a plane that stays,
// and waits until they are gone.
func (s *Site) removeNamespaces(ctx context.Context) {
	for _, name := range s.namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		Expect(client.IgnoreNotFound(s.Admin.Delete(ctx, namespace))).To(Succeed())
	}
	for _, name := range s.namespaces {
		Eventually(func() error {
			return s.Admin.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
		}, Long, Often).WithContext(ctx).Should(MatchError(apierrors.IsNotFound, "IsNotFound"), "namespace %s is still there", name)
	}
}

// Kubectl runs kubectl as the administrator and returns its output.
func (s *Site) Kubectl(ctx context.Context, args ...string) string {
	cmd := exec.CommandContext(ctx, s.kubectl, append([]string{"--kubeconfig", s.World.AdminKubeconfig()}, args...)...)
	output, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "kubectl %s\n%s", strings.Join(args, " "), output)
	return string(output)
}

// stands ends what is waited for where a process of the world has ended by itself.
func (s *Site) stands() {
	if err := s.World.Err(); err != nil {
		StopTrying("a process of the world ended by itself").Wrap(err).Now()
	}
}

// Pass lets time pass while the world stands.
func (s *Site) Pass(ctx context.Context, d time.Duration) {
	GinkgoHelper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.World.Failed():
	case <-ctx.Done():
	}
	Expect(s.World.Err()).NotTo(HaveOccurred())
	Expect(ctx.Err()).NotTo(HaveOccurred())
}

// Guests are what runs in the VMs.
func (s *Site) Guests() world.Guests { return s.options.World.Elemento.AtomOS.Guests }

// Comparable tells whether figures can be compared with limits and with those of
// other runs: Cluster API keeps its own pace.
func (s *Site) Comparable() bool { return !s.options.World.QuickReconciles }

// SeeAtomOS takes the times of the VMs that run now from the fake; a real AtomOS
// does not tell them.
func (s *Site) SeeAtomOS(ctx context.Context, lives *life.Recorder) {
	if s.Fake == nil {
		return
	}
	inventory, err := s.Fake.Inventory(ctx)
	Expect(err).NotTo(HaveOccurred())
	lives.SeeAtomOS(inventory)
}

// Unchanged demands that AtomOS has what it had before, nothing more and nothing
// less, and returns how much that is.
func (s *Site) Unchanged(ctx context.Context, before inventory.Inventory) int {
	GinkgoHelper()
	after, err := s.Hosts.Take(ctx)
	succeeded(err)
	if left := after.Without(before); len(left) > 0 {
		Fail("left behind on AtomOS:\n" + left.String())
	}
	if missing := before.Without(after); len(missing) > 0 {
		Fail("gone from AtomOS although there before:\n" + missing.String())
	}
	return len(after)
}
