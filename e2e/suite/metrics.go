package suite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// Reconciles are the loops of a manager since its start.
type Reconciles struct{ All, Failed int }

// Reconciles counts those of our manager; it says false on a management plane
// that the suite did not start, whose manager it cannot reach.
func (s *Site) Reconciles(ctx context.Context) (Reconciles, bool) {
	manager := s.World.Manager(world.ElementoProvider)
	if manager == nil {
		return Reconciles{}, false
	}
	families, err := s.scrape(ctx, manager.Diagnostics+"/metrics")
	succeeded(err)
	for _, name := range []string{"controller_runtime_reconcile_total", "controller_runtime_reconcile_errors_total"} {
		Expect(families).To(HaveKey(name), "the manager does not tell its loops")
	}
	var r Reconciles
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		r.All += int(m.GetCounter().GetValue())
	}
	for _, m := range families["controller_runtime_reconcile_errors_total"].GetMetric() {
		r.Failed += int(m.GetCounter().GetValue())
	}
	return r, true
}

// Metric sums up the series of a metric of our manager, of those that have all the
// labels; one that there is none of is 0.
func (s *Site) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	manager := s.World.Manager(world.ElementoProvider)
	if manager == nil {
		return 0, errors.New("the metrics of a manager that the suite did not start cannot be reached")
	}
	families, err := s.scrape(ctx, manager.Diagnostics+"/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		matching := 0
		for _, l := range m.GetLabel() {
			if want, asked := labels[l.GetName()]; asked && want == l.GetValue() {
				matching++
			}
		}
		if matching == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum, nil
}

// scrape reads metrics as a monitoring system would: with the token of a service
// account that may.
func (s *Site) scrape(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	token, err := s.metricsReader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	// The manager makes itself a certificate that no one has signed; it is on
	// this machine.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return nil, fmt.Errorf("reading metrics: %s answers %s: %s", url, response.Status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// metricsReader makes a service account that may read metrics, and a token for it.
func (s *Site) metricsReader(ctx context.Context) (string, error) {
	const name = "metrics-reader"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}}
	for _, object := range []client.Object{
		account,
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: name}},
		},
	} {
		if err := s.Admin.Create(ctx, object); client.IgnoreAlreadyExists(err) != nil {
			return "", fmt.Errorf("letting a service account read metrics: %w", err)
		}
	}
	request := &authenticationv1.TokenRequest{}
	if err := s.Admin.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("asking for a token to read metrics: %w", err)
	}
	return request.Status.Token, nil
}
