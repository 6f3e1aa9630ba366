package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// Identities finds whom the provider acts for and through which daemons.
type Identities struct {
	// Secrets reads Secrets from the API server itself: a cache would hold those
	// of everyone.
	Secrets client.Reader
	Fleet   *fleet.Fleet
	// Default is the Secret for clusters that name none; empty if there is none.
	Default apitypes.NamespacedName
	// MaxAge is how long a Secret that was read is good, and so how long a rotated
	// one may go unnoticed while a cluster is worked on. 30 s if zero.
	MaxAge time.Duration

	mu sync.Mutex
	// bad are Secrets that were no identity when they were last read: all machines of
	// their clusters wait for them.
	bad map[apitypes.NamespacedName]badSecret
}

// badSecret is what is wrong with a Secret, as of a moment.
type badSecret struct {
	reason, message string
	at              time.Time
}

// identityAge is the default of Identities.MaxAge.
const identityAge = 30 * time.Second

// identityAgain is when to look at a Secret again that is missing or wrong.
const identityAgain = 5 * time.Second

// clusterUser is how a cluster, with its machines, is known to the fleet.
func clusterUser(key client.ObjectKey) fleet.User {
	return fleet.User{Kind: "ElementoCluster", NamespacedName: key}
}

// member returns the member of the fleet that acts for a user with the identity
// that it names, or what is wrong with that. If a client owns what the user has, no
// other will do: hosts show it nothing of that, and all would seem to be gone.
func (i *Identities) member(ctx context.Context, user fleet.User, ref infrav1.IdentityReference, owner string, cleaningUp bool) (*fleet.Member, *problem, error) {
	member, wrong, err := i.current(ctx, user, ref, cleaningUp)
	if err != nil || wrong != nil || owner == "" || member.ClientUID() == owner {
		return member, wrong, err
	}
	return nil, &problem{status: metav1.ConditionFalse, reason: infrav1.ClientChangedReason, again: identityAgain, message: fmt.Sprintf(
		"The identity acts for client UUID %s by now, and what is on the hosts belongs to %s; give it back its identity, or remove by hand what the hosts have and then the finalizer", member.ClientUID(), owner)}, nil
}

// current is the member for whomever the identity acts now. To clean up, the one
// that there is will do when the Secret is gone: it goes first when its namespace is
// deleted.
func (i *Identities) current(ctx context.Context, user fleet.User, ref infrav1.IdentityReference, cleaningUp bool) (*fleet.Member, *problem, error) {
	member, joined := i.Fleet.Of(user)
	if member != nil && time.Since(joined) < cmp.Or(i.MaxAge, identityAge) {
		return member, nil, nil
	}
	from := i.Default
	if ref.Name != "" {
		from = apitypes.NamespacedName{Namespace: user.Namespace, Name: ref.Name}
	}
	wrong := func(reason, format string, args ...any) *problem {
		return &problem{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...), again: identityAgain}
	}
	if from.Name == "" {
		return nil, wrong(infrav1.IdentityNotFoundReason, "%s names no identity and the provider has no default one; set spec.identityRef, or start the manager with --default-identity", user), nil
	}
	identity, bad, err := i.read(ctx, from)
	switch {
	case err != nil:
		return nil, nil, err
	case bad.reason == infrav1.IdentityNotFoundReason && cleaningUp && member != nil:
		return member, nil, nil
	case bad.reason == infrav1.IdentityNotFoundReason && cleaningUp && ref.Name != "" && user.Kind == "ElementoCluster": // a namespace that is being deleted takes no Secret
		return nil, wrong(bad.reason, "%s; or empty the ElementoCluster's spec.identityRef, and start the manager with --default-identity", bad.message), nil
	case bad.reason != "":
		return nil, wrong(bad.reason, "%s", bad.message), nil
	}
	member, err = i.Fleet.Join(user, identity)
	if err != nil {
		p := explain(err)
		return nil, &p, nil
	}
	return member, nil, nil
}

// read is the identity that a Secret holds, or what is wrong with it. That is remembered
// until those who wait for it look again, which are as many as its clusters have machines.
func (i *Identities) read(ctx context.Context, from apitypes.NamespacedName) (*fleet.Identity, badSecret, error) {
	i.mu.Lock()
	known, isKnown := i.bad[from]
	i.mu.Unlock()
	if isKnown && time.Since(known.at) < identityAgain {
		return nil, known, nil
	}
	bad := func(reason, format string, args ...any) (*fleet.Identity, badSecret, error) {
		i.mu.Lock()
		defer i.mu.Unlock()
		maps.DeleteFunc(i.bad, func(_ apitypes.NamespacedName, b badSecret) bool { return time.Since(b.at) >= identityAgain })
		if i.bad == nil {
			i.bad = map[apitypes.NamespacedName]badSecret{}
		}
		i.bad[from] = badSecret{reason: reason, message: fmt.Sprintf(format, args...), at: time.Now()}
		return nil, i.bad[from], nil
	}
	secret := &corev1.Secret{}
	if err := i.Secrets.Get(ctx, from, secret); apierrors.IsNotFound(err) {
		return bad(infrav1.IdentityNotFoundReason, "Secret %s does not exist; create it with the keys %s, %s, %s, %s and %s", from,
			fleet.KeyEndpoints, fleet.KeyClientUID, fleet.KeyCertificate, fleet.KeyPrivateKey, fleet.KeyAuthority)
	} else if err != nil {
		return nil, badSecret{}, fmt.Errorf("reading identity Secret %s: %w", from, err)
	}
	identity, err := fleet.ParseIdentity(secret.Data)
	if err != nil {
		return bad(infrav1.IdentityInvalidReason, "Secret %s: %s", from, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return identity, badSecret{}, nil
}
