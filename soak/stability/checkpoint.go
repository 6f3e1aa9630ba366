package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// settings are those that the parts of a run have in common.
type settings struct {
	Duration time.Duration `json:"duration"` // in ns
	Seed     int64         `json:"seed"`
	Lanes    int           `json:"lanes"`
	Faults   string        `json:"faults,omitempty"`
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
}

const checkpointFile = "soak.json"

// resume reads how far a run has come that another process began, and begins its
// next part; a run that has ended, or none, is begun anew.
func resume(out string, s settings) (*checkpoint, error) {
	c := &checkpoint{Settings: s, out: out}
	content, err := os.ReadFile(filepath.Join(out, checkpointFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading how far the run has come: %w", err)
	default:
		was := &checkpoint{}
		if err := json.Unmarshal(content, was); err != nil {
			return nil, fmt.Errorf("%s: %w; remove it to begin anew", filepath.Join(out, checkpointFile), err)
		}
		if n := len(was.Parts); n > 0 && !was.Parts[n-1].Ended {
			if was.Settings != s {
				return nil, fmt.Errorf("%s has a run that was cut short, with other settings (%+v); go on with those, or remove the directory", out, was.Settings)
			}
			c.Parts = was.Parts
		}
	}
	if len(c.Parts) == 0 { // what an older run has left
		if err := removeParts(out); err != nil {
			return nil, err
		}
	}
	c.Parts = append(c.Parts, part{})
	if c.left() <= 0 {
		return nil, fmt.Errorf("the run in %s has had its %s; remove the directory to begin anew", out, s.Duration)
	}
	return c, c.save()
}

func removeParts(out string) error {
	old, err := filepath.Glob(filepath.Join(out, "part-*"))
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

// dir is where the part that goes on leaves what it leaves.
func (c *checkpoint) dir() string { return c.partDir(len(c.Parts)) }

func (c *checkpoint) partDir(n int) string { return filepath.Join(c.out, fmt.Sprintf("part-%d", n)) }

// left is how much of the run is still to come.
func (c *checkpoint) left() time.Duration {
	left := c.Settings.Duration
	for _, p := range c.Parts {
		left -= p.lasted()
	}
	return left
}

func (c *checkpoint) now() *part { return &c.Parts[len(c.Parts)-1] }

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
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(c.out, checkpointFile)
	if err := os.WriteFile(file+".new", append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing how far the run has come: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("writing how far the run has come: %w", err)
	}
	return nil
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
