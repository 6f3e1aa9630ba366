package kubeapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/kubeapi"
)

// serve runs an API that admits everybody, and returns a client of it that
// writes in the given content type.
func serve(t *testing.T, contentType string) (*kubeapi.Store, kubernetes.Interface) {
	t.Helper()
	store := kubeapi.NewStore()
	server := httptest.NewServer(&kubeapi.Server{
		Store: store, Version: "v1.36.3",
		Allow: func(*http.Request) *apierrors.StatusError { return nil },
		DialPod: func(context.Context, string, string, uint16) (net.Conn, error) {
			return nil, fmt.Errorf("nothing to dial")
		},
	})
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: contentType}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.CloseClientConnections)
	return store, client
}

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels}, Data: map[string]string{"a": "1"}}
}

func TestObjectsAreWrittenInEveryEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		_, client := serve(t, encoding)
		maps := client.CoreV1().ConfigMaps("default")
		made, err := maps.Create(t.Context(), configMap("m", nil), metav1.CreateOptions{})
		if err != nil || made.UID == "" || made.Generation != 1 || made.CreationTimestamp.IsZero() {
			t.Fatalf("%s: created %+v, %v", encoding, made, err)
		}
		if _, err := maps.Create(t.Context(), configMap("m", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			t.Errorf("%s: the second creation: %v", encoding, err)
		}
		made.Data["a"] = "2"
		changed, err := maps.Update(t.Context(), made, metav1.UpdateOptions{})
		if err != nil || changed.ResourceVersion == made.ResourceVersion || changed.Generation != 2 || changed.UID != made.UID {
			t.Errorf("%s: updated %+v, %v", encoding, changed, err)
		}
		same, err := maps.Update(t.Context(), changed, metav1.UpdateOptions{})
		if err != nil || same.ResourceVersion != changed.ResourceVersion {
			t.Errorf("%s: an update without a change gives version %s after %s, %v", encoding, same.ResourceVersion, changed.ResourceVersion, err)
		}
		wrong := types.UID("wrong")
		if err := maps.Delete(t.Context(), "m", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
			t.Errorf("%s: a deletion of another object: %v", encoding, err)
		}
		if err := maps.Delete(t.Context(), "m", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("%s: a deletion for show: %v", encoding, err)
		}
		if err := maps.Delete(t.Context(), "m", metav1.DeleteOptions{}); err != nil {
			t.Errorf("%s: %v", encoding, err)
		}
		if _, err := maps.Get(t.Context(), "m", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: what is deleted is read with %v", encoding, err)
		}
	}
}

