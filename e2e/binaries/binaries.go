// Package binaries builds the programs that suites are made of from Go modules: the
// modules in its folders pin them, one a family, so that their dependencies stay out of
// the product's. Programs are static, are built once, and are kept in the user's cache
// directory.
//
// Its functions must be called from within the repository, and need the go command.
package binaries

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// The programs that there are. Kubernetes' own and Cluster API's are there in several
// versions (see [KubernetesVersions] and [ClusterAPIVersions]): "kubelet" is the newest
// one, "kubelet@v1.36.1" that of a version.
const (
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	KubeScheduler         = "kube-scheduler"
	KubeProxy             = "kube-proxy"
	Kubelet               = "kubelet"
	Kubeadm               = "kubeadm"
	Kubectl               = "kubectl"

	Clusterctl          = "clusterctl"
	ClusterAPICore      = "cluster-api-core"
	KubeadmBootstrap    = "cluster-api-kubeadm-bootstrap"
	KubeadmControlPlane = "cluster-api-kubeadm-control-plane"
	// ClusterAPIDev is the infrastructure provider by which Cluster API tests itself,
	// with machines that are containers or in memory.
	ClusterAPIDev = "cluster-api-dev"

	// KubeadmEtcd is etcd in the version that kubeadm runs.
	KubeadmEtcd = "kubeadm-etcd"
	CoreDNS     = "coredns"
	Containerd  = "containerd"
	// ContainerdShim is what containerd starts for each pod.
	ContainerdShim = "containerd-shim-runc-v2"
	// Ctr is containerd's own client.
	Ctr     = "ctr"
	Crictl  = "crictl"
	Flannel = "flannel"
	Kind    = "kind"

	CertManagerController = "cert-manager-controller"
	CertManagerWebhook    = "cert-manager-webhook"
	// CertManagerInjector writes CAs into the configurations of webhooks.
	CertManagerInjector = "cert-manager-cainjector"
	Helm                = "helm"

	Sonobuoy = "sonobuoy"
	// E2ETest are the tests of a Kubernetes cluster, those of conformance among them.
	E2ETest = "e2e.test"
	// ConformanceRunner runs E2ETest in a pod, by Ginkgo.
	ConformanceRunner = "go-runner"
	Ginkgo            = "ginkgo"
	// Agnhost, Nonewprivs and SampleAPIServer are what conformance tests run in pods.
	Agnhost         = "agnhost"
	Nonewprivs      = "nonewprivs"
	SampleAPIServer = "sample-apiserver"

	// Promtool checks rules and configurations of Prometheus, and tests rules.
	Promtool   = "promtool"
	Prometheus = "prometheus"
)

// program says where a program's source is.
type program struct {
	// pins is the module beside this package that pins it, pkg the package that it
	// is, and module the module that this is in, which gives it its version.
	pins, pkg, module string
	// versionPackage is where a version can be linked in, if anywhere.
	versionPackage string
	// tags are the build tags, separated by commas.
	tags string
	// tests says that the package holds tests, which are the program.
	tests bool
	// cgo programs hold C, which takes a compiler, and are static all the same.
	cgo bool
	// installable programs are taken from KUBEBUILDER_ASSETS when they are there.
	installable bool
}

