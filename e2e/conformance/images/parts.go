package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/debian"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// packages are what the images have of Debian, all of them: the tools that tests call in
// agnhost, nginx, and busybox with a shell, which are an image of their own besides.
var packages = []string{"bash-static", "bind9-dnsutils", "busybox-static", "ca-certificates", "curl", "iperf", "iproute2", "netcat-openbsd", "nginx", "procps", "wget"}

// shell is the shell of the busybox image.
//
//go:embed files/sh
var shell []byte

// parts are what the images are made of.
type parts struct {
	// path are the programs.
	path map[string]string
	// The versions that are pinned, and the directory of agnhost's source.
	sonobuoy, kubernetes, sampleAPIServer, agnhostVersion, agnhost string
	// debian and busybox are the layers of both.
	debian, busybox []*image.Layer
	// passwd and group are Debian's.
	passwd, group []byte
}

// on are layers in which files are on Debian.
func (p *parts) on(files ...image.File) []*image.Layer {
	return append(p.debian[:len(p.debian):len(p.debian)], image.Files(files...))
}

func findParts(ctx context.Context, progress io.Writer) (*parts, error) {
	p := &parts{path: map[string]string{}}
	for _, name := range []string{
		binaries.Sonobuoy, binaries.E2ETest, binaries.Ginkgo, binaries.ConformanceRunner, binaries.Kubectl,
		binaries.Agnhost, binaries.Nonewprivs, binaries.SampleAPIServer,
	} {
		var err error
		if p.path[name], err = binaries.Build(ctx, name, progress); err != nil {
			return nil, err
		}
	}
	for version, name := range map[*string]string{
		&p.sonobuoy: binaries.Sonobuoy, &p.kubernetes: binaries.E2ETest, &p.sampleAPIServer: binaries.SampleAPIServer,
	} {
		var err error
		if *version, err = binaries.Version(ctx, name); err != nil {
			return nil, err
		}
	}
	source, err := binaries.Source(ctx, binaries.Agnhost)
	if err != nil {
		return nil, err
	}
	p.agnhost = filepath.Join(source, "test", "images", "agnhost")
	version, err := os.ReadFile(filepath.Join(p.agnhost, "VERSION"))
	if err != nil {
		return nil, err
	}
	p.agnhostVersion = strings.TrimSpace(string(version))
	return p, p.findDebian(ctx, progress)
}

// findDebian installs Debian as far as it was not, and takes from it what is wanted apart.
func (p *parts) findDebian(ctx context.Context, progress io.Writer) error {
	archive, err := debianArchive(ctx, progress)
	if err != nil {
		return err
	}
	found, err := take(archive, "etc/passwd", "etc/group", "bin/busybox", "bin/bash-static")
	if err != nil {
		return err
	}
	p.passwd, p.group = found["etc/passwd"], found["etc/group"]
	p.debian = []*image.Layer{image.Tar(archive), image.Files(image.File{Path: "usr/bin/sh", Link: "bash"})}
	applets, err := applets(ctx, found["bin/busybox"])
	if err != nil {
		return err
	}
	files := []image.File{
		{Path: "bin/busybox", Mode: 0o755, Content: found["bin/busybox"]},
		{Path: "bin/bash", Mode: 0o755, Content: found["bin/bash-static"]},
		{Path: "bin/sh", Mode: 0o755, Content: shell},
		{Path: "etc/passwd", Mode: 0o644, Content: p.passwd},
		{Path: "etc/group", Mode: 0o644, Content: p.group},
		{Path: "tmp/", Mode: 0o1777}, {Path: "root/", Mode: 0o700}, {Path: "var/spool/mail/", Mode: 0o755}, {Path: "home/", Mode: 0o755},
	}
	for _, name := range applets {
		if name == "sh" {
			continue // it is ours
		}
		files = append(files, image.File{Path: "bin/" + name, Link: "busybox"})
	}
	p.busybox = []*image.Layer{image.Files(files...)}
	return nil
}

// debianArchive is the path of an archive of Debian with the packages, which is made once.
func debianArchive(ctx context.Context, progress io.Writer) (_ string, err error) {
	cache, err := binaries.Cache()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(debian.Inputs(packages...), "\x00")))
	target := filepath.Join(cache, fmt.Sprintf("debian-%x.tar", sum[:6]))
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	fmt.Fprintf(progress, "making %s: Debian %s with what conformance tests use, a few minutes\n", target, debian.Suite)
	// Under a name of its own, so that what was broken off does not look whole.
	out, err := os.CreateTemp(cache, "debian-*.unfinished")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	err = errors.Join(debian.Archive(ctx, out, progress, packages...), out.Close())
	if err != nil {
		return "", err
	}
	return target, os.Rename(out.Name(), target)
}

// take reads files out of an archive.
func take(archive string, names ...string) (map[string][]byte, error) {
	in, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	found := map[string][]byte{}
	for files := tar.NewReader(in); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", archive, err)
		}
		name := path.Clean(header.Name)
		for _, wanted := range names {
			// Directories such as /bin may be links to those below /usr.
			if name == wanted || name == "usr/"+wanted {
				if found[wanted], err = io.ReadAll(files); err != nil {
					return nil, fmt.Errorf("reading %s of %s: %w", name, archive, err)
				}
			}
		}
	}
	for _, name := range names {
		if len(found[name]) == 0 {
			return nil, fmt.Errorf("there is no %s in %s", name, archive)
		}
	}
	return found, nil
}

// applets asks busybox what it can be called as.
func applets(ctx context.Context, busybox []byte) ([]string, error) {
	dir, err := os.MkdirTemp("", "elemento-busybox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "busybox")
	if err := os.WriteFile(program, busybox, 0o700); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking busybox for its applets: %w", err)
	}
	var names []string
	for name := range bytes.FieldsSeq(out) {
		if string(name) != "busybox" {
			names = append(names, string(name))
		}
	}
	return names, nil
}
