package config_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestTheManagerChangesNoSecret(t *testing.T) {
	t.Parallel()
	ns := tenant(t)
	manager := as(t, "system:serviceaccount:elemento-system:elemento-manager", "system:serviceaccounts", "system:serviceaccounts:elemento-system")
	for _, name := range []string{"elemento-identity", "another-elemento-identity", "demo-ca"} {
		newSecret(t, ns, name)
	}
	patch := func(name, body string) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		return manager.Patch(t.Context(), secret, client.RawPatch(types.MergePatchType, []byte(body)))
	}
	held := `{"metadata":{"finalizers":["` + infrav1.IdentityFinalizer + `"],"labels":{"clusterctl.cluster.x-k8s.io/move":"elementocleanup"}}}`
	// The server learns of a policy a little after it is stored.
	for end := time.Now().Add(30 * time.Second); !apierrors.IsForbidden(patch("demo-ca", held)); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the manager may change any Secret")
		}
	}
	for _, name := range []string{"elemento-identity", "another-elemento-identity"} {
		if err := patch(name, held); err != nil {
			t.Errorf("the manager cannot keep %s: %v", name, err)
		}
		if err := patch(name, `{"data":{"clientUID":"eA=="}}`); !apierrors.IsForbidden(err) {
			t.Errorf("the manager changes what is in %s: %v", name, err)
		}
		if err := patch(name, `{"metadata":{"finalizers":null,"labels":null}}`); err != nil {
			t.Errorf("the manager cannot let %s go: %v", name, err)
		}
	}
}