var programs = map[string]program{
	Etcd:                  {pins: "etcd", pkg: etcdModule, module: etcdModule, installable: true},
	KubeAPIServer:         kubernetes("kube-apiserver"),
	KubeControllerManager: kubernetes("kube-controller-manager"),
	KubeScheduler:         kubernetes("kube-scheduler"),
	KubeProxy:             kubernetes("kube-proxy"),
	Kubelet:               kubernetes("kubelet"),
	Kubeadm:               kubernetes("kubeadm"),
	Kubectl:               kubernetes("kubectl"),

	Clusterctl:          clusterAPI("cmd/clusterctl"),
	ClusterAPICore:      clusterAPI("core"),
	KubeadmBootstrap:    clusterAPI("bootstrap/kubeadm"),
	KubeadmControlPlane: clusterAPI("controlplane/kubeadm"),
	ClusterAPIDev: {
		pins: "clusterapi-test", pkg: clusterAPITestModule + "/infrastructure/docker", module: clusterAPITestModule,
		versionPackage: clusterAPIModule + "/version",
	},

	KubeadmEtcd:    {pins: "kubeadm-etcd", pkg: etcdModule, module: etcdModule},
	CoreDNS:        {pins: "coredns", pkg: "github.com/coredns/coredns", module: "github.com/coredns/coredns"},
	Containerd:     containerd("containerd"),
	ContainerdShim: containerd("containerd-shim-runc-v2"),
	Ctr:            containerd("ctr"),
	Crictl:         {pins: "cri-tools", pkg: "sigs.k8s.io/cri-tools/cmd/crictl", module: "sigs.k8s.io/cri-tools"},
	Flannel: {
		pins: "flannel", pkg: "github.com/flannel-io/flannel", module: "github.com/flannel-io/flannel",
		tags: "netgo,osusergo", cgo: true, // its UDP backend is in C
	},
	Kind: {pins: "kind", pkg: "sigs.k8s.io/kind", module: "sigs.k8s.io/kind"},

	CertManagerController: certManager("controller"),
	CertManagerWebhook:    certManager("webhook"),
	CertManagerInjector:   certManager("cainjector"),
	Helm:                  {pins: "helm", pkg: helmModule + "/cmd/helm", module: helmModule},

	Sonobuoy:          {pins: "sonobuoy", pkg: sonobuoyModule, module: sonobuoyModule},
	E2ETest:           conformance("test/e2e"),
	ConformanceRunner: conformance("test/conformance/image/go-runner"),
	Ginkgo:            {pins: "conformance", pkg: ginkgoModule + "/ginkgo", module: ginkgoModule},
	Agnhost:           conformance("test/images/agnhost"),
	Nonewprivs:        conformance("test/images/nonewprivs"),
	SampleAPIServer:   {pins: "sample-apiserver", pkg: sampleModule, module: sampleModule},

	Promtool:   prometheus("promtool"),
	Prometheus: prometheus("prometheus"),
}

const (
	etcdModule           = "go.etcd.io/etcd/server/v3"
	kubernetesModule     = "k8s.io/kubernetes"
	clusterAPIModule     = "sigs.k8s.io/cluster-api"
	clusterAPITestModule = clusterAPIModule + "/test"
	containerdModule     = "github.com/containerd/containerd/v2"
	certManagerModule    = "github.com/cert-manager/cert-manager"
	helmModule           = "helm.sh/helm/v3"
	sonobuoyModule       = "github.com/vmware-tanzu/sonobuoy"
	ginkgoModule         = "github.com/onsi/ginkgo/v2"
	sampleModule         = "k8s.io/sample-apiserver"
	prometheusModule     = "github.com/prometheus/prometheus"
)

// coreMoved is the version of Cluster API from which on its core has a directory of its
// own; before, it was the root of the module.
const coreMoved = "v1.14.0"

// series are the modules that pin what is there in several versions, the newest first.
var series = map[string][]string{
	kubernetesModule: {"kubernetes", "kubernetes-previous"},
	clusterAPIModule: {"clusterapi", "clusterapi-previous"},
}

func kubernetes(command string) program {
	return program{
		pins: series[kubernetesModule][0], pkg: kubernetesModule + "/cmd/" + command, module: kubernetesModule,
		versionPackage: "k8s.io/component-base/version", installable: true,
	}
}

func conformance(dir string) program {
	return program{
		pins: "conformance", pkg: kubernetesModule + "/" + dir, module: kubernetesModule,
		versionPackage: "k8s.io/component-base/version", tests: dir == "test/e2e",
	}
}

func clusterAPI(dir string) program {
	return program{
		pins: series[clusterAPIModule][0], pkg: clusterAPIModule + "/" + dir, module: clusterAPIModule,
		versionPackage: clusterAPIModule + "/version",
	}
}

func containerd(command string) program {
	return program{
		pins: "containerd", pkg: containerdModule + "/cmd/" + command, module: containerdModule,
		// Snapshotters that a node does not use.
		tags: "no_btrfs,no_devmapper,no_zfs",
	}
}

func prometheus(command string) program {
	return program{
		pins: "prometheus", pkg: prometheusModule + "/cmd/" + command, module: prometheusModule,
		// Of the ways to find what to scrape, those that our configuration has.
		tags: "remove_all_sd,enable_kubernetes_sd",
	}
}

