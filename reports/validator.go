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
	// Verdict is unknown for one that looked at nothing; see [Validated].
	Verdict Verdict `json:"verdict"`
}

// Validated is what a validator found: passed if it looked at something and
// nothing was amiss.
func Validated(name, rule string, checked int, violations ...string) Validator {
	return Validator{Name: name, Rule: rule, Checked: checked, Violations: violations}.judged()
}

// judged is the validator with the verdict that follows from what it found.
func (v Validator) judged() Validator {
	switch {
	case len(v.Violations) > 0:
		v.Verdict = Failed
	case v.Checked == 0 || v.Verdict == Unknown: // it may not have been able to tell
		v.Verdict = Unknown
	default:
		v.Verdict = Passed
	}
	return v
}

// reason says why a validator has not passed.
func (v Validator) reason() string {
	if len(v.Violations) > 0 {
		return v.Name + ": " + v.Violations[0]
	}
	if v.Checked > 0 {
		return v.Name + " cannot tell of all that it looked at"
	}
	return v.Name + " found nothing to look at"
}
