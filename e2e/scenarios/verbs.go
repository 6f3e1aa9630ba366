package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// vm is a VM as all sides know it.
type vm struct {
	machine clusterv1.Machine
	object  infrav1.ElementoMachine
	// uid is the host's own; another one is another VM.
	uid string
}

func (v vm) name() string { return v.object.Spec.VMName }
func (v vm) host() string { return v.object.Spec.Host }

// workers and controlPlanes are the standing cluster's VMs, in the order of their
// names.
func (s *stage) workers(ctx context.Context) []vm       { return s.vms(ctx, s.Cluster, false) }
func (s *stage) controlPlanes(ctx context.Context) []vm { return s.vms(ctx, s.Cluster, true) }

func (s *stage) vms(ctx context.Context, c *standing, controlPlane bool) []vm {
	GinkgoHelper()
	machines := c.Machines(ctx, s.Admin)
	of := machines.Workers
	if controlPlane {
		of = machines.ControlPlane
	}
	slices.SortFunc(of, func(a, b clusterv1.Machine) int { return strings.Compare(a.Name, b.Name) })
	var found []vm
	for _, m := range of {
		v := vm{machine: m}
		Expect(s.Admin.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.Spec.InfrastructureRef.Name}, &v.object)).To(Succeed())
		v.uid = v.object.Status.VMUID
		found = append(found, v)
	}
	return found
}

// anyWorker and anyControlPlane are drawn.
func (s *stage) anyWorker(ctx context.Context) vm {
	GinkgoHelper()
	return draw(s, s.workers(ctx))
}

func (s *stage) anyControlPlane(ctx context.Context) vm {
	GinkgoHelper()
	return draw(s, s.controlPlanes(ctx))
}

func draw[T any](s *stage, from []T) T {
	GinkgoHelper()
	Expect(from).NotTo(BeEmpty(), "there is nothing to draw from")
	return from[s.Rand.IntN(len(from))]
}

// anyHost is drawn among all hosts.
func (s *stage) anyHost() string {
	GinkgoHelper()
	return draw(s, s.World.Hosts()).ID
}

// inventory is what the fake holds.
func (s *stage) inventory(ctx context.Context) (fakeatomos.Inventory, error) {
	return s.Fake.Inventory(ctx)
}

// onAtomOS finds the VMs of a name, on any host: one, none, or more.
func (s *stage) onAtomOS(ctx context.Context, name string) (found []fakeatomos.VMInventory, hosts []string, err error) {
	inventory, err := s.inventory(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range inventory.Hosts {
		for _, v := range h.VMs {
			if v.Name == name {
				found, hosts = append(found, v), append(hosts, h.Name)
			}
		}
	}
	return found, hosts, nil
}

// runsOnce holds when AtomOS has exactly one VM of that name, and it runs.
func (s *stage) runsOnce(name string) check {
	return func(ctx context.Context) error {
		found, hosts, err := s.onAtomOS(ctx, name)
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].RunningSince.IsZero() {
			return fmt.Errorf("AtomOS has %d VMs %s (on %v), want one that runs", len(found), name, hosts)
		}
		return nil
	}
}

// absent holds when no host that has power has anything of a VM: neither itself
// nor a volume.
func (s *stage) absent(name string) check {
	return func(ctx context.Context) error {
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		for _, h := range inventory.Hosts {
			if err := without(h, name); err != nil {
				return err
			}
		}
		return nil
	}
}

// without says what a host has of a VM: itself or a volume.
func without(h fakeatomos.HostInventory, name string) error {
	for _, v := range h.VMs {
		if v.Name == name {
			return fmt.Errorf("VM %s is on host %s", name, h.Name)
		}
	}
	for _, v := range h.Volumes {
		if v.Name == name || strings.HasPrefix(v.Name, name+"-") {
			return fmt.Errorf("volume %s is on host %s", v.Name, h.Name)
		}
	}
	return nil
}

// noTwins holds when no VM name is on AtomOS twice.
func (s *stage) noTwins() check {
	return func(ctx context.Context) error {
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		seen := map[string]string{}
		for _, h := range inventory.Hosts {
			for _, v := range h.VMs {
				if other, twice := seen[v.Name]; twice {
					return fmt.Errorf("VM %s is on host %s and on host %s", v.Name, other, h.Name)
				}
				seen[v.Name] = h.Name
			}
		}
		return nil
	}
}

