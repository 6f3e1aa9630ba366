package reports

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// What guests of a fake AtomOS are.
const (
	SimulatedGuests = "simulated"
	ContainerGuests = "container"
)

// Environment is what a run stood on.
type Environment struct {
	// Host is the name of the machine that the suite ran on.
	Host      string `json:"host"`
	OS        string `json:"os"`
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memoryMiB"`
	// Commit is that of the source; with "+changes" when files differed from it.
	Commit string `json:"commit"`
	// Plane is the kind of the management plane: embedded, kind or existing.
	Plane string `json:"plane"`
	// Guests is what ran in the VMs: SimulatedGuests, ContainerGuests, or, on a real
	// AtomOS, words for what is there.
	Guests string `json:"guests"`
	// Target is the AtomOS: "fake" for one that the run started, or the addresses
	// of the hosts that it was given.
	Target string `json:"target"`
	// Manufacturer is who made the hosts, as they say themselves; empty where they
	// were not asked.
	Manufacturer string `json:"manufacturer,omitempty"`
	// Fake tells that the AtomOS was the fake: started by the run, or one that says
	// so itself.
	Fake bool `json:"fake,omitempty"`
	// Settings are those that change the figures, such as boot times.
	Settings []Setting `json:"settings,omitempty"`
	// Versions are those of everything that took part.
	Versions []Setting `json:"versions,omitempty"`
}

// IsFake tells whether the AtomOS is known to have been the fake.
func (e Environment) IsFake() bool { return e.Fake || e.Target == "fake" }

// AtomOS says what is known of the AtomOS, for people.
func (e Environment) AtomOS() string {
	switch {
	case e.Target == "fake":
		return "the fake"
	case e.Fake:
		return "the fake at " + e.Target
	case e.Manufacturer != "":
		return e.Target + ", made by " + e.Manufacturer + " as they say"
	case e.Target == "":
		return unknown
	default:
		return e.Target + ", which did not say what they are"
	}
}

// Setting is a name and its value.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const (
	// unknown stands for what could not be found out.
	unknown = "unknown"
	// changes follows a commit from which files differed.
	changes = "+changes"
)

// ThisMachine describes the machine and the source in the working directory.
// What cannot be found out is "unknown".
func ThisMachine(ctx context.Context) Environment {
	e := Environment{
		Host:     unknown,
		OS:       orUnknown(strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)),
		CPU:      orUnknown(field("/proc/cpuinfo", "model name", ":")),
		Cores:    runtime.NumCPU(),
		Commit:   commit(ctx),
		Versions: []Setting{{"Go", runtime.Version()}},
	}
	if name, err := os.Hostname(); err == nil {
		e.Host = name
	}
	if kernel := kernel(); kernel != "" {
		e.OS += ", Linux " + kernel
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"), 10, 64); err == nil {
		e.MemoryMiB = kib >> 10
	}
	return e
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

// field is the value of the first line "name separator value" of a file.
func field(path, name, separator string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kernel() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return unknown
	}
	c := strings.TrimSpace(string(head))
	if changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output(); err == nil && len(changed) > 0 {
		c += changes
	}
	return c
}
