package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// parts are what is put into the image, as paths on this machine. A path of a program
// changes with what the program is made of, and so stands for it.
type parts struct {
	version string
	// programs are those of the node, by where they are in the image.
	runtime, kubernetes map[string]string
	// pods are the images of what does not follow Kubernetes' version, and of what does.
	basicPods, kubernetesPods []podImage
	// pause is the name of the image that holds a pod's namespaces.
	pause string
	// kind is the source of kind.
	kind string
}

// findParts builds what is missing of the parts.
func findParts(ctx context.Context, version string, progress io.Writer) (*parts, error) {
	p := &parts{version: version, runtime: map[string]string{}, kubernetes: map[string]string{}}
	var failed error // the first time
	build := func(name string) (path string) {
		if failed == nil {
			path, failed = binaries.Build(ctx, name, progress)
		}
		return path
	}

	for _, name := range []string{binaries.Containerd, binaries.ContainerdShim, binaries.Ctr, binaries.Crictl} {
		p.runtime["usr/local/bin/"+name] = build(name)
	}
	for _, name := range []string{binaries.Kubelet, binaries.Kubeadm, binaries.Kubectl} {
		p.kubernetes["usr/bin/"+name] = build(name + "@" + version)
	}
	if failed != nil {
		return nil, failed
	}

	wanted, err := wantedImages(ctx, p.kubernetes["usr/bin/"+binaries.Kubeadm], version)
	if err != nil {
		return nil, err
	}
	for base, pinned := range map[string]string{"etcd": binaries.KubeadmEtcd, "coredns": binaries.CoreDNS} {
		is, err := binaries.Version(ctx, pinned)
		if err != nil {
			return nil, err
		}
		// etcd's tags have no v, and a number of the image at their end.
		tag, _, _ := strings.Cut(strings.TrimPrefix(tagOf(wanted[base]), "v"), "-")
		if tag != strings.TrimPrefix(is, "v") {
			return nil, fmt.Errorf("kubeadm %s runs %s, and e2e/binaries/%s pins %s: pin the same", version, wanted[base], pinned, is)
		}
	}
	pause, err := compilePause(ctx, version, tagOf(wanted["pause"]))
	if err != nil {
		return nil, err
	}
	p.pause = wanted["pause"]
	p.basicPods = []podImage{
		{name: p.pause, program: pause, at: "pause", entrypoint: true},
		{name: wanted["etcd"], program: build(binaries.KubeadmEtcd), at: "usr/local/bin/etcd"},
		{name: wanted["coredns"], program: build(binaries.CoreDNS), at: "coredns", entrypoint: true},
	}
	flannel, err := binaries.Version(ctx, binaries.Flannel)
	if err != nil {
		return nil, err
	}
	p.basicPods = append(p.basicPods, podImage{
		name: "elemento.cloud/flannel:" + flannel, program: build(binaries.Flannel), at: "opt/bin/flanneld", entrypoint: true, network: true,
	})
	for _, name := range []string{binaries.KubeAPIServer, binaries.KubeControllerManager, binaries.KubeScheduler} {
		p.kubernetesPods = append(p.kubernetesPods, podImage{name: wanted[name], program: build(name + "@" + version), at: "usr/local/bin/" + name})
	}
	// While a cluster is upgraded, kube-proxy of one version runs on nodes of another.
	versions, err := binaries.KubernetesVersions(ctx)
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(wanted[binaries.KubeProxy], ":")
	for _, v := range versions {
		p.kubernetesPods = append(p.kubernetesPods, podImage{
			name: repository + ":" + v, program: build(binaries.KubeProxy + "@" + v), at: "usr/local/bin/" + binaries.KubeProxy, network: true,
		})
	}
	if failed != nil {
		return nil, failed
	}
	p.kind, err = binaries.Source(ctx, binaries.Kind)
	return p, err
}

// wantedImages are the images that kubeadm runs a cluster of a version with, by the last
// part of their names.
func wantedImages(ctx context.Context, kubeadm, version string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, kubeadm, "config", "images", "list", "--kubernetes-version", version).Output()
	if err != nil {
		return nil, fmt.Errorf("asking kubeadm %s for its images: %w", version, err)
	}
	wanted := map[string]string{}
	for image := range strings.FieldsSeq(string(out)) {
		name, _, _ := strings.Cut(image, ":")
		wanted[path.Base(name)] = image
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "pause", "etcd"} {
		if wanted[name] == "" {
			return nil, fmt.Errorf("kubeadm %s names no image of %s, but %s", version, name, strings.Join(strings.Fields(string(out)), ", "))
		}
	}
	return wanted, nil
}

// tagOf is the tag of an image.
func tagOf(image string) string {
	_, tag, _ := strings.Cut(image, ":")
	return tag
}

// compilePause compiles what holds a pod's namespaces from Kubernetes' source, which must
// be of the version that is wanted.
func compilePause(ctx context.Context, version, wanted string) (string, error) {
	kubernetes, err := binaries.Source(ctx, binaries.Kubelet+"@"+version)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(kubernetes, "build", "pause")
	made, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return "", err
	}
	if !bytes.Contains(made, []byte("TAG ?= "+wanted+"\n")) {
		return "", fmt.Errorf("kubeadm %s runs pause %s, and %s makes another one", version, wanted, dir)
	}
	source := filepath.Join(dir, "linux", "pause.c")
	content, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	cache, err := binaries.Cache()
	if err != nil {
		return "", err
	}
	target := filepath.Join(cache, fmt.Sprintf("pause-%s-%s", wanted, digest(content)[:12]), "pause")
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	out, err := exec.CommandContext(ctx, compiler, "-Os", "-Wall", "-static", "-DVERSION=v"+wanted, "-o", target+".unfinished", source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compiling %s: %w: %s", source, err, bytes.TrimSpace(out))
	}
	return target, os.Rename(target+".unfinished", target)
}
