package daemon

import "time"

// standing judges how a host answers one kind of question, so that one which fails
// now and then does not come and go. It is silent from its second failure in a row
// on, and no more from its third good answer in a row on. What counts is the time
// in which they would come at the usual pace: an interval, and two. So a host is
// not judged faster while it is asked quickly.
type standing struct {
	silent bool
	// against is when that began which speaks against the verdict, zero if nothing
	// does.
	against time.Time
	// back is since when a host that was silent answers again, zero while it does not
	// and if it never was.
	back time.Time
}

// answered takes in how the host has answered, and tells whether the verdict
// changed.
func (s *standing) answered(well bool, now time.Time, interval time.Duration) (changed bool) {
	enough := interval
	if s.silent {
		enough = 2 * interval
	}
	if s.silent && !well {
		s.back = time.Time{}
	} else if s.silent && s.back.IsZero() {
		s.back = now
	}
	switch {
	case well != s.silent:
		s.against = time.Time{}
	case s.against.IsZero():
		s.against = now
	case now.Sub(s.against) >= enough:
		s.silent, s.against = !s.silent, time.Time{}
		if s.silent {
			s.back = time.Time{}
		}
		return true
	}
	return false
}
