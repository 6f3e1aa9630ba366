package daemon

import (
	"context"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// An image is copied as fast as the storage is, and a host may give it up when who asked
// for it hangs up. So a copy goes on beside the call that began it, for as long as any
// request may take, and the calls after it find it.
const (
	// copyPatience is how long one call waits for a copy, so that what is copied
	// quickly takes one call.
	copyPatience = 10 * time.Second
	// maxCopies is of how many VMs of a client on a host a daemon remembers the copy.
	maxCopies = 256
)

// copying is the copy of an image to a VM's boot volume. Once ended is closed the rest
// tells how it ended.
type copying struct {
	ended chan struct{}
	at    time.Time
	id    string
	err   error
}

func (c *copying) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// copyImage begins the copy to a volume. The caller holds the VM's lock, and there is
// no other copy to that volume.
func (t *tenant) copyImage(ctx context.Context, r c4.ImageVolumeRequest) (*copying, error) {
	c := &copying{ended: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, other := range t.copies { // of those that nobody has come back for
		if other.hasEnded() && time.Since(other.at) > landsLate {
			delete(t.copies, name)
		}
	}
	if len(t.copies) >= maxCopies {
		return nil, failf(rpc.Reason_REASON_WRONG_STATE, t.host.ID, "host %s is copying the images of %d VMs; waiting for one of them", t.host.ID, len(t.copies))
	}
	t.copies[r.Name] = c
	t.host.spawn(ctx, func(ctx context.Context) {
		c.err = failf(rpc.Reason_REASON_HOST_FAILED, t.host.ID, "the daemon failed while host %s copied an image; its log tells more", t.host.ID)
		t.host.guarded(ctx, func() {
			c.id, c.err = patiently(ctx, func(ctx context.Context) (string, error) {
				return t.making(r.Name)(t.host.c4.CreateImageVolume(ctx, r))
			})
		})
		c.at = time.Now()
		t.mu.Lock()
		defer t.mu.Unlock()
		close(c.ended)
		if c.err == nil {
			delete(t.copies, r.Name) // the host shows it from now on
		}
	})
	return c, nil
}

// copyOf returns the copy to a volume that is under way, or that has failed since
// somebody waited for it; nil for none.
func (t *tenant) copyOf(volume string) *copying {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.copies[volume]
}

// awaitCopy waits a while for the copy to a volume, and forgets it when it has ended.
func (t *tenant) awaitCopy(ctx context.Context, volume string, c *copying) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	select {
	case <-c.ended:
		t.forgetCopy(volume)
		return c.id, c.err
	case <-ctx.Done():
		return "", failf(rpc.Reason_REASON_WRONG_STATE, t.host.ID, "host %s is still copying the image to volume %s; waiting for it", t.host.ID, volume)
	}
}

// forgetCopy forgets how the copy to a volume has ended.
func (t *tenant) forgetCopy(volume string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.copies[volume]; c != nil && c.hasEnded() {
		delete(t.copies, volume)
	}
}
