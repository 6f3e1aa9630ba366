// Package images makes the container images that a conformance run needs, for where no
// registry answers: sonobuoy's own, the one with the tests, and those that the tests run
// in pods. They are made of Go modules and Debian packages (see e2e/binaries and
// e2e/debian), under the names that the tests ask for.
//
// # What is not upstream's
//
// The programs that are Kubernetes' own are built from the source of the version that is
// tested. What surrounds them is Debian's and not Alpine's: the C library, the tools of
// agnhost, nginx and busybox in Debian's versions, whatever the tag says. Both agnhosts
// and both nginx are the same program each, told apart by a label: the tests want two
// images that can follow each other. The shell is bash, and in the busybox image where it
// must be (see files/sh): Debian's dash, and its busybox, leave variables out of the
// environment whose names are not a shell's, such as data-1, which upstream's busybox keeps.
package images

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// The names that sonobuoy asks for, of versions that e2e/binaries pins.
const (
	sonobuoy    = "docker.io/sonobuoy/sonobuoy:"
	conformance = "registry.k8s.io/conformance:"
)

// tests is where the images are that the tests ask for.
const tests = "registry.k8s.io/e2e-test-images/"

// label tells images apart that hold the same.
const label = "org.opencontainers.image.ref.name"

// All are the images of a conformance run. What they are made of is built as far as it is
// not there, which takes root, and some minutes the first time; progress is told.
func All(ctx context.Context, progress io.Writer) ([]image.Image, error) {
	p, err := findParts(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("making the images of the conformance tests: %w", err)
	}
	images := []image.Image{
		{
			Name: sonobuoy + p.sonobuoy, Layers: p.on(program("sonobuoy", p.path[binaries.Sonobuoy])),
			Command: []string{"/sonobuoy", "aggregator", "--no-exit", "-v", "3", "--logtostderr"}, WorkingDir: "/",
		},
		{
			// It has no working directory of its own: what Ginkgo writes there it writes
			// where sonobuoy looks for it.
			Name: conformance + p.kubernetes, Layers: p.on(
				program("usr/local/bin/ginkgo", p.path[binaries.Ginkgo]),
				program("usr/local/bin/e2e.test", p.path[binaries.E2ETest]),
				program("usr/local/bin/kubectl", p.path[binaries.Kubectl]),
				program("usr/local/bin/kubeconformance", p.path[binaries.ConformanceRunner]),
				program("gorunner", p.path[binaries.ConformanceRunner]),
				program("run_e2e.sh", p.path[binaries.ConformanceRunner]),
				image.File{Path: "kubernetes/cluster/", Mode: 0o755},
			),
			Entrypoint: []string{"kubeconformance"},
			Environment: []string{
				`E2E_FOCUS=\[Conformance\]`, "E2E_SKIP=", "E2E_PROVIDER=local", "E2E_PARALLEL=1",
				"E2E_VERBOSITY=4", "RESULTS_DIR=/tmp/results", "KUBECONFIG=",
			},
		},
		{Name: "busybox:1.37.0-1", Layers: p.busybox, Command: []string{"sh"}},
		{Name: "glibc-dns-testing:2.0.0", Layers: p.debian, Command: []string{"bash"}},
		{Name: "nonroot:1.5", Layers: p.debian, Command: []string{"bash"}, User: "1234"},
		{
			Name: "nonewprivs:1.4", Layers: p.on(image.File{Path: "usr/local/bin/nnp", Mode: 0o6755, Source: p.path[binaries.Nonewprivs]}),
			Command: []string{"nnp"},
		},
		{
			Name: "sample-apiserver:" + strings.Replace(p.sampleAPIServer, "v0", "1", 1), WorkingDir: "/",
			Layers: p.on(program("sample-apiserver", p.path[binaries.SampleAPIServer])), Entrypoint: []string{"/sample-apiserver"},
		},
	}
	agnhost := image.Files(
		program("agnhost", p.path[binaries.Agnhost]), image.File{Path: "agnhost-2", Link: "agnhost"},
		image.File{Path: "localhost.crt", Mode: 0o644, Source: filepath.Join(p.agnhost, "porter", "localhost.crt")},
		image.File{Path: "localhost.key", Mode: 0o644, Source: filepath.Join(p.agnhost, "porter", "localhost.key")},
		image.File{Path: "uploads/", Mode: 0o755},
		image.File{Path: "etc/passwd", Mode: 0o644, Content: append(p.passwd, "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"...)},
		image.File{Path: "etc/group", Mode: 0o644, Content: append(p.group, "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"...)},
	)
	agnhostImage := func(name string, more ...*image.Layer) image.Image {
		return image.Image{
			Name: name, Layers: append(append(p.debian[:len(p.debian):len(p.debian)], agnhost), more...), WorkingDir: "/",
			Entrypoint: []string{"/agnhost"}, Command: []string{"pause"},
		}
	}
	for _, version := range []string{p.agnhostVersion, "2.55"} {
		images = append(images, agnhostImage("agnhost:"+version))
	}
	// A test that mounts the image of the kitten knows it by what upstream's is based on.
	release := image.File{Path: "etc/os-release", Mode: 0o644, Content: []byte("ID=debian\nPRETTY_NAME=\"Debian, standing in for Alpine Linux\"\n")}
	for _, animal := range []string{"kitten", "nautilus"} {
		html := filepath.Join(filepath.Dir(p.agnhost), animal, "html")
		images = append(images, agnhostImage(animal+":1.8", image.Files(
			image.File{Path: animal + ".jpg", Mode: 0o644, Source: filepath.Join(html, animal+".jpg")},
			image.File{Path: "data.json", Mode: 0o644, Source: filepath.Join(html, "data.json")},
			release,
		)))
		images[len(images)-1].Command = []string{"test-webserver"}
	}
	for _, version := range []string{"1.15-4", "1.27-0"} {
		images = append(images, image.Image{Name: "nginx:" + version, Layers: p.on(nginx...), Command: []string{"nginx", "-g", "daemon off;"}})
	}
	for i := range images {
		if !strings.Contains(images[i].Name, "/") {
			images[i].Name = tests + images[i].Name
		}
		images[i].Labels = map[string]string{label: images[i].Name}
		images[i].Environment = append(images[i].Environment, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return images, nil
}

// program is a file that can be executed.
func program(at, source string) image.File { return image.File{Path: at, Mode: 0o755, Source: source} }

// nginx is what has Debian's nginx behave as upstream's image: it serves the same
// directory, and says on its output what it does.
var nginx = []image.File{
	{Path: "etc/nginx/nginx.conf", Mode: 0o644, Content: []byte(`user www-data;
worker_processes auto;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	access_log /var/log/nginx/access.log combined;
	server {
		listen 80;
		server_name localhost;
		root /usr/share/nginx/html;
		index index.html;
	}
}
`)},
	{Path: "var/log/nginx/access.log", Link: "/dev/stdout"},
	{Path: "var/log/nginx/error.log", Link: "/dev/stderr"},
}
