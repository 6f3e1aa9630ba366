package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// write puts text into a file of its own and returns the file's name.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFlagsOverrideTheFile(t *testing.T) {
	t.Parallel()
	file := write(t, `
hosts:
- {name: a, domain: d, address: 127.9.9.9, cores: 8, memoryMiB: 1024, pci: {"10de:1eb8": 2}}
images: {ubuntu: v1.35.0, debian: ""}
bootTime: 3s
volumeDelay: 1s
stateDir: kept
`)
	s, err := parse([]string{"--stop-time", "5s", "--config", file, "--volume-delay", "0s", "--image", "ubuntu=v1.36.3", "--guest-image", "ubuntu=node:1", "--guest-image", "debian=node:2", "--token-file", write(t, "secret\n")}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o := s.options
	if len(o.Hosts) != 1 || o.Hosts[0].Name != "a" || o.Hosts[0].Cores != 8 || o.Hosts[0].Address.String() != "127.9.9.9" || o.Hosts[0].PCI["10de:1eb8"] != 2 {
		t.Errorf("hosts are %+v", o.Hosts)
	}
	if o.BootTime != 3*time.Second || o.StopTime != 5*time.Second || o.VolumeDelay != 0 || o.StateDir != "kept" || o.Control != "127.0.0.1:0" || o.Token != "secret" {
		t.Errorf("options are %+v", o)
	}
	if images := s.container.Images; images["ubuntu"] != "node:1" || images["debian"] != "node:2" {
		t.Errorf("guests have the images %v", images)
	}
	if o.Images["ubuntu"] != "v1.36.3" || len(o.Images) != 2 {
		t.Errorf("images are %v", o.Images)
	}
}

func TestHostsAreDealtToDomains(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"--hosts", "3", "--domains", "2", "--network", "127.40.0.0/16", "--cores", "4", "--community"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range s.options.Hosts {
		got = append(got, h.Name+" "+h.Domain+" "+h.Address.String())
		if h.Cores != 4 || !h.Community {
			t.Errorf("%+v", h)
		}
	}
	if want := "host-1 domain-1 127.40.0.1, host-2 domain-2 127.40.0.2, host-3 domain-1 127.40.0.3"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestArgumentsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"extra"}, {"--none"}, {"--hosts", "0"}, {"--domains", "4"}, {"--network", "x"}, {"--network", "127.40.0.0/31", "--hosts", "2"},
		{"--image", "x"}, {"--boot-time", "x"}, {"--config", "/does/not/exist"}, {"--config", write(t, "hots: []")},
		{"--config", write(t, "bootTime: 5")}, {"--config", write(t, "a: 1\na: 2")}, {"--token-file", "/does/not/exist"},
		{"--faults", "/does/not/exist"}, {"--faults", write(t, "faults: []")}, {"--log-level", "loud"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	for _, s := range []settings{{guests: "real"}, {guests: "container"}} {
		if _, _, err := newGuests(t.Context(), s); err == nil {
			t.Errorf("--guests %s is accepted, without anything else", s.guests)
		}
	}
}

func TestTheExampleOfFaultsIsOne(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"--faults", "faults.yaml"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("faults.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.options.Faults) != 5 || s.options.Faults[0].Seed != 42 || s.options.Faults[1].Delay != 300*time.Millisecond {
		t.Errorf("the faults are %+v", s.options.Faults)
	}
	for _, effect := range fakeatomos.Effects() {
		if !strings.Contains(string(file), string(effect)) {
			t.Errorf("%s is not explained", effect)
		}
	}
}

func TestTheBinaryKeepsAHistory(t *testing.T) {
	t.Parallel()
	kept, ready := filepath.Join(t.TempDir(), "atomos.jsonl"), filepath.Join(t.TempDir(), "ready.json")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--hosts", "1", "--ready-file", ready, "--history", kept, "--faults", "faults.yaml"}, io.Discard, io.Discard)
	}()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("ended early: %v", err)
		default:
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var got []string
	if _, err := history.Read(kept, 0, func(e history.Event) error {
		got = append(got, string(e.Kind)+" "+e.Event)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := "fault added, fault added, fault added, fault added, fault added, host up, host down"; strings.Join(got, ", ") != want {
		t.Errorf("the history has %q, want %s", got, want)
	}
}

func TestTheBinaryTellsWhenItIsReadyAndStops(t *testing.T) {
	t.Parallel()
	for _, guests := range []string{"none", "simulated"} { // containers have tests of their own
		t.Run(guests, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "ready.json")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			var log bytes.Buffer
			go func() {
				ended <- run(ctx, []string{"--hosts", "2", "--ready-file", file, "--guests", guests}, io.Discard, &log)
			}()
			var ready fakeatomos.Ready
			for tick := time.NewTicker(5 * time.Millisecond); ready.Control == ""; <-tick.C {
				if raw, err := os.ReadFile(file); err == nil {
					if err := json.Unmarshal(raw, &ready); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case err := <-ended:
					t.Fatalf("ended early: %v", err)
				default:
				}
			}
			if inventory, err := fakeatomos.Connect(ready.Control).Inventory(ctx); err != nil || len(inventory.Hosts) != 2 {
				t.Errorf("%+v, %v", inventory, err)
			}
			for _, h := range ready.Hosts {
				c, err := c4.New(c4.Config{URL: h.URL, Fingerprint: h.Fingerprint})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(ctx); err != nil {
					t.Error(err)
				}
				c.Close()
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
