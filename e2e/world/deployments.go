package world

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// deploy installs providers on a cluster as a user would: all of their manifests, with
// the managers as Deployments and webhooks behind Services. It returns when all
// Deployments are available and all webhooks answer.
func (w *World) deploy(ctx context.Context, providers []Provider) error {
	kubectl, err := binaries.Path(ctx, binaries.Kubectl, w.progress)
	if err != nil {
		return err
	}
	deployed := make([]*components, len(providers))
	each := func(do func(context.Context, int) error) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, provider := range providers {
			group.Go(func() error {
				if err := do(ctx, i); err != nil {
					return fmt.Errorf("deploying %s: %w", provider.Name, err)
				}
				return nil
			})
		}
		return group.Wait()
	}
	// All kinds first: no manager starts without those of the others that it watches.
	if err := each(func(ctx context.Context, i int) (err error) {
		deployed[i], err = w.define(ctx, kubectl, providers[i])
		return err
	}); err != nil {
		return err
	}
	if err := each(func(ctx context.Context, i int) error { return w.deployOne(ctx, deployed[i]) }); err != nil {
		return err
	}
	for i, c := range deployed {
		if err := w.available(ctx, client.ObjectKeyFromObject(c.deployment)); err != nil {
			return errors.Join(err, w.kind.keepLogs(w.dir))
		}
		for n := range max(providers[i].Replicas, 1) {
			w.managers[replica(providers[i].Name, n+1)] = &Manager{
				Namespace: c.deployment.Namespace, ServiceAccount: c.deployment.Spec.Template.Spec.ServiceAccountName,
				deployment: client.ObjectKeyFromObject(c.deployment), number: n,
				log: providers[i].log(w.site, n+1),
			}
			w.follow(replica(providers[i].Name, n+1))
		}
	}
	for _, c := range deployed {
		if w.certManager != nil {
			if err := w.injected(ctx, c); err != nil {
				return errors.Join(err, w.kind.keepLogs(w.dir))
			}
		}
		if err := w.webhooksAnswer(ctx, c.webhooks); err != nil {
			return errors.Join(err, w.kind.keepLogs(w.dir))
		}
	}
	return nil
}

// define renders the manifests of a provider, puts its image onto the node and its
// kinds on the cluster.
func (w *World) define(ctx context.Context, kubectl string, provider Provider) (*components, error) {
	c, err := render(ctx, kubectl, provider.Kustomization, provider.Variables, filepath.Join(w.dir, "manifests", provider.Name+".yaml"))
	if err != nil {
		return nil, err
	}
	if err := c.runs(provider); err != nil {
		return nil, err
	}
	container, err := c.manager()
	if err != nil {
		return nil, err
	}
	name := container.Image
	if provider.Image != "" {
		name = provider.Image
	}
	if err := w.kind.load(image.Program(name, provider.Program)); err != nil {
		return nil, err
	}
	if w.certManager == nil {
		if err := c.certify(provider.Name); err != nil {
			return nil, err
		}
	}
	if err := apply(ctx, w.client, c.definitions); err != nil {
		return nil, err
	}
	return c, established(ctx, w.client, c.definitions)
}

// deployOne puts everything else of a provider on the cluster.
func (w *World) deployOne(ctx context.Context, c *components) error {
	for _, objects := range [][]*unstructured.Unstructured{c.objects, c.services} {
		if err := apply(ctx, w.client, objects); err != nil {
			return err
		}
	}
	if err := w.applyCertificates(ctx, append(c.issuers, c.certificates...)); err != nil {
		return err
	}
	for _, objects := range [][]*unstructured.Unstructured{{c.deployed}, c.webhooks} {
		if err := apply(ctx, w.client, objects); err != nil {
			return err
		}
	}
	return nil
}

// runs has the Deployment run what the provider asks for, in an image that is on the
// node already.
func (c *components) runs(p Provider) error {
	spec := c.deployed.Object["spec"].(map[string]any)
	spec["replicas"] = int64(max(p.Replicas, 1))
	containers, _, err := unstructured.NestedSlice(c.deployed.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	for _, each := range containers {
		container, ok := each.(map[string]any)
		if !ok || container["name"] != managerContainer {
			continue
		}
		if p.Image != "" {
			container["image"] = p.Image
		}
		container["imagePullPolicy"] = string(corev1.PullIfNotPresent)
		// Of a flag that is given twice the last one counts.
		args, _, err := unstructured.NestedStringSlice(container, "args")
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedStringSlice(container, append(args, p.Args...), "args"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(c.deployed.Object, containers, "spec", "template", "spec", "containers")
}

// available waits until a Deployment has as many pods as it should, all ready. When
// they are not in time, the error says what the pods wait for.
func (w *World) available(ctx context.Context, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, awaited)
	defer cancel()
	err := eventually(ctx, fmt.Sprintf("Deployment %s is not available yet", key), func(ctx context.Context) (bool, error) {
		d := &appsv1.Deployment{}
		if err := w.client.Get(ctx, key, d); err != nil {
			if ctx.Err() != nil {
				err = nil // what was waited for says more
			}
			return false, err
		}
		wanted := *d.Spec.Replicas
		return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == wanted &&
			d.Status.AvailableReplicas == wanted && d.Status.Replicas == wanted, nil
	})
	if err == nil {
		return nil
	}
	pods, listErr := w.pods(context.WithoutCancel(ctx), key)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, pod := range pods {
		err = fmt.Errorf("%w\n\tpod %s: %s", err, pod.Name, waits(&pod))
	}
	return err
}

// waits says what a pod waits for.
func waits(pod *corev1.Pod) string {
	said := string(pod.Status.Phase)
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue && condition.Message != "" {
			said += "; " + condition.Message
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if waiting := container.State.Waiting; waiting != nil {
			said += fmt.Sprintf("; %s %s %s", container.Name, waiting.Reason, waiting.Message)
		}
		if ended := container.LastTerminationState.Terminated; ended != nil {
			said += fmt.Sprintf("; it ended: %s %s", ended.Reason, ended.Message)
		}
	}
	return said
}