// consistent holds when each VM of AtomOS that is one of the cluster's runs, each
// of its ElementoMachines has its VM, and there is no volume of a VM that is none.
func (s *stage) consistent(c *standing) check {
	return func(ctx context.Context) error {
		objects, err := c.vms(ctx)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := s.runsOnce(o.Spec.VMName)(ctx); err != nil {
				return err
			}
		}
		return s.noStrays()(ctx)
	}
}

// noStrays holds when every VM and every VM's volume on AtomOS has an
// ElementoMachine.
func (s *stage) noStrays() check {
	return func(ctx context.Context) error {
		all := &infrav1.ElementoMachineList{}
		if err := s.Admin.List(ctx, all); err != nil {
			return err
		}
		known := map[string]bool{}
		for _, o := range all.Items {
			known[o.Spec.VMName] = true
		}
		inventory, err := s.inventory(ctx)
		if err != nil {
			return err
		}
		for _, h := range inventory.Hosts {
			for _, v := range h.VMs {
				if v.Owner == s.World.ClientUID() && !known[v.Name] {
					return fmt.Errorf("VM %s on host %s is no ElementoMachine's", v.Name, h.Name)
				}
			}
			for _, v := range h.Volumes {
				if v.Owner == s.World.ClientUID() && !known[ownerOf(v.Name)] {
					return fmt.Errorf("volume %s on host %s is no ElementoMachine's", v.Name, h.Name)
				}
			}
		}
		return nil
	}
}

// ownerOf is the VM of a volume, whose name is the VM's and what it is for.
func ownerOf(volume string) string { return volume[:max(strings.LastIndexByte(volume, '-'), 0)] }

// noCleanups holds when no ElementoCleanup waits, or none of those that are meant.
func (s *stage) noCleanups(of ...client.ListOption) check {
	return func(ctx context.Context) error {
		list := &infrav1.ElementoCleanupList{}
		if err := s.Admin.List(ctx, list, of...); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("%d ElementoCleanups wait, the first for host %s: %s", len(list.Items), list.Items[0].Spec.Host, list.Items[0].Spec.Message)
		}
		return nil
	}
}

// cleanupOf holds when an ElementoCleanup waits for that VM on that host.
func (s *stage) cleanupOf(v vm) check {
	return func(ctx context.Context) error {
		list := &infrav1.ElementoCleanupList{}
		if err := s.Admin.List(ctx, list); err != nil {
			return err
		}
		for _, c := range list.Items {
			if c.Spec.VMName == v.name() && c.Spec.Host == v.host() {
				return nil
			}
		}
		return fmt.Errorf("no ElementoCleanup for VM %s on host %s", v.name(), v.host())
	}
}

// untouched holds while a VM is the one that it was: the same Machine, the same
// VM, running.
func (s *stage) untouched(v vm) check {
	return func(ctx context.Context) error {
		found, _, err := s.onAtomOS(ctx, v.name())
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].UID != v.uid {
			return fmt.Errorf("VM %s is no longer the one with uniqueID %s: %v", v.name(), v.uid, found)
		}
		return s.kept(v)(ctx)
	}
}

// kept holds while a VM's Machine is there and is not being deleted.
func (s *stage) kept(v vm) check {
	return func(ctx context.Context) error {
		m := &clusterv1.Machine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.machine), m); err != nil {
			return err
		}
		if m.UID != v.machine.UID || m.DeletionTimestamp != nil {
			return fmt.Errorf("Machine %s is replaced", m.Name)
		}
		return nil
	}
}

// replaced holds when a VM's Machine is gone.
func (s *stage) replaced(v vm) check {
	return func(ctx context.Context) error {
		err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.machine), &clusterv1.Machine{})
		if err == nil {
			return fmt.Errorf("Machine %s is still there", v.machine.Name)
		}
		return client.IgnoreNotFound(err)
	}
}

// says holds when a condition of a VM's ElementoMachine has that reason.
func (s *stage) says(v vm, condition, reason string) check {
	return func(ctx context.Context) error {
		o := &infrav1.ElementoMachine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.object), o); err != nil {
			return err
		}
		c := conditions.Get(o, condition)
		if c == nil || c.Reason != reason {
			return fmt.Errorf("condition %s of ElementoMachine %s is %+v, want reason %s", condition, o.Name, c, reason)
		}
		return nil
	}
}

// someSays holds when a condition of any ElementoMachine of the cluster has that
// reason.
func (s *stage) someSays(c *standing, condition, reason string) check {
	return func(ctx context.Context) error {
		objects, err := c.vms(ctx)
		if err != nil {
			return err
		}
		var said []string
		for _, o := range objects {
			if c := conditions.Get(&o, condition); c != nil {
				if c.Reason == reason {
					return nil
				}
				said = append(said, c.Reason)
			}
		}
		return fmt.Errorf("no ElementoMachine has condition %s with reason %s, they say %v", condition, reason, said)
	}
}

