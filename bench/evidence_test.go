package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// told is a history of a worker of the cluster in the namespace ns, and of what happens
// beside it.
type told struct {
	t   *testing.T
	dir string
	w   map[string]*fakehistory.Writer
}

func tell(t *testing.T) *told {
	t.Helper()
	return &told{t: t, dir: t.TempDir(), w: map[string]*fakehistory.Writer{}}
}

func (h *told) add(file string, e history.Event) {
	h.t.Helper()
	if h.w[file] == nil {
		w, err := fakehistory.Open(filepath.Join(h.dir, file))
		if err != nil {
			h.t.Fatal(err)
		}
		h.w[file] = w
		h.t.Cleanup(func() {
			if err := w.Close(); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.w[file].Add(e)
}

// object tells of one, as JSON.
func (h *told) object(ms int, event, text string, args ...any) {
	h.t.Helper()
	h.add(history.Objects, history.Event{Time: at(ms), Kind: fakehistory.Object, Event: event, Detail: fmt.Appendf(nil, text, args...)})
}

func (h *told) host(ms int, kind fakehistory.Kind, event, name, uid string) {
	e := history.Event{Time: at(ms), Kind: kind, Event: event, Host: "host-1", Owner: "poc", UID: uid}
	if kind == fakehistory.VM {
		e.VM = name
	} else {
		e.Name = name
	}
	h.add(history.AtomOS, e)
}

func (h *told) call(from, to int, call, vm, id string) {
	h.add(history.AtomOS, history.Event{Time: at(from), Ended: at(to), Kind: fakehistory.Call, Call: call, Host: "host-1", Owner: "poc", VM: vm, ID: id})
}

// log adds a line to a log.
func (h *told) log(file, text string, args ...any) {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, text+"\n", args...); err != nil {
		h.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func stamp(ms int) string { return at(ms).Format(time.RFC3339Nano) }

// rpc tells of a call over gRPC as both ends have it, with the daemon's a millisecond
// shorter at both ends.
func (h *told) rpc(from, to int, method, power, id string) {
	h.t.Helper()
	const text = `{"msg":%q,"method":%q,"client":"poc","host":"host-1","vm":"vm-w","requestID":%q,"outcome":"OK","began":%q,"ended":%q,"power":%q}`
	h.log("manager.log", text, "call", method, id, stamp(from), stamp(to), power)
	h.log("daemon-1.log", text, "audit", "/elemento.daemon.v1.VMService/"+method, id, stamp(from+1), stamp(to-1), power)
}

func (h *told) asked(from, to int, id string) {
	h.log("daemon-1.log", `{"time":%q,"msg":"asked a host","requestID":%q,"host":"host-1","c4":"GET matcher/running","took":%d,"outcome":"OK"}`,
		stamp(to), id, (time.Duration(to-from) * time.Millisecond).Nanoseconds())
}

// write tells of a write to the API server.
func (h *told) write(from, to int, user, resource, name string) {
	h.log("audit.log", `{"verb":"patch","user":{"username":%q},"objectRef":{"resource":%q,"namespace":"ns","name":%q},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`,
		user, resource, name, stamp(from), stamp(to))
}

func (h *told) order(from, to, before, after int) {
	h.add("stages.jsonl", orderEvent(order{before, after}, span{at(from), at(to)}))
}

const machineText = `{"kind":"Machine","metadata":{"name":"w","namespace":"ns"%s},"spec":{"infrastructureRef":{"name":"em"},"bootstrap":{"configRef":{"name":"kc"}%s}},"status":{"phase":%q}}`

// worker tells of the life of one.
func (h *told) worker(boots int) {
	h.t.Helper()
	h.order(0, 8, 1, 4)
	h.object(20, "added", `{"kind":"KubeadmConfig","metadata":{"name":"kc","namespace":"ns","ownerReferences":[{"kind":"MachineSet"}]}}`)
	h.object(25, "added", `{"kind":"ElementoMachine","metadata":{"name":"em","namespace":"ns"}}`)
	h.object(30, "added", machineText, "", "", "Pending")
	h.object(40, "modified", `{"kind":"KubeadmConfig","metadata":{"name":"kc","namespace":"ns","ownerReferences":[{"kind":"MachineSet"},{"kind":"Machine"}]}}`)
	h.object(60, "modified", `{"kind":"KubeadmConfig","metadata":{"name":"kc","namespace":"ns","ownerReferences":[{"kind":"Machine"}]},"status":{"initialization":{"dataSecretCreated":true}}}`)
	h.object(70, "modified", machineText, "", `,"dataSecretName":"kc"`, "Pending")
	h.object(72, "modified", `{"kind":"ElementoMachine","metadata":{"name":"em","namespace":"ns"},"spec":{"vmName":"vm-w"}}`)

	power := "POWER_STATE_OFF"
	if boots == 0 {
		power = "POWER_STATE_RUNNING"
	}
	h.rpc(80, 120, "EnsureVM", power, "r1")
	h.asked(90, 110, "r1")
	h.call(92, 108, "POST matcher/register", "vm-w", "r1")
	h.host(94, fakehistory.Volume, "made", "vm-w-boot", "v1")
	h.host(95, fakehistory.Volume, "made", "vm-w-seed", "v2")
	h.host(100, fakehistory.VM, "made", "vm-w", "u1")
	h.host(100, fakehistory.VM, "started", "vm-w", "u1")
	h.host(100+boots, fakehistory.VM, "running", "vm-w", "u1")
	h.call(100+boots+10, 100+boots+12, "GET matcher/running", "", "")
	h.add("stages.jsonl", history.Event{Time: at(100 + boots + 15), Kind: fakehistory.RPC, Name: streamed, End: "harness", VM: "vm-w", Detail: fakehistory.Detail(history.Result{Power: "POWER_STATE_RUNNING"})})
	h.write(100+boots+30, 100+boots+38, "ours", "elementomachines", "em")
	h.object(100+boots+40, "modified", `{"kind":"ElementoMachine","metadata":{"name":"em","namespace":"ns"},"spec":{"vmName":"vm-w"},"status":{"initialization":{"provisioned":true}}}`)
	h.object(600, "added", `{"kind":"Node","metadata":{"name":"w"},"spec":{"providerID":"elemento://d/vm-w"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)
	h.object(700, "modified", machineText, "", `,"dataSecretName":"kc"`, "Running")

	// Others do something too.
	h.object(35, "added", `{"kind":"Machine","metadata":{"name":"cp","namespace":"ns","labels":{"cluster.x-k8s.io/control-plane":""}},"spec":{"infrastructureRef":{"name":"cp"}}}`)
	h.object(36, "added", `{"kind":"Machine","metadata":{"name":"stranger","namespace":"elsewhere"},"spec":{"infrastructureRef":{"name":"stranger"}}}`)
	h.asked(81, 119, "of another")
	h.write(80, 690, "core", "machines", "cp")
	h.write(80, 690, "somebody", "machines", "w")
}

// gone tells of its end, with a volume that is removed at a moment.
func (h *told) gone(volume int) {
	h.t.Helper()
	deleted := `,"deletionTimestamp":"2026-01-02T03:04:06Z"`
	h.order(1000, 1004, 4, 1)
	h.object(1020, "modified", machineText, deleted, `,"dataSecretName":"kc"`, "Deleting")
	h.object(1030, "modified", `{"kind":"ElementoMachine","metadata":{"name":"em","namespace":"ns"%s},"spec":{"vmName":"vm-w"}}`, deleted)
	h.rpc(1040, 1080, "DeleteVM", "", "r2")
	h.host(1050, fakehistory.VM, "stopping", "vm-w", "u1")
	h.host(1055, fakehistory.VM, "off", "vm-w", "u1")
	h.host(1060, fakehistory.VM, "removed", "vm-w", "u1")
	h.host(1065, fakehistory.Volume, "removed", "vm-w-boot", "v1")
	h.host(volume, fakehistory.Volume, "removed", "vm-w-seed", "v2")
	h.object(1100, "deleted", `{"kind":"ElementoMachine","metadata":{"name":"em","namespace":"ns"%s},"spec":{"vmName":"vm-w"}}`, deleted)
	h.object(1200, "deleted", machineText, deleted, `,"dataSecretName":"kc"`, "Deleting")
}

func (h *told) journey() *journey {
	h.t.Helper()
	e, err := gather(h.dir, filepath.Join(h.dir, "audit.log"), "ns", begin)
	if err != nil {
		h.t.Fatal(err)
	}
	all := e.journeys("ns", map[string]layer{"ours": writeOfManager, "core": writeOfCore})
	if len(all) != 1 {
		h.t.Fatalf("there are %d journeys, want that of the worker", len(all))
	}
	return all[0]
}

func (h *told) reaches(j *journey, want map[moment]int) {
	h.t.Helper()
	for m, ms := range want {
		if !j.at[m].Equal(at(ms)) {
			h.t.Errorf("moment %d was at %s, want %d ms", m, j.at[m].Sub(begin), ms)
		}
	}
}

func TestAHistoryTellsTheMomentsOfAMachine(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.worker(200)
	h.gone(1070)
	j := h.journey()
	h.reaches(j, map[moment]int{
		asked: 0, answered: 8, machineThere: 30, configOwned: 40, dataWritten: 60, dataNamed: 70, registerArrived: 92,
		vmRunning: 300, vmSeen: 312, vmTold: 315, provisioned: 340, nodeReady: 600, machineRunning: 700,
		askedGone: 1000, answeredGone: 1004, machineDeleted: 1020, vmDeleted: 1030, vmGone: 1100, machineGone: 1200,
	})
	if len(j.early) > 0 {
		t.Errorf("%q is said to have been left", j.early)
	}
	spends(t, creation, j, map[stage]int{
		{apiServer, "the request"}: 8, {clusterAPI, "the Machine"}: 22, {clusterAPI, "the bootstrap config's owner"}: 10,
		{bootstrapProvider, "the data"}: 20, {clusterAPI, "the data's name"}: 10,
		{ourManager, "until the VM runs"}: 10, {who: grpcWire}: 1, {who: ourDaemon}: 9, {who: c4Wire}: 2, {who: hypervisor}: 208,
		{who: inventoryOfHosts}: 12, {who: streamToManager}: 3, {ourManager, "until it is provisioned"}: 17, {apiServer, "for our manager"}: 8,
		{guestOfVM, "until its Node is Ready"}: 260, {clusterAPI, "until the Machine is Running"}: 100,
	})
	spends(t, deletion, j, map[stage]int{
		{apiServer, "the request to delete"}: 4, {clusterAPI, "the Machine deleted"}: 16, {clusterAPI, "the ElementoMachine deleted"}: 10,
		{ourManager, "until all is gone"}: 30, {who: grpcWire}: 2, {who: ourDaemon}: 33, {who: hypervisor}: 5, {clusterAPI, "until the Machine is gone"}: 100,
	})
}

func TestWhatTheCallItselfAnswersIsNotWaitedForInTheInventory(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.worker(0)
	j := h.journey()
	h.reaches(j, map[moment]int{vmRunning: 100, vmSeen: 100, vmTold: 100, provisioned: 140})
	s, _ := creation.split(j)
	if d := s[stage{who: inventoryOfHosts}] + s[stage{who: streamToManager}]; d != 0 {
		t.Errorf("inventory and stream have %s", d)
	}
	// Of the 40 ms after it runs, 8 are the host's, 2 are C4's, 9 the daemon's, 1 is
	// gRPC's and 8 are the API server's.
	if d := s[stage{ourManager, "until it is provisioned"}]; d != 12*time.Millisecond {
		t.Errorf("our manager has %s", d)
	}
}

func TestAListingThatBeganBeforeAVMRanHasNotSeenItRun(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.call(290, 305, "GET matcher/running", "", "")
	h.worker(200)
	h.reaches(h.journey(), map[moment]int{vmRunning: 300, vmSeen: 312})
}

func TestAMachineIsOfTheLastRequestBeforeIt(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.worker(200)
	h.order(10, 12, 4, 5)
	h.order(32, 34, 5, 6) // it is there already
	h.order(15, 16, 6, 2) // makes none
	h.reaches(h.journey(), map[moment]int{asked: 10, answered: 12})
}

func TestWhatIsLeftOnAHostWhenAMachineIsGoneIsTold(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.worker(200)
	h.gone(1150)
	if j := h.journey(); !slices.Equal(j.early, []string{"volume vm-w-seed"}) {
		t.Errorf("left is said to have been %q", j.early)
	}
}

func TestWhatAParticipantDoesNotTellIsNobodysTime(t *testing.T) {
	t.Parallel()
	h := tell(t)
	h.worker(200)
	// Without the streams' and the fake's telling.
	for _, file := range []string{"stages.jsonl", history.AtomOS} {
		if err := os.Remove(filepath.Join(h.dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	h.w = map[string]*fakehistory.Writer{}
	h.order(0, 8, 1, 4)
	s, ok := creation.split(h.journey())
	if d := s[stage{who: notAttributed}]; !ok || d != 270*time.Millisecond || s.whole() != 700*time.Millisecond {
		t.Errorf("%s of %s are attributed to nobody, want 270 ms of 700 ms", d, s.whole())
	}
}
