package fakeatomos

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

const gigabyte = 1e9

// volume is a volume on a host's storage.
type volume struct {
	volumeRecord
	files map[string][]byte // of a seed
}

// volumeRecord is what a host knows of a volume besides its content.
type volumeRecord struct {
	ID         string `json:"id"`
	Owner      string `json:"owner"`
	Name       string `json:"name"`
	Size       int64  `json:"size"`       // bytes
	SizeOnDisk int64  `json:"sizeOnDisk"` // bytes
	Format     string `json:"format"`
	Bus        string `json:"bus"`
	Alg        string `json:"alg"`
	Bootable   bool   `json:"bootable"`
	Private    bool   `json:"private"`
	Readonly   bool   `json:"readonly"`
	Shareable  bool   `json:"shareable"`
	Clonable   bool   `json:"clonable"`
	CloudInit  bool   `json:"cloudInit"`
	// Expected is how many files make a seed complete.
	Expected int `json:"expected,omitempty"`
	// Image is the name of the image that a boot volume was made from.
	Image string `json:"image,omitempty"`
	// Reserved is the client UUID that /export gave the volume to.
	Reserved string `json:"reserved,omitempty"`
	// Created is when it was made, Dated what the host's clock showed then.
	Created  time.Time `json:"created"`
	Dated    time.Time `json:"dated"`
	Sequence int64     `json:"sequence"`
}

func (v *volume) complete() bool { return !v.CloudInit || len(v.files) >= v.Expected }

// keep adds a volume and saves it.
func (h *Host) keep(r *request, rec volumeRecord) *volume {
	rec.ID, rec.Created, rec.Dated, rec.Sequence = uuid.NewString(), time.Now(), h.now(), h.next()
	v := &volume{volumeRecord: rec}
	h.volumes[v.ID] = v
	h.keepVolume(v, "made")
	r.entry.ID = v.ID
	return v
}

// keepVolume saves a volume that was made or changed.
func (h *Host) keepVolume(v *volume, event string) {
	h.state.put("volumes", v.ID, v.volumeRecord)
	h.tellVolume(v, event)
}

// dropVolume is the end of a volume.
func (h *Host) dropVolume(v *volume) {
	delete(h.volumes, v.ID)
	h.state.delete("volumes", v.ID)
	for name := range v.files {
		h.state.delete("seeds", v.ID+"."+name)
	}
	h.tellVolume(v, "removed")
}

// volume returns a volume that can be seen by now, or the refusal.
func (h *Host) volume(id string) (*volume, *answer) {
	v := h.volumes[id]
	if v == nil || time.Since(v.Created) < h.fake.opts.VolumeDelay {
		a := refuse(http.StatusNotFound, "[VolumeNotFound] volume %s", id)
		return nil, &a
	}
	return v, nil
}

// usableVolume returns a volume that a VM of the owner can have.
func (h *Host) usableVolume(id, owner string) (*volume, *answer) {
	v, refusal := h.volume(id)
	if refusal != nil {
		return nil, refusal
	}
	if v.Private && v.Owner != owner {
		a := refuse(http.StatusNotFound, "[VolumeNotFound] volume %s", id)
		return nil, &a
	}
	if !v.complete() {
		a := refuse(http.StatusConflict, "[VolumeNotAllocable] seed %s is not complete", id)
		return nil, &a
	}
	return v, nil
}

// holders lists the VMs that a volume is attached to.
func (h *Host) holders(id string) (uids []string) {
	for _, v := range h.vms {
		if slices.Contains(v.Volumes, id) {
			uids = append(uids, v.UID)
		}
	}
	return uids
}

