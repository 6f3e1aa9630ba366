// Command manager runs the Elemento infrastructure provider for Cluster API.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsv1 "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/flags"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
	"elemento.cloud/cluster-api-provider-elemento/provider/tenancy"
	"elemento.cloud/cluster-api-provider-elemento/provider/webhooks"
)

// options are the command's flags.
type options struct {
	leaderElect                                       bool
	leaseDuration, renewDeadline, retryPeriod         time.Duration
	namespace, watchFilter                            string
	clusterConcurrency, machineConcurrency, templates int
	syncPeriod                                        time.Duration
	qps                                               float32
	burst                                             int
	webhookPort                                       int
	webhookCertDir, webhookCertName, webhookKeyName   string
	healthAddr, profilerAddress                       string
	defaultIdentity                                   string
	stopTimeout, unreachableGrace, fencingGrace       time.Duration
	cleanupConcurrency                                int

	manager flags.ManagerOptions
	logs    *logs.Options
}

func (o *options) add(fs *pflag.FlagSet) {
	o.logs = logs.NewOptions()
	logsv1.AddFlags(o.logs, fs)
	flags.AddManagerOptions(fs, &o.manager)

	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Let one manager act at a time. The Lease is in the namespace that POD_NAMESPACE names, by default the manager's own.")
	fs.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second, "How long a Lease that is not renewed keeps others waiting.")
	fs.DurationVar(&o.renewDeadline, "leader-elect-renew-deadline", 10*time.Second, "How long the leader tries to renew its Lease before it gives up.")
	fs.DurationVar(&o.retryPeriod, "leader-elect-retry-period", 2*time.Second, "How long to wait between tries.")
	fs.StringVar(&o.namespace, "namespace", "", "The only namespace to work in; all if empty.")
	fs.StringVar(&o.watchFilter, "watch-filter", "", "Work only on objects that have this value of the label "+clusterv1.WatchLabel+"; on all if empty.")
	fs.IntVar(&o.clusterConcurrency, "elementocluster-concurrency", 10, "How many ElementoClusters to work on at a time.")
	fs.IntVar(&o.machineConcurrency, "elementomachine-concurrency", 30, "How many ElementoMachines to work on at a time.")
	fs.IntVar(&o.templates, "elementomachinetemplate-concurrency", 5, "How many ElementoMachineTemplates to work on at a time.")
	fs.IntVar(&o.cleanupConcurrency, "elementocleanup-concurrency", 5, "How many ElementoCleanups to work on at a time.")
	fs.DurationVar(&o.syncPeriod, "sync-period", 10*time.Minute, "How often to look at every object even if nothing has happened.")
	fs.Float32Var(&o.qps, "kube-api-qps", 200, "How many requests to make of the API server in a second, at most.")
	fs.IntVar(&o.burst, "kube-api-burst", 400, "How many requests to make of the API server at once, at most.")
	fs.IntVar(&o.webhookPort, "webhook-port", 9443, "Port of the webhooks.")
	fs.StringVar(&o.webhookCertDir, "webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs/", "Directory of the webhooks' certificate, which is read again when it changes.")
	fs.StringVar(&o.webhookCertName, "webhook-cert-name", "tls.crt", "File name of the webhooks' certificate.")
	fs.StringVar(&o.webhookKeyName, "webhook-key-name", "tls.key", "File name of its key.")
	fs.StringVar(&o.healthAddr, "health-addr", ":9440", "Address of /healthz and /readyz.")
	fs.StringVar(&o.profilerAddress, "profiler-address", "", "Address of pprof, such as localhost:6060; none if empty.")
	fs.StringVar(&o.defaultIdentity, "default-identity", "", "namespace/name of the identity Secret for clusters that name none; such clusters wait if empty.")
	fs.DurationVar(&o.stopTimeout, "stop-timeout", time.Minute, "How long the guest of a deleted machine may take to shut down before its power is cut.")
	fs.DurationVar(&o.unreachableGrace, "unreachable-grace", 5*time.Minute, "How long a host must be unreachable before a Machine or cluster that is being deleted is released and what it has there is left to an ElementoCleanup.")
	fs.DurationVar(&o.fencingGrace, "fencing-grace", 5*time.Minute, "How long a host must be unreachable before a Machine whose VM was never seen there is placed on another one, with an ElementoCleanup for the first. Give it no less than the longest partition between daemons and a host that runs on: until it ends there may be two VMs for the Machine.")
}

