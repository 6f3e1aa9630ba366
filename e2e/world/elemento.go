package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The default identity of our manager in an embedded world.
const (
	identityNamespace = "elemento-system"
	identityName      = "elemento-identity"
)

// Elemento says what of ours stands beside the management plane.
type Elemento struct {
	AtomOS
	// ManagerArgs are added to our manager's arguments.
	ManagerArgs []string
}

// startElemento starts AtomOS, the daemons and our manager, in this order. On an
// existing plane our manager is there already.
func (w *World) startElemento(ctx context.Context, o Elemento) error {
	if err := w.startAtomOS(ctx, o.AtomOS); err != nil {
		return err
	}
	if w.apiServer == nil {
		return nil
	}
	if err := w.startDaemons(ctx, o.AtomOS); err != nil {
		return err
	}
	fmt.Fprintln(w.progress, w.describe())
	return w.installElemento(ctx, o)
}

func (w *World) installElemento(ctx context.Context, o Elemento) error {
	repository, err := Repository(ctx)
	if err != nil {
		return err
	}
	program, err := w.ownProgram(ctx, "provider/cmd/manager")
	if err != nil {
		return err
	}
	if err := w.Install(ctx, Provider{
		Name:          ElementoProvider,
		Kustomization: filepath.Join(repository, "provider", "config", "default"),
		Program:       program,
		Args:          append([]string{"--default-identity=" + identityNamespace + "/" + identityName}, o.ManagerArgs...),
	}); err != nil {
		return err
	}
	if len(w.endpoints) > 0 {
		secret := w.IdentitySecret(identityNamespace, identityName)
		if err := w.client.Create(ctx, secret); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("making the manager's identity: %w", err)
		}
	}
	fmt.Fprintln(w.progress, "our manager")
	return nil
}

// ownProgram builds a program of this repository and returns its path. The go
// command's cache makes that quick where nothing changed.
func (w *World) ownProgram(ctx context.Context, pkg string) (string, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return "", err
	}
	target := w.state.path("bin", path.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", target, "./"+pkg)
	cmd.Dir = repository
	cmd.Env = buildEnv()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := runReporting(cmd, func() { fmt.Fprintf(w.progress, "building %s …\n", path.Base(pkg)) }); err != nil {
		return "", errors.Join(fmt.Errorf("building %s: %w\n%s", pkg, err, output.Bytes()), context.Cause(ctx))
	}
	return target, nil
}
