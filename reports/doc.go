// Package reports holds what a run of a suite says at its end: each criterion
// of the checklist with its target, what was measured, the evidence and the
// command that repeats it. One data model, written as JSON ([Schema] describes
// it), as an HTML page that needs nothing else, as JUnit XML, and as text for a
// terminal. [Merge] makes the report that is signed of the reports of several runs.
//
// What was not run says so, and a run that measured nothing is unknown, never
// passed. Nor is one that looked at less than its criterion asks for, such as 24
// hours: it says how much it lacks.
package reports
