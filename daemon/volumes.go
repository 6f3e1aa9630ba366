package daemon

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// Volumes are found again by their names, which derive from the VM's.
const (
	bootSuffix = "-boot"
	seedSuffix = "-seed"
	dataInfix  = "-data-"
)

func bootVolumeName(vm string) string       { return vm + bootSuffix }
func seedVolumeName(vm string) string       { return vm + seedSuffix }
func dataVolumeName(vm, name string) string { return vm + dataInfix + name }

var dataVolumeNames = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// checkDataVolumeName says what is wrong with the name of a data volume. What
// it refuses could be read as a volume of another VM: "a-data-b-boot" is the
// boot volume of the VM "a-data-b", never a data volume of "a".
func checkDataVolumeName(name string) string {
	switch {
	case !dataVolumeNames.MatchString(name):
		return "use lower case letters, digits and '-', at most 32"
	case strings.HasSuffix(name, bootSuffix), strings.HasSuffix(name, seedSuffix), strings.Contains(name, dataInfix):
		return "it must not end with -boot or -seed, nor contain -data-"
	}
	return ""
}

// belongsTo tells whether a volume's name says that it is the VM's.
func belongsTo(vm, volume string) bool {
	if volume == bootVolumeName(vm) || volume == seedVolumeName(vm) {
		return true
	}
	name, is := strings.CutPrefix(volume, vm+dataInfix)
	return is && checkDataVolumeName(name) == ""
}

// volumesOf returns the VM's volumes out of those of its client.
func volumesOf(vm string, all []c4.Volume) []c4.Volume {
	var found []c4.Volume
	for _, v := range all {
		if belongsTo(vm, v.Name) {
			found = append(found, v)
		}
	}
	return found
}

// volumeNamed returns the volume of that name to use. Names are not unique on
// AtomOS: of several, all daemons choose the same one, namely one that is in
// use already, or else the oldest. That is what makes the boot volume a fence
// between two daemons that create the same VM at the same time: each creates
// its volume before it looks, so both know the older one.
func volumeNamed(name string, all []c4.Volume) (c4.Volume, bool) {
	var same []c4.Volume
	for _, v := range all {
		if v.Name == name {
			same = append(same, v)
		}
	}
	if len(same) == 0 {
		return c4.Volume{}, false
	}
	return slices.MinFunc(same, func(a, b c4.Volume) int {
		if a.Exported != b.Exported {
			if a.Exported {
				return -1
			}
			return 1
		}
		return cmp.Or(compareAge(a.LastUpdated.Time, b.LastUpdated.Time), cmp.Compare(a.VolumeID, b.VolumeID))
	}), true
}

// volumeWith returns the volume with that ID.
func volumeWith(id string, all []c4.Volume) (c4.Volume, bool) {
	i := slices.IndexFunc(all, func(v c4.Volume) bool { return v.VolumeID == id })
	if i < 0 {
		return c4.Volume{}, false
	}
	return all[i], true
}
