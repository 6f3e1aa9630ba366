package reports

import "time"

// Run is one of those that a sign-off was merged from.
type Run struct {
	// Name tells it from the others: that of its directory.
	Name        string      `json:"name"`
	Title       string      `json:"title"`
	Verdict     Verdict     `json:"verdict"`
	Explanation string      `json:"explanation,omitempty"`
	Command     string      `json:"command"`
	Start       time.Time   `json:"start"`
	End         time.Time   `json:"end"`
	Seed        string      `json:"seed,omitempty"`
	Parts       []Part      `json:"parts,omitempty"`
	Environment Environment `json:"environment"`
	Figures     []Figure    `json:"figures,omitempty"`
	Latencies   []Latency   `json:"latencies,omitempty"`
	Charts      []Chart     `json:"charts,omitempty"`
	Validators  []Validator `json:"validators,omitempty"`
	TimeLines   []TimeLine  `json:"timeLines,omitempty"`
	Evidence    []Evidence  `json:"evidence,omitempty"`
}

// Bug is one that a suite has found before anyone else did.
type Bug struct {
	// What was wrong, in a sentence.
	What string `json:"what"`
	// IntroducedIn and MendedIn are commits.
	IntroducedIn string `json:"introducedIn"`
	MendedIn     string `json:"mendedIn"`
	// FoundBy is the suite, and ReproducedBy a command that fails where the bug is.
	FoundBy      string `json:"foundBy"`
	ReproducedBy string `json:"reproducedBy"`
}
