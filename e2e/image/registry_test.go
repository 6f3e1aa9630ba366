package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// answer is what a registry answers.
type answer struct {
	status  int
	header  http.Header
	content []byte
}

// ask asks a registry.
func ask(t *testing.T, method, url string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	content, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{reply.StatusCode, reply.Header, content}
}

func TestARegistryServesWholeImages(t *testing.T) {
	t.Parallel()
	base := Files(File{Path: "bin/sh", Mode: 0o755, Content: []byte("a shell")})
	handler, err := Registry(
		Image{Name: "registry.example.com/tests/a:v1", Layers: []*Layer{base}, Command: []string{"sh"}},
		Image{Name: "registry.example.com/tests/a:v2", Layers: []*Layer{base}, Command: []string{"sh", "-e"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	if got := ask(t, http.MethodGet, server.URL+"/v2/"); got.status != http.StatusOK {
		t.Errorf("whether it is a registry it answers by %d", got.status)
	}
	digestOf := func(content []byte) string {
		sum := sha256.Sum256(content)
		return "sha256:" + hex.EncodeToString(sum[:])
	}

	got := ask(t, http.MethodGet, server.URL+"/v2/tests/a/manifests/v1?ns=registry.example.com")
	type descriptor struct {
		MediaType, Digest string
		Size              int
	}
	var manifest struct {
		SchemaVersion int
		MediaType     string
		Config        descriptor
		Layers        []descriptor
	}
	if err := json.Unmarshal(got.content, &manifest); err != nil {
		t.Fatal(err)
	}
	digest := digestOf(got.content)
	if got.header.Get("Docker-Content-Digest") != digest || got.header.Get("Content-Type") != manifest.MediaType || manifest.SchemaVersion != 2 {
		t.Errorf("of the manifest it tells %v, and says %s", got.header, got.content)
	}
	if again := ask(t, http.MethodGet, server.URL+"/v2/tests/a/manifests/"+digest); !bytes.Equal(again.content, got.content) {
		t.Errorf("by its digest the manifest is %s", again.content)
	}
	if other := ask(t, http.MethodHead, server.URL+"/v2/tests/a/manifests/v2"); other.header.Get("Docker-Content-Digest") == digest {
		t.Error("both images are one")
	}
	if len(manifest.Layers) != 1 {
		t.Fatalf("the layers are %v", manifest.Layers)
	}
	for _, d := range []descriptor{manifest.Config, manifest.Layers[0]} {
		blob := ask(t, http.MethodGet, server.URL+"/v2/tests/a/blobs/"+d.Digest)
		if digestOf(blob.content) != d.Digest || len(blob.content) != d.Size || blob.header.Get("Content-Length") != strconv.Itoa(d.Size) {
			t.Errorf("%+v is %d bytes of %s", d, len(blob.content), digestOf(blob.content))
		}
	}
}

func TestARegistryHasWhatItHasAndTakesNothing(t *testing.T) {
	t.Parallel()
	handler, err := Registry(Image{Name: "registry.example.com/a:v1", Layers: []*Layer{Files(File{Path: "a"})}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, path := range []string{"/", "/v1/", "/v2/a/manifests/v2", "/v2/b/manifests/v1", "/v2/a/manifests/sha256:0", "/v2/a/blobs/sha256:0", "/v2/a/tags/list"} {
		if got := ask(t, http.MethodGet, server.URL+path); got.status != http.StatusNotFound {
			t.Errorf("%s is %d", path, got.status)
		}
	}
	if got := ask(t, http.MethodPost, server.URL+"/v2/a/blobs/uploads/"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("an upload is %d", got.status)
	}
}
