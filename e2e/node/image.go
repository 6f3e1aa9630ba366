package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// podImage is an image for pods: one program, with tools beside it where it needs them.
type podImage struct {
	// name is its name with a tag.
	name string
	// program is the path of the program on this machine, at where it is in the image.
	program, at string
	// entrypoint has the program started without a command.
	entrypoint bool
	// network has the tools beside it that set up a network (see [networkTools]).
	network bool
}

// pod is the image; tools are those beside its program where it needs them.
func (i podImage) pod(tools *image.Layer) image.Image {
	made := i.settings()
	if i.network {
		made.Layers = append(made.Layers, tools)
	}
	made.Layers = append(made.Layers, image.Files(i.files()...))
	return made
}

// settings are the image without what it holds.
func (i podImage) settings() image.Image {
	made := image.Image{
		Name: i.name, WorkingDir: "/",
		Environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if i.entrypoint {
		made.Entrypoint = []string{"/" + i.at}
	}
	return made
}

// files are what it holds besides tools.
func (i podImage) files() []image.File {
	return []image.File{{Path: i.at, Mode: 0o755, Source: i.program}, {Path: "tmp/.keep", Mode: 0o644}}
}

// input is all that decides what the image is, but for the tools.
func (i podImage) input() string {
	return fmt.Sprintf("%+v %+v %t", i.settings(), i.files(), i.network)
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
