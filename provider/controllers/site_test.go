package controllers_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2/textlogger"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

const (
	image = "ubuntu-v1.36.3"
	// secret stands in all bootstrap data; no log may hold it.
	secret = "b00t5trap-t0ken"
	// soon is how long tests wait for what has to come.
	soon = 30 * time.Second
)

// site is a fake AtomOS with daemons in front, and a namespace of the API server
// in which a manager of our controllers works with them.
type site struct {
	t         *testing.T
	fake      *fakeatomos.Fake
	authority *pki.Authority
	config    daemon.Config
	daemons   []*running
	logs      logs

	client.Client
	namespace, clientUID string
	fleet                *fleet.Fleet
	metrics              *prometheus.Registry
	// identityAge is how long the next manager takes a Secret that it read for
	// good; zero is the default.
	identityAge time.Duration
	// defaultIdentity is that of the next manager, which has none if it is zero.
	defaultIdentity client.ObjectKey
	// watchFilter is that of the next manager, and watchLabel what its objects have: the
	// label is put on all that is created.
	watchFilter, watchLabel string
	// grace is how long the next manager waits for hosts that are silent.
	grace       time.Duration
	stopManager func()
}

// hosts describes a fake by its domains: how many hosts each has.
type hosts map[string]int

// newSite brings up a site with two daemons; edit may change the fake's options.
func newSite(t *testing.T, domains hosts, edit ...func(*fakeatomos.Options)) *site {
	t.Helper()
	return newSiteOf(t, domains, func(*daemon.Config) {}, edit...)
}

// newSiteOf does so with daemons whose configuration configure changes.
func newSiteOf(t *testing.T, domains hosts, configure func(*daemon.Config), edit ...func(*fakeatomos.Options)) *site {
	t.Helper()
	s := &site{t: t, clientUID: uuid.NewString(), grace: 5 * time.Minute}
	o := fakeatomos.Options{Images: map[string]string{image: "v1.36.3"}}
	total := 0
	for _, n := range domains {
		total += n
	}
	addresses := must(fakeatomos.FreeAddresses(total))
	for _, domain := range slices.Sorted(func(yield func(string) bool) {
		for domain := range domains {
			if !yield(domain) {
				return
			}
		}
	}) {
		for range domains[domain] {
			n := len(o.Hosts)
			o.Hosts = append(o.Hosts, fakeatomos.HostOptions{Name: fmt.Sprintf("host-%d", n+1), Domain: domain, Address: addresses[n]})
		}
	}
	for _, e := range edit {
		e(&o)
	}
	s.fake = must(fakeatomos.Start(context.WithoutCancel(t.Context()), o))
	t.Cleanup(s.fake.Close)

	s.authority = must(pki.NewAuthority("daemons"))
	s.config = daemon.Config{
		Listen:   "127.0.0.1:0",
		Clients:  []daemon.Client{{CommonName: "provider", ClientUIDs: []string{s.clientUID}}},
		ImageURL: "https://images.example/{image}.qcow2",
		Interval: daemon.Duration{Duration: 100 * time.Millisecond},
	}
	for _, h := range s.fake.Hosts() {
		s.config.Hosts = append(s.config.Hosts, daemon.Host{ID: h.Name(), Domain: h.Domain(), URL: h.URL(), Fingerprint: h.Fingerprint()})
	}
	configure(&s.config)
	t.Cleanup(func() {
		s.logs.mustNotHold(t, secret)
		s.logs.mustNotHold(t, "Reconciler error")
	})
	s.daemons = []*running{s.daemon(), s.daemon()}

	scheme := runtime.NewScheme()
	must(0, clientgoscheme.AddToScheme(scheme))
	must(0, clusterv1.AddToScheme(scheme))
	must(0, infrav1.AddToScheme(scheme))
	s.Client = must(client.New(api, client.Options{Scheme: scheme}))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "site-"}}
	s.create(namespace)
	s.namespace = namespace.Name
	s.create(s.identity("elemento-identity"))
	s.startManager()
	return s
}

// running is one daemon of a site.
type running struct {
	*daemon.Daemon
	stop func()
}

