package node

import (
	"crypto/sha256"
	"encoding/hex"

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
	own := image.Files(
		image.File{Path: i.at, Mode: 0o755, Source: i.program},
		image.File{Path: "tmp/.keep", Mode: 0o644})
	made := image.Image{
		Name: i.name, Layers: []*image.Layer{own}, WorkingDir: "/",
		Environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if i.network {
		made.Layers = []*image.Layer{tools, own}
	}
	if i.entrypoint {
		made.Entrypoint = []string{"/" + i.at}
	}
	return made
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
