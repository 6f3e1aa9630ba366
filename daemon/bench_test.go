package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// The benchmarks take a site of 16 hosts with 1,000 VMs.
const (
	benchHosts = 16
	benchVMs   = 1000
)

func benchHost(b *testing.B, id string) *host {
	b.Helper()
	h, err := newHost(Host{ID: id, Domain: "d1", URL: "http://192.0.2.1"}, time.Hour, newMetrics(), slog.New(slog.DiscardHandler), func(context.Context, func(context.Context)) {})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// benchLists is what the hosts report: 1,000 VMs over all of them.
func benchLists() [][]c4.VM {
	lists := make([][]c4.VM, benchHosts)
	for i := range benchVMs {
		name := fmt.Sprintf("vm-%d", i)
		lists[i%benchHosts] = append(lists[i%benchHosts], c4.VM{
			UID: "uid-" + name, Name: name, State: c4.Running, Slots: 2, MemoryMiB: 4096, Created: time.Unix(int64(i), 0),
			Volumes:  []c4.Volume{{VolumeID: "b-" + name, Name: name + "-boot"}, {VolumeID: "s-" + name, Name: name + "-seed"}},
			Networks: []c4.NetworkRef{{NetworkUID: "n"}}, Address: "192.0.2.254",
		})
	}
	return lists
}

// BenchmarkInventory takes in a report of every host in which one VM in a
// hundred has changed, and finds what is new.
func BenchmarkInventory(b *testing.B) {
	h := benchHost(b, "host")
	names := map[string]string{"n": "network"}
	message := func(vm c4.VM) *rpc.VM { return vmMessage(h, vm, names) }
	lists := benchLists()
	before := make([]observation, benchHosts)
	for i, list := range lists {
		before[i] = observation{}.advance(time.Now(), list, message)
	}
	for n := 0; b.Loop(); n++ {
		changed := 0
		for i, list := range lists {
			for j := range list {
				if (i+j*benchHosts)%100 == n%100 {
					list[j].Address = fmt.Sprintf("192.0.2.%d", n%250)
				}
			}
			next := before[i].advance(time.Now(), list, message)
			news, _ := next.since(before[i])
			changed += len(news)
			before[i] = next
		}
		if n > 0 && changed != benchVMs/100 {
			b.Fatalf("%d VMs have changed", changed)
		}
	}
}

// BenchmarkLook asks a host for its 62 VMs, of which one has changed most times, over
// HTTP without TLS, and takes that in.
func BenchmarkLook(b *testing.B) {
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		b.Fatal(err)
	}
	records := benchRecords(benchVMs / benchHosts)
	var lists [][]byte
	for i := range records {
		address := fmt.Sprintf("192.0.2.%d", i)
		records[i].ReqJSON.NetworkConfig = &c4.NetworkConfig{IPv4: &address}
		list, err := json.Marshal(c4.RunningReply{VMs: records})
		if err != nil {
			b.Fatal(err)
		}
		lists = append(lists, list)
	}
	n := 0
	answer := func(w http.ResponseWriter, r *http.Request) {
		reply := []byte(`[{"network_uid":"n","network_name":"network"}]`)
		if strings.HasSuffix(r.URL.Path, "/running") {
			n++
			reply = lists[n%len(lists)]
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		_, _ = w.Write(reply)
	}
	for _, port := range []int{c4.MatcherPort, c4.NetworkPort} {
		listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", netip.AddrPortFrom(addresses[0], uint16(port)).String())
		if err != nil {
			b.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(answer))
		_ = server.Listener.Close()
		server.Listener = listener
		server.Start()
		b.Cleanup(server.Close)
	}
	h, err := newHost(Host{ID: "host", Domain: "d1", URL: "http://" + addresses[0].String()}, time.Hour, newMetrics(), slog.New(slog.DiscardHandler),
		func(ctx context.Context, do func(context.Context)) { go do(ctx) })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.c4.Close)
	t := h.tenant("client")
	b.ReportAllocs()
	for b.Loop() {
		before := t.seen
		now, err := t.askVMs(b.Context())
		if err != nil || len(now.vms) != len(records) {
			b.Fatal(len(now.vms), err)
		}
		if changed, _ := now.since(before); !before.at.IsZero() && len(changed) == 0 {
			b.Fatal("no VM has changed")
		}
	}
}

// benchRecords are VMs as a host writes of them.
func benchRecords(n int) []c4.RunningVM {
	var records []c4.RunningVM
	for i := range n {
		name := fmt.Sprintf("vm-%d", i)
		records = append(records, c4.RunningVM{UniqueID: "uid-" + name, ReqJSON: c4.VMRecord{
			Name: name, Slots: 2, Overprovision: 1, RAMSize: 4, States: c4.Running, CreationDate: c4.Date{Time: time.Unix(int64(i), 0)},
			Volumes:  []c4.Volume{{VolumeID: "b-" + name, Name: name + "-boot"}, {VolumeID: "s-" + name, Name: name + "-seed"}},
			Networks: []c4.NetworkRef{{NetworkUID: "n"}},
		}})
	}
	return records
}

// BenchmarkPlacement chooses among 16 hosts while 1,000 VMs are promised.
func BenchmarkPlacement(b *testing.B) {
	s := &service{}
	var list []*host
	for i := range benchHosts {
		h := benchHost(b, fmt.Sprintf("host-%d", i))
		h.hardware = &c4.HostInfo{
			CPU: c4.HostCPU{Arch: "X86_64", MaxCores: 64, MaxThreads: 128, SMTRatio: 2},
			Mem: c4.HostMem{Size: 1 << 20, Avail: 1 << 20},
		}
		h.lastSeen = time.Now()
		list = append(list, h)
	}
	request := func(n int) *rpc.PlaceVMRequest {
		return &rpc.PlaceVMRequest{
			ClientUid: "client", Domain: "d1", VmName: fmt.Sprintf("vm-%d", n), Role: rpc.Role_ROLE_WORKER,
			Spec: &rpc.VMSpec{Slots: 2, MaxOverprovision: 10, MemoryMib: 4096},
		}
	}
	for n := 0; b.Loop(); n++ {
		if n%benchVMs == 0 {
			s.reservations = reservations{} // promises end
		}
		if _, err := s.choose(request(n), list, nil); err != nil {
			b.Fatal(err)
		}
	}
}