// daemon starts a daemon that ends with the test.
func (s *site) daemon() *running {
	s.t.Helper()
	dir := s.t.TempDir()
	cfg := s.config
	cfg.TLS = daemon.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}
	pair := must(s.authority.Server("127.0.0.1"))
	for path, content := range map[string][]byte{cfg.TLS.CertFile: pair.Cert, cfg.TLS.KeyFile: pair.Key, cfg.TLS.ClientCAFile: s.authority.PEM} {
		must(0, os.WriteFile(path, content, 0o600))
	}
	d := must(daemon.New(cfg, slog.New(slog.NewTextHandler(&s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return &running{Daemon: d, stop: stop}
}

// identity is a Secret for the site's daemons.
func (s *site) identity(name string) *corev1.Secret {
	pair := must(s.authority.Client("provider"))
	var endpoints []string
	for _, d := range s.daemons {
		endpoints = append(endpoints, d.Addr().String())
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Data: map[string][]byte{
			fleet.KeyEndpoints: []byte(strings.Join(endpoints, "\n")), fleet.KeyClientUID: []byte(s.clientUID),
			fleet.KeyCertificate: pair.Cert, fleet.KeyPrivateKey: pair.Key, fleet.KeyAuthority: s.authority.PEM,
		},
	}
}

// startManager runs our controllers for the site's namespace until the test ends.
func (s *site) startManager() {
	s.t.Helper()
	restConfig := *api
	defaults := controllers.Defaults()
	defaults.SkipNameValidation = new(true)
	mgr := must(ctrl.NewManager(&restConfig, ctrl.Options{
		Scheme:     s.Scheme(),
		Logger:     textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&s.logs), textlogger.Verbosity(4))),
		Controller: defaults,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{s.namespace: {}}, DefaultTransform: cache.TransformStripManagedFields()},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.fleet = fleet.New(mgr.GetLogger().WithName("fleet"))
	must(0, mgr.Add(s.fleet))
	must(0, controllers.SetupIndexes(ctx, mgr))
	s.metrics = prometheus.NewPedanticRegistry()
	must(0, s.metrics.Register(&fleet.Collector{Fleet: s.fleet, Expected: controllers.ExpectsVM(mgr.GetClient())}))
	must(0, s.metrics.Register(&controllers.Collector{Client: mgr.GetClient()}))
	identities := &controllers.Identities{Secrets: mgr.GetAPIReader(), Fleet: s.fleet, Default: s.defaultIdentity, MaxAge: s.identityAge}
	cleanups := &controllers.Cleanups{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}
	options := controller.Options{MaxConcurrentReconciles: 10}
	must(0, (&controllers.ClusterReconciler{
		Client: mgr.GetClient(), Fleet: s.fleet, Identities: identities, Events: mgr.GetEventRecorder("elementocluster"),
		WatchFilter: s.watchFilter, UnreachableGrace: s.grace, Cleanups: cleanups,
	}).SetupWithManager(ctx, mgr, options))
	must(0, (&controllers.MachineReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Fleet: s.fleet, Identities: identities,
		Events: mgr.GetEventRecorder("elementomachine"), WatchFilter: s.watchFilter, StopTimeout: time.Minute,
		UnreachableGrace: s.grace, FencingGrace: s.grace, Cleanups: cleanups,
	}).SetupWithManager(ctx, mgr, options))
	must(0, (&controllers.CleanupReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Fleet: s.fleet, Identities: identities, Cleanups: cleanups,
		Events: mgr.GetEventRecorder("elementocleanup"), WatchFilter: s.watchFilter,
	}).SetupWithManager(mgr, options))
	must(0, mgr.Add(&controllers.Strangers{Client: mgr.GetClient(), Fleet: s.fleet, Events: mgr.GetEventRecorder("elementocluster"), Every: time.Second}))
	must(0, (&controllers.TemplateReconciler{Client: mgr.GetClient()}).SetupWithManager(mgr, options))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	s.stopManager = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.stopManager)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ctx is for one request.
