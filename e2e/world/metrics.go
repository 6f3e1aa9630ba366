package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// Metrics reads the metrics of a manager, a daemon or the fake, by the name of the
// process: of managers as a monitoring system would, as a service account that may.
func (w *World) Metrics(ctx context.Context, name string) (map[string]*dto.MetricFamily, error) {
	families, err := w.metrics(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of %s: %w", name, err)
	}
	return families, nil
}

func (w *World) metrics(ctx context.Context, name string) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := w.diagnostics(ctx, name, w.metricsURL(name), "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(body))
}

// Profile takes a profile of a manager, or of a daemon that is Profiled: "profile" for
// CPU, over so many seconds, or with 0 such as "heap", for which garbage is collected
// before. It is in the format that go tool pprof reads.
func (w *World) Profile(ctx context.Context, name, kind string, seconds int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+30*time.Second)
	defer cancel()
	url := w.metricsURL(name)
	for _, d := range w.daemons {
		if d.name == name {
			url = d.profiles
		}
	}
	query := "gc=1"
	if seconds > 0 {
		query = fmt.Sprintf("seconds=%d", seconds)
	}
	profile, err := w.diagnostics(ctx, name, url, "/debug/pprof/"+kind+"?"+query)
	if err != nil {
		return nil, fmt.Errorf("taking a profile (%s) of %s: %w", kind, name, err)
	}
	return profile, nil
}

// diagnostics reads what a process tells of itself at a URL, whose path may be
// followed by a query.
func (w *World) diagnostics(ctx context.Context, name, url, path string) ([]byte, error) {
	if m := w.managers[name]; m != nil && m.Process == nil {
		forwarded, end, err := w.forwardDiagnostics(ctx, m)
		if err != nil {
			return nil, err
		}
		defer end()
		url = forwarded
	}
	if url == "" {
		return nil, fmt.Errorf("no process of that name in this world tells any")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return nil, err
	}
	if w.managers[name] != nil {
		token, err := w.metricsToken(ctx)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// Managers make themselves certificates that no one has signed; they are on
	// this machine.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return nil, fmt.Errorf("%s answers %s: %s", url+path, response.Status, text)
	}
	return io.ReadAll(response.Body)
}

// metricsURL is where a process tells its metrics, without their path; empty where it
// tells none.
func (w *World) metricsURL(name string) string {
	if m := w.managers[name]; m != nil {
		return m.Diagnostics
	}
	for _, d := range w.daemons {
		if d.name == name {
			return d.metrics
		}
	}
	if name == FakeProcess && w.fakeURL != "" {
		return w.fakeURL
	}
	return ""
}

// metricsToken makes a service account that may read metrics, once, and returns a
// token of it.
func (w *World) metricsToken(ctx context.Context) (string, error) {
	w.reader.Lock()
	defer w.reader.Unlock()
	if w.readerToken != "" {
		return w.readerToken, nil
	}
	const name = "elemento-world-metrics"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}}
	for _, object := range []client.Object{
		account,
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics", "/debug/pprof/*"}, Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: name}},
		},
	} {
		if err := w.client.Create(ctx, object); client.IgnoreAlreadyExists(err) != nil {
			return "", fmt.Errorf("letting a service account read metrics: %w", err)
		}
	}
	seconds := int64(pki.Lifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := w.client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("asking for a token to read metrics: %w", err)
	}
	w.readerToken = request.Status.Token
	return w.readerToken, nil
}

// Leader is the name of the process of that one of our managers which acts; empty
// while none does. Where there is one, it is that one as long as it runs.
func (w *World) Leader(ctx context.Context) (string, error) {
	for n := 1; ; n++ {
		name := ManagerProcess(n)
		if w.managers[name] == nil {
			return "", nil
		}
		if p := w.Process(name); p != nil {
			select {
			case <-p.Exited():
				continue
			default:
			}
		}
		families, err := w.Metrics(ctx, name)
		if err != nil {
			return "", err
		}
		status := families["leader_election_master_status"].GetMetric()
		if len(status) == 0 || status[0].GetGauge().GetValue() == 1 {
			return name, nil
		}
	}
}
