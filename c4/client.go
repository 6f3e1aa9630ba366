package c4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Ports of a host's services.
const (
	MatcherPort = 7777
	StoragePort = 7772
	NetworkPort = 7776
)

// BasePath precedes the path of every call.
const BasePath = "/api/v1.0"

// maxReply bounds what is read of one reply.
const maxReply = 32 << 20

// Config describes one host.
type Config struct {
	// URL is the host's scheme and address without a port, for example
	// "https://192.0.2.7"; the services have fixed ports.
	URL string
	// Fingerprint is the SHA-256 of the host's certificate (DER) in hex, with
	// or without colons. Empty means that the system's roots decide.
	Fingerprint string
	// Token is sent as a bearer token when it is not empty.
	Token string
	// Timeout bounds each call, on top of the caller's deadline; 10 s by
	// default.
	Timeout time.Duration
	// Observe, if set, is told of every call once it has ended, with its context.
	Observe func(context.Context, Observation)
	// RequestHeader, if set, adds headers to a request (a request ID, say).
	RequestHeader func(context.Context, http.Header)
}

// Observation is one finished call.
type Observation struct {
	Call     string // for example "POST matcher/register"
	Duration time.Duration
	// Err is nil, or an *Error.
	Err error
}

// Client speaks C4 with one host. A request that changes something reaches the
// host at most once: the client repeats nothing by itself. Safe for concurrent
// use.
type Client struct {
	cfg     Config
	host    string
	base    map[service]string
	reads   *http.Client
	changes *http.Client
	seed    maphash.Seed
}

// A host may close a connection that has been idle just as the next request is on its
// way. One that reads is asked again by whoever needs it; one that changes something
// would end without an answer, for minutes. So changes have connections of their own,
// which are not idle for long, and reads need no new one at every look.
const (
	readsIdle   = 90 * time.Second
	changesIdle = 2 * time.Second
)

// reading are the calls that only read though their method does not say so.
var reading = map[string]bool{
	"POST storage/accessible": true,
	"POST storage/info":       true,
	"POST network/info":       true,
}

type service string

const (
	matcher service = "matcher"
	storage service = "storage"
	network service = "network"
)

var errFingerprint = errors.New("certificate has another fingerprint than the one configured")

// New returns a client for the host. It does not connect.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("url %q: the scheme must be https or http", cfg.URL)
	}
	if u.Hostname() == "" || u.Port() != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("url %q: give a scheme and an address only; C4 has fixed ports and paths", cfg.URL)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	transport := &http.Transport{
		Proxy:               nil, // hosts are on the same network by definition
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, // per service; more calls at a time pay for a TLS handshake each
		IdleConnTimeout:     readsIdle,
		TLSHandshakeTimeout: 5 * time.Second,
		DisableCompression:  true,
	}
	if u.Scheme == "https" {
		if transport.TLSClientConfig, err = tlsConfig(cfg.Fingerprint); err != nil {
			return nil, err
		}
	}
	changing := transport.Clone()
	changing.IdleConnTimeout = changesIdle
	over := func(t *http.Transport) *http.Client {
		return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	c := &Client{
		cfg: cfg, host: u.Hostname(), base: map[service]string{},
		reads: over(transport), changes: over(changing), seed: maphash.MakeSeed(),
	}
	for s, port := range map[service]int{matcher: MatcherPort, storage: StoragePort, network: NetworkPort} {
		c.base[s] = u.Scheme + "://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(port)) + BasePath
	}
	return c, nil
}

// Fingerprint returns the fingerprint of a certificate in the form that Config
// takes.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func tlsConfig(fingerprint string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if fingerprint == "" {
		return cfg, nil
	}
	want, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("fingerprint: want the SHA-256 of a certificate as 64 hex digits")
	}
	cfg.InsecureSkipVerify = true // the pin below replaces the chain
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errFingerprint
		}
		got := sha256.Sum256(state.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare(got[:], want) != 1 {
			return errFingerprint
		}
		return nil
	}
	return cfg, nil
}

