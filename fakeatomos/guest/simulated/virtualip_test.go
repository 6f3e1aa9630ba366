package simulated_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// takeover is how long a virtual IP stays free here after its holder's end.
const takeover = 300 * time.Millisecond

func kubeVIP(address netip.Addr) string {
	return file("/etc/kubernetes/manifests/kube-vip.yaml", `
apiVersion: v1
kind: Pod
metadata:
  name: kube-vip
  namespace: kube-system
spec:
  hostNetwork: true
  containers:
  - name: kube-vip
    image: ghcr.io/kube-vip/kube-vip:v1.1.2
    args: [manager]
    env:
    - {name: vip_arp, value: "true"}
    - {name: vip_leaderelection, value: "true"}
    - {name: cp_enable, value: "true"}
    - {name: vip_nodename, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: address, value: `+address.String()+`}
    - {name: port, value: "6443"}
`)
}

// newVIPLab is a lab whose control planes hold a virtual IP in turn, and the
// history that its guests write.
func newVIPLab(t *testing.T, holding func(netip.Addr) string, takeover time.Duration) (*lab, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guests.jsonl")
	writer, err := history.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
	})
	l := newLabWith(t, simulated.Options{VIPTakeover: takeover, History: writer})
	l.vip = freshAddress()
	l.holding = holding(l.vip)
	return l, path
}

// events reads what the guests have told.
func (l *lab) events(path string) []history.Event {
	l.Helper()
	var all []history.Event
	if _, err := history.Read(path, 0, func(e history.Event) error {
		all = append(all, e)
		return nil
	}); err != nil {
		l.Fatal(err)
	}
	return all
}

// holder is the VM that holds the virtual IP, "" for none.
func (l *lab) holder(path string) string {
	l.Helper()
	holder := ""
	for _, e := range l.events(path) {
		if e.Event == "holder" {
			holder = e.VM
		}
	}
	return holder
}

// answers tells whether the API does at the endpoint.
func (l *lab) answers() error {
	_, err := l.client(l.vip).Discovery().ServerVersion()
	return err
}

func named(vms []guest.VM, name string) guest.VM {
	return vms[slices.IndexFunc(vms, func(vm guest.VM) bool { return vm.Name == name })]
}

