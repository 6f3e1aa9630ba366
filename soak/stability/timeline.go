package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/faults"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// most is how many points a series has at most: more cannot be seen.
const most = 1500

// timeLine is how the run went, all parts of it, as their histories tell.
func (c *checkpoint) timeLine() (reports.TimeLine, error) {
	line := reports.TimeLine{Name: "soak"}
	for _, p := range c.Parts {
		if !p.Begun.IsZero() {
			line.Start = p.Begun
			break
		}
	}
	every := max(time.Duration(int64(c.Settings.Duration)/most), 0)
	last := map[string]time.Time{}
	began := map[string]time.Time{}
	for _, dir := range c.dirs() {
		file := filepath.Join(dir, history.Dir, history.Harness)
		_, err := fakehistory.Read(file, 0, func(e fakehistory.Event) error {
			if e.Time.Before(line.Start) {
				return nil
			}
			switch e.Kind {
			case fakehistory.Sample:
				var s watch.Sample
				if e.Time.Sub(last[e.Name]) < every {
					return nil
				}
				if err := json.Unmarshal(e.Detail, &s); err != nil {
					return err
				}
				if s.Resources == nil { // it only told its failed loops
					return nil
				}
				last[e.Name] = e.Time
				line.Sample(e.Name+": memory", "MiB", e.Time, float64(s.ResidentMemory)/(1<<20))
				line.Sample(e.Name+": goroutines", "goroutines", e.Time, float64(s.Goroutines))
				line.Sample(e.Name+": open files", "files", e.Time, float64(s.OpenFiles))
			case fakehistory.Step:
				name, is := strings.CutPrefix(e.Name, faults.Prefix)
				if !is {
					return nil
				}
				if e.Event == "begin" {
					began[name] = e.Time
				} else if at, ok := began[name]; ok {
					line.Mark(name, at, e.Time)
					delete(began, name)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return line, err
		}
	}
	return line, nil
}
