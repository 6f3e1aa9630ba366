package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// profileTime is how long what processors do is looked at.
const profileTime = 30 * time.Second

// profile takes profiles of our manager and the daemons, where that was asked for: what
// their processors do for so long from now on, and what is in their heaps then. They lie
// beside the report. Wait returns when they do.
func (b *bench) profile(ctx context.Context, phase string, d time.Duration) (wait func()) {
	if !b.profiling {
		return func() {}
	}
	dir := filepath.Join(b.site.Dir, "profiles")
	Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	var taking sync.WaitGroup
	for _, name := range append([]string{world.ElementoProvider}, b.daemons()...) {
		taking.Go(func() {
			defer GinkgoRecover()
			for _, p := range []struct {
				kind    string
				seconds int
			}{{"profile", int(d.Seconds())}, {"heap", 0}} {
				profile, err := b.site.World.Profile(ctx, name, p.kind, p.seconds)
				Expect(err).NotTo(HaveOccurred())
				file := fmt.Sprintf("%s-%s-%s.pprof", phase, name, map[string]string{"profile": "cpu", "heap": "heap"}[p.kind])
				Expect(os.WriteFile(filepath.Join(dir, file), profile, 0o644)).To(Succeed())
				b.site.Report.Evidence(reports.Evidence{Title: file, Path: filepath.Join("profiles", file)})
			}
		})
	}
	return taking.Wait
}
