package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// rest measures what Machines cost with which nothing happens: those that the growth
// has made, asked after every second, and then every 5 seconds.
func (b *bench) rest(ctx SpecContext) {
	if b.grown == nil || !b.grown.whole {
		Skip("there is nothing that could rest: the growth has not come to its end")
	}
	b.restAt(ctx, time.Second, b.resting)
	b.restAt(ctx, 5*time.Second, b.resting/10)
}

// restAt does so for one interval.
func (b *bench) restAt(ctx context.Context, interval, d time.Duration) {
	report := b.site.Report
	var used cost
	report.Step(fmt.Sprintf("%s at rest for %s, hosts asked every %s", b.plan.last(), d, interval), func() {
		b.setDaemons(ctx, func(s *world.DaemonSettings) {
			s.Interval = interval
			if interval == time.Second {
				s.Interval = 0 // which is what they do by default
			}
		})
		b.quiet(ctx)
		watching, stop := context.WithCancel(ctx)
		defer stop()
		line := b.follow(watching, fmt.Sprintf("At rest, hosts asked every %s", interval))
		used = b.during(ctx, d)
		stop()
		report.TimeLine(line())
	})
	named := func(name string) string { return fmt.Sprintf("%s, at rest, interval of %s", name, interval) }
	b.figure(report,
		reports.Figure{Name: named("processor time of manager and daemons"), Value: 100 * used.rate(used.elemento), Unit: "% of a core"},
		reports.Figure{Name: named("API requests of our manager"), Value: used.rate(used.ours), Unit: "1/s"},
		reports.Figure{Name: named("API requests of all"), Value: used.rate(used.requests), Unit: "1/s"},
		reports.Figure{Name: named("C4 calls"), Value: used.rate(used.calls.all), Unit: "1/s"},
		reports.Figure{Name: named("messages of the daemons' streams"), Value: used.rate(used.messages), Unit: "1/s"},
		reports.Figure{Name: named("gRPC calls"), Value: used.rate(used.grpc), Unit: "1/s"},
		reports.Figure{Name: named("reconcile loops of our manager"), Value: used.rate(used.loops), Unit: "1/s"},
	)
	for _, name := range append(b.processes(), harness) {
		b.figure(report, reports.Figure{Name: named(called(name) + ": processor time"), Value: 100 * used.rate(used.processes[name]), Unit: "% of a core"})
	}
	b.profile(ctx, "rest-"+interval.String(), profileTime)()
}

// follow takes down, until ctx ends, what processors do for each process that is one
// here. What it returns waits for that end.
func (b *bench) follow(ctx context.Context, name string) (end func() reports.TimeLine) {
	const every = 5 * time.Second
	line := reports.TimeLine{Name: name, Start: time.Now()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		last, at := b.used(), time.Now()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now, then := b.used(), time.Now()
			for _, process := range b.processes() {
				if seconds, known := now[process]; known {
					line.Sample(called(process), "% of a core", then, 100*(seconds-last[process])/then.Sub(at).Seconds())
				}
			}
			last, at = now, then
		}
	}()
	return func() reports.TimeLine {
		<-done
		return line
	}
}

// used is the processor time of those processes that are ones here, in seconds, as
// the system tells it: which costs them nothing.
func (b *bench) used() map[string]float64 {
	all := map[string]float64{}
	for _, name := range b.processes() {
		if p := b.site.World.Process(name); p != nil {
			if usage, err := p.Usage(); err == nil {
				all[name] = usage.CPU.Seconds()
			}
		}
	}
	return all
}
