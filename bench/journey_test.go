package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a moment so many milliseconds after the begin.
func at(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }

func between(from, to int) span { return span{at(from), at(to)} }

// made is a Machine whose creation took a second in all.
func made() *journey {
	return &journey{
		machine: "m",
		at: map[moment]time.Time{
			asked: at(0), answered: at(10), machineThere: at(110), configOwned: at(150), dataWritten: at(250), dataNamed: at(300),
			vmRunning: at(700), vmSeen: at(720), vmTold: at(725), provisioned: at(750), nodeReady: at(900), machineRunning: at(1000),
		},
		busy: map[layer][]span{
			managerCall: {between(310, 330), between(350, 500)},
			daemonCall:  {between(312, 328), between(351, 498)},
			c4Call:      {between(315, 320), between(360, 450), between(370, 440), between(455, 490)},
			hostWorks:   {between(362, 380), between(372, 430), between(457, 460), between(480, 700)},
			// What others had written for them belongs to their legs only.
			writeOfManager: {between(330, 340), between(740, 748), between(20, 30)},
			writeOfCore:    {between(100, 108), between(335, 345), between(990, 999)},
		},
	}
}

// spends demands that a way's time is that of these, in ms, and of nobody else.
func spends(t *testing.T, w way, j *journey, want map[stage]int) {
	t.Helper()
	s, ok := w.split(j)
	if !ok {
		t.Fatal("the journey has not gone the way")
	}
	for of, d := range s {
		if d != time.Duration(want[of])*time.Millisecond {
			t.Errorf("%s has %s, want %d ms", of, d, want[of])
		}
	}
	for of, ms := range want {
		if s[of] == 0 && ms > 0 {
			t.Errorf("%s has nothing, want %d ms", of, ms)
		}
	}
	if whole, _ := j.took(w.from, w.to()); s.whole() != whole {
		t.Errorf("the stages add up to %s, and the whole is %s", s.whole(), whole)
	}
}

func TestEachSecondOfACreationIsSomebodys(t *testing.T) {
	t.Parallel()
	spends(t, creation, made(), map[stage]int{
		{apiServer, "the request"}:                   10,
		{clusterAPI, "the Machine"}:                  92,
		{apiServer, "for Cluster API"}:               17,
		{clusterAPI, "the bootstrap config's owner"}: 40,
		{bootstrapProvider, "the data"}:              100,
		{clusterAPI, "the data's name"}:              50,
		{ourManager, "until the VM runs"}:            20, // 300-310, 340-350
		{apiServer, "for our manager"}:               18,
		{who: grpcWire}:                              2 + 2 + 1, // its last end is in the VM's start
		{who: ourDaemon}:                             3 + 8 + 9 + 5,
		{who: c4Wire}:                                5 + 2 + 20 + 2 + 20,
		{who: hypervisor}:                            68 + 3 + 220,
		{who: inventoryOfHosts}:                      20,
		{who: streamToManager}:                       5,
		{ourManager, "until it is provisioned"}:      17,
		{guestOfVM, "until its Node is Ready"}:       150,
		{clusterAPI, "until the Machine is Running"}: 91,
		{who: notAttributed}:                         0,
	})
}

func TestWhatIsOverBeforeItIsWaitedForTakesNoTime(t *testing.T) {
	t.Parallel()
	j := made()
	j.at[nodeReady] = at(740) // before it is provisioned
	s, _ := creation.split(j)
	if d := s[stage{guestOfVM, "until its Node is Ready"}]; d != 0 {
		t.Errorf("the guest has %s of what nobody waited for", d)
	}
	if d := s[stage{clusterAPI, "until the Machine is Running"}]; d != 241*time.Millisecond {
		t.Errorf("Cluster API has %s, want what is left, 241 ms", d)
	}
	if s.whole() != time.Second {
		t.Errorf("the stages add up to %s", s.whole())
	}
}