func TestEveryPatchChangesWhatItNames(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	maps := client.CoreV1().ConfigMaps("default")
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"replace","path":"/data/a","value":"2"}]`,
		types.MergePatchType:          `{"data":{"a":"2"}}`,
		types.StrategicMergePatchType: `{"data":{"a":"2"}}`,
	} {
		if _, err := maps.Create(t.Context(), configMap("m", map[string]string{"kept": "yes"}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		patched, err := maps.Patch(t.Context(), "m", kind, []byte(patch), metav1.PatchOptions{})
		if err != nil || patched.Data["a"] != "2" || patched.Labels["kept"] != "yes" {
			t.Errorf("%s: %+v, %v", kind, patched, err)
		}
		if _, err := maps.Patch(t.Context(), "m", kind, []byte(`"nonsense"`), metav1.PatchOptions{}); err == nil {
			t.Errorf("%s: nonsense is accepted", kind)
		}
		if err := maps.Delete(t.Context(), "m", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	applied := applycorev1.ConfigMap("m", "default").WithData(map[string]string{"a": "3"})
	for range 2 {
		made, err := maps.Apply(t.Context(), applied, metav1.ApplyOptions{FieldManager: "test"})
		if err != nil || made.Data["a"] != "3" {
			t.Errorf("applied: %+v, %v", made, err)
		}
	}
	stale := `{"metadata":{"resourceVersion":"1"},"data":{"a":"4"}}`
	if _, err := maps.Patch(t.Context(), "m", types.MergePatchType, []byte(stale), metav1.PatchOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a patch of an old version: %v", err)
	}
}

func TestFinalizersHoldAnObject(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	maps := client.CoreV1().ConfigMaps("default")
	held := configMap("held", nil)
	held.Finalizers = []string{"example.com/hold"}
	if _, err := maps.Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	dying, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	if err != nil || dying.DeletionTimestamp == nil {
		t.Fatalf("a held object after its deletion: %+v, %v", dying, err)
	}
	if _, err := maps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(t.Context(), "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without finalizers: %v", err)
	}
}

func TestStatusHasAnEndpointOfItsOwn(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	deployments := client.AppsV1().Deployments(metav1.NamespaceSystem)
	made, err := deployments.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(3))},
	}, metav1.CreateOptions{})
	if err != nil || made.Status.ReadyReplicas != 3 || made.Status.ObservedGeneration != 1 {
		t.Fatalf("created %+v, %v", made, err)
	}
	made.Spec.Replicas = new(int32(5))
	changed, err := deployments.Update(t.Context(), made, metav1.UpdateOptions{})
	if err != nil || changed.Status.AvailableReplicas != 5 || changed.Status.ObservedGeneration != 2 {
		t.Errorf("updated %+v, %v", changed, err)
	}
	volumes := client.CoreV1().PersistentVolumes()
	volume, err := volumes.Create(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}}, metav1.CreateOptions{})
	if err != nil || volume.Status.Phase != "" {
		t.Fatalf("a status given at creation is kept: %+v, %v", volume, err)
	}
	volume.Status.Phase, volume.Spec.StorageClassName = corev1.VolumeBound, "fast"
	if volume, err = volumes.UpdateStatus(t.Context(), volume, metav1.UpdateOptions{}); err != nil || volume.Status.Phase != corev1.VolumeBound || volume.Spec.StorageClassName != "" {
		t.Errorf("the status endpoint writes %+v, %v", volume, err)
	}
	volume.Status.Phase, volume.Spec.StorageClassName = corev1.VolumeFailed, "fast"
	if volume, err = volumes.Update(t.Context(), volume, metav1.UpdateOptions{}); err != nil || volume.Status.Phase != corev1.VolumeBound || volume.Spec.StorageClassName != "fast" {
		t.Errorf("the main endpoint writes %+v, %v", volume, err)
	}
}

func TestListsAndWatchesSelect(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	maps := client.CoreV1().ConfigMaps("default")
	for name, color := range map[string]string{"a": "red", "b": "blue", "c": "red"} {
		if _, err := maps.Create(t.Context(), configMap(name, map[string]string{"color": color}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "color=red", FieldSelector: "metadata.name!=c"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "a" {
		t.Fatalf("the selected are %v, %v", list.Items, err)
	}
	watching, err := maps.Watch(t.Context(), metav1.ListOptions{LabelSelector: "color=red", ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	paint := func(name, color string) {
		t.Helper()
		if _, err := maps.Patch(t.Context(), name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"color":"%s"}}}`, color), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	paint("b", "red")  // comes to match
	paint("a", "blue") // ceases to
	paint("a", "green")
	if err := maps.Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 3 {
		select {
		case event := <-watching.ResultChan():
			got = append(got, fmt.Sprint(event.Type, " ", event.Object.(*corev1.ConfigMap).Name))
		case <-time.After(20 * time.Second):
			t.Fatalf("events are %v and no more", got)
		}
	}
	if want := []string{"ADDED b", "DELETED a", "DELETED c"}; !slices.Equal(got, want) {
		t.Errorf("events are %v, not %v", got, want)
	}
}

func TestWatchFromTooLongAgoMustListAgain(t *testing.T) {
	t.Parallel()
	store, client := serve(t, "")
	maps := client.CoreV1().ConfigMaps("default")
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object := configMap("m", nil)
	for i := range 5000 {
		if err := kubeapi.Apply(store, object, func(o *corev1.ConfigMap) { o.Data = map[string]string{"a": fmt.Sprint(i)} }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion}); !apierrors.IsResourceExpired(err) {
		t.Errorf("watching from long ago: %v", err)
	}
	list, err = maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watching, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	if err := store.Delete(object); err != nil {
		t.Fatal(err)
	}
	if event := <-watching.ResultChan(); event.Type != watch.Deleted {
		t.Errorf("the first event is %s", event.Type)
	}
}

