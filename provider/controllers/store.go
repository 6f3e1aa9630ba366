package controllers

import (
	"bytes"
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// store reads the objects of one kind from the cache and writes them. It
// remembers what it has written until the cache shows it: a status that is
// computed from an older object would seem to be as it should be, and never be
// mended.
type store[T client.Object] struct {
	mu sync.Mutex
	// written holds resource versions that the cache may not show yet, and released the
	// objects that were let go and that it may show still.
	written  map[client.ObjectKey]string
	released map[client.ObjectKey]types.UID
}

// get reads an object into object. It is not there, or not to be worked on yet,
// if found or current is false; one that was released is not there for us.
func (s *store[T]) get(ctx context.Context, c client.Reader, key client.ObjectKey, object T) (found, current bool, err error) {
	err = c.Get(ctx, key, object)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if apierrors.IsNotFound(err) {
			delete(s.written, key)
			delete(s.released, key)
		}
		return false, false, client.IgnoreNotFound(err)
	}
	if uid, ok := s.released[key]; ok {
		if uid == object.GetUID() {
			return false, false, nil
		}
		delete(s.released, key)
	}
	if written, ok := s.written[key]; ok {
		if order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), written); err == nil && order < 0 {
			return true, false, nil
		}
		delete(s.written, key)
	}
	return true, true, nil
}

// wrote remembers an object as the API server answered.
func (s *store[T]) wrote(object T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		s.written = map[client.ObjectKey]string{}
	}
	s.written[client.ObjectKeyFromObject(object)] = object.GetResourceVersion()
}

// persist writes a change of object's metadata or spec and returns it as it is
// stored. The given one is not changed.
func (s *store[T]) persist(ctx context.Context, c client.Client, object T, change func(T)) (T, error) {
	stored, err := persist(ctx, c, object, change)
	if err == nil {
		s.wrote(stored)
	}
	return stored, err
}

// release lets an object go that is being deleted: it takes our finalizer away, which is
// the last that we do with it. The resource version does not tell a cache that is behind
// by it: the API server answers with the one from before.
func (s *store[T]) release(ctx context.Context, c client.Client, object T, finalizer string) error {
	if _, err := persist(ctx, c, object, func(o T) { controllerutil.RemoveFinalizer(o, finalizer) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released == nil {
		s.released = map[client.ObjectKey]types.UID{}
	}
	s.released[client.ObjectKeyFromObject(object)] = object.GetUID()
	return nil
}

// persist writes a change of object's metadata or spec, in one patch that fails
// if the object is not as we know it, and returns the object as it is stored.
func persist[T client.Object](ctx context.Context, c client.Client, object T, change func(T)) (T, error) {
	stored := object.DeepCopyObject().(T)
	change(stored)
	err := c.Patch(ctx, stored, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{}))
	return stored, err
}

// save writes the status of object where it differs from the stored one: all of
// it in one patch, which needs no lock because no one else writes it.
func (s *store[T]) save(ctx context.Context, c client.Client, stored, object T) error {
	data, err := client.MergeFrom(stored).Data(object)
	if err != nil || bytes.Equal(data, []byte("{}")) {
		return err
	}
	object = object.DeepCopyObject().(T)
	if err := c.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, data)); err != nil {
		return err
	}
	s.wrote(object)
	return nil
}
