package webhooks

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/topology"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// +kubebuilder:webhook:verbs=create;update,path=/validate-infrastructure-cluster-x-k8s-io-v1beta1-elementomachinetemplate,mutating=false,failurePolicy=fail,matchPolicy=Equivalent,groups=infrastructure.cluster.x-k8s.io,resources=elementomachinetemplates,versions=v1beta1,name=validation.elementomachinetemplate.infrastructure.cluster.x-k8s.io,sideEffects=None,admissionReviewVersions=v1
// +kubebuilder:webhook:verbs=create;update,path=/validate-infrastructure-cluster-x-k8s-io-v1beta1-elementoclustertemplate,mutating=false,failurePolicy=fail,matchPolicy=Equivalent,groups=infrastructure.cluster.x-k8s.io,resources=elementoclustertemplates,versions=v1beta1,name=validation.elementoclustertemplate.infrastructure.cluster.x-k8s.io,sideEffects=None,admissionReviewVersions=v1

// SetupWithManager serves all webhooks of the provider by the manager.
func SetupWithManager(mgr ctrl.Manager) error {
	machines := &template[*infrav1.ElementoMachineTemplate]{
		kind: "ElementoMachineTemplate",
		parts: func(t *infrav1.ElementoMachineTemplate) (*clusterv1.ObjectMeta, any) {
			return &t.Spec.Template.ObjectMeta, &t.Spec.Template.Spec
		},
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &infrav1.ElementoMachineTemplate{}).WithValidator(machines).Complete(); err != nil {
		return fmt.Errorf("webhook of ElementoMachineTemplate: %w", err)
	}
	clusters := &template[*infrav1.ElementoClusterTemplate]{
		kind: "ElementoClusterTemplate",
		parts: func(t *infrav1.ElementoClusterTemplate) (*clusterv1.ObjectMeta, any) {
			return &t.Spec.Template.ObjectMeta, &t.Spec.Template.Spec
		},
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &infrav1.ElementoClusterTemplate{}).WithValidator(clusters).Complete(); err != nil {
		return fmt.Errorf("webhook of ElementoClusterTemplate: %w", err)
	}
	return nil
}

// template validates one kind of template: its labels and annotations are such
// as Kubernetes takes, and its spec does not change.
type template[T client.Object] struct {
	kind string
	// parts are the metadata and a pointer to the spec that the template gives to
	// what is made from it.
	parts func(T) (*clusterv1.ObjectMeta, any)
}

func (t *template[T]) ValidateCreate(_ context.Context, created T) (admission.Warnings, error) {
	return nil, t.invalid(created, t.metadata(created))
}

func (t *template[T]) ValidateUpdate(ctx context.Context, before, after T) (admission.Warnings, error) {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	errs := t.metadata(after)
	if !topology.IsDryRunRequest(request, after) {
		_, specBefore := t.parts(before)
		_, specAfter := t.parts(after)
		changed, err := differing(specBefore, specAfter)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if len(changed) > 0 {
			errs = append(errs, field.Forbidden(field.NewPath("spec", "template", "spec"), fmt.Sprintf(
				"%s cannot be changed: make a new template under another name, and name that one where this one is referred to", strings.Join(changed, ", "))))
		}
	}
	return nil, t.invalid(after, errs)
}

func (t *template[T]) ValidateDelete(context.Context, T) (admission.Warnings, error) {
	return nil, nil
}

func (t *template[T]) metadata(object T) field.ErrorList {
	metadata, _ := t.parts(object)
	return metadata.Validate(field.NewPath("spec", "template", "metadata"))
}

func (t *template[T]) invalid(object T, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(infrav1.GroupVersion.WithKind(t.kind).GroupKind(), object.GetName(), errs)
}

// differing names the fields of two specs that are not the same, in order.
func differing(before, after any) ([]string, error) {
	a, err := runtime.DefaultUnstructuredConverter.ToUnstructured(before)
	if err != nil {
		return nil, err
	}
	b, err := runtime.DefaultUnstructuredConverter.ToUnstructured(after)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !reflect.DeepEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names, nil
}
