package main

import (
	"context"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func adoption(s *suite.Site) {
	upstream.KCPAdoptionSpec(context.Background(), func() upstream.KCPAdoptionSpecInput {
		return upstream.KCPAdoptionSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("kcp-adoption"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
		}
	})
}

// infraAdoption has the machines of a cluster whose objects are gone, without their
// finalizers, taken over by objects that are made anew. The ElementoCluster is made
// by the topology, under another name; what the first one had on the hosts is handed
// on to it by a patch of the ClusterClass.
func infraAdoption(s *suite.Site) {
	var orphan *unstructured.Unstructured
	upstream.KCPInfraAdoptionSpec(context.Background(), func() upstream.KCPInfraAdoptionSpecInput {
		return upstream.KCPInfraAdoptionSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("kcp-infra-adoption"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
			Flavor:                 ptr.To(topology),
			BeforeForceDelete: func(_ context.Context, _ framework.ClusterProxy, _ *clusterv1.Cluster, objects upstream.ClusterObjects) error {
				orphan = objects.InfrastructureCluster.DeepCopy()
				return nil
			},
			BeforeAdoption: func(ctx context.Context, proxy framework.ClusterProxy, cluster *clusterv1.Cluster) (framework.ClusterProxy, error) {
				return proxy, handOn(ctx, proxy.GetClient(), cluster, orphan)
			},
		}
	})
}

// handOn has the class of a cluster give the ElementoCluster that it makes next what
// an earlier one had.
func handOn(ctx context.Context, c client.Client, cluster *clusterv1.Cluster, earlier *unstructured.Unstructured) error {
	patch := clusterv1.PatchDefinition{Selector: clusterv1.PatchSelector{
		APIVersion:     infrav1.GroupVersion.String(),
		Kind:           "ElementoClusterTemplate",
		MatchResources: clusterv1.PatchSelectorMatch{InfrastructureCluster: ptr.To(true)},
	}}
	for _, field := range []string{"clientUID", "endpointHost", "controlPlaneEndpoint", "network"} {
		value, found, err := unstructured.NestedFieldNoCopy(earlier.Object, "spec", field)
		if err != nil || !found {
			return fmt.Errorf("the ElementoCluster %s has no spec.%s: %w", earlier.GetName(), field, err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		patch.JSONPatches = append(patch.JSONPatches, clusterv1.JSONPatch{
			Op: "add", Path: "/spec/template/spec/" + field, Value: &apiextensionsv1.JSON{Raw: text},
		})
	}
	class := &clusterv1.ClusterClass{}
	if err := c.Get(ctx, cluster.GetClassKey(), class); err != nil {
		return err
	}
	before := client.MergeFrom(class.DeepCopy())
	class.Spec.Patches = append(class.Spec.Patches, clusterv1.ClusterClassPatch{Name: "adopted", Definitions: []clusterv1.PatchDefinition{patch}})
	return c.Patch(ctx, class, before)
}
