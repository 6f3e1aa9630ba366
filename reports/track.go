package reports

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed track-record.yaml
var trackRecord []byte

// TrackRecord are the bugs that the suites have found so far, as
// track-record.yaml has them.
func TrackRecord() ([]Bug, error) {
	var bugs []Bug
	if err := yaml.UnmarshalStrict(trackRecord, &bugs); err != nil {
		return nil, fmt.Errorf("track-record.yaml: %w", err)
	}
	return bugs, nil
}
