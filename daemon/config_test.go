package daemon_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
)

const goodConfig = `
listen: 127.0.0.1:7443
tls: {certFile: tls.crt, keyFile: tls.key, clientCAFile: ca.crt}
clients:
- commonName: provider
  clientUIDs: [11111111-1111-4111-8111-111111111111]
hosts:
- id: host-1
  domain: d1
  url: https://192.0.2.7
  fingerprint: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
- id: host-2
  domain: d1
  url: http://192.0.2.8
  forwardAddress: 198.51.100.8
imageURL: https://images.example.com/{image}.qcow2
`

func TestConfigHasDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := daemon.ParseConfig([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Interval.Duration != time.Second || cfg.HostSettleTime.Duration != 30*time.Second || cfg.DrainTimeout.Duration != 15*time.Second || cfg.Log.Level != "info" || cfg.Log.Format != "json" {
		t.Errorf("got %+v", cfg)
	}
	if cfg.Hosts[0].ForwardAddress != "192.0.2.7" || cfg.Hosts[1].ForwardAddress != "198.51.100.8" {
		t.Errorf("forward addresses %q and %q", cfg.Hosts[0].ForwardAddress, cfg.Hosts[1].ForwardAddress)
	}
}

func TestConfigSaysWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"no address", "127.0.0.1:7443", "\"\"", "listen: "},
		{"metrics nowhere", "listen: ", "metricsListen: nowhere\nlisten: ", "metricsListen: "},
		{"no certificate", "certFile: tls.crt, ", "", "tls.certFile: missing"},
		{"no authority", ", clientCAFile: ca.crt", "", "tls.clientCAFile: missing"},
		{"caller without a name", "commonName: provider", "commonName: \"\"", "clients[0]: give either commonName or uri"},
		{"caller with two names", "commonName: provider", "commonName: provider\n  uri: spiffe://x", "clients[0]: give either commonName or uri"},
		{"caller for nobody", "[11111111-1111-4111-8111-111111111111]", "[]", "clients[0].clientUIDs: missing"},
		{"caller for nonsense", "[11111111-1111-4111-8111-111111111111]", "[\"a b\"]", "clients[0].clientUIDs[0]: "},
		{"id used twice", "id: host-2", "id: host-1", "hosts[1].id: \"host-1\" is used twice"},
		{"id with a space", "id: host-2", "id: host 2", "hosts[1].id: "},
		{"no domain", "domain: d1\n  url: https", "url: https", "hosts[0].domain: "},
		{"url with a port", "https://192.0.2.7", "https://192.0.2.7:7777", "hosts[0].url: "},
		{"url used twice", "http://192.0.2.8", "https://192.0.2.7", "hosts[1].url: \"https://192.0.2.7\" is used twice"},
		{"no fingerprint", "http://192.0.2.8", "https://192.0.2.8", "hosts[1].fingerprint: missing"},
		{"short fingerprint", "0011223344556677889", "", "hosts[0].fingerprint: "},
		{"image URL without an image", "{image}", "image", "imageURL: "},
		{"profiles for everyone", "listen: ", "profileListen: 0.0.0.0:6060\nlisten: ", "profileListen: \"0.0.0.0:6060\" is not a loopback address"},
		{"negative interval", "listen: ", "interval: -1s\nlisten: ", "interval: -1s is negative"},
		{"no time to settle", "listen: ", "hostSettleTime: 0s\nlisten: ", "hostSettleTime: 0s would"},
		{"negative time to settle", "listen: ", "hostSettleTime: -1s\nlisten: ", "hostSettleTime: -1s is negative"},
		{"interval without a unit", "listen: ", "interval: 1\nlisten: ", "write one such as \"1s\""},
		{"unknown level", "listen: ", "log: {level: loud}\nlisten: ", "log.level: \"loud\"; use one of info, debug, warn, error"},
		{"unknown field", "domain: d1\n  url: https", "domain: d1\n  surprise: red\n  url: https", "hosts[0].surprise"},
		{"number for a name", "commonName: provider", "commonName: 7", "commonName"},
		{"the same key twice", "listen: ", "listen: a\nlisten: ", "listen"},
		{"no YAML", "listen: ", "}", "yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(goodConfig, c.old, c.new, 1)
			if broken == goodConfig {
				t.Fatal("the test changes nothing")
			}
			_, err := daemon.ParseConfig([]byte(broken))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestConfigSaysAllThatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	_, err := daemon.ParseConfig([]byte("surprise: red\nhosts: [{id: h}]"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"surprise", "listen: ", "tls.certFile: ", "tls.keyFile: ", "tls.clientCAFile: ", "clients: ", "hosts[0].domain: ", "hosts[0].url: ", "imageURL: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestExampleConfigIsGood(t *testing.T) {
	t.Parallel()
	cfg, err := daemon.LoadConfig("cmd/elemento-daemon/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Hosts[1].ForwardAddress != "198.51.100.22" || len(cfg.Clients) != 2 {
		t.Errorf("got %+v", cfg)
	}
}

func TestDaemonWithoutItsFilesSaysWhichAreMissing(t *testing.T) {
	t.Parallel()
	cfg, err := daemon.ParseConfig([]byte(strings.ReplaceAll(goodConfig, "tls.crt", filepath.Join(t.TempDir(), "tls.crt"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = daemon.New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil || !strings.Contains(err.Error(), "tls.certFile") {
		t.Errorf("got %v", err)
	}
}
