package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

func TestFilesAreTakenOutOfAnArchiveWhereverTheirDirectoryIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "debian.tar")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Archive(out,
		image.File{Path: "etc/passwd", Content: []byte("root")},
		image.File{Path: "bin", Link: "usr/bin"},
		image.File{Path: "usr/bin/busybox", Mode: 0o755, Content: []byte("a program")},
		image.File{Path: "usr/share/etc/passwd", Content: []byte("another")},
	); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := take(path, "etc/passwd", "bin/busybox")
	if err != nil || string(found["etc/passwd"]) != "root" || string(found["bin/busybox"]) != "a program" {
		t.Errorf("what is taken is %q, %v", found, err)
	}
	if _, err := take(path, "etc/passwd", "etc/group"); err == nil || !strings.Contains(err.Error(), "etc/group") {
		t.Errorf("what is not there is taken: %v", err)
	}
}

func TestBusyboxIsAskedWhatItCanBeCalledAs(t *testing.T) {
	t.Parallel()
	names, err := applets(t.Context(), []byte("#!/bin/sh\necho busybox\necho ls\necho env\n"))
	if err != nil || strings.Join(names, " ") != "ls env" {
		t.Errorf("its names are %q, %v", names, err)
	}
}
