package world

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestALineOfAPodsLogIsCopiedOnceHoweverStreamsEnd(t *testing.T) {
	t.Parallel()
	broken := errors.New("the API server is away")
	var l podLog
	var copied strings.Builder
	read := func(stream io.Reader, want error) {
		t.Helper()
		if err := l.copy(&copied, stream); !errors.Is(err, want) {
			t.Errorf("a stream ends with %v, not %v", err, want)
		}
	}
	if l.options().SinceTime != nil {
		t.Error("the first stream does not begin with the first line")
	}
	read(io.MultiReader(strings.NewReader("2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n2026-01-01T00:00:01.2Z three\n2026-01-01T00:00:01.3Z fo"), iotest.ErrReader(broken)), broken)
	if since := l.options().SinceTime; since == nil || since.After(time.Date(2026, 1, 1, 0, 0, 1, 200_000_000, time.UTC)) {
		t.Errorf("the next stream begins at %s", since)
	}
	// Whole seconds are asked for, so it begins with what was told.
	read(strings.NewReader("2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n2026-01-01T00:00:01.2Z three\n2026-01-01T00:00:01.2Z at the same time\n2026-01-01T00:00:01.3Z four  \nthe kubelet has no more of it\n"), nil)
	read(strings.NewReader("2026-01-01T00:00:01.3Z four  \n2026-01-01T00:00:02.000000001Z \n2026-01-01T00:00:09Z a last one, which does not end"), nil)
	want := "one\ntwo\nthree\nat the same time\nfour  \nthe kubelet has no more of it\n\na last one, which does not end\n"
	if copied.String() != want {
		t.Errorf("copied is\n%s\nwant\n%s", copied.String(), want)
	}
}
