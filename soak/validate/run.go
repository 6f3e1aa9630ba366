package validate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// Run judges the history of a run, or of its history directory, with these
// validators.
func Run(dir string, validators ...Validator) ([]Result, error) {
	panel := newPanel(validators...)
	if err := history.Read(historyOf(dir), func(e Event) error { panel.observe(e); return nil }); err != nil {
		return nil, err
	}
	return panel.finish(), nil
}

// Follow judges the history of a run while it is written, until ctx ends, and tells
// each violation as soon as it is certain.
func Follow(ctx context.Context, dir string, tell func(Violation), validators ...Validator) ([]Result, error) {
	panel := newPanel(validators...)
	if err := history.Follow(ctx, historyOf(dir), func(e Event) error {
		for _, violation := range panel.observe(e) {
			tell(violation)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return panel.finish(), nil
}

// Parts are the histories in the directory of a run: its own, after those of the
// processes before it where it was resumed. Each is judged by itself.
func Parts(dir string) ([]string, error) {
	parts, err := filepath.Glob(filepath.Join(dir, "part-*", history.Dir))
	if err != nil {
		return nil, fmt.Errorf("finding the parts of a run: %w", err)
	}
	if own := historyOf(dir); len(parts) == 0 || own != dir {
		parts = append(parts, own)
	}
	return parts, nil
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
