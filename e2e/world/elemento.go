package world

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// The default identity of our manager in an embedded world.
const (
	identityNamespace = "elemento-system"
	identityName      = "elemento-identity"
)

// Elemento says what of ours stands beside the management plane.
type Elemento struct {
	AtomOS
	// DaemonSettings are those with which the daemons start; see [World.SetDaemons].
	DaemonSettings DaemonSettings
	// ManagerArgs are added to our manager's arguments.
	ManagerArgs []string
	// Managers is how many of our manager there are, 1 by default. Of several one
	// acts at a time, by leader election; see [ManagerProcess] and [World.Leader].
	// A leader that loses the API server ends, as it does in a cluster: set
	// Options.Respawn where that is to happen.
	Managers int
	// Proxied has our managers reach the daemons, and each daemon the hosts, by
	// ways that can be cut; see [World.Partition].
	Proxied bool
	// Overlay is other content for files of this repository, by their path in it,
	// from which our programs are built instead: mutants, that the tree knows
	// nothing of.
	Overlay map[string]string

	// twinOf is the world whose hosts and daemons these are.
	twinOf *World
}

// startElemento starts AtomOS, the daemons and our manager, in this order. On an
// existing plane our manager is there already.
func (w *World) startElemento(ctx context.Context, o Elemento) (err error) {
	if w.overlay, err = w.writeOverlay(ctx, o.Overlay); err != nil {
		return err
	}
	if o.twinOf != nil {
		w.share(o.twinOf)
	} else if err := w.startAtomOS(ctx, o.AtomOS); err != nil {
		return err
	}
	if !w.ours {
		return nil
	}
	if o.twinOf == nil {
		if err := w.startDaemons(ctx, o); err != nil {
			return err
		}
	}
	fmt.Fprintln(w.progress, w.describe())
	return w.installElemento(ctx, o)
}

func (w *World) installElemento(ctx context.Context, o Elemento) error {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	program, err := w.ownProgram(ctx, "provider/cmd/manager")
	if err != nil {
		return err
	}
	args := []string{"--default-identity=" + identityNamespace + "/" + identityName}
	if w.historyDir != "" {
		args = append(args, "--logging-format=json", "-v=4")
	}
	if err := w.Install(ctx, Provider{
		Name:          ElementoProvider,
		Kustomization: filepath.Join(repository, "provider", "config", "default"),
		Program:       program,
		Args:          append(args, o.ManagerArgs...),
		Replicas:      o.Managers,
		Log:           w.historyLog(ElementoProvider, "manager.log"),
	}); err != nil {
		return err
	}
	if len(w.daemons) > 0 {
		secret := w.IdentitySecret(identityNamespace, identityName)
		if err := w.client.Create(ctx, secret); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("making the manager's identity: %w", err)
		}
	}
	fmt.Fprintln(w.progress, "our manager")
	return nil
}

// ownProgram builds a program of this repository and returns its path.
func (w *World) ownProgram(ctx context.Context, pkg string) (string, error) {
	target := w.state.path("bin", path.Base(pkg))
	return target, w.build(ctx, pkg, target)
}

// build builds a program of this repository as the file target, with more flags of the go
// command's.
func (w *World) build(ctx context.Context, pkg, target string, flags ...string) error {
	if w.overlay != "" {
		flags = append(flags, "-overlay", w.overlay)
	}
	return binaries.Own(ctx, pkg, target, binaries.Way{Flags: flags, Progress: w.progress})
}

// writeOverlay writes down for the go command which files have other content, and
// returns where; nowhere when none has.
func (w *World) writeOverlay(ctx context.Context, contents map[string]string) (string, error) {
	if len(contents) == 0 {
		return "", nil
	}
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, content := range contents {
		file := filepath.Join(repository, filepath.FromSlash(name))
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("overlay: give paths of files that are there, from the root of the repository: %w", err)
		}
		if replace[file], err = w.state.write(filepath.Join("overlay", filepath.FromSlash(name)), []byte(content)); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return w.state.write("overlay.json", overlay)
}
