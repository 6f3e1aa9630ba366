package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// The sentences of the reference architecture that calls gone wrong are about.
const (
	safeRetries = "Reference architecture, State Management: \"Idempotent operations ensure safe retries on failure\""
	verifiedEnd = "Reference architecture, C4 Protocol Operations: \"VM deletion: graceful shutdown with resource cleanup verification\""
)

// calls are the scenarios in which a host answers wrongly, late or not at all,
// while workers are made and removed.
func calls() []scenario {
	return []scenario{
		{
			name:    "lost-register-reply",
			answers: safeRetries + "; with peers (microvm, CAPMOX) a lost reply makes a second VM",
			does:    "the host makes the VM of a new worker, and its reply is lost",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready with the VM that was made, and one register was enough",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				before := s.registers(ctx)
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.LoseReply})
				s.grows(ctx, 1)
				Expect(s.registers(ctx)-before).To(BeEquivalentTo(1), "registers that came to the hosts")
			},
		},
		{
			name:    "lost-register-request",
			answers: safeRetries,
			does:    "the connection breaks before the host has read the register of a new worker, twice",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 2, Effect: fakeatomos.LoseRequest})
				s.grows(ctx, 1)
			},
		},
		{
			name:    "lost-volume-replies",
			answers: safeRetries + "; CAPO#1404, #2576: failed creates leak what was made on the way",
			does:    "the replies to the boot volume and to both files of the seed are lost",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready, and no volume is left over",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST storage/cloudinit/*", Times: 3, Effect: fakeatomos.LoseReply})
				s.grows(ctx, 1)
			},
		},
		{
			name:    "nonsense-replies",
			answers: safeRetries,
			does:    "hosts answer one call in three with half a body, broken JSON, other JSON, or 204 where a reply is due",
			during:  "no VM is on AtomOS twice",
			after:   "two new workers are Ready, and go again without a trace",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				for _, effect := range []fakeatomos.Effect{fakeatomos.HalfReply, fakeatomos.MalformedReply, fakeatomos.WrongJSON, fakeatomos.NoContent} {
					s.fault(ctx, fakeatomos.Fault{Probability: 0.1, Effect: effect})
				}
				s.grows(ctx, 2)
				s.converges(ctx, "they are gone", s.Cluster.whole(s))
			},
		},
		{
			name:    "slow-storage",
			answers: "CAPV#625: slow storage makes doubles",
			does:    "the boot volume and the seed of a new worker take 35 s to make, longer than a call for a VM may take",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready, and no volume is left over",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST storage/cloudinit/*", Times: 2, Effect: fakeatomos.DelayBefore, Delay: 35 * time.Second})
				s.grows(ctx, 1)
			},
		},
		{
			name:    "hanging-calls",
			answers: safeRetries,
			does:    "hosts hold registers and their replies until the caller gives up",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.Hang})
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Skip: 1, Times: 1, Effect: fakeatomos.HangAfter})
				s.grows(ctx, 1)
			},
		},
		{
			name:    "busy-hosts",
			answers: "CAPH#1331, CAPV#1070: API rate limits",
			does:    "hosts answer more than one call in four with 503 or 429",
			during:  "no VM is on AtomOS twice",
			after:   "two new workers are Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.fault(ctx, fakeatomos.Fault{Probability: 0.15, Effect: fakeatomos.Refuse, Status: 503, Body: `{"error":"busy"}`})
				s.fault(ctx, fakeatomos.Fault{Probability: 0.15, Effect: fakeatomos.Refuse, Status: 429, Body: `{"error":"slow down"}`})
				s.grows(ctx, 2)
			},
		},
		{
			name:    "destroy-lies",
			answers: verifiedEnd + "; CAPMOX#742: a failed destroy is forgotten",
			does:    "hosts say yes to unregister and to the destruction of volumes, three times, and do nothing",
			during:  "the ElementoMachine stays as long as anything of its VM does",
			after:   "the worker, its VM, its volumes and its seed are gone",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.adds(ctx, 1)
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				s.always(ctx, "nothing of a VM is there without its ElementoMachine", s.noStrays())
				s.fault(ctx, fakeatomos.Fault{Call: "DELETE matcher/unregister", Times: 3, Effect: fakeatomos.Pretend})
				s.fault(ctx, fakeatomos.Fault{Call: "POST storage/destroy", Times: 3, Effect: fakeatomos.Pretend})
				s.removes(ctx)
				s.converges(ctx, "nothing is left of it", s.Cluster.whole(s))
			},
		},
		{
			name:    "lost-deletion-replies",
			answers: verifiedEnd,
			does:    "the replies to stop, unregister and destroy are lost",
			during:  "the ElementoMachine stays as long as anything of its VM does",
			after:   "the worker, its VM, its volumes and its seed are gone",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.adds(ctx, 1)
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				s.always(ctx, "nothing of a VM is there without its ElementoMachine", s.noStrays())
				for _, call := range []string{"POST matcher/stop", "DELETE matcher/unregister", "POST storage/destroy"} {
					s.fault(ctx, fakeatomos.Fault{Call: call, Times: 1, Effect: fakeatomos.LoseReply})
				}
				s.removes(ctx)
				s.converges(ctx, "nothing is left of it", s.Cluster.whole(s))
			},
		},
		{
			name:    "deleted-while-created",
			answers: "CAPC#190, CAPV#235: deleted while creating leaves an orphan",
			does:    "a worker is deleted while the register of its VM is under way at its host",
			during:  "nothing of a VM is there without its ElementoMachine",
			after:   "nothing of it is on AtomOS, ever",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "nothing of a VM is there without its ElementoMachine", s.noStrays())
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.DelayBefore, Delay: 4 * time.Second})
				before := s.registers(ctx)
				s.adds(ctx, 1)
				s.underWay(ctx, before)
				s.removes(ctx)
				s.converges(ctx, "nothing is left of it", s.Cluster.whole(s))
				s.stays(ctx, never, "nothing comes late", s.noStrays())
			},
		},
		{
			name:    "host-turns-out-full",
			answers: "c4: 204 to register means that the pledge cannot be placed, whatever canallocate said",
			does:    "the host that was chosen for a new worker loses its room while the register is under way, and answers 204",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is Ready on another host, and the first one has nothing of it",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				register := s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Times: 1, Effect: fakeatomos.DelayBefore, Delay: 4 * time.Second})
				s.adds(ctx, 1)
				host, name := s.struck(ctx, register)
				s.breaks("host "+host+" has no room any more", func() error { return s.Fake.SetCapacity(ctx, host, 1, 0) },
					func(ctx context.Context) error { return s.Fake.SetCapacity(ctx, host, 0, 0) })
				s.converges(ctx, "it is Ready elsewhere", each(s.Cluster.Has(s.Cluster.workers+1), s.consistent(s.Cluster), s.absentFrom(host, name)))
				s.removes(ctx)
			},
		},
		{
			name:    "no-room-anywhere",
			answers: "c4: cancreate fails if capacity is exhausted; waiting is a condition and no error",
			does:    "other clients fill all hosts while a worker is wanted, and leave them again",
			during:  "the ElementoMachine says NoCapacity",
			after:   "the worker is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				for _, h := range s.World.Hosts() {
					var uid string
					s.breaks("somebody else's VM fills host "+h.ID, func() (err error) {
						uid, err = s.fill(ctx, h.ID)
						return err
					}, func(ctx context.Context) error { return s.unregister(ctx, h.ID, "someone-else", uid) })
				}
				s.adds(ctx, 1)
				s.within(ctx, cycle, "it says why it waits", s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.NoCapacityReason))
				s.heals(ctx, "the hosts have room")
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				s.removes(ctx)
			},
		},
		{
			name:    "community-limit",
			answers: "c4: Community Edition hosts have two VMs; the third register is refused until a license is armed",
			does:    "all hosts have two VMs and turn out to be of the Community Edition while a worker is wanted; then they have a license",
			during:  "the workers that are there stay; the new one says what it waits for",
			after:   "the worker is Ready",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				s.staySame(ctx, s.workers(ctx))
				for _, h := range s.World.Hosts() {
					for _, name := range []string{"one", "two"} {
						var uid string
						s.breaks("somebody else's VM is on host "+h.ID, func() (err error) {
							uid, err = s.foreignVM(ctx, h.ID, "someone-else", name+"-on-"+h.ID)
							return err
						}, func(ctx context.Context) error { return s.unregister(ctx, h.ID, "someone-else", uid) })
					}
					s.breaks("host "+h.ID+" is of the Community Edition", func() error { return s.Fake.SetCommunity(ctx, h.ID, true) },
						func(ctx context.Context) error { return s.Fake.SetCommunity(ctx, h.ID, false) })
				}
				s.adds(ctx, 1)
				s.within(ctx, cycle, "it says why it waits", either(
					s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.NoCapacityReason),
					s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.LicenseRequiredReason),
					s.someSays(s.Cluster, infrav1.VMProvisionedCondition, infrav1.LicenseRequiredReason)))
				s.heals(ctx, "the hosts have licenses")
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				// The one that is to go is the new one: the others are watched over.
				s.condemnNewest(ctx, 1)
				s.removes(ctx)
			},
		},
		{
			name:    "address-never-shown",
			answers: "c4: network_config.ipv4 may stay null",
			does:    "a new worker's host never shows its address",
			during:  "the ElementoMachine says that it waits for the address",
			after:   "its node is Ready all the same",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.fault(ctx, fakeatomos.Fault{Effect: fakeatomos.HideAddress})
				s.adds(ctx, 1)
				s.converges(ctx, "its VM runs and it has a Node", func(ctx context.Context) error {
					machines, err := s.Cluster.ListMachines(ctx, s.Admin)
					if err != nil {
						return err
					}
					for _, m := range machines.Workers {
						if m.Status.NodeRef.Name == "" {
							return fmt.Errorf("Machine %s has no Node", m.Name)
						}
					}
					if len(machines.Workers) != s.Cluster.workers+1 {
						return fmt.Errorf("%d workers", len(machines.Workers))
					}
					return nil
				})
				s.within(ctx, cycle, "it says what is missing", s.someSays(s.Cluster, infrav1.AddressAvailableCondition, infrav1.WaitingForAddressReason))
				s.removes(ctx)
			},
		},
		{
			name:    "boot-hangs",
			answers: "CAPI: a Machine whose node does not come up in time is for the health check's nodeStartupTimeout",
			does:    "the first boot of a new worker hangs; its health check allows 30 s for a start",
			during:  "no VM is on AtomOS twice",
			after:   "the Machine that hung is replaced, and the new worker is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.impatient(ctx, 30)
				s.fault(ctx, fakeatomos.Fault{Effect: fakeatomos.HangBoot, Times: 1})
				s.grows(ctx, 1)
			},
		},
		{
			name:    "clock-jumps",
			answers: "creation_date is the host's; identities and graces must not depend on it",
			does:    "the clocks of all hosts jump: one a day ahead, one a day back",
			during:  "the VMs that are there stay",
			after:   "new workers are Ready, and go again",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				for _, v := range s.workers(ctx) {
					s.always(ctx, "the VMs that are there stay", s.kept(v))
				}
				for i, h := range s.World.Hosts() {
					by := []time.Duration{24 * time.Hour, -24 * time.Hour, time.Hour}[i%3]
					s.breaks(fmt.Sprintf("the clock of %s jumps by %s", h.ID, by), func() error { return s.Fake.ShiftClock(ctx, h.ID, by) },
						func(ctx context.Context) error { return s.Fake.ShiftClock(ctx, h.ID, -by) })
				}
				s.adds(ctx, 2)
				s.converges(ctx, "they are Ready", s.Cluster.Has(s.Cluster.workers+2))
				// Those that are to go are the new ones: the others are watched over.
				s.condemnNewest(ctx, 2)
				s.removes(ctx)
			},
		},
	}
}

