package daemon

import (
	"testing"
	"time"
)

func TestAHostIsSilentAfterTwoFailuresAndHeardAgainAfterThreeAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answers, silent string }{ // one an interval; x is a failure
		{"...", "..."},
		{"x.x.x.", "......"}, // now and then is not silence
		{"xx", ".x"},
		{"xx...", ".xxx."},
		{"xx..x...", ".xxxxxx."}, // and answers now and then do not end it
		{"xxxxxx", ".xxxxx"},
	} {
		var s standing
		now, got := time.Now(), ""
		for _, answer := range c.answers {
			before := s.silent
			if news := s.answered(answer == '.', now, time.Second); news != (before != s.silent) {
				t.Errorf("%s: news is %t, and silent was %t and is %t", c.answers, news, before, s.silent)
			}
			got += map[bool]string{true: "x", false: "."}[s.silent]
			now = now.Add(time.Second)
		}
		if got != c.silent {
			t.Errorf("%s: silent %s, want %s", c.answers, got, c.silent)
		}
	}
}

func TestAHostIsNotJudgedFasterForBeingAskedQuickly(t *testing.T) {
	t.Parallel()
	var s standing
	now := time.Now()
	for range 9 {
		s.answered(false, now, time.Second)
		now = now.Add(100 * time.Millisecond)
	}
	if s.silent {
		t.Error("it is silent after 0.8 s, want after an interval of 1 s")
	}
	now = now.Add(time.Second)
	s.answered(false, now, time.Second)
	for range 20 {
		now = now.Add(100 * time.Millisecond)
		s.answered(true, now, time.Second)
	}
	if !s.silent {
		t.Error("it is heard after 1.9 s, want after two intervals of 1 s")
	}
}
