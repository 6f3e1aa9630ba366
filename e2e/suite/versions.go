package suite

import (
	"runtime/debug"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// modules are the versions of the modules that this program was built with.
func modules(paths ...string) []reports.Setting {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var found []reports.Setting
	for _, m := range info.Deps {
		if slices.Contains(paths, m.Path) {
			found = append(found, reports.Setting{Name: m.Path, Value: m.Version})
		}
	}
	return found
}