func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), soon)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *site) create(object client.Object) {
	s.t.Helper()
	if s.watchLabel != "" {
		labels := maps.Clone(object.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels[clusterv1.WatchLabel] = s.watchLabel
		object.SetLabels(labels)
	}
	if err := s.Create(s.ctx(), object); err != nil {
		s.t.Fatal(err)
	}
}

// edit changes an object as it is now.
func edit[T client.Object](s *site, object T, change func(T)) {
	s.t.Helper()
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(object), object))
	before := object.DeepCopyObject().(T)
	change(object)
	must(0, s.Patch(s.ctx(), object, client.MergeFrom(before)))
}

func editStatus[T client.Object](s *site, object T, change func(T)) {
	s.t.Helper()
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(object), object))
	before := object.DeepCopyObject().(T)
	change(object)
	must(0, s.Status().Patch(s.ctx(), object, client.MergeFrom(before)))
}

// cluster makes a Cluster and its ElementoCluster on a network of its own; edit
// may change the latter. It does not wait.
func (s *site) cluster(edits ...func(*infrav1.ElementoCluster)) (*clusterv1.Cluster, *infrav1.ElementoCluster) {
	s.t.Helper()
	name := "c-" + uuid.NewString()[:6]
	cluster := &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: clusterv1.ClusterSpec{
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoCluster", Name: name},
		},
	}
	s.create(cluster)
	infra := &infrav1.ElementoCluster{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Cluster", Name: name, UID: cluster.UID}},
		},
		Spec: infrav1.ElementoClusterSpec{
			IdentityRef:  infrav1.IdentityReference{Name: "elemento-identity"},
			Network:      infrav1.ClusterNetwork{Managed: infrav1.ManagedNetwork{CIDR: "127.88.0.0/16", Mode: infrav1.NetworkModeBridged}},
			EndpointMode: infrav1.EndpointModeForward,
		},
	}
	for _, e := range edits {
		e(infra)
	}
	s.create(infra)
	return cluster, infra
}

// provisionedCluster makes a cluster and waits for it as Cluster API would.
func (s *site) provisionedCluster(edits ...func(*infrav1.ElementoCluster)) (*clusterv1.Cluster, *infrav1.ElementoCluster) {
	s.t.Helper()
	cluster, infra := s.cluster(edits...)
	eventually(s, infra, "the cluster is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
	editStatus(s, cluster, func(c *clusterv1.Cluster) { c.Status.Initialization.InfrastructureProvisioned = new(true) })
	return cluster, infra
}

// machine makes a Machine with bootstrap data, and its ElementoMachine; edit may
// change the latter.
func (s *site) machine(cluster *clusterv1.Cluster, edits ...func(*clusterv1.Machine, *infrav1.ElementoMachine)) (*clusterv1.Machine, *infrav1.ElementoMachine) {
	s.t.Helper()
	name := "m-" + uuid.NewString()[:6]
	data := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name + "-bootstrap"},
		Data:       map[string][]byte{"value": []byte("#cloud-config\n# " + secret + "\n"), "format": []byte("cloud-config")},
	}
	s.create(data)
	machine := &clusterv1.Machine{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster.Name}},
		Spec: clusterv1.MachineSpec{
			ClusterName:       cluster.Name,
			Bootstrap:         clusterv1.Bootstrap{DataSecretName: &data.Name},
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoMachine", Name: name},
		},
	}
	infra := &infrav1.ElementoMachine{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster.Name}},
		Spec:       infrav1.ElementoMachineSpec{Slots: 2, Overprovision: 10, MemoryMiB: 512, Image: image, BootVolume: infrav1.BootVolume{SizeGiB: 10}},
	}
	for _, e := range edits {
		e(machine, infra)
	}
	s.create(machine)
	infra.OwnerReferences = []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Machine", Name: name, UID: machine.UID}}
	s.create(infra)
	return machine, infra
}

// controlPlane makes a machine one of the control plane.
func controlPlane(machine *clusterv1.Machine, infra *infrav1.ElementoMachine) {
	machine.Labels[clusterv1.MachineControlPlaneLabel] = ""
	infra.Labels[clusterv1.MachineControlPlaneLabel] = ""
}

