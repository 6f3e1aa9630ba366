package c4

import (
	"errors"
	"fmt"
)

// Code classifies the outcome of a call that did not succeed. Callers switch
// on it once and never look at an error's text. SPEC.md lists what to do on
// each.
type Code int

const (
	// Unknown: the request may have reached the host and its reply did not
	// come back whole (deadline, cut connection, half a body). The effect may
	// or may not have happened: look before doing anything else.
	Unknown Code = iota
	// Unreachable: no connection to the host, so nothing was sent. This says
	// nothing about the VMs on it.
	Unreachable
	// Unavailable: the host answered that it, or a service behind it, is too busy
	// or down (503, 429), and has done nothing. The same may be asked again, later.
	Unavailable
	// Untrusted: the host presented a certificate with another fingerprint.
	Untrusted
	// Unauthenticated: the bearer token is missing or not accepted.
	Unauthenticated
	// Invalid: the host refused the request itself; repeating it is useless.
	Invalid
	// NotFound: the thing does not exist, or belongs to another client UUID.
	NotFound
	// CannotPlace: the pledge or volume does not fit on this host now.
	CannotPlace
	// LicenseRequired: Community Edition's limit of VMs is reached.
	LicenseRequired
	// InUse: an exclusive volume or a port is taken, or the thing cannot be
	// removed while something uses it.
	InUse
	// WrongState: the VM's power state does not allow the call (start of a
	// running VM).
	WrongState
	// NotDone: the host answered that it did not do it (204 on unregister).
	NotDone
	// Unsupported: this host does not know the call (older host, or an edition
	// without it).
	Unsupported
	// Malformed: the host answered success with a body that cannot be read.
	// The effect has happened.
	Malformed
	// Internal: the host failed (500 and the like); the effect is unknown.
	Internal
)

var codeNames = map[Code]string{
	Unknown: "Unknown", Unreachable: "Unreachable", Unavailable: "Unavailable", Untrusted: "Untrusted",
	Unauthenticated: "Unauthenticated", Invalid: "Invalid", NotFound: "NotFound", CannotPlace: "CannotPlace",
	LicenseRequired: "LicenseRequired", InUse: "InUse", WrongState: "WrongState", NotDone: "NotDone",
	Unsupported: "Unsupported", Malformed: "Malformed", Internal: "Internal",
}

// Codes lists every code, for tables that must be complete.
func Codes() []Code {
	codes := make([]Code, 0, len(codeNames))
	for c := Unknown; c <= Internal; c++ {
		codes = append(codes, c)
	}
	return codes
}

func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("Code(%d)", int(c))
}

// Ambiguous tells whether the effect of a call that ended with this code may
// have happened.
func (c Code) Ambiguous() bool {
	return c == Unknown || c == Malformed || c == Internal
}

// Error is what every failed call returns.
type Error struct {
	Code Code
	// Host is the host's address as configured.
	Host string
	// Call names the C4 call, for example "POST matcher/register".
	Call string
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Message is what the host said, shortened. Never holds what was sent.
	Message string
	// Unsent is true when certainly nothing of the request has reached the host:
	// always with Unreachable, and with Unknown when the caller gave up first.
	Unsent bool
	// Err is the transport's error, if there is one.
	Err error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("c4: %s on %s: %s", e.Call, e.Host, e.Code)
	if e.Status != 0 {
		text += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of an error that came from this package, and Unknown
// for any other.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Unknown
}
