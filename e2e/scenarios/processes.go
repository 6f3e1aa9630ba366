package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

const (
	providerFailure = "CAPI Provider Failure: \"Provider pod restart does not affect running clusters\", \"Reconciliation resumes from last known state\", \"No manual intervention required for recovery\""
	partitionHeals  = "Network Partition: \"CAPI's declarative model ensures convergence once partition heals\""
	planeAway       = "Management Cluster Unavailability"
)

// processes are the scenarios in which a program of the chain ends, or the way
// between two of them is cut.
func processes() []scenario {
	return []scenario{
		{
			name:    "daemon-killed",
			answers: "Deployment Model: \"Multiple daemon instances for high availability\"",
			does:    "one of two daemons is killed while workers are made, and started again",
			during:  "no VM is on AtomOS twice",
			after:   "the workers are Ready without it",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.DelayAfter, Delay: 8 * time.Second})
				before := s.registers(ctx)
				s.adds(ctx, 2)
				s.underWay(ctx, before)
				s.kills(ctx, world.DaemonProcess(1+s.Rand.IntN(2)))
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.heals(ctx, "the daemon is back")
				s.removes(ctx)
			},
		},
		{
			name:    "all-daemons-killed",
			answers: "State Management: \"Daemons maintain no persistent state\"",
			does:    "both daemons are killed while workers are made, and started again 5 s later",
			during:  "no VM is on AtomOS twice; the Machines that are there stay",
			after:   "the workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.staySame(ctx, s.workers(ctx))
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.DelayAfter, Delay: 8 * time.Second})
				before := s.registers(ctx)
				s.adds(ctx, 2)
				s.underWay(ctx, before)
				s.kills(ctx, world.DaemonProcess(1), world.DaemonProcess(2))
				s.stays(ctx, 5*time.Second, "no VM is lost", s.noTwins())
				s.heals(ctx, "the daemons are back")
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.condemnNewest(ctx, 2)
				s.removes(ctx)
			},
		},
		{
			name:    "daemon-hangs",
			answers: "every call that leaves the process has a deadline",
			does:    "one of two daemons stands still while workers are made",
			during:  "no VM is on AtomOS twice",
			after:   "the workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				name := world.DaemonProcess(1 + s.Rand.IntN(2))
				s.breaks(name+" stands still", s.World.Process(name).Pause, func(context.Context) error { return s.World.Process(name).Resume() })
				s.adds(ctx, 2)
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.heals(ctx, "it goes on")
				s.removes(ctx)
			},
		},
		{
			name:    "manager-killed",
			answers: providerFailure,
			does:    "our manager is killed at a random moment while workers are made, and again while they are removed",
			during:  "the workload cluster's API answers; no VM is on AtomOS twice",
			after:   "the workers are Ready, and go again without a trace",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "the workload cluster's API answers", s.gapAtMost(s.workload(ctx, s.Cluster), 3*time.Second))
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				for _, workers := range []int{s.Cluster.workers + 3, s.Cluster.workers} {
					s.change(fmt.Sprintf("%d workers are wanted", workers), func() error { return s.Cluster.Scale(ctx, workers) })
					s.after(ctx, time.Duration(s.Rand.IntN(3000))*time.Millisecond)
					s.kills(ctx, world.ElementoProvider)
					s.heals(ctx, "the manager is back")
					s.converges(ctx, "they are there", each(s.Cluster.Has(workers), s.consistent(s.Cluster)))
				}
			},
		},
		{
			name:    "manager-killed-between-intent-and-effect",
			answers: providerFailure + "; CAPV#2039: what is persisted too late is lost",
			does:    "our manager is killed when the host of a new worker is written down and nothing is made there yet",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready on the host that was written down",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				// The first changes on the host wait, so that there is time to kill.
				s.fault(ctx, fakeatomos.Fault{Call: "POST storage/cloudinit/*", Times: 2, Effect: fakeatomos.DelayBefore, Delay: 5 * time.Second})
				known := s.known(ctx)
				s.adds(ctx, 1)
				v := s.placed(ctx, known)
				s.kills(ctx, world.ElementoProvider)
				Expect(s.absent(v.name())(ctx)).To(Succeed(), "nothing was made when the manager was killed")
				s.heals(ctx, "the manager is back")
				s.converges(ctx, "it is Ready where it was to be", each(s.Cluster.Has(s.Cluster.workers+1), s.on(v)))
				s.changeWatched(ctx, v)
			},
		},
		{
			name:    "manager-killed-between-effect-and-record",
			answers: providerFailure + "; peers adopt or double what they do not remember",
			does:    "our manager is killed when the VM of a new worker is made and its reply has not come",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready with the very VM that was made",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.DelayAfter, Delay: 8 * time.Second})
				known := s.known(ctx)
				s.adds(ctx, 1)
				v := s.placed(ctx, known)
				s.within(ctx, cycle, "its VM is made", s.made(&v))
				s.kills(ctx, world.ElementoProvider)
				s.heals(ctx, "the manager is back")
				s.converges(ctx, "it is Ready with that VM", each(s.Cluster.Has(s.Cluster.workers+1), s.untouched(v)))
				s.changeWatched(ctx, v)
			},
		},
		{
			name:    "api-server-away",
			answers: planeAway + ": \"Existing workload clusters continue operating independently\", \"No new cluster operations (create/scale/upgrade) can be performed\", \"Upon recovery, CAPI reconciles actual vs. desired state automatically\"",
			does:    "the management cluster's API server is killed while workers are made, and is back after 10 s",
			during:  "nothing can be asked for; the workload cluster's API answers; no VM is on AtomOS twice",
			after:   "the workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				s.always(ctx, "the workload cluster's API answers", s.gapAtMost(workload, 3*time.Second))
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.adds(ctx, 2)
				s.after(ctx, time.Duration(500+s.Rand.IntN(1500))*time.Millisecond)
				s.kills(ctx, world.KubeAPIServer)
				Expect(s.Cluster.Scale(ctx, s.Cluster.workers+3)).NotTo(Succeed(), "what is asked for while nobody listens")
				s.after(ctx, 10*time.Second)
				s.heals(ctx, "it is back")
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.removes(ctx)
			},
		},
		{
			name:    "etcd-away",
			answers: planeAway + ": \"Upon recovery, CAPI reconciles actual vs. desired state automatically\"",
			does:    "the management cluster's etcd is killed while a worker is removed, and is back after 10 s",
			during:  "the workload cluster's API answers",
			after:   "the worker is gone without a trace",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				s.always(ctx, "the workload cluster's API answers", s.gapAtMost(workload, 3*time.Second))
				s.adds(ctx, 1)
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				s.removes(ctx)
				s.after(ctx, time.Duration(s.Rand.IntN(1500))*time.Millisecond)
				s.kills(ctx, world.Etcd)
				s.after(ctx, 10*time.Second)
				s.heals(ctx, "it is back")
				s.converges(ctx, "the worker is gone", s.Cluster.whole(s))
			},
		},
		{
			name:    "manager-cut-from-daemons",
			answers: "Network Partition: \"VM operations queue until connectivity restored\"; " + partitionHeals,
			does:    "the way from our manager to both daemons is cut for 12 s while workers are wanted",
			during:  "the Machines that are there stay, and no VM is touched",
			after:   "the workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.staySame(ctx, s.workers(ctx))
				s.cuts(ctx, world.ElementoProvider, "daemon-*", world.Drop)
				s.adds(ctx, 2)
				s.within(ctx, cycle, "they wait with a condition", either(
					s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.DaemonUnreachableReason),
					s.someSays(s.Cluster, infrav1.IdentityAvailableCondition, infrav1.DaemonUnreachableReason)))
				s.after(ctx, 5*time.Second)
				s.heals(ctx, "the way is there again")
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.condemnNewest(ctx, 2)
				s.removes(ctx)
			},
		},
		{
			name:    "one-daemon-cut-from-a-host",
			answers: partitionHeals + "; any healthy daemon is correct",
			does:    "the way from one daemon to one host is cut while workers are made, the other daemon's is not",
			during:  "no VM is on AtomOS twice",
			after:   "the workers are Ready without it",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.cuts(ctx, world.DaemonProcess(1+s.Rand.IntN(2)), s.anyHost(), world.Refuse)
				s.adds(ctx, 3)
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+3), s.consistent(s.Cluster)))
				s.removes(ctx)
				s.converges(ctx, "and go again", s.Cluster.whole(s))
				s.heals(ctx, "the way is there again")
			},
		},
		{
			name:    "host-cut-from-daemons",
			answers: "Network Partition: \"AtomOS cannot reach Management Cluster: status reporting delayed but VMs continue running\"",
			does:    "the ways from both daemons to one host are silent for 10 s",
			during:  "no Machine is replaced, and no VM is touched",
			after:   "all is known again",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.staySame(ctx, append(s.workers(ctx), s.controlPlanes(ctx)...))
				s.cuts(ctx, "daemon-*", v.host(), world.Drop)
				s.within(ctx, cycle, "nothing is known of its VMs", s.says(v, infrav1.VMRunningCondition, infrav1.HostUnreachableReason))
				s.after(ctx, 5*time.Second)
				s.heals(ctx, "the ways are there again")
				s.converges(ctx, "all is known again", each(s.saysTrue(v, infrav1.VMRunningCondition), s.Cluster.whole(s)))
			},
		},
		{
			name:    "certificates-rotated",
			answers: "design: certificates are reloaded on rotation",
			does:    "both daemons and our manager get new certificates while workers are made",
			during:  "no VM is on AtomOS twice",
			after:   "the daemons show the new ones, and the workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				before, err := s.certificates(ctx)
				Expect(err).NotTo(HaveOccurred())
				s.adds(ctx, 2)
				s.breaks("certificates are rotated", func() error { return s.rotates(ctx, time.Time{}) }, nil)
				s.converges(ctx, "the daemons show the new ones", func(ctx context.Context) error {
					now, err := s.certificates(ctx)
					if err != nil {
						return err
					}
					for serial := range now {
						if before[serial] {
							return fmt.Errorf("a daemon still shows certificate %s", serial)
						}
					}
					return nil
				})
				s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+2), s.consistent(s.Cluster)))
				s.removes(ctx)
			},
		},
		{
			name:    "certificates-expired",
			answers: "security: an expired certificate is nobody's, and says so",
			does:    "the certificates of both daemons have expired while a worker is wanted; then they are renewed",
			during:  "the Machines that are there stay; a condition names the certificates",
			after:   "the worker is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.staySame(ctx, s.workers(ctx))
				s.breaks("the certificates expire", func() error { return s.rotateDaemons(time.Now().Add(-time.Minute)) },
					func(context.Context) error { return s.rotateDaemons(time.Time{}) })
				s.adds(ctx, 1)
				s.within(ctx, cycle, "a condition says so", either(
					s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.DaemonUntrustedReason),
					s.someSays(s.Cluster, infrav1.IdentityAvailableCondition, infrav1.DaemonUntrustedReason)))
				s.heals(ctx, "the certificates are renewed")
				s.converges(ctx, "the new worker is Ready", each(s.Cluster.Has(s.Cluster.workers+1), s.consistent(s.Cluster)))
				s.condemnNewest(ctx, 1)
				s.removes(ctx)
			},
		},
	}
}

