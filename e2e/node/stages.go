package node

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// settings are the files of a node that are ours, as they lie in the image.
//
//go:embed files
var settings embed.FS

// runtimeStage adds containerd, and the images that do not follow Kubernetes' version.
func runtimeStage(p *parts) stage {
	return stage{
		name:   "runtime",
		about:  "containerd, etcd, CoreDNS, flannel",
		inputs: append(inputsOf(p.runtime), podInputs(p.basicPods)...),
		make: func(ctx context.Context, from, to string) error {
			return inContainer(ctx, from, to, func(c container) error {
				if err := c.copy(ctx, programFiles(p.runtime)...); err != nil {
					return err
				}
				return c.importImages(ctx, p.basicPods)
			})
		},
	}
}

// kubernetesStage adds Kubernetes.
func kubernetesStage(p *parts) stage {
	return stage{
		name:   "kubernetes",
		about:  "Kubernetes " + p.version,
		inputs: append(inputsOf(p.kubernetes), podInputs(p.kubernetesPods)...),
		make: func(ctx context.Context, from, to string) error {
			return inContainer(ctx, from, to, func(c container) error {
				if err := c.copy(ctx, programFiles(p.kubernetes)...); err != nil {
					return err
				}
				return c.importImages(ctx, p.kubernetesPods)
			})
		},
	}
}

// settingsStage adds what has them work together as a node.
func settingsStage(ctx context.Context, p *parts) (stage, error) {
	files, err := settingFiles(ctx, p)
	if err != nil {
		return stage{}, err
	}
	inputs := []string{setup}
	for _, f := range files {
		inputs = append(inputs, f.Path, strconv.FormatInt(f.Mode, 8), digest(f.Content))
	}
	return stage{
		name:   "settings",
		about:  "settings, and the files that kind expects",
		inputs: inputs,
		make: func(ctx context.Context, from, to string) error {
			return inContainer(ctx, from, to, func(c container) error {
				if err := c.copy(ctx, files...); err != nil {
					return err
				}
				return c.run(ctx, setup)
			})
		},
	}, nil
}

// setup has systemd start what a node needs, and nothing that a container does not have.
const setup = `
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
	/lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \
	/lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* \
	/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
systemctl enable containerd.service kubelet.service undo-mount-hacks.service fit-machine.service \
	cloud-init-local.service cloud-init.service cloud-config.service cloud-final.service
systemctl mask systemd-binfmt.service systemd-udevd.service
mkdir -p /etc/kubernetes/manifests /var/log /var/lib/cloud/seed/nocloud
ln -s /usr/lib/cni/* /opt/cni/bin/
ctr oci spec | jq 'del(.process.rlimits)' >/etc/containerd/cri-base.json
`

// settingFiles are our files, and those of kind's own image that come before them.
func settingFiles(ctx context.Context, p *parts) ([]image.File, error) {
	var files []image.File
	base := filepath.Join(p.kind, "images", "base", "files")
	for _, dir := range []string{"etc/systemd/system", "etc/sysctl.d", "etc/crictl.yaml", "kind/bin", "usr/local/bin/entrypoint"} {
		if err := filepath.WalkDir(filepath.Join(base, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			name, _ := filepath.Rel(base, path)
			files = append(files, image.File{Path: name, Mode: modeOf(name), Content: content})
			return err
		}); err != nil {
			return nil, err
		}
	}
	if err := fs.WalkDir(settings, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := settings.ReadFile(path)
		name := strings.TrimPrefix(path, "files/")
		content = bytes.ReplaceAll(content, []byte("@PAUSE@"), []byte(p.pause))
		files = append(files, image.File{Path: name, Mode: modeOf(name), Content: content})
		return err
	}); err != nil {
		return nil, err
	}
	// kind fills in the pod network of its cluster, where these words ask for it.
	network := "# would you kindly template this file\n" + strings.ReplaceAll(Network, "192.168.0.0/16", "{{ .PodSubnet }}")
	files = append(files,
		image.File{Path: "kind/version", Mode: 0o644, Content: []byte(p.version)},
		image.File{Path: "kind/manifests/default-cni.yaml", Mode: 0o644, Content: []byte(network)})

	runtime, err := ownRuntime(ctx)
	return append(files, image.File{Path: "usr/local/libexec/runtime", Mode: 0o755, Content: runtime}), err
}

// ownRuntime is the OCI runtime of this repository.
func ownRuntime(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "elemento-node-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, "runtime")
	if err := binaries.Own(ctx, "e2e/docker/runtime", target, binaries.Way{Packed: true}); err != nil {
		return nil, err
	}
	return os.ReadFile(target)
}

// networkTools are what kube-proxy and flannel set up a network with.
var networkTools = []string{
	"/usr/sbin/iptables", "/usr/sbin/iptables-save", "/usr/sbin/iptables-restore",
	"/usr/sbin/ip6tables", "/usr/sbin/ip6tables-save", "/usr/sbin/ip6tables-restore",
	"/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/sbin/ipset", "/usr/bin/ip", "/usr/sbin/modprobe", "/usr/bin/cp",
}

// collect makes an archive of programs, and of iptables' extensions, with the libraries
// that they need. The script's arguments are the programs; links are replaced by what
// they mean.
const collect = `
{
	set -- "$@" $(find /usr/lib -path '*/xtables/*.so')
	printf '%s\n' "$@"
	for program in "$@"; do ldd "$program" | grep -o '/[^ ]*'; done
} | sort -u | sed 's,^/,,' | tar -C / -c --dereference --files-from=-
`

// importImages puts images into containerd's store. They are unpacked where a pod is
// made of them first: that takes mounts, which are not the image's.
func (c container) importImages(ctx context.Context, images []podImage) error {
	var tools bytes.Buffer
	if err := docker.Pipe(ctx, nil, &tools, append([]string{"exec", c.id, "sh", "-euc", collect, "collect"}, networkTools...)...); err != nil {
		return err
	}
	if err := c.run(ctx, startContainerd); err != nil {
		return err
	}
	packed := image.Packed(tools.Bytes())
	for _, i := range images {
		if err := docker.Feed(ctx, i.pod(packed).Write, "exec", "--interactive", c.id, "sh", "-euc", importImage); err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
	}
	return c.run(ctx, stopContainerd)
}

// containerd runs only while images are imported.
const (
	startContainerd = `
containerd --config /dev/null >/tmp/containerd.log 2>&1 &
echo $! >/tmp/containerd.pid
for try in $(seq 300); do
	ctr version >/dev/null 2>&1 && exit
	sleep 0.1
done
tail /tmp/containerd.log >&2
exit 1
`
	importImage    = "ctr --namespace k8s.io images import --no-unpack - >/dev/null"
	stopContainerd = `
pid=$(cat /tmp/containerd.pid)
kill "$pid"
while readlink "/proc/$pid/exe" >/dev/null; do sleep 0.1; done
rm /tmp/containerd.*
`
)

func programFiles(programs map[string]string) []image.File {
	var files []image.File
	for _, at := range slices.Sorted(maps.Keys(programs)) {
		files = append(files, image.File{Path: at, Mode: 0o755, Source: programs[at]})
	}
	return files
}

func inputsOf(programs map[string]string) []string {
	var inputs []string
	for _, at := range slices.Sorted(maps.Keys(programs)) {
		inputs = append(inputs, at, programs[at])
	}
	return inputs
}

func podInputs(images []podImage) []string {
	inputs := append([]string{collect, startContainerd, importImage, stopContainerd}, networkTools...)
	for _, i := range images {
		inputs = append(inputs, i.input())
	}
	return inputs
}