// provisionedMachine makes a machine and waits for it as Cluster API would.
func (s *site) provisionedMachine(cluster *clusterv1.Cluster, edits ...func(*clusterv1.Machine, *infrav1.ElementoMachine)) (*clusterv1.Machine, *infrav1.ElementoMachine) {
	s.t.Helper()
	machine, infra := s.machine(cluster, edits...)
	s.awaitProvisioned(infra)
	edit(s, machine, func(m *clusterv1.Machine) { m.Spec.ProviderID = infra.Spec.ProviderID })
	return machine, infra
}

func (s *site) awaitProvisioned(infra *infrav1.ElementoMachine) {
	s.t.Helper()
	eventually(s, infra, "the machine is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
}

// joined gives a Machine a node, as Cluster API does when it appears.
func (s *site) joined(machine *clusterv1.Machine) {
	s.t.Helper()
	editStatus(s, machine, func(m *clusterv1.Machine) { m.Status.NodeRef.Name = m.Name })
}

// remove deletes an object and waits until it is gone.
func (s *site) remove(object client.Object) {
	s.t.Helper()
	must(0, client.IgnoreNotFound(s.Delete(s.ctx(), object)))
	s.awaitGone(object)
}

func (s *site) awaitGone(object client.Object) {
	s.t.Helper()
	s.await(describe(object)+" is gone", func() bool {
		return apierrors.IsNotFound(s.Get(s.ctx(), client.ObjectKeyFromObject(object), object))
	}, func() string { return describe(object) })
}

type conditioned interface {
	client.Object
	conditions.Getter
}

// eventually reads object until is holds.
func eventually(s *site, object conditioned, what string, is func() bool) {
	s.t.Helper()
	s.await(what, func() bool {
		must(0, client.IgnoreNotFound(s.Get(s.ctx(), client.ObjectKeyFromObject(object), object)))
		return is()
	}, func() string { return describe(object) })
}

// awaitCondition waits until a condition has a reason, and returns it.
func awaitCondition(s *site, object conditioned, condition, reason string) *metav1.Condition {
	s.t.Helper()
	eventually(s, object, condition+" has reason "+reason, func() bool {
		c := conditions.Get(object, condition)
		return c != nil && c.Reason == reason
	})
	return conditions.Get(object, condition)
}

func (s *site) await(what string, is func() bool, explain func() string) {
	s.t.Helper()
	deadline := time.Now().Add(soon)
	for !is() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so in time: %s\n%s\n%s", what, explain(), s.logs.tail())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func describe(object client.Object) string {
	text := fmt.Sprintf("%T %s", object, object.GetName())
	if c, ok := object.(conditions.Getter); ok {
		for _, c := range c.GetConditions() {
			text += fmt.Sprintf("\n  %s=%s %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return text
}

// vms are the VMs that AtomOS has for the site's client, by name.
func (s *site) vms() map[string][]fakeatomos.VMInventory {
	found := map[string][]fakeatomos.VMInventory{}
	for _, host := range s.fake.Inventory().Hosts {
		for _, vm := range host.VMs {
			if vm.Owner == s.clientUID {
				found[vm.Name] = append(found[vm.Name], vm)
			}
		}
	}
	return found
}

// gauge is the sum of a metric's values.
func (s *site) gauge(name string) (sum float64) {
	s.t.Helper()
	for _, family := range must(s.metrics.Gather()) {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				sum += metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// wantNothingLeft fails the test if AtomOS holds anything but what is named.
func (s *site) wantNothingLeft(besides ...string) {
	s.t.Helper()
	left := slices.DeleteFunc(s.fake.Inventory().Resources(), func(r string) bool {
		return slices.ContainsFunc(besides, func(b string) bool { return strings.Contains(r, b) })
	})
	if len(left) > 0 {
		s.t.Errorf("AtomOS still holds %q", left)
	}
}

// fault puts a fault in force.
func (s *site) fault(f fakeatomos.Fault) string {
	s.t.Helper()
	return must(s.fake.AddFault(f))
}

// logs keeps what the daemons and the manager log.
type logs struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *logs) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), words)
}

func (l *logs) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.all.String()
	return text[max(0, len(text)-3000):]
}

func (l *logs) mustNotHold(t *testing.T, word string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := strings.Index(l.all.String(), word); i >= 0 {
		t.Errorf("%q is in a log: …%s…", word, l.all.String()[i:min(l.all.Len(), i+600)])
	}
}