func certManager(command string) program {
	return program{pins: "cert-manager", pkg: certManagerModule + "/cmd/" + command, module: certManagerModule}
}

// Programs are the names of all programs that there are.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

// Plane are the names of the programs that an embedded management plane is made of.
func Plane() []string {
	return []string{
		Etcd, KubeAPIServer, KubeControllerManager, Kubectl,
		Clusterctl, ClusterAPICore, KubeadmBootstrap, KubeadmControlPlane,
	}
}

// Version is the version that is pinned of one of the programs named above.
func Version(ctx context.Context, name string) (string, error) {
	b, err := newBuild(ctx, name)
	if err != nil {
		return "", err
	}
	return b.version, nil
}

// KubernetesVersions are the versions of Kubernetes that are pinned, the newest first.
func KubernetesVersions(ctx context.Context) ([]string, error) {
	return versions(ctx, kubernetesModule)
}

// ClusterAPIVersions are the versions of Cluster API that are pinned, the newest first.
func ClusterAPIVersions(ctx context.Context) ([]string, error) {
	return versions(ctx, clusterAPIModule)
}

func versions(ctx context.Context, module string) ([]string, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, pins := range series[module] {
		_, version, err := readPins(pinsDir(repository, pins), module)
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, nil
}

// find finds the program of a name, which is returned without its version.
func find(ctx context.Context, name string) (program, string, error) {
	base, version, versioned := strings.Cut(name, "@")
	p, ok := programs[base]
	if !ok {
		return p, "", fmt.Errorf("there is no program %q; there are %s", base, strings.Join(Programs(), ", "))
	}
	if !versioned {
		return p, base, nil
	}
	if !slices.Contains(series[p.module], p.pins) {
		return p, "", fmt.Errorf("%s: only programs of Kubernetes and Cluster API are there in several versions", name)
	}
	versions, err := versions(ctx, p.module)
	if err != nil {
		return p, "", err
	}
	i := slices.Index(versions, version)
	if i < 0 {
		return p, "", fmt.Errorf("%s: there are the versions %s", name, strings.Join(versions, ", "))
	}
	p.pins = series[p.module][i]
	if base == ClusterAPICore && semver.Compare(version, coreMoved) < 0 {
		p.pkg = clusterAPIModule
	}
	return p, base, nil
}

// Path returns the path of one of the programs named above, for a process of this
// machine. It takes etcd and Kubernetes' programs from the directory that
// KUBEBUILDER_ASSETS names, as far as they are there in the version that is pinned, and
// otherwise builds the program (see [Build]). A program that is not taken is told of on
// progress (nil for silence).
func Path(ctx context.Context, name string, progress io.Writer) (string, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	b, err := newBuild(ctx, name)
	if err != nil {
		return "", err
	}
	if assets == "" || !b.installable {
		return Build(ctx, name, progress)
	}
	installed := filepath.Join(assets, b.name)
	if info, err := os.Stat(installed); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		if saysVersion(ctx, installed, b.version) {
			return installed, nil
		}
		if progress != nil {
			fmt.Fprintf(progress, "%s is not %s, which is pinned; it is not used\n", installed, b.version)
		}
	}
	return Build(ctx, name, progress)
}

// Build returns the path of one of the programs named above, built from Go modules:
// static, once, into the user's cache directory, under a name made of all that the
// result depends on. A build takes minutes and is announced on progress (nil for
// silence); builds wait for each other, in other processes too.
func Build(ctx context.Context, name string, progress io.Writer) (string, error) {
	if progress == nil {
		progress = io.Discard
	}
	b, err := newBuild(ctx, name)
	if err != nil {
		return "", err
	}
	if b.done() {
		return b.target, nil
	}
	if err := b.run(ctx, progress); err != nil {
		return "", fmt.Errorf("building %s %s: %w", name, b.version, err)
	}
	return b.target, nil
}

// saysVersion tells whether a program says that it is of a version.
func saysVersion(ctx context.Context, program, version string) bool {
	args := []string{"--version"}
	if filepath.Base(program) == Kubectl {
		args = []string{"version", "--client"}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(said)), func(word string) bool {
		return strings.TrimPrefix(word, "v") == strings.TrimPrefix(version, "v")
	})
}
