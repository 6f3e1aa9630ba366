package kubeapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// historyLimit is how many changes a store remembers for watches that resume.
// A watch that falls further behind is told to list again, so neither a slow
// client nor a silent one costs more than this.
const historyLimit = 2048

// Object is a typed API object that the process itself reads or writes.
type Object interface {
	runtime.Object
	metav1.Object
}

// content is an object as decoded JSON. It always stems from a typed object,
// so it has no field that the kind does not know.
type content = map[string]any

type key struct{ namespace, name string }

func (k key) String() string {
	return types.NamespacedName{Namespace: k.namespace, Name: k.name}.String()
}

// record is one stored version of an object; it never changes.
type record struct {
	key      key
	revision uint64
	labels   labels.Set
	json     []byte
}

func (r *record) decode() content {
	object := content{}
	if err := json.Unmarshal(r.json, &object); err != nil {
		panic(fmt.Sprintf("kubeapi: stored object %s does not decode: %v", r.key, err)) // written by json.Marshal
	}
	return object
}

// change is an entry of the store's history. old is nil for a creation; for a
// deletion current is the object's last version with the deletion's revision.
type change struct {
	resource     *resource
	kind         watch.EventType
	old, current *record
}

// Store holds the objects of one cluster. It is safe for concurrent use. The
// zero Store is not usable; see NewStore.
type Store struct {
	mu       sync.RWMutex
	revision uint64
	objects  map[*resource]map[key]*record
	history  []change
	// forgotten is the highest revision that the history no longer has.
	forgotten uint64
	// changed is closed, and replaced, at each change.
	changed chan struct{}
	// working tells that workLocked is, and workMore that it has to look again; made
	// is how many Pods it has made.
	working, workMore bool
	made              uint32
}

// NewStore returns a store with the namespaces that every cluster has.
func NewStore() *Store {
	s := &Store{objects: map[*resource]map[key]*record{}, changed: make(chan struct{})}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"} {
		namespace := content{"apiVersion": "v1", "kind": "Namespace", "metadata": content{"name": name}}
		if _, err := s.create(namespaces, key{name: name}, namespace, false); err != nil {
			panic(fmt.Sprintf("kubeapi: first namespaces: %v", err)) // an empty store refuses nothing
		}
	}
	return s
}

// Get fills object with the stored one of its name and namespace. The error is
// a Kubernetes status error.
func (s *Store) Get(object Object) error {
	r, err := resourceOf(object)
	if err != nil {
		return err
	}
	found, err := s.get(r, keyOf(object))
	if err != nil {
		return err
	}
	return json.Unmarshal(found.json, object)
}

// Create stores an object with its status as it is given.
func (s *Store) Create(object Object) error {
	r, err := resourceOf(object)
	if err != nil {
		return err
	}
	body, err := toContent(r, object)
	if err != nil {
		return err
	}
	created, err := s.create(r, keyOf(object), body, false)
	if err != nil {
		return err
	}
	return json.Unmarshal(created.json, object)
}

// Apply changes the object that has the name and namespace of the given one,
// or creates it, with whatever set leaves in it, its status included.
func Apply[T Object](s *Store, object T, set func(T)) error {
	for {
		err := s.Get(object)
		if apierrors.IsNotFound(err) {
			set(object)
			if err = s.Create(object); apierrors.IsAlreadyExists(err) {
				continue
			}
			return err
		}
		if err != nil {
			return err
		}
		return Change(s, object, set)
	}
}

// Change changes an object that exists, its status included, with whatever set
// leaves in it. An object that does not exist is a NotFound error.
func Change[T Object](s *Store, object T, set func(T)) error {
	r, err := resourceOf(object)
	if err != nil {
		return err
	}
	changed, err := s.update(r, keyOf(object), false, func(old content) (content, error) {
		typed := reflect.New(reflect.TypeOf(object).Elem()).Interface().(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(old, typed); err != nil {
			return nil, err
		}
		set(typed)
		return toContent(r, typed)
	})
	if err != nil {
		return err
	}
	return json.Unmarshal(changed.json, object)
}

// Delete deletes the object of the given one's name and namespace.
func (s *Store) Delete(object Object) error {
	r, err := resourceOf(object)
	if err != nil {
		return err
	}
	_, err = s.delete(r, keyOf(object), metav1.Preconditions{}, false)
	return err
}

// Names returns the names of all objects of the given one's kind and namespace
// (all namespaces if it has none), sorted.
func (s *Store) Names(object Object) ([]string, error) {
	r, err := resourceOf(object)
	if err != nil {
		return nil, err
	}
	records, _ := s.list(r, object.GetNamespace(), everything)
	names := make([]string, len(records))
	for i, found := range records {
		names[i] = found.key.name
	}
	return names, nil
}

func keyOf(object metav1.Object) key { return key{object.GetNamespace(), object.GetName()} }

func resourceOf(object Object) (*resource, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return nil, fmt.Errorf("kind of %T: %w", object, err)
	}
	if r := resourceOfKind(kinds[0]); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("kind %s is not served by the API", kinds[0])
}

