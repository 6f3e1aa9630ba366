package fakeatomos

import "testing"

func TestTheJournalForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var j journal
	for range journalSize + 10 {
		j.add(JournalEntry{})
	}
	all := j.since(0)
	if len(all) != journalSize || all[0].Seq != 11 || all[len(all)-1].Seq != journalSize+10 {
		t.Errorf("%d entries from %d to %d", len(all), all[0].Seq, all[len(all)-1].Seq)
	}
	if tail := j.since(journalSize + 8); len(tail) != 2 || tail[0].Seq != journalSize+9 {
		t.Errorf("the tail is %+v", tail)
	}
	if none := j.since(journalSize + 100); len(none) != 0 {
		t.Errorf("of the future: %+v", none)
	}
}