func (h *Host) showVolume(v *volume, client string) c4.Volume {
	return c4.Volume{
		VolumeID: v.ID, Name: v.Name, Size: v.Size, SizeOnDisk: v.SizeOnDisk, Format: v.Format, Bus: v.Bus, Alg: v.Alg,
		CreatorID: v.Owner, Bootable: v.Bootable, Private: v.Private, Readonly: v.Readonly, Shareable: v.Shareable,
		Clonable: v.Clonable, CloudInit: v.CloudInit,
		Exported: v.Reserved != "" || len(h.holders(v.ID)) > 0,
		Own:      v.Owner == client, Server: h.opts.Address.String(), NServers: 1,
		LastUpdated: c4.Date{Time: v.Dated},
	}
}

// checkVolume returns what is wrong with a volume's properties, or "".
func checkVolume(creator, name, format, bus string, bootable, shareable bool) string {
	switch {
	case creator == "":
		return "creatorID must not be empty"
	case name == "":
		return "name must not be empty"
	case !slices.Contains([]string{"qcow2", "raw"}, format):
		return "format must be qcow2 or raw"
	case !slices.Contains([]string{"virtio", "sata", "ide", "scsi"}, bus):
		return "bus must be virtio, sata, ide or scsi"
	case bootable && shareable:
		return "bootable and shareable exclude each other"
	}
	return ""
}

func (h *Host) storageFree() int64 {
	free := h.opts.StorageGB * gigabyte
	for _, v := range h.volumes {
		free -= v.Size
	}
	return free
}

// fitsVolume checks a request for an empty volume.
func (h *Host) fitsVolume(in c4.VolumeRequest) *answer {
	var a answer
	if wrong := checkVolume(in.CreatorID, in.Name, in.Format, in.Bus, in.Bootable, in.Shareable); wrong != "" {
		a = refuse(http.StatusBadRequest, "%s", wrong)
		return &a
	}
	return h.fitsSize(in.Size)
}

func (h *Host) fitsSize(gb int64) *answer {
	var a answer
	switch {
	case gb < 1 || gb > 1<<20:
		a = refuse(http.StatusBadRequest, "size %d GB is not positive, or beyond reason", gb)
	case gb*gigabyte > h.storageFree():
		a = refuse(http.StatusInsufficientStorage, "[VolumeNotAllocable] %d GB do not fit", gb)
	default:
		return nil
	}
	return &a
}

func (h *Host) canCreateVolume(_ *request, in c4.VolumeRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	if refusal := h.fitsVolume(in); refusal != nil {
		return *refusal
	}
	return ok(map[string]bool{"cancreate": true})
}

func (h *Host) createVolume(r *request, in c4.VolumeRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	if refusal := h.fitsVolume(in); refusal != nil {
		return *refusal
	}
	v := h.keep(r, volumeRecord{
		Owner: in.CreatorID, Name: in.Name, Size: in.Size * gigabyte, Format: in.Format, Bus: in.Bus, Alg: in.Alg,
		Bootable: in.Bootable, Private: in.Private, Readonly: in.Readonly, Shareable: in.Shareable, Clonable: in.Clonable,
	})
	return ok(c4.VolumeCreated{VolumeID: v.ID})
}

func (h *Host) createImageVolume(r *request, in c4.ImageVolumeRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	if wrong := checkVolume(in.CreatorID, in.Name, in.Format, in.Bus, in.Bootable, false); wrong != "" {
		return refuse(http.StatusBadRequest, "%s", wrong)
	}
	image, known := h.imageOf(in.URL)
	if !known {
		return refuse(http.StatusBadRequest, "url: no image can be had there")
	}
	if refusal := h.fitsSize(in.Size); refusal != nil {
		return *refusal
	}
	v := h.keep(r, volumeRecord{
		Owner: in.CreatorID, Name: in.Name, Size: in.Size * gigabyte, SizeOnDisk: gigabyte, Format: in.Format, Bus: in.Bus, Alg: in.Alg,
		Bootable: true, Private: in.Private, Clonable: in.Clonable, Image: image,
	})
	return ok(c4.VolumeCreated{VID: v.ID})
}

