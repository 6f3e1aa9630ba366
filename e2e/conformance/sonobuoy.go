package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
)

// settings of sonobuoy's own. Its workers are told where the aggregator is by name: by
// address they refuse it where they are built with a Go of today, which does not take an
// IPv4 address in brackets for one.
const settings = `{"Server": {"advertiseaddress": "sonobuoy-aggregator:8080"}}`

// patience is how long one call of sonobuoy may take, and how much longer than its tests
// may take a run may.
const patience = 10 * time.Minute

// sonobuoy runs tests on a cluster.
type sonobuoy struct {
	// program is its command line, kubeconfig how it reaches the cluster.
	program, kubeconfig string
	// dir is where it may leave files.
	dir string
	// said is written what it says.
	said io.Writer
}

// run runs the tests that match focus and, of these, not skip; so many at a time as
// procs, but for those that must be alone. Those that have not ended after the deadline are
// broken off, and have failed. It returns the path of the archive that sonobuoy makes.
// Progress is told how far it has come.
func (s sonobuoy) run(ctx context.Context, focus, skip string, procs int, deadline time.Duration, progress func(string)) (string, error) {
	config := filepath.Join(s.dir, "sonobuoy.json")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		return "", err
	}
	// What an earlier run has left would be in the way.
	if err := s.remove(ctx); err != nil {
		return "", err
	}
	if _, err := s.call(ctx, "run", "--config", config, "--plugin", "e2e", "--e2e-focus", focus, "--e2e-skip", skip,
		"--image-pull-policy", "IfNotPresent", "--timeout", fmt.Sprint(int((deadline + patience).Seconds())),
		"--plugin-env", fmt.Sprintf("e2e.E2E_EXTRA_GINKGO_ARGS=--procs=%d --timeout=%s", procs, deadline)); err != nil {
		return "", err
	}
	within, cancel := context.WithTimeoutCause(ctx, deadline+patience, fmt.Errorf("it has not ended %s after its start", deadline+patience))
	defer cancel()
	if err := s.wait(within, progress); err != nil {
		return "", errors.Join(err, s.remove(ctx))
	}
	archive, err := s.retrieve(ctx)
	return archive, errors.Join(err, s.remove(ctx))
}

// status is what sonobuoy tells of a run. How many tests have ended it tells of one of
// several processes only.
type status struct {
	Status  string
	Tarball struct{ Name string } `json:"tar-info"`
}

// wait waits until a run has come to its end.
func (s sonobuoy) wait(ctx context.Context, progress func(string)) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	var last status
	var lastErr error
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("sonobuoy's run is %q: %w", last.Status, context.Cause(ctx)), lastErr)
		}
		// The API may be busy, and is asked again.
		out, err := s.call(ctx, "status", "--json")
		if lastErr = err; err != nil {
			continue
		}
		var now status
		if err := json.Unmarshal(out, &now); err != nil {
			// As long as the aggregator does not run it says so in a sentence.
			lastErr = fmt.Errorf("sonobuoy's status is %q: %w", out, err)
			continue
		}
		if now.Status != last.Status {
			progress(now.Status)
		}
		last = now
		switch {
		case now.Status == "failed":
			return errors.New("sonobuoy's run has failed before it had results; its log says why")
		case now.Status == "complete" && now.Tarball.Name != "":
			return nil
		}
	}
}

// retrieve fetches the archive of a run that has ended.
func (s sonobuoy) retrieve(ctx context.Context) (string, error) {
	out, err := s.call(ctx, "retrieve", s.dir)
	if err != nil {
		return "", err
	}
	if file := strings.TrimSpace(string(out)); strings.HasSuffix(file, ".tar.gz") {
		return file, nil
	}
	return "", fmt.Errorf("sonobuoy retrieves %q, which is no archive", out)
}

// remove removes what a run has on the cluster, with the namespaces that tests have left.
func (s sonobuoy) remove(ctx context.Context) error {
	_, err := s.call(ctx, "delete", "--all", "--wait")
	return err
}

// call calls sonobuoy and returns what it prints.
func (s sonobuoy) call(ctx context.Context, command string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it has not ended after %s", patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, append([]string{command, "--kubeconfig", s.kubeconfig}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, s.said), io.MultiWriter(&stderr, s.said)
	err := child.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("sonobuoy %s: %w: %s", command, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
