package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const (
	// lead is how long is recorded before things go wrong, and rest after the alerts
	// are there: enough for a pace.
	lead, rest = 3 * interval, 7 * interval
	// patience is how long an alert may take to be pending, and the world to be well
	// again.
	patience = 4 * time.Minute
	// workers of the cluster that stands meanwhile, beside one control plane.
	workers = 2
	// recorded is the directory of recordings beside the report.
	recorded = "recorded"
)

// ruleFiles are the rule files that the shipped configuration loads, without their suffix.
var ruleFiles = []string{"recording", "elemento", "clastix"}

// run is what the suite does.
type run struct {
	*suite.Site
	chosen []scenario
	// record is the directory to which recordings go that promtool has found right.
	record string

	prometheus *watch.Prometheus
	// shipped is the directory of what is shipped, and rules are those of ruleFiles.
	shipped string
	rules   []watch.Rule
	cluster *suite.Cluster
	began   time.Time
	// mends are what ends what was made to go wrong, the last first.
	mends []func(context.Context) error
	// recordings are what Prometheus had of each scenario.
	recordings []watch.Recording
	// names are those that no label may hold: of clusters, namespaces, Machines and VMs, and
	// the UIDs of these.
	names map[string]bool
}

func (r *run) describe(site *suite.Site) {
	r.Site = site
	Describe("Prometheus", Ordered, ContinueOnFailure, func() {
		BeforeAll(func(ctx SpecContext) { Expect(r.prepare(ctx)).To(Succeed()) })
		It("has no alert while nothing is wrong", r.quiet)
		for _, s := range r.chosen {
			It(s.name, func(ctx SpecContext) { r.play(ctx, s) })
		}
		It("replays what it had", r.replay)
		It("has no name of what runs in a label", r.unnamed)
		It("evaluates all rules", func(ctx SpecContext) {
			troubles, err := r.prometheus.TroubledRules(ctx)
			Expect(err).NotTo(HaveOccurred())
			Expect(troubles).To(BeEmpty())
		})
	})
}

func (r *run) prepare(ctx context.Context) (err error) {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	r.shipped = filepath.Join(repository, "provider", "config", "prometheus")
	for _, name := range ruleFiles {
		rules, err := watch.Rules(filepath.Join(r.shipped, name+".rules.yaml"))
		if err != nil {
			return err
		}
		r.rules = append(r.rules, rules...)
	}
	r.names = map[string]bool{}
	r.Report.Evidence(reports.Evidence{Title: "what Prometheus had of each scenario, as tests of promtool", Path: recorded})
	r.began = time.Now()
	r.prometheus, err = watch.Connect(r.World.PrometheusURL())
	return err
}

// quiet makes a cluster, scales it up and down, and demands that no alert comes up.
func (r *run) quiet(ctx SpecContext) {
	r.Report.Step("nothing is wrong: no alert", func() {
		var seen []string
		from := time.Now()
		r.cluster = r.NewCluster(ctx, "watched", 1)
		Expect(suite.Apply(ctx, r.Admin, "watch", r.cluster.Generate(ctx, 0))).To(Succeed())
		r.cluster.Await(ctx, 0)
		Expect(suite.Apply(ctx, r.Admin, "watch", r.elsewhere(ctx, r.cluster.Generate(ctx, workers)))).To(Succeed())
		r.cluster.Await(ctx, workers)
		for _, n := range []int{workers + 1, workers} {
			Expect(r.cluster.Scale(ctx, n)).To(Succeed())
			r.cluster.Await(ctx, n)
		}
		Eventually(func(g Gomega) {
			for name, state := range r.active(ctx) {
				seen = append(seen, fmt.Sprintf("%s is %s", name, state))
			}
			g.Expect(time.Since(from)).To(BeNumerically(">", 2*time.Minute))
		}, patience, interval).WithContext(ctx).Should(Succeed())
		Expect(seen).To(BeEmpty(), "alerts while nothing is wrong")
		all := watch.Span{From: from, To: time.Now(), Step: interval}
		fired, err := r.prometheus.Range(ctx, `ALERTS{alertstate="firing"}`, all)
		Expect(err).NotTo(HaveOccurred())
		Expect(fired).To(BeEmpty(), "alerts that fired since the cluster was asked for")
		r.keep(ctx, watch.Recording{
			Name: quiet, Does: quietDoes,
			Span: all, Hold: quietHold,
		}, true)
	})
}

