package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

const hypervisorFailure = "AtomOS Hypervisor Failure"

// hosts are the scenarios in which hosts and domains fail.
func hosts() []scenario {
	return []scenario{
		{
			name:    "host-away-for-a-moment",
			answers: hypervisorFailure + ": \"VMs on failed hypervisor become unavailable\"; an unreachable host is unknown, never gone",
			does:    "a worker's host does not answer for 8 s, its VMs go on",
			during:  "no Machine is replaced, and no VM is touched",
			after:   "all is as it was",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.staySame(ctx, append(s.workers(ctx), s.controlPlanes(ctx)...))
				s.breaks("host "+v.host()+" does not answer", func() error { return s.Fake.Isolate(ctx, v.host()) },
					func(ctx context.Context) error { return s.Fake.Reconnect(ctx, v.host()) })
				s.within(ctx, cycle, "nothing is known of its VMs", s.says(v, infrav1.VMRunningCondition, infrav1.HostUnreachableReason))
				s.stays(ctx, 8*time.Second, "and nobody acts on it", s.kept(v))
				s.heals(ctx, "the host answers")
				s.converges(ctx, "all is known again", s.saysTrue(v, infrav1.VMRunningCondition))
			},
		},
		{
			name:    "host-reboots",
			answers: "c4: \"A host that reboots must recreate its resources under the right UUIDs\"",
			does:    "the host of a worker loses power and has it back, with its state, as soon as it is missed",
			during:  "no VM is on AtomOS twice",
			after:   "its VMs run, or were replaced; all nodes are Ready",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.losesPower(ctx, v.host())
				s.within(ctx, cycle, "nothing is known of its VMs", s.says(v, infrav1.VMRunningCondition, infrav1.HostUnreachableReason))
				s.heals(ctx, "the host has power")
				s.converges(ctx, "all is well", s.Cluster.whole(s))
			},
		},
		{
			name:    "host-back-without-vms",
			answers: "Drift Detection: \"unexpected VM deletions\"; a host may come back empty",
			does:    "the host of a worker comes back without VMs and without disks",
			during:  "no VM is on AtomOS twice",
			after:   "the Machines of its VMs are replaced",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.breaks("host "+v.host()+" loses all that it has", func() error { return s.Fake.Wipe(ctx, v.host(), true) },
					func(ctx context.Context) error { return s.Fake.Up(ctx, v.host()) })
				s.heals(ctx, "the host has power, and nothing else")
				s.converges(ctx, "its Machines are replaced", each(s.replaced(v), s.Cluster.whole(s)))
			},
		},
		{
			name:    "host-lost",
			answers: hypervisorFailure + ": \"Provider marks affected machines as failed and provisions replacements\"",
			does:    "the host of a worker loses power, and has it back after its Machines were replaced",
			during:  "no VM is on AtomOS twice",
			after:   "the worker is replaced on another host; its cleanup record is worked off when the host is back",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.workerApart(ctx, s.Cluster)
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.losesPower(ctx, v.host())
				s.converges(ctx, "the worker is replaced", each(s.replaced(v), s.Cluster.Has(s.Cluster.workers)))
				s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(v))
				s.heals(ctx, "the host has power again")
				s.converges(ctx, "the record is worked off", each(s.noCleanups(), s.absent(v.name())))
			},
		},
		{
			name:    "control-plane-host-lost",
			answers: hypervisorFailure + ", for a control plane behind a virtual address",
			does:    "the host of the control plane that holds the virtual address loses power",
			during:  "the API answers again within 10 s, and goes on to",
			after:   "the dead control plane is replaced; its cleanup record is worked off when the host is back",
			on:      virtual,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				v := s.holder(ctx)
				s.losesPower(ctx, v.host())
				s.within(ctx, apiGap, "the API answers", s.answersFor(workload, 3))
				s.always(ctx, "the API is never away for longer than 10 s", s.gapAtMost(workload, apiGap))
				s.converges(ctx, "the control plane is replaced", each(s.replaced(v), s.Cluster.Has(s.Cluster.workers)))
				s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(v))
				s.heals(ctx, "the host has power again")
				s.converges(ctx, "the record is worked off, and the cluster is whole", each(s.noCleanups(), s.absent(v.name()), s.Cluster.whole(s)))
			},
		},
		{
			name:    "forward-target-host-lost",
			answers: "design: the provider repoints a forward within 5 s when a control plane goes",
			does:    "the host of the control plane to which the forward leads loses power (not the forward's own host)",
			during:  "the API answers again within 10 s",
			after:   "the control plane is replaced, and its record worked off when the host is back",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				v := s.targetElsewhere(ctx)
				s.losesPower(ctx, v.host())
				s.within(ctx, apiGap, "the API answers", s.answersFor(workload, 3))
				s.converges(ctx, "the control plane is replaced", each(s.replaced(v), s.Cluster.Has(s.Cluster.workers)))
				s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(v))
				s.heals(ctx, "the host has power again")
				s.converges(ctx, "the record is worked off, and the cluster is whole", each(s.noCleanups(), s.Cluster.whole(s), s.answers(workload)))
			},
		},
		{
			name:    "forward-host-lost",
			answers: "design: a forward's host is a single point of failure",
			does:    "the host of the forward itself loses power, and has it back when the API does not answer",
			during:  "no Machine of another host is replaced",
			after:   "the API answers at the same endpoint",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				host := s.elementoCluster(ctx, s.Cluster).Spec.EndpointHost
				for _, w := range append(s.workers(ctx), s.controlPlanes(ctx)...) {
					if w.host() != host {
						s.always(ctx, "VM "+w.name()+" is the same", s.untouched(w))
					}
				}
				s.losesPower(ctx, host)
				s.within(ctx, cycle, "the API does not answer", not("the API answers without its forward", s.answers(workload)))
				s.heals(ctx, "the host has power")
				s.converges(ctx, "the API answers", each(s.answers(workload), s.Cluster.whole(s)))
			},
		},
		{
			name:    "majority-lost",
			answers: "etcd: without a majority nothing is written; it must come back by itself",
			does:    "the hosts of two of three control planes lose power for 15 s",
			during:  "the API does not answer: etcd has no majority",
			after:   "the API answers, and the cluster is whole",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				keep, lost := s.elementoCluster(ctx, s.Cluster).Spec.EndpointHost, 0
				for _, v := range s.controlPlanes(ctx) {
					if v.host() != keep && lost < 2 {
						lost++
						s.losesPower(ctx, v.host())
					}
				}
				Expect(lost).To(Equal(2), "control planes on hosts that have lost power")
				s.within(ctx, cycle, "the API does not answer", not("the API answers without a majority", s.answers(workload)))
				s.stays(ctx, 15*time.Second, "nor later", not("the API answers without a majority", s.answers(workload)))
				s.heals(ctx, "the hosts have power")
				s.converges(ctx, "the API answers", each(s.answers(workload), s.Cluster.whole(s)))
			},
		},
		{
			name:    "host-lost-while-creating",
			answers: "design: another host is tried after proven absence, or after a stated fencing grace when the host is down",
			does:    "the host that was chosen for a new worker loses power with the volumes made and the register of its VM under way, and comes back later",
			during:  "its Machine stays, and has no two VMs outside of the fencing grace",
			after:   "it is Ready on another host, and what the first one has is removed",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				// A VM that its host has shown is waited for instead: this one never comes to be.
				s.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", VM: s.Cluster.Key.Name + "-md-*", Effect: fakeatomos.Hang, Times: 1})
				// Without the forward's host no node could join.
				forward := s.elementoCluster(ctx, s.Cluster).Spec.EndpointHost
				s.breaks("nothing is placed on the forward's host", func() error { return s.Fake.SetMaintenance(ctx, forward, true) },
					func(ctx context.Context) error { return s.Fake.SetMaintenance(ctx, forward, false) })
				known, before := s.known(ctx), s.registers(ctx)
				s.adds(ctx, 1)
				v := s.placed(ctx, known)
				s.underWay(ctx, before)
				s.losesPower(ctx, v.host())
				// It may be the only other one of the domain.
				s.change("the forward's host takes VMs again", func() error { return s.Fake.SetMaintenance(ctx, forward, false) })
				s.always(ctx, "its Machine stays", s.kept(v))
				s.converges(ctx, "it is Ready elsewhere", s.readyElsewhere(v))
				s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(v))
				s.heals(ctx, "the host has power again")
				s.converges(ctx, "what it had is removed", each(s.noCleanups(), s.runsOnce(v.name())))
				s.changeWatched(ctx, v)
			},
		},
		{
			name:    "cluster-deleted-while-a-host-is-away",
			answers: "CAPMVM#190: cannot delete when the host was never reachable; CAPV#1396: stuck in Deleting",
			does:    "a cluster is deleted while one of its hosts is down",
			during:  "nothing is forgotten",
			after:   "the cluster is gone within its graces; what the host still has is removed when it is back",
			on:      none,
			play: func(ctx context.Context, s *stage) {
				c := s.troupe.cluster("doomed", "", 1, 2)
				c.make(ctx)
				all := append(s.vms(ctx, c, true), s.vms(ctx, c, false)...)
				v := draw(s, all)
				s.losesPower(ctx, v.host())
				s.change("the cluster is deleted", func() error { return c.AskDeletion(ctx) })
				s.converges(ctx, "the cluster is gone", c.Gone)
				s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(v))
				s.heals(ctx, "the host has power again")
				s.converges(ctx, "nothing is left of it", each(s.noCleanups(), s.absent(v.name()), s.noStrays(), s.nothingOf(c)))
			},
		},
		{
			name:    "domain-lost",
			answers: hypervisorFailure + ": \"If multiple AtomOS domains exist, workloads redistribute to healthy nodes\"",
			does:    "a whole domain loses power while workers are wanted, one of them pinned to that domain",
			during:  "the pinned one waits with a condition",
			after:   "those without a failure domain are Ready elsewhere; the pinned one is when the domain is back",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				domain := s.freeDomain(ctx)
				s.breaks(domain+" loses power", func() error { return s.Fake.DomainDown(ctx, domain) },
					func(ctx context.Context) error { return s.Fake.DomainUp(ctx, domain) })
				s.change("workers are added, and one for that domain", func() error {
					if err := s.Cluster.Scale(ctx, s.Cluster.workers+2); err != nil {
						return err
					}
					return s.pinned(ctx, domain)
				})
				s.converges(ctx, "those that may be anywhere are Ready elsewhere", s.readyIn(s.Cluster.workers+2, domain))
				s.within(ctx, cycle, "the pinned one waits with a condition", s.someSays(s.Cluster, infrav1.HostAssignedCondition, infrav1.HostUnreachableReason))
				s.heals(ctx, "the domain has power")
				s.converges(ctx, "the pinned one is Ready", s.pinnedReady())
				s.change("they are taken away", func() error {
					if err := s.unpin(ctx); err != nil {
						return err
					}
					return s.Cluster.Scale(ctx, s.Cluster.workers)
				})
			},
		},
		{
			name:    "hypervisor-update",
			answers: "AtomOS Hypervisor Updates: \"drain nodes, update hypervisor, recreate VMs\"",
			does:    "a host goes into maintenance, its Machines are deleted one at a time, it reboots and comes back",
			during:  "nothing is placed on it; the API answers but for the moments in which its endpoint moves",
			after:   "the cluster had left the host before its update, and is whole",
			on:      virtual,
			play: func(ctx context.Context, s *stage) {
				workload := s.workload(ctx, s.Cluster)
				host := s.holder(ctx).host()
				s.breaks(host+" goes into maintenance", func() error { return s.Fake.SetMaintenance(ctx, host, true) },
					func(ctx context.Context) error { return s.Fake.SetMaintenance(ctx, host, false) })
				s.always(ctx, "the API is never away for longer than 10 s", s.gapAtMost(workload, apiGap))
				s.always(ctx, "nothing is placed on it", s.nothingNewOn(ctx, host))
				for _, v := range append(s.workers(ctx), s.controlPlanes(ctx)...) {
					if v.host() != host {
						continue
					}
					s.change("Machine "+v.machine.Name+" is deleted", func() error { return s.Admin.Delete(ctx, v.machine.DeepCopy()) })
					s.converges(ctx, "it is replaced", each(s.replaced(v), s.Cluster.whole(s)))
				}
				s.within(ctx, cycle, "the cluster has left the host", s.left(host))
				s.breaks(host+" is updated", func() error { return s.Fake.Down(ctx, host) },
					func(ctx context.Context) error { return s.Fake.Up(ctx, host) })
				s.stays(ctx, 5*time.Second, "nobody misses it", s.Cluster.Has(s.Cluster.workers))
				s.heals(ctx, "the host is back")
				s.converges(ctx, "all is well", s.Cluster.whole(s))
			},
		},
		{
			name:    "slow-host",
			answers: "C4 calls carry deadlines; slow is not gone",
			does:    "a worker's host takes 2 s for every call while workers are made",
			during:  "the workers that are there stay, and no VM is on AtomOS twice",
			after:   "the new workers are Ready",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.staySame(ctx, s.workers(ctx))
				host := s.anyWorker(ctx).host()
				s.breaks(host+" is slow", func() error { return s.Fake.SetSlow(ctx, host, 2*time.Second) },
					func(ctx context.Context) error { return s.Fake.SetSlow(ctx, host, 0) })
				s.adds(ctx, 3)
				s.converges(ctx, "they are Ready", each(s.Cluster.Has(s.Cluster.workers+3), s.consistent(s.Cluster)))
				// Those that are to go are the new ones: the others are watched over.
				s.condemnNewest(ctx, 3)
				s.removes(ctx)
			},
		},
	}
}

