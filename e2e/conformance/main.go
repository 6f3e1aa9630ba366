// Conformance is the suite that runs Kubernetes' conformance tests, by sonobuoy, on a
// cluster that the provider has made: one control plane and two workers, which are real
// nodes (see e2e/nodes). It answers criterion C1 of the checklist, test by test.
//
//	go run ./e2e/conformance --out out/conformance
//	go run ./e2e/conformance --out out/conformance-focus --focus '\[sig-node\].*\[Conformance\]'
//
// Where that outlasts a sitting, --chunks runs them by interest group, each by a run of
// sonobuoy of its own. What a chunk came to is written down when it ends, and the suite goes
// on at the first that is not done when it is started again. What several runs came to is
// merged, and says so; C1 is passed by a single one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func main() {
	s := &scenario{}
	suite.Program{
		Name: "conformance", Title: "Conformance of a workload cluster", AtomOS: suite.Trial(), PodNetwork: true,
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&s.focus, "focus", "", "regular `expression` of the names of the tests to run; all of conformance when empty")
			f.StringVar(&s.skip, "skip", "", "regular `expression` of the names of tests not to run")
			f.BoolVar(&s.inChunks, "chunks", false, "run the tests in chunks, of which those are taken that an earlier run has done, and not by a single run of sonobuoy, which C1 asks for")
			f.IntVar(&s.procs, "procs", min(6, 3*runtime.NumCPU()), "how many tests run at a time, but for those that must be alone")
			f.DurationVar(&s.deadline, "deadline", 3*time.Hour, "how long the tests of one run of sonobuoy may take; what has not ended then has failed")
		},
		Variables: map[string]string{"focus": "FOCUS"},
		Prepare:   s.prepare,
		Describe: func(site *suite.Site) {
			s.site = site
			Describe("The conformance tests", Ordered, func() {
				site.Criterion("C1", s.examine)
				AfterAll(func(ctx SpecContext) {
					if s.cluster != nil {
						s.cluster.Delete(ctx, s.site.Admin)
					}
					if s.endRegistry != nil {
						Expect(s.endRegistry()).To(Succeed())
					}
				})
			})
		},
	}.Main()
}

// scenario is what the parts of the suite leave to each other.
type scenario struct {
	// What the flags say.
	focus, skip string
	inChunks    bool
	procs       int
	deadline    time.Duration

	// tests are the names of all tests of conformance, chunks what is to be run of them.
	tests  []string
	chunks []chunk

	site       *suite.Site
	cluster    *suite.Cluster
	workload   client.Client
	kubeconfig string
	// endRegistry ends the registry that serves our images, if one does.
	endRegistry func() error
}

// plan settles what is to be run.
func (s *scenario) plan(ctx context.Context) error {
	kubernetes, err := binaries.Source(ctx, binaries.E2ETest)
	if err != nil {
		return err
	}
	if s.tests, err = conformanceTests(kubernetes); err != nil {
		return err
	}
	if s.focus == "" && !s.inChunks {
		s.chunks = []chunk{{Name: "whole", Focus: all, Skip: s.skip}}
		return nil
	}
	s.chunks, err = cut(s.tests, s.skip)
	if s.focus != "" {
		s.chunks = []chunk{focused(s.chunks, s.focus, s.skip)}
		_, err = s.chunks[0].matching(s.tests)
	}
	return err
}

// resumable tells whether what was done before is taken: a focus is what a person looks
// at, and runs anew.
func (s *scenario) resumable() bool { return s.focus == "" && s.inChunks }

// dir is where a chunk leaves its results. It outlasts the run.
func (s *scenario) dir(c chunk) string { return filepath.Join(s.site.Dir, "chunks", c.Name) }

func (s *scenario) examine(ctx context.Context, c1 *reports.Examination) {
	of := s.made(ctx)
	var results []result
	for _, c := range s.chunks {
		if s.resumable() {
			done, err := c.done(s.dir(c), s.site.KubernetesVersion)
			Expect(err).NotTo(HaveOccurred())
			if done != nil {
				results = append(results, *done)
				c1.Step(fmt.Sprintf("%s: done before, at %s, of %s", c.Name, done.End.Format(time.RFC3339), done.Of), func() {})
				continue
			}
		}
		if s.cluster == nil {
			s.create(ctx, c1)
		}
		r := result{Chunk: c, Kubernetes: s.site.KubernetesVersion, Of: of}
		c1.Step("sonobuoy: "+c.Name, func() { s.run(ctx, &r) })
		results = append(results, r)
		if ctx.Err() != nil {
			return
		}
	}
	merge(c1, s.tests, results)
}

// run runs a chunk and writes down what it came to. That it did not come to its end is
// told by its result; the others may.
func (s *scenario) run(ctx context.Context, r *result) {
	GinkgoHelper()
	program, err := binaries.Build(ctx, binaries.Sonobuoy, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	dir := s.dir(r.Chunk)
	Expect(os.RemoveAll(dir)).To(Succeed())
	Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	tool := sonobuoy{program: program, kubeconfig: s.kubeconfig, dir: dir, said: GinkgoWriter}
	r.Start = time.Now()
	archive, err := tool.run(ctx, r.Chunk.Focus, r.Chunk.Skip, s.procs, s.deadline, func(far string) {
		fmt.Fprintf(s.site.Progress(), "%s %s: %s\n", time.Now().Format(time.TimeOnly), r.Chunk.Name, far)
	})
	r.End = time.Now()
	if archive != "" {
		if readErr := r.read(archive); err == nil {
			err = readErr
		}
	}
	if err != nil {
		r.Why = err.Error()
	}
	Expect(r.write(dir)).To(Succeed())
}
