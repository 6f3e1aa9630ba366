package history

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// readers tell how the files of a history are read, by the patterns of their
// names.
var readers = map[string]func(path string, offset int64, each func(Event) error) (int64, error){
	events:  history.Read,
	Manager: callsOf("manager"),
	Daemons: callsOf("daemon"),
}

// Result is what an event of kind rpc has in its detail.
type Result struct {
	// Gone is what DeleteVM answered.
	Gone bool `json:"gone,omitempty"`
	// Action is what SetVMPower asked for; a log of an older version has none.
	Action string `json:"action,omitempty"`
	// Power and UID are those of the VM that EnsureVM, GetVM and, at the daemon's
	// end, SetVMPower answered.
	Power string `json:"power,omitempty"`
	UID   string `json:"uid,omitempty"`
	// Lost tells that the request may have had an effect that nobody knows.
	Lost bool `json:"lost,omitempty"`
}

// ResultOf reads the detail of an event of kind rpc.
func ResultOf(e Event) (r Result) {
	_ = json.Unmarshal(e.Detail, &r) // one without a detail has no result
	return r
}

// line is what a log tells of a call over gRPC. Daemons call the line "audit" if
// the call changes something.
type line struct {
	Message   string    `json:"msg"`
	Method    string    `json:"method"`
	Client    string    `json:"client"`
	Host      string    `json:"host"`
	VM        string    `json:"vm"`
	Daemon    string    `json:"daemon"`
	RequestID string    `json:"requestID"`
	Outcome   string    `json:"outcome"`
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended"`
	Result
}

// callsOf reads the calls in the log of one end; everything else in it is left
// out.
func callsOf(end string) func(path string, offset int64, each func(Event) error) (int64, error) {
	return func(path string, offset int64, each func(Event) error) (int64, error) {
		return history.Lines(path, offset, func(text []byte, _ int64) error {
			if !bytes.Contains(text, []byte(`"call"`)) && !bytes.Contains(text, []byte(`"audit"`)) {
				return nil
			}
			// A log is for people too: what is no such line is not for us.
			l, is := callIn(text)
			if !is {
				return nil
			}
			method := l.Method[strings.LastIndexByte(l.Method, '/')+1:]
			return each(Event{
				Time: l.Began, Ended: l.Ended, Kind: history.RPC, Name: method, End: end, Peer: l.Daemon,
				Host: l.Host, VM: l.VM, Owner: l.Client, Code: l.Outcome, ID: l.RequestID,
				Detail: history.Detail(l.Result),
			})
		})
	}
}

func callIn(text []byte) (l line, is bool) {
	err := json.Unmarshal(text, &l)
	return l, err == nil && (l.Message == "call" || l.Message == "audit") && l.Method != "" && !l.Began.IsZero()
}
