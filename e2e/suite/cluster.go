package suite

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"
	"sigs.k8s.io/cluster-api/util/conditions"
	utilyaml "sigs.k8s.io/cluster-api/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
)

// Long is how long anything may take before a suite gives up, Often how often it
// looks.
const (
	Long  = "10m"
	Often = "200ms"
)

// Cluster is a workload cluster that a suite asks for.
type Cluster struct {
	Site *Site
	// Flavor of the cluster template; empty for the default.
	Flavor string
	// Key is its name and namespace.
	Key client.ObjectKey
	// ControlPlanes is how many of them it has.
	ControlPlanes int
	// Version of Kubernetes that it is made with; the site's when empty.
	Version string
	// Variables are values for the template that are this cluster's own.
	Variables map[string]string
	// Patience is how long anything of it may take; [Long] when empty.
	Patience string
	// Offline has the manifest made without a look at the management plane, which
	// may be away; it is not for flavors with a class, that may be there already.
	Offline bool

	// generated are all objects that any manifest had: a class that is there
	// already is left out of the later ones.
	generated []unstructured.Unstructured
	// before is what there was on AtomOS before it, and objectsBefore in its namespace.
	before        inventory.Inventory
	objectsBefore []string
}

func (c *Cluster) patience() string { return cmp.Or(c.Patience, Long) }

// version is that of Kubernetes that it is made with.
func (c *Cluster) version() string { return cmp.Or(c.Version, c.Site.KubernetesVersion) }

// Manifest is the name, in the directory of the report, of the manifest for so
// many workers.
func (c *Cluster) Manifest(workers int) string {
	return fmt.Sprintf("%s-%d-workers.yaml", strings.TrimSuffix(c.Key.Name+"-"+c.Version, "-"), workers)
}

// generating is held while a manifest is made: what clusterctl reads of its
// configuration is one for the whole process.
var generating sync.Mutex

// Generate has clusterctl make the manifest, keeps it and returns its objects.
func (c *Cluster) Generate(ctx context.Context, workers int) []unstructured.Unstructured {
	kubeconfig := c.Site.World.AdminKubeconfig()
	if c.Offline {
		kubeconfig = ""
	}
	generating.Lock()
	defer generating.Unlock()
	text := clusterctl.ConfigCluster(ctx, clusterctl.ConfigClusterInput{
		LogFolder:                filepath.Join(c.Site.Dir, "clusterctl"),
		ClusterctlConfigPath:     c.Site.Clusterctl,
		KubeconfigPath:           kubeconfig,
		InfrastructureProvider:   c.Site.Provider,
		Flavor:                   c.Flavor,
		Namespace:                c.Key.Namespace,
		ClusterName:              c.Key.Name,
		KubernetesVersion:        c.version(),
		ControlPlaneMachineCount: ptr.To(int64(c.ControlPlanes)),
		WorkerMachineCount:       ptr.To(int64(workers)),
		ClusterctlVariables:      c.Variables,
	})
	Expect(os.WriteFile(filepath.Join(c.Site.Dir, c.Manifest(workers)), text, 0o644)).To(Succeed())
	objects, err := utilyaml.ToUnstructured(text)
	Expect(err).NotTo(HaveOccurred())
	c.remember(objects)
	return objects
}

// remember takes down what is to be deleted with the cluster.
func (c *Cluster) remember(objects []unstructured.Unstructured) {
	for _, object := range objects {
		if !slices.ContainsFunc(c.generated, func(o unstructured.Unstructured) bool {
			return o.GetKind() == object.GetKind() && o.GetName() == object.GetName()
		}) {
			c.generated = append(c.generated, object)
		}
	}
}