// losesPower takes power from a host and its VMs, until it is healed.
func (s *stage) losesPower(ctx context.Context, host string) {
	GinkgoHelper()
	s.breaks("host "+host+" loses power", func() error { return s.Fake.Down(ctx, host) },
		func(ctx context.Context) error { return s.Fake.Up(ctx, host) })
}

// staySame demands of all these VMs that they and their Machines stay.
func (s *stage) staySame(ctx context.Context, vms []vm) {
	for _, v := range vms {
		s.always(ctx, "VM "+v.name()+" is the same", s.untouched(v))
	}
}

// holder is the control plane that holds the cluster's virtual address.
func (s *stage) holder(ctx context.Context) vm {
	name, err := s.troupe.watched.holder(s.elementoCluster(ctx, s.Cluster).Spec.ControlPlaneEndpoint.Host)
	Expect(err).NotTo(HaveOccurred())
	for _, v := range s.controlPlanes(ctx) {
		if v.name() == name {
			return v
		}
	}
	Expect(name).To(BeEmpty(), "no control plane holds the virtual address")
	return vm{}
}

func (s *stage) elementoCluster(ctx context.Context, c *standing) *infrav1.ElementoCluster {
	o := &infrav1.ElementoCluster{}
	Expect(s.Admin.Get(ctx, c.Key, o)).To(Succeed())
	return o
}

