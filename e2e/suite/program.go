package suite

import (
	"flag"
	"fmt"
	"os"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// Program is a suite as a command.
type Program struct {
	// Name is that of its make target; its report goes to out/Name.
	Name string
	// Title is that of its report.
	Title string
	// AtomOS is what it acts on when nothing else is said.
	AtomOS world.AtomOS
	// NeedsFake says that it measures what a real AtomOS does not tell.
	NeedsFake bool
	// OwnWorld says that it breaks what it stands on, so that it does not run
	// against a plane or an AtomOS that are there already.
	OwnWorld bool
	// Recorded says that it keeps a history.
	Recorded bool
	// Lasts tells how long it may take, World changes what it stands on; both are
	// asked when the flags are known and may be nil.
	Lasts func() time.Duration
	World func(*world.Options)
	// Flags registers flags of its own, and Check says what is wrong with their
	// values; both may be nil.
	Flags func(*flag.FlagSet)
	Check func() error
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
	o := Options{NeedsFake: p.NeedsFake, OwnWorld: p.OwnWorld, Recorded: p.Recorded}
	o.Flags(flags, "out/"+p.Name, p.AtomOS)
	if p.Flags != nil {
		p.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.Check != nil {
		if err := p.Check(); err != nil {
			return err
		}
	}
	if p.Lasts != nil {
		o.Lasts = p.Lasts()
	}
	if p.World != nil {
		p.World(&o.World)
	}
	return Run(p.Title, Command(p.Name, args), o, p.Describe)
}
