package world

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Resources are what a process holds at a moment; what leaks shows in them.
type Resources struct {
	// OpenFiles are its file descriptors: files, sockets, pipes.
	OpenFiles int `json:"openFiles"`
	// Threads are those of the operating system.
	Threads int `json:"threads"`
	// ResidentMemory is what it has in memory, in bytes.
	ResidentMemory uint64 `json:"residentMemory"`
	// Listening are the TCP addresses that it listens on, in order.
	Listening []string `json:"listening,omitempty"`
	// Goroutines and HeapInUse, in bytes, are what it tells of itself; 0 for a
	// process that is not a manager, a daemon or the fake.
	Goroutines int    `json:"goroutines,omitempty"`
	HeapInUse  uint64 `json:"heapInUse,omitempty"`
}

// Resources measures a process of the world. One that does not run is an error.
func (w *World) Resources(ctx context.Context, name string) (Resources, error) {
	p := w.Process(name)
	if p == nil {
		return Resources{}, fmt.Errorf("there is no process %s in this world", name)
	}
	r, err := p.Resources()
	if err != nil {
		return Resources{}, err
	}
	if w.metricsURL(name) == "" {
		return r, nil
	}
	families, err := w.Metrics(ctx, name)
	if err != nil {
		return Resources{}, err
	}
	gauge := func(metric string) float64 {
		for _, m := range families[metric].GetMetric() {
			return m.GetGauge().GetValue()
		}
		return 0
	}
	r.Goroutines, r.HeapInUse = int(gauge("go_goroutines")), uint64(gauge("go_memstats_heap_inuse_bytes"))
	if r.Goroutines == 0 || r.HeapInUse == 0 {
		return Resources{}, fmt.Errorf("%s does not tell its goroutines and heap in its metrics", name)
	}
	return r, nil
}

// Resources measures the process from outside.
func (p *Process) Resources() (Resources, error) {
	r, err := resources(p.PID())
	if err != nil {
		return Resources{}, fmt.Errorf("measuring %s: %w", p.Name, err)
	}
	return r, nil
}

func resources(pid int) (Resources, error) {
	proc := fmt.Sprintf("/proc/%d", pid)
	status, err := statusFields(pid)
	if err != nil {
		return Resources{}, err
	}
	var r Resources
	if _, err := fmt.Sscan(status["Threads"], &r.Threads); err != nil {
		return r, fmt.Errorf("%s/status: Threads: %w", proc, err)
	}
	if r.ResidentMemory, err = kibibytes(status["VmRSS"]); err != nil {
		return r, fmt.Errorf("%s/status: VmRSS: %w", proc, err)
	}
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return r, err
	}
	r.OpenFiles = len(descriptors)
	sockets := map[string]bool{}
	for _, descriptor := range descriptors {
		target, err := os.Readlink(filepath.Join(proc, "fd", descriptor.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed in between
		}
		if err != nil {
			return r, err
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		found, err := listening(filepath.Join(proc, "net", table), sockets)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // without IPv6
			return r, err
		}
		r.Listening = append(r.Listening, found...)
	}
	slices.Sort(r.Listening)
	return r, nil
}

// listening reads the local addresses of those sockets that listen out of a table
// of the kernel's (see proc_pid_net(5)).
func listening(table string, sockets map[string]bool) ([]string, error) {
	f, err := os.Open(table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const state, inode, listen = 3, 9, "0A"
	var found []string
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			return found, lines.Err()
		}
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || fields[state] != listen || !sockets[fields[inode]] {
			continue
		}
		address, err := kernelAddress(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", table, err)
		}
		found = append(found, address.String())
	}
}

// kernelAddress reads an address as the kernel writes it: 32-bit words in the
// machine's order, and the port, in hex.
func kernelAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(host)
	number, errPort := hex.DecodeString(port)
	if err := cmp.Or(err, errPort); err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	for i := 0; i+4 <= len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	address, ok := netip.AddrFromSlice(words)
	if !ok || len(number) != 2 {
		return netip.AddrPort{}, fmt.Errorf("address %q is none", text)
	}
	return netip.AddrPortFrom(address.Unmap(), binary.BigEndian.Uint16(number)), nil
}

// statusFields are what /proc tells of a process by name.
func statusFields(pid int) (map[string]string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}

// kibibytes reads such as "12 kB" of /proc, in bytes; a process that has just ended
// has nothing there.
func kibibytes(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	kib, err := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64)
	return kib << 10, err
}