// adds asks for more workers than the standing cluster has.
func (s *stage) adds(ctx context.Context, more int) {
	GinkgoHelper()
	s.change(fmt.Sprintf("%d more workers are wanted", more), func() error { return s.Cluster.Scale(ctx, s.Cluster.workers+more) })
}

// removes asks for as many workers as the standing cluster has.
func (s *stage) removes(ctx context.Context) {
	GinkgoHelper()
	s.change("no more workers are wanted than before", func() error { return s.Cluster.Scale(ctx, s.Cluster.workers) })
}

// grows adds workers, waits until they are Ready, and takes them away again.
func (s *stage) grows(ctx context.Context, by int) {
	s.adds(ctx, by)
	s.converges(ctx, "the new workers are Ready", each(s.Cluster.Has(s.Cluster.workers+by), s.consistent(s.Cluster)))
	s.removes(ctx)
}

// struck waits until a fault has fired, and returns on which host and about which
// VM that was.
func (s *stage) struck(ctx context.Context, fault string) (host, vm string) {
	s.within(ctx, cycle, "it happens", func(context.Context) error {
		fired, err := s.troupe.watched.fired()
		if err != nil {
			return err
		}
		if len(fired[fault]) == 0 {
			return errors.New("it has not happened yet")
		}
		host, vm = fired[fault][0].Host, fired[fault][0].VM
		return nil
	})
	return host, vm
}

