package c4_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// host is a server on C4's ports that answers as its handler says.
type host struct {
	url         string
	address     string
	fingerprint string
	servers     []*httptest.Server
}

func (h *host) close() {
	for _, s := range h.servers {
		s.CloseClientConnections()
		s.Close()
	}
}

// serve brings up a host over TLS.
func serve(t *testing.T, handle http.HandlerFunc) *host {
	t.Helper()
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return serveAt(t, addresses[0].String(), handle)
}

func serveAt(t *testing.T, address string, handle http.HandlerFunc) *host {
	t.Helper()
	h := &host{url: "https://" + address, address: address}
	for _, port := range []string{"7777", "7772", "7776"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(handle)
		if err := s.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.Listener = l
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		h.servers = append(h.servers, s)
		h.fingerprint = c4.Fingerprint(s.Certificate().Raw)
	}
	return h
}

// client makes a client of the host; edit may change its configuration.
func client(t *testing.T, h *host, edit func(*c4.Config)) *c4.Client {
	t.Helper()
	cfg := c4.Config{URL: h.url, Fingerprint: h.fingerprint}
	if edit != nil {
		edit(&cfg)
	}
	c, err := c4.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func wantCode(t *testing.T, err error, want c4.Code) {
	t.Helper()
	if err == nil || c4.CodeOf(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConfigurationThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	for _, cfg := range []c4.Config{
		{}, {URL: "192.0.2.1"}, {URL: "ftp://192.0.2.1"}, {URL: "https://"}, {URL: "https://192.0.2.1:7777"},
		{URL: "https://192.0.2.1/api"}, {URL: "https://192.0.2.1\x7f"},
		{URL: "https://192.0.2.1", Fingerprint: "abcd"}, {URL: "https://192.0.2.1", Fingerprint: strings.Repeat("g", 64)},
	} {
		if _, err := c4.New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	if _, err := c4.New(c4.Config{URL: "https://192.0.2.1", Fingerprint: strings.Repeat("AB:", 31) + "AB"}); err != nil {
		t.Errorf("a fingerprint with colons: %v", err)
	}
}

func TestAHostWithAnotherCertificateIsUntrusted(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	h := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	wantCode(t, client(t, h, func(cfg *c4.Config) { cfg.Fingerprint = strings.Repeat("ab", 32) }).Ping(t.Context()), c4.Untrusted)
	wantCode(t, client(t, h, func(cfg *c4.Config) { cfg.Fingerprint = "" }).Ping(t.Context()), c4.Untrusted)
	if calls.Load() != 0 {
		t.Error("the host was asked all the same")
	}
}

func TestTheTokenAndOwnHeadersAreSent(t *testing.T) {
	t.Parallel()
	var seen http.Header
	h := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })
	c := client(t, h, func(cfg *c4.Config) {
		cfg.Token = "secret"
		cfg.RequestHeader = func(_ context.Context, header http.Header) { header.Set("X-Request-Id", "7") }
	})
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen.Get("Authorization") != "Bearer secret" || seen.Get("X-Request-Id") != "7" {
		t.Errorf("sent %v", seen)
	}
}

func TestAHostThatDoesNotListenIsUnreachable(t *testing.T) {
	t.Parallel()
	h := serve(t, answer(200, ""))
	h.close()
	c := client(t, h, nil)
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
	_, err := c.Register(t.Context(), c4.RegisterRequest{})
	wantCode(t, err, c4.Unreachable)
}

func TestAHostThatNeverFinishesTheHandshakeIsUnreachable(t *testing.T) {
	t.Parallel()
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(addresses[0].String(), "7777")) // never accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := client(t, &host{url: "https://" + addresses[0].String(), fingerprint: strings.Repeat("ab", 32)}, func(cfg *c4.Config) { cfg.Timeout = 100 * time.Millisecond })
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
}

func TestACallThatTheCallerGivesUpIsUnknown(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			<-release
		}
	})
	defer close(release)
	c := client(t, h, nil)
	if err := c.Ping(t.Context()); err != nil { // so that there is a connection
		t.Fatal(err)
	}
	ctx, cancelSoon := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelSoon()
	_, err := c.Register(ctx, c4.RegisterRequest{})
	wantCode(t, err, c4.Unknown)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, client(t, h, nil).Ping(ended), c4.Unknown)
}

