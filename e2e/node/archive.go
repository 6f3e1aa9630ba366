package node

import (
	"archive/tar"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// file is one of an image: what is at source on this machine, or content.
type file struct {
	// path is where it is in the image, without a leading slash.
	path    string
	mode    int64
	source  string
	content []byte
}

// archive writes files as a tar archive, with the directories that they are in.
func archive(w io.Writer, files ...file) error {
	t := tar.NewWriter(w)
	var made []string
	for _, f := range files {
		for i, c := range f.path {
			dir := f.path[:i]
			if c != '/' || slices.Contains(made, dir) {
				continue
			}
			made = append(made, dir)
			if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return err
			}
		}
		if err := f.write(t); err != nil {
			return err
		}
	}
	return t.Close()
}

func (f file) write(t *tar.Writer) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content))}
	if f.source == "" {
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		_, err := t.Write(f.content)
		return err
	}
	content, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(t, content)
	return err
}

// modeOf is the mode of a file of an image, which follows from where it is.
func modeOf(name string) int64 {
	if dir := path.Dir(name); strings.HasSuffix(dir, "/bin") || strings.HasSuffix(dir, "/libexec") {
		return 0o755
	}
	return 0o644
}
