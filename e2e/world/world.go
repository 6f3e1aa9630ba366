package world

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// World is a management plane and what runs beside it.
type World struct {
	*site
	config     *rest.Config
	kubeconfig string
	auditLog   string
	client     client.Client
	// apiServer is nil but on an embedded plane, kind but on kind. The plane is ours
	// where we have put on it what is there.
	apiServer   *APIServer
	kind        *kindCluster
	ours        bool
	certManager *certManager
	managers    map[string]*Manager
	// following are those who follow the managers in pods, until followed ends.
	following sync.WaitGroup
	followed  context.Context
	unfollow  context.CancelFunc

	// The Elemento side; empty where Options leave it out.
	overlay   string
	hosts     []Host
	clientUID string
	fake      *fakeatomos.Control
	fakeURL   string
	daemons   []daemon
	links     []link
	twinOf    *World
	// prometheus is nil where the world is not watched.
	prometheus *watched

	// trust signs the certificates of daemons and managers; ownPair is the
	// harness's, managerPair, which pairs guards, our managers'.
	trust       *pki.Authority
	ownPair     pki.Pair
	pairs       sync.Mutex
	managerPair pki.Pair

	// readerToken, which reader guards, lets us read the managers' metrics.
	reader      sync.Mutex
	readerToken string
}

// Up brings a world up and returns when all of it is ready: in about 15 seconds
// once the programs are there, and in a minute or two on kind. ctx bounds the start
// only; Down ends the world, and so does the end of this process, however it comes
// about, but for what is in Docker, which the next world removes.
func Up(ctx context.Context, o Options) (*World, error) {
	if err := o.watchable(); err != nil {
		return nil, err
	}
	s, err := newSite(o)
	if err != nil {
		return nil, err
	}
	w := &World{site: s, managers: map[string]*Manager{}}
	w.followed, w.unfollow = context.WithCancel(context.WithoutCancel(ctx))
	if o.needsDocker() {
		if err := w.joinDocker(ctx, o); err != nil {
			return nil, errors.Join(err, w.Down(context.WithoutCancel(ctx)))
		}
	}
	switch o.Plane {
	case PlaneEmbedded, "":
		err = w.startPlane(ctx, o, w.startEmbeddedPlane, Etcd, KubeAPIServer, KubeControllerManager)
	case PlaneKind:
		err = w.startPlane(ctx, o, w.startKindPlane)
	case PlaneExisting:
		err = w.usePlane(o)
	default:
		err = fmt.Errorf("there is no management plane %q; it is %q, %q or %q", o.Plane, PlaneEmbedded, PlaneKind, PlaneExisting)
	}
	if err == nil && o.Elemento != nil {
		err = w.startElemento(ctx, *o.Elemento)
	}
	if err == nil && o.Prometheus != nil {
		err = w.startPrometheus(ctx, *o.Prometheus)
	}
	if err != nil {
		return nil, errors.Join(err, w.Down(context.WithoutCancel(ctx)))
	}
	return w, nil
}

// Down ends what Up started, the last first, and removes its state; what lies in
// Options.Dir stays. Processes that have not ended when ctx does are killed.
// Taking a world down twice is fine.
func (w *World) Down(ctx context.Context) error {
	w.unfollow()
	w.following.Wait()
	return w.close(ctx)
}

// planeStart starts a plane with these providers, and says what is there by now.
type planeStart func(ctx context.Context, o Options, providers []Provider, say func(what string)) error

// startPlane starts a plane that is ours, with Cluster API on it. programs are those that
// it takes besides kubectl.
func (w *World) startPlane(ctx context.Context, o Options, start planeStart, programs ...string) error {
	w.ours = true
	// All programs first: a build takes longer than anything after it.
	for _, name := range append(programs, binaries.Kubectl) {
		if _, err := binaries.Path(ctx, name, w.progress); err != nil {
			return err
		}
	}
	providers, err := clusterAPIProviders(ctx, o)
	if err != nil {
		return err
	}
	started := time.Now()
	return start(ctx, o, append(providers, o.Providers...), func(what string) {
		fmt.Fprintf(w.progress, "%s (%.1fs)\n", what, time.Since(started).Seconds())
	})
}

