package main

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// further are client UUIDs that own nothing, and that somebody watches all the same.
var further = []string{"bench-2", "bench-3"}

// The names of figures that thresholds are for.
const (
	callsOfClient = "C4 calls at rest of a client UUID more, for each host and daemon"
	callsOfDaemon = "C4 calls at rest of a daemon more, for each host and client UUID"
)

// moreClients measures what it takes that there are more client UUIDs.
func (b *bench) moreClients(ctx context.Context, s size) {
	g := b.grown
	daemons := len(b.daemons())
	if daemons == 0 {
		b.thresholds.passOver(b.part, callsOfClient)
		return // those of others, which know their own
	}
	b.site.Report.Step(fmt.Sprintf("%d client UUIDs more are watched", len(further)), func() {
		b.setDaemons(ctx, func(s *world.DaemonSettings) { s.ClientUIDs = further })
		b.quiet(ctx)
		watching, stop := context.WithCancel(ctx)
		defer stop()
		ended := b.watchClients(watching)
		more := b.callRate(ctx, window)()
		stop()
		Expect(ended()).To(Succeed())
		b.setDaemons(ctx, func(s *world.DaemonSettings) { s.ClientUIDs = nil })

		pairs := float64(s.hosts * daemons)
		clients := float64(1 + len(further))
		g.calls.Add(fmt.Sprintf("%g client UUIDs", clients), pairs*clients, more)
		b.figure(b.site.Report, reports.Figure{
			Name: callsOfClient, Unit: "1/s",
			Value: (more - g.callRate) / pairs / float64(len(further)),
		})
	})
}

// fewerDaemons measures what the last of the daemons asks of hosts: it is paused, and the
// others go on.
func (b *bench) fewerDaemons(ctx context.Context, s size) {
	daemons := b.daemons()
	if len(daemons) < 2 || b.site.World.Process(daemons[len(daemons)-1]) == nil {
		b.thresholds.passOver(b.part, callsOfDaemon)
		return
	}
	last := b.site.World.Process(daemons[len(daemons)-1])
	b.site.Report.Step(fmt.Sprintf("%s asks no more", daemons[len(daemons)-1]), func() {
		b.quiet(ctx)
		Expect(last.Pause()).To(Succeed())
		defer func() { Expect(last.Resume()).To(Succeed()) }()
		fewer := b.callRate(ctx, window)()

		pairs := float64(s.hosts * (len(daemons) - 1))
		b.grown.calls.Add("one daemon fewer", pairs, fewer)
		b.figure(b.site.Report, reports.Figure{Name: callsOfDaemon, Unit: "1/s", Value: (b.grown.callRate - fewer) / float64(s.hosts)})
	})
	b.streamsUp(ctx)
}

// watchClients opens a stream for each of the further client UUIDs from each daemon,
// as managers do, and returns when all have told what there is. Wait returns when they
// have ended with ctx.
func (b *bench) watchClients(ctx context.Context) (wait func() error) {
	GinkgoHelper()
	group := &errgroup.Group{}
	for n := range b.daemons() {
		conn, err := b.site.World.DialDaemon(n + 1)
		Expect(err).NotTo(HaveOccurred())
		streams, vms := &errgroup.Group{}, rpc.NewVMServiceClient(conn)
		for _, uid := range further {
			stream, err := vms.WatchVMs(ctx, &rpc.WatchVMsRequest{ClientUid: uid})
			Expect(err).NotTo(HaveOccurred())
			_, err = stream.Recv()
			Expect(err).NotTo(HaveOccurred(), "watching the client UUID %s", uid)
			streams.Go(func() error {
				failed := drain(stream)
				if ctx.Err() == nil {
					return failed
				}
				return nil // it was to end
			})
		}
		group.Go(func() error {
			defer conn.Close()
			return streams.Wait()
		})
	}
	return group.Wait
}

// drain takes what a stream tells until it fails.
func drain(stream rpc.VMService_WatchVMsClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}
