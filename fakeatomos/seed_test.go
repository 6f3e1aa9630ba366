package fakeatomos

import (
	"encoding/base64"
	"slices"
	"testing"
)

func TestADescriptorIsReadInEitherAlphabet(t *testing.T) {
	t.Parallel()
	const text = `{"name":"a?b>c~","expectedFiles":2}`
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		in, err := parseSeedDescriptor(encoding.EncodeToString([]byte(text)))
		if err != nil || in.Name != "a?b>c~" || in.ExpectedFiles != 2 {
			t.Errorf("read as %+v, %v", in, err)
		}
	}
}

func FuzzSeedUpload(f *testing.F) {
	f.Add("eyJ2aWQiOiJ4In0=", "multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"user-data\"\r\n\r\nx\r\n--b--\r\n"))
	f.Add("////", "multipart/form-data", []byte("--"))
	f.Fuzz(func(t *testing.T, descriptor, contentType string, body []byte) {
		_, _ = parseSeedDescriptor(descriptor)
		name, content, err := parseSeedFile(contentType, body)
		if err == nil && (!slices.Contains(seedFiles, name) || len(content) > len(body)) {
			t.Errorf("%q with %d bytes out of %d", name, len(content), len(body))
		}
	})
}
