package validate

import (
	"fmt"
	"testing"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestALongHistoryNeedsNoMoreRoomThanAShortOne(t *testing.T) {
	t.Parallel()
	var o objects
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for n := range 500 {
		at = at.Add(time.Minute)
		for _, kind := range []string{"ElementoMachine", "ElementoCluster", "ElementoCleanup"} {
			for _, event := range []string{"added", "deleted"} {
				name := fmt.Sprintf("%s-%d", kind, n)
				o.observe(Event{Time: at, Kind: fake.Object, Event: event, UID: name, Detail: fmt.Appendf(nil,
					`{"kind":%q,"metadata":{"name":%q,"uid":%q},"spec":{"vmName":%q,"host":"h1"}}`, kind, name, name, name)})
			}
		}
	}
	most := int(kept.Minutes()) + 2
	if m, c, l, v := len(o.machines), len(o.cleanups), len(o.clusters), len(o.byVM); m > most || c > most || l > most || v > most || min(m, c, l, v) < most/2 {
		t.Errorf("of 500 that came and went %d machines, %d cleanups, %d clusters and %d VMs are remembered, want about %d", m, c, l, v, most)
	}
}
