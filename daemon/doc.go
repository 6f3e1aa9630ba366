// Package daemon is the client daemon of Elemento's AtomOS hypervisors: the
// gRPC services of daemon/rpc in front of C4, which is spoken to every host of
// a site. It keeps nothing: whatever it knows it can lose and find again on
// the hosts by owner and name, so any number of daemons may serve a site.
//
// Three rules hold everywhere. Look before you create, because C4 has no
// idempotency token. Act only for the client UUIDs that the caller's
// certificate may name, and only on what those own. Never let user-data near a
// log or an error.
package daemon
