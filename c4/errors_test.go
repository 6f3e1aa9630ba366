package c4

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEveryCodeHasANameOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range Codes() {
		name := c.String()
		if strings.HasPrefix(name, "Code(") {
			t.Errorf("%s has no name", name)
		}
		if seen[name] {
			t.Errorf("the name %s is used twice", name)
		}
		seen[name] = true
	}
	if len(Codes()) != len(codeNames) {
		t.Errorf("%d codes, %d names", len(Codes()), len(codeNames))
	}
	if got := Code(-1).String(); got != "Code(-1)" {
		t.Errorf("an unknown code is called %q", got)
	}
}

func TestOnlyOutcomesThatAreOpenAreAmbiguous(t *testing.T) {
	t.Parallel()
	for _, c := range Codes() {
		want := c == Unknown || c == Malformed || c == Internal
		if c.Ambiguous() != want {
			t.Errorf("%s.Ambiguous() = %v", c, !want)
		}
	}
}

func TestCodeOfLooksThroughWrapping(t *testing.T) {
	t.Parallel()
	inner := &Error{Code: CannotPlace, Host: "192.0.2.1", Call: "POST matcher/register", Status: 204, Message: "full", Err: context.Canceled}
	err := fmt.Errorf("create: %w", inner)
	if got := CodeOf(err); got != CannotPlace {
		t.Errorf("CodeOf = %s", got)
	}
	if CodeOf(errors.New("another")) != Unknown {
		t.Error("a foreign error must be Unknown")
	}
	if !errors.Is(err, context.Canceled) {
		t.Error("the transport's error is lost")
	}
	for _, part := range []string{"192.0.2.1", "POST matcher/register", "CannotPlace", "204", "full", "context canceled"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestARefusalIsReadByWhatTheHostSaysThenByStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		service service
		status  int
		body    string
		want    Code
	}{
		{matcher, 400, `{"error":"slots"}`, Invalid},
		{matcher, 401, ``, Unauthenticated},
		{matcher, 401, `{"error":"missing_token"}`, Unauthenticated},
		{matcher, 401, `{"error":"invalid_token"}`, Unauthenticated},
		{matcher, 403, ``, Unauthenticated},
		{matcher, 403, `{"error":"license_required"}`, LicenseRequired},
		{matcher, 404, `{"error":"not_found"}`, NotFound},
		{matcher, 404, "404 page not found\n", Unsupported},
		{matcher, 405, ``, Unsupported},
		{matcher, 409, `OK`, WrongState},
		{matcher, 409, `[VolumeAlreadyExported] v1`, InUse},
		{matcher, 409, `{"error":"[VolumeAlreadyExported] v1"}`, InUse},
		{matcher, 413, ``, Invalid},
		{matcher, 422, `{"detail":[]}`, Invalid},
		{matcher, 500, ``, Internal},
		{matcher, 501, ``, Unsupported},
		{matcher, 502, ``, Internal},
		{matcher, 429, `{"error":"slow down"}`, Unavailable},
		{matcher, 503, ``, Unavailable},
		{storage, 504, ``, Unknown},
		{matcher, 507, ``, CannotPlace},
		{matcher, 302, ``, Internal},
		{storage, 409, ``, InUse},
		{storage, 404, `{"error":"[VolumeNotFound] v1"}`, NotFound},
		{storage, 500, `[VolumeNotFound] v1`, NotFound},
		{storage, 500, `[VolumeNotAllocable] v1`, CannotPlace},
		{storage, 500, `[VolumeCannotBeDeleted] v1`, InUse},
		{storage, 500, `[CloudInitMetafilesNumberExceeded]`, InUse},
		{storage, 500, `[SomethingElse] v1`, Internal},
		{storage, 500, `[unclosed`, Internal},
		{network, 409, `{"error":"in_use"}`, InUse},
		{network, 502, `{"error":"range"}`, Invalid},
	} {
		if got, _ := refusal(tc.service, tc.status, []byte(tc.body)); got != tc.want {
			t.Errorf("%s %d %q: %s, want %s", tc.service, tc.status, tc.body, got, tc.want)
		}
	}
}

func TestEveryWordOfAHostHasACode(t *testing.T) {
	t.Parallel()
	for class, code := range classes {
		if got, _ := refusal(storage, http.StatusTeapot, []byte("["+class+"] text")); got != code {
			t.Errorf("%s: %s, want %s", class, got, code)
		}
	}
	for reason, code := range reasons {
		if got, _ := refusal(matcher, http.StatusTeapot, []byte(`{"error":"`+reason+`"}`)); got != code {
			t.Errorf("%s: %s, want %s", reason, got, code)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add(409, []byte(`{"error":"[VolumeAlreadyExported] x"}`))
	f.Add(404, []byte(`[`))
	f.Add(500, []byte("\xff\xfe[]"+strings.Repeat("é", 300)))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, s := range []service{matcher, storage, network} {
			code, message := refusal(s, status, body)
			if _, known := codeNames[code]; !known {
				t.Errorf("a code that does not exist: %s", code)
			}
			if len(message) > 220 || !utf8.ValidString(message) {
				t.Errorf("a message of %d bytes, valid: %v", len(message), utf8.ValidString(message))
			}
		}
	})
}

func TestEveryWordOfAHostIsSpecified(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for class := range classes {
		if !strings.Contains(string(raw), "| `["+class+"] …`") {
			t.Errorf("the class %s is not in the table of errors", class)
		}
	}
	for reason := range reasons {
		if !strings.Contains(string(raw), "`{\"error\":\""+reason+"\"}`") {
			t.Errorf("the word %s is not in the table of errors", reason)
		}
	}
}
