package suite

import (
	"flag"
	"io"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// parse reads arguments as a suite would, in an environment that says nothing.
func parse(t *testing.T, progress io.Writer, args ...string) (Options, error) {
	t.Helper()
	return parseFor(t, Options{}, progress, args...)
}

// parseFor does so for a suite that says that of itself.
func parseFor(t *testing.T, o Options, progress io.Writer, args ...string) (Options, error) {
	t.Helper()
	for _, name := range environment {
		t.Setenv(name, "")
	}
	flags := flag.NewFlagSet("suite", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.Flags(flags, "out", Trial())
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	return o, o.complete(t.Context(), progress)
}

func TestWithoutArgumentsEverythingIsStarted(t *testing.T) {
	o, err := parse(t, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a := o.World.Elemento.AtomOS
	if o.World.Plane != world.PlaneEmbedded || a.Guests != world.GuestsSimulated || len(a.Existing) != 0 {
		t.Errorf("the plane is %q, the guests are %q and the hosts %v", o.World.Plane, a.Guests, a.Existing)
	}
}

func TestPlaneAndGuestsAreChosen(t *testing.T) {
	o, err := parseFor(t, Options{PodNetwork: true}, io.Discard, "--plane=kind", "--guests=container", "--node-image=example.com/node:v1")
	if err != nil {
		t.Fatal(err)
	}
	if o.World.Plane != world.PlaneKind || o.World.Elemento.Guests != world.GuestsContainer || o.World.NodeImage != "example.com/node:v1" {
		t.Errorf("the plane is %q of %q, and the guests are %q", o.World.Plane, o.World.NodeImage, o.World.Elemento.Guests)
	}
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"a plane without hosts":      {"--kubeconfig=file", "--client-uid=x"},
		"hosts without an owner":     {"--atomos=http://192.0.2.1"},
		"controls of no fake":        {"--control=http://127.0.0.1:1"},
		"a host without a scheme":    {"--atomos=192.0.2.1", "--client-uid=x"},
		"a variable without a value": {"--variable=NAME"},
		"hosts without images":       {"--atomos=http://192.0.2.1", "--client-uid=x"},
		"a host that nobody can ask": {"--atomos=https://127.0.0.1", "--client-uid=x", "--image-url=https://images.example.com/{image}"},
		"a flag that there is not":   {"--such=1"},
		"a plane that there is not":  {"--plane=moon"},
		"guests that there are not":  {"--guests=ghosts"},
		"two planes":                 {"--plane=kind", "--kubeconfig=file", "--client-uid=x", "--atomos=http://192.0.2.1"},
		"an existing plane nowhere":  {"--plane=existing"},
		"guests of no AtomOS":        {"--guests=atomos"},
		"a node of no kind":          {"--node-image=example.com/node:v1"},
		"nodes without a network":    {"--guests=container"},
	} {
		if _, err := parse(t, io.Discard, args...); err == nil {
			t.Errorf("%s: %q is accepted", name, args)
		}
	}
}

func TestAHostIsNamedByItsAddressAlone(t *testing.T) {
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	fake, err := fakeatomos.Start(t.Context(), fakeatomos.Options{Hosts: []fakeatomos.HostOptions{{Name: "host-a", Address: addresses[0]}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	host := fake.Hosts()[0]

	var told strings.Builder
	o, err := parse(t, &told, "--atomos="+host.URL(), "--client-uid=x", "--image-url=https://images.example.com/{image}")
	if err != nil {
		t.Fatal(err)
	}
	if got := o.World.Elemento.Existing[0]; got.Fingerprint != host.Fingerprint() {
		t.Errorf("the fingerprint is %q, the host's %q", got.Fingerprint, host.Fingerprint())
	}
	if !strings.Contains(told.String(), host.Fingerprint()) {
		t.Errorf("nobody was told what is trusted: %q", told.String())
	}

	told.Reset()
	o, err = parse(t, &told, "--atomos=rack-2="+host.URL()+"#"+host.Fingerprint(), "--client-uid=x", "--image-url=https://images.example.com/{image}")
	if err != nil {
		t.Fatal(err)
	}
	if got := o.World.Elemento.Existing[0]; got.Domain != "rack-2" || got.URL != host.URL() || got.Fingerprint != host.Fingerprint() {
		t.Errorf("the host is %+v", got)
	}
	if told.String() != "" {
		t.Errorf("a pinned host is told of: %q", told.String())
	}
}

func TestASuiteThatNeedsAFakeRefusesARealAtomOS(t *testing.T) {
	t.Setenv(envAtomOS, "http://192.0.2.1")
	o := Options{NeedsFake: true}
	flags := flag.NewFlagSet("suite", flag.ContinueOnError)
	o.Flags(flags, "out", Instant())
	if err := flags.Parse([]string{"--client-uid=x", "--image-url=https://images.example.com/{image}"}); err != nil {
		t.Fatal(err)
	}
	if err := o.complete(t.Context(), io.Discard); err == nil {
		t.Error("hosts that are no fake are accepted")
	}
	o.Control = "http://127.0.0.1:1"
	if err := o.complete(t.Context(), io.Discard); err != nil {
		t.Errorf("a fake that someone else started is refused: %v", err)
	}
}

func TestACommandRepeatsTheRun(t *testing.T) {
	for _, name := range environment {
		t.Setenv(name, "")
	}
	for want, args := range map[string][]string{
		`make poc`:                                        {"--out", "out/poc"},
		`make poc ARGS="--flavor topology"`:               {"--out=out/poc", "--flavor", "topology"},
		`make poc ARGS="--quick --hosts=100"`:             {"--quick", "-out", "x", "--hosts=100"},
		`make poc FAULTS=plan.yaml SEED=2 ARGS="--quick"`: {"--seed", "1", "--out", "out/poc-faults", "--faults=plan.yaml", "--quick", "--seed", "2"},
		`make poc ARGS="--fast"`:                          {"--upgrade", "--out", "out/poc", "--fast"},
	} {
		if got := command("poc", map[string]string{"faults": "FAULTS", "seed": "SEED", "upgrade": ""}, args); got != want {
			t.Errorf("%q gives %s, want %s", args, got, want)
		}
	}
}

func TestACommandSaysWhatTheEnvironmentSaidButNoCredentials(t *testing.T) {
	for _, name := range environment {
		t.Setenv(name, "")
	}
	t.Setenv(envAtomOS, "rack-1=https://user:password@192.0.2.1 https://192.0.2.2#00ff")
	t.Setenv(envClientUID, "owner")
	const want = `E2E_ATOMOS="rack-1=https://192.0.2.1 https://192.0.2.2#00ff" E2E_CLIENT_UID="owner" make poc ARGS="--image-url https://images.example.com/"`
	if got := command("poc", nil, []string{"--image-url", "https://token@images.example.com/"}); got != want {
		t.Errorf("the command is %s, want %s", got, want)
	}
}