func TestControllersFollowUp(t *testing.T) {
	t.Parallel()
	store, client := serve(t, "")
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	inside := configMap("m", nil)
	inside.Namespace = "n"
	if _, err := client.CoreV1().ConfigMaps("n").Create(ctx, inside, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("n").Get(ctx, "m", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what was in a deleted namespace: %v", err)
	}
	if _, err := client.CoreV1().ConfigMaps("n").Create(ctx, inside, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("creation in a deleted namespace: %v", err)
	}

	token := func(id string, life time.Duration) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
			Data: map[string][]byte{
				"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
				"expiration": []byte(time.Now().Add(life).UTC().Format(time.RFC3339)),
			},
		}
	}
	for id, life := range map[string]time.Duration{"aaaaaa": -time.Hour, "bbbbbb": time.Hour} {
		if err := store.Create(token(id, life)); err != nil {
			t.Fatal(err)
		}
		if accepted := store.Accepts(id + ".0123456789abcdef"); accepted != (life > 0) {
			t.Errorf("a token with %s left is accepted: %v", life, accepted)
		}
	}
	if store.Accepts("bbbbbb.0123456789abcdee") || store.Accepts("bbbbbb") || store.Accepts("") {
		t.Error("a wrong token is accepted")
	}
	if err := store.Create(token("cccccc", time.Hour)); err != nil {
		t.Fatal(err)
	}
	names, err := store.Names(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system"}})
	if err != nil || slices.Contains(names, "bootstrap-token-aaaaaa") || len(names) != 2 {
		t.Errorf("tokens left are %v, %v", names, err)
	}
}

func TestAPodOfANodeThatIsGoneGoesToo(t *testing.T) {
	t.Parallel()
	store, _ := serve(t, "")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-system", Name: name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n"}},
		}, Spec: corev1.PodSpec{NodeName: "n"}}
	}
	pods := func() []string {
		names, err := store.Names(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system"}})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if err := errors.Join(store.Create(node), store.Create(pod("early"))); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(pods(), []string{"early"}) {
		t.Errorf("pods of a node that is there: %v", pods())
	}
	if err := errors.Join(store.Delete(node), store.Create(pod("late"))); err != nil {
		t.Fatal(err)
	}
	if len(pods()) != 0 {
		t.Errorf("pods of a node that is gone: %v", pods())
	}
}

func TestKubectlIsServed(t *testing.T) {
	t.Parallel()
	store, client := serve(t, "")
	raw := client.CoreV1().RESTClient()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.36.3"},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	if err := store.Create(node); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/nodes", "/api/v1/nodes/n"} {
		var table metav1.Table
		body, err := raw.Get().AbsPath(path).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").DoRaw(t.Context())
		if err == nil {
			err = json.Unmarshal(body, &table)
		}
		if err != nil || len(table.Rows) != 1 || fmt.Sprint(table.Rows[0].Cells[:4]) != "[n Ready control-plane v1.36.3]" || len(table.ColumnDefinitions) != len(table.Rows[0].Cells) {
			t.Errorf("the table of %s: %+v, %v", path, table, err)
		}
	}
	for path, want := range map[string]string{"/openapi/v3": "apis/apps/v1", "/openapi/v3/api/v1": "fieldValidation"} {
		body, err := raw.Get().AbsPath(path).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s has no %s: %v", path, want, err)
		}
	}
	typo := []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m"},"dta":{}}`)
	create := func(validation string) error {
		return raw.Post().AbsPath("/api/v1/namespaces/default/configmaps").Param("fieldValidation", validation).Body(typo).Do(t.Context()).Error()
	}
	if err := create("Strict"); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that does not exist, strictly: %v", err)
	}
	if err := create("Ignore"); err != nil {
		t.Errorf("a field that does not exist, ignored: %v", err)
	}
}

func TestPathsThatLeadNowhere(t *testing.T) {
	t.Parallel()
	_, client := serve(t, "")
	raw := client.CoreV1().RESTClient()
	for _, path := range []string{
		"/api/v2/nodes", "/api/v1/unicorns", "/apis/example.com/v1/things", "/api/v1/namespaces/default/nodes", "/api/v1/nodes/a/b/c",
		"/api/v1/pods/one", "/apis", "/openapi/v2", "/" + strings.Repeat("x/", 100), "/apis/apps", "/apis/apps/v2",
	} {
		err := raw.Get().AbsPath(path).Do(t.Context()).Error()
		if known := path == "/apis" || path == "/apis/apps"; known != (err == nil) || !known && !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := raw.Delete().AbsPath("/api/v1/nodes/none").Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("deleting what is not: %v", err)
	}
	if err := raw.Post().AbsPath("/api/v1/nodes").Body([]byte(`{"kind":"Pod","apiVersion":"v1"}`)).Do(t.Context()).Error(); !apierrors.IsBadRequest(err) {
		t.Errorf("a pod among nodes: %v", err)
	}
	if err := raw.Post().AbsPath("/api/v1/nodes").Body([]byte(`{"spec":7}`)).Do(t.Context()).Error(); !apierrors.IsBadRequest(err) {
		t.Errorf("a malformed node: %v", err)
	}
}
