package c4

import (
	"encoding/json"
	"testing"
	"time"
)

func TestCreationDatesOfBothFormatsAreRead(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, s := range []string{`"2026-03-04T05:06:07Z"`, `"2026-03-04T05:06:07"`, `"2026-03-04T05:06:07.000000"`, `"03/04/2026, 05:06:07"`} {
		var d Date
		if err := json.Unmarshal([]byte(s), &d); err != nil || !d.Equal(want) {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{`"yesterday"`, `""`, `null`} {
		d := Date{time.Now()}
		if err := json.Unmarshal([]byte(s), &d); err != nil || !d.IsZero() {
			t.Errorf("%s: %v, %v; want zero", s, d, err)
		}
	}
}

func TestAVMOfAHostIsTranslated(t *testing.T) {
	t.Parallel()
	const reply = `{"uniqueID":"u1","xml":"<domain/>","is_gateway":false,"external":false,"req_json":{
		"py/object":"a.B","vm_name":"n","slots":4,"overprovision":2,"allowSMT":false,"ramsize":1.5,
		"creation_date":"03/04/2026, 05:06:07","states":"shut off","volumes":[{"volumeID":"v"}],
		"networks":[{"network_uid":"w"}],"network_config":{"mac":"52:54:00:00:00:01","ipv4":null},"vm_tags":["a"]}}`
	var r RunningVM
	if err := json.Unmarshal([]byte(reply), &r); err != nil {
		t.Fatal(err)
	}
	vm := r.vm()
	if vm.UID != "u1" || vm.Name != "n" || vm.State != ShutOff || vm.Slots != 4 || vm.MaxOverprovision != 2 || !vm.FullPhysical ||
		vm.MemoryMiB != 1536 || vm.MAC != "52:54:00:00:00:01" || vm.Address != "" || vm.Volumes[0].VolumeID != "v" ||
		vm.Networks[0].NetworkUID != "w" || vm.Tags[0] != "a" || vm.Created.Year() != 2026 {
		t.Errorf("read as %+v", vm)
	}
}

func FuzzRunningReply(f *testing.F) {
	f.Add([]byte(`{"vms":[{"uniqueID":"u","req_json":{"ramsize":2,"network_config":{"ipv4":"127.0.0.2"},"creation_date":"x"}}]}`))
	f.Add([]byte(`{"vms":[{"req_json":null}]}`))
	f.Add([]byte(`{"vms":[{"req_json":{"ramsize":-1e308}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r RunningReply
		if json.Unmarshal(b, &r) != nil {
			return
		}
		for _, v := range r.VMs {
			vm := v.vm()
			if vm.UID != v.UniqueID || vm.Name != v.ReqJSON.Name {
				t.Errorf("identity lost: %+v", vm)
			}
			if vm.MemoryMiB < 0 {
				t.Errorf("%d MiB of memory", vm.MemoryMiB)
			}
		}
	})
}
