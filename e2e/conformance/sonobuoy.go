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

// lastWords is how long it may take to fetch what a run has left that came to no end.
const lastWords = 2 * time.Minute

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
// broken off, and have failed. It returns the path of the archive that sonobuoy makes,
// where there is one with an error too. Progress is told how far it has come.
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
		archive := s.keep(ctx)
		return archive, errors.Join(err, s.remove(ctx))
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
		now, err := s.status(ctx)
		// The API may be busy, and is asked again.
		if lastErr = err; err == nil {
			if now.Status != last.Status {
				progress(now.Status)
			}
			last = now
			switch {
			case now.Status == "failed":
				return fmt.Errorf("sonobuoy's run has failed before it had results; %s says why", logFile)
			case now.Status == "complete" && now.Tarball.Name != "":
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("sonobuoy's run is %q: %w", last.Status, context.Cause(ctx)), lastErr)
		}
	}
}

// status asks how far a run has come. As long as the aggregator does not run sonobuoy says
// so in a sentence, which is an error.
func (s sonobuoy) status(ctx context.Context) (now status, err error) {
	out, err := s.call(ctx, "status", "--json")
	if err != nil {
		return now, err
	}
	if err := json.Unmarshal(out, &now); err != nil {
		return now, fmt.Errorf("sonobuoy's status is %q: %w", out, err)
	}
	return now, nil
}

// logFile is where, in the directory of a run that came to no end, is kept what its pods
// have said.
const logFile = "sonobuoy.log"

// keep fetches what there is of a run that came to no end, before it is removed: what its
// pods have said, and the archive, whose path it returns if there is one. What cannot be
// fetched is told where sonobuoy says it.
func (s sonobuoy) keep(ctx context.Context) (archive string) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), lastWords, fmt.Errorf("it has not ended after %s", lastWords))
	defer cancel()
	out, err := s.call(ctx, "logs")
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, logFile), out, 0o644)
	}
	archive, retrieveErr := s.retrieve(ctx)
	if err = errors.Join(err, retrieveErr); err != nil {
		fmt.Fprintf(s.said, "keeping what is left of the run: %v\n", err)
	}
	return archive
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
