package image

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The types that a registry tells of what it serves.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// Registry serves images to those who pull them, as a registry does (by the distribution
// specification of the Open Container Initiative), whatever the registry is that their
// names begin with. Nothing can be pushed. What the images are made of must not change
// meanwhile.
func Registry(images ...Image) (http.Handler, error) {
	r := registry{manifests: map[string]blob{}, blobs: map[string]blob{}}
	for _, i := range images {
		if err := r.add(i); err != nil {
			return nil, fmt.Errorf("making the image %s: %w", i.Name, err)
		}
	}
	return r, nil
}

// registry holds manifests by NAME:TAG and by their digests, and blobs by theirs.
type registry struct{ manifests, blobs map[string]blob }

// blob is something that is served.
type blob struct {
	kind, digest string
	*Layer
}

func (r registry) add(i Image) error {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	hold := func(kind string, content *Layer) (blob, descriptor, error) {
		err := content.measure()
		b := blob{kind: kind, digest: "sha256:" + content.digest, Layer: content}
		return b, descriptor{kind, b.digest, content.size}, err
	}
	keep := func(kind string, content *Layer) (descriptor, error) {
		b, d, err := hold(kind, content)
		r.blobs[b.digest] = b
		return d, err
	}
	layers := []descriptor{}
	for _, l := range i.Layers {
		d, err := keep(layerType, l)
		if err != nil {
			return err
		}
		layers = append(layers, d)
	}
	described, err := i.describe()
	if err != nil {
		return err
	}
	config, err := keep(configType, Packed(described))
	if err != nil {
		return err
	}
	content, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": layers})
	if err != nil {
		return err
	}
	manifest, _, err := hold(manifestType, Packed(content))
	_, name, _ := strings.Cut(i.Name, "/")
	repository, _, _ := strings.Cut(name, ":")
	r.manifests[name] = manifest
	r.manifests[repository+"@"+manifest.digest] = manifest
	return err
}

func (r registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		http.Error(w, "images can be pulled, and that is all", http.StatusMethodNotAllowed)
		return
	}
	found, is := r.find(request.URL.Path)
	if !is {
		http.NotFound(w, request)
		return
	}
	if found.Layer == nil {
		return // it is asked whether this is a registry
	}
	w.Header().Set("Content-Type", found.kind)
	w.Header().Set("Docker-Content-Digest", found.digest)
	w.Header().Set("Content-Length", strconv.FormatInt(found.size, 10))
	if request.Method == http.MethodGet {
		// Whoever pulls sees by the digest whether it is whole.
		_ = found.write(w)
	}
}

func (r registry) find(path string) (found blob, is bool) {
	path, is = strings.CutPrefix(path, "/v2/")
	if !is || path == "" {
		return found, is
	}
	if name, reference, is := strings.Cut(path, "/manifests/"); is {
		separator := ":"
		if strings.Contains(reference, ":") {
			separator = "@"
		}
		found, is = r.manifests[name+separator+reference]
		return found, is
	}
	_, digest, _ := strings.Cut(path, "/blobs/")
	found, is = r.blobs[digest]
	return found, is
}
