package c4

// Volume is a volume as hosts report it, and as Register takes it.
type Volume struct {
	VolumeID   string `json:"volumeID"`
	Name       string `json:"name"`
	Size       int64  `json:"size"`                 // bytes
	SizeOnDisk int64  `json:"sizeOnDisk,omitempty"` // bytes
	Format     string `json:"format,omitempty"`
	Bus        string `json:"bus,omitempty"`
	Alg        string `json:"alg,omitempty"`
	CreatorID  string `json:"creatorID"`
	Bootable   bool   `json:"bootable"`
	Private    bool   `json:"private"`
	Readonly   bool   `json:"readonly"`
	Shareable  bool   `json:"shareable"`
	Clonable   bool   `json:"clonable,omitempty"`
	CloudInit  bool   `json:"cloudinit,omitempty"`
	// Exported is true while a VM holds the volume.
	Exported    bool   `json:"exported,omitempty"`
	Own         bool   `json:"own,omitempty"`
	Server      string `json:"server,omitempty"`
	NServers    int    `json:"nservers,omitempty"`
	LastUpdated Date   `json:"lastUpdated,omitzero"`
}

// VolumeRequest asks for an empty volume.
type VolumeRequest struct {
	CreatorID string `json:"creatorID"`
	Name      string `json:"name"`
	Private   bool   `json:"private"`
	Readonly  bool   `json:"readonly"`
	Shareable bool   `json:"shareable"`
	Bootable  bool   `json:"bootable"`
	Clonable  bool   `json:"clonable"`
	Alg       string `json:"alg"`    // "no"
	Format    string `json:"format"` // "qcow2" or "raw"
	Bus       string `json:"bus"`    // "virtio", "sata", "ide" or "scsi"
	Size      int64  `json:"size"`   // GB
}

// ImageVolumeRequest asks for a boot volume made from an image.
type ImageVolumeRequest struct {
	CreatorID string `json:"creatorID"` // [A]
	Name      string `json:"name"`
	Private   bool   `json:"private"`
	Bootable  bool   `json:"bootable"` // [A]
	Clonable  bool   `json:"clonable"`
	Alg       string `json:"alg"` // "cp"
	Format    string `json:"format"`
	Bus       string `json:"bus"`
	Size      int64  `json:"size"` // GB
	URL       string `json:"url"`
}

// SeedRequest opens a seed volume; it is complete once ExpectedFiles files
// have been uploaded.
type SeedRequest struct {
	CreatorID     string `json:"creatorID"` // [A]
	Name          string `json:"name"`
	Private       bool   `json:"private"`
	Bootable      bool   `json:"bootable"`
	Clonable      bool   `json:"clonable"`
	Alg           string `json:"alg"`
	ExpectedFiles int    `json:"expectedFiles"`
}

// SeedRef continues a seed volume.
type SeedRef struct {
	VID string `json:"vid"`
}

// VolumeCreated is the reply to the calls that make volumes. Hosts say "vid"
// on the cloud-init calls and "volumeID" on create.
type VolumeCreated struct {
	VID      string `json:"vid,omitempty"`
	VolumeID string `json:"volumeID,omitempty"`
}

func (v VolumeCreated) id() string {
	if v.VolumeID != "" {
		return v.VolumeID
	}
	return v.VID
}

// VolumeInfoRequest is the body of /info, which spells the key in its own way.
type VolumeInfoRequest struct {
	VolumeID string `json:"volume_id"`
}

// VolumeDestroyRequest is the body of /destroy.
type VolumeDestroyRequest struct {
	VolumeID string `json:"volumeID"`
}

// VolumeExportRequest is the body of /export and /unexport.
type VolumeExportRequest struct {
	ClientUID string `json:"client_uid"`
	VolumeID  string `json:"volume_id"`
}

// VolumeImportRequest takes a volume that already lies on the host's storage.
type VolumeImportRequest struct {
	CreatorID string `json:"creatorID"`
	Name      string `json:"name"`
	Private   bool   `json:"private"`
	Readonly  bool   `json:"readonly"`
	Shareable bool   `json:"shareable"`
	Bootable  bool   `json:"bootable"`
	Clonable  bool   `json:"clonable"`
	Alg       string `json:"alg"`
	Format    string `json:"format"`
	Bus       string `json:"bus"`
	Path      string `json:"path"`
	Overlay   bool   `json:"overlay"`
}
