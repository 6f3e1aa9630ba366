package fakeatomos

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// maxRequest bounds the body of a request.
const maxRequest = 32 << 20

// route is one C4 call.
type route struct {
	// name is how c4.Error and the journal call it: "POST matcher/register".
	name string
	// changes marks calls that have an effect, which the journal keeps.
	changes bool
	// token marks calls that are refused without a bearer token.
	token bool
	// assumed marks calls that nothing public shows.
	assumed bool
	handle  func(*Host, *request) answer
}

// prefixes are the paths whose rest is an argument.
var prefixes = []string{"/cloudinit/metadata/"}

// routes are all C4 calls, by service and "METHOD /path".
var routes = map[string]map[string]*route{
	"matcher": {
		"GET /":              {handle: (*Host).ping},
		"GET /status":        {handle: (*Host).status},
		"GET /statusjson":    {handle: (*Host).statusJSON},
		"GET /canallocate":   {handle: with((*Host).canAllocate)},
		"POST /register":     {handle: with((*Host).register), changes: true},
		"DELETE /unregister": {handle: with((*Host).unregister), changes: true},
		"GET /running":       {handle: with((*Host).running)},
		"POST /start":        {handle: with((*Host).start), changes: true},
		"POST /stop":         {handle: with((*Host).stop), changes: true},
		"POST /reboot":       {handle: with((*Host).reboot), changes: true},
		"GET /usage":         {handle: (*Host).usage},
		"GET /host/status":   {handle: (*Host).metrics, token: true},
		"GET /vmusage":       {handle: with((*Host).vmUsage), assumed: true},
		"POST /attach":       {handle: with((*Host).attach), changes: true, assumed: true},
		"POST /detach":       {handle: with((*Host).detach), changes: true, assumed: true},
	},
	"storage": {
		"GET /cancreate":            {handle: with((*Host).canCreateVolume)},
		"POST /create":              {handle: with((*Host).createVolume), changes: true},
		"POST /info":                {handle: with((*Host).volumeInfo)},
		"POST /accessible":          {handle: with((*Host).accessible)},
		"POST /destroy":             {handle: with((*Host).destroyVolume), changes: true},
		"POST /export":              {handle: with((*Host).exportVolume), changes: true},
		"POST /unexport":            {handle: with((*Host).unexportVolume), changes: true},
		"POST /import":              {handle: with((*Host).importVolume), changes: true, token: true},
		"POST /cloudinit/create":    {handle: with((*Host).createImageVolume), changes: true},
		"POST /cloudinit/metadata/": {handle: (*Host).uploadSeed, changes: true},
	},
	"network": {
		"GET /list":           {handle: (*Host).listNetworks},
		"POST /info":          {handle: with((*Host).networkInfo)},
		"POST /create":        {handle: with((*Host).createNetwork), changes: true},
		"DELETE /delete":      {handle: with((*Host).deleteNetwork), changes: true},
		"POST /portforward":   {handle: with((*Host).createForward), changes: true},
		"DELETE /portforward": {handle: with((*Host).deleteForward), changes: true},
		"GET /portforwards":   {handle: (*Host).listForwards},
	},
}

func init() {
	for service, calls := range routes {
		for key, r := range calls {
			method, path, _ := strings.Cut(key, " ")
			if path != "/" {
				path = strings.TrimSuffix(path, "/")
			}
			r.name = method + " " + service + path
		}
	}
}

// request is one call, read whole, so that its effect does not depend on
// whether the caller is still there.
type request struct {
	body    []byte
	header  http.Header
	query   url.Values
	rest    string // of the path, after a prefix
	arrived time.Time
	// hungUp closes when the caller is gone.
	hungUp <-chan struct{}
	// entry is for handlers to note the ID of what they make.
	entry *JournalEntry
}

// answer is a reply before it is written.
type answer struct {
	status int
	// body is written as JSON; a string as plain text, []byte as it is.
	body any
	// half cuts the connection in the middle of the body.
	half bool
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

var noContent = answer{status: http.StatusNoContent}

// refuse answers with a reason that is one of C4's words or a sentence.
func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]string{"error": fmt.Sprintf(format, args...)}}
}

func notFound() answer { return refuse(http.StatusNotFound, "not_found") }

// with decodes the body of a call. Keys that are not known, as py/object, are
// ignored.
func with[T any](handle func(*Host, *request, T) answer) func(*Host, *request) answer {
	return func(h *Host, r *request) answer {
		var in T
		if err := json.Unmarshal(r.body, &in); err != nil {
			return refuse(http.StatusBadRequest, "the body is not the JSON of this call: %v", err)
		}
		return handle(h, r, in)
	}
}

