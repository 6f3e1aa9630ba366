package reports

import (
	"fmt"
	"time"
)

// Cycle is one reconciliation cycle for the verdict, and MaxCycles how many a
// scenario may take to converge.
const (
	Cycle     = 10 * time.Minute
	MaxCycles = 2
)

// Scenario is something that was made to go wrong, and what became of it.
type Scenario struct {
	// Name is what people call it, in lower case with dashes.
	Name string `json:"name"`
	// Answers is the sentence or the complaint that it is about, and where that
	// stands.
	Answers string `json:"answers"`
	// Does says what happens, During what must hold all the while, and After what
	// must hold in the end.
	Does   string `json:"does"`
	During string `json:"during"`
	After  string `json:"after"`
	// Seed repeats its random choices.
	Seed string `json:"seed,omitempty"`
	// Start is when something was broken first; zero when nothing was.
	Start time.Time `json:"start,omitzero"`
	// Seconds are those from the last change to convergence, and Cycles the same in
	// reconciliation cycles.
	Seconds float64 `json:"seconds"`
	Cycles  float64 `json:"cycles"`
	// Verdict is the scenario's own; one that took more than [MaxCycles] fails
	// whatever this says.
	Verdict Verdict `json:"verdict"`
	// Explanation says why it has not passed.
	Explanation string `json:"explanation,omitempty"`
	// Command repeats it.
	Command string `json:"command"`
}

// judged is the scenario with its verdict and its explanation complete.
func (s Scenario) judged() Scenario {
	if s.Verdict == Passed && s.Cycles > MaxCycles {
		s.Verdict = Failed
		s.Explanation = fmt.Sprintf("it took %s cycles to converge, %d are allowed", number(s.Cycles, ""), MaxCycles)
	}
	return s
}