// Apply applies objects as GitOps tools do: by server-side apply, as the owner
// of the fields that the manifest names.
func Apply(ctx context.Context, c client.Client, owner string, objects []unstructured.Unstructured) error {
	for _, object := range objects {
		applied := object.DeepCopy() // the reply is written into it
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(owner), client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// Delete deletes all objects that the manifests had: the cluster first, which is
// gone when what it was made from goes.
func (c *Cluster) Delete(ctx context.Context, as client.Client) {
	objects := slices.Clone(c.generated)
	slices.SortStableFunc(objects, func(a, b unstructured.Unstructured) int { return rank(a) - rank(b) })
	for _, object := range objects {
		Expect(client.IgnoreNotFound(as.Delete(ctx, &object))).To(Succeed())
		if object.GetKind() == "Cluster" {
			Eventually(func(g Gomega) {
				c.Site.stands()
				err := as.Get(ctx, c.Key, &clusterv1.Cluster{})
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "the Cluster is still there: %v", err)
			}, c.patience(), Often).WithContext(ctx).Should(Succeed())
		}
	}
}

func rank(object unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Cluster":
		return 0
	case "ClusterClass": // it has its templates guarded
		return 1
	default:
		return 2
	}
}

// Machines are the Machines of a cluster, control plane and workers apart.
type Machines struct{ ControlPlane, Workers []clusterv1.Machine }

// Machines lists the cluster's Machines.
func (c *Cluster) Machines(ctx context.Context, as client.Client) Machines {
	GinkgoHelper()
	m, err := c.ListMachines(ctx, as)
	Expect(err).NotTo(HaveOccurred())
	return m
}

// ListMachines does so where the management plane may be away.
func (c *Cluster) ListMachines(ctx context.Context, as client.Client) (Machines, error) {
	list := &clusterv1.MachineList{}
	if err := as.List(ctx, list, client.InNamespace(c.Key.Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: c.Key.Name}); err != nil {
		return Machines{}, fmt.Errorf("listing the Machines of %s: %w", c.Key.Name, err)
	}
	var m Machines
	for _, machine := range list.Items {
		if _, yes := machine.Labels[clusterv1.MachineControlPlaneLabel]; yes {
			m.ControlPlane = append(m.ControlPlane, machine)
		} else {
			m.Workers = append(m.Workers, machine)
		}
	}
	return m, nil
}

// All are both kinds.
func (m Machines) All() []clusterv1.Machine { return slices.Concat(m.ControlPlane, m.Workers) }

// Ready counts the Machines that are.
func Ready(machines []clusterv1.Machine) int {
	n := 0
	for _, machine := range machines {
		if conditions.IsTrue(&machine, clusterv1.ReadyCondition) {
			n++
		}
	}
	return n
}

// Missing says what is missing until there are so many of each, all of them
// Ready and none being deleted; it says nothing when nothing is.
func (m Machines) Missing(controlPlanes, workers int) string {
	if len(m.ControlPlane) != controlPlanes || len(m.Workers) != workers {
		return fmt.Sprintf("%d control planes and %d workers are there, want %d and %d", len(m.ControlPlane), len(m.Workers), controlPlanes, workers)
	}
	for _, machine := range m.All() {
		if machine.DeletionTimestamp != nil {
			return fmt.Sprintf("Machine %s is being deleted", machine.Name)
		}
		ready := conditions.Get(&machine, clusterv1.ReadyCondition)
		if ready == nil {
			return fmt.Sprintf("Machine %s has no Ready condition yet", machine.Name)
		}
		if ready.Status != metav1.ConditionTrue {
			return fmt.Sprintf("Machine %s (%s) is not Ready: %s", machine.Name, machine.Status.Phase, ready.Message)
		}
		// Conditions are written a moment before the rest of the status.
		if machine.Status.GetTypedPhase() != clusterv1.MachinePhaseRunning || machine.Status.NodeRef.Name == "" {
			return fmt.Sprintf("Machine %s is %s and has Node %q", machine.Name, machine.Status.Phase, machine.Status.NodeRef.Name)
		}
	}
	return ""
}

// Await waits until the cluster has so many workers and all Machines are Ready.
func (c *Cluster) Await(ctx context.Context, workers int) {
	Eventually(func(g Gomega) {
		c.Site.stands()
		g.Expect(c.Machines(ctx, c.Site.Admin).Missing(c.ControlPlanes, workers)).To(BeEmpty())
	}, c.patience(), Often).WithContext(ctx).Should(Succeed())
}