// absentFrom holds when a host has nothing of a VM.
func (s *stage) absentFrom(host, vm string) check {
	return func(ctx context.Context) error {
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		for _, h := range inventory.Hosts {
			if h.Name == host {
				return without(h, vm)
			}
		}
		return nil
	}
}

// registers is how many registers have come to the hosts so far.
func (s *stage) registers(ctx context.Context) int64 {
	calls, err := s.Fake.Calls(ctx)
	Expect(err).NotTo(HaveOccurred())
	var n int64
	for _, host := range calls {
		n += host["POST matcher/register"]
	}
	return n
}

// impatient has the workers' health check allow so many seconds for a node to
// start, until all is mended.
func (s *stage) impatient(ctx context.Context, seconds int32) {
	set := func(ctx context.Context, seconds int32) error {
		return s.Cluster.ChangeHealthCheck(ctx, func(check *clusterv1.MachineHealthCheckSpec) {
			check.Checks.NodeStartupTimeoutSeconds = &seconds
		})
	}
	s.breaks(fmt.Sprintf("nodes may take %d s to start", seconds), func() error { return set(ctx, seconds) },
		func(ctx context.Context) error { return set(ctx, 0) })
}

// condemnNewest names the workers that go first: those that came last.
func (s *stage) condemnNewest(ctx context.Context, n int) {
	machines := s.Cluster.Machines(ctx, s.Admin).Workers
	Expect(len(machines)).To(BeNumerically(">=", n))
	sortByAge(machines)
	for _, m := range machines[len(machines)-n:] {
		patch := client.MergeFrom(m.DeepCopy())
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[clusterv1.DeleteMachineAnnotation] = "true"
		Expect(s.Admin.Patch(ctx, &m, patch)).To(Succeed())
	}
}