// Host returns the host's address.
func (c *Client) Host() string { return c.host }

// Close drops idle connections.
func (c *Client) Close() {
	c.reads.CloseIdleConnections()
	c.changes.CloseIdleConnections()
}

// Ping asks whether the host's matcher answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.send(ctx, matcher, http.MethodGet, "/", nil)
	return err
}

// Info returns the host's hardware and its use.
func (c *Client) Info(ctx context.Context) (HostInfo, error) {
	const path = "/statusjson"
	info, err := call[HostInfo](ctx, c, matcher, http.MethodGet, path, nil)
	if err == nil && info.CPU.Arch == "" && info.CPU.MaxThreads == 0 {
		err = c.fail(matcher, http.MethodGet, path, Malformed, http.StatusOK, "success without a processor", nil)
	}
	return info, err
}

// Metrics returns the host's allocation. Needs a token.
func (c *Client) Metrics(ctx context.Context) (HostMetrics, error) {
	return call[HostMetrics](ctx, c, matcher, http.MethodGet, "/host/status", nil)
}

// CanAllocate asks whether a pledge fits now. It promises nothing.
func (c *Client) CanAllocate(ctx context.Context, p Pledge) (Allocation, error) {
	return call[Allocation](ctx, c, matcher, http.MethodGet, "/canallocate", p)
}

// Register creates a VM and starts it, and returns its UID. It is not
// idempotent: after an ambiguous error look with VMs before repeating it.
func (c *Client) Register(ctx context.Context, r RegisterRequest) (string, error) {
	const path = "/register"
	reply, err := c.send(ctx, matcher, http.MethodPost, path, r)
	if err != nil {
		return "", err
	}
	if reply.status == http.StatusNoContent {
		return "", c.fail(matcher, http.MethodPost, path, CannotPlace, reply.status, "the pledge cannot be placed on this host", nil)
	}
	var out RegisterReply
	if err := c.decode(reply, matcher, http.MethodPost, path, &out); err != nil {
		return "", err
	}
	if !out.Registered || out.UniqueID == "" {
		return "", c.fail(matcher, http.MethodPost, path, Malformed, reply.status, "success without registered and uniqueID", nil)
	}
	return out.UniqueID, nil
}

// Unregister removes a VM; its volumes stay. NotFound when there is none of
// the client's, NotDone when the host says that it failed.
func (c *Client) Unregister(ctx context.Context, vm VMRef) error {
	const path = "/unregister"
	reply, err := c.send(ctx, matcher, http.MethodDelete, path, vm)
	if err != nil {
		return err
	}
	if reply.status == http.StatusNoContent {
		return c.fail(matcher, http.MethodDelete, path, NotDone, reply.status, "the host did not remove the VM", nil)
	}
	var out UnregisterReply
	if err := c.decode(reply, matcher, http.MethodDelete, path, &out); err != nil {
		return err
	}
	if !out.Unregistered {
		return c.fail(matcher, http.MethodDelete, path, NotDone, reply.status, "the host did not remove the VM", nil)
	}
	return nil
}

// Listing is what a host answered to a VMs call, by which the next one finds what is
// new. It is of use to the Client that returned it; nil stands for none.
type Listing struct {
	digest uint64
	// vms are found by what the host wrote of each.
	vms map[uint64]VM
}

