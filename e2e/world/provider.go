package world

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// Provider is a Cluster API provider as it is shipped: its manifests, and the
// program that is its manager. Its manager has the flags that Cluster API's
// managers have: --leader-elect, --health-addr, --diagnostics-address, --webhook-port and
// --webhook-cert-dir.
type Provider struct {
	// Name names its process and log.
	Name string
	// Kustomization is the directory of its manifests, with one Deployment in it.
	Kustomization string
	// Program is the path of its manager, a static program.
	Program string
	// Image is the name of the container image that is made of the program where it
	// runs in one; that in its Deployment when empty.
	Image string
	// Variables are the values of ${NAME} in its manifests, as clusterctl's are.
	Variables map[string]string
	// Args are added to those that its Deployment has.
	Args []string
	// Env is added, as NAME=value, to what its Deployment has; where it runs in a pod it is
	// not.
	Env []string
	// Replicas of its manager, 1 by default. Of several one acts at a time; all of
	// them answer webhooks.
	Replicas int
	// Log is the file of its output; by default one in logs of Options.Dir.
	Log string
}

// replica is the name of a provider's n-th manager, from 1.
func replica(provider string, n int) string {
	if n == 1 {
		return provider
	}
	return fmt.Sprintf("%s-%d", provider, n)
}

// Manager is a provider's manager, which runs as a process on an embedded plane and in
// a pod on kind.
type Manager struct {
	// Process is its process, as long as it was not started again; nil on kind.
	Process *Process
	// Namespace and ServiceAccount are its identity.
	Namespace, ServiceAccount string
	// Health is the URL of its health endpoint, without a path; empty on kind.
	Health string
	// Diagnostics is the URL of its metrics and profiles, without a path. It
	// asks the API server whether the caller may see them. It is empty on kind.
	Diagnostics string

	// On kind it is in the pod of that number, from 0, of a Deployment.
	deployment client.ObjectKey
	number     int
	// log is the file of its output.
	log string
}

// Install installs providers: their kinds, permissions, controllers and webhooks.
// It returns when all of them are ready.
func (w *World) Install(ctx context.Context, providers ...Provider) error {
	if w.kind != nil {
		return w.deploy(ctx, providers)
	}
	installations, err := w.prepare(ctx, providers)
	if err != nil {
		return err
	}
	return w.run(ctx, installations)
}

