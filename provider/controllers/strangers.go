package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// UnexpectedVMReason is that of the event about a VM of a client that no object is
// about.
const UnexpectedVMReason = "UnexpectedVM"

// Strangers warns of VMs that have a client's UUID and belong to no object that this
// manager sees. It never touches them: they may be anything, also another management
// cluster's that acts for the same client. It is a manager.Runnable that runs with
// the leader only.
type Strangers struct {
	Client client.Reader
	Fleet  *fleet.Fleet
	Events events.EventRecorder
	// Every is how often it looks, 30 s if zero. What it sees twice in a row it
	// tells, once: an object may come or go a moment later than its VM.
	Every time.Duration

	// looks counts, by client UUID and VM, those at which it was unexpected.
	looks map[stranger]int
}

type stranger struct{ clientUID, vm string }

// NeedLeaderElection keeps standby managers from looking.
func (*Strangers) NeedLeaderElection() bool { return true }

// Start looks until ctx ends.
func (s *Strangers) Start(ctx context.Context) error {
	every := s.Every
	if every == 0 {
		every = 30 * time.Second
	}
	turn := time.NewTicker(every)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-turn.C:
			s.look(ctx)
		}
	}
}

func (s *Strangers) look(ctx context.Context) {
	expects := ExpectsVM(s.Client)
	before := s.looks
	s.looks = map[stranger]int{}
	for _, clientUID := range s.Fleet.ClientUIDs() {
		for vm, host := range s.Fleet.VMs(clientUID) {
			if expects(ctx, vm) {
				continue
			}
			one := stranger{clientUID, vm}
			s.looks[one] = before[one] + 1
			if s.looks[one] == 2 {
				s.tell(ctx, one, host)
			}
		}
	}
}

// tell warns of one, at the first of the clusters that act for its client.
func (s *Strangers) tell(ctx context.Context, one stranger, host string) {
	driftFound.WithLabelValues(driftUnexpected).Inc()
	log.FromContext(ctx).Info("A VM that no object is about is left alone", "clientUID", one.clientUID, "host", host, "vm", one.vm)
	for _, user := range s.Fleet.Users(one.clientUID) {
		cluster := &infrav1.ElementoCluster{}
		if user.Kind != "ElementoCluster" || s.Client.Get(ctx, user.NamespacedName, cluster) != nil {
			continue
		}
		s.Events.Eventf(cluster, nil, corev1.EventTypeWarning, UnexpectedVMReason, "Observe",
			"VM %s on host %s has the client UUID of this cluster's identity, and no ElementoMachine or ElementoCleanup that this management cluster's manager sees is about it; it is left alone. Another management cluster that acts for the client may have made it, or the manager of another namespace; remove it by hand only if none has and nobody needs it", one.vm, host)
		return
	}
}
