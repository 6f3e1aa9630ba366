package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

const repository = "../.."

func TestEveryMutantStillCompiles(t *testing.T) {
	t.Parallel()
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			files, err := world.Overlay(repository, m.edits...)
			if err != nil {
				t.Fatal(err)
			}
			root, err := filepath.Abs(repository)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			replace := map[string]string{}
			var packages []string
			for file, content := range files {
				path := filepath.Join(dir, filepath.Base(file))
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				replace[filepath.Join(root, file)] = path
				packages = append(packages, "./"+filepath.Dir(file))
			}
			raw, err := json.Marshal(map[string]any{"Replace": replace})
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(list, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			slices.Sort(packages)
			build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", list}, slices.Compact(packages)...)...)
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestEveryValidatorHasAMutantAndNoOtherIsNamed(t *testing.T) {
	t.Parallel()
	var named, there []string
	for _, m := range mutants() {
		named = append(named, m.catches)
	}
	for _, v := range validate.All(validate.Limits{}) {
		there = append(there, v.Name())
	}
	slices.Sort(named)
	slices.Sort(there)
	if named = slices.Compact(named); !slices.Equal(named, there) {
		t.Errorf("the mutants are meant for %q, and the validators are %q", named, there)
	}
}

func TestTheControlRunGoesThroughAllThatTheMutantsGoThrough(t *testing.T) {
	t.Parallel()
	for _, m := range mutants() {
		for _, a := range m.workload {
			if !slices.ContainsFunc(control.workload, func(c act) bool { return c.name == a.name }) {
				t.Errorf("%s: the control run leaves out %s", m.name, a.name)
			}
		}
	}
}
