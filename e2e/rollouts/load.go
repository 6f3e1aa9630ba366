package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// underLoad does something while workers are created and deleted all the time, and
// returns when that is over and the workers are as many as before.
func (s *scenario) underLoad(ctx context.Context, do func()) {
	GinkgoHelper()
	enough, done := make(chan struct{}), make(chan error, 1)
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- s.load(loading, enough) }()
	ended := false
	defer func() {
		if !ended { // do has failed
			cancel()
			fmt.Fprintln(GinkgoWriter, "the load ended:", <-done)
		}
	}()
	do()
	close(enough)
	err := <-done
	ended = true
	Expect(err).NotTo(HaveOccurred(), "the load")
}

// load has workers come and go, until there was enough of it.
func (s *scenario) load(ctx context.Context, enough <-chan struct{}) error {
	for {
		for _, n := range []int{moreWorkers, workers} {
			if err := persist(ctx, func() error { return s.cluster.Scale(ctx, n) }); err != nil {
				return fmt.Errorf("asking for %d workers: %w", n, err)
			}
			if err := persist(ctx, func() error { return s.cluster.Has(n)(ctx) }); err != nil {
				return fmt.Errorf("waiting for %d workers: %w", n, err)
			}
		}
		select {
		case <-enough:
			return nil
		default:
		}
	}
}

// persist tries until it succeeds, and gives up after a while.
func persist(ctx context.Context, try func() error) error {
	limit, err := time.ParseDuration(patience)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return poll.Until(ctx, 200*time.Millisecond, func(context.Context) (bool, error) {
		err := try()
		return err == nil, err
	})
}

// somethingIsMade waits until a host has just made a VM and takes its time to say so.
func (s *scenario) somethingIsMade(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() int { return s.vms().Since(time.Now().Add(-slow / 2)) }, patience, suite.Often).WithContext(ctx).Should(BeNumerically(">", 0), "VMs that have just been made")
}
