package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// drift are the scenarios in which AtomOS changes and nobody has asked for it.
func drift() []scenario {
	return []scenario{
		{
			name:    "vm-crashes",
			answers: "Drift Detection: \"power state changes\"; VM-Level Failures: \"Kubernetes self-healing ensures pod rescheduling once nodes rejoin\"",
			does:    "a worker's VM loses its power",
			during:  "its Machine stays, and so does the VM",
			after:   "the same VM runs again and its Node is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "the VM and its Machine stay", s.untouched(v))
				s.breaks("the VM crashes", func() error { return s.Fake.CrashVM(ctx, v.host(), v.name()) }, nil)
				s.converges(ctx, "the VM runs again", s.runsOnce(v.name()))
			},
		},
		{
			name:    "control-plane-crashes",
			answers: "Drift Detection: \"power state changes\"",
			does:    "the only control plane's VM loses its power",
			during:  "its Machine stays, and so does the VM",
			after:   "the same VM runs again and the API answers at the same endpoint",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyControlPlane(ctx)
				workload := s.workload(ctx, s.Cluster)
				s.always(ctx, "the VM and its Machine stay", s.untouched(v))
				s.breaks("the VM crashes", func() error { return s.Fake.CrashVM(ctx, v.host(), v.name()) }, nil)
				s.within(ctx, cycle, "the API does not answer", not("the API answers without its only server", s.answers(workload)))
				s.converges(ctx, "the API answers again", each(s.runsOnce(v.name()), s.answers(workload)))
			},
		},
		{
			name:    "worker-vm-vanishes",
			answers: "Manual Intervention: \"If VM manually deleted outside CAPI: provider recreates it within one reconciliation cycle\"; Drift Remediation: \"Missing VMs: automatically reprovisioned with same configuration\"",
			does:    "a worker's VM and its volumes are deleted by hand, long after its node has joined",
			during:  "no VM is on AtomOS twice",
			after:   "its Machine is replaced within one cycle by one of the same configuration, whose node is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.breaks("the VM vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				s.converges(ctx, "its Machine is replaced", each(s.replaced(v), s.Cluster.whole(s)))
				Expect(s.took).To(BeNumerically("<=", cycle), "the time until it was replaced")
				Expect(configuration(s.newest(s.workers(ctx)))).To(Equal(configuration(v)), "the configuration of the one that came")
			},
		},
		{
			name:    "vm-vanishes-and-its-volumes-stay",
			answers: "Drift Remediation: \"Missing VMs: automatically reprovisioned\"; nothing may be left",
			does:    "a worker's VM is taken away by hand, and its volumes stay",
			during:  "no VM is on AtomOS twice",
			after:   "its Machine is replaced, and the old volumes are gone",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.breaks("the VM vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), false) }, nil)
				s.converges(ctx, "its Machine is replaced", each(s.replaced(v), s.absent(v.name()), s.Cluster.whole(s)))
			},
		},
		{
			name:    "vm-vanishes-before-it-joined",
			answers: "design: a VM that is gone before its node ever joined is created again from the same bootstrap data",
			does:    "a new worker's boot hangs, and its VM is taken away",
			during:  "its Machine stays",
			after:   "the same Machine has a new VM, and its node is Ready",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.fault(ctx, fakeatomos.Fault{Effect: fakeatomos.HangBoot, Times: 1})
				s.adds(ctx, 1)
				var v vm
				s.within(ctx, cycle, "its VM runs and has no node", func(ctx context.Context) error {
					for _, w := range s.workers(ctx) {
						if w.machine.Status.NodeRef.Name == "" && w.uid != "" && s.runsOnce(w.name())(ctx) == nil {
							v = w
							return nil
						}
					}
					return fmt.Errorf("no worker has a VM and no node")
				})
				s.always(ctx, "its Machine stays", s.kept(v))
				s.breaks("the VM vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				s.converges(ctx, "it is made again and its node is Ready", each(s.runsOnce(v.name()), s.Cluster.Has(s.Cluster.workers+1)))
				// The Machine that is watched over must not be the one that goes.
				s.changeWatched(ctx, v)
			},
		},
		{
			name:    "control-plane-vm-vanishes",
			answers: "Drift Remediation: \"Missing VMs: automatically reprovisioned with same configuration\"",
			does:    "one of three control planes' VM is deleted by hand",
			during:  "the API answers but for at most 10 s in which its endpoint is led elsewhere",
			after:   "its Machine is replaced, and three control planes are Ready",
			on:      wide,
			play: func(ctx context.Context, s *stage) {
				v := s.anyControlPlane(ctx)
				workload := s.workload(ctx, s.Cluster)
				s.always(ctx, "the API is never away for longer than 10 s", s.gapAtMost(workload, apiGap))
				s.breaks("the VM vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				s.within(ctx, apiGap, "the API answers", s.answersFor(workload, 3))
				s.converges(ctx, "its Machine is replaced", each(s.replaced(v), s.Cluster.whole(s), s.answers(workload)))
			},
		},
		{
			name:    "only-control-plane-vanishes",
			answers: "design: a single control plane is not remediated: condition and event",
			does:    "the VM of a cluster's only control plane is deleted by hand",
			during:  "its Machine stays: nothing could replace what was in its etcd",
			after:   "a condition and an event say what happened and what to do; the cluster can be deleted and leaves nothing",
			on:      none,
			play: func(ctx context.Context, s *stage) {
				c := s.troupe.cluster("single", "", 1, 0)
				c.make(ctx)
				v := s.vms(ctx, c, true)[0]
				s.always(ctx, "its Machine stays", s.keptOrDeleted(c, v))
				s.breaks("the VM vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				s.converges(ctx, "condition and event say so", each(s.says(v, infrav1.VMProvisionedCondition, infrav1.VMLostReason), s.event(v, infrav1.VMLostReason)))
				s.stays(ctx, never, "and nobody replaces it", s.kept(v))
				s.change("the cluster is deleted", func() error { return c.AskDeletion(ctx) })
				s.converges(ctx, "nothing is left of it", each(c.Gone, s.absent(v.name()), s.noStrays(), s.noCleanups()))
			},
		},
		{
			name:    "vm-changed-by-hand",
			answers: "Manual Intervention: \"If VM manually modified: provider logs event but does not force correction (to prevent flapping)\"; Drift Detection: \"resource modifications\"",
			does:    "a worker's VM gets more memory and one more slot by hand, and then what it had",
			during:  "the VM is left alone",
			after:   "a condition, an event and a metric say so, and no longer once it is as it was",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "the VM is left alone", s.untouched(v))
				spec := v.object.Spec
				s.breaks("the VM is changed", func() error {
					return s.Fake.ChangeVM(ctx, v.host(), v.name(), fakeatomos.Change{Slots: int(spec.Slots) + 1, MemoryMiB: spec.MemoryMiB + 4096})
				}, func(ctx context.Context) error {
					return s.Fake.ChangeVM(ctx, v.host(), v.name(), fakeatomos.Change{Slots: int(spec.Slots), MemoryMiB: spec.MemoryMiB})
				})
				s.converges(ctx, "condition, event and metric say so", each(
					s.says(v, infrav1.VMMatchesSpecCondition, infrav1.DriftedReason), s.event(v, infrav1.DriftedReason), s.metric("elemento_drifted_vms", 1)))
				s.stays(ctx, never, "nobody changes it back", s.says(v, infrav1.VMMatchesSpecCondition, infrav1.DriftedReason))
				s.heals(ctx, "the VM is changed back")
				s.converges(ctx, "nobody complains any more", each(
					s.says(v, infrav1.VMMatchesSpecCondition, infrav1.MatchesSpecReason), s.metric("elemento_drifted_vms", 0)))
			},
		},
		{
			name:    "template-changed",
			answers: "Drift Remediation: \"Configuration drift: VMs recreated to match desired state\"",
			does:    "the workers are to be made of a template with a GiB of memory more, and then of the old one again",
			during:  "no VM is on AtomOS twice; the workload cluster's API answers",
			after:   "each time all workers are new ones, and their VMs have the memory of the template",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.always(ctx, "no VM is on AtomOS twice", s.noTwins())
				s.always(ctx, "the workload cluster's API answers", s.gapAtMost(s.workload(ctx, s.Cluster), 3*time.Second))
				memory := s.anyWorker(ctx).object.Spec.MemoryMiB
				s.breaks("the template is another one", func() error { return s.Cluster.Roll(ctx, 1024) },
					func(ctx context.Context) error { return s.Cluster.Roll(ctx, 0) })
				s.converges(ctx, "all VMs are as it says", each(s.allHave(memory+1024), s.Cluster.whole(s)))
				s.heals(ctx, "the template is the old one")
				s.converges(ctx, "all VMs are as it says", each(s.allHave(memory), s.Cluster.whole(s)))
			},
		},
		{
			name:    "unexpected-vm",
			answers: "Drift Remediation: \"Unexpected VMs: logged as warnings, not automatically deleted (safety mechanism)\"; CAPX#759",
			does:    "somebody makes a VM with our client UUID by hand",
			during:  "it is never touched",
			after:   "a metric counts it, until it goes, and a warning names it",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				host := s.anyHost()
				var uid string
				s.breaks("a VM is made by hand", func() (err error) {
					uid, err = s.foreignVM(ctx, host, s.World.ClientUID(), "made-by-hand")
					return err
				}, func(ctx context.Context) error { return s.unregister(ctx, host, s.World.ClientUID(), uid) })
				s.converges(ctx, "the metric counts it", s.metric("elemento_unexpected_vms", 1))
				s.within(ctx, cycle, "it runs", s.runsAs("made-by-hand", uid))
				until := s.always(ctx, "nobody touches it", s.runsAs("made-by-hand", uid))
				s.converges(ctx, "a warning names it", s.warning("UnexpectedVM", "made-by-hand"))
				s.stays(ctx, never, "nor later", s.runsAs("made-by-hand", uid))
				until()
				s.heals(ctx, "it is removed by hand")
				s.converges(ctx, "the metric does not count it", s.metric("elemento_unexpected_vms", 0))
			},
		},
		{
			name:    "someone-elses-vm-of-the-same-name",
			answers: "CAPMOX#856: the wrong VM is destroyed through a reused id",
			does:    "another client of AtomOS has a VM with the very name of a worker's, which is then deleted",
			during:  "the other client's VM is never touched",
			after:   "the worker is gone, the other client's VM runs",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				s.adds(ctx, 1)
				s.converges(ctx, "it is Ready", s.Cluster.Has(s.Cluster.workers+1))
				v := s.newest(s.workers(ctx))
				var uid string
				s.breaks("another client makes a VM of its name", func() (err error) {
					uid, err = s.foreignVM(ctx, v.host(), "someone-else", v.name())
					return err
				}, func(ctx context.Context) error { return s.unregister(ctx, v.host(), "someone-else", uid) })
				s.within(ctx, cycle, "it runs", s.runsAs(v.name(), uid))
				s.always(ctx, "it is never touched", s.runsAs(v.name(), uid))
				s.condemnNewest(ctx, 1)
				s.removes(ctx)
				s.converges(ctx, "it is gone, and the other VM runs", each(s.replaced(v), s.runsAs(v.name(), uid)))
				s.stays(ctx, never, "the other VM is not touched", s.runsAs(v.name(), uid))
			},
		},
		{
			name:    "reconcile-on-demand",
			answers: "Manual Intervention: \"Cluster administrators can trigger manual reconciliation via CAPI Machine annotations\"",
			does:    "an administrator asks for a reconcile of a Machine by its annotation",
			during:  "its VM is left alone",
			after:   "our manager has asked its host and reconciled it within 10 s",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "its VM is left alone", s.untouched(v))
				asked := time.Now().Format(time.RFC3339Nano)
				s.change("the annotation is set", func() error {
					m := v.machine.DeepCopy()
					if m.Annotations == nil {
						m.Annotations = map[string]string{}
					}
					m.Annotations[infrav1.ReconcileRequestedAnnotation] = asked
					return s.Admin.Patch(ctx, m, client.MergeFrom(&v.machine))
				})
				reconciled := func(ctx context.Context) error {
					o := &infrav1.ElementoMachine{}
					if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.object), o); err != nil {
						return err
					}
					if o.Status.ReconcileRequested != asked {
						return fmt.Errorf("it was reconciled at the request of %q, want %q", o.Status.ReconcileRequested, asked)
					}
					return nil
				}
				s.within(ctx, 10*time.Second, "it is reconciled at once", reconciled)
				s.converges(ctx, "and its host was asked", each(reconciled, s.saysTrue(v, infrav1.VMRunningCondition)))
			},
		},
		{
			name:    "machine-deleted-behind-cluster-api",
			answers: "CAPV#2039, CAPV#1396: stuck in Deleting, finalizer too late",
			does:    "somebody deletes an ElementoMachine instead of its Machine",
			during:  "nothing of a VM is there without its ElementoMachine",
			after:   "the VM is gone, the Machine is replaced",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				s.always(ctx, "nothing of a VM is there without its ElementoMachine", s.noStrays())
				s.breaks("the ElementoMachine is deleted", func() error { return s.Admin.Delete(ctx, v.object.DeepCopy()) }, nil)
				s.converges(ctx, "its VM is gone", s.absent(v.name()))
				// Its Machine has no infrastructure any more; Cluster API leaves it to people.
				s.change("and so is the Machine", func() error { return client.IgnoreNotFound(s.Admin.Delete(ctx, v.machine.DeepCopy())) })
				s.converges(ctx, "it is replaced", each(s.replaced(v), s.Cluster.whole(s)))
			},
		},
		{
			name:    "paused-cluster",
			answers: "CAPI contract: what is paused is left alone",
			does:    "a cluster is paused, a worker's VM crashes, and the cluster goes on",
			during:  "nobody starts the VM while the cluster is paused",
			after:   "the VM runs again",
			on:      small,
			play: func(ctx context.Context, s *stage) {
				v := s.anyWorker(ctx)
				pause := func(ctx context.Context, paused bool) error {
					c := &clusterv1.Cluster{}
					if err := s.Admin.Get(ctx, s.Cluster.Key, c); err != nil {
						return err
					}
					patch := client.MergeFrom(c.DeepCopy())
					c.Spec.Paused = &paused
					return s.Admin.Patch(ctx, c, patch)
				}
				s.breaks("the cluster is paused", func() error { return pause(ctx, true) }, func(ctx context.Context) error { return pause(ctx, false) })
				s.within(ctx, cycle, "the ElementoMachine says so", s.saysTrue(v, clusterv1.PausedCondition))
				s.breaks("the VM crashes", func() error { return s.Fake.CrashVM(ctx, v.host(), v.name()) }, nil)
				s.stays(ctx, never, "nobody starts it", not("the VM runs", s.runsOnce(v.name())))
				s.heals(ctx, "the cluster goes on")
				s.converges(ctx, "the VM runs again", s.runsOnce(v.name()))
			},
		},
	}
}

