// Package world brings up, as plain processes on one machine, all that the
// suites act on, and takes it down again.
//
// Nothing but Linux and Go is needed: programs that are not installed are built
// from Go modules, once (see [Binary]). Everything listens on loopback addresses
// that no other world uses, and every process dies with the one that started
// it, however that one ends.
package world
