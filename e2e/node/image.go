package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"runtime"
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

// write writes the image as an archive that containerd takes; tools are those beside
// its program where it needs them.
func (i podImage) write(w io.Writer, tools []byte) error {
	var own bytes.Buffer
	if err := archive(&own, file{path: i.at, mode: 0o755, source: i.program}, file{path: "tmp/.keep", mode: 0o644}); err != nil {
		return err
	}
	layers := [][]byte{own.Bytes()}
	if i.network {
		layers = [][]byte{tools, own.Bytes()}
	}
	var (
		files  []file
		diffs  []string
		stored []string
	)
	for _, layer := range layers {
		name := digest(layer) + ".tar"
		diffs, stored = append(diffs, "sha256:"+digest(layer)), append(stored, name)
		files = append(files, file{path: name, mode: 0o644, content: layer})
	}
	config := map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "WorkingDir": "/"}
	if i.entrypoint {
		config["Entrypoint"] = []string{"/" + i.at}
	}
	description, err1 := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	described := digest(description) + ".json"
	manifest, err2 := json.Marshal([]any{map[string]any{"Config": described, "RepoTags": []string{i.name}, "Layers": stored}})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return archive(w, append(files,
		file{path: described, mode: 0o644, content: description},
		file{path: "manifest.json", mode: 0o644, content: manifest})...)
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
