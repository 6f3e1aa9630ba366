package node

import (
	"slices"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/debian"
)

func TestWhatIsInTheImageOfAPodDecidesWhenItIsMadeAgain(t *testing.T) {
	t.Parallel()
	as := podImage{name: "registry.example/etcd:1", program: "/cache/etcd-1/etcd", at: "usr/local/bin/etcd"}
	before := podInputs([]podImage{as})
	if now := podInputs([]podImage{as}); !slices.Equal(now, before) {
		t.Errorf("the same has other inputs: %q and %q", before, now)
	}
	for what, change := range map[string]func(*podImage){
		"its name":          func(i *podImage) { i.name = "registry.example/etcd:2" },
		"its program":       func(i *podImage) { i.program = "/cache/etcd-2/etcd" },
		"its place":         func(i *podImage) { i.at = "etcd" },
		"its entrypoint":    func(i *podImage) { i.entrypoint = true },
		"that it has tools": func(i *podImage) { i.network = true },
	} {
		changed := as
		change(&changed)
		if slices.Equal(podInputs([]podImage{changed}), before) {
			t.Errorf("%s does not count", what)
		}
	}
}

func TestTheMirrorDecidesWhenDebianIsMadeAgain(t *testing.T) {
	t.Setenv("DEBIAN_MIRROR", "")
	before := debianStage(nil).inputs
	t.Setenv("DEBIAN_MIRROR", "http://mirror.example/debian")
	if slices.Equal(debianStage(nil).inputs, before) {
		t.Error("packages of another mirror are taken for the same")
	}
	if slices.Equal(debian.Inputs("curl"), debian.Inputs("jq")) {
		t.Error("other packages are taken for the same")
	}
}
