package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// unpacked are the files of an archive.
func unpacked(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnImageHoldsItsProgramAndNothingElse(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	i := Image{Name: "example.com/a:v1", Program: program, Architecture: "arm64"}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := i.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same program makes two archives")
	}
	files := unpacked(t, first.Bytes())
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != i.Name {
		t.Fatalf("the manifest is %+v", manifest)
	}
	var config struct {
		Architecture, OS string
		Config           struct {
			User       string
			Entrypoint []string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	sum := sha256.Sum256(layer)
	if got := config.RootFS.DiffIDs; len(got) != 1 || got[0] != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("the layers' digests are %q", got)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Config.User != "65532:65532" {
		t.Errorf("the configuration is %+v", config)
	}
	within := unpacked(t, layer)
	if len(within) != 1 || string(within["manager"]) != "a program" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/manager" {
		t.Errorf("it holds %q and starts %q", within, config.Config.Entrypoint)
	}
}

func TestAnImageWithoutAProgramIsRefused(t *testing.T) {
	t.Parallel()
	for what, i := range map[string]Image{
		"no name":    {Program: os.Args[0]},
		"no program": {Name: "example.com/a:v1", Program: filepath.Join(t.TempDir(), "none")},
	} {
		if err := i.Write(io.Discard); err == nil {
			t.Errorf("%s: an image is made", what)
		}
	}
}