// VMs lists all VMs of a client on this host, in whatever power state. When
// the host's answer is byte for byte the one that known came from, it is not
// decoded: changed is false and vms nil. Of one that differs, only the VMs are of
// which the host writes something else; the others are those of known, with which they
// share what they hold: do not change it.
func (c *Client) VMs(ctx context.Context, clientUID string, known *Listing) (vms []VM, now *Listing, changed bool, err error) {
	const path = "/running"
	reply, err := c.send(ctx, matcher, http.MethodGet, path, ClientRef{ClientUID: clientUID})
	if err != nil {
		return nil, nil, false, err
	}
	digest := maphash.Bytes(c.seed, reply.body)
	if known != nil && digest == known.digest {
		return nil, known, false, nil
	}
	// What is no list is not an empty one: VMs would be taken for gone.
	var out struct {
		VMs []json.RawMessage `json:"vms"`
	}
	if err := c.decode(reply, matcher, http.MethodGet, path, &out); err != nil {
		return nil, nil, false, err
	}
	if out.VMs == nil {
		return nil, nil, false, c.fail(matcher, http.MethodGet, path, Malformed, reply.status, "success without a list of VMs", nil)
	}
	now = &Listing{digest: digest, vms: make(map[uint64]VM, len(out.VMs))}
	vms = make([]VM, len(out.VMs))
	for i, written := range out.VMs {
		key := maphash.Bytes(c.seed, written)
		vm, same := VM{}, false
		if known != nil {
			vm, same = known.vms[key]
		}
		if !same {
			var r RunningVM
			if err := json.Unmarshal(written, &r); err != nil {
				return nil, nil, false, c.fail(matcher, http.MethodGet, path, Malformed, reply.status, "the reply is not the JSON that was expected", err)
			}
			vm = r.vm()
			vm.written = key
		}
		vms[i], now.vms[key] = vm, vm
	}
	return vms, now, true, nil
}

// Start powers a VM on; WrongState when it runs already.
func (c *Client) Start(ctx context.Context, vm VMRef) error {
	_, err := c.send(ctx, matcher, http.MethodPost, "/start", vm)
	return err
}

// Stop asks the guest to shut down and returns before it has.
func (c *Client) Stop(ctx context.Context, vm VMRef) error {
	_, err := c.send(ctx, matcher, http.MethodPost, "/stop", vm)
	return err
}

// Reboot restarts a VM and returns before it is up again.
func (c *Client) Reboot(ctx context.Context, vm VMRef) error {
	_, err := c.send(ctx, matcher, http.MethodPost, "/reboot", vm)
	return err
}

// Usage returns what a VM uses now. [A]: may be Unsupported.
func (c *Client) Usage(ctx context.Context, vm VMRef) (VMUsage, error) {
	return call[VMUsage](ctx, c, matcher, http.MethodGet, "/vmusage", vm)
}

// Attach attaches a volume or a network to a VM. [A]: may be Unsupported.
func (c *Client) Attach(ctx context.Context, r AttachRequest) error {
	_, err := c.send(ctx, matcher, http.MethodPost, "/attach", r)
	return err
}

// Detach is the reverse of Attach. [A]: may be Unsupported.
func (c *Client) Detach(ctx context.Context, r AttachRequest) error {
	_, err := c.send(ctx, matcher, http.MethodPost, "/detach", r)
	return err
}

// CanCreateVolume asks whether a volume fits now.
func (c *Client) CanCreateVolume(ctx context.Context, r VolumeRequest) error {
	_, err := c.send(ctx, storage, http.MethodGet, "/cancreate", r)
	return err
}

// CreateVolume makes an empty volume and returns its ID. Not idempotent: names
// are not unique on AtomOS.
func (c *Client) CreateVolume(ctx context.Context, r VolumeRequest) (string, error) {
	return c.createVolume(ctx, "/create", r)
}

// CreateImageVolume makes a boot volume from an image and returns its ID.
// Invalid when the image cannot be had.
func (c *Client) CreateImageVolume(ctx context.Context, r ImageVolumeRequest) (string, error) {
	return c.createVolume(ctx, "/cloudinit/create", r)
}

// ImportVolume takes over a volume from the host's storage. Needs a token.
func (c *Client) ImportVolume(ctx context.Context, r VolumeImportRequest) (string, error) {
	return c.createVolume(ctx, "/import", r)
}

