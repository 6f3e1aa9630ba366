package reports

// Validator is something that must hold over a whole history, and what it found.
type Validator struct {
	Name string `json:"name"`
	// Rule is what must hold, in a sentence.
	Rule string `json:"rule,omitempty"`
	// Checked is how many things it looked at.
	Checked int `json:"checked"`
	// Violations say each what did not hold, when, and of what.
	Violations []string `json:"violations,omitempty"`
	// Verdict is unknown for one that looked at nothing, unless it says that there was
	// nothing and it is not run; see [Validated].
	Verdict Verdict `json:"verdict"`
}

// Validated is what a validator found: passed if it looked at something and
// nothing was amiss.
func Validated(name, rule string, checked int, violations ...string) Validator {
	return Validator{Name: name, Rule: rule, Checked: checked, Violations: violations}.judged()
}

// judged is the validator with the verdict that follows from what it found; one
// that says worse of itself is believed.
func (v Validator) judged() Validator {
	verdict := Passed
	switch {
	case len(v.Violations) > 0:
		verdict = Failed
	case v.Checked == 0 && v.Verdict == NotRun:
		verdict = NotRun
	case v.Checked == 0:
		verdict = Unknown
	}
	v.Verdict = Sum(verdict, v.Verdict)
	return v
}

// judging counts those that had something to judge.
func judging(validators []Validator) (n int) {
	for _, v := range validators {
		if v.Verdict != NotRun {
			n++
		}
	}
	return n
}

// reason says why a validator has not passed.
func (v Validator) reason() string {
	switch {
	case len(v.Violations) > 0:
		return v.Name + ": " + v.Violations[0]
	case v.Verdict == Failed:
		return v.Name + " has failed"
	case v.Checked > 0:
		return v.Name + " cannot tell of all that it looked at"
	default:
		return v.Name + " found nothing to look at"
	}
}
