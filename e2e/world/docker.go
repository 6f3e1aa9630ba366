package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
)

// docker runs a command of Docker's client, which kind uses too, and returns what it
// prints. It outlives no Ctrl-C of the terminal by itself: ctx ends it.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := child.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// engine is what the Docker Engine tells of itself.
type engine struct {
	ServerVersion, CgroupVersion, DefaultRuntime string
}

// askEngine asks the Docker Engine what it is; where none answers, the error says how
// to have one.
func askEngine(ctx context.Context) (engine, error) {
	var e engine
	said, err := docker(ctx, "info", "--format", "{{json .}}")
	if err == nil {
		err = json.Unmarshal([]byte(said), &e)
	}
	if err == nil && e.ServerVersion == "" {
		err = fmt.Errorf("docker info tells of no server")
	}
	if err != nil {
		return e, fmt.Errorf("no Docker Engine answers; `make docker` starts one: %w", err)
	}
	return e, nil
}

// lacksSysResource tells whether containers lack CAP_SYS_RESOURCE: where `make docker`
// has found that, it has given the engine the runtime of e2e/docker/runtime.
func (e engine) lacksSysResource() bool { return e.DefaultRuntime == "elemento" }

// dockerEnvironment is what of our environment says where the Docker Engine is.
func dockerEnvironment() []string {
	var env []string
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
