// Package c4 speaks C4, the "Cloud Computing Common Connector" of Elemento's
// AtomOS hypervisor: HTTP and JSON, spoken to one host at a time. SPEC.md
// beside this file describes every call, grades what is known of it and says
// how a caller recovers from each error.
//
// Everything in which a real AtomOS could differ from what is public stays
// inside this package, so that a second dialect can be added without its
// callers noticing.
package c4
