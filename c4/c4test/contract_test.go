package c4test_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4/c4test"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const client = "33333333-3333-4333-8333-333333333333"

var (
	target      = flag.String("target", "", "`URL` of the host to check, such as https://192.0.2.7; a fake by default")
	fingerprint = flag.String("fingerprint", "", "SHA-256 of the host's certificate")
	tokenFile   = flag.String("token-file", "", "`file` with the bearer token")
	clientUID   = flag.String("client-uid", "", "client `UUID` that owns what the suite makes")
	imageURL    = flag.String("image-url", "", "`URL` of an image whose guest reacts to a shutdown request")
	network     = flag.String("network", "", "`range` that the suite's network may have")
	forwardPort = flag.Int("forward-port", 0, "`port` of the host that is free")
	patience    = flag.Duration("patience", time.Minute, "how long a condition may take to come true")
)

// TestContract checks the host that -target names, or a fake.
func TestContract(t *testing.T) {
	to := c4test.Target{
		URL: *target, Fingerprint: *fingerprint, ClientUID: *clientUID, ImageURL: *imageURL, ForwardPort: *forwardPort, Patience: *patience,
	}
	if *target == "" {
		to = fake(t, nil)
	}
	if *tokenFile != "" {
		raw, err := os.ReadFile(*tokenFile)
		if err != nil {
			t.Fatal(err)
		}
		to.Token = strings.TrimSpace(string(raw))
	}
	if *network != "" {
		var err error
		if to.Network, err = netip.ParsePrefix(*network); err != nil {
			t.Fatal(err)
		}
	}
	c4test.Run(t, to)
}

// fake starts a fake that is gone, and was left empty, at the end of the test.
func fake(t *testing.T, edit func(*fakeatomos.Options)) c4test.Target {
	t.Helper()
	f, to := start(t, edit)
	t.Cleanup(func() {
		if left := f.Inventory().Resources(); len(left) != 0 {
			t.Errorf("left over: %v", left)
		}
	})
	return to
}

func start(t *testing.T, edit func(*fakeatomos.Options)) (*fakeatomos.Fake, c4test.Target) {
	t.Helper()
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	o := fakeatomos.Options{
		Hosts:  []fakeatomos.HostOptions{{Name: "host", Address: addresses[0]}},
		Images: map[string]string{"ubuntu": ""},
	}
	if edit != nil {
		edit(&o)
	}
	f, err := fakeatomos.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	h := f.Hosts()[0]
	return f, c4test.Target{URL: h.URL(), Fingerprint: h.Fingerprint(), Token: o.Token, ClientUID: client, ImageURL: "https://images.example/ubuntu.qcow2"}
}

func TestEveryKindOfHostKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*fakeatomos.Options){
		"slow": func(o *fakeatomos.Options) {
			o.BootTime, o.StopTime, o.VolumeDelay = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
		},
		"with a token":     func(o *fakeatomos.Options) { o.Token = "secret" },
		"plain HTTP":       func(o *fakeatomos.Options) { o.PlainHTTP = true },
		"Community":        func(o *fakeatomos.Options) { o.Hosts[0].Community = true },
		"older":            func(o *fakeatomos.Options) { o.Hosts[0].PublishedOnly = true },
		"without memory":   func(o *fakeatomos.Options) { o.Hosts[0].MemoryMiB = 100 },
		"that keeps state": func(o *fakeatomos.Options) { o.StateDir = filepath.Join(t.TempDir(), "state") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c4test.Run(t, fake(t, edit))
		})
	}
	t.Run("without an image", func(t *testing.T) {
		t.Parallel()
		to := fake(t, nil)
		to.ImageURL = ""
		c4test.Run(t, to)
	})
}

// A suite that cannot fail proves nothing: each of these hosts breaks one rule,
// the suite says so, and cleans up all the same.
func TestAHostThatBreaksTheContractFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault fakeatomos.Fault
		edit  func(*fakeatomos.Options)
		says  string
	}{
		"shares boot volumes": {
			edit: func(o *fakeatomos.Options) { o.NoBootVolumeFence = true },
			says: "register with the boot volume of another VM: got <nil>, want InUse",
		},
		"fails to destroy": {
			fault: fakeatomos.Fault{Call: "POST storage/destroy", Skip: 1, Times: 1, Effect: fakeatomos.Refuse, Status: 200},
			says:  "waited 2s in vain: the volume is gone",
		},
		"answers nonsense": {
			fault: fakeatomos.Fault{Call: "POST matcher/register", Skip: 7, Times: 1, Effect: fakeatomos.MalformedReply},
			says:  "Malformed",
		},
		"loses a reply": {
			fault: fakeatomos.Fault{Call: "POST network/create", Times: 1, Effect: fakeatomos.LoseReply},
			says:  "Unknown",
		},
		"stops nothing": {
			fault: fakeatomos.Fault{Call: "POST matcher/stop", Times: 1, Effect: fakeatomos.Refuse, Status: 200},
			says:  `waited 2s in vain: the VM is "shut off"`,
		},
		"fails to unregister": {
			fault: fakeatomos.Fault{Call: "DELETE matcher/unregister", Times: 1, Effect: fakeatomos.Refuse, Status: 500},
			says:  "unregister: c4: DELETE matcher/unregister",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, to := start(t, tc.edit)
			if tc.fault.Effect != "" {
				if _, err := f.AddFault(tc.fault); err != nil {
					t.Fatal(err)
				}
			}
			suite := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestContract$",
				"-target", to.URL, "-fingerprint", to.Fingerprint, "-client-uid", client, "-image-url", to.ImageURL, "-patience", "2s")
			var out bytes.Buffer
			suite.Stdout, suite.Stderr = &out, &out
			if err := suite.Run(); err == nil || suite.ProcessState.ExitCode() != 1 {
				t.Errorf("it ended with %v", err)
			}
			if !strings.Contains(out.String(), tc.says) {
				t.Errorf("it does not say %q:\n%s", tc.says, &out)
			}
			if left := f.Inventory().Resources(); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}
