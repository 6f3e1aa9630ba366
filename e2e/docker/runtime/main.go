package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "elemento runtime:", err)
		os.Exit(1)
	}
}

// run becomes runc, and so returns only when it cannot.
func run(args []string) error {
	if path, process := toldBy(args); path != "" {
		m, err := thisMachine()
		if err != nil {
			return fmt.Errorf("finding out what this machine can give: %w", err)
		}
		if err := m.editFile(path, process); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("runc makes the containers, install it: %w", err)
	}
	return syscall.Exec(runc, slices.Concat([]string{"runc"}, args), os.Environ())
}

// toldBy is the file that tells runc what to make, where its arguments have it make
// something: the configuration of a container, or that of one more process in it.
func toldBy(args []string) (path string, process bool) {
	switch command, rest := subcommand(args); command {
	case "create", "run":
		return filepath.Join(flagValue(rest, "bundle"), "config.json"), false
	case "exec":
		// Without the flag there is a command line in its place, which asks for
		// no capability of its own.
		return flagValue(rest, "process"), true
	}
	return "", false
}

// subcommand is the command of runc that its arguments name, and what follows it.
func subcommand(args []string) (string, []string) {
	// runc's global flags that have a value.
	valued := []string{"log", "log-format", "root", "criu", "rootless"}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "-")
		if !isFlag {
			return args[i], args[i+1:]
		}
		if slices.Contains(valued, strings.TrimPrefix(name, "-")) {
			i++
		}
	}
	return "", nil
}

// flagValue is the value of a flag, written as --name value or --name=value.
func flagValue(args []string, name string) string {
	for i, arg := range args {
		if arg == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}