// event holds when there is an event of that reason about the object of a VM.
func (s *stage) event(v vm, reason string) check {
	return func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := s.Admin.List(ctx, list, client.InNamespace(v.object.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.UID == v.object.UID {
				return nil
			}
		}
		return fmt.Errorf("no event %s about ElementoMachine %s", reason, v.object.Name)
	}
}

// warning holds when there is an event of that reason, about whatever, that names
// something.
func (s *stage) warning(reason, name string) check {
	return func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := s.Admin.List(ctx, list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.Type == corev1.EventTypeWarning && strings.Contains(e.Note, name) {
				return nil
			}
		}
		return fmt.Errorf("no warning %s names %s", reason, name)
	}
}

// workload reaches the standing cluster with the kubeconfig that Cluster API keeps.
func (s *stage) workload(ctx context.Context, c *standing) *rest.Config {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Expect(s.Admin.Get(ctx, client.ObjectKey{Namespace: c.Key.Namespace, Name: c.Key.Name + "-kubeconfig"}, secret)).To(Succeed())
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
	Expect(err).NotTo(HaveOccurred())
	config.Timeout = 2 * time.Second
	return config
}

// answers holds when the cluster's API server answers at its endpoint, over a new
// connection.
func (s *stage) answers(config *rest.Config) check {
	return func(ctx context.Context) error {
		tlsConfig, err := rest.TLSConfigFor(config)
		if err != nil {
			return err
		}
		transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true, TLSHandshakeTimeout: time.Second}
		defer transport.CloseIdleConnections()
		return get(ctx, transport, config.Host+"/version")
	}
}

func get(ctx context.Context, transport http.RoundTripper, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + response.Status)
	}
	return nil
}

// never looks at something for as long as nobody has an interest in more.
const never = 10 * time.Second

// sortByAge puts the oldest first.
func sortByAge(machines []clusterv1.Machine) {
	slices.SortFunc(machines, func(a, b clusterv1.Machine) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
}

// saysTrue holds when a condition of a VM's ElementoMachine is true.
func (s *stage) saysTrue(v vm, condition string) check {
	return func(ctx context.Context) error {
		o := &infrav1.ElementoMachine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.object), o); err != nil {
			return err
		}
		if !conditions.IsTrue(o, condition) {
			return fmt.Errorf("condition %s of ElementoMachine %s is %+v", condition, o.Name, conditions.Get(o, condition))
		}
		return nil
	}
}

// runsAs holds when there is a VM of that name and uniqueID that runs, whoever
// owns it.
func (s *stage) runsAs(name, uid string) check {
	return func(ctx context.Context) error {
		found, _, err := s.onAtomOS(ctx, name)
		if err != nil {
			return err
		}
		for _, v := range found {
			if v.UID == uid && !v.RunningSince.IsZero() {
				return nil
			}
		}
		return fmt.Errorf("VM %s with uniqueID %s does not run: %+v", name, uid, found)
	}
}

// metric holds when a metric of our manager has that value.
func (s *stage) metric(name string, want float64) check {
	return func(ctx context.Context) error {
		value, err := s.Metric(ctx, name, nil)
		if err != nil {
			return err
		}
		if value != want {
			return fmt.Errorf("%s is %v, want %v", name, value, want)
		}
		return nil
	}
}

// apiGap is how long an API may be away when the host or the VM behind its
// endpoint goes, as long as etcd has a majority.
const apiGap = 10 * time.Second

// answersFor holds when the API has answered so many times in a row.
func (s *stage) answersFor(config *rest.Config, times int) check {
	row := 0
	return func(ctx context.Context) error {
		if err := s.answers(config)(ctx); err != nil {
			row = 0
			return err
		}
		if row++; row < times {
			return fmt.Errorf("it has answered %d times in a row", row)
		}
		return nil
	}
}

// keptOrDeleted holds while a VM's Machine is there, as long as its cluster is not
// being deleted.
func (s *stage) keptOrDeleted(c *standing, v vm) check {
	return func(ctx context.Context) error {
		cluster := &clusterv1.Cluster{}
		if err := s.Admin.Get(ctx, c.Key, cluster); apierrors.IsNotFound(err) || cluster.DeletionTimestamp != nil {
			return nil
		}
		return s.kept(v)(ctx)
	}
}
