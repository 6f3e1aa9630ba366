package fakeatomos

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// Options describes a whole fake AtomOS. Its JSON and YAML form is the
// configuration file of the binary.
type Options struct {
	// Hosts are the hypervisors; at least one.
	Hosts []HostOptions `json:"hosts"`
	// Images maps the name of an image to the Kubernetes version inside, such
	// as "v1.36.3", or to "" for an image without Kubernetes. An image URL
	// matches by its last path element without .qcow2 or .img.
	Images map[string]string `json:"images,omitempty"`
	// BootTime is how long a VM takes from start to running, and StopTime from
	// stop to shut off. Zero is immediate: the state has changed before the
	// call that asked for it is answered.
	BootTime time.Duration `json:"-"`
	StopTime time.Duration `json:"-"`
	// VolumeDelay is how long a new volume stays invisible after it was made.
	VolumeDelay time.Duration `json:"-"`
	// StateDir keeps the state of each host and its certificate, so that they
	// survive the process. Empty keeps them in memory, where they survive only
	// a host that goes down and up.
	StateDir string `json:"stateDir,omitempty"`
	// Control is the address of the control listener, such as "127.0.0.1:0";
	// empty means none.
	Control string `json:"control,omitempty"`
	// PlainHTTP serves C4 without TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// Token, when set, is the bearer token that every call must carry. Without
	// it the calls that always need one (/host/status, /import) are refused.
	Token string `json:"token,omitempty"`
	// NoBootVolumeFence models hosts that let a second VM take an exclusive
	// volume that another VM holds.
	NoBootVolumeFence bool `json:"noBootVolumeFence,omitempty"`
	// Guests runs what is inside the VMs; nil leaves them without software:
	// they get an address and nothing else.
	Guests guest.Guests `json:"-"`
	// Faults are in force from the start; ParseFaults reads them from a file.
	Faults []Fault `json:"-"`
	// History is told what happens, as package history says; nil keeps none. It
	// is closed by whoever opened it, after Close.
	History *history.Writer `json:"-"`
	// Log is told what happens; nil discards.
	Log *slog.Logger `json:"-"`
}

// HostOptions describes one host.
type HostOptions struct {
	// Name is used by the control listener and in StateDir; lower case.
	Name string `json:"name"`
	// Domain is the set of hosts that fail together. C4 does not tell it.
	Domain string `json:"domain,omitempty"`
	// Address is where the host listens, on C4's fixed ports.
	Address netip.Addr `json:"address"`
	// Cores and SMT are the number of cores (16 by default) and of hardware
	// threads in each (2 by default).
	Cores int `json:"cores,omitempty"`
	SMT   int `json:"smt,omitempty"`
	// MemoryMiB is the memory that VMs can have; 65536 by default.
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	ECC       bool  `json:"ecc,omitempty"`
	// StorageGB is the room for volumes; 100000 by default.
	StorageGB int64 `json:"storageGB,omitempty"`
	// Arch is one of c4.Architectures; X86_64 by default.
	Arch string `json:"arch,omitempty"`
	// Flags are the CPU's flags; by default a few that every x86 server has.
	Flags []string `json:"flags,omitempty"`
	// FrequencyGHz is the CPU's clock; 3.0 by default.
	FrequencyGHz float64 `json:"frequencyGHz,omitempty"`
	// PCI maps "vendor:model" to how many of the device there are.
	PCI map[string]int `json:"pci,omitempty"`
	// Community limits the host to two VMs, as AtomOS Community Edition does.
	Community bool `json:"community,omitempty"`
	// PublishedOnly leaves out the calls that nothing public shows (attach,
	// detach, vmusage), as an older host might.
	PublishedOnly bool `json:"publishedOnly,omitempty"`
}

// optionsDurations is the part of Options that a file writes as "200ms".
type optionsDurations struct {
	BootTime    duration `json:"bootTime,omitempty"`
	StopTime    duration `json:"stopTime,omitempty"`
	VolumeDelay duration `json:"volumeDelay,omitempty"`
}

// UnmarshalJSON reads the form of a configuration file; fields that it does
// not name keep their value.
func (o *Options) UnmarshalJSON(b []byte) error {
	type plain Options
	file := struct {
		*plain
		optionsDurations
	}{(*plain)(o), optionsDurations{duration(o.BootTime), duration(o.StopTime), duration(o.VolumeDelay)}}
	if err := decodeStrictly(b, &file); err != nil {
		return err
	}
	d := file.optionsDurations
	o.BootTime, o.StopTime, o.VolumeDelay = time.Duration(d.BootTime), time.Duration(d.StopTime), time.Duration(d.VolumeDelay)
	return nil
}

// duration is a time.Duration that JSON writes as "200ms".
type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a duration such as \"200ms\": %w", err)
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	if parsed < 0 {
		return fmt.Errorf("duration %s is negative", s)
	}
	*d = duration(parsed)
	return nil
}

// complete fills in defaults and checks the rest.
func (o Options) complete() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Hosts) == 0 {
		return o, errors.New("hosts: give at least one")
	}
	if o.BootTime < 0 || o.StopTime < 0 || o.VolumeDelay < 0 {
		return o, errors.New("bootTime, stopTime and volumeDelay must not be negative")
	}
	o.Hosts = slices.Clone(o.Hosts)
	o.Images = maps.Clone(o.Images)
	names, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for i := range o.Hosts {
		h := &o.Hosts[i]
		at := fmt.Sprintf("hosts[%d]", i)
		if !validName(h.Name) {
			return o, fmt.Errorf("%s.name %q: use lower case letters, digits and -", at, h.Name)
		}
		if names[h.Name] {
			return o, fmt.Errorf("%s.name %q is used twice", at, h.Name)
		}
		names[h.Name] = true
		if !h.Address.Is4() {
			return o, fmt.Errorf("%s.address: give an IPv4 address of this machine", at)
		}
		if addresses[h.Address] {
			return o, fmt.Errorf("%s.address %s is used twice", at, h.Address)
		}
		addresses[h.Address] = true
		h.fillIn()
		if h.Cores < 1 || h.SMT < 1 || h.MemoryMiB < 1 || h.StorageGB < 1 || h.FrequencyGHz <= 0 {
			return o, fmt.Errorf("%s: cores, smt, memoryMiB, storageGB and frequencyGHz must be positive", at)
		}
		if !slices.Contains(c4.Architectures, h.Arch) {
			return o, fmt.Errorf("%s.arch %q: use one of %v", at, h.Arch, c4.Architectures)
		}
		for device, n := range h.PCI {
			if _, ok := splitDevice(device); !ok || n < 0 {
				return o, fmt.Errorf("%s.pci %q: %d: write \"vendor:model\": quantity", at, device, n)
			}
		}
	}
	return o, nil
}

func (h *HostOptions) fillIn() {
	if h.Cores == 0 {
		h.Cores = 16
	}
	if h.SMT == 0 {
		h.SMT = 2
	}
	if h.MemoryMiB == 0 {
		h.MemoryMiB = 65536
	}
	if h.StorageGB == 0 {
		h.StorageGB = 100000
	}
	if h.Arch == "" {
		h.Arch = "X86_64"
	}
	if h.Flags == nil {
		h.Flags = []string{"sse2", "sse4_2", "avx", "avx2", "aes"}
	}
	if h.FrequencyGHz == 0 {
		h.FrequencyGHz = 3.0
	}
}

func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
