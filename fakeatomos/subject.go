package fakeatomos

import (
	"cmp"
	"encoding/json"
)

// subject is what a call is about, as far as the call tells or the host knows.
type subject struct {
	vm    string // the name of a VM
	name  string // of the VM, volume or network
	owner string // a client UUID
	id    string // uniqueID, volumeID, network_uid or forward_uid
}

// subjectKeys are the keys of all calls that tell what a call is about.
type subjectKeys struct {
	ClientUID      string `json:"client_uid"`
	CreatorID      string `json:"creatorID"`
	CreatorUID     string `json:"creator_uid"`
	VMUID          string `json:"vm_uid"`
	VMName         string `json:"vm_name"`
	VolumeID       string `json:"volumeID"`
	ExportVolumeID string `json:"volume_id"`
	SeedID         string `json:"vid"`
	VolumeName     string `json:"name"`
	NetworkUID     string `json:"network_uid"`
	NetworkName    string `json:"network_name"`
	ForwardUID     string `json:"forward_uid"`
	TargetVMUID    string `json:"target_vm_uid"`
}

// subjectOf looks at a request before anything is done about it. The caller
// holds the host's lock.
func (h *Host) subjectOf(r *request) subject {
	raw := r.body
	if r.rest != "" {
		raw = nil
		if descriptor, err := decodeDescriptor(r.rest); err == nil {
			raw = descriptor
		}
	}
	var k subjectKeys
	_ = json.Unmarshal(raw, &k) // what cannot be read is about nothing; the call itself says so
	s := subject{owner: cmp.Or(k.ClientUID, k.CreatorID, k.CreatorUID)}
	volumeID := cmp.Or(k.VolumeID, k.ExportVolumeID, k.SeedID)
	switch {
	case k.VMUID != "":
		s.id = k.VMUID
		if v := h.vms[k.VMUID]; v != nil && v.Owner == s.owner {
			s.vm, s.name = v.Name, v.Name
		}
	case k.VMName != "":
		s.vm, s.name = k.VMName, k.VMName
	case k.ForwardUID != "":
		s.id = k.ForwardUID
		if fw := h.forwards[k.ForwardUID]; fw != nil {
			s.owner = fw.CreatorUID
			s.target(h.vms[fw.TargetVMUID])
		}
	case k.TargetVMUID != "":
		s.target(h.vms[k.TargetVMUID])
	case volumeID != "":
		s.id = volumeID
		if v := h.volumes[volumeID]; v != nil {
			s.name, s.owner = v.Name, cmp.Or(s.owner, v.Owner)
			for _, uid := range h.holders(volumeID) {
				s.vm = h.vms[uid].Name
			}
		}
	case k.NetworkUID != "":
		s.id = k.NetworkUID
		if n := h.networks[k.NetworkUID]; n != nil {
			s.name, s.owner = n.Name, cmp.Or(s.owner, n.CreatorUID)
		}
	default:
		s.name = cmp.Or(k.NetworkName, k.VolumeName)
	}
	return s
}

// target makes a VM the subject, if there is one.
func (s *subject) target(v *vm) {
	if v != nil {
		s.vm, s.name = v.Name, v.Name
	}
}