func toContent(r *resource, object runtime.Object) (content, error) {
	body, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", r.kind, err)
	}
	body["apiVersion"], body["kind"] = r.apiVersion(), r.kind
	return body, nil
}

// selection decides which objects a list, a watch or a collection's deletion
// is about.
type selection struct {
	labels labels.Selector
	fields fields.Selector
}

var everything = selection{labels.Everything(), fields.Everything()}

func (sel selection) matches(r *record) bool {
	if r == nil || !sel.labels.Matches(r.labels) {
		return false
	}
	if sel.fields.Empty() {
		return true
	}
	values := fields.Set{"metadata.name": r.key.name, "metadata.namespace": r.key.namespace}
	var object content
	for _, requirement := range sel.fields.Requirements() {
		if _, known := values[requirement.Field]; known {
			continue
		}
		if object == nil {
			object = r.decode()
		}
		value, _, _ := unstructured.NestedFieldNoCopy(object, strings.Split(requirement.Field, ".")...)
		values[requirement.Field] = ""
		if value != nil {
			values[requirement.Field] = fmt.Sprint(value)
		}
	}
	return sel.fields.Matches(values)
}

func (s *Store) get(r *resource, k key) (*record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if found := s.objects[r][k]; found != nil {
		return found, nil
	}
	return nil, apierrors.NewNotFound(r.groupResource(), k.name)
}

// list returns the selected objects of a namespace ("" for all), sorted, and
// the revision that they are of.
func (s *Store) list(r *resource, namespace string, sel selection) ([]*record, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.listLocked(r, namespace, sel), s.revision
}

func (s *Store) listLocked(r *resource, namespace string, sel selection) []*record {
	records := make([]*record, 0, len(s.objects[r]))
	for k, found := range s.objects[r] {
		if (namespace == "" || k.namespace == namespace) && sel.matches(found) {
			records = append(records, found)
		}
	}
	slices.SortFunc(records, func(a, b *record) int {
		if c := strings.Compare(a.key.namespace, b.key.namespace); c != 0 {
			return c
		}
		return strings.Compare(a.key.name, b.key.name)
	})
	return records
}

func (s *Store) create(r *resource, k key, object content, dryRun bool) (*record, error) {
	meta := metadataOf(object)
	if k.name == "" {
		prefix, _ := meta["generateName"].(string)
		if prefix == "" {
			return nil, apierrors.NewBadRequest(r.kind + ": metadata.name or metadata.generateName is needed")
		}
		k.name = prefix + strings.ReplaceAll(string(uuid.NewUUID()), "-", "")[:10]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freshLocked(r, k, object); err != nil {
		return nil, err
	}
	return s.commitLocked(r, change{kind: watch.Added}, k, object, dryRun)
}

// freshLocked completes an object that is to be created, if it can be.
func (s *Store) freshLocked(r *resource, k key, object content) error {
	meta := metadataOf(object)
	if s.objects[r][k] != nil {
		return apierrors.NewAlreadyExists(r.groupResource(), k.name)
	}
	if r.namespaced && s.objects[namespaces][key{name: k.namespace}] == nil {
		return apierrors.NewNotFound(namespaces.groupResource(), k.namespace)
	}
	meta["name"] = k.name
	if r.namespaced {
		meta["namespace"] = k.namespace
	} else {
		delete(meta, "namespace")
	}
	meta["uid"] = string(uuid.NewUUID())
	meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	meta["generation"] = int64(1)
	delete(meta, "deletionTimestamp")
	delete(meta, "selfLink")
	s.settleLocked(r, object)
	return nil
}

// update replaces an object by what change makes of it. An object that is
// being deleted goes when its last finalizer goes.
func (s *Store) update(r *resource, k key, dryRun bool, modify func(old content) (content, error)) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[r][k]
	if old == nil {
		return nil, apierrors.NewNotFound(r.groupResource(), k.name)
	}
	before := old.decode()
	object, err := modify(old.decode())
	if err != nil {
		return nil, err
	}
	meta, oldMeta := metadataOf(object), metadataOf(before)
	if wanted, _ := meta["resourceVersion"].(string); wanted != "" && wanted != oldMeta["resourceVersion"] {
		return nil, apierrors.NewConflict(r.groupResource(), k.name, errors.New("the object has been modified; apply your changes to the latest version and try again"))
	}
	for _, field := range []string{"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		if value, set := oldMeta[field]; set {
			meta[field] = value
		} else {
			delete(meta, field)
		}
	}
	if !sameSpec(before, object) {
		generation, _ := oldMeta["generation"].(float64)
		meta["generation"] = int64(generation) + 1
	}
	s.settleLocked(r, object)
	if meta["deletionTimestamp"] != nil && len(finalizers(meta)) == 0 {
		return s.commitLocked(r, change{kind: watch.Deleted, old: old}, k, object, dryRun)
	}
	if equal(before, object) {
		return old, nil
	}
	return s.commitLocked(r, change{kind: watch.Modified, old: old}, k, object, dryRun)
}

