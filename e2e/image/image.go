// Package image makes container images, without a container engine, a registry or a
// base image that somebody else has made.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// Image is a container image.
type Image struct {
	// Name is its name with a tag.
	Name string
	// Layers are what it holds, the lowest first.
	Layers []*Layer
	// Entrypoint and Command are what it runs, Environment is NAME=value.
	Entrypoint, Command, Environment []string
	// User is who runs it, root when empty, and WorkingDir where.
	User, WorkingDir string
	// Labels tell about it.
	Labels map[string]string
	// Architecture is Go's name of the processor; this machine's when empty.
	Architecture string
}

// nonroot is who the programs of [Program] run as: the one that is called so in images
// without a distribution.
const nonroot = "65532:65532"

// manager is where the program lies in the images of [Program].
const manager = "manager"

// Program is the image that holds the static program at a path of this machine and
// nothing else. There it is /manager, which the Deployments of Cluster API's providers
// call, and runs as nobody in particular.
func Program(name, path string) Image {
	return Image{
		Name: name, Layers: []*Layer{Files(File{Path: manager, Mode: 0o755, Source: path})},
		Entrypoint: []string{"/" + manager}, User: nonroot,
	}
}

// Write writes the image as an archive that `docker load`, `ctr images import` and
// kind take. The same content makes the same archive.
func (i Image) Write(w io.Writer) error { return Write(w, i) }

// Write writes several images as one archive, in which what they share is once.
func Write(w io.Writer, images ...Image) error {
	out := tar.NewWriter(w)
	var manifest []entry
	written := map[string]bool{}
	for _, i := range images {
		e, err := i.write(out, written)
		if err != nil {
			return fmt.Errorf("making the image %s: %w", i.Name, err)
		}
		manifest = append(manifest, e)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := put(out, "manifest.json", content); err != nil {
		return err
	}
	return out.Close()
}

// entry is what an archive says about an image in it.
type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// write writes what was not written yet of an image.
func (i Image) write(out *tar.Writer, written map[string]bool) (entry, error) {
	e := entry{RepoTags: []string{i.Name}}
	if i.Name == "" {
		return e, errors.New("it has no name")
	}
	for _, l := range i.Layers {
		if err := l.measure(); err != nil {
			return e, err
		}
		e.Layers = append(e.Layers, l.name())
		if written[l.digest] {
			continue
		}
		written[l.digest] = true
		if err := out.WriteHeader(header(l.name(), tar.TypeReg, 0o644, l.size)); err != nil {
			return e, err
		}
		if err := l.write(out); err != nil {
			return e, err
		}
	}
	config, err := i.describe()
	if err != nil {
		return e, err
	}
	sum := sha256.Sum256(config)
	e.Config = hex.EncodeToString(sum[:]) + ".json"
	return e, put(out, e.Config, config)
}

// describe tells what runs in the image and how, as runtimes read it. Its layers have
// been measured.
func (i Image) describe() ([]byte, error) {
	type settings struct {
		User       string            `json:",omitempty"`
		Entrypoint []string          `json:",omitempty"`
		Cmd        []string          `json:",omitempty"`
		Env        []string          `json:",omitempty"`
		WorkingDir string            `json:",omitempty"`
		Labels     map[string]string `json:",omitempty"`
	}
	architecture := i.Architecture
	if architecture == "" {
		architecture = runtime.GOARCH
	}
	diffs := []string{}
	for _, l := range i.Layers {
		diffs = append(diffs, "sha256:"+l.digest)
	}
	return json.Marshal(map[string]any{
		"architecture": architecture,
		"os":           "linux",
		"config": settings{
			User: i.User, Entrypoint: i.Entrypoint, Cmd: i.Command, Env: i.Environment, WorkingDir: i.WorkingDir, Labels: i.Labels,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
}

func put(out *tar.Writer, name string, content []byte) error {
	if err := out.WriteHeader(header(name, tar.TypeReg, 0o644, int64(len(content)))); err != nil {
		return err
	}
	_, err := io.Copy(out, bytes.NewReader(content))
	return err
}
