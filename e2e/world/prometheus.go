package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// PrometheusProcess is Prometheus, in a world that is watched.
const PrometheusProcess = binaries.Prometheus

// Prometheus has a world watched by Prometheus: with the configuration and the rules
// that are shipped (provider/config/prometheus), to which the world tells where its
// processes are.
type Prometheus struct {
	// Interval is how often it scrapes, and evaluates rules; that of the shipped
	// configuration when zero.
	Interval time.Duration
}

// The jobs of the shipped configuration.
const (
	managerJob    = "elemento-manager"
	clusterAPIJob = "cluster-api"
	daemonJob     = "elemento-daemon"
	// othersJob is that of all which is no part of a site; each target has a job of its
	// own.
	othersJob = "others"
)

// providerLabels are the providers in the labels of their pods, by their names here.
var providerLabels = map[string]string{
	ElementoProvider:             "infrastructure-elemento",
	binaries.ClusterAPICore:      "cluster-api",
	binaries.KubeadmBootstrap:    "bootstrap-kubeadm",
	binaries.KubeadmControlPlane: "control-plane-kubeadm",
}

// target is one of a job, in the form of Prometheus' file_sd_config.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// watched is what a world knows of its Prometheus.
type watched struct {
	url string

	mu     sync.Mutex
	others []target
}

// watchable says why Prometheus cannot watch such a world, if that is so.
func (o Options) watchable() error {
	if o.Prometheus == nil {
		return nil
	}
	if o.Plane != PlaneEmbedded && o.Plane != "" || o.Elemento == nil || len(o.Elemento.Existing) > 0 {
		return errors.New("Prometheus watches a world on an embedded plane with a fake AtomOS: elsewhere managers run in pods, or hosts are another's, and a Prometheus there has provider/config/prometheus itself")
	}
	return nil
}

// startPrometheus starts Prometheus, when all that it is to scrape is there.
func (w *World) startPrometheus(ctx context.Context, o Prometheus) error {
	program, err := binaries.Path(ctx, binaries.Prometheus, w.progress)
	if err != nil {
		return err
	}
	config, err := w.prometheusConfiguration(ctx, o)
	if err != nil {
		return err
	}
	expected := 1 // the fake
	for job, targets := range w.targets() {
		expected += len(targets)
		if err := w.writeTargets(job, targets); err != nil {
			return err
		}
	}
	address := w.block.Address(planeAddress)
	port, err := w.block.FreePort(address)
	if err != nil {
		return err
	}
	w.prometheus = &watched{url: "http://" + hostPort(address, port)}
	fake := strings.TrimPrefix(w.fakeURL, "http://")
	if err := w.Scrape(FakeProcess, fake); err != nil {
		return err
	}
	p, err := w.processes.start(Command{
		Name: PrometheusProcess, Path: program, Log: w.log(PrometheusProcess),
		Args: []string{
			"--config.file=" + config,
			"--storage.tsdb.path=" + w.state.path("prometheus", "data"),
			"--web.listen-address=" + hostPort(address, port),
			"--log.level=warn",
		},
		Ready: func(ctx context.Context) error {
			return w.prometheus.seesAll(ctx, expected)
		},
	})
	if err != nil {
		return err
	}
	if err := p.await(ctx); err != nil {
		return err
	}
	fmt.Fprintln(w.progress, "Prometheus at "+w.prometheus.url)
	return nil
}

// prometheusConfiguration writes the shipped configuration for this world and returns
// its path.
func (w *World) prometheusConfiguration(ctx context.Context, o Prometheus) (string, error) {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(repository, "provider", "config", "prometheus")
	shipped, err := os.ReadFile(filepath.Join(dir, "prometheus.yaml"))
	if err != nil {
		return "", err
	}
	token, err := w.metricsToken(ctx)
	if err != nil {
		return "", err
	}
	tokenFile, err := w.state.write("prometheus/token", []byte(token))
	if err != nil {
		return "", err
	}
	config, err := configurePrometheus(shipped, dir, w.state.path("prometheus", "targets"), tokenFile, o.Interval)
	if err != nil {
		return "", err
	}
	return w.state.write("prometheus/prometheus.yaml", config)
}

