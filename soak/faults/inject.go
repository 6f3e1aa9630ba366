package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// Injector carries a plan out.
type Injector struct {
	World *world.World
	// Workers are the names of the VMs of which one may vanish: workers whose node
	// has joined, so that what they are can be replaced; none where nobody can tell.
	Workers func(context.Context) []string
	// Told, which may be nil, is told of each event that has begun, and what it has
	// befallen.
	Told func(do Action, what string)
}

// chance is what an action has in hand.
type chance struct {
	*Injector
	rand *rand.Rand
}

// action is what is behind an [Action].
type action struct {
	// lasts tells that it is undone after a while.
	lasts bool
	// do does it, says what it has done, and returns how it is undone. It does
	// nothing and says nothing where there is nothing to befall.
	do func(context.Context, chance) (what string, undo func(context.Context) error, err error)
}

// actions has an entry for every Action.
var actions = map[Action]action{
	CrashVM:       {do: crashVM},
	VanishVM:      {do: vanishVM},
	ChangeVM:      {do: changeVM},
	HostDown:      {lasts: true, do: onHost("loses power", (*fakeatomos.Control).Down, (*fakeatomos.Control).Up)},
	HostIsolated:  {lasts: true, do: onHost("does not answer", (*fakeatomos.Control).Isolate, (*fakeatomos.Control).Reconnect)},
	HostSlow:      {lasts: true, do: onHost("is slow", slow(500*time.Millisecond), slow(0))},
	HostFull:      {lasts: true, do: onHost("is full", capacity(1), capacity(0))},
	Maintenance:   {lasts: true, do: onHost("is in maintenance", maintenance(true), maintenance(false))},
	KillDaemon:    {lasts: true, do: killDaemon},
	KillDaemons:   {lasts: true, do: killDaemons},
	KillManager:   {lasts: true, do: kill(func(chance) []string { return []string{world.ElementoProvider} })},
	StopAPIServer: {lasts: true, do: kill(func(chance) []string { return []string{world.KubeAPIServer} })},
	Partition:     {lasts: true, do: partition},
	Rotate:        {do: rotate},
}

// Prefix is what the steps begin with by which the history tells of events: from
// when it breaks something to when that is mended. What befalls processes, ways,
// hosts and VMs meanwhile it tells besides.
const Prefix = "fault: "

// prompt is how long it may take to break something, and mended to mend it: many
// times what it takes.
const (
	prompt = time.Minute
	mended = 4 * time.Minute
)

// Late is how much later than it is due an event may begin.
const Late = prompt + mended

// Run carries the plan out until ctx ends, and mends then what is still broken. An
// error is one of the harness: that something could not be broken or mended.
func (i *Injector) Run(ctx context.Context, p Plan) error {
	fake := i.World.Fake()
	for _, f := range p.background() {
		if _, err := fake.AddFault(ctx, f); err != nil {
			return fmt.Errorf("background fault %q: %w", f.Name, err)
		}
	}
	err := i.events(ctx, p)
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), prompt)
	defer cancel()
	return errors.Join(err, fake.RemoveFaults(removing, ""))
}

// events has one event happen after the other. One that is late, because another
// went on for longer, happens next, and the rest keeps its time.
func (i *Injector) events(ctx context.Context, p Plan) error {
	if len(p.Events) == 0 {
		<-ctx.Done()
		return nil
	}
	c := chance{i, rand.New(rand.NewPCG(uint64(p.Seed), 0))}
	table := p.timetable()
	for begun := time.Now(); ; {
		e, due := table.draw()
		if !sleep(ctx, max(time.Until(begun.Add(due)), 0)) {
			return nil
		}
		if err := i.event(ctx, c, e); err != nil {
			return fmt.Errorf("%s: %w", e.Do, err)
		}
	}
}

// event breaks something and mends it again; both wholly, also where ctx ends.
func (i *Injector) event(ctx context.Context, c chance, e Event) error {
	breaking, cancel := context.WithTimeout(context.WithoutCancel(ctx), prompt)
	defer cancel()
	began := time.Now()
	what, undo, err := actions[e.Do].do(breaking, c)
	if err != nil || what == "" {
		return err
	}
	i.World.History().Add(history.Event{Time: began, Kind: history.Step, Event: "begin", Name: Prefix + what})
	if i.Told != nil {
		i.Told(e.Do, what)
	}
	if undo != nil {
		sleep(ctx, time.Duration(e.For))
		mending, cancel := context.WithTimeout(context.WithoutCancel(ctx), mended)
		defer cancel()
		if err := undo(mending); err != nil {
			return fmt.Errorf("%s: mending it: %w", what, err)
		}
	}
	i.World.History().Add(history.Event{Kind: history.Step, Event: "end", Name: Prefix + what})
	return nil
}

