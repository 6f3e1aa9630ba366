package world

import (
	"testing"
	"time"
)

func TestWhatTheHypervisorWithholdsIsToldFromWhatIsIdle(t *testing.T) {
	t.Parallel()
	p, err := parseProcessors("cpu  100 20 30 5000 700 1 9 40 60 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := (Processors{Busy: 1600 * time.Millisecond, Stolen: 400 * time.Millisecond}); err != nil || p != want {
		t.Fatalf("it is %+v (%v), want %+v", p, err, want)
	}
	if got := p.Withheld(); got != .2 {
		t.Errorf("of the time with work %g is withheld, want 0.2", got)
	}
	if got := p.Since(p).Withheld(); got != 0 {
		t.Errorf("of no time %g is withheld", got)
	}
	for _, strange := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if p, err := parseProcessors(strange); err == nil {
			t.Errorf("%q is %+v", strange, p)
		}
	}
	if p, err := ThisProcessors(); err != nil || p.Busy == 0 {
		t.Errorf("this machine has done %+v (%v)", p, err)
	}
}