// configuration is what a VM was asked to be, without what is its own.
func configuration(v vm) infrav1.ElementoMachineSpec {
	spec := *v.object.Spec.DeepCopy()
	spec.VMName, spec.ProviderID, spec.Domain, spec.Host = "", "", "", ""
	return spec
}

// newest is the VM of the Machine that came last.
func (s *stage) newest(vms []vm) vm {
	machines := make([]clusterv1.Machine, 0, len(vms))
	for _, v := range vms {
		machines = append(machines, v.machine)
	}
	sortByAge(machines)
	for _, v := range vms {
		if v.machine.Name == machines[len(machines)-1].Name {
			return v
		}
	}
	return vm{}
}

// changeWatched scales down to the standing size so that a Machine which must stay
// does: the newest of the others goes.
func (s *stage) changeWatched(ctx context.Context, keep vm) {
	for _, w := range s.workers(ctx) {
		if w.machine.Name == keep.machine.Name {
			continue
		}
		patch := client.MergeFrom(w.machine.DeepCopy())
		if w.machine.Annotations == nil {
			w.machine.Annotations = map[string]string{}
		}
		w.machine.Annotations[clusterv1.DeleteMachineAnnotation] = "true"
		Expect(s.Admin.Patch(ctx, &w.machine, patch)).To(Succeed())
		break
	}
	s.removes(ctx)
}

