package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

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
	// nothing of. [Overlay] makes it of edits.
	Overlay map[string]string

	// twinOf is the world whose hosts and daemons these are.
	twinOf *World
}

// startElemento starts AtomOS, the daemons and our manager, in this order. On an
// existing plane our manager is there already.
func (w *World) startElemento(ctx context.Context, o Elemento) (err error) {
	if w.overlay, err = w.writeOverlay(ctx, "world", o.Overlay); err != nil {
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

// ManagerSettings are what may be varied of our manager. The zero value is that with
// which it was started first.
type ManagerSettings struct {
	// Args are added to its arguments; of a flag that is given twice the last one counts.
	Args []string
	// Overlay is other content for files of this repository, as Elemento.Overlay is, in
	// the place of that one.
	Overlay map[string]string
}

// SetManager starts our manager again with other settings, or each of several, and
// returns when it is ready. As long as another program is built it goes on as it is.
func (w *World) SetManager(ctx context.Context, settings ManagerSettings) error {
	program, err := w.overlaidManager(ctx, settings.Overlay)
	if err != nil {
		return err
	}
	for n := 1; w.managers[ManagerProcess(n)] != nil; n++ {
		first := w.managers[ManagerProcess(n)].Process
		if first == nil {
			return errors.New("our manager is started with other settings on an embedded plane only")
		}
		command := first.Command
		command.Args = slices.Concat(command.Args, settings.Args)
		command.Path = cmp.Or(program, command.Path)
		if err := w.Process(command.Name).Stop(ctx); err != nil {
			return err
		}
		p, err := w.processes.replace(command)
		if err != nil {
			return err
		}
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// overlaidManager builds our manager from other content, and returns its path; none
// where there is none.
func (w *World) overlaidManager(ctx context.Context, contents map[string]string) (string, error) {
	overlay, err := w.writeOverlay(ctx, "manager", contents)
	if err != nil || overlay == "" {
		return "", err
	}
	target := w.state.path("bin", "manager-overlaid")
	return target, w.build(ctx, "provider/cmd/manager", target, "-overlay", overlay)
}

// ownProgram builds a program of this repository and returns its path.
func (w *World) ownProgram(ctx context.Context, pkg string) (string, error) {
	target := w.state.path("bin", path.Base(pkg))
	return target, w.build(ctx, pkg, target)
}

// build builds a program of this repository as the file target, with more flags of the go
// command's.
func (w *World) build(ctx context.Context, pkg, target string, flags ...string) error {
	if w.overlay != "" { // of two the last one counts
		flags = append([]string{"-overlay", w.overlay}, flags...)
	}
	return binaries.Own(ctx, pkg, target, binaries.Way{Flags: flags, Progress: w.progress})
}
