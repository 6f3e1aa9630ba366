package node

import (
	"path"
	"strings"
)

// modeOf is the mode of a file of an image, which follows from where it is.
func modeOf(name string) int64 {
	if dir := path.Dir(name); strings.HasSuffix(dir, "/bin") || strings.HasSuffix(dir, "/libexec") {
		return 0o755
	}
	return 0o644
}
