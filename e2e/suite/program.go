package suite

import (
	"cmp"
	"flag"
	"fmt"
	"os"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// Program is a suite as a command.
type Program struct {
	// Name is that of its make target, see [Options.Target]; its report goes to
	// out/Name.
	Name string
	// Title is that of its report, by which a sign-off tells suites apart; see
	// [Options.Title].
	Title string
	// AtomOS is what it acts on when nothing else is said.
	AtomOS world.AtomOS
	// NeedsFake says that it measures what a real AtomOS does not tell.
	NeedsFake bool
	// PodNetwork says that it gives its clusters a pod network, so that guests may be
	// containers.
	PodNetwork bool
	// OwnWorld says that it breaks what it stands on, so that it does not run
	// against a plane or an AtomOS that are there already.
	OwnWorld bool
	// Recorded says that it keeps a history.
	Recorded bool
	// Flags registers flags of its own. Prepare says what is wrong with their values,
	// and what they change of the options. Both may be nil.
	Flags   func(*flag.FlagSet)
	Prepare func(*Options) error
	// Variables are those by which make gives it flags of its own, by the flag; empty for
	// a flag that takes no value and that a make target always gives.
	Variables map[string]string
	// Describe describes its specs.
	Describe func(*Site)
}

// Main is the main function of the program.
func (p Program) Main() {
	if err := p.run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, p.Name+":", err)
		os.Exit(1)
	}
}

func (p Program) run(args []string) error {
	flags := flag.NewFlagSet(p.Name, flag.ExitOnError)
	o := Options{NeedsFake: p.NeedsFake, PodNetwork: p.PodNetwork, OwnWorld: p.OwnWorld, Recorded: p.Recorded}
	o.Flags(flags, "out/"+p.Name, p.AtomOS)
	if p.Flags != nil {
		p.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.Prepare != nil {
		if err := p.Prepare(&o); err != nil {
			return err
		}
	}
	return Run(cmp.Or(o.Title, p.Title), command(cmp.Or(o.Target, p.Name), p.Variables, args), o, p.Describe)
}
