package node

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// script is one of the image's scripts, as a file of this machine that finds below dir
// what the image has at its root.
func script(t *testing.T, dir, name string, places ...string) string {
	t.Helper()
	content, err := settings.ReadFile("files/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range places {
		content = bytes.ReplaceAll(content, []byte(place), []byte(filepath.Join(dir, place)))
	}
	return write(t, filepath.Join(dir, "script"), string(content), 0o755)
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// No process may be forked meanwhile: it would hold the file open for writing, and
	// what is held so cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestKubeadmIsToldWhatAContainerCannotHave(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kubeadm := script(t, dir, "usr/local/bin/kubeadm", "/usr/bin/kubeadm")
	write(t, filepath.Join(dir, "usr/bin/kubeadm"), "#!/bin/sh\necho \"$@\"\n", 0o755)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), kubeadm, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubeadm %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}

	plain := "kind: ClusterConfiguration\n"
	config := write(t, filepath.Join(dir, "kubeadm.yaml"), plain, 0o600)
	for _, args := range [][]string{{"init", "--config", config, "--v=5"}, {"init", "--config=" + config}} {
		write(t, config, plain, 0o600)
		if got, want := run(args...), strings.Join(args, " ")+" --ignore-preflight-errors=SystemVerification"; got != want {
			t.Errorf("kubeadm is called with %q, not %q", got, want)
		}
		if got := read(t, config); !strings.HasPrefix(got, plain) || !strings.Contains(got, "maxPerCore: 0") {
			t.Errorf("its configuration is now %q", got)
		}
	}

	own := "kind: ClusterConfiguration\n---\nkind: KubeProxyConfiguration\n"
	write(t, config, own, 0o600)
	run("init", "--config", config)
	if got := read(t, config); got != own {
		t.Errorf("what the user says of kube-proxy became %q", got)
	}
	if got := run("join", "--config", config); got != "join --config "+config+" --ignore-preflight-errors=SystemVerification" || read(t, config) != own {
		t.Errorf("a node joins with %q and %q", got, read(t, config))
	}
	for _, args := range [][]string{{"version"}, {}, {"config", "images", "list"}} {
		if got := run(args...); got != strings.Join(args, " ") {
			t.Errorf("kubeadm %v is called with %q", args, got)
		}
	}
}

func TestANodeIsFittedToItsMachine(t *testing.T) {
	t.Parallel()
	const (
		unified = "/sys/fs/cgroup/cgroup.controllers"
		status  = "/proc/self/status"
		config  = "/etc/containerd/config.toml"
		kubelet = "/etc/kubernetes/kubelet.conf.d"
	)
	for name, c := range map[string]struct {
		unified      bool
		capabilities string
		files        []string
		systemd      string
	}{
		"with cgroup v2 and all capabilities": {true, "000001ffffffffff", nil, "true"},
		"with cgroup v1":                      {false, "000001ffffffffff", []string{"20-cgroup-v1.conf"}, "false"},
		"without CAP_SYS_RESOURCE":            {true, "000001fffeffffff", []string{"20-capabilities.conf"}, "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fit := script(t, dir, "usr/local/libexec/fit-machine", unified, status, config, kubelet)
			write(t, filepath.Join(dir, status), "CapEff:\t0000000000000000\nCapBnd:\t"+c.capabilities+"\n", 0o600)
			write(t, filepath.Join(dir, config), "SystemdCgroup = true\n", 0o600)
			if err := os.MkdirAll(filepath.Join(dir, kubelet), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.unified {
				write(t, filepath.Join(dir, unified), "cpu memory\n", 0o600)
			}
			for range 2 { // a machine starts more than once
				if out, err := exec.CommandContext(t.Context(), fit).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				var files []string
				entries, err := os.ReadDir(filepath.Join(dir, kubelet))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					files = append(files, e.Name())
				}
				if strings.Join(files, " ") != strings.Join(c.files, " ") {
					t.Errorf("kubelet's files are %v, not %v", files, c.files)
				}
				if got := read(t, filepath.Join(dir, config)); got != "SystemdCgroup = "+c.systemd+"\n" {
					t.Errorf("containerd is told %q", got)
				}
			}
		})
	}
}

func TestFlannelsPluginHasTheBridgePluginDoTheWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("the plugin is a script that uses jq, which is not installed here; nodes have it")
	}
	dir := t.TempDir()
	plugin := script(t, dir, "opt/cni/bin/flannel", "/opt/cni/bin/bridge", "/run/flannel/subnet.env", "/var/lib/cni/flannel")
	told := filepath.Join(dir, "told")
	write(t, filepath.Join(dir, "opt/cni/bin/bridge"), "#!/bin/sh\n{ echo $CNI_COMMAND; cat; } >"+told+"\necho the result\n", 0o755)
	run := func(command, stdin string) (string, error) {
		cmd := exec.CommandContext(t.Context(), plugin)
		cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID=pod")
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		return string(out), err
	}
	const conf = `{"cniVersion":"1.0.0","name":"flannel","type":"flannel","delegate":{"bridge":"cni0","isDefaultGateway":true}}`

	if out, err := run("DEL", conf); err != nil || out != "" {
		t.Errorf("removing a pod that was never added: %q, %v", out, err)
	}
	if _, err := run("ADD", conf); err == nil {
		t.Error("a pod is added before flanneld has a subnet")
	}
	write(t, filepath.Join(dir, "run/flannel/subnet.env"), "FLANNEL_NETWORK=192.168.0.0/16\nFLANNEL_SUBNET=192.168.3.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n", 0o600)
	for _, command := range []string{"ADD", "CHECK", "DEL"} {
		if out, err := run(command, conf); err != nil || (command == "ADD" && out != "the result\n") {
			t.Errorf("%s: %q, %v", command, out, err)
		}
		is, document, _ := strings.Cut(read(t, told), "\n")
		var got, want any
		if err := json.Unmarshal([]byte(document), &got); err != nil {
			t.Fatalf("%s: %v: %s", command, err, document)
		}
		if err := json.Unmarshal([]byte(`{"cniVersion":"1.0.0","name":"flannel","type":"bridge","bridge":"cni0","isGateway":true,"isDefaultGateway":true,
			"ipMasq":false,"mtu":1500,"ipam":{"type":"host-local","ranges":[[{"subnet":"192.168.3.0/24"}]],"routes":[{"dst":"192.168.0.0/16"}]}}`), &want); err != nil {
			t.Fatal(err)
		}
		if a, b := asJSON(got), asJSON(want); is != command || a != b {
			t.Errorf("bridge is told to %s\n%s\nand not to %s\n%s", is, a, command, b)
		}
		// The node may have been started anew meanwhile.
		_ = os.Remove(filepath.Join(dir, "run/flannel/subnet.env"))
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "var/lib/cni/flannel/*")); len(kept) > 0 {
		t.Errorf("of a pod that was removed is kept %v", kept)
	}
	if out, err := run("VERSION", `{"cniVersion":"1.0.0"}`); err != nil || out != "the result\n" {
		t.Errorf("VERSION: %q, %v", out, err)
	}
}

func asJSON(v any) string {
	content, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
