package fakeatomos

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// seedDescriptor is the JSON in the path of an upload: it either opens a seed
// or continues one.
type seedDescriptor struct {
	c4.SeedRequest
	c4.SeedRef
}

// uploadSeed takes one file of a seed volume. It answers 206 while files are
// missing and 200 with the last one.
func (h *Host) uploadSeed(r *request) answer {
	in, err := parseSeedDescriptor(r.rest)
	if err != nil {
		return refuse(http.StatusBadRequest, "the path is not the base64 of a descriptor: %v", err)
	}
	name, content, err := parseSeedFile(r.header.Get("Content-Type"), r.body)
	if err != nil {
		return refuse(http.StatusBadRequest, "no file in the form: %v", err)
	}
	h.lock()
	defer h.mu.Unlock()
	var v *volume
	if in.VID == "" {
		switch {
		case in.CreatorID == "" || in.Name == "":
			return refuse(http.StatusBadRequest, "creatorID and name must not be empty")
		case in.ExpectedFiles < 1 || in.ExpectedFiles > 3:
			return refuse(http.StatusBadRequest, "expectedFiles %d is not between 1 and 3", in.ExpectedFiles)
		}
		v = h.keep(r, volumeRecord{
			Owner: in.CreatorID, Name: in.Name, Size: 1 << 20, Format: "raw", Bus: "virtio", Alg: in.Alg,
			Bootable: in.Bootable, Private: in.Private, Readonly: true, Clonable: in.Clonable,
			CloudInit: true, Expected: in.ExpectedFiles,
		})
	} else {
		var refusal *answer
		if v, refusal = h.volume(in.VID); refusal != nil {
			return *refusal
		}
		if !v.CloudInit {
			return refuse(http.StatusBadRequest, "volume %s is not a seed", in.VID)
		}
		if v.complete() {
			return refuse(http.StatusInternalServerError, "[CloudInitMetafilesNumberExceeded] seed %s has its %d files", v.ID, v.Expected)
		}
	}
	// Running machines may read the old map.
	files := maps.Clone(v.files)
	if files == nil {
		files = map[string][]byte{}
	}
	files[name] = content
	v.files = files
	v.SizeOnDisk += int64(len(content))
	h.state.putRaw("seeds", v.ID+"."+name, content)
	h.keepVolume(v, "changed")
	status := http.StatusOK
	if !v.complete() {
		status = http.StatusPartialContent
	}
	return answer{status: status, body: c4.VolumeCreated{VID: v.ID}}
}

func parseSeedDescriptor(s string) (seedDescriptor, error) {
	var in seedDescriptor
	raw, err := decodeDescriptor(s)
	if err != nil {
		return in, err
	}
	return in, json.Unmarshal(raw, &in)
}

// decodeDescriptor takes either alphabet, with or without padding.
func decodeDescriptor(s string) ([]byte, error) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	return base64.RawStdEncoding.DecodeString(s)
}

var seedFiles = []string{"user-data", "meta-data", "network-config"}

// parseSeedFile reads the part "file" of a form.
func parseSeedFile(contentType string, body []byte) (name string, content []byte, err error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", nil, err
	}
	form := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return "", nil, err
		}
		if part.FormName() != "file" {
			continue
		}
		if !slices.Contains(seedFiles, part.FileName()) {
			return "", nil, errors.New("the file must be called user-data, meta-data or network-config")
		}
		content, err = io.ReadAll(part)
		return part.FileName(), content, err
	}
}