// elsewhere has the workers in a domain with neither the control plane nor its endpoint,
// which live on while things go wrong there.
func (r *run) elsewhere(ctx context.Context, objects []unstructured.Unstructured) []unstructured.Unstructured {
	GinkgoHelper()
	controlPlane, err := r.spec(ctx, r.cluster.Machines(ctx, r.Admin).ControlPlane[0])
	Expect(err).NotTo(HaveOccurred())
	cluster := &infrav1.ElementoCluster{}
	Expect(r.Admin.Get(ctx, r.cluster.Key, cluster)).To(Succeed())
	hosts := r.World.Hosts()
	n := slices.IndexFunc(hosts, func(h world.Host) bool {
		return h.Domain != controlPlane.Domain && h.ID != cluster.Spec.EndpointHost
	})
	Expect(n).To(BeNumerically(">=", 0), "a domain for the workers alone")
	for _, object := range objects {
		if object.GetKind() == "MachineDeployment" {
			Expect(unstructured.SetNestedField(object.Object, hosts[n].Domain, "spec", "template", "spec", "failureDomain")).To(Succeed())
		}
	}
	return objects
}

// active are the alerts that are pending or firing.
func (r *run) active(ctx context.Context) map[string]string {
	GinkgoHelper()
	alerts, err := r.prometheus.Alerts(ctx)
	Expect(err).NotTo(HaveOccurred())
	active := map[string]string{}
	for name, state := range alerts {
		active[name] = string(state)
	}
	return active
}

// settled waits until all is well, as far as alerts tell what is now, and until the alerts
// that are to come up next are not there from before.
func (r *run) settled(ctx context.Context, next []string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(r.World.Err()).NotTo(HaveOccurred())
		active := slices.Sorted(maps.Keys(r.active(ctx)))
		g.Expect(slices.DeleteFunc(active, func(alert string) bool {
			return watch.LooksBack(alert, r.rules) && !slices.Contains(next, alert)
		})).To(BeEmpty(), "alerts of what is now, and of what is to come")
		g.Expect(r.cluster.Has(workers)(ctx)).To(Succeed())
	}, 2*patience, interval).WithContext(ctx).Should(Succeed())
}

// play makes something go wrong, demands its alerts, keeps what Prometheus had, and mends
// it again.
func (r *run) play(ctx SpecContext, s scenario) {
	r.Report.Step(s.does, func() {
		r.settled(ctx, s.alerts)
		from := time.Now()
		r.Pass(ctx, lead)
		defer r.mend(ctx)
		began := time.Now()
		Expect(s.breaks(ctx, r)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(r.World.Err()).NotTo(HaveOccurred())
			active := r.active(ctx)
			for _, alert := range s.alerts {
				g.Expect(active).To(HaveKey(alert))
			}
		}, patience, interval).WithContext(ctx).Should(Succeed())
		fmt.Fprintf(r.Progress(), "%s after %s\n", strings.Join(s.alerts, ", "), time.Since(began).Round(time.Second))
		r.Pass(ctx, rest)
		r.keep(ctx, watch.Recording{
			Name: s.name, Does: upper(s.does) + ".",
			Span: watch.Span{From: from, To: time.Now(), Step: interval}, Fault: began, Hold: s.hold, Fires: s.fires(),
		}, s.buckets)
	})
}

// quiet is the name of the recording of a world in which nothing is wrong.
const quiet = "quiet"

// quietDoes says what is done while nothing is wrong.
const quietDoes = "A cluster is made, scaled up and scaled down, and nothing is wrong: no alert fires."

// quietHold is as long as the longest alert waits.
const quietHold = time.Hour

func upper(sentence string) string { return strings.ToUpper(sentence[:1]) + sentence[1:] }

// ends is told how what has gone wrong ends.
func (r *run) ends(how func(context.Context) error) { r.mends = append(r.mends, how) }

// mend ends what has gone wrong, also where the time of the scenario is over.
func (r *run) mend(ctx context.Context) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	for _, how := range slices.Backward(r.mends) {
		errs = append(errs, how(ctx))
	}
	r.mends = nil
	Expect(errors.Join(errs...)).To(Succeed())
}

