package world

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// webhooksInUse returns when the API server calls all webhooks that have been
// configured. It learns of them a little later than they are stored, but in
// order: so a last one is configured that refuses a certain object, and once
// that object is refused, the others are in use too.
func (w *World) webhooksInUse(ctx context.Context) error {
	nobody := admissionv1.WebhookClientConfig{URL: ptr.To("https://" + hostPort(w.block.Address(planeAddress), 1))}
	// No one answers at a sentinel's address.
	if err := w.await(ctx, mutatingSentinel("mutates", nobody), apierrors.IsInternalError); err != nil {
		return err
	}
	return w.await(ctx, validatingSentinel("validates", nobody), apierrors.IsInternalError)
}

// webhooksAnswer returns when the API server calls webhooks that are behind Services,
// and these answer: each is asked what it thinks of an object that it knows nothing
// about.
func (w *World) webhooksAnswer(ctx context.Context, configurations []*unstructured.Unstructured) error {
	refused := func(err error) bool {
		// The API server's own words, and not that it cannot reach a webhook.
		var status apierrors.APIStatus
		return errors.As(err, &status) && !apierrors.IsInternalError(err)
	}
	for _, configuration := range configurations {
		hooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
		if err != nil {
			return err
		}
		if len(hooks) == 0 {
			continue
		}
		// As it is on the cluster, where cert-manager may have had its part in it.
		current := configuration.DeepCopy()
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(configuration), current); err != nil {
			return err
		}
		sentinel := mutatingSentinel
		if configuration.GetKind() == "ValidatingWebhookConfiguration" {
			sentinel = validatingSentinel
		}
		theirs, err := firstClientConfig(current)
		if err != nil {
			return fmt.Errorf("%s %s: %w", configuration.GetKind(), configuration.GetName(), err)
		}
		if err := w.await(ctx, sentinel(string(current.GetUID()), theirs), refused); err != nil {
			return fmt.Errorf("%s %s: %w", configuration.GetKind(), configuration.GetName(), err)
		}
	}
	return nil
}

// firstClientConfig is how the first webhook of a configuration is called.
func firstClientConfig(configuration *unstructured.Unstructured) (c admissionv1.WebhookClientConfig, err error) {
	// Of both kinds of configuration, this part is the same.
	var same admissionv1.ValidatingWebhookConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(configuration.Object, &same); err != nil {
		return c, err
	}
	if len(same.Webhooks) == 0 {
		return c, errors.New("it has no webhooks any more")
	}
	return same.Webhooks[0].ClientConfig, nil
}

// sentinelName is that of sentinels, and of the label of the object for which one is
// called: its value is the sentinel's mark, since one that was removed may be called
// for a while yet.
const sentinelName = "sentinel.world.elemento.cloud"

func marked(mark string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: sentinelName, Labels: map[string]string{sentinelName: mark}}
}

func sentinelRules() []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func mutatingSentinel(mark string, called admissionv1.WebhookClientConfig) client.Object {
	return &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: marked(mark),
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: sentinelName, ClientConfig: called, Rules: sentinelRules(),
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{sentinelName: mark}},
			SideEffects:    ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

func validatingSentinel(mark string, called admissionv1.WebhookClientConfig) client.Object {
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: marked(mark),
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: sentinelName, ClientConfig: called, Rules: sentinelRules(),
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{sentinelName: mark}},
			SideEffects:    ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// await configures a sentinel, waits until the API server says what it is to say of
// the sentinel's object, and removes it.
func (w *World) await(ctx context.Context, sentinel client.Object, said func(error) bool) error {
	if err := w.client.Create(ctx, sentinel); err != nil {
		return fmt.Errorf("configuring a webhook to wait for: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, awaited)
	defer cancel()
	var last error
	err := eventually(waiting, "the API server does not call the webhooks yet", func(ctx context.Context) (bool, error) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: "sentinel", Labels: sentinel.GetLabels(),
		}}
		if err := w.client.Create(ctx, object, client.DryRunAll); ctx.Err() == nil {
			last = err
		}
		return said(last), nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	if err := w.client.Delete(ctx, sentinel); err != nil {
		return fmt.Errorf("removing the webhook that was waited for: %w", err)
	}
	return nil
}