// delete removes an object, or marks it where finalizers hold it. It returns
// the object's last version.
func (s *Store) delete(r *resource, k key, only metav1.Preconditions, dryRun bool) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(r, k, only, dryRun)
}

func (s *Store) deleteLocked(r *resource, k key, only metav1.Preconditions, dryRun bool) (*record, error) {
	old := s.objects[r][k]
	if old == nil {
		return nil, apierrors.NewNotFound(r.groupResource(), k.name)
	}
	object := old.decode()
	meta := metadataOf(object)
	if only.UID != nil && string(*only.UID) != meta["uid"] ||
		only.ResourceVersion != nil && *only.ResourceVersion != meta["resourceVersion"] {
		return nil, apierrors.NewConflict(r.groupResource(), k.name, errors.New("the precondition of the deletion is not met"))
	}
	if len(finalizers(meta)) == 0 {
		return s.commitLocked(r, change{kind: watch.Deleted, old: old}, k, object, dryRun)
	}
	if meta["deletionTimestamp"] != nil {
		return old, nil
	}
	meta["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	meta["deletionGracePeriodSeconds"] = int64(0)
	if r == pods {
		s.settleLocked(r, object)
	}
	return s.commitLocked(r, change{kind: watch.Modified, old: old}, k, object, dryRun)
}

// commitLocked gives the object its revision, stores it and tells the watches.
func (s *Store) commitLocked(r *resource, c change, k key, object content, dryRun bool) (*record, error) {
	revision := s.revision + 1
	meta := metadataOf(object)
	meta["resourceVersion"] = strconv.FormatUint(revision, 10)
	body, err := json.Marshal(object)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	c.resource, c.current = r, &record{key: k, revision: revision, labels: labelsOf(meta), json: body}
	if dryRun {
		return c.current, nil
	}
	s.revision = revision
	if c.kind == watch.Deleted {
		delete(s.objects[r], k)
	} else {
		if s.objects[r] == nil {
			s.objects[r] = map[key]*record{}
		}
		s.objects[r][k] = c.current
	}
	if len(s.history) == historyLimit {
		half := historyLimit / 2
		s.forgotten = s.history[half-1].current.revision
		s.history = append(s.history[:0:0], s.history[half:]...)
	}
	s.history = append(s.history, c)
	close(s.changed)
	s.changed = make(chan struct{})
	s.reactLocked(c)
	return c.current, nil
}

// since returns the changes after a revision, the channel that is closed at
// the next one, and whether the history still reaches back that far.
func (s *Store) since(revision uint64) ([]change, <-chan struct{}, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if revision < s.forgotten || revision > s.revision {
		return nil, nil, false
	}
	first, _ := slices.BinarySearchFunc(s.history, revision+1, func(c change, wanted uint64) int {
		switch {
		case c.current.revision < wanted:
			return -1
		case c.current.revision > wanted:
			return 1
		}
		return 0
	})
	return slices.Clone(s.history[first:]), s.changed, true
}

func metadataOf(object content) content {
	meta, _ := object["metadata"].(content)
	if meta == nil {
		meta = content{}
		object["metadata"] = meta
	}
	return meta
}

func labelsOf(meta content) labels.Set {
	values, _, _ := unstructured.NestedStringMap(content{"metadata": meta}, "metadata", "labels")
	return values
}

func finalizers(meta content) []any {
	list, _ := meta["finalizers"].([]any)
	return list
}

// sameSpec tells whether two versions differ in metadata and status only.
func sameSpec(a, b content) bool {
	return equal(without(a, "metadata", "status"), without(b, "metadata", "status"))
}

func without(object content, fields ...string) content {
	rest := make(content, len(object))
	for name, value := range object {
		if !slices.Contains(fields, name) {
			rest[name] = value
		}
	}
	return rest
}

// equal compares by encoding, because a number has another Go type when it
// comes from a typed object than when it comes from JSON.
func equal(a, b content) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && bytes.Equal(left, right)
}