func TestWhatTheHistoryDoesNotTellIsAttributedToNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		untold []moment
		want   time.Duration
	}{
		"the data":                        {[]moment{dataWritten}, 150 * time.Millisecond}, // up to its name
		"all that happens to a VM":        {[]moment{vmRunning, vmSeen, vmTold}, 450 * time.Millisecond},
		"two things far from one another": {[]moment{answered, vmTold}, 140 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := made()
			for _, m := range c.untold {
				delete(j.at, m)
			}
			s, ok := creation.split(j)
			if d := s[stage{who: notAttributed}]; !ok || d != c.want {
				t.Errorf("%s are attributed to nobody, want %s", d, c.want)
			}
			if s.whole() != time.Second {
				t.Errorf("the stages add up to %s", s.whole())
			}
		})
	}
}

func TestAWayThatDidNotComeToItsEndIsNoSample(t *testing.T) {
	t.Parallel()
	for _, m := range []moment{asked, machineRunning} {
		j := made()
		delete(j.at, m)
		if _, ok := creation.split(j); ok {
			t.Errorf("a creation without moment %d is a sample", m)
		}
	}
}

func TestADeletionIsSplitToo(t *testing.T) {
	t.Parallel()
	j := &journey{
		at: map[moment]time.Time{askedGone: at(0), answeredGone: at(5), machineDeleted: at(50), vmDeleted: at(200), vmGone: at(300), machineGone: at(400)},
		busy: map[layer][]span{
			managerCall: {between(210, 280)}, daemonCall: {between(211, 279)}, c4Call: {between(220, 230), between(240, 250)},
			hostWorks: {between(221, 229), between(225, 235)}, writeOfManager: {between(285, 300)},
		},
	}
	spends(t, deletion, j, map[stage]int{
		{apiServer, "the request to delete"}:        5,
		{clusterAPI, "the Machine deleted"}:         45,
		{clusterAPI, "the ElementoMachine deleted"}: 150,
		{ourManager, "until all is gone"}:           15,
		{apiServer, "for our manager"}:              15,
		{who: grpcWire}:                             2,
		{who: ourDaemon}:                            9 + 5 + 29,
		{who: c4Wire}:                               1 + 10,
		{who: hypervisor}:                           14,
		{clusterAPI, "until the Machine is gone"}:   100,
	})
}

func TestTheStagesAddUpWhateverTheHistoryTells(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		j := &journey{at: map[moment]time.Time{}, busy: map[layer][]span{}}
		for m := asked; m <= machineRunning; m++ {
			if m == asked || m == machineRunning || chance.IntN(4) > 0 {
				j.at[m] = at(chance.IntN(1000))
			}
		}
		j.at[asked], j.at[machineRunning] = at(chance.IntN(100)), at(900+chance.IntN(200))
		for l := hostWorks; l <= writeOfBootstrap; l++ {
			for range chance.IntN(5) {
				from := chance.IntN(1200)
				j.works(l, between(from, from+chance.IntN(200)))
			}
		}
		s, ok := creation.split(j)
		if whole, _ := j.took(asked, machineRunning); !ok || s.whole() != whole {
			t.Fatalf("the stages add up to %s, and the whole is %s: %v", s.whole(), whole, j)
		}
		for of, d := range s {
			if d < 0 {
				t.Fatalf("%s has %s", of, d)
			}
		}
	}
}

func TestTheStagesOfAWayAreThoseThatItsTimeIsSplitInto(t *testing.T) {
	t.Parallel()
	for _, w := range []way{creation, deletion} {
		named := map[string]bool{}
		for _, s := range w.stages() {
			if named[s.String()] {
				t.Errorf("%s has two stages %q", w.name, s)
			}
			named[s.String()] = true
		}
		for _, l := range w.legs {
			if !named[l.stage.String()] {
				t.Errorf("%s lacks the stage %q", w.name, l.stage)
			}
		}
		if last := fmt.Sprint(w.stages()[len(w.stages())-1]); last != string(notAttributed) {
			t.Errorf("the last stage of %s is %q", w.name, last)
		}
	}
}
