package daemon

import (
	"context"
	"testing"
	"time"
)

func TestAHostThatFallsSilentIsNotAskedQuicklyForEver(t *testing.T) {
	t.Parallel()
	h := &host{interval: time.Second, spawn: func(context.Context, func(context.Context)) {}}
	v := newTenant(h, "client")
	v.expect("vm-1", isUp)
	if wait, needed := v.pace(0); !needed || wait > slowest {
		t.Errorf("something is expected, and the next look is after %s (%t)", wait, needed)
	}
	v.expected["vm-1"] = expected{since: time.Now().Add(-expectation), met: isUp}
	if wait, needed := v.pace(0); needed {
		t.Errorf("nothing is expected any more, nobody watches, and the next look is after %s", wait)
	}
	defer v.poller.subscribe(make(chan struct{}, 1))()
	if wait, needed := v.pace(0); !needed || wait != h.interval {
		t.Errorf("somebody watches, and the next look is after %s (%t), want an interval", wait, needed)
	}
}