// configurePrometheus is the shipped configuration for a world: with its rules at rules,
// the file of a token, the targets of each job in a file of the directory targets, and one
// more job. The rest stays as it is shipped.
func configurePrometheus(shipped []byte, rules, targets, token string, interval time.Duration) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(shipped, &config); err != nil {
		return nil, fmt.Errorf("prometheus.yaml: %w", err)
	}
	files, _ := config["rule_files"].([]any)
	jobs, _ := config["scrape_configs"].([]any)
	global, _ := config["global"].(map[string]any)
	if len(files) == 0 || len(jobs) == 0 || global == nil {
		return nil, errors.New("prometheus.yaml has no global, rule_files or scrape_configs")
	}
	if interval > 0 {
		global["scrape_interval"], global["evaluation_interval"] = interval.String(), interval.String()
		// What stands still must not keep the next scrape waiting.
		global["scrape_timeout"] = min(interval, 10*time.Second).String()
	}
	for i, file := range files {
		files[i] = filepath.Join(rules, fmt.Sprint(file))
	}
	jobs = append(jobs, map[string]any{"job_name": othersJob})
	for _, job := range jobs {
		job, ok := job.(map[string]any)
		if !ok {
			return nil, errors.New("prometheus.yaml: a job is no object")
		}
		for key := range job {
			if strings.HasSuffix(key, "_sd_configs") || key == "static_configs" {
				delete(job, key)
			}
		}
		job["file_sd_configs"] = []any{map[string]any{"files": []string{targetFile(targets, fmt.Sprint(job["job_name"]))}}}
		if authorization, ok := job["authorization"].(map[string]any); ok {
			authorization["credentials_file"] = token
		}
	}
	config["scrape_configs"] = jobs
	return yaml.Marshal(config)
}

func targetFile(dir, job string) string { return filepath.Join(dir, job+".json") }

// targets are those of the shipped jobs: managers as they would be found in pods.
func (w *World) targets() map[string][]target {
	all := map[string][]target{}
	for name, m := range w.managers {
		job, provider := clusterAPIJob, name
		if name == ElementoProvider || strings.HasPrefix(name, ElementoProvider+"-") {
			job, provider = managerJob, ElementoProvider
		}
		all[job] = append(all[job], target{
			Targets: []string{strings.TrimPrefix(m.Diagnostics, "https://")},
			Labels: map[string]string{
				"__meta_kubernetes_pod_label_cluster_x_k8s_io_provider": providerLabels[provider],
				"__meta_kubernetes_pod_container_port_name":             "metrics",
				"__meta_kubernetes_pod_name":                            name,
			},
		})
	}
	for _, d := range w.daemons {
		address := strings.TrimSuffix(strings.TrimPrefix(d.metrics, "http://"), "/metrics")
		all[daemonJob] = append(all[daemonJob], target{Targets: []string{address}, Labels: map[string]string{"instance": d.name}})
	}
	return all
}

// writeTargets tells Prometheus, at once, all targets of a job.
func (w *World) writeTargets(job string, targets []target) error {
	content, err := json.Marshal(targets)
	if err != nil {
		return err
	}
	_, err = w.state.write(targetFile("prometheus/targets", job), content)
	return err
}

// seesAll tells whether Prometheus has scraped so many targets, so that it sees what comes
// from its beginning.
func (p *watched) seesAll(ctx context.Context, expected int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/targets?state=active", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct {
		Data struct {
			ActiveTargets []struct {
				ScrapeURL string `json:"scrapeUrl"`
				Health    string `json:"health"`
				LastError string `json:"lastError"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		return fmt.Errorf("%s answers %s: %w", p.url, response.Status, err)
	}
	seen := 0
	for _, t := range reply.Data.ActiveTargets {
		if t.Health == "up" {
			seen++
		} else {
			err = errors.Join(err, fmt.Errorf("%s is %s: %s", t.ScrapeURL, t.Health, t.LastError))
		}
	}
	if seen < expected {
		return errors.Join(fmt.Errorf("it has scraped %d of %d targets", seen, expected), err)
	}
	return nil
}

// Scrape has Prometheus scrape /metrics at an address, in plain HTTP, with the label job.
// In a world that is not watched it does nothing.
func (w *World) Scrape(job, address string) error {
	if w.prometheus == nil {
		return nil
	}
	w.prometheus.mu.Lock()
	defer w.prometheus.mu.Unlock()
	w.prometheus.others = append(slices.Clip(w.prometheus.others), target{
		Targets: []string{address}, Labels: map[string]string{"job": job, "instance": job},
	})
	return w.writeTargets(othersJob, w.prometheus.others)
}

// PrometheusURL is where Prometheus answers; empty in a world that is not watched.
func (w *World) PrometheusURL() string {
	if w.prometheus == nil {
		return ""
	}
	return w.prometheus.url
}
