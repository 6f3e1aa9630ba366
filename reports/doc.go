// Package reports holds what a run of a suite says at its end: each criterion
// of the checklist with its target, what was measured, the evidence and the
// command that repeats it. One data model, written as JSON ([Schema] describes
// it), as an HTML page that needs nothing else, and as text for a terminal.
//
// What was not run says so, and a run that measured nothing is unknown, never
// passed.
package reports