// startEmbeddedPlane starts the plane's processes and runs the providers as such.
func (w *World) startEmbeddedPlane(ctx context.Context, _ Options, providers []Provider, say func(string)) (err error) {
	if w.apiServer, err = startAPIServer(ctx, w.site); err != nil {
		return err
	}
	w.kubeconfig, w.auditLog = w.apiServer.Kubeconfig, w.apiServer.AuditLog
	if err := w.connect(w.apiServer.Config); err != nil {
		return err
	}
	say("API server at " + w.config.Host)

	// The garbage collector looks for new kinds twice a minute only; it is
	// started when it will find them all.
	installations, err := w.prepare(ctx, providers)
	if err != nil {
		return err
	}
	say("kinds and permissions of " + names(providers))
	if err := w.apiServer.startControllerManager(ctx); err != nil {
		return err
	}
	say(KubeControllerManager)
	if err := w.run(ctx, installations); err != nil {
		return err
	}
	say("controllers and webhooks of " + names(providers))
	return nil
}

// startKindPlane makes the kind cluster and deploys Cluster API on it.
func (w *World) startKindPlane(ctx context.Context, o Options, providers []Provider, say func(string)) (err error) {
	if o.CertManager != "" {
		if w.certManager, err = w.prepareCertManager(ctx, o.CertManager); err != nil {
			return err
		}
	}
	if err := w.startKind(ctx, nodeImage(ctx, o.NodeImage)); err != nil {
		return err
	}
	say("kind cluster " + w.kind.name + ", API server at " + w.config.Host)
	if w.certManager != nil {
		if err := w.installCertManager(ctx); err != nil {
			return err
		}
		say("cert-manager")
	}
	if err := w.deploy(ctx, providers); err != nil {
		return err
	}
	say("Deployments and webhooks of " + names(providers))
	return nil
}

// usePlane uses a plane that is there.
func (w *World) usePlane(o Options) error {
	if o.Kubeconfig == "" {
		return errors.New("an existing management plane needs a kubeconfig")
	}
	if len(o.Providers) > 0 || o.QuickReconciles {
		return errors.New("providers are installed and set up on a management plane that is started only; an existing one has its own")
	}
	var err error
	if w.kubeconfig, err = filepath.Abs(o.Kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig of the existing management plane: %w", err)
	}
	config.QPS = -1
	return w.connect(config)
}

func (w *World) connect(config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connecting to the management plane: %w", err)
	}
	w.config, w.client = config, c
	return nil
}

// Config reaches the plane as its administrator. It is a copy.
func (w *World) Config() *rest.Config { return rest.CopyConfig(w.config) }

// AdminKubeconfig is the path of a kubeconfig of the plane's administrator.
func (w *World) AdminKubeconfig() string { return w.kubeconfig }

// AuditLogPath is the path of the API server's audit log, one JSON object a
// line, without the content of requests; empty on an existing plane.
func (w *World) AuditLogPath() string { return w.auditLog }

// Addresses are the loopback addresses that are this world's own. The plane
// listens on the first one.
func (w *World) Addresses() *Block { return w.block }

// Failed is closed when a process of the world ends unasked; Err says which.
func (w *World) Failed() <-chan struct{} { return w.processes.failed }

// Err is an [ExitError] once a process of the world has ended unasked.
func (w *World) Err() error { return w.processes.err() }

// Ends are an [ExitError] for each process that ended unasked and was started
// again (see Options.Respawn), in order.
func (w *World) Ends() []error { return w.processes.respawned() }

// Process is the process of that name, as it runs now, or nil; what runs in a pod is
// none. Kill, Stop or Pause
// it, and have it back by Revive or Resume; that is no failure of the world.
func (w *World) Process(name string) *Process { return w.processes.find(name) }

// Revive starts a process again that was stopped or killed, or has ended, and
// returns when it is of use: it answers, and what it serves is there. One that runs
// is only waited for. The fake comes back as it was if it has an AtomOS.StateDir,
// and not at all without. Etcd and kube-apiserver have their data. Controllers outlive
// them and find them again by themselves, which after a long absence takes them up to
// a minute: the longer nobody answers, the more seldom they ask.
func (w *World) Revive(ctx context.Context, name string) error {
	p, err := w.processes.revive(name)
	if err != nil {
		return err
	}
	return p.await(ctx)
}

// History is where the harness tells what it does and sees; it drops everything
// where Options.History is empty. The world itself tells of its processes, of
// partitions and of certificates.
func (w *World) History() *history.Writer { return w.history }

// Log is the path of the log of a process, or of a manager in a pod; empty where there
// is none of that name.
func (w *World) Log(name string) string {
	if m := w.managers[name]; m != nil {
		return m.log
	}
	if p := w.Process(name); p != nil {
		return p.Log
	}
	return ""
}

// Manager is the manager of the installed provider of that name, or nil.
func (w *World) Manager(provider string) *Manager { return w.managers[provider] }