func names(providers []Provider) string {
	var all []string
	for _, p := range providers {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}

// installation is a provider that is being installed.
type installation struct {
	Provider
	*components
	address string
	// webhookPorts are those of the managers, one each.
	webhookPorts []int
	certDir      string
}

// prepare puts everything of the providers on the API server but what calls
// webhooks: those would refuse everything as long as no one answers.
func (w *World) prepare(ctx context.Context, providers []Provider) ([]*installation, error) {
	kubectl, err := binaries.Path(ctx, binaries.Kubectl, w.progress)
	if err != nil {
		return nil, err
	}
	installations := make([]*installation, len(providers))
	group, ctx := errgroup.WithContext(ctx)
	for i, provider := range providers {
		group.Go(func() (err error) {
			installations[i], err = w.prepareOne(ctx, kubectl, provider)
			if err != nil {
				return fmt.Errorf("installing %s: %w", provider.Name, err)
			}
			return nil
		})
	}
	return installations, group.Wait()
}

func (w *World) prepareOne(ctx context.Context, kubectl string, provider Provider) (*installation, error) {
	rendered, err := render(ctx, kubectl, provider.Kustomization, provider.Variables, filepath.Join(w.dir, "manifests", provider.Name+".yaml"))
	if err != nil {
		return nil, err
	}
	i := &installation{Provider: provider, components: rendered, address: w.block.Address(planeAddress)}
	i.Replicas = max(i.Replicas, 1)
	webhooks, err := w.webhookAddress(i)
	if err != nil {
		return nil, err
	}
	authority, err := pki.NewAuthority(provider.Name)
	if err != nil {
		return nil, err
	}
	serving, err := authority.Server(i.address)
	if err != nil {
		return nil, err
	}
	cert, err := w.state.write(filepath.Join("webhooks", provider.Name, "tls.crt"), serving.Cert)
	if err != nil {
		return nil, err
	}
	if _, err := w.state.write(filepath.Join("webhooks", provider.Name, "tls.key"), serving.Key); err != nil {
		return nil, err
	}
	i.certDir = filepath.Dir(cert)
	if err := i.callByURL(webhooks, authority.PEM); err != nil {
		return nil, err
	}
	if err := apply(ctx, w.client, i.definitions); err != nil {
		return nil, err
	}
	if err := apply(ctx, w.client, i.objects); err != nil {
		return nil, err
	}
	return i, established(ctx, w.client, i.definitions)
}

// webhookAddress finds where each manager answers webhooks, and where the API
// server is to call them: any of several managers, as their Service would do.
func (w *World) webhookAddress(i *installation) (string, error) {
	var targets []string
	for range i.Replicas {
		port, err := w.block.WildcardPort()
		if err != nil {
			return "", err
		}
		i.webhookPorts = append(i.webhookPorts, port)
		targets = append(targets, hostPort(i.address, port))
	}
	if len(targets) == 1 {
		return targets[0], nil
	}
	port, err := w.block.FreePort(i.address)
	if err != nil {
		return "", err
	}
	p, err := w.proxy(hostPort(i.address, port), targets...)
	if err != nil {
		return "", err
	}
	return p.Address(), nil
}

// run starts the managers, and has their webhooks called once they answer.
func (w *World) run(ctx context.Context, installations []*installation) error {
	group, groupCtx := errgroup.WithContext(ctx)
	managers := make([][]*Manager, len(installations))
	for n, i := range installations {
		group.Go(func() (err error) {
			managers[n], err = w.runOne(groupCtx, i)
			if err != nil {
				return fmt.Errorf("starting %s: %w", i.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, i := range installations {
		for r, m := range managers[n] {
			w.managers[replica(i.Name, r+1)] = m
		}
		if err := apply(ctx, w.client, i.webhooks); err != nil {
			return err
		}
	}
	return w.webhooksInUse(ctx)
}

// runOne starts the managers of one provider.
func (w *World) runOne(ctx context.Context, i *installation) ([]*Manager, error) {
	if err := w.aggregated(ctx, i.components); err != nil {
		return nil, err
	}
	account := i.deployment.Spec.Template.Spec.ServiceAccountName
	kubeconfig, err := w.serviceAccountKubeconfig(ctx, i.deployment.Namespace, account)
	if err != nil {
		return nil, err
	}
	var managers []*Manager
	for n := range i.Replicas {
		m, err := w.startManager(i, n+1, kubeconfig)
		if err != nil {
			return nil, err
		}
		m.Namespace, m.ServiceAccount = i.deployment.Namespace, account
		managers = append(managers, m)
	}
	for _, m := range managers {
		if err := m.Process.await(ctx); err != nil {
			return nil, err
		}
	}
	return managers, nil
}

// startManager starts the n-th manager of a provider, and does not wait for it.
func (w *World) startManager(i *installation, n int, kubeconfig string) (*Manager, error) {
	container, err := i.manager()
	if err != nil {
		return nil, err
	}
	healthPort, err := w.block.FreePort(i.address)
	if err != nil {
		return nil, err
	}
	diagnosticsPort, err := w.block.FreePort(i.address)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		Health: "http://" + hostPort(i.address, healthPort), Diagnostics: "https://" + hostPort(i.address, diagnosticsPort),
		log: i.log(w.site, n),
	}

	// Of a flag that is given twice the last one counts.
	args := append([]string{}, container.Command[min(1, len(container.Command)):]...)
	args = append(args, container.Args...)
	args = append(args,
		// A manager alone has nobody to agree with.
		"--leader-elect="+strconv.FormatBool(i.Replicas > 1),
		"--health-addr="+hostPort(i.address, healthPort),
		"--diagnostics-address="+hostPort(i.address, diagnosticsPort),
		"--webhook-port="+strconv.Itoa(i.webhookPorts[n-1]),
		"--webhook-cert-dir="+i.certDir,
	)
	args = append(args, i.Args...)
	env, err := i.environment(container)
	if err != nil {
		return nil, err
	}
	m.Process, err = w.processes.start(Command{
		Name: replica(i.Name, n),
		Path: i.Program,
		Args: args,
		Env:  append(append(env, i.Env...), "KUBECONFIG="+kubeconfig),
		Log:  m.log,
		Ready: func(ctx context.Context) error {
			return healthy(ctx, http.DefaultClient, m.Health+"/readyz")
		},
	})
	return m, err
}

// log is the file of the n-th manager's output.
func (p Provider) log(s *site, n int) string {
	if p.Log == "" {
		return s.log(replica(p.Name, n))
	}
	extension := filepath.Ext(p.Log)
	return replica(strings.TrimSuffix(p.Log, extension), n) + extension
}

// environment is the environment that the container would have in a pod.
func (i *installation) environment(container *corev1.Container) ([]string, error) {
	fields := map[string]string{
		"metadata.namespace":      i.deployment.Namespace,
		"metadata.name":           i.deployment.Name + "-process",
		"metadata.uid":            string(uuid.NewUUID()),
		"spec.serviceAccountName": i.deployment.Spec.Template.Spec.ServiceAccountName,
		"status.podIP":            i.address,
	}
	var env []string
	for _, variable := range container.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil || fields[from.FieldRef.FieldPath] == "" {
				return nil, fmt.Errorf("deployment %s/%s takes %s from something that a process does not have", i.deployment.Namespace, i.deployment.Name, variable.Name)
			}
			value = fields[from.FieldRef.FieldPath]
		}
		env = append(env, variable.Name+"="+value)
	}
	return env, nil
}

// aggregated waits until the ClusterRoles that are made of others are filled, so
// that no controller starts with less than its permissions.
func (w *World) aggregated(ctx context.Context, c *components) error {
	for _, object := range c.objects {
		if _, found := object.Object["aggregationRule"]; !found {
			continue
		}
		if err := eventually(ctx, "ClusterRole "+object.GetName()+" has not been aggregated yet", func(ctx context.Context) (bool, error) {
			role := &rbacv1.ClusterRole{}
			err := w.client.Get(ctx, types.NamespacedName{Name: object.GetName()}, role)
			return len(role.Rules) > 0, client.IgnoreNotFound(err)
		}); err != nil {
			return err
		}
	}
	return nil
}
