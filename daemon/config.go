package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Config is a daemon's configuration; its YAML form is the configuration file.
// Daemons of one site have the same clients and hosts.
type Config struct {
	// Listen is the address of the gRPC services, such as "192.0.2.1:7443".
	Listen string `json:"listen"`
	// MetricsListen is the address of Prometheus metrics in plain HTTP under
	// /metrics, such as "127.0.0.1:7444"; empty means none. Keep it on
	// loopback or a management network: it asks nobody who they are.
	MetricsListen string `json:"metricsListen,omitempty"`
	// ProfileListen is the address of Go's profiles in plain HTTP under
	// /debug/pprof, such as "127.0.0.1:6060"; empty means none. It must be a
	// loopback address: it asks nobody who they are, and a profile slows the daemon
	// down.
	ProfileListen string `json:"profileListen,omitempty"`
	TLS           TLS    `json:"tls"`
	// Clients are the callers that are let in; at least one.
	Clients []Client `json:"clients"`
	// Hosts are the hypervisors of the site; at least one.
	Hosts []Host `json:"hosts"`
	// ImageURL is where hosts fetch boot images; "{image}" stands for the
	// image's name.
	ImageURL string `json:"imageURL"`
	// Interval is how often each host is asked while somebody watches; 1 s by
	// default.
	Interval Duration `json:"interval,omitzero"`
	// HostSettleTime is for how long a host that came back must have answered before
	// it is believed that something is not on it: one that has just started may list
	// nothing of what it has. A file that leaves it out has 30 s, and can say less but
	// not 0; a Config that comes from no file has what it says, and 0 is none.
	HostSettleTime Duration `json:"hostSettleTime,omitzero"`
	// DrainTimeout is how long calls that are under way may take when the
	// daemon is told to end; 15 s by default.
	DrainTimeout Duration `json:"drainTimeout,omitzero"`
	Log          Log      `json:"log,omitzero"`
}

// TLS names the daemon's certificate files in PEM. They are read again when
// they change.
type TLS struct {
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
	// ClientCAFile holds the authorities that sign the callers' certificates.
	ClientCAFile string `json:"clientCAFile"`
}

// Client is a caller, known by its certificate, and what it may act for.
// Exactly one of CommonName and URI is set.
type Client struct {
	// CommonName is the certificate's subject common name.
	CommonName string `json:"commonName,omitempty"`
	// URI is one of the certificate's URI names, such as a SPIFFE ID.
	URI string `json:"uri,omitempty"`
	// ClientUIDs are the owners on AtomOS that the caller may act for.
	ClientUIDs []string `json:"clientUIDs"`
}

// Host is a hypervisor.
type Host struct {
	// ID is what callers know the host by. It must not change while VMs are on
	// the host.
	ID string `json:"id"`
	// Domain is the set of hosts that fail together with this one.
	Domain string `json:"domain"`
	// URL is the host's scheme and address without port or path.
	URL string `json:"url"`
	// Fingerprint is the SHA-256 of the host's certificate in hex, with or
	// without colons; needed for https.
	Fingerprint string `json:"fingerprint,omitempty"`
	// TokenFile holds the host's bearer token, if it wants one. It is read again
	// when it changes.
	TokenFile string `json:"tokenFile,omitempty"`
	// ForwardAddress is where the host's port forwards are reached; by default
	// the address in URL.
	ForwardAddress string `json:"forwardAddress,omitempty"`
}

// Log says what is logged and how.
type Log struct {
	// Level is "debug", "info" (the default), "warn" or "error".
	Level string `json:"level,omitempty"`
	// Format is "json" (the default) or "text".
	Format string `json:"format,omitempty"`
}

// Duration is a time.Duration that is written as "1s".
type Duration struct{ time.Duration }

// UnmarshalJSON reads a duration such as "250ms".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%s is not a duration; write one such as \"1s\"", b)
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write one such as \"1s\"", s)
	}
	d.Duration = parsed
	return nil
}

// MarshalJSON writes the duration as "1s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// LoadConfig reads and checks a configuration file.
func LoadConfig(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	cfg, err := ParseConfig(raw)
	if err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return cfg, nil
}

// ParseConfig reads and checks a configuration in YAML. Its error lists all
// that is wrong, a line each, by the path of the field.
func ParseConfig(raw []byte) (Config, error) {
	cfg := Config{HostSettleTime: Duration{30 * time.Second}}
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return Config{}, err
	}
	unknown, err := kjson.UnmarshalStrict(asJSON, &cfg)
	if err != nil {
		return Config{}, err
	}
	_, err = cfg.complete()
	if cfg.HostSettleTime.Duration == 0 {
		err = errors.Join(err, errors.New("hostSettleTime: 0s would take a host that has just started at its first word; give more, or leave it out for 30s"))
	}
	if err := errors.Join(append(unknown, err)...); err != nil {
		return Config{}, err
	}
	return cfg.complete()
}

var (
	names        = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	clientUIDs   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	fingerprints = regexp.MustCompile(`^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$`)
)

// Check says everything that is wrong, as ParseConfig does.
func (c Config) Check() error {
	_, err := c.complete()
	return err
}