// foreignVM makes a small VM on a host by C4, as anyone can who reaches it, and
// returns its uniqueID.
func (s *stage) foreignVM(ctx context.Context, host, owner, name string) (uid string, err error) {
	return s.register(ctx, host, owner, name, 1024)
}

// fill has another client take all the memory that a host has left.
func (s *stage) fill(ctx context.Context, host string) (uid string, err error) {
	hostClient, err := s.c4(host)
	if err != nil {
		return "", err
	}
	defer hostClient.Close()
	info, err := hostClient.Info(ctx)
	if err != nil {
		return "", err
	}
	return s.register(ctx, host, "someone-else", "fills-"+host, info.Mem.Avail)
}

func (s *stage) register(ctx context.Context, host, owner, name string, memory int64) (uid string, err error) {
	hostClient, err := s.c4(host)
	if err != nil {
		return "", err
	}
	defer hostClient.Close()
	return hostClient.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: c4.Pledge{
		CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 10, MinFrequency: "0.5", Arch: []string{"X86_64"}},
		Mem: c4.MemPledge{Capacity: memory},
	}})
}

func (s *stage) unregister(ctx context.Context, host, owner, uid string) error {
	hostClient, err := s.c4(host)
	if err != nil {
		return err
	}
	defer hostClient.Close()
	return hostClient.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: uid})
}

// c4 asks a host itself.
func (s *stage) c4(host string) (*c4.Client, error) {
	for _, h := range s.World.Hosts() {
		if h.ID == host {
			config, err := h.C4()
			if err != nil {
				return nil, err
			}
			return c4.New(config)
		}
	}
	return nil, fmt.Errorf("there is no host %s", host)
}