func (c *Client) createVolume(ctx context.Context, path string, r any) (string, error) {
	out, err := call[VolumeCreated](ctx, c, storage, http.MethodPost, path, r)
	return out.id(), c.named(out.id(), storage, http.MethodPost, path, err)
}

// OpenSeed begins a seed volume with its user-data and returns the volume's
// ID. The volume can be used once CompleteSeed has succeeded.
func (c *Client) OpenSeed(ctx context.Context, r SeedRequest, userData []byte) (string, error) {
	id, _, err := c.uploadSeed(ctx, r, "user-data", userData)
	return id, c.named(id, storage, http.MethodPost, seedPath, err)
}

// CompleteSeed adds the meta-data to a seed volume. InUse when the seed is
// complete already, NotDone when the host still waits for another file.
func (c *Client) CompleteSeed(ctx context.Context, volumeID string, metaData []byte) error {
	_, status, err := c.uploadSeed(ctx, SeedRef{VID: volumeID}, "meta-data", metaData)
	if err == nil && status == http.StatusPartialContent {
		return c.fail(storage, http.MethodPost, seedPath, NotDone, status, "the host expects more files", nil)
	}
	return err
}

// seedPath is what of an upload's path is shown: the rest is long and of no use
// to a reader.
const seedPath = "/cloudinit/metadata"

func (c *Client) uploadSeed(ctx context.Context, descriptor any, file string, content []byte) (id string, status int, err error) {
	raw, err := json.Marshal(descriptor)
	if err != nil {
		return "", 0, c.fail(storage, http.MethodPost, seedPath, Invalid, 0, "", err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", file)
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", 0, c.fail(storage, http.MethodPost, seedPath, Invalid, 0, "", err)
	}
	reply, err := c.do(ctx, storage, http.MethodPost, seedPath, "/"+base64.URLEncoding.EncodeToString(raw), w.FormDataContentType(), form.Bytes())
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Message = "" // a host may quote the seed, which holds secrets
		}
		return "", 0, err
	}
	var out VolumeCreated
	if err := c.decode(reply, storage, http.MethodPost, seedPath, &out); err != nil {
		return "", 0, err
	}
	return out.id(), reply.status, nil
}

// Volume returns one volume.
func (c *Client) Volume(ctx context.Context, volumeID string) (Volume, error) {
	const path = "/info"
	v, err := call[Volume](ctx, c, storage, http.MethodPost, path, VolumeInfoRequest{VolumeID: volumeID})
	return v, c.named(v.VolumeID, storage, http.MethodPost, path, err)
}

// Volumes lists the volumes that a client can reach, its own and public ones.
func (c *Client) Volumes(ctx context.Context, clientUID string) ([]Volume, error) {
	return call[[]Volume](ctx, c, storage, http.MethodPost, "/accessible", ClientRef{ClientUID: clientUID})
}

// DestroyVolume removes a volume; InUse while a VM holds it.
func (c *Client) DestroyVolume(ctx context.Context, volumeID string) error {
	_, err := c.send(ctx, storage, http.MethodPost, "/destroy", VolumeDestroyRequest{VolumeID: volumeID})
	return err
}

// ExportVolume reserves a volume for a client's VM; InUse when it is exclusive
// and taken.
func (c *Client) ExportVolume(ctx context.Context, clientUID, volumeID string) error {
	_, err := c.send(ctx, storage, http.MethodPost, "/export", VolumeExportRequest{ClientUID: clientUID, VolumeID: volumeID})
	return err
}

// UnexportVolume is the reverse of ExportVolume.
func (c *Client) UnexportVolume(ctx context.Context, clientUID, volumeID string) error {
	_, err := c.send(ctx, storage, http.MethodPost, "/unexport", VolumeExportRequest{ClientUID: clientUID, VolumeID: volumeID})
	return err
}

// Networks lists the networks of this host.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	return call[[]Network](ctx, c, network, http.MethodGet, "/list", nil)
}

