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

// ask asks a registry, and returns the status and what it answers.
func ask(t *testing.T, method, url string) (*http.Response, []byte) {
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
	return reply, content
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
	if reply, _ := ask(t, http.MethodGet, server.URL+"/v2/"); reply.StatusCode != http.StatusOK {
		t.Errorf("whether it is a registry it answers by %s", reply.Status)
	}
	digestOf := func(content []byte) string {
		sum := sha256.Sum256(content)
		return "sha256:" + hex.EncodeToString(sum[:])
	}

	reply, content := ask(t, http.MethodGet, server.URL+"/v2/tests/a/manifests/v1?ns=registry.example.com")
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
	if err := json.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	if got := reply.Header.Get("Docker-Content-Digest"); got != digestOf(content) || reply.Header.Get("Content-Type") != manifest.MediaType || manifest.SchemaVersion != 2 {
		t.Errorf("of the manifest it tells %s, %s, and says %s", got, reply.Header.Get("Content-Type"), content)
	}
	if _, again := ask(t, http.MethodGet, server.URL+"/v2/tests/a/manifests/"+digestOf(content)); !bytes.Equal(again, content) {
		t.Errorf("by its digest the manifest is %s", again)
	}
	if other, _ := ask(t, http.MethodHead, server.URL+"/v2/tests/a/manifests/v2"); other.Header.Get("Docker-Content-Digest") == digestOf(content) {
		t.Error("both images are one")
	}
	if len(manifest.Layers) != 1 {
		t.Fatalf("the layers are %v", manifest.Layers)
	}
	for _, d := range []descriptor{manifest.Config, manifest.Layers[0]} {
		reply, blob := ask(t, http.MethodGet, server.URL+"/v2/tests/a/blobs/"+d.Digest)
		if digestOf(blob) != d.Digest || len(blob) != d.Size || reply.Header.Get("Content-Length") != strconv.Itoa(d.Size) {
			t.Errorf("%+v is %d bytes of %s", d, len(blob), digestOf(blob))
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
		if reply, _ := ask(t, http.MethodGet, server.URL+path); reply.StatusCode != http.StatusNotFound {
			t.Errorf("%s is %s", path, reply.Status)
		}
	}
	if reply, _ := ask(t, http.MethodPost, server.URL+"/v2/a/blobs/uploads/"); reply.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("an upload is %s", reply.Status)
	}
}