// keep keeps what Prometheus had as a test.
func (r *run) keep(ctx context.Context, recording watch.Recording, buckets bool) {
	GinkgoHelper()
	recording.From = recording.From.Truncate(interval)
	recording.To = recording.To.Truncate(interval)
	var err error
	recording.Series, err = r.prometheus.Record(ctx, r.rules, recording.Span, buckets)
	Expect(err).NotTo(HaveOccurred())
	_, err = r.write(filepath.Join(r.Dir, recorded), recording)
	Expect(err).NotTo(HaveOccurred())
	r.recordings = append(r.recordings, recording)
	Expect(r.remember(ctx)).To(Succeed())
}

// remember takes down the names of what there is.
func (r *run) remember(ctx context.Context) error {
	machines, infrastructure := &clusterv1.MachineList{}, &infrav1.ElementoMachineList{}
	inventory, err := r.Fake.Inventory(ctx)
	if err := errors.Join(err, r.Admin.List(ctx, machines), r.Admin.List(ctx, infrastructure)); err != nil {
		return err
	}
	r.names[r.cluster.Key.Name], r.names[r.cluster.Key.Namespace] = true, true
	for _, m := range machines.Items {
		r.names[m.Name] = true
	}
	for _, m := range infrastructure.Items {
		r.names[m.Name], r.names[m.Spec.VMName] = true, true
	}
	for _, host := range inventory.Hosts {
		for _, v := range host.VMs {
			r.names[v.Name], r.names[v.UID] = true, true
		}
	}
	delete(r.names, "")
	return nil
}

// unnamed demands what docs/metrics.md promises: that no label of ours holds the name of a
// VM, Machine, cluster or namespace.
func (r *run) unnamed(ctx SpecContext) {
	r.Report.Step("no label of our metrics holds the name of what runs", func() {
		Expect(r.names).NotTo(BeEmpty(), "names of what ran")
		series, err := r.prometheus.Labels(ctx, `{__name__=~"elemento_.+"}`, watch.Span{From: r.began, To: time.Now()})
		Expect(err).NotTo(HaveOccurred())
		Expect(series).NotTo(BeEmpty())
		Expect(watch.Naming(series, slices.Sorted(maps.Keys(r.names)))).To(BeEmpty())
	})
}

// write writes recordings as tests of promtool below a directory.
func (r *run) write(directory string, recordings ...watch.Recording) (files []string, err error) {
	if directory, err = filepath.Abs(directory); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	var rules []string
	for _, name := range ruleFiles {
		file, err := filepath.Rel(directory, filepath.Join(r.shipped, name+".rules.yaml"))
		if err != nil {
			return nil, err
		}
		rules = append(rules, file)
	}
	for _, recording := range recordings {
		file := filepath.Join(directory, recording.Name+".test.yaml")
		if err := os.WriteFile(file, recording.Test(rules...), 0o644); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// replay has promtool test the rules on what Prometheus had.
func (r *run) replay(ctx SpecContext) {
	r.Report.Step("promtool replays what Prometheus had: each alert fires where it must, and no other", func() {
		promtool, err := binaries.Path(ctx, binaries.Promtool, r.Progress())
		Expect(err).NotTo(HaveOccurred())
		files, err := r.write(filepath.Join(r.Dir, recorded), r.recordings...)
		Expect(err).NotTo(HaveOccurred())
		out, err := exec.CommandContext(ctx, promtool, append([]string{"test", "rules"}, files...)...).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
	})
	if r.record != "" {
		recordings := r.recordings
		if len(r.chosen) < len(shorter()) { // what nobody named stays as it is recorded
			recordings = slices.DeleteFunc(slices.Clone(recordings), func(of watch.Recording) bool { return of.Name == quiet })
		}
		_, err := r.write(r.record, recordings...)
		Expect(err).NotTo(HaveOccurred())
	}
	fired, meant, alerts := map[string]bool{}, map[string]bool{}, 0
	for _, s := range r.chosen {
		was := slices.ContainsFunc(r.recordings, func(of watch.Recording) bool { return of.Name == s.name })
		for _, alert := range s.fires() {
			meant[alert] = true
			if was {
				fired[alert] = true
			}
		}
	}
	for _, rule := range r.rules {
		if rule.Alert != "" {
			alerts++
		}
	}
	r.Report.Figure(reports.Figure{
		Name: fmt.Sprintf("alerts, of %d, that were brought about and fired", alerts), Value: float64(len(fired)), AtLeast: ptr.To(float64(len(meant))), Command: "promtool test rules",
	})
}