// targetElsewhere is the control plane to which the forward leads; if that is on
// the forward's own host, its VM is switched off until another one is.
func (s *stage) targetElsewhere(ctx context.Context) vm {
	find := func() (vm, bool) {
		o := s.elementoCluster(ctx, s.Cluster)
		for _, v := range s.controlPlanes(ctx) {
			if v.name() == o.Status.EndpointTarget {
				return v, v.host() != o.Spec.EndpointHost
			}
		}
		return vm{}, false
	}
	v, elsewhere := find()
	if !elsewhere {
		Expect(s.Fake.CrashVM(ctx, v.host(), v.name())).To(Succeed())
		s.within(ctx, cycle, "the forward leads elsewhere", func(context.Context) error {
			if v, elsewhere = find(); !elsewhere {
				return fmt.Errorf("the forward leads to VM %s on its own host", v.name())
			}
			return nil
		})
		s.within(ctx, cycle, "the cluster is whole", s.Cluster.whole(s))
		v, elsewhere = find()
		Expect(elsewhere).To(BeTrue(), "the forward went back without need")
	}
	return v
}

// gapAtMost holds as long as the API has answered within the time.
func (s *stage) gapAtMost(config *rest.Config, gap time.Duration) check {
	last := time.Now()
	return func(ctx context.Context) error {
		err := s.answers(config)(ctx)
		if err == nil {
			last = time.Now()
		} else if since := time.Since(last); since > gap {
			return fmt.Errorf("the API has not answered for %s: %w", since.Round(time.Second), err)
		}
		return nil
	}
}

