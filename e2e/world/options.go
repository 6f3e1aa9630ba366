package world

import "io"

// Plane is a kind of management plane.
type Plane string

const (
	// PlaneEmbedded is started as plain processes: etcd, kube-apiserver,
	// kube-controller-manager and Cluster API's controllers.
	PlaneEmbedded Plane = "embedded"
	// PlaneKind is a cluster of one node in Docker, made by kind, with Cluster API and
	// our manager deployed as a user would.
	PlaneKind Plane = "kind"
	// PlaneExisting is there already, with all that belongs on it.
	PlaneExisting Plane = "existing"
)

// Options say what a world is made of. The zero value is an embedded plane that
// says nothing and leaves nothing behind.
type Options struct {
	// Dir is where logs, the audit log and rendered manifests are kept. When
	// empty they lie with the state and go with it.
	Dir string
	// History is a directory for what happened, in parts that have one clock: the
	// fake's (atomos.jsonl), the logs of our manager and the daemons with a line
	// for each call (manager.log, daemon-N.log), in JSON, and the harness's own
	// (harness.jsonl, see [World.History]). A history that is there is continued.
	// When empty none is kept and the logs are what they usually are.
	History string
	// Progress is told in lines of text what is being done; nil for silence.
	Progress io.Writer

	// Plane is the management plane, embedded when empty.
	Plane Plane
	// Kubeconfig is how to reach an existing plane, with the right to do anything.
	Kubeconfig string
	// NodeImage is the image of kind's node; when empty it is ours (container.NodeImage) where
	// that was made, or else the one that kind itself has pulled.
	NodeImage string
	// CertManager is the path or URL of cert-manager's manifest, to be installed on
	// kind for the certificates of webhooks, or [BuiltCertManager]. When empty the world
	// makes these itself.
	CertManager string
	// ClusterAPI is the version of Cluster API, one of [binaries.ClusterAPIVersions];
	// the newest when empty.
	ClusterAPI string
	// Providers are installed on an embedded plane, or on kind, beside Cluster API's
	// own.
	Providers []Provider
	// Elemento is our side: AtomOS hosts, daemons and our manager; nil leaves it
	// out.
	Elemento *Elemento
	// QuickReconciles lifts Cluster API's limit of one reconcile a second for
	// each object (its feature gate ReconcilerRateLimiting). Figures that are
	// reported are taken without it.
	QuickReconciles bool
	// ClusterAPIQPS is how many requests a second each of Cluster API's managers may make,
	// and twice as many for a moment; their own default, 100, when 0. At that a reconcile
	// that makes a hundred Machines at a time is broken off before they are made.
	ClusterAPIQPS int
	// Features are values for the variables by which the manifests of Cluster API
	// take feature gates, such as EXP_MACHINE_TAINT_PROPAGATION.
	Features map[string]string
	// Prometheus has the world watched; nil for no Prometheus. It takes an embedded plane
	// and a fake AtomOS.
	Prometheus *Prometheus
	// Respawn has processes that end by themselves started again, as a kubelet
	// would: after a second, then after longer. Otherwise such an end is the
	// world's failure. [World.Ends] tells of them.
	Respawn bool
}

func (o Options) progress() io.Writer {
	if o.Progress == nil {
		return io.Discard
	}
	return o.Progress
}
