package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Layer is one of the layers of an image: an archive of files, which is the same
// however often it is written. Images that share one are written with it once.
type Layer struct {
	write func(io.Writer) error
	// digest and size are known once it was measured.
	digest string
	size   int64
}

// File is one of a layer.
type File struct {
	// Path is where it is in the image, without a leading slash; that of a directory
	// ends in one.
	Path string
	Mode int64
	// Source is the path of its content on this machine, and Content that itself where
	// Source is empty. With Link it is a symbolic link to that instead.
	Source  string
	Content []byte
	Link    string
}

// Files is the layer of these files and of the directories that they are in. They are
// root's, and as old as time.
func Files(files ...File) *Layer {
	return &Layer{write: func(w io.Writer) error { return Archive(w, files...) }}
}

// Tar is the layer of an archive on this machine, which must not change meanwhile.
func Tar(path string) *Layer {
	return &Layer{write: func(w io.Writer) error {
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(w, in)
		return err
	}}
}

// Packed is the layer of an archive in memory.
func Packed(archive []byte) *Layer {
	return &Layer{write: func(w io.Writer) error {
		_, err := w.Write(archive)
		return err
	}}
}

// measure finds out what a layer is called and how large it is, by writing it.
func (l *Layer) measure() error {
	if l.digest != "" {
		return nil
	}
	sum := sha256.New()
	counted := &counter{w: sum}
	if err := l.write(counted); err != nil {
		return err
	}
	l.digest, l.size = hex.EncodeToString(sum.Sum(nil)), counted.n
	return nil
}

// name is that of its file in an archive of images.
func (l *Layer) name() string { return l.digest + ".tar" }

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Archive writes files, and the directories that they are in, as a tar archive.
func Archive(w io.Writer, files ...File) error {
	out := tar.NewWriter(w)
	made := map[string]bool{}
	for _, f := range files {
		for i, c := range f.Path {
			dir := f.Path[:i]
			if c != '/' || made[dir] {
				continue
			}
			made[dir] = true
			if i == len(f.Path)-1 {
				continue // it is there for itself
			}
			if err := out.WriteHeader(header(dir+"/", tar.TypeDir, 0o755, 0)); err != nil {
				return err
			}
		}
		if err := f.write(out); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return out.Close()
}

func (f File) write(out *tar.Writer) error {
	if strings.HasSuffix(f.Path, "/") {
		return out.WriteHeader(header(f.Path, tar.TypeDir, f.Mode, 0))
	}
	if f.Link != "" {
		h := header(f.Path, tar.TypeSymlink, 0o777, 0)
		h.Linkname = f.Link
		return out.WriteHeader(h)
	}
	var content io.Reader = strings.NewReader(string(f.Content))
	size := int64(len(f.Content))
	if f.Source != "" {
		in, err := os.Open(f.Source)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		content, size = in, info.Size()
	}
	if err := out.WriteHeader(header(f.Path, tar.TypeReg, f.Mode, size)); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

func header(name string, kind byte, mode, size int64) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: time.Unix(0, 0)}
}
