package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// addFlavors adds to the release, in the repository of the run, the flavors that
// are of use to upstream's specs only: kustomizations of the shipped templates, in
// templates/<flavor>, or in several directories below it that follow each other; and
// classes, in templates/clusterclass-<name>.
func addFlavors(ctx context.Context, s *suite.Site) error {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	all := filepath.Join(repository, "e2e", "upstream", "templates")
	flavors, err := os.ReadDir(all)
	if err != nil {
		return err
	}
	release := filepath.Join(s.Dir, "repository", "infrastructure-elemento", world.ReleaseVersion)
	for _, flavor := range flavors {
		var manifest bytes.Buffer
		err := filepath.WalkDir(filepath.Join(all, flavor.Name()), func(path string, _ os.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "kustomization.yaml" {
				return err
			}
			manifest.WriteString(s.Kubectl(ctx, "kustomize", "--load-restrictor=LoadRestrictionsNone", filepath.Dir(path)))
			manifest.WriteString("---\n")
			return nil
		})
		if err != nil {
			return err
		}
		name := flavor.Name()
		if !strings.HasPrefix(name, "clusterclass-") {
			name = "cluster-template-" + name
		}
		file := filepath.Join(release, name+".yaml")
		if err := os.WriteFile(file, manifest.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// inNetwork puts a cluster into the n-th of the networks that guests can have here;
// the hosts of a real AtomOS keep networks of one range apart.
func inNetwork(s *suite.Site, cluster []byte, n int) []byte {
	if s.World.Fake() == nil {
		return cluster
	}
	return bytes.ReplaceAll(cluster, []byte(s.World.GuestNetwork()), []byte(s.Network(n)["ELEMENTO_NETWORK_CIDR"]))
}
