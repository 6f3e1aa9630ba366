package world

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// mainModule is the module that this package belongs to.
const mainModule = "elemento.cloud/cluster-api-provider-elemento"

// The programs that a world is made of.
const (
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	Kubectl               = "kubectl"
	Clusterctl            = "clusterctl"
	clusterAPICore        = "cluster-api-core"
	kubeadmBootstrap      = "cluster-api-kubeadm-bootstrap"
	kubeadmControlPlane   = "cluster-api-kubeadm-control-plane"
)

// program says where a program's source is: which of the modules under
// binaries/ pins it, what package it is, and the module that gives it its version.
type program struct {
	pins, pkg, module string
	// versionPackage is where a version can be linked in, if anywhere.
	versionPackage string
	// installable programs are taken from KUBEBUILDER_ASSETS when they are there.
	installable bool
}

var programs = map[string]program{
	Etcd:                  {"etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", "", true},
	KubeAPIServer:         kubernetes("kube-apiserver"),
	KubeControllerManager: kubernetes("kube-controller-manager"),
	Kubectl:               kubernetes("kubectl"),
	Clusterctl:            clusterAPI("cmd/clusterctl"),
	clusterAPICore:        clusterAPI("core"),
	kubeadmBootstrap:      clusterAPI("bootstrap/kubeadm"),
	kubeadmControlPlane:   clusterAPI("controlplane/kubeadm"),
}

// Programs are the names of all programs that a world is made of.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

func kubernetes(command string) program {
	return program{"kubernetes", "k8s.io/kubernetes/cmd/" + command, "k8s.io/kubernetes", "k8s.io/component-base/version", true}
}

const clusterAPIModule = "sigs.k8s.io/cluster-api"

func clusterAPI(dir string) program {
	return program{"clusterapi", clusterAPIModule + "/" + dir, clusterAPIModule, clusterAPIModule + "/version", false}
}

// Binary returns the path of one of the programs named above. It takes etcd and
// Kubernetes' programs from the directory that KUBEBUILDER_ASSETS names, as far
// as they are there in the version that is pinned, and otherwise builds the program
// from Go modules: once, into the user's cache directory, under a name made of all
// that the result depends on. A build takes minutes and is announced on progress
// (nil for silence), as is a program that is not taken; builds wait for each other,
// in other processes too.
//
// It must be called from within the repository, and needs the go command.
func Binary(ctx context.Context, name string, progress io.Writer) (string, error) {
	if progress == nil {
		progress = io.Discard
	}
	p, ok := programs[name]
	if !ok {
		return "", fmt.Errorf("there is no program %q in a world; there are %s", name, strings.Join(Programs(), ", "))
	}
	b, err := newBuild(ctx, name, p)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" && p.installable {
		installed := filepath.Join(assets, name)
		if info, err := os.Stat(installed); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			if saysVersion(ctx, installed, b.version) {
				return installed, nil
			}
			fmt.Fprintf(progress, "%s is not %s, which is pinned; it is not used\n", installed, b.version)
		}
	}
	if b.done() {
		return b.target, nil
	}
	if err := b.run(ctx, progress); err != nil {
		return "", fmt.Errorf("building %s %s: %w", name, b.version, err)
	}
	return b.target, nil
}

// saysVersion tells whether a program says that it is of a version.
func saysVersion(ctx context.Context, program, version string) bool {
	args := []string{"--version"}
	if filepath.Base(program) == Kubectl {
		args = []string{"version", "--client"}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(said)), func(word string) bool {
		return strings.TrimPrefix(word, "v") == strings.TrimPrefix(version, "v")
	})
}

// build makes one program.
type build struct {
	name, version, pkg, ldflags string
	// dir is the module that pins the program, target the file to be made,
	// lock the file that serializes builds.
	dir, target, lock string
}

func newBuild(ctx context.Context, name string, p program) (*build, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	b := &build{name: name, pkg: p.pkg, dir: pinsDir(repository, p.pins), lock: filepath.Join(cache, "build.lock")}

	content, err := os.ReadFile(filepath.Join(b.dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	pins, err := modfile.Parse(filepath.Join(b.dir, "go.mod"), content, nil)
	if err != nil {
		return nil, err
	}
	for _, require := range pins.Require {
		if require.Mod.Path == p.module {
			b.version = require.Mod.Version
		}
	}
	if b.version == "" {
		return nil, fmt.Errorf("%s does not require %s", filepath.Join(b.dir, "go.mod"), p.module)
	}
	b.ldflags = ldflags(p.versionPackage, b.version)

	sums, err := os.ReadFile(filepath.Join(b.dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	goVersion, err := goCommand(ctx, b.dir, "env", "GOVERSION", "GOOS", "GOARCH", "GOEXPERIMENT")
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(bytes.Join([][]byte{content, sums, goVersion, []byte(b.pkg), []byte(b.ldflags)}, []byte{0}))
	b.target = filepath.Join(cache, fmt.Sprintf("%s-%s-%x", name, b.version, key[:6]), name)
	return b, nil
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
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", b.ldflags, "-o", unfinished, b.pkg)
	cmd.Dir = b.dir
	cmd.Env = buildEnv()
	cmd.Stdout, cmd.Stderr = &output, &output
	// The whole group: the compilers are go's children, not ours.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

	started := time.Now()
	fmt.Fprintf(progress, "building %s %s (once; it takes up to five minutes)\n", b.name, b.version)
	if err := runReporting(cmd, func() {
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

// runReporting runs cmd and calls report now and then.
func runReporting(cmd *exec.Cmd, report func()) error {
	if err := spawn(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			report()
		}
	}
}

// waitForLock takes the lock file at path, for as long as until unlock is
// called or the process ends; it calls waiting once if it has to wait.
func waitForLock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		if first {
			waiting()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

// Repository is the root of this repository, found from the working directory.
func Repository(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", mainModule)
	if err != nil {
		return "", fmt.Errorf("the working directory must be inside the repository of %s: %w", mainModule, err)
	}
	return string(bytes.TrimSpace(out)), nil
}

func pinsDir(repository, pins string) string {
	return filepath.Join(repository, "e2e", "world", "binaries", pins)
}

// moduleDir is the source of a module that one of the modules under binaries/
// requires; it is downloaded if need be.
func moduleDir(ctx context.Context, repository, pins, module string) (string, error) {
	out, err := goCommand(ctx, pinsDir(repository, pins), "mod", "download", "-json", module)
	if err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", module, err)
	}
	return found.Dir, nil
}

// goCommand runs the go command in dir and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = buildEnv()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// buildEnv builds static programs from exactly what go.mod and go.sum pin.
func buildEnv() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "PWD=")
}

func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep built programs: %w; set XDG_CACHE_HOME", err)
	}
	cache = filepath.Join(cache, "cluster-api-provider-elemento", runtime.GOOS+"-"+runtime.GOARCH)
	return cache, os.MkdirAll(cache, 0o755)
}
