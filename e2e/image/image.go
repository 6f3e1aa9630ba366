// Package image makes container images that hold one static program and nothing
// else, without a container engine, a registry or a base image.
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
	"os"
	"runtime"
	"time"
)

// user is who the programs run as: the one that is called nonroot in images without
// a distribution.
const user = "65532:65532"

// Image is a program as a container image.
type Image struct {
	// Name is its name with a tag.
	Name string
	// Program is the path of the program, a static one for Architecture. In the image
	// it is /manager, which the Deployments of Cluster API's providers call.
	Program string
	// Architecture is Go's name of the processor; this machine's when empty.
	Architecture string
}

// entrypoint is where the program lies in the image.
const entrypoint = "manager"

// Write writes the image as an archive that `docker load`, `ctr images import` and
// kind take. The same program makes the same archive.
func (i Image) Write(w io.Writer) error {
	if err := i.write(w); err != nil {
		return fmt.Errorf("making the image %s: %w", i.Name, err)
	}
	return nil
}

func (i Image) write(w io.Writer) error {
	if i.Name == "" {
		return errors.New("it has no name")
	}
	program, err := os.ReadFile(i.Program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	if err := archive(&layer, file{entrypoint, program, 0o755}); err != nil {
		return err
	}
	architecture := i.Architecture
	if architecture == "" {
		architecture = runtime.GOARCH
	}
	config, err := json.Marshal(map[string]any{
		"architecture": architecture,
		"os":           "linux",
		"config":       map[string]any{"User": user, "Entrypoint": []string{"/" + entrypoint}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", digest(layer.Bytes())+".tar"
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{i.Name}, "Layers": []string{layerName},
	}})
	if err != nil {
		return err
	}
	return archive(w, file{configName, config, 0o644}, file{layerName, layer.Bytes(), 0o644}, file{"manifest.json", manifest, 0o644})
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

type file struct {
	name    string
	content []byte
	mode    int64
}

// archive writes files that are nobody's in particular and as old as time.
func archive(w io.Writer, files ...file) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(f.content); err != nil {
			return err
		}
	}
	return out.Close()
}
