package docker_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
)

// needsClient skips a test where there is no docker command; an engine it needs not.
func needsClient(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("this test needs the docker command (make docker): ", err)
	}
}

func TestProcessesAreToldOfTheEngineThatTheClientSpeaksTo(t *testing.T) {
	needsClient(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // of a user who has nothing yet
	without := func(name string) {
		t.Helper()
		t.Setenv(name, "") // which is restored in the end
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	tells := func(want string) {
		t.Helper()
		env, err := docker.Environment(t.Context())
		if err != nil || !slices.Equal(env, []string{"DOCKER_HOST=" + want}) {
			t.Errorf("they are told %q (%v), not %s", env, err, want)
		}
	}
	run := func(args ...string) {
		t.Helper()
		if _, err := docker.Run(t.Context(), nil, args...); err != nil {
			t.Fatal(err)
		}
	}
	without("DOCKER_HOST")
	without("DOCKER_CONTEXT")
	without("DOCKER_CERT_PATH")
	without("DOCKER_TLS_VERIFY")
	tells("unix:///var/run/docker.sock")
	run("context", "create", "current", "--docker=host=tcp://192.0.2.1:2375")
	run("context", "create", "other", "--docker=host=unix:///run/other.sock")
	run("context", "use", "current")
	tells("tcp://192.0.2.1:2375")
	t.Setenv("DOCKER_CONTEXT", "other")
	tells("unix:///run/other.sock")
	without("DOCKER_CONTEXT")
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.2:2375")
	tells("tcp://192.0.2.2:2375")
}

// client puts a client of Docker's before all others that does what a script says.
func client(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// endless writes until nobody reads any more.
func endless(w io.Writer) error {
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
}

func TestACommandIsFedWithWhatIsWritten(t *testing.T) {
	fed := filepath.Join(t.TempDir(), "fed")
	client(t, "cat > "+fed)
	if err := docker.Feed(t.Context(), func(w io.Writer) error { _, err := io.WriteString(w, "an image"); return err }, "load"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(fed); string(got) != "an image" {
		t.Errorf("it was fed with %q (%v)", got, err)
	}
}

func TestACommandThatEndsEarlyEndsWhatFeedsIt(t *testing.T) {
	client(t, "echo no space left >&2; exit 1")
	if err := docker.Feed(t.Context(), endless, "load"); err == nil || !strings.Contains(err.Error(), "no space left") || errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("one that fails tells %v", err)
	}
	client(t, "exit 0")
	if err := docker.Feed(t.Context(), endless, "load"); err != nil {
		t.Errorf("one that has had enough tells %v", err)
	}
}

func TestWhatCannotBeWrittenIsToldOnce(t *testing.T) {
	client(t, "cat >/dev/null")
	unwritten := errors.New("there is no such layer")
	err := docker.Feed(t.Context(), func(io.Writer) error { return unwritten }, "load")
	if !errors.Is(err, unwritten) || strings.Count(err.Error(), unwritten.Error()) != 1 {
		t.Errorf("it tells %v", err)
	}
}

func TestAFailureTellsTheCommandAndWhatItSaid(t *testing.T) {
	needsClient(t)
	t.Parallel()
	_, err := docker.Run(t.Context(), nil, "context", "inspect", "no-such-context")
	for _, want := range []string{"docker context inspect no-such-context: exit status", "not found"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it does not tell %q: %v", want, err)
		}
	}
}
