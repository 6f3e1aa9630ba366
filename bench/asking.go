package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// asking asks the API what Clastix asks: for clusters that Cluster API leaves alone, so
// that it is the API that is measured, and nothing is made of what is asked.
type asking struct {
	*workers
	// manifest is that of a cluster called pattern.
	manifest []byte
	asked    int
	made     []client.ObjectKey
	answers
}

// answers are how long the API took over requests.
type answers struct {
	objects                  int
	applied, cluster, scaled []time.Duration
	// machines are how long it took until a Machine was there, and missing how many were
	// not there in time.
	machines []time.Duration
	missing  int
}

// pattern is in the place of a cluster's name.
const pattern = "pattern-of-a-name"

func (b *bench) newAsking(ctx context.Context, w *workers) *asking {
	GinkgoHelper()
	of := &suite.Cluster{Site: b.site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: w.Key.Namespace, Name: pattern}}
	objects := of.Generate(ctx, 1)
	for _, o := range objects {
		if o.GetKind() == "Cluster" {
			Expect(unstructured.SetNestedField(o.Object, true, "spec", "paused")).To(Succeed())
		}
	}
	manifest, err := json.Marshal(objects)
	Expect(err).NotTo(HaveOccurred())
	return &asking{workers: w, manifest: manifest}
}

// ask asks for one more cluster, object by object, and then for other numbers of its
// workers.
func (a *asking) ask(ctx context.Context) error {
	a.asked++
	key := client.ObjectKey{Namespace: a.Key.Namespace, Name: fmt.Sprintf("asked-%d", a.asked)}
	a.made = append(a.made, key)
	objects, err := a.objectsOf(key)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range objects {
		one := time.Now()
		if err := suite.Apply(ctx, a.clastix, suite.Clastix, objects[i:i+1]); err != nil {
			return err
		}
		if objects[i].GetKind() == "Cluster" {
			a.cluster = append(a.cluster, time.Since(one))
		}
	}
	a.applied, a.answers.objects = append(a.applied, time.Since(began)), len(objects)
	s, err := scale(ctx, a.clastix, deployment(key, 0), 2)
	a.scaled = append(a.scaled, s.to.Sub(s.from))
	return err
}

func (a *asking) objectsOf(key client.ObjectKey) (objects []unstructured.Unstructured, err error) {
	return objects, json.Unmarshal(bytes.ReplaceAll(a.manifest, []byte(pattern), []byte(key.Name)), &objects)
}

// take returns the answers so far, with those about Machines that were ordered one by
// one, and begins anew.
func (a *asking) take(singles []*oneByOne) (taken answers) {
	taken, a.answers = a.answers, answers{}
	for _, one := range singles {
		took, missing := one.take()
		taken.machines = append(taken.machines, took...)
		taken.missing += missing
	}
	return taken
}

// remove has the clusters deleted, several at a time, since the API is slow while Machines
// are in flight. Cluster API lets one go that it no longer leaves alone.
func (a *asking) remove(ctx context.Context) error {
	const together = 8
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, key := range a.made {
		group.Go(func() error {
			objects, err := a.objectsOf(key)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if err := client.IgnoreNotFound(a.Site.Admin.Delete(ctx, &o)); err != nil {
					return err
				}
				if o.GetKind() != "Cluster" {
					continue
				}
				unpause := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"paused":false}}`))
				if err := client.IgnoreNotFound(a.Site.Admin.Patch(ctx, &o, unpause)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	a.leaving = append(a.leaving, a.made...)
	a.made = nil
	return group.Wait()
}
