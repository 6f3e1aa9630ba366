package node

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	guests "elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// Network is the manifest of a pod network whose images are in the node image. Its
// addresses of pods and of services are the templates' defaults.
//
//go:embed cni.yaml
var Network string

// Build makes the image with a version of Kubernetes, one of those that
// e2e/binaries pins, as far as it is not there, and returns its name. A
// Docker Engine must answer. It takes some 20 minutes of two cores where nothing was
// built before, and a minute where only Kubernetes is another version; it says on
// progress what it does. What it has made earlier and no image needs any more is removed.
func Build(ctx context.Context, version string, progress io.Writer) (string, error) {
	stages, err := stages(ctx, version, progress)
	if err != nil {
		return "", err
	}
	unlock, err := binaries.Lock(ctx, "node-image", func() { fmt.Fprintln(progress, "waiting for another node image to be made") })
	if err != nil {
		return "", err
	}
	defer unlock()
	image, inputs := "", ""
	for _, s := range stages {
		sum := sha256.Sum256([]byte(strings.Join(append([]string{inputs}, s.inputs...), "\x00")))
		inputs = fmt.Sprintf("%x", sum[:6])
		made := fmt.Sprintf("%s-%s:%s", guests.NodeRepository, s.name, inputs)
		there, err := docker.HasImage(ctx, made)
		if err != nil {
			return "", err
		}
		if !there {
			fmt.Fprintf(progress, "making %s: %s\n", made, s.about)
			if err := s.make(ctx, image, made); err != nil {
				return "", fmt.Errorf("making %s: %w", made, err)
			}
		}
		image = made
	}
	// The engine's cache makes this nothing where it is the same image.
	if err := docker.Pipe(ctx, strings.NewReader("FROM "+image+"\n"+start), nil, "build", "--tag", guests.NodeImage(version), "-"); err != nil {
		return "", err
	}
	return guests.NodeImage(version), prune(ctx, guests.NodeRepository, progress)
}

// nodeLabel is on the images of nodes, so that those that were replaced are known.
const nodeLabel = "cloud.elemento.node"

// start says how a container of the image starts and ends.
const start = `
LABEL ` + nodeLabel + `=
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
`

// stage is one layer of the image. The rarest to change come first.
type stage struct {
	name, about string
	// inputs are all that decides what comes out of it.
	inputs []string
	// make makes the image to of the image from, which is empty for the first stage.
	make func(ctx context.Context, from, to string) error
}

// stages are what the image is made of.
func stages(ctx context.Context, version string, progress io.Writer) ([]stage, error) {
	parts, err := findParts(ctx, version, progress)
	if err != nil {
		return nil, err
	}
	last, err := settingsStage(ctx, parts)
	return []stage{debianStage(progress), runtimeStage(parts), kubernetesStage(parts), last}, err
}
