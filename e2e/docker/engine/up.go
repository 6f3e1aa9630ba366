package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/capability"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/debian"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
)

// startTime is how long an engine may take until it answers.
const startTime = time.Minute

// here is where Docker's client looks for an engine, and an engine listens, by default.
const here = "unix:///var/run/docker.sock"

// up returns when an engine answers.
func up(ctx context.Context) error {
	version, silent := engine(ctx)
	if silent != nil {
		if err := startable(ctx, silent); err != nil {
			return err
		}
		if err := install(ctx); err != nil {
			return err
		}
		if err := launch(ctx); err != nil {
			return err
		}
		var err error
		if version, err = engine(ctx); err != nil {
			return err
		}
	}
	say("Docker Engine %s answers", version)
	return nil
}

// engine is the version of the engine that answers.
func engine(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return docker.Run(ctx, nil, "version", "--format={{.Server.Version}}")
}

// startable says why no engine can be started where, as silent tells, none answers.
func startable(ctx context.Context, silent error) error {
	if host, err := docker.Host(ctx); err == nil && host != here {
		return fmt.Errorf("no Docker Engine answers at %s, which DOCKER_HOST or Docker's current context names; start it, or unset DOCKER_HOST and `docker context use default` to have one started here: %w", host, silent)
	}
	if err := admits(ctx, here); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("a Docker Engine is here, and this user may not speak to it: join the group that may (`sudo usermod -aG docker $USER`, and log in again), or run make by sudo: %w", err)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("no Docker Engine answers, and only root can install and start one: run `sudo make docker`, or start Docker as your system does: %w", silent)
	}
	return nil
}

// admits says why an engine's socket takes no connection.
func admits(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// launch starts the engine that is installed.
func launch(ctx context.Context) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return start(ctx)
	}
	say("starting docker.service")
	if err := run(ctx, "systemctl", "start", "docker.service"); err != nil {
		return fmt.Errorf("`journalctl -u docker.service` says why: %w", err)
	}
	return nil
}

// install installs of Debian's Docker what is not there: the engine, and its client,
// which later Debians have in a package of its own.
func install(ctx context.Context) error {
	for _, part := range []struct {
		program  string
		packages []string
	}{
		{"dockerd", []string{"docker.io", "iptables"}},
		{"docker", []string{"docker-cli"}},
	} {
		if err := debian.Install(ctx, os.Stdout, part.program, part.packages...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command, whose output the user sees.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
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
	if err := binaries.Own(ctx, "e2e/docker/runtime", target+".new", binaries.Way{Packed: true}); err != nil {
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