// check finds what flags alone cannot say is wrong, and returns the default
// identity.
func (o *options) check() (identity types.NamespacedName, err error) {
	if o.defaultIdentity != "" {
		namespace, name, ok := strings.Cut(o.defaultIdentity, "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			return identity, fmt.Errorf("--default-identity %q: write namespace/name of a Secret", o.defaultIdentity)
		}
		identity = types.NamespacedName{Namespace: namespace, Name: name}
	}
	for name, n := range map[string]int{
		"elementocluster-concurrency": o.clusterConcurrency, "elementomachine-concurrency": o.machineConcurrency, "elementomachinetemplate-concurrency": o.templates,
		"elementocleanup-concurrency": o.cleanupConcurrency,
	} {
		if n < 1 {
			return identity, fmt.Errorf("--%s %d: give at least 1", name, n)
		}
	}
	for name, d := range map[string]time.Duration{"stop-timeout": o.stopTimeout, "unreachable-grace": o.unreachableGrace, "fencing-grace": o.fencingGrace} {
		if d < 0 {
			return identity, fmt.Errorf("--%s %s: give 0s or more", name, d)
		}
	}
	return identity, nil
}

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func start() error {
	o := &options{}
	o.add(pflag.CommandLine)
	pflag.CommandLine.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	pflag.CommandLine.AddGoFlagSet(flag.CommandLine)
	pflag.Parse()
	if err := logsv1.ValidateAndApply(o.logs, nil); err != nil {
		return err
	}
	ctrl.SetLogger(klog.Background())
	identity, err := o.check()
	if err != nil {
		return err
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	if err := setup(ctx, mgr, o, identity); err != nil {
		return err
	}
	ctrl.Log.Info("Starting", "version", version())
	return mgr.Start(ctx)
}

// release is the version of a release, where one is linked in.
var release string

// version is that of the release, or else of the module or the commit that the command
// was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// Metrics are served to those whom the API server lets.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

func newManager(o *options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme, infrav1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	tlsOptions, metricsOptions, err := flags.GetManagerOptions(o.manager)
	if err != nil {
		return nil, err
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	restConfig.QPS, restConfig.Burst = o.qps, o.burst
	restConfig.UserAgent = "cluster-api-provider-elemento/" + version()

	var namespaces map[string]cache.Config
	if o.namespace != "" {
		namespaces = map[string]cache.Config{o.namespace: {}}
	}
	return ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                        scheme,
		Controller:                    controllers.Defaults(),
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "controller-leader-election-elemento",
		LeaderElectionNamespace:       os.Getenv("POD_NAMESPACE"),
		LeaderElectionResourceLock:    resourcelock.LeasesResourceLock,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.leaseDuration,
		RenewDeadline:                 &o.renewDeadline,
		RetryPeriod:                   &o.retryPeriod,
		HealthProbeBindAddress:        o.healthAddr,
		PprofBindAddress:              o.profilerAddress,
		Metrics:                       *metricsOptions,
		Cache: cache.Options{
			DefaultNamespaces: namespaces,
			SyncPeriod:        &o.syncPeriod,
			DefaultTransform:  cache.TransformStripManagedFields(),
		},
		// No Secret is ever cached: that would need leave to list all of them.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		WebhookServer: webhook.NewServer(webhook.Options{
			Port: o.webhookPort, CertDir: o.webhookCertDir, CertName: o.webhookCertName, KeyName: o.webhookKeyName, TLSOpts: tlsOptions,
		}),
	})
}

func setup(ctx context.Context, mgr ctrl.Manager, o *options, identity types.NamespacedName) error {
	daemons := fleet.New(mgr.GetLogger().WithName("fleet"))
	if err := mgr.Add(daemons); err != nil {
		return err
	}
	for _, c := range []prometheus.Collector{
		&fleet.Collector{Fleet: daemons, Expected: controllers.ExpectsVM(mgr.GetClient())},
		&controllers.Collector{Client: mgr.GetClient()},
	} {
		if err := metrics.Registry.Register(c); err != nil {
			return err
		}
	}
	if err := controllers.SetupIndexes(ctx, mgr); err != nil {
		return err
	}
	identities := &controllers.Identities{Secrets: mgr.GetAPIReader(), Fleet: daemons, Default: identity}
	cleanups := &controllers.Cleanups{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}
	concurrency := func(n int) controller.Options { return controller.Options{MaxConcurrentReconciles: n} }

	if err := (&controllers.ClusterReconciler{
		Client: mgr.GetClient(), Fleet: daemons, Identities: identities,
		Events: mgr.GetEventRecorder("elementocluster"), WatchFilter: o.watchFilter,
		UnreachableGrace: o.unreachableGrace, Cleanups: cleanups,
	}).SetupWithManager(ctx, mgr, concurrency(o.clusterConcurrency)); err != nil {
		return fmt.Errorf("setting up the controller for ElementoClusters: %w", err)
	}
	if err := (&controllers.MachineReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Fleet: daemons, Identities: identities,
		Events: mgr.GetEventRecorder("elementomachine"), WatchFilter: o.watchFilter, StopTimeout: o.stopTimeout,
		UnreachableGrace: o.unreachableGrace, FencingGrace: o.fencingGrace, Cleanups: cleanups,
	}).SetupWithManager(ctx, mgr, concurrency(o.machineConcurrency)); err != nil {
		return fmt.Errorf("setting up the controller for ElementoMachines: %w", err)
	}
	if err := (&controllers.CleanupReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Fleet: daemons, Identities: identities, Cleanups: cleanups,
		Events: mgr.GetEventRecorder("elementocleanup"), WatchFilter: o.watchFilter,
	}).SetupWithManager(mgr, concurrency(o.cleanupConcurrency)); err != nil {
		return fmt.Errorf("setting up the controller for ElementoCleanups: %w", err)
	}
	if err := mgr.Add(&controllers.Strangers{Client: mgr.GetClient(), Fleet: daemons, Events: mgr.GetEventRecorder("elementocluster")}); err != nil {
		return err
	}
	if err := (&controllers.TemplateReconciler{Client: mgr.GetClient(), WatchFilter: o.watchFilter}).
		SetupWithManager(mgr, concurrency(o.templates)); err != nil {
		return fmt.Errorf("setting up the controller for ElementoMachineTemplates: %w", err)
	}
	if err := (&tenancy.Kubeconfigs{Client: mgr.GetClient()}).SetupWithManager(mgr, concurrency(1)); err != nil {
		return fmt.Errorf("setting up the controller for kubeconfigs: %w", err)
	}
	if err := webhooks.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("setting up the webhooks: %w", err)
	}
	if err := mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	return mgr.AddHealthzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
}