// Network returns one network with its leases.
func (c *Client) Network(ctx context.Context, uid string) (Network, error) {
	const path = "/info"
	n, err := call[Network](ctx, c, network, http.MethodPost, path, NetworkUIDRef{NetworkUID: uid})
	return n, c.named(n.NetworkUID, network, http.MethodPost, path, err)
}

// CreateNetwork makes a network and returns it with its UID. Not idempotent.
func (c *Client) CreateNetwork(ctx context.Context, n Network) (Network, error) {
	const path = "/create"
	created, err := call[Network](ctx, c, network, http.MethodPost, path, n)
	return created, c.named(created.NetworkUID, network, http.MethodPost, path, err)
}

// DeleteNetwork removes a network; InUse while a VM is on it.
func (c *Client) DeleteNetwork(ctx context.Context, uid string) error {
	_, err := c.send(ctx, network, http.MethodDelete, "/delete", NetworkUIDRef{NetworkUID: uid})
	return err
}

// Forwards lists the port forwards of this host.
func (c *Client) Forwards(ctx context.Context) ([]Forward, error) {
	return call[[]Forward](ctx, c, network, http.MethodGet, "/portforwards", nil)
}

// CreateForward makes a port forward; InUse when the port is taken and force
// is not set.
func (c *Client) CreateForward(ctx context.Context, f Forward) (Forward, error) {
	const path = "/portforward"
	created, err := call[Forward](ctx, c, network, http.MethodPost, path, f)
	return created, c.named(created.ForwardUID, network, http.MethodPost, path, err)
}

// DeleteForward removes a port forward.
func (c *Client) DeleteForward(ctx context.Context, uid string) error {
	_, err := c.send(ctx, network, http.MethodDelete, "/portforward", ForwardRef{ForwardUID: uid})
	return err
}

type reply struct {
	status int
	body   []byte
}

func call[T any](ctx context.Context, c *Client, s service, method, path string, body any) (T, error) {
	var out T
	r, err := c.send(ctx, s, method, path, body)
	if err != nil || r.status == http.StatusNoContent { // an empty list
		return out, err
	}
	return out, c.decode(r, s, method, path, &out)
}

// named turns a success that does not say of what into an error.
func (c *Client) named(id string, s service, method, path string, err error) error {
	if err == nil && id == "" {
		return c.fail(s, method, path, Malformed, http.StatusOK, "success without an ID", nil)
	}
	return err
}

func (c *Client) send(ctx context.Context, s service, method, path string, body any) (reply, error) {
	if body == nil {
		return c.do(ctx, s, method, path, "", "", nil)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return reply{}, c.fail(s, method, path, Invalid, 0, "", err)
	}
	return c.do(ctx, s, method, path, "", "application/json", raw)
}

func (c *Client) do(ctx context.Context, s service, method, path, rest, contentType string, body []byte) (_ reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if c.cfg.Observe != nil {
		defer func(start time.Time) {
			c.cfg.Observe(ctx, Observation{Call: callName(s, method, path), Duration: time.Since(start), Err: err})
		}(time.Now())
	}
	var payload io.Reader
	if body != nil {
		payload = bytes.NewReader(body)
	}
	// The transport looks for another connection when the one that it had was
	// closed before anything went over it.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, method, c.base[s]+path+rest, payload)
	if err != nil {
		return reply{}, c.fail(s, method, path, Invalid, 0, "", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	if c.cfg.RequestHeader != nil {
		c.cfg.RequestHeader(ctx, req.Header)
	}
	client := c.changes
	if method == http.MethodGet || reading[callName(s, method, path)] {
		client = c.reads
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL of a seed upload holds its descriptor
		}
		sent := connected.Load()
		return reply{}, &Error{Code: transportCode(err, sent), Host: c.host, Call: callName(s, method, path), Unsent: !sent, Err: err}
	}
	defer resp.Body.Close()
	content, err := readReply(resp)
	if err != nil {
		return reply{}, c.fail(s, method, path, Unknown, resp.StatusCode, "the reply ended early", err)
	}
	if resp.StatusCode/100 != 2 {
		code, message := refusal(s, resp.StatusCode, content)
		return reply{}, c.fail(s, method, path, code, resp.StatusCode, message, nil)
	}
	return reply{status: resp.StatusCode, body: content}, nil
}

// readReply reads what a host has answered, into as much memory as it says that it
// takes.
func readReply(resp *http.Response) ([]byte, error) {
	const usual = 1 << 20 // a host may say anything
	said := min(max(resp.ContentLength, 0), usual)
	content := bytes.NewBuffer(make([]byte, 0, said+bytes.MinRead))
	_, err := content.ReadFrom(io.LimitReader(resp.Body, maxReply))
	return content.Bytes(), err
}

// transportCode tells a request that was never sent from one whose fate is
// open.
func transportCode(err error, connected bool) Code {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errFingerprint), errors.As(err, &verify):
		return Untrusted
	case connected, errors.Is(err, context.Canceled): // a caller's change of mind says nothing about the host
		return Unknown
	}
	return Unreachable
}

