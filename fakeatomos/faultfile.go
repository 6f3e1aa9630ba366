package fakeatomos

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"sigs.k8s.io/yaml"
)

// secondDocument finds one behind the first, which would be overlooked.
var secondDocument = regexp.MustCompile(`(?ms)^[^#\s-].*^---`)

// ParseFaults reads a file of faults: YAML with the seed of them all and the
// faults, which have the fields of Fault and a delay such as "200ms".
//
//	seed: 42
//	faults:
//	- name: replies get lost
//	  call: POST matcher/register
//	  probability: 0.1
//	  effect: LoseReply
//
// A fault without a seed of its own gets one from the file's and its place in
// the list, so that one number repeats them all. Errors name the fault that is
// wrong, and what of it.
func ParseFaults(file []byte) ([]Fault, error) {
	if secondDocument.Match(file) {
		return nil, errors.New("the file must be one document: there is a second one behind ---")
	}
	asJSON, err := yaml.YAMLToJSONStrict(file)
	if err != nil {
		return nil, err
	}
	var in struct {
		Seed   int64             `json:"seed"`
		Faults []json.RawMessage `json:"faults"`
	}
	if err := decodeStrictly(asJSON, &in); err != nil {
		return nil, err
	}
	if len(in.Faults) == 0 {
		return nil, errors.New("faults: give at least one")
	}
	faults := make([]Fault, len(in.Faults))
	for i, raw := range in.Faults {
		f := &faults[i]
		if err := json.Unmarshal(raw, f); err != nil {
			return nil, fmt.Errorf("faults[%d]: %w", i, err)
		}
		if f.ID != "" {
			return nil, fmt.Errorf("faults[%d] %q: id is given by the fake; leave it out", i, f.Name)
		}
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("faults[%d] %q: %w", i, f.Name, err)
		}
		if f.Seed == 0 {
			f.Seed = in.Seed + int64(i)
		}
	}
	return faults, nil
}
