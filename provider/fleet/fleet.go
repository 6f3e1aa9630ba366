// Package fleet is the provider's end of the wire to the daemons.
//
// A [Member] acts for one identity through all daemons that its Secret names,
// and merges what their streams tell of the hosts into one inventory. The
// [Fleet] owns the members: who acts with equal identities shares one, and one
// that nobody acts with any more is closed.
package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
)

// Fleet is a manager.Runnable that runs with the leader only.
type Fleet struct {
	log logr.Logger

	// ctx ends the goroutines, all of which are counted in running.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	changes changes
	fences  fences

	mu      sync.Mutex
	closed  bool
	members map[string]*Member // by fingerprint of their identity
	users   map[User]membership
}

// User is an object for which somebody acts with an identity.
type User struct {
	// Kind of the object, such as "ElementoCluster".
	Kind string
	types.NamespacedName
}

func (u User) String() string { return u.Kind + " " + u.NamespacedName.String() }

// membership is the member that a user acts with, since when.
type membership struct {
	member *Member
	joined time.Time
}

var errClosed = errors.New("the connections to the daemons are closed: the manager is stopping")

// New makes a fleet without members.
func New(log logr.Logger) *Fleet {
	ctx, cancel := context.WithCancel(context.Background())
	return &Fleet{
		log: log, ctx: ctx, cancel: cancel,
		changes: changes{signal: make(chan struct{}, 1)},
		members: map[string]*Member{},
		users:   map[User]membership{},
	}
}

// Start tells listeners of changes until ctx ends, and then closes all
// connections and waits for the last stream to end.
func (f *Fleet) Start(ctx context.Context) error {
	f.changes.tell(ctx)
	f.mu.Lock()
	f.closed = true
	for _, m := range f.members {
		m.retire()
	}
	f.mu.Unlock()
	f.cancel()
	f.running.Wait()
	return nil
}

// NeedLeaderElection keeps standby managers from opening streams.
func (f *Fleet) NeedLeaderElection() bool { return true }

// Listen has listener called for every change from now on, one at a time. It
// must not block.
func (f *Fleet) Listen(listener func(Change)) { f.changes.listen(listener) }

// Join lets user act with an identity, in place of any other before, and
// returns the member that it shares with all users of an equal identity.
func (f *Fleet) Join(user User, identity *Identity) (*Member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed
	}
	m, ok := f.members[identity.fingerprint]
	if !ok {
		var err error
		if m, err = newMember(f, identity); err != nil {
			return nil, err
		}
		f.members[identity.fingerprint] = m
		f.log.Info("Connecting to daemons", "clientUID", identity.ClientUID, "endpoints", identity.Endpoints)
	}
	before := f.users[user].member
	f.users[user] = membership{member: m, joined: time.Now()}
	if before != m {
		f.dismiss(before)
	}
	return m, nil
}

// Of returns the member that user acts with and when it last joined; nil if it
// never did.
func (f *Fleet) Of(user User) (*Member, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ship := f.users[user]
	return ship.member, ship.joined
}

// Leave ends user's membership.
func (f *Fleet) Leave(user User) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.users[user].member
	delete(f.users, user)
	f.dismiss(before)
}

// Users are those who act for a client UUID, in order.
func (f *Fleet) Users(clientUID string) []User {
	f.mu.Lock()
	defer f.mu.Unlock()
	var users []User
	for user, ship := range f.users {
		if ship.member.clientUID == clientUID {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.String(), b.String()) })
	return users
}

// ClientUIDs are those that anyone acts for, in order.
func (f *Fleet) ClientUIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var uids []string
	for _, m := range f.members {
		uids = append(uids, m.clientUID)
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

// VMs are the VMs that the hosts have for a client UUID, by name, with the host of
// each.
func (f *Fleet) VMs(clientUID string) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	vms := map[string]string{}
	for _, m := range f.members {
		if m.clientUID == clientUID {
			maps.Copy(vms, m.vmHosts())
		}
	}
	return vms
}

// dismiss closes a member without users, once its last call has ended.
func (f *Fleet) dismiss(m *Member) {
	if m == nil {
		return
	}
	for _, ship := range f.users {
		if ship.member == m {
			return
		}
	}
	delete(f.members, m.fingerprint)
	m.retire()
	f.log.Info("No longer connected to daemons", "clientUID", m.clientUID, "endpoints", m.endpoints())
}
