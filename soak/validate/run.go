package validate

import (
	"context"
	"os"
	"path/filepath"

	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// Run judges the history of a run, or of its history directory, with these
// validators.
func Run(dir string, validators ...Validator) ([]Result, error) {
	panel := NewPanel(validators...)
	if err := history.Read(historyOf(dir), func(e Event) error { panel.Observe(e); return nil }); err != nil {
		return nil, err
	}
	return panel.Finish(), nil
}

// Follow judges the history of a run while it is written, until ctx ends, and tells
// each violation as soon as it is certain.
func Follow(ctx context.Context, dir string, tell func(Violation), validators ...Validator) ([]Result, error) {
	panel := NewPanel(validators...)
	if err := history.Follow(ctx, historyOf(dir), func(e Event) error {
		for _, violation := range panel.Observe(e) {
			tell(violation)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return panel.Finish(), nil
}

func historyOf(dir string) string {
	if inside := filepath.Join(dir, history.Dir); isDir(inside) {
		return inside
	}
	return dir
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