// complete fills in the defaults and says everything that is wrong.
func (c Config) complete() (Config, error) {
	var wrong problems
	wrong.address("listen", c.Listen)
	if c.MetricsListen != "" {
		wrong.address("metricsListen", c.MetricsListen)
	}
	if c.ProfileListen != "" {
		wrong.loopback("profileListen", c.ProfileListen)
	}
	wrong.given("tls.certFile", c.TLS.CertFile, "the daemon's certificate in PEM")
	wrong.given("tls.keyFile", c.TLS.KeyFile, "the key of tls.certFile in PEM")
	wrong.given("tls.clientCAFile", c.TLS.ClientCAFile, "the authorities of the callers' certificates in PEM")
	c.checkClients(&wrong)
	c.Hosts = append([]Host(nil), c.Hosts...)
	c.completeHosts(&wrong)
	c.checkImageURL(&wrong)
	wrong.positive("interval", &c.Interval, time.Second)
	wrong.positive("hostSettleTime", &c.HostSettleTime, 0)
	wrong.positive("drainTimeout", &c.DrainTimeout, 15*time.Second)
	wrong.oneOf("log.level", &c.Log.Level, "info", "debug", "warn", "error")
	wrong.oneOf("log.format", &c.Log.Format, "json", "text")
	return c, errors.Join(wrong...)
}

func (c *Config) checkClients(wrong *problems) {
	if len(c.Clients) == 0 {
		wrong.add("clients", "missing; name at least one caller")
	}
	callers := map[string]bool{}
	for i, cl := range c.Clients {
		at := fmt.Sprintf("clients[%d]", i)
		name := cl.CommonName + cl.URI
		switch {
		case (cl.CommonName == "") == (cl.URI == ""):
			wrong.add(at, "give either commonName or uri, as it stands in the caller's certificate")
		case callers[name]:
			wrong.add(at, "%q is there already; list all its clientUIDs in one place", name)
		}
		callers[name] = true
		if len(cl.ClientUIDs) == 0 {
			wrong.add(at+".clientUIDs", "missing; name the owners on AtomOS that this caller may act for")
		}
		for j, uid := range cl.ClientUIDs {
			if !clientUIDs.MatchString(uid) {
				wrong.add(fmt.Sprintf("%s.clientUIDs[%d]", at, j), "%q is not a client UUID", uid)
			}
		}
	}
}

func (c *Config) completeHosts(wrong *problems) {
	if len(c.Hosts) == 0 {
		wrong.add("hosts", "missing; name at least one host")
	}
	ids, urls := map[string]bool{}, map[string]bool{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		at := fmt.Sprintf("hosts[%d]", i)
		switch {
		case !names.MatchString(h.ID):
			wrong.add(at+".id", "%q; use at most 63 letters, digits, '-', '_' and '.'", h.ID)
		case ids[h.ID]:
			wrong.add(at+".id", "%q is used twice", h.ID)
		}
		ids[h.ID] = true
		if !names.MatchString(h.Domain) {
			wrong.add(at+".domain", "%q; use at most 63 letters, digits, '-', '_' and '.'", h.Domain)
		}
		if urls[h.URL] {
			wrong.add(at+".url", "%q is used twice", h.URL)
		}
		urls[h.URL] = true
		u, err := url.Parse(h.URL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Port() != "" || strings.Trim(u.Path, "/") != "" {
			wrong.add(at+".url", "%q; give a scheme and an address only, such as \"https://192.0.2.7\"", h.URL)
			continue
		}
		if h.ForwardAddress == "" {
			h.ForwardAddress = u.Hostname()
		}
		switch {
		case u.Scheme == "http" && h.Fingerprint != "":
			wrong.add(at+".fingerprint", "of no use with http; use an https url")
		case u.Scheme == "https" && h.Fingerprint == "":
			wrong.add(at+".fingerprint", "missing; give the SHA-256 of the host's certificate, for example by: openssl x509 -noout -fingerprint -sha256 -in host.crt")
		case u.Scheme == "https" && !fingerprints.MatchString(h.Fingerprint):
			wrong.add(at+".fingerprint", "%q; give the SHA-256 of the host's certificate as 64 hex digits", h.Fingerprint)
		}
	}
}

func (c *Config) checkImageURL(wrong *problems) {
	u, err := url.Parse(strings.ReplaceAll(c.ImageURL, "{image}", "image"))
	if err != nil || u.Host == "" || !strings.Contains(c.ImageURL, "{image}") {
		wrong.add("imageURL", "%q; give a URL with {image} in it, such as \"https://images.example.com/{image}.qcow2\"", c.ImageURL)
	}
}

// problems gathers what is wrong with a configuration.
type problems []error

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, fmt.Errorf(path+": "+format, args...))
}

func (p *problems) given(path, value, what string) {
	if value == "" {
		p.add(path, "missing; name the file that holds %s", what)
	}
}

func (p *problems) address(path, value string) {
	if _, _, err := net.SplitHostPort(value); err != nil {
		p.add(path, "%q is not an address; write one such as \"127.0.0.1:7443\"", value)
	}
}

func (p *problems) loopback(path, value string) {
	if at, err := netip.ParseAddrPort(value); err != nil || !at.Addr().IsLoopback() {
		p.add(path, "%q is not a loopback address; write one such as \"127.0.0.1:6060\"", value)
	}
}

func (p *problems) positive(path string, d *Duration, byDefault time.Duration) {
	switch {
	case d.Duration == 0:
		d.Duration = byDefault
	case d.Duration < 0:
		p.add(path, "%s is negative", d)
	}
}

func (p *problems) oneOf(path string, value *string, byDefault string, others ...string) {
	if *value == "" {
		*value = byDefault
	}
	for _, v := range append(others, byDefault) {
		if *value == v {
			return
		}
	}
	p.add(path, "%q; use one of %s, %s", *value, byDefault, strings.Join(others, ", "))
}

// Logger returns the logger that the configuration asks for.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level // info
	if l.Level != "" {
		_ = level.UnmarshalText([]byte(l.Level)) // complete has checked it
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
