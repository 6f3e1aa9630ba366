package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// engineOrSkip skips a test where no Docker Engine answers.
func engineOrSkip(t *testing.T) {
	t.Helper()
	if _, err := docker.Ask(t.Context()); err != nil {
		t.Skipf("this test needs Docker: %v", err)
	}
}

// importFile makes an image of one file.
func importFile(t *testing.T, name, content string) {
	t.Helper()
	var layer bytes.Buffer
	if err := image.Archive(&layer, image.File{Path: "file", Mode: 0o644, Content: []byte(content)}); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Run(t.Context(), &layer, "import", "-", name); err != nil {
		t.Fatal(err)
	}
}

func TestStagesOfNoNodeAreRemoved(t *testing.T) {
	engineOrSkip(t)
	t.Parallel()
	repository := fmt.Sprintf("elemento.cloud/test-node-%d", os.Getpid())
	label := fmt.Sprintf("cloud.elemento.test=%d", os.Getpid())
	there := func() string {
		t.Helper()
		found, err := docker.Run(context.Background(), nil, "image", "ls", "--filter=reference="+repository, "--filter=reference="+repository+"-*", "--format={{.Repository}}:{{.Tag}}")
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(found, repository, "")
	}
	t.Cleanup(func() {
		for name := range strings.FieldsSeq(there()) {
			if _, err := docker.Run(context.Background(), nil, "image", "rm", repository+name); err != nil {
				t.Error(err)
			}
		}
		// And that which was replaced.
		if _, err := docker.Run(context.Background(), nil, "image", "prune", "--force", "--filter=label="+label); err != nil {
			t.Error(err)
		}
	})
	build := func(from string) {
		t.Helper()
		if _, err := docker.Run(t.Context(), strings.NewReader("FROM "+repository+from+"\nLABEL "+label+"\n"), "build", "--tag="+repository+":v1", "-"); err != nil {
			t.Fatal(err)
		}
	}
	importFile(t, repository+"-stage:old", "old")
	build("-stage:old")
	importFile(t, repository+"-stage:new", "new")
	var said strings.Builder
	if err := prune(t.Context(), repository, &said); err != nil {
		t.Fatal(err)
	}
	if got, want := there(), "-stage:new"; strings.Contains(got, want) || !strings.Contains(got, "-stage:old") || !strings.Contains(got, ":v1") {
		t.Errorf("of a stage that no node stands on, %s, is left %q", want, got)
	}
	importFile(t, repository+"-stage:new", "new")
	build("-stage:new")
	if err := prune(t.Context(), repository, &said); err != nil {
		t.Fatal(err)
	}
	if got := there(); strings.Contains(got, ":old") || !strings.Contains(got, ":new") {
		t.Errorf("after a node was made anew there is %q", got)
	}
	if said.Len() > 0 {
		t.Errorf("it says %q", said.String())
	}
}

func TestNoContainerIsLeftOfABuildThatIsInterrupted(t *testing.T) {
	engineOrSkip(t)
	t.Parallel()
	name, making := fmt.Sprintf("elemento.cloud/test-making:%d", os.Getpid()), fmt.Sprintf("elemento-test-making-%d", os.Getpid())
	importFile(t, name, "") // in which nothing can run
	t.Cleanup(func() {
		if _, err := docker.Run(context.Background(), nil, "image", "rm", name); err != nil {
			t.Error(err)
		}
	})
	left := func() string {
		t.Helper()
		found, err := docker.Run(context.Background(), nil, "ps", "--all", "--filter=name=^"+making+"$", "--format={{.Names}}")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	unchanged := func(container) error { return nil }
	// What a build that was killed has left.
	if _, err := docker.Run(t.Context(), nil, "create", "--name="+making, name, "none"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := inContainerNamed(ctx, making, name, "elemento.cloud/never:made", unchanged); err == nil {
		t.Error("a container without a program was started")
	}
	if left := left(); left != "" {
		t.Errorf("there is still %s", left)
	}
}