// known are the Machines that there are.
func (s *stage) known(ctx context.Context) map[string]bool {
	known := map[string]bool{}
	for _, m := range s.Cluster.Machines(ctx, s.Admin).All() {
		known[m.Name] = true
	}
	return known
}

// placed waits for a new worker for which a host is written down.
func (s *stage) placed(ctx context.Context, known map[string]bool) (v vm) {
	s.within(ctx, cycle, "a host is chosen", func(ctx context.Context) error {
		for _, w := range s.workers(ctx) {
			if !known[w.machine.Name] && w.host() != "" {
				v = w
				return nil
			}
		}
		return fmt.Errorf("no new worker has a host")
	})
	return v
}

// readyElsewhere holds when a Machine is Ready with a VM on another host.
func (s *stage) readyElsewhere(v vm) check {
	return func(ctx context.Context) error {
		o := &infrav1.ElementoMachine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.object), o); err != nil {
			return err
		}
		if o.Spec.Host == v.host() {
			return fmt.Errorf("it is still to be on host %s", v.host())
		}
		return s.Cluster.Has(s.Cluster.workers + 1)(ctx)
	}
}

// nothingOf holds when AtomOS has no network and no forward of the cluster.
func (s *stage) nothingOf(c *standing) check {
	return func(ctx context.Context) error {
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		for _, h := range inventory.Hosts {
			for _, f := range h.Forwards {
				for _, other := range s.troupe.standing {
					if o := (&infrav1.ElementoCluster{}); s.Admin.Get(ctx, other.Key, o) == nil && int(o.Spec.ControlPlaneEndpoint.Port) == f.Port && o.Spec.EndpointHost == h.Name {
						f.Port = 0
					}
				}
				if f.Port != 0 {
					return fmt.Errorf("forward from port %d is on host %s", f.Port, h.Name)
				}
			}
			for _, n := range h.Networks {
				if p, err := netip.ParsePrefix(n.IP.Address); err == nil && p.Masked().String() == c.Variables["ELEMENTO_NETWORK_CIDR"] {
					return fmt.Errorf("network %s is on host %s", n.Name, h.Name)
				}
			}
		}
		return nil
	}
}