// classes maps the [ClassName] that a host's error text begins with.
var classes = map[string]Code{
	"VolumeNotFound":                   NotFound,
	"VolumeAlreadyExported":            InUse,
	"VolumeNotAllocable":               CannotPlace,
	"VolumeCannotBeDeleted":            InUse,
	"CloudInitMetafilesNumberExceeded": InUse,
}

// reasons maps the "error" member of a JSON body.
var reasons = map[string]Code{
	"not_found":        NotFound,
	"missing_token":    Unauthenticated,
	"invalid_token":    Unauthenticated,
	"license_required": LicenseRequired,
}

// refusal reads an answer outside 2xx. What the host says decides before the
// status does.
func refusal(s service, status int, body []byte) (Code, string) {
	var said struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	isJSON := json.Unmarshal(body, &said) == nil
	text := strings.TrimSpace(string(body))
	if isJSON && said.Error != "" {
		text = strings.TrimSpace(said.Error + " " + said.Message)
		if code, ok := reasons[said.Error]; ok {
			return code, shorten(text)
		}
	}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if class, _, ok := strings.Cut(rest, "]"); ok {
			if code, known := classes[class]; known {
				return code, shorten(text)
			}
		}
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return Invalid, shorten(text)
	case http.StatusBadGateway:
		if s == network { // how it refuses addresses
			return Invalid, shorten(text)
		}
		return Internal, shorten(text)
	case http.StatusUnauthorized, http.StatusForbidden:
		return Unauthenticated, shorten(text)
	case http.StatusNotFound:
		if isJSON {
			return NotFound, shorten(text)
		}
		return Unsupported, "the host does not know this call"
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return Unsupported, "the host does not know this call"
	case http.StatusConflict:
		if s == matcher { // about power states
			return WrongState, shorten(text)
		}
		return InUse, shorten(text)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return Unavailable, shorten(text)
	case http.StatusGatewayTimeout: // the host itself may still be at it
		return Unknown, shorten(text)
	case http.StatusInsufficientStorage:
		return CannotPlace, shorten(text)
	default:
		return Internal, shorten(text)
	}
}

func shorten(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

func (c *Client) decode(r reply, s service, method, path string, out any) error {
	if string(bytes.TrimSpace(r.body)) == "null" { // which encoding/json reads as anything that is empty
		return c.fail(s, method, path, Malformed, r.status, "success with nothing in it", nil)
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		return c.fail(s, method, path, Malformed, r.status, "the reply is not the JSON that was expected", err)
	}
	return nil
}

func (c *Client) fail(s service, method, path string, code Code, status int, message string, err error) error {
	return &Error{Code: code, Host: c.host, Call: callName(s, method, path), Status: status, Message: message, Err: err}
}

func callName(s service, method, path string) string {
	return method + " " + string(s) + path
}
