package node

import (
	"context"
	"fmt"
	"io"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
)

// prune removes images of nodes that were replaced, and stages that no image of a node
// of the repository stands on. What a container has is left, which is said on progress.
func prune(ctx context.Context, repository string, progress io.Writer) error {
	if _, err := docker.Run(ctx, nil, "image", "prune", "--force", "--filter=label="+nodeLabel); err != nil {
		return err
	}
	nodes, err := layersOf(ctx, repository)
	if err != nil {
		return err
	}
	stages, err := layersOf(ctx, repository+"-*")
	if err != nil {
		return err
	}
	for stage, layers := range stages {
		if needed(layers, nodes) {
			continue
		}
		if _, err := docker.Run(ctx, nil, "image", "rm", stage); err != nil {
			fmt.Fprintf(progress, "%s is needed no more, but not removed: %v\n", stage, err)
		}
	}
	return nil
}

// needed tells whether a stage is part of one of the images.
func needed(stage string, images map[string]string) bool {
	for _, layers := range images {
		if strings.HasPrefix(layers, stage) {
			return true
		}
	}
	return false
}

// layersOf are the layers of images, by the images' names.
func layersOf(ctx context.Context, reference string) (map[string]string, error) {
	names, err := docker.Run(ctx, nil, "image", "ls", "--filter=reference="+reference, "--format={{.Repository}}:{{.Tag}}")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for name := range strings.FieldsSeq(names) {
		layers, err := docker.Run(ctx, nil, "image", "inspect", "--format={{range .RootFS.Layers}}{{.}} {{end}}", name)
		if err != nil {
			return nil, err
		}
		found[name] = layers
	}
	return found, nil
}