// kills ends processes as a crash would, until they are revived.
func (s *stage) kills(ctx context.Context, names ...string) {
	for _, name := range names {
		s.breaks(name+" is killed", func() error { return s.World.Process(name).Kill() },
			func(ctx context.Context) error { return s.World.Revive(ctx, name) })
	}
}

// cuts cuts the ways between a and b.
func (s *stage) cuts(_ context.Context, a, b string, how world.Cut) {
	var heal func()
	s.breaks(fmt.Sprintf("the way from %s to %s is cut (%s)", a, b, how), func() (err error) {
		heal, err = s.World.Partition(a, b, how)
		return err
	}, func(context.Context) error { heal(); return nil })
}

// certificates are the serial numbers of those that the daemons show.
func (s *stage) certificates(ctx context.Context) (map[string]bool, error) {
	shown := map[string]bool{}
	for _, endpoint := range s.World.Endpoints() {
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // it is only looked at
		conn, err := dialer.DialContext(ctx, "tcp", endpoint)
		if err != nil {
			return nil, err
		}
		shown[conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
		_ = conn.Close()
	}
	return shown, nil
}

// rotates gives the daemons and our manager new certificates.
func (s *stage) rotates(ctx context.Context, notAfter time.Time) error {
	if err := s.rotateDaemons(notAfter); err != nil {
		return err
	}
	return s.World.RotateManager(ctx, notAfter)
}

func (s *stage) rotateDaemons(notAfter time.Time) error {
	for n := range s.World.Endpoints() {
		if err := s.World.RotateDaemon(n+1, notAfter); err != nil {
			return err
		}
	}
	return nil
}

// after waits for a moment that is not that of anything: a random one, or the
// length of an outage.
func (s *stage) after(ctx context.Context, span time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(span):
	}
}

// underWay waits until a register has come to a host.
func (s *stage) underWay(ctx context.Context, before int64) {
	s.within(ctx, cycle, "a register is under way", func(ctx context.Context) error {
		if s.registers(ctx) == before {
			return fmt.Errorf("no register has come")
		}
		return nil
	})
}

// made holds when AtomOS has the VM, and takes down which.
func (s *stage) made(v *vm) check {
	return func(ctx context.Context) error {
		found, _, err := s.onAtomOS(ctx, v.name())
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("AtomOS has %d VMs %s", len(found), v.name())
		}
		v.uid = found[0].UID
		return nil
	}
}

// on holds when the one VM of that name is on the host that was written down.
func (s *stage) on(v vm) check {
	return func(ctx context.Context) error {
		_, hosts, err := s.onAtomOS(ctx, v.name())
		if err != nil {
			return err
		}
		if len(hosts) != 1 || hosts[0] != v.host() {
			return fmt.Errorf("VM %s is on %v, want %s", v.name(), hosts, v.host())
		}
		return nil
	}
}
