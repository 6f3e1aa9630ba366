package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/cluster-api/util/predicates"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachinetemplates,verbs=get;list;watch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachinetemplates/status,verbs=get;patch

// TemplateReconciler tells the cluster autoscaler what a node of a template will
// have.
type TemplateReconciler struct {
	Client      client.Client
	WatchFilter string

	store store[*infrav1.ElementoMachineTemplate]
}

// SetupWithManager has the manager run it for machine templates.
func (r *TemplateReconciler) SetupWithManager(mgr manager.Manager, options controller.Options) error {
	log := mgr.GetLogger().WithValues("controller", "elementomachinetemplate")
	return ctrl.NewControllerManagedBy(mgr).
		For(&infrav1.ElementoMachineTemplate{}, builder.WithPredicates(notStatusOnly())).
		WithOptions(options).
		WithEventFilter(predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilter)).
		Complete(r)
}

// Reconcile fills in the status of one template.
func (r *TemplateReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	template := &infrav1.ElementoMachineTemplate{}
	if found, _, err := r.store.get(ctx, r.Client, request.NamespacedName, template); err != nil || !found {
		return ctrl.Result{}, err
	}
	if annotations.HasPaused(template) || !template.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	stored := template.DeepCopy()
	template.Status.Capacity = capacity(&template.Spec.Template.Spec)
	template.Status.NodeInfo = infrav1.NodeInfo{
		Architecture:    nodeArchitectures[template.Spec.Template.Spec.Architecture],
		OperatingSystem: "linux",
	}
	return settle(ctx, request.Name, ctrl.Result{}, r.store.save(ctx, r.Client, stored, template))
}

// PCIResourcePrefix stands before "<vendor>-<model>" in the name of the resource
// that counts PCI devices of that kind.
const PCIResourcePrefix = "pci.elemento.cloud/"

func capacity(m *infrav1.ElementoMachineSpec) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(m.Slots), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(m.MemoryMiB<<20, resource.BinarySI),
	}
	for _, device := range m.PCIDevices {
		list[corev1.ResourceName(PCIResourcePrefix+device.Vendor+"-"+device.Model)] = *resource.NewQuantity(int64(max(1, device.Quantity)), resource.DecimalSI)
	}
	return list
}

// nodeArchitectures are Kubernetes' words for architectures that it has a word
// for.
var nodeArchitectures = map[infrav1.Architecture]infrav1.NodeArchitecture{
	"":                        "amd64",
	infrav1.ArchitectureX8664: "amd64",
	infrav1.ArchitectureARM8:  "arm64",
	infrav1.ArchitecturePPC64: "ppc64le",
	infrav1.ArchitectureS390X: "s390x",
}
