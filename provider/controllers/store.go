package controllers

import (
	"bytes"
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// store reads the objects of one kind from the cache and writes them. It
// remembers what it has written until the cache shows it: a status that is
// computed from an older object would seem to be as it should be, and never be
// mended.
type store[T client.Object] struct {
	mu sync.Mutex
	// written holds resource versions that the cache may not show yet.
	written map[client.ObjectKey]string
}

// get reads an object into object. It is not there, or not to be worked on yet,
// if found or current is false.
func (s *store[T]) get(ctx context.Context, c client.Reader, key client.ObjectKey, object T) (found, current bool, err error) {
	err = c.Get(ctx, key, object)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if apierrors.IsNotFound(err) {
			delete(s.written, key)
		}
		return false, false, client.IgnoreNotFound(err)
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
