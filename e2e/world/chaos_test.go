package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// healthOf is the state in which a daemon sees a host.
func healthOf(t *testing.T, ctx context.Context, w *World, daemon, host string) string {
	t.Helper()
	families, err := w.Metrics(ctx, daemon)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["elemento_daemon_host_health"].GetMetric() {
		labels := map[string]string{}
		for _, label := range m.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["host"] == host && m.GetGauge().GetValue() == 1 {
			return labels["state"]
		}
	}
	return "unknown"
}

func seeHealth(t *testing.T, ctx context.Context, w *World, daemon, host, want string) {
	t.Helper()
	see(t, ctx, daemon+" finding "+host+" "+want, func(ctx context.Context) (bool, error) {
		return healthOf(t, ctx, w, daemon, host) == want, nil
	})
}

// revive has a process back and waits until it is of use.
func revive(t *testing.T, ctx context.Context, w *World, name string) {
	t.Helper()
	if err := w.Revive(ctx, name); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, w *World, name string) {
	t.Helper()
	if err := w.Process(name).Kill(); err != nil {
		t.Fatal(err)
	}
}

// told are the words of the events of a kind and name in our part of the history.
func told(t *testing.T, dir string, kind history.Kind, name string) []string {
	t.Helper()
	var words []string
	if _, err := history.Read(filepath.Join(dir, "harness.jsonl"), 0, func(e history.Event) error {
		if e.Kind == kind && e.Name == name {
			words = append(words, e.Event)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return words
}

// applyCluster makes a cluster of one control plane from the shipped template.
func applyCluster(t *testing.T, w *World, config, name string) {
	t.Helper()
	manifest := clusterctl(t, w, config, w.TemplateVariables(),
		"generate", "cluster", name, "--infrastructure", "elemento:"+ReleaseVersion, "--target-namespace", "default",
		"--kubernetes-version", KubernetesVersion, "--control-plane-machine-count", "1", "--worker-machine-count", "0")
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, w, "apply", "-f", file)
}

// machines are the VMs and what the plane knows of them.
func machines(t *testing.T, w *World) string {
	t.Helper()
	return kubectl(t, w, "get", "elementomachines", "-o",
		`jsonpath={range .items[*]}{.spec.vmName} {.spec.providerID} {.spec.host}{"\n"}{end}`)
}

func TestAWorldOfOursIsBrokenAndMended(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dir := filepath.Join(t.TempDir(), "history")
	w := up(t, Options{
		History: dir, Respawn: true, QuickReconciles: true,
		Elemento: &Elemento{
			AtomOS:   AtomOS{Hosts: 2, StateDir: t.TempDir()},
			Managers: 2, Proxied: true,
			ManagerArgs: []string{"--leader-elect-lease-duration=4s", "--leader-elect-renew-deadline=3s", "--leader-elect-retry-period=1s"},
		},
	})
	config, err := Release(ctx, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	applyCluster(t, w, config, "moves")
	daemon, host := DaemonProcess(1), w.Hosts()[1].ID
	reached := func(ctx context.Context) error { return w.daemonServes(ctx, w.daemons[0].managersEndpoint) }
	seeHealth(t, ctx, w, daemon, host, "ready")

	t.Run("what processes hold is counted", func(t *testing.T) {
		for _, name := range []string{ManagerProcess(1), ManagerProcess(2), DaemonProcess(2), FakeProcess, KubeAPIServer, Etcd} {
			r, err := w.Resources(ctx, name)
			if err != nil {
				t.Error(err)
				continue
			}
			ours := w.metricsURL(name) != ""
			if r.OpenFiles == 0 || r.Threads == 0 || r.ResidentMemory == 0 || (r.Goroutines > 0) != ours || (r.HeapInUse > 0) != ours {
				t.Errorf("%s: %+v", name, r)
			}
			if name == DaemonProcess(2) && !slices.Contains(r.Listening, w.Endpoints()[1]) {
				t.Errorf("daemon-2 does not listen on %s but on %v", w.Endpoints()[1], r.Listening)
			}
		}
	})
	t.Run("managers are cut off from one daemon", func(t *testing.T) {
		for _, how := range []Cut{Refuse, Drop} {
			heal, err := w.Partition(ElementoProvider, daemon, how)
			if err != nil {
				t.Fatal(err)
			}
			if err := reached(ctx); err == nil {
				t.Errorf("%s: the daemon is reached", how)
			}
			if err := w.daemonServes(ctx, w.daemons[1].managersEndpoint); err != nil {
				t.Errorf("%s: the other daemon: %v", how, err)
			}
			heal()
			see(t, ctx, "the daemon again", func(ctx context.Context) (bool, error) { return reached(ctx) == nil, nil })
		}
		if _, err := w.Partition(ElementoProvider, host, Drop); err == nil {
			t.Error("a way that is none was cut")
		}
	})
	t.Run("one daemon is cut off from one host", func(t *testing.T) {
		heal, err := w.Partition(host, daemon, Refuse)
		if err != nil {
			t.Fatal(err)
		}
		seeHealth(t, ctx, w, daemon, host, "unreachable")
		if got := healthOf(t, ctx, w, daemon, w.Hosts()[0].ID); got != "ready" {
			t.Errorf("the daemon finds the other host %s", got)
		}
		if got := healthOf(t, ctx, w, DaemonProcess(2), host); got == "unreachable" {
			t.Error("the other daemon does not reach the host either")
		}
		heal()
		seeHealth(t, ctx, w, daemon, host, "ready")
	})
	t.Run("a daemon stands still and goes on, is killed and comes back", func(t *testing.T) {
		if err := w.Process(daemon).Pause(); err != nil {
			t.Fatal(err)
		}
		if err := reached(ctx); err == nil {
			t.Error("a daemon that stands still answers")
		}
		if err := w.Process(daemon).Resume(); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "the daemon again", func(ctx context.Context) (bool, error) { return reached(ctx) == nil, nil })
		kill(t, w, daemon)
		revive(t, ctx, w, daemon)
		if err := reached(ctx); err != nil {
			t.Error(err)
		}
		want := []string{"started", "paused", "resumed", "killed", "started"}
		if got := told(t, dir, history.Process, daemon); !slices.Equal(got, want) {
			t.Errorf("the history tells %v of the daemon, want %v", got, want)
		}
	})
	t.Run("a daemon's certificate ends and is renewed", func(t *testing.T) {
		if err := w.RotateDaemon(1, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := reached(ctx); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("a daemon whose certificate has ended: %v", err)
		}
		if err := w.RotateDaemon(1, time.Time{}); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "the daemon again", func(ctx context.Context) (bool, error) { return reached(ctx) == nil, nil })
	})
	t.Run("the managers' certificate is changed", func(t *testing.T) {
		before := w.IdentitySecret(identityNamespace, identityName)
		if err := w.RotateManager(ctx, time.Time{}); err != nil {
			t.Fatal(err)
		}
		now := &corev1.Secret{}
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(before), now); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(now.Data[corev1.TLSCertKey], before.Data[corev1.TLSCertKey]) {
			t.Error("it is the same")
		}
	})
	t.Run("the leading manager is killed and another one takes over", func(t *testing.T) {
		leader := seeLeader(t, ctx, w, "")
		kill(t, w, leader)
		seeLeader(t, ctx, w, leader)
		// Either of them answers webhooks.
		kubectl(t, w, "annotate", "elementoclusters", "--all", "--overwrite", "seen=once")
		revive(t, ctx, w, leader)
	})
	t.Run("the fake comes back with its hosts", func(t *testing.T) {
		kill(t, w, FakeProcess)
		revive(t, ctx, w, FakeProcess)
		for _, h := range w.Hosts() {
			config, err := h.C4()
			if err != nil {
				t.Fatal(err)
			}
			c, err := c4.New(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Ping(ctx); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	})
	t.Run("etcd and the API server go, and their clients outlive it", func(t *testing.T) {
		kill(t, w, KubeAPIServer)
		kill(t, w, Etcd)
		see(t, ctx, "the end of a leader that has lost its lease", func(context.Context) (bool, error) { return len(w.Ends()) > 0, nil })
		revive(t, ctx, w, Etcd)
		revive(t, ctx, w, KubeAPIServer)
		seeLeader(t, ctx, w, "")
		for _, end := range w.Ends() {
			var exit *ExitError
			if errors.As(end, &exit) && !strings.HasPrefix(exit.Name, ElementoProvider) {
				t.Errorf("one ended that has no lease to lose: %v", end)
			}
		}
		for n := 1; n <= 2; n++ {
			revive(t, ctx, w, ManagerProcess(n))
		}
	})

	var twin *World
	t.Run("a cluster moves to a plane beside it", func(t *testing.T) {
		twin, err = w.Twin(ctx, Options{Dir: t.TempDir(), Progress: t.Output(), QuickReconciles: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(twin.Err(), twin.Down(context.WithoutCancel(ctx))); err != nil {
				t.Error(err)
			}
		})
		kubectl(t, w, "wait", "cluster/moves", "--for=condition=ControlPlaneInitialized", "--timeout=3m")
		kubectl(t, w, "wait", "machines", "--all", "--for=condition=Ready", "--timeout=3m")
		before := machines(t, w)
		clusterctl(t, w, config, nil, "move", "--to-kubeconfig", twin.AdminKubeconfig())
		if after := machines(t, twin); after != before || before == "" {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if left := machines(t, w); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
		kubectl(t, twin, "wait", "elementomachines", "--all", "--for=condition=Ready", "--timeout=3m")
		kubectl(t, twin, "delete", "cluster", "moves", "--timeout=3m")
		inventory, err := twin.Fake().Inventory(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if left := inventory.Resources(); len(left) > 0 {
			t.Errorf("left on AtomOS: %v", left)
		}
	})
	t.Run("all has been told", func(t *testing.T) {
		name := "partition of " + ElementoProvider + " and " + daemon
		if got, want := told(t, dir, history.Fault, name), []string{"added", "removed", "added", "removed"}; !slices.Equal(got, want) {
			t.Errorf("of the %s: %v, want %v", name, got, want)
		}
		if n, err := history.Read(filepath.Join(dir, "atomos.jsonl"), 0, func(history.Event) error { return nil }); err != nil || n == 0 {
			t.Errorf("the fake's part has %d bytes: %v", n, err)
		}
		for _, file := range []string{"manager.log", "manager-2.log", "daemon-1.log", "daemon-2.log"} {
			content, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Error(err)
				continue
			}
			for line := range bytes.Lines(content) {
				// What a program says on its way out is said to a person.
				if !json.Valid(line) && !bytes.HasPrefix(line, []byte("manager: ")) {
					t.Errorf("%s: not JSON: %s", file, line)
				}
			}
		}
	})
}

// seeLeader waits for one of our managers to lead that is not a certain one.
func seeLeader(t *testing.T, ctx context.Context, w *World, other string) string {
	t.Helper()
	var leader string
	see(t, ctx, "a leader", func(ctx context.Context) (bool, error) {
		var err error
		leader, err = w.Leader(ctx)
		return err == nil && leader != "" && leader != other, nil
	})
	return leader
}

func TestAnEndIsFollowedByAnotherStartWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := siteOf(t, Options{Respawn: true, History: dir})
	once := filepath.Join(t.TempDir(), "once")
	p, err := s.processes.start(Command{
		Name: "frail", Path: "/bin/sh", Args: []string{"-c", `[ -e "$0" ] && exec sleep 60; touch "$0"; exit 3`, once}, Log: s.log("frail"),
	})
	if err != nil {
		t.Fatal(err)
	}
	see(t, testContext(t), "the second start", func(context.Context) (bool, error) { return s.processes.find("frail") != p, nil })
	if ends := s.processes.respawned(); len(ends) != 1 || s.processes.err() != nil {
		t.Errorf("told ends: %v; failure: %v", ends, s.processes.err())
	}
	if got, want := told(t, dir, history.Process, "frail"), []string{"started", "ended", "started"}; !slices.Equal(got, want) {
		t.Errorf("the history tells %v, want %v", got, want)
	}
}

func TestAProcessIsReplacedByAnotherCommandOnceItHasEnded(t *testing.T) {
	t.Parallel()
	s := siteOf(t, Options{})
	first := Command{Name: "varied", Path: "/bin/sleep", Args: []string{"60"}, Log: s.log("varied")}
	p, err := s.processes.start(first)
	if err != nil {
		t.Fatal(err)
	}
	other := first
	other.Args = []string{"61"}
	if _, err := s.processes.replace(other); err == nil {
		t.Error("one that runs was replaced")
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if p, err = s.processes.replace(other); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if p, err = s.processes.revive("varied"); err != nil || !slices.Equal(p.Args, other.Args) {
		t.Errorf("it came back with %q (%v), want %q", p.Args, err, other.Args)
	}
}

func TestAProgramIsBuiltFromWhatIsLaidOverTheTree(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := siteOf(t, Options{})
	w := &World{site: s} // with nothing running that Down would end
	const file = "daemon/cmd/elemento-daemon/main.go"
	var err error
	if w.overlay, err = w.writeOverlay(ctx, "test", map[string]string{file: "package main\n\nfunc main() { println(\"a mutant\") }\n"}); err != nil {
		t.Fatal(err)
	}
	program, err := w.ownProgram(ctx, filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(ctx, program).CombinedOutput(); err != nil || string(said) != "a mutant\n" {
		t.Errorf("it says %q: %v", said, err)
	}
	if _, err := w.writeOverlay(ctx, "test", map[string]string{"daemon/no-such-file.go": ""}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("laid over a file that is not there: %v", err)
	}
}

func TestATextThatOccursNotOnceIsNoEdit(t *testing.T) {
	t.Parallel()
	const file = "daemon/ensure.go"
	for _, text := range []string{"this text is nowhere in the file", "return"} {
		if _, err := Overlay("../..", Edit{File: file, Old: text}); err == nil {
			t.Errorf("%q was replaced", text)
		}
	}
	contents, err := Overlay("../..", Edit{File: file, Old: "package daemon\n", New: "package edited\n"}, Edit{File: file, Old: "package edited\n", New: "package twice\n"})
	if err != nil || len(contents) != 1 || !strings.Contains(contents[file], "package twice\n") {
		t.Errorf("of two edits of a file there is %.200q (%v)", contents[file], err)
	}
}

func TestListeningSocketsAreThoseOfTheProcess(t *testing.T) {
	t.Parallel()
	l, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	six, err := listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	p, err := Command{Name: "other", Path: "/bin/sleep", Args: []string{"60"}, Log: filepath.Join(t.TempDir(), "log")}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	own, err := resources(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{l.Addr().String(), six.Addr().String()} {
		if !slices.Contains(own.Listening, address) {
			t.Errorf("%s is not among %v", address, own.Listening)
		}
	}
	if others, err := p.Resources(); err != nil || len(others.Listening) > 0 || others.OpenFiles == 0 {
		t.Errorf("a process that listens on nothing: %+v, %v", others, err)
	}
}
