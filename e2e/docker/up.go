package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/capability"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// startTime is how long an engine may take until it answers.
const startTime = time.Minute

// up returns when an engine answers.
func up(ctx context.Context) error {
	if version, err := engine(ctx); err == nil {
		say("Docker Engine %s answers", version)
		return nil
	} else if os.Getenv("DOCKER_HOST") != "" {
		return fmt.Errorf("no Docker Engine answers at DOCKER_HOST=%s; start it, or unset DOCKER_HOST to have one started here: %w", os.Getenv("DOCKER_HOST"), err)
	}
	if os.Geteuid() != 0 {
		return errors.New("no Docker Engine answers, and only root can install and start one: run `sudo make docker`, or start Docker as your system does")
	}
	if err := install(ctx); err != nil {
		return err
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		say("starting docker.service")
		if err := run(ctx, "systemctl", "start", "docker.service"); err != nil {
			return fmt.Errorf("`journalctl -u docker.service` says why: %w", err)
		}
	} else if err := start(ctx); err != nil {
		return err
	}
	version, err := engine(ctx)
	if err != nil {
		return err
	}
	say("Docker Engine %s answers", version)
	return nil
}

// engine is the version of the engine that answers.
func engine(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker version: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// install installs Debian's Docker where there is no engine.
func install(ctx context.Context) error {
	if _, err := exec.LookPath("dockerd"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no dockerd, and no apt-get to install it with: install Docker Engine as your system does")
	}
	say("installing Debian's docker.io and iptables")
	if err := run(ctx, "apt-get", "update", "-q"); err != nil {
		return err
	}
	return run(ctx, "apt-get", "install", "-q", "-y", "--no-install-recommends", "docker.io", "iptables")
}

// run runs a command, whose output the user sees.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

// start starts dockerd as a process of its own session, which outlives this one, and
// waits until it answers.
func start(ctx context.Context) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	args := []string{"--pidfile=" + pidFile}
	constrained, err := lacksSysResource()
	if err != nil {
		return err
	}
	if constrained {
		runtime, err := buildRuntime(ctx)
		if err != nil {
			return err
		}
		say("this machine lacks CAP_SYS_RESOURCE; containers are made by %s", runtime)
		// It may not lower its own score either.
		args = append(args, "--add-runtime=elemento="+runtime, "--default-runtime=elemento", "--oom-score-adjust=0")
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the engine has its own copy

	// No context ends it, and no signal of this terminal.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "dockerd", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = log, log
	say("starting %s (log %s; `make docker-down` ends it)", strings.Join(cmd.Args, " "), logFile)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("dockerd does not answer after %s; see %s", startTime, logFile))
	defer cancel()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("dockerd ended (%w); the end of its log %s:\n%s", err, logFile, tail(logFile))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if _, err := engine(ctx); err == nil {
				return nil
			}
		}
	}
}

// lacksSysResource tells whether containers of this process cannot have CAP_SYS_RESOURCE.
func lacksSysResource() (bool, error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return false, err
	}
	err = own.Load()
	return !own.Get(capability.PERMITTED, capability.CAP_SYS_RESOURCE), err
}

// buildRuntime builds the OCI runtime to a place where it can stay. It is moved there,
// since the one before may be running.
func buildRuntime(ctx context.Context) (string, error) {
	target := filepath.Join(directory, "runtime")
	if err := binaries.Own(ctx, "e2e/docker/runtime", target+".new"); err != nil {
		return "", err
	}
	return target, os.Rename(target+".new", target)
}

// tail is the end of a file.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(content[max(0, len(content)-2000):]))
}
