package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// settings are those that the parts of a run have in common.
type settings struct {
	Duration time.Duration `json:"duration"` // in ns
	Seed     int64         `json:"seed"`
	Lanes    int           `json:"lanes"`
	// Faults is the file of the plan of faults, and FaultsHash the SHA-256 of what
	// is in it.
	Faults     string `json:"faults,omitempty"`
	FaultsHash string `json:"faultsHash,omitempty"`
}

// part is what one process did of a run.
type part struct {
	// Begun is when its workload began, and Last when it was last known to go on.
	Begun time.Time `json:"begun,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Ended tells that it came to its end and did not just stop.
	Ended bool `json:"ended,omitempty"`
}

func (p part) lasted() time.Duration { return p.Last.Sub(p.Begun) }

// checkpoint is what is kept of a run so that another process can go on. It is
// written anew as a whole, so that a machine that dies leaves one or the other.
type checkpoint struct {
	Settings settings `json:"settings"`
	Parts    []part   `json:"parts"`

	out string
	// lock is the directory, which no other process takes as long as it is open.
	lock *os.File
}

const checkpointFile = "soak.json"

// resume takes the directory of a run. Where another process was cut short, its
// next part begins, and what that process has left is put aside; a run that has
// ended, or none, is begun anew.
func resume(out string, s settings) (_ *checkpoint, err error) {
	c := &checkpoint{Settings: s, out: out}
	if err := c.take(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.lock.Close())
		}
	}()
	was, err := c.read()
	if err != nil {
		return nil, err
	}
	if was == nil || was.ended() {
		err = c.removeParts()
	} else {
		if err := was.Settings.differ(s); err != nil {
			return nil, fmt.Errorf("%s has a run that was cut short, %w; go on with that, or remove the directory", out, err)
		}
		c.Parts = was.Parts
		err = c.putAside()
	}
	if err != nil {
		return nil, err
	}
	c.Parts = append(c.Parts, part{})
	return c, c.save()
}

// differ says how the settings of a run that was cut short differ from others.
func (s settings) differ(from settings) error {
	hash := s.FaultsHash
	s.FaultsHash = from.FaultsHash
	switch {
	case s != from:
		return fmt.Errorf("with other settings (%s)", s)
	case hash != from.FaultsHash:
		return fmt.Errorf("with something else in %s", s.Faults)
	}
	return nil
}

func (s settings) String() string {
	text := fmt.Sprintf("--duration %s --seed %d --lanes %d", s.Duration, s.Seed, s.Lanes)
	if s.Faults != "" {
		text += " --faults " + s.Faults
	}
	return text
}

// take locks the directory until this process ends.
func (c *checkpoint) take() (err error) {
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	if c.lock, err = os.Open(c.out); err != nil {
		return err
	}
	if err := syscall.Flock(int(c.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another run is going on in %s; give this one another --out: %w", c.out, err), c.lock.Close())
	}
	return nil
}

// read returns what was kept of the run that the directory has, or nil.
func (c *checkpoint) read() (*checkpoint, error) {
	file := filepath.Join(c.out, checkpointFile)
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading how far the run has come: %w", err)
	}
	was := &checkpoint{}
	if err := json.Unmarshal(content, was); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to begin anew", file, err)
	}
	return was, nil
}

func (c *checkpoint) ended() bool { return len(c.Parts) == 0 || c.now().Ended }

func (c *checkpoint) removeParts() error {
	old, err := filepath.Glob(filepath.Join(c.out, "part-*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what an older run has left: %w", err)
		}
	}
	return nil
}

// putAside moves what the last part has left to a directory of its own.
func (c *checkpoint) putAside() error {
	there, err := os.ReadDir(c.out)
	if err != nil {
		return err
	}
	to := c.partDir(len(c.Parts))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range there {
		name := entry.Name()
		if name == checkpointFile || strings.HasPrefix(name, "part-") {
			continue
		}
		from := filepath.Join(c.out, name)
		if name == "tmp" { // with kubeconfigs, and of no use
			err = os.RemoveAll(from)
		} else {
			err = os.Rename(from, filepath.Join(to, name))
		}
		if err != nil {
			return fmt.Errorf("putting aside what was left when the run was cut short: %w", err)
		}
	}
	return nil
}

// partDir is where the n-th part, from 1, that was cut short has left what it left.
func (c *checkpoint) partDir(n int) string { return filepath.Join(c.out, fmt.Sprintf("part-%d", n)) }

// dirs are where the parts have left what they left: the last one, which is this
// process's, in the directory of the run itself.
func (c *checkpoint) dirs() (dirs []string) {
	for n := range len(c.Parts) - 1 {
		dirs = append(dirs, c.partDir(n+1))
	}
	return append(dirs, c.out)
}

// least is how long the workload goes on at least: a run that was cut short when
// its time was over, but not all of it at its end, is still to come to one.
const least = 30 * time.Second

// elapsed is how long the workload has run, in all parts together.
func (c *checkpoint) elapsed() (all time.Duration) {
	for _, p := range c.Parts {
		all += p.lasted()
	}
	return all
}

// left is how much of the run is still to come.
func (c *checkpoint) left() time.Duration {
	return max(c.Settings.Duration-c.elapsed(), min(least, c.Settings.Duration))
}

func (c *checkpoint) now() *part { return &c.Parts[len(c.Parts)-1] }

// end writes down that the run has come to its end, however that is.
func (c *checkpoint) end() error {
	c.now().Ended = true
	return c.save()
}

// mark writes down that the part goes on.
func (c *checkpoint) mark() error {
	p := c.now()
	if p.Begun.IsZero() {
		p.Begun = time.Now()
	}
	p.Last = time.Now()
	return c.save()
}

func (c *checkpoint) save() error {
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(c.out, checkpointFile), append(content, '\n')); err != nil {
		return fmt.Errorf("writing how far the run has come: %w", err)
	}
	return nil
}

// replace writes a file that is whole, the old or the new one, whenever the machine
// dies.
func replace(path string, content []byte) error {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// parts are those that did something, as a report shows them.
func (c *checkpoint) parts() []reports.Part {
	var shown []reports.Part
	for _, p := range c.Parts {
		if !p.Begun.IsZero() {
			shown = append(shown, reports.Part{Start: p.Begun, End: p.Last})
		}
	}
	return shown
}
