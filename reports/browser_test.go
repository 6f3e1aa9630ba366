package reports

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browser is a Chromium without a window, or skips the test where there is none.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no Chromium is installed")
	return ""
}

// opened has the browser open a page, do what the flags say, and end; it returns what
// the browser logged.
func opened(t *testing.T, page string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log bytes.Buffer
	args := append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
		"--enable-logging=stderr", "--v=0", "--timeout=10000",
	}, flags...)
	cmd := exec.CommandContext(ctx, browser(t), append(args, "file://"+page)...)
	cmd.Stderr = &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("the browser: %v\n%s", errors.Join(err, ctx.Err()), log.String())
	}
	return log.String()
}

// With -artifacts the pictures and the paper are kept, to be looked at.
func TestABrowserShowsASignOffWithoutAComplaint(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	browser(t)
	dir := t.ArtifactDir()
	path, err := WriteSignOff(dir, aSignOff(t))
	if err != nil {
		t.Fatal(err)
	}
	page, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"screen.png": {"--window-size=1280,9000", "--screenshot=" + filepath.Join(filepath.Dir(page), "screen.png")},
		"narrow.png": {"--window-size=500,9000", "--screenshot=" + filepath.Join(filepath.Dir(page), "narrow.png")},
		"dark.png":   {"--window-size=1280,9000", "--blink-settings=preferredColorScheme=0", "--screenshot=" + filepath.Join(filepath.Dir(page), "dark.png")},
		"paper.pdf":  {"--no-pdf-header-footer", "--print-to-pdf=" + filepath.Join(filepath.Dir(page), "paper.pdf")},
	} {
		log := opened(t, page, flags...)
		for line := range strings.Lines(log) {
			if strings.Contains(line, ":CONSOLE") {
				t.Errorf("%s: the browser's console: %s", name, line)
			}
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 10_000 {
			t.Errorf("%s was not drawn: %v", name, err)
		}
	}
}