// sleep tells whether the time has passed before ctx was over.
func sleep(ctx context.Context, span time.Duration) bool {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func draw[T any](c chance, from []T) T { return from[c.rand.IntN(len(from))] }

func (c chance) host() string { return draw(c, c.World.Hosts()).ID }

type hostAction = func(*fakeatomos.Control, context.Context, string) error

// onHost does something to a host.
func onHost(what string, do, undo hostAction) func(context.Context, chance) (string, func(context.Context) error, error) {
	return func(ctx context.Context, c chance) (string, func(context.Context) error, error) {
		host, fake := c.host(), c.World.Fake()
		return host + " " + what, func(ctx context.Context) error { return undo(fake, ctx, host) }, do(fake, ctx, host)
	}
}

func slow(by time.Duration) hostAction {
	return func(fake *fakeatomos.Control, ctx context.Context, host string) error {
		return fake.SetSlow(ctx, host, by)
	}
}

func capacity(left int) hostAction {
	return func(fake *fakeatomos.Control, ctx context.Context, host string) error {
		return fake.SetCapacity(ctx, host, left, int64(left))
	}
}

func maintenance(on bool) hostAction {
	return func(fake *fakeatomos.Control, ctx context.Context, host string) error {
		return fake.SetMaintenance(ctx, host, on)
	}
}

// running are the VMs that run, with their hosts.
func (c chance) running(ctx context.Context) (vms []fakeatomos.VMInventory, hosts map[string]string, err error) {
	inventory, err := c.World.Fake().Inventory(ctx)
	hosts = map[string]string{}
	for _, h := range inventory.Hosts {
		for _, v := range h.VMs {
			if h.Up && !v.BootedAt.IsZero() {
				vms = append(vms, v)
				hosts[v.Name] = h.Name
			}
		}
	}
	return vms, hosts, err
}

func crashVM(ctx context.Context, c chance) (string, func(context.Context) error, error) {
	vms, hosts, err := c.running(ctx)
	if err != nil || len(vms) == 0 {
		return "", nil, err
	}
	vm := draw(c, vms).Name
	return "VM " + vm + " crashes", nil, ignoreGone(c, ctx, vm, c.World.Fake().CrashVM(ctx, hosts[vm], vm))
}

func vanishVM(ctx context.Context, c chance) (string, func(context.Context) error, error) {
	names := c.Workers(ctx)
	if len(names) == 0 {
		return "", nil, nil
	}
	vm := draw(c, names)
	_, hosts, err := c.running(ctx)
	if err != nil || hosts[vm] == "" {
		return "", nil, err
	}
	return "VM " + vm + " vanishes", nil, ignoreGone(c, ctx, vm, c.World.Fake().VanishVM(ctx, hosts[vm], vm, true))
}

func changeVM(ctx context.Context, c chance) (string, func(context.Context) error, error) {
	vms, hosts, err := c.running(ctx)
	if err != nil || len(vms) == 0 {
		return "", nil, err
	}
	vm := draw(c, vms).Name
	return "VM " + vm + " is changed", nil, ignoreGone(c, ctx, vm, c.World.Fake().ChangeVM(ctx, hosts[vm], vm, fakeatomos.Change{MemoryMiB: 8192}))
}

// ignoreGone is for a VM that went between the look and the act.
func ignoreGone(c chance, ctx context.Context, vm string, err error) error {
	if err == nil {
		return nil
	}
	if _, hosts, lookErr := c.running(ctx); lookErr == nil && hosts[vm] == "" {
		return nil
	}
	return err
}

// kill ends processes as a crash would.
func kill(which func(chance) []string) func(context.Context, chance) (string, func(context.Context) error, error) {
	return func(_ context.Context, c chance) (string, func(context.Context) error, error) {
		names := which(c)
		var errs []error
		for _, name := range names {
			errs = append(errs, c.World.Process(name).Kill())
		}
		return strings.Join(names, " and ") + " killed", func(ctx context.Context) error {
			var errs []error
			for _, name := range names {
				errs = append(errs, c.World.Revive(ctx, name))
			}
			return errors.Join(errs...)
		}, errors.Join(errs...)
	}
}

func (c chance) daemons() (names []string) {
	for n := range c.World.Endpoints() {
		names = append(names, world.DaemonProcess(n+1))
	}
	return names
}

var (
	killDaemon  = kill(func(c chance) []string { return []string{draw(c, c.daemons())} })
	killDaemons = kill(chance.daemons)
)

// partition cuts one of the ways in the chain.
func partition(_ context.Context, c chance) (string, func(context.Context) error, error) {
	ways := [][2]string{{world.ElementoProvider, "daemon-*"}, {world.ElementoProvider, draw(c, c.daemons())}, {"daemon-*", c.host()}, {draw(c, c.daemons()), c.host()}}
	way, how := draw(c, ways), draw(c, []world.Cut{world.Refuse, world.Drop})
	heal, err := c.World.Partition(way[0], way[1], how)
	return fmt.Sprintf("%s cut from %s (%s)", way[0], way[1], how), func(context.Context) error { heal(); return nil }, err
}

func rotate(ctx context.Context, c chance) (string, func(context.Context) error, error) {
	n := c.rand.IntN(len(c.daemons())) + 1
	return fmt.Sprintf("certificates of daemon-%d and manager rotated", n), nil,
		errors.Join(c.World.RotateDaemon(n, time.Time{}), c.World.RotateManager(ctx, time.Time{}))
}