// imageOf returns the image that a URL leads to.
func (h *Host) imageOf(raw string) (name string, known bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return "", false
	}
	name = path.Base(u.Path)
	for _, extension := range []string{".qcow2", ".img"} {
		name = strings.TrimSuffix(name, extension)
	}
	_, known = h.fake.opts.Images[name]
	return name, known
}

func (h *Host) importVolume(r *request, in c4.VolumeImportRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	if wrong := checkVolume(in.CreatorID, in.Name, in.Format, in.Bus, in.Bootable, in.Shareable); wrong != "" {
		return refuse(http.StatusBadRequest, "%s", wrong)
	}
	if !path.IsAbs(in.Path) {
		return refuse(http.StatusBadRequest, "path must be absolute")
	}
	v := h.keep(r, volumeRecord{
		Owner: in.CreatorID, Name: in.Name, Size: gigabyte, SizeOnDisk: gigabyte, Format: in.Format, Bus: in.Bus, Alg: in.Alg,
		Bootable: in.Bootable, Private: in.Private, Readonly: in.Readonly, Shareable: in.Shareable, Clonable: in.Clonable,
	})
	return ok(c4.VolumeCreated{VolumeID: v.ID})
}

func (h *Host) volumeInfo(_ *request, in c4.VolumeInfoRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	v, refusal := h.volume(in.VolumeID)
	if refusal != nil {
		return *refusal
	}
	return ok(h.showVolume(v, ""))
}

func (h *Host) accessible(_ *request, in c4.ClientRef) answer {
	h.lock()
	defer h.mu.Unlock()
	var list []c4.Volume
	for _, v := range h.volumesInOrder() {
		if _, refusal := h.volume(v.ID); h.lists() && refusal == nil && (!v.Private || v.Owner == in.ClientUID) {
			list = append(list, h.showVolume(v, in.ClientUID))
		}
	}
	if len(list) == 0 {
		return noContent
	}
	return ok(list)
}

func (h *Host) volumesInOrder() []*volume {
	return slices.SortedFunc(maps.Values(h.volumes), func(a, b *volume) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

// destroyVolume cannot check an owner: the call names none.
func (h *Host) destroyVolume(_ *request, in c4.VolumeDestroyRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	v, refusal := h.volume(in.VolumeID)
	if refusal != nil {
		return *refusal
	}
	if v.Reserved != "" || len(h.holders(v.ID)) > 0 {
		return refuse(http.StatusConflict, "[VolumeCannotBeDeleted] volume %s is in use", v.ID)
	}
	h.dropVolume(v)
	return ok("OK")
}

func (h *Host) exportVolume(_ *request, in c4.VolumeExportRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	if in.ClientUID == "" {
		return refuse(http.StatusBadRequest, "client_uid must not be empty")
	}
	v, refusal := h.usableVolume(in.VolumeID, in.ClientUID)
	if refusal != nil {
		return *refusal
	}
	if v.Shareable {
		return ok("OK") // anyone may, at any time
	}
	if v.Reserved != "" || len(h.holders(v.ID)) > 0 {
		return refuse(http.StatusConflict, "[VolumeAlreadyExported] volume %s is in use", v.ID)
	}
	v.Reserved = in.ClientUID
	h.keepVolume(v, "changed")
	return ok("OK")
}

func (h *Host) unexportVolume(_ *request, in c4.VolumeExportRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	v, refusal := h.usableVolume(in.VolumeID, in.ClientUID)
	if refusal != nil {
		return *refusal
	}
	if v.Reserved != "" && v.Reserved != in.ClientUID {
		return refuse(http.StatusNotFound, "[VolumeNotFound] volume %s is not exported to this client", v.ID)
	}
	if len(h.holders(v.ID)) > 0 {
		return refuse(http.StatusConflict, "[VolumeAlreadyExported] volume %s is attached to a VM", v.ID)
	}
	v.Reserved = ""
	h.keepVolume(v, "changed")
	return ok("OK")
}