// serve is the one way into a service of a host.
func (h *Host) serve(service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		arrived := time.Now()
		h.enter()
		defer h.leave()
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRequest))
		if err != nil {
			http.Error(w, "the request could not be read", http.StatusBadRequest)
			return
		}
		call, rest, status := h.lookup(service, req)
		if call == nil {
			http.Error(w, http.StatusText(status), status)
			return
		}
		entry := &JournalEntry{Arrived: arrived, Host: h.opts.Name, Call: call.name, RequestID: req.Header.Get("X-Request-Id")}
		h.fake.calls.count(h.opts.Name, call.name)
		a := h.answer(call, &request{
			body: body, header: req.Header, query: req.URL.Query(), rest: rest,
			arrived: arrived, hungUp: req.Context().Done(), entry: entry,
		})
		w.Header().Set("Date", h.date())
		a.write(w)
	})
}

// answer lets the faults in before and after a call's effect. It panics with
// http.ErrAbortHandler where the caller is to see a cut connection.
func (h *Host) answer(call *route, r *request) answer {
	var a answer
	defer func() {
		r.entry.Status, r.entry.Answered = a.status, time.Now()
		h.record(call, r, a)
	}()
	h.lock()
	about, slow := h.subjectOf(r), h.slow
	h.mu.Unlock()
	r.entry.VM, r.entry.Name, r.entry.Owner, r.entry.ID = about.vm, about.name, about.owner, about.id
	firing := h.fake.faults.fire(call.name, h.opts.Name, about)
	for _, f := range firing {
		r.entry.Faults = append(r.entry.Faults, f.ID)
	}
	h.wait(slow)
	answered := false
	for _, f := range firing {
		switch f.Effect {
		case DelayBefore:
			h.wait(f.Delay)
		case Refuse:
			a, answered = answer{status: f.Status, body: []byte(f.Body)}, true
		case Pretend:
			if call.changes && !answered {
				a, answered = pretend(call.name, r), true
			}
		case LoseRequest:
			panic(http.ErrAbortHandler)
		case Hang:
			h.waitUntilHungUp(r)
		}
	}
	if !answered {
		if refusal := h.authorize(call, r); refusal != nil {
			a = *refusal
		} else {
			a = call.handle(h, r)
			r.entry.Applied = call.changes && a.status/100 == 2 && a.status != http.StatusNoContent
		}
	}
	for _, f := range firing {
		switch f.Effect {
		case DelayAfter:
			h.wait(f.Delay)
		case MalformedReply:
			a.body = []byte(`{"registered": tru`)
		case WrongJSON:
			a.body = []byte(`{"service": "atomos", "replies": ["of", "another", "call"]}`)
		case HalfReply:
			a.half = true
		case NoContent:
			if a.status/100 == 2 {
				a.status = http.StatusNoContent
			}
		case LoseReply:
			panic(http.ErrAbortHandler)
		case HangAfter:
			h.waitUntilHungUp(r)
		}
	}
	return a
}

// waitUntilHungUp waits until the caller is gone or the host loses power, and
// ends the call.
func (h *Host) waitUntilHungUp(r *request) {
	h.lock()
	power := h.power
	h.mu.Unlock()
	select {
	case <-r.hungUp:
	case <-power.Done():
	}
	panic(http.ErrAbortHandler)
}

func (h *Host) lookup(service string, req *http.Request) (call *route, rest string, status int) {
	path, known := strings.CutPrefix(req.URL.Path, c4.BasePath)
	if !known {
		return nil, "", http.StatusNotFound
	}
	if path == "" {
		path = "/"
	}
	for _, p := range prefixes {
		if after, ok := strings.CutPrefix(path, p); ok {
			path, rest = p, after
		}
	}
	call = routes[service][req.Method+" "+path]
	if call == nil {
		for key := range routes[service] {
			if _, p, _ := strings.Cut(key, " "); p == path {
				return nil, "", http.StatusMethodNotAllowed
			}
		}
	}
	if call == nil || call.assumed && h.opts.PublishedOnly {
		return nil, "", http.StatusNotFound
	}
	return call, rest, 0
}

func (h *Host) authorize(call *route, r *request) *answer {
	want := h.fake.opts.Token
	got, _ := strings.CutPrefix(r.header.Get("Authorization"), "Bearer ")
	var a answer
	switch {
	case want == "" && !call.token:
		return nil
	case got == "":
		a = refuse(http.StatusUnauthorized, "missing_token")
	case want == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1:
		a = refuse(http.StatusUnauthorized, "invalid_token")
	default:
		return nil
	}
	return &a
}

func (a answer) write(w http.ResponseWriter) {
	contentType, raw, err := a.encode()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	if a.half {
		// Without a body the reply would be whole, and it would be the next request over
		// the connection that is cut, whatever that is.
		if a.status == http.StatusNoContent || len(raw) == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
		raw = raw[:len(raw)/2]
	}
	w.WriteHeader(a.status)
	if a.status != http.StatusNoContent {
		_, _ = w.Write(raw) // the caller is gone: nobody to tell
	}
	if a.half {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// encode is the body as it is on the wire.
func (a answer) encode() (contentType string, raw []byte, err error) {
	switch body := a.body.(type) {
	case nil:
		return "", nil, nil
	case []byte:
		return "application/json", body, nil
	case string:
		return "text/plain; charset=utf-8", []byte(body), nil
	default:
		raw, err := json.Marshal(body)
		return "application/json", raw, err
	}
}

func decodeStrictly(b []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(out)
}
