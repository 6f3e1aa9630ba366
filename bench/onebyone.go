package main

import (
	"context"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// oneByOne orders workers of a MachineDeployment, one more each time.
type oneByOne struct {
	clastix    client.Client
	deployment client.ObjectKey
	lives      *life.Recorder
	// sent are the moments of the orders, and told how many of them take has told of.
	sent []time.Time
	told int
}

func (o *oneByOne) order(ctx context.Context) error {
	s, err := scale(ctx, o.clastix, o.deployment, len(o.sent)+1)
	o.sent = append(o.sent, s.from)
	return err
}

// there are the moments at which the Machines were, in order, without those that Cluster
// API has made too many, and deleted.
func (o *oneByOne) there() (moments []time.Time) {
	for _, l := range o.lives.Lives() {
		at, is := l.At[life.Created]
		if _, leaves := l.At[life.Deleted]; is && !leaves && strings.HasPrefix(l.Machine, o.deployment.Name+"-") {
			moments = append(moments, at)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	return moments
}

// await waits until all Machines that were ordered are there.
func (o *oneByOne) await(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() int { return len(o.there()) }, suite.Long, seeing).WithContext(ctx).Should(BeNumerically(">=", len(o.sent)), "Machines of %s", o.deployment.Name)
}

// take is how long it took from each order since the last take to its Machine, and how
// many of these Machines are not there.
func (o *oneByOne) take() (took []time.Duration, missing int) {
	there := o.there()
	for n := o.told; n < min(len(o.sent), len(there)); n++ {
		took = append(took, there[n].Sub(o.sent[n]))
	}
	missing = len(o.sent) - o.told - len(took)
	o.told = len(o.sent)
	return took, missing
}
