package c4

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// The benchmarks take what one of 16 hosts has of 1,000 VMs.
const benchVMs = 1000 / 16

func benchPledge() Pledge {
	return Pledge{
		CPU:  CPUPledge{Slots: 2, MaxOverprovision: 1, MinFrequency: "0.5", Arch: []string{"X86_64"}, Flags: []string{"avx2", "aes"}},
		Mem:  MemPledge{Capacity: 4096},
		PCI:  PCIPledge{Devices: map[string]int{"10de:1eb8": 1}},
		Misc: MiscPledge{OSFamily: "linux", Manufacturer: "Any", Firmware: "uefi", Tags: []string{"cluster=c", "machine=m"}},
	}
}

// BenchmarkPledgeEncode writes what a VM asks of a host.
func BenchmarkPledgeEncode(b *testing.B) {
	p := benchPledge()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPledgeDecode reads it.
func BenchmarkPledgeDecode(b *testing.B) {
	wire, err := json.Marshal(benchPledge())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var p Pledge
		if err := json.Unmarshal(wire, &p); err != nil {
			b.Fatal(err)
		}
	}
}

// benchRecords are VMs as a host reports them.
func benchRecords() []RunningVM {
	var vms []RunningVM
	for i := range benchVMs {
		name, address := fmt.Sprintf("vm-%d", i), fmt.Sprintf("192.0.2.%d", i)
		vms = append(vms, RunningVM{
			UniqueID: "uid-" + name, XML: "<domain type='kvm'><uuid>uid-" + name + "</uuid></domain>",
			ReqJSON: VMRecord{
				Name: name, Slots: 2, Overprovision: 1, AllowSMT: true, Arch: []string{"X86_64"}, Flags: []string{}, RAMSize: 4,
				OSFamily: "linux", Firmware: "uefi", CreationDate: Date{time.Unix(int64(i), 0)}, States: Running,
				Volumes:  []Volume{{VolumeID: "b-" + name, Name: name + "-boot", Size: 20}, {VolumeID: "s-" + name, Name: name + "-seed", Size: 1}},
				Networks: []NetworkRef{{NetworkUID: "n"}}, NetworkConfig: &NetworkConfig{Name: "net", MAC: "02:00:00:00:00:01", IPv4: &address},
				PCIDevs: []string{}, NetDevs: []string{}, Tags: []string{"cluster=c"},
			},
		})
	}
	return vms
}

// wire answers each request with what its function says, without a network.
type wire func() []byte

func (w wire) RoundTrip(*http.Request) (*http.Response, error) {
	body := w()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}, nil
}

func benchClient(b *testing.B, answers wire) *Client {
	b.Helper()
	c, err := New(Config{URL: "http://192.0.2.1"})
	if err != nil {
		b.Fatal(err)
	}
	c.reads.Transport, c.changes.Transport = answers, answers
	return c
}

// BenchmarkVMs asks a host for its VMs, of which one has changed each time.
func BenchmarkVMs(b *testing.B) {
	records := benchRecords()
	var answers [][]byte
	for i := range records {
		address := "192.0.2.254"
		records[i].ReqJSON.NetworkConfig.IPv4 = &address
		answer, err := json.Marshal(RunningReply{VMs: records})
		if err != nil {
			b.Fatal(err)
		}
		answers = append(answers, answer)
	}
	n := 0
	c := benchClient(b, func() []byte {
		n++
		return answers[n%len(answers)]
	})
	b.ReportAllocs()
	b.SetBytes(int64(len(answers[0])))
	var known *Listing
	for b.Loop() {
		vms, now, changed, err := c.VMs(b.Context(), "client", known)
		if err != nil || !changed || len(vms) != benchVMs {
			b.Fatal(len(vms), changed, err)
		}
		known = now
	}
}

// BenchmarkVMsAtRest asks a host for its VMs, of which none has changed.
func BenchmarkVMsAtRest(b *testing.B) {
	answer, err := json.Marshal(RunningReply{VMs: benchRecords()})
	if err != nil {
		b.Fatal(err)
	}
	c := benchClient(b, func() []byte { return answer })
	_, known, _, err := c.VMs(b.Context(), "client", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		if _, _, changed, err := c.VMs(b.Context(), "client", known); err != nil || changed {
			b.Fatal(changed, err)
		}
	}
}
