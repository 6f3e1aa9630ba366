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
	i := Program("example.com/a:v1", program)
	i.Architecture = "arm64"
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
		"no name":    Program("", os.Args[0]),
		"no program": Program("example.com/a:v1", filepath.Join(t.TempDir(), "none")),
	} {
		if err := i.Write(io.Discard); err == nil {
			t.Errorf("%s: an image is made", what)
		}
	}
}

func TestImagesShareTheirLayers(t *testing.T) {
	t.Parallel()
	base := Files(File{Path: "bin/sh", Mode: 0o755, Content: []byte("a shell")}, File{Path: "bin/ls", Link: "sh"}, File{Path: "tmp/", Mode: 0o1777})
	tarred := filepath.Join(t.TempDir(), "layer.tar")
	out, err := os.Create(tarred)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Archive(out, File{Path: "a/b", Content: []byte("b")}), out.Close()); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := Write(&archive,
		Image{Name: "example.com/a:v1", Layers: []*Layer{base, Tar(tarred)}, Command: []string{"sh"}},
		Image{Name: "example.com/b:v1", Layers: []*Layer{base}, Environment: []string{"A=b"}},
	); err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for in := tar.NewReader(bytes.NewReader(archive.Bytes())); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names[filepath.Ext(header.Name)]++
	}
	if names[".tar"] != 2 || names[".json"] != 3 {
		t.Errorf("two images of two layers make the files %v", names)
	}
	files := unpacked(t, archive.Bytes())
	var manifest []struct{ Layers []string }
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 2 || len(manifest[0].Layers) != 2 || len(manifest[1].Layers) != 1 || manifest[0].Layers[0] != manifest[1].Layers[0] {
		t.Fatalf("the manifest is %+v", manifest)
	}
	for _, header := range headers(t, files[manifest[1].Layers[0]]) {
		switch header.Name {
		case "bin/":
		case "tmp/":
			if header.Mode != 0o1777 || header.Typeflag != tar.TypeDir {
				t.Errorf("the directory is %+v", header)
			}
		case "bin/sh":
			if header.Mode != 0o755 {
				t.Errorf("the shell has the mode %o", header.Mode)
			}
		case "bin/ls":
			if header.Typeflag != tar.TypeSymlink || header.Linkname != "sh" {
				t.Errorf("the link is %+v", header)
			}
		default:
			t.Errorf("there is %s", header.Name)
		}
	}
}

func headers(t *testing.T, archive []byte) (all []*tar.Header) {
	t.Helper()
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, header)
	}
}