// freeDomain is one of which the forward's host is no part, so that the API stays.
func (s *stage) freeDomain(ctx context.Context) string {
	host := s.elementoCluster(ctx, s.Cluster).Spec.EndpointHost
	var taken string
	for _, h := range s.World.Hosts() {
		if h.ID == host {
			taken = h.Domain
		}
	}
	var domains []string
	for _, h := range s.World.Hosts() {
		if h.Domain != taken {
			domains = append(domains, h.Domain)
		}
	}
	return draw(s, domains)
}

// readyIn holds when there are so many workers outside of a domain, all Ready.
func (s *stage) readyIn(workers int, not string) check {
	return func(ctx context.Context) error {
		objects, err := s.Cluster.vms(ctx)
		if err != nil {
			return err
		}
		domains := map[string]string{}
		for _, o := range objects {
			domains[o.Name] = o.Spec.Domain
		}
		machines, err := s.Cluster.ListMachines(ctx, s.Admin)
		if err != nil {
			return err
		}
		n := 0
		for _, m := range machines.Workers {
			if domains[m.Spec.InfrastructureRef.Name] != not && conditions.IsTrue(&m, clusterv1.ReadyCondition) && m.DeletionTimestamp == nil {
				n++
			}
		}
		if n < workers {
			return fmt.Errorf("%d workers outside of %s are Ready, want %d", n, not, workers)
		}
		return nil
	}
}

// nothingNewOn holds as long as a host has no other VMs than it has now.
func (s *stage) nothingNewOn(ctx context.Context, host string) check {
	there := map[string]bool{}
	look := func(ctx context.Context, see func(name string) error) error {
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		for _, h := range inventory.Hosts {
			for _, v := range h.VMs {
				if h.Name == host {
					if err := see(v.Name); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	Expect(look(ctx, func(name string) error { there[name] = true; return nil })).To(Succeed())
	return func(ctx context.Context) error {
		return look(ctx, func(name string) error {
			if !there[name] {
				return fmt.Errorf("VM %s is on host %s", name, host)
			}
			return nil
		})
	}
}

// left holds when a host has no VM of the cluster any more.
func (s *stage) left(host string) check {
	return func(ctx context.Context) error {
		objects, err := s.Cluster.vms(ctx)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if _, hosts, err := s.onAtomOS(ctx, o.Spec.VMName); err != nil || slices.Contains(hosts, host) {
				return errors.Join(err, fmt.Errorf("host %s has VM %s", host, o.Spec.VMName))
			}
		}
		return nil
	}
}