func TestAReplyThatIsCutIsUnknown(t *testing.T) {
	t.Parallel()
	h := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"registered":`)
	})
	_, err := client(t, h, nil).Register(t.Context(), c4.RegisterRequest{})
	wantCode(t, err, c4.Unknown)
}

// The transport repeats requests by itself where it believes that it may. One
// that changes something must not be among them, not even on a connection that
// was in use before.
func TestAChangingRequestReachesTheHostAtMostOnce(t *testing.T) {
	t.Parallel()
	var arrived sync.Map
	h := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.Host + r.URL.Path
		n, _ := arrived.LoadOrStore(key, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		if r.Method != http.MethodGet {
			panic(http.ErrAbortHandler)
		}
	})
	c := client(t, h, nil)
	for _, call := range changes(c) {
		if err := c.Ping(t.Context()); err != nil { // so that a connection is there to be used again
			t.Fatal(err)
		}
		wantCode(t, call(t.Context()), c4.Unknown)
	}
	kinds := 0
	arrived.Range(func(key, n any) bool {
		if !strings.HasPrefix(key.(string), "GET ") {
			kinds++
			if got := n.(*atomic.Int32).Load(); got != 1 {
				t.Errorf("%s arrived %d times", key, got)
			}
		}
		return true
	})
	if kinds != len(changes(c)) {
		t.Errorf("%d kinds of calls arrived of %d", kinds, len(changes(c)))
	}
}

// changes are the calls that have an effect.
func changes(c *c4.Client) map[string]func(context.Context) error {
	vm := c4.VMRef{ClientUID: "c", VMUID: "v"}
	return map[string]func(context.Context) error{
		"Register":     func(ctx context.Context) error { _, err := c.Register(ctx, c4.RegisterRequest{}); return err },
		"Unregister":   func(ctx context.Context) error { return c.Unregister(ctx, vm) },
		"Start":        func(ctx context.Context) error { return c.Start(ctx, vm) },
		"Stop":         func(ctx context.Context) error { return c.Stop(ctx, vm) },
		"Reboot":       func(ctx context.Context) error { return c.Reboot(ctx, vm) },
		"Attach":       func(ctx context.Context) error { return c.Attach(ctx, c4.AttachRequest{}) },
		"Detach":       func(ctx context.Context) error { return c.Detach(ctx, c4.AttachRequest{}) },
		"CreateVolume": func(ctx context.Context) error { _, err := c.CreateVolume(ctx, c4.VolumeRequest{}); return err },
		"CreateImageVolume": func(ctx context.Context) error {
			_, err := c.CreateImageVolume(ctx, c4.ImageVolumeRequest{})
			return err
		},
		"ImportVolume":   func(ctx context.Context) error { _, err := c.ImportVolume(ctx, c4.VolumeImportRequest{}); return err },
		"OpenSeed":       func(ctx context.Context) error { _, err := c.OpenSeed(ctx, c4.SeedRequest{}, nil); return err },
		"CompleteSeed":   func(ctx context.Context) error { return c.CompleteSeed(ctx, "v", nil) },
		"DestroyVolume":  func(ctx context.Context) error { return c.DestroyVolume(ctx, "v") },
		"ExportVolume":   func(ctx context.Context) error { return c.ExportVolume(ctx, "c", "v") },
		"UnexportVolume": func(ctx context.Context) error { return c.UnexportVolume(ctx, "c", "v") },
		"CreateNetwork":  func(ctx context.Context) error { _, err := c.CreateNetwork(ctx, c4.Network{}); return err },
		"DeleteNetwork":  func(ctx context.Context) error { return c.DeleteNetwork(ctx, "n") },
		"CreateForward":  func(ctx context.Context) error { _, err := c.CreateForward(ctx, c4.Forward{}); return err },
		"DeleteForward":  func(ctx context.Context) error { return c.DeleteForward(ctx, "f") },
	}
}

// reads are the calls that have none and expect JSON.
func reads(c *c4.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Info":        func(ctx context.Context) error { _, err := c.Info(ctx); return err },
		"Metrics":     func(ctx context.Context) error { _, err := c.Metrics(ctx); return err },
		"CanAllocate": func(ctx context.Context) error { _, err := c.CanAllocate(ctx, c4.Pledge{}); return err },
		"VMs":         func(ctx context.Context) error { _, _, _, err := c.VMs(ctx, "c", nil); return err },
		"Usage":       func(ctx context.Context) error { _, err := c.Usage(ctx, c4.VMRef{}); return err },
		"Volume":      func(ctx context.Context) error { _, err := c.Volume(ctx, "v"); return err },
		"Volumes":     func(ctx context.Context) error { _, err := c.Volumes(ctx, "c"); return err },
		"Networks":    func(ctx context.Context) error { _, err := c.Networks(ctx); return err },
		"Network":     func(ctx context.Context) error { _, err := c.Network(ctx, "n"); return err },
		"Forwards":    func(ctx context.Context) error { _, err := c.Forwards(ctx); return err },
	}
}

func TestJSONThatIsBrokenIsMalformed(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, `{"registered": tru`)), nil)
	for name, call := range reads(c) {
		t.Run(name, func(t *testing.T) { wantCode(t, call(t.Context()), c4.Malformed) })
	}
}

func TestNullIsNeitherAnEmptyListNorAnAnswer(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, " null\n")), nil)
	for name, call := range reads(c) {
		t.Run(name, func(t *testing.T) { wantCode(t, call(t.Context()), c4.Malformed) })
	}
}

func TestASuccessThatDoesNotSayOfWhatIsMalformed(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, `{}`)), nil)
	makers := changes(c)
	for _, name := range []string{"Register", "CreateVolume", "CreateImageVolume", "ImportVolume", "OpenSeed", "CreateNetwork", "CreateForward"} {
		t.Run(name, func(t *testing.T) { wantCode(t, makers[name](t.Context()), c4.Malformed) })
	}
}

func TestARefusalOfEveryCallHasItsCodeAndName(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(404, `{"error":"not_found"}`)), nil)
	calls := changes(c)
	for name, call := range reads(c) {
		calls[name] = call
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			err := call(t.Context())
			wantCode(t, err, c4.NotFound)
			if !strings.Contains(err.Error(), c.Host()) {
				t.Errorf("%v does not name the host", err)
			}
		})
	}
}

func TestNoContentMeansWhatEachCallSays(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(204, "")), nil)
	_, err := c.Register(t.Context(), c4.RegisterRequest{})
	wantCode(t, err, c4.CannotPlace)
	wantCode(t, c.Unregister(t.Context(), c4.VMRef{}), c4.NotDone)
	if list, err := c.Volumes(t.Context(), "c"); err != nil || len(list) != 0 {
		t.Errorf("volumes: %v, %v; want an empty list", list, err)
	}
}

func TestWhatIsNoListOfVMsIsNotAnEmptyOne(t *testing.T) {
	t.Parallel()
	for _, reply := range []http.HandlerFunc{answer(204, ""), answer(200, `{}`), answer(200, `{"vms":null}`), answer(200, `[]`), answer(200, `{"error":"x"}`)} {
		_, _, _, err := client(t, serve(t, reply), nil).VMs(t.Context(), "c", nil)
		wantCode(t, err, c4.Malformed)
	}
}

func TestAHostWithoutAProcessorHasNotToldItsHardware(t *testing.T) {
	t.Parallel()
	for _, reply := range []http.HandlerFunc{answer(204, ""), answer(200, `{}`)} {
		_, err := client(t, serve(t, reply), nil).Info(t.Context())
		wantCode(t, err, c4.Malformed)
	}
}

func TestAnUnregisterThatSaysFalseIsNotDone(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, `{"unregistered":false}`)), nil)
	wantCode(t, c.Unregister(t.Context(), c4.VMRef{}), c4.NotDone)
}

func TestASeedThatStillMissesFilesIsNotDone(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(206, `{"vid":"v"}`)), nil)
	wantCode(t, c.CompleteSeed(t.Context(), "v", nil), c4.NotDone)
}

func TestASeedIsUploadedAsPublished(t *testing.T) {
	t.Parallel()
	type upload struct {
		descriptor map[string]any
		file, text string
	}
	var got []upload
	h := serve(t, func(w http.ResponseWriter, r *http.Request) {
		raw, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(r.URL.Path, "/api/v1.0/cloudinit/metadata/"))
		var u upload
		if err == nil {
			err = json.Unmarshal(raw, &u.descriptor)
		}
		file, header, ferr := r.FormFile("file")
		if err != nil || ferr != nil {
			http.Error(w, "bad upload", http.StatusBadRequest)
			return
		}
		text, _ := io.ReadAll(file)
		u.file, u.text = header.Filename, string(text)
		got = append(got, u)
		_, _ = io.WriteString(w, `{"vid":"v1"}`)
	})
	c := client(t, h, nil)
	id, err := c.OpenSeed(t.Context(), c4.SeedRequest{CreatorID: "c", Name: "n", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}, []byte("user"))
	if err != nil || id != "v1" {
		t.Fatalf("%q, %v", id, err)
	}
	if err := c.CompleteSeed(t.Context(), id, []byte("meta")); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].file != "user-data" || got[0].text != "user" || got[0].descriptor["expectedFiles"] != 2.0 ||
		got[1].file != "meta-data" || got[1].text != "meta" || got[1].descriptor["vid"] != "v1" {
		t.Errorf("uploaded %+v", got)
	}
}

func TestWhatAHostSaysOfASeedIsNotRepeated(t *testing.T) {
	t.Parallel()
	h := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(400)
		_, _ = w.Write(body)
	})
	_, err := client(t, h, nil).OpenSeed(t.Context(), c4.SeedRequest{Name: "n"}, []byte("token: abcdef.0123456789abcdef"))
	wantCode(t, err, c4.Invalid)
	if strings.Contains(err.Error(), "abcdef") {
		t.Errorf("the error holds the seed: %v", err)
	}
}

func TestAListThatHasNotChangedIsNotDecoded(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	body.Store(`{"vms":[{"uniqueID":"u"}]}`)
	h := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body.Load().(string)) })
	c := client(t, h, nil)
	vms, first, changed, err := c.VMs(t.Context(), "c", nil)
	if err != nil || !changed || len(vms) != 1 {
		t.Fatalf("%v %v %v", vms, changed, err)
	}
	if _, again, changed, err := c.VMs(t.Context(), "c", first); err != nil || changed || again != first {
		t.Errorf("the same reply: changed %v, %v", changed, err)
	}
	body.Store(`{"vms":[]}`)
	if vms, _, changed, err := c.VMs(t.Context(), "c", first); err != nil || !changed || len(vms) != 0 {
		t.Errorf("another reply: %v %v %v", vms, changed, err)
	}
}

func TestOfAListThatHasChangedTheRestStaysTheSame(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	body.Store(`{"vms":[{"uniqueID":"u","req_json":{"vm_name":"stays"}},{"uniqueID":"v","req_json":{"vm_name":"starts"}}]}`)
	h := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body.Load().(string)) })
	c := client(t, h, nil)
	before, listing, _, err := c.VMs(t.Context(), "c", nil)
	if err != nil || len(before) != 2 || before[0].Same(before[1]) {
		t.Fatalf("%+v %v", before, err)
	}
	body.Store(`{"vms":[{"uniqueID":"w"},{"uniqueID":"v","req_json":{"vm_name":"starts","states":"running"}},{"uniqueID":"u","req_json":{"vm_name":"stays"}}]}`)
	after, _, changed, err := c.VMs(t.Context(), "c", listing)
	if err != nil || !changed || len(after) != 3 || after[0].UID != "w" || after[1].State != c4.Running || after[2].Name != "stays" {
		t.Fatalf("%+v %v %v", after, changed, err)
	}
	if !after[2].Same(before[0]) || after[1].Same(before[1]) || after[0].Same(c4.VM{}) || (c4.VM{}).Same(c4.VM{}) {
		t.Error("what is the same and what is not is mixed up")
	}
	body.Store(`{"vms":[{"uniqueID":"u","req_json":{"vm_name":"stays"}},{"uniqueID":7}]}`)
	_, _, _, err = c.VMs(t.Context(), "c", listing)
	wantCode(t, err, c4.Malformed)
}

func TestEveryCallIsObservedOnceItHasEnded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []c4.Observation
	h := serve(t, answer(204, ""))
	c := client(t, h, func(cfg *c4.Config) {
		cfg.Observe = func(_ context.Context, o c4.Observation) { mu.Lock(); defer mu.Unlock(); seen = append(seen, o) }
	})
	_ = c.Ping(t.Context())
	h.close()
	_ = c.Ping(t.Context())
	if len(seen) != 2 || seen[0].Call != "GET matcher/" || seen[0].Err != nil || seen[0].Duration <= 0 || c4.CodeOf(seen[1].Err) != c4.Unreachable {
		t.Errorf("observed %+v", seen)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	h := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/else" {
			elsewhere.Add(1)
			return
		}
		http.Redirect(w, r, "/else", http.StatusTemporaryRedirect)
	})
	wantCode(t, client(t, h, nil).Start(t.Context(), c4.VMRef{}), c4.Internal)
	if elsewhere.Load() != 0 {
		t.Error("the request went elsewhere")
	}
}

// A change that follows the restart closely may go over a connection of before, of whose
// end its client has not been told yet. It ends without an answer, and no second one does.
func TestAHostThatWasRestartedIsReachedAgain(t *testing.T) {
	t.Parallel()
	h := serve(t, answer(200, ""))
	c := client(t, h, func(cfg *c4.Config) { cfg.Fingerprint = h.fingerprint })
	if err := c.Start(t.Context(), c4.VMRef{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.close()
		wantCode(t, c.Ping(t.Context()), c4.Unreachable)
		h = serveAt(t, h.address, answer(200, ""))
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := c.Start(t.Context(), c4.VMRef{})
		if err != nil && c4.CodeOf(err) == c4.Unknown {
			err = c.Start(t.Context(), c4.VMRef{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlainHTTPIsSpokenWhereTheURLSaysSo(t *testing.T) {
	t.Parallel()
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(addresses[0].String(), "7777"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(answer(200, "pong"))
	if err := s.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	s.Start()
	defer s.Close()
	if err := client(t, &host{url: "http://" + addresses[0].String()}, nil).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
