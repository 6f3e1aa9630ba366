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
)

// The programs that there are.
const (
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	Kubectl               = "kubectl"
	Clusterctl            = "clusterctl"
	ClusterAPICore        = "cluster-api-core"
	KubeadmBootstrap      = "cluster-api-kubeadm-bootstrap"
	KubeadmControlPlane   = "cluster-api-kubeadm-control-plane"
)

// program says where a program's source is: which of the modules beside this
// package pins it, what package it is, and the module that gives it its version.
type program struct {
	pins, pkg, module string
	// versionPackage is where a version can be linked in, if anywhere.
	versionPackage string
	// installable programs are taken from KUBEBUILDER_ASSETS when they are there.
	installable bool
}

var programs = map[string]program{
	Etcd:                  {"etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", "", true},
	KubeAPIServer:         kubernetes("kube-apiserver"),
	KubeControllerManager: kubernetes("kube-controller-manager"),
	Kubectl:               kubernetes("kubectl"),
	Clusterctl:            clusterAPI("cmd/clusterctl"),
	ClusterAPICore:        clusterAPI("core"),
	KubeadmBootstrap:      clusterAPI("bootstrap/kubeadm"),
	KubeadmControlPlane:   clusterAPI("controlplane/kubeadm"),
}

func kubernetes(command string) program {
	return program{"kubernetes", "k8s.io/kubernetes/cmd/" + command, "k8s.io/kubernetes", "k8s.io/component-base/version", true}
}

const clusterAPIModule = "sigs.k8s.io/cluster-api"

func clusterAPI(dir string) program {
	return program{"clusterapi", clusterAPIModule + "/" + dir, clusterAPIModule, clusterAPIModule + "/version", false}
}

// Programs are the names of all programs that there are.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

// Path returns the path of one of the programs named above, for a process of this
// machine. It takes etcd and Kubernetes' programs from the directory that
// KUBEBUILDER_ASSETS names, as far as they are there in the version that is pinned, and
// otherwise builds the program (see [Build]). A program that is not taken is told of on
// progress (nil for silence).
func Path(ctx context.Context, name string, progress io.Writer) (string, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" || !programs[name].installable {
		return Build(ctx, name, progress)
	}
	b, err := newBuild(ctx, name)
	if err != nil {
		return "", err
	}
	installed := filepath.Join(assets, name)
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
