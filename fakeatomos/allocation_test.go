package fakeatomos

import (
	"math/rand/v2"
	"slices"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// The example that AtomOS publishes: 4 cores with 2 threads each.
func TestThePublishedExampleFits(t *testing.T) {
	t.Parallel()
	p := processors{cores: 4, smt: 2}
	for _, tc := range []struct {
		name      string
		slots     int
		full      bool
		fits      bool
		available int
	}{
		{"4 full physical slots fit", 4, true, true, 4},
		{"8 full physical slots do not", 8, true, false, 4},
		{"8 thread slots fit", 8, false, true, 8},
		{"9 thread slots do not", 9, false, false, 8},
	} {
		threads, available := p.place(nil, tc.slots, defaultOverprovision, tc.full)
		if (threads != nil) != tc.fits || available != tc.available {
			t.Errorf("%s: got threads %v of %d slots", tc.name, threads, available)
		}
		if want := tc.slots * map[bool]int{true: 2, false: 1}[tc.full]; tc.fits && len(threads) != want {
			t.Errorf("%s: %d threads taken, want %d", tc.name, len(threads), want)
		}
	}
}

// A thread is free while its counter is below the strictest limit of the VMs on
// it and below the limit that is asked for.
func TestAThreadIsFreeByTheStrictestLimit(t *testing.T) {
	t.Parallel()
	p := processors{cores: 1, smt: 1}
	for _, tc := range []struct {
		name  string
		there []int // limits of the VMs on the only thread
		asked int
		fits  bool
	}{
		{"an empty thread takes a VM that shares with nobody", nil, 1, true},
		{"a shared thread does not", []int{10}, 1, false},
		{"a VM that shares with nobody keeps others out", []int{1}, 10, false},
		{"two may share when both allow two", []int{2}, 2, true},
		{"a third may not join two that allow two", []int{2, 2}, 10, false},
		{"the strictest of several counts", []int{10, 3}, 10, true},
		{"until it is reached", []int{10, 3, 10}, 10, false},
		{"ten share by default", []int{10, 10, 10, 10, 10, 10, 10, 10, 10}, 10, true},
		{"eleven do not", []int{10, 10, 10, 10, 10, 10, 10, 10, 10, 10}, 10, false},
	} {
		var claims []claim
		for _, limit := range tc.there {
			claims = append(claims, claim{threads: []int{0}, limit: limit})
		}
		if threads, _ := p.place(claims, 1, tc.asked, false); (threads != nil) != tc.fits {
			t.Errorf("%s: placed on %v", tc.name, threads)
		}
	}
}

func TestAFullCoreNeedsAllItsThreads(t *testing.T) {
	t.Parallel()
	p := processors{cores: 2, smt: 2}
	taken := []claim{{threads: []int{1}, limit: 1}} // half of core 0
	threads, available := p.place(taken, 1, defaultOverprovision, true)
	if available != 1 || !slices.Equal(threads, []int{2, 3}) {
		t.Errorf("placed on %v of %d cores, want threads 2 and 3 of 1 core", threads, available)
	}
	if threads, _ := p.place(taken, 2, defaultOverprovision, true); threads != nil {
		t.Errorf("two full cores were found: %v", threads)
	}
	if cores, used := p.used(taken); cores != 1 || used != 1 {
		t.Errorf("%d cores and %d threads in use, want 1 and 1", cores, used)
	}
}

func TestSharingBeginsWhenNoThreadIsEmpty(t *testing.T) {
	t.Parallel()
	p := processors{cores: 2, smt: 1}
	first, _ := p.place(nil, 1, 2, false)
	second, _ := p.place([]claim{{first, 2}}, 1, 2, false)
	if slices.Equal(first, second) {
		t.Errorf("both VMs are on %v while a thread is empty", first)
	}
}

// Whatever comes and goes, no thread ever bears more than any VM on it allows.
func TestNoLimitIsEverExceeded(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := processors{cores: 6, smt: 2}
	var claims []claim
	for range 5000 {
		if len(claims) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(claims))
			claims = slices.Delete(claims, i, i+1)
			continue
		}
		limit := 1 + random.IntN(10)
		if threads, _ := p.place(claims, 1+random.IntN(6), limit, random.IntN(2) == 0); threads != nil {
			claims = append(claims, claim{threads, limit})
		}
		counts, limits := p.load(claims, defaultOverprovision)
		for i := range counts {
			if counts[i] > limits[i] {
				t.Fatalf("thread %d bears %d slots where %d are allowed", i, counts[i], limits[i])
			}
		}
	}
}

func TestAPledgeThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	sound := func() c4.Pledge {
		return c4.Pledge{CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 1, MinFrequency: "1.0", Arch: []string{"X86_64"}}, Mem: c4.MemPledge{Capacity: 1}}
	}
	if wrong := checkPledge(sound()); wrong != "" {
		t.Fatalf("a sound pledge is refused: %s", wrong)
	}
	for name, spoil := range map[string]func(*c4.Pledge){
		"no slots":            func(p *c4.Pledge) { p.CPU.Slots = 0 },
		"257 slots":           func(p *c4.Pledge) { p.CPU.Slots = 257 },
		"overprovision 11":    func(p *c4.Pledge) { p.CPU.MaxOverprovision = 11 },
		"overprovision -1":    func(p *c4.Pledge) { p.CPU.MaxOverprovision = -1 },
		"frequency 0.4":       func(p *c4.Pledge) { p.CPU.MinFrequency = "0.4" },
		"frequency 5.1":       func(p *c4.Pledge) { p.CPU.MinFrequency = "5.1" },
		"frequency NaN":       func(p *c4.Pledge) { p.CPU.MinFrequency = "NaN" },
		"frequency x":         func(p *c4.Pledge) { p.CPU.MinFrequency = "x" },
		"unknown arch":        func(p *c4.Pledge) { p.CPU.Arch = []string{"Z80"} },
		"no memory":           func(p *c4.Pledge) { p.Mem.Capacity = 0 },
		"device without part": func(p *c4.Pledge) { p.PCI.Devices = map[string]int{"10de": 1} },
		"no device":           func(p *c4.Pledge) { p.PCI.Devices = map[string]int{"10de:1eb8": 0} },
	} {
		p := sound()
		spoil(&p)
		if checkPledge(p) == "" {
			t.Errorf("%s is accepted", name)
		}
	}
}
