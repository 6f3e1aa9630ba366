package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// build makes one program.
type build struct {
	program
	name, version, ldflags string
	// dir is the module that pins the program, target the file to be made,
	// lock the file that serializes builds.
	dir, target, lock string
}

// newBuild finds out what is to be built, and where to.
func newBuild(ctx context.Context, name string) (*build, error) {
	p, base, err := find(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := p.build(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", name, err)
	}
	return b, nil
}

func (p program) build(ctx context.Context, name string) (*build, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	b := &build{program: p, name: name, dir: pinsDir(repository, p.pins), lock: filepath.Join(cache, "build.lock")}
	var content []byte
	if content, b.version, err = readPins(b.dir, p.module); err != nil {
		return nil, err
	}
	b.ldflags = ldflags(p.versionPackage, b.version)
	if b.cgo {
		b.ldflags += " -linkmode=external -extldflags=-static"
	}

	sums, err := os.ReadFile(filepath.Join(b.dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	goVersion, err := goCommand(ctx, b.dir, "env", "GOVERSION", "GOOS", "GOARCH", "GOEXPERIMENT")
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(bytes.Join([][]byte{content, sums, goVersion, []byte(b.pkg), []byte(b.ldflags + b.tags)}, []byte{0}))
	b.target = filepath.Join(cache, fmt.Sprintf("%s-%s-%x", name, b.version, key[:6]), name)
	return b, nil
}

// readPins reads the go.mod of a directory, and the version of a module that it requires.
func readPins(dir, module string) (content []byte, version string, err error) {
	file := filepath.Join(dir, "go.mod")
	if content, err = os.ReadFile(file); err != nil {
		return nil, "", err
	}
	pins, err := modfile.Parse(file, content, nil)
	if err != nil {
		return nil, "", err
	}
	for _, require := range pins.Require {
		if require.Mod.Path == module {
			return content, require.Mod.Version, nil
		}
	}
	return nil, "", fmt.Errorf("%s does not require %s", file, module)
}

// ldflags leave symbols out and say the version, as the releases' builds do;
// clients and servers compare versions, so that it has to be right.
func ldflags(versionPackage, version string) string {
	flags := []string{"-s", "-w"}
	if versionPackage != "" {
		majorMinor := strings.Split(strings.TrimPrefix(semver.MajorMinor(version), "v"), ".")
		for variable, value := range map[string]string{
			"gitVersion": version, "gitMajor": majorMinor[0], "gitMinor": majorMinor[1], "gitTreeState": "clean",
		} {
			flags = append(flags, "-X="+versionPackage+"."+variable+"="+value)
		}
	}
	return strings.Join(slices.Sorted(slices.Values(flags)), " ")
}

func (b *build) done() bool {
	_, err := os.Stat(b.target)
	return err == nil
}

func (b *build) run(ctx context.Context, progress io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(b.target), 0o755); err != nil {
		return err
	}
	unlock, err := waitForLock(ctx, b.lock, func() {
		fmt.Fprintf(progress, "waiting for another build to end before building %s %s (lock %s)\n", b.name, b.version, b.lock)
	})
	if err != nil {
		return err
	}
	defer unlock()
	if b.done() {
		return nil // another process built it while we waited
	}

	// Made under another name, so that a broken-off build leaves nothing that
	// looks whole.
	unfinished := b.target + ".unfinished"
	var output bytes.Buffer
	command := []string{"build"}
	if b.tests {
		command = []string{"test", "-c"}
	}
	cmd := exec.CommandContext(ctx, "go", append(command, "-trimpath", "-buildvcs=false", "-tags", b.tags, "-ldflags", b.ldflags, "-o", unfinished, b.pkg)...)
	cmd.Dir = b.dir
	cmd.Env = Environment()
	if b.cgo {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	}
	cmd.Stdout, cmd.Stderr = &output, &output
	// The whole group: the compilers are go's children, not ours.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

	started := time.Now()
	fmt.Fprintf(progress, "building %s %s (once; it takes up to five minutes)\n", b.name, b.version)
	if err := Run(cmd, func() {
		fmt.Fprintf(progress, "building %s %s … %s\n", b.name, b.version, time.Since(started).Round(time.Second))
	}); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(output.Bytes()))
	}
	if err := os.Rename(unfinished, b.target); err != nil {
		return err
	}
	fmt.Fprintf(progress, "built %s %s in %s\n", b.name, b.version, time.Since(started).Round(time.Second))
	return nil
}