func TestAnotherControlPlaneTakesTheVirtualIPWhenItsHolderEnds(t *testing.T) {
	t.Parallel()
	keepalived := func(address netip.Addr) string {
		return file("/etc/keepalived/keepalived.conf", `
vrrp_instance api {
  state BACKUP
  interface eth0
  virtual_router_id 51
  advert_int 1
  virtual_ipaddress {
    `+address.String()+`/24
  }
}`)
	}
	off := func(l *lab, vm, _ guest.VM) { l.powerOff(vm) }
	for name, test := range map[string]struct {
		holding func(netip.Addr) string
		end     func(l *lab, holder, other guest.VM)
		back    func(*lab, guest.VM)
	}{
		"its machine is switched off":                  {kubeVIP, off, func(l *lab, vm guest.VM) { l.boot(vm) }},
		"its machine is switched off, with keepalived": {keepalived, off, func(l *lab, vm guest.VM) { l.boot(vm) }},
		"its machine is destroyed":                     {kubeVIP, func(l *lab, vm, _ guest.VM) { l.destroy(vm) }, nil},
		"its network is cut": {
			kubeVIP, func(l *lab, vm, _ guest.VM) { l.cut(vm) }, func(l *lab, vm guest.VM) { l.mend(vm) },
		},
		"its etcd member is removed, and its API ends": {kubeVIP, func(l *lab, vm, other guest.VM) {
			etcd := l.etcdClient(other)
			members, err := etcd.MemberList(l.Context())
			if err != nil {
				l.Fatal(err)
			}
			for _, m := range members.Members {
				if m.Name == vm.Name {
					if _, err := etcd.MemberRemove(l.Context(), m.ID); err != nil {
						l.Fatal(err)
					}
				}
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, path := newVIPLab(t, test.holding, takeover)
			vms := []guest.VM{l.init(), l.join("cp-2", true), l.join("cp-3", true)}
			l.join("worker-1", false)
			first := named(vms, l.holder(path))
			ended := time.Now()
			test.end(l, first, vms[slices.IndexFunc(vms, func(vm guest.VM) bool { return vm.Name != first.Name })])
			// What the test's machine takes for its own work is not the takeover's.
			l.eventually("the API answers at the virtual IP again", l.answers)
			second := named(vms, l.holder(path))
			if second.Name == first.Name {
				t.Fatalf("%s holds the address still", first.Name)
			}
			var taken time.Time
			for _, e := range l.events(path) {
				if e.Event == "holder" {
					taken = e.Time
				}
			}
			if took := taken.Sub(ended); took < takeover || took > takeover+2*time.Second {
				t.Errorf("the address was taken over after %s, not %s", took, takeover)
			}
			// Whoever comes later joins by the new holder.
			l.join("worker-2", false)
			if test.back == nil {
				return
			}
			l.nodeBecomes(first.Name, corev1.ConditionUnknown)
			test.back(l, first)
			l.nodeBecomes(first.Name, corev1.ConditionTrue)
			if now := l.holder(path); now != second.Name {
				t.Errorf("the return of %s took the address from %s", first.Name, second.Name)
			}
		})
	}
}

func TestAVirtualIPHasOneHolderAtMostAndNoneWithoutAMajority(t *testing.T) {
	t.Parallel()
	l, path := newVIPLab(t, kubeVIP, takeover)
	vms := []guest.VM{l.init(), l.join("cp-2", true), l.join("cp-3", true)}
	for range 3 { // each holder in turn
		holder := named(vms, l.holder(path))
		l.powerOff(holder)
		l.eventually("the API answers at the virtual IP again", l.answers)
		l.boot(holder)
	}
	// Two at once are a minority that is left; the holder is the one that is.
	holder := l.holder(path)
	var off []guest.VM
	for _, vm := range vms {
		if vm.Name != holder {
			l.powerOff(vm)
			off = append(off, vm)
		}
	}
	if err := refused(l.vip, "6443"); err != nil {
		t.Errorf("without a majority: %v", err)
	}
	if now := l.holder(path); now != "" {
		t.Errorf("without a majority %s holds the address", now)
	}
	<-time.After(2 * takeover) // nothing may happen in it, so there is nothing to wait for
	if err := refused(l.vip, "6443"); err != nil {
		t.Errorf("without a majority: %v", err)
	}
	l.boot(off[0])
	l.eventually("the API answers with the majority", l.answers)

	// The history tells the same, and who served when.
	majority, serving, holding := false, map[string]bool{}, ""
	for _, e := range l.events(path) {
		if e.Kind != history.Cluster || e.Name != l.endpoint() {
			t.Errorf("event of another cluster: %+v", e)
		}
		switch e.Event {
		case "majority", "minority":
			majority = e.Event == "majority"
		case "serving", "silent":
			if serving[e.VM] == (e.Event == "serving") {
				t.Errorf("%s is told twice of %s", e.Event, e.VM)
			}
			serving[e.VM] = e.Event == "serving"
		case "holder":
			if e.Address != l.vip.String() {
				t.Errorf("the holder's address is %s", e.Address)
			}
			if e.VM != "" && holding != "" {
				t.Errorf("%s holds the address and %s takes it", holding, e.VM)
			}
			if holding = e.VM; holding != "" && (!majority || !serving[holding]) {
				t.Errorf("%s takes the address; majority %v, serving %v", holding, majority, serving)
			}
		default:
			t.Errorf("event %q is unknown", e.Event)
		}
	}
	if len(serving) != 3 || !majority || holding == "" {
		t.Errorf("at the end: majority %v, serving %v, holder %q", majority, serving, holding)
	}
}

func TestAHolderThatIsBackBeforeItsLeaseIsOverKeepsTheVirtualIP(t *testing.T) {
	t.Parallel()
	l, path := newVIPLab(t, kubeVIP, 3*time.Second)
	vms := []guest.VM{l.init(), l.join("cp-2", true), l.join("cp-3", true)}
	l.powerOff(vms[0])
	l.eventually("the API answers at the virtual IP again", l.answers)
	l.boot(vms[0])
	holder := named(vms, l.holder(path)) // not the first that could have it
	l.powerOff(holder)
	if err := refused(l.vip, "6443"); err != nil {
		t.Error(err)
	}
	l.boot(holder)
	l.eventually("the API answers at the virtual IP again", l.answers)
	if now := l.holder(path); now != holder.Name {
		t.Errorf("%s holds the address, and %s was back in time", now, holder.Name)
	}
}

// The address is one of this machine, and somebody else may have it.
func TestAVirtualIPThatIsTakenIsTriedUntilItIsFree(t *testing.T) {
	t.Parallel()
	l, path := newVIPLab(t, kubeVIP, takeover)
	squatter := newLab(t)
	squatter.first = l.vip
	other := squatter.init()
	vm := l.machine("cp-1")
	vm.Address, vm.UserData = l.first, l.initSeed()
	l.boot(vm)
	l.eventually("the API answers on its own address", func() error {
		_, err := l.client(l.first).Discovery().ServerVersion()
		return err
	})
	if l.holder(path) != "" {
		t.Error("the address has two holders")
	}
	squatter.destroy(other)
	l.eventually("the API answers at the virtual IP", l.answers)
}

func TestAControlPlaneThatCrashedComesBackAsTheSameMember(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vms := []guest.VM{l.init(), l.join("cp-2", true), l.join("cp-3", true)}
	members := func(through guest.VM) string {
		list, err := l.etcdClient(through).MemberList(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		var all []string
		for _, m := range list.Members {
			all = append(all, fmt.Sprintf("%s=%d %s", m.Name, m.ID, m.ClientURLs))
		}
		return fmt.Sprint(all)
	}
	before := members(vms[0])
	for _, vm := range vms[1:] {
		uid := l.nodeBecomes(vm.Name, corev1.ConditionTrue).UID
		l.powerOff(vm)
		l.nodeBecomes(vm.Name, corev1.ConditionUnknown)
		if during := members(vms[0]); during != before {
			t.Errorf("while %s is off the members are %s, not %s", vm.Name, during, before)
		}
		l.boot(vm)
		if node := l.nodeBecomes(vm.Name, corev1.ConditionTrue); node.UID != uid {
			t.Errorf("%s came back as another node", vm.Name)
		}
		if after := members(vm); after != before {
			t.Errorf("after the return of %s the members are %s, not %s", vm.Name, after, before)
		}
		if _, err := l.client(vm.Address).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("the API of %s: %v", vm.Name, err)
		}
	}
}

func TestAMachineWhoseNetworkIsCutIsAliveAndUnreachable(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	second := l.join("cp-2", true)
	worker := l.join("worker-1", false)
	l.cut(worker)
	l.nodeBecomes("worker-1", corev1.ConditionUnknown)
	if cpu, _ := l.guests.Usage(worker.ID); cpu == 0 {
		t.Error("a machine whose network is cut does not run")
	}
	l.mend(worker)
	l.nodeBecomes("worker-1", corev1.ConditionTrue)

	// Neither half of two has a majority.
	l.cut(second)
	l.eventually("both APIs are closed", func() error { return errors.Join(refused(l.first, "6443"), refused(second.Address, "6443")) })
	l.mend(second)
	l.nodeBecomes("cp-2", corev1.ConditionTrue)

	// Whoever is cut off before it has joined, joins later.
	late := l.machine("late")
	late.UserData = l.joinSeed(l.token, l.tokenHash, false)
	var both sync.WaitGroup
	both.Go(func() { l.cut(late) }) // perhaps before there is such a machine
	l.boot(late)
	both.Wait()
	l.cut(late)
	l.mend(late)
	l.nodeBecomes("late", corev1.ConditionTrue)
}

func TestAMachineWhoseNetworkWasCutBeforeItsFirstBootHasNone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	early := l.machine("early")
	early.UserData = l.joinSeed(l.token, l.tokenHash, false)
	l.cut(early)
	l.boot(early)
	l.join("worker-1", false) // which came later
	if nodes := l.nodeNames(); slices.Contains(nodes, "early") {
		t.Errorf("it has joined: %q", nodes)
	}
	l.mend(early)
	l.nodeBecomes("early", corev1.ConditionTrue)
}
