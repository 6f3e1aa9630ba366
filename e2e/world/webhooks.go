package world

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// webhooksInUse returns when the API server calls all webhooks that have been
// configured. It learns of them a little later than they are stored, but in
// order: so a last one is configured that refuses a certain object, and once
// that object is refused, the others are in use too.
func (w *World) webhooksInUse(ctx context.Context) error {
	const name = "sentinel.world.elemento.cloud"
	marked := map[string]string{name: ""}
	selector := &metav1.LabelSelector{MatchLabels: marked}
	nobody := admissionv1.WebhookClientConfig{URL: ptr.To("https://" + hostPort(w.block.Address(planeAddress), 1))}
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	none := ptr.To(admissionv1.SideEffectClassNone)
	for _, sentinel := range []client.Object{
		&admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionv1.MutatingWebhook{{
				Name: name, ClientConfig: nobody, Rules: rules, ObjectSelector: selector,
				SideEffects: none, AdmissionReviewVersions: []string{"v1"},
			}},
		},
		&admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionv1.ValidatingWebhook{{
				Name: name, ClientConfig: nobody, Rules: rules, ObjectSelector: selector,
				SideEffects: none, AdmissionReviewVersions: []string{"v1"},
			}},
		},
	} {
		if err := w.client.Create(ctx, sentinel); err != nil {
			return fmt.Errorf("configuring a webhook to wait for: %w", err)
		}
		err := eventually(ctx, "the API server does not call the webhooks yet", func(ctx context.Context) (bool, error) {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "sentinel", Labels: marked}}
			err := w.client.Create(ctx, object, client.DryRunAll)
			if apierrors.IsInternalError(err) {
				return true, nil // no one answers at the sentinel's address
			}
			return false, err
		})
		if err != nil {
			return err
		}
		if err := w.client.Delete(ctx, sentinel); err != nil {
			return fmt.Errorf("removing the webhook that was waited for: %w", err)
		}
	}
	return nil
}
