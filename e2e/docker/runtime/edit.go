package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// editFile takes what m cannot give out of a container's config.json, or out of the
// description of a process. It leaves the file alone where that is nothing.
func (m machine) editFile(path string, process bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	edited, err := m.edit(content, process)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if edited == nil {
		return nil
	}
	return os.WriteFile(path, edited, info.Mode().Perm())
}

// edit returns content without what m cannot give, or nil where that is nothing. Fields
// that it does not know stay as they are.
func (m machine) edit(content []byte, process bool) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber() // numbers of 64 bits stay whole
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	told := document
	if !process {
		told, _ = document["process"].(map[string]any)
	}
	changed := m.editCapabilities(told)
	changed = m.editOOMScoreAdj(told) || changed
	changed = m.editRlimits(told) || changed
	if !changed {
		return nil, nil
	}
	return json.Marshal(document)
}

func (m machine) editCapabilities(process map[string]any) (changed bool) {
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		names, _ := set.([]any)
		kept := []any{}
		for _, capability := range names {
			if name, _ := capability.(string); !m.missing[name] {
				kept = append(kept, capability)
			}
		}
		if len(kept) < len(names) {
			sets[name], changed = kept, true
		}
	}
	return changed
}

func (m machine) editOOMScoreAdj(process map[string]any) (changed bool) {
	number, ok := process["oomScoreAdj"].(json.Number)
	if !ok {
		return false
	}
	if score, err := number.Int64(); err != nil || score >= int64(m.leastOOMScoreAdj) {
		return false // runc says what is wrong with a number that is none
	}
	process["oomScoreAdj"] = m.leastOOMScoreAdj
	return true
}

func (m machine) editRlimits(process map[string]any) (changed bool) {
	limits, _ := process["rlimits"].([]any)
	for _, limit := range limits {
		fields, _ := limit.(map[string]any)
		name, _ := fields["type"].(string)
		most, ok := m.mostRlimit[name]
		if !ok {
			continue
		}
		for _, bound := range []string{"hard", "soft"} {
			number, _ := fields[bound].(json.Number)
			if value, err := strconv.ParseUint(number.String(), 10, 64); err == nil && value > most {
				fields[bound], changed = most, true
			}
		}
	}
	return changed
}
