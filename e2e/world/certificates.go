package world

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// RotateDaemon gives the n-th daemon, from 1, a new serving certificate that is good
// until notAfter: the zero time for longer than any run, one that has passed for a
// certificate that nobody takes. The daemon reads it at the next connection; where
// the world is Proxied, our managers' connections that are there are reset.
func (w *World) RotateDaemon(n int, notAfter time.Time) error {
	if n < 1 || n > len(w.daemons) {
		return fmt.Errorf("there is no daemon %d in this world; it has %d", n, len(w.daemons))
	}
	d := w.daemons[n-1]
	if _, _, err := w.writeServingPair(d, notAfter); err != nil {
		return err
	}
	w.tellFault("fired", "certificate of "+d.name, certificate{notAfter})
	for _, l := range w.links {
		if l.to == d.name {
			l.proxy.Reset()
		}
	}
	return nil
}

// writeServingPair makes a daemon's certificate and key, and writes them where it
// looks for them: the key last, so that it never reads two that belong together but
// for the time in between.
func (w *World) writeServingPair(d daemon, notAfter time.Time) (cert, key string, err error) {
	pair, err := w.trust.Until(notAfter).Server(d.address)
	if err != nil {
		return "", "", err
	}
	if cert, err = w.state.write("daemons/"+d.name+".crt", pair.Cert); err != nil {
		return "", "", err
	}
	key, err = w.state.write("daemons/"+d.name+".key", pair.Key)
	return cert, key, err
}

// RotateManager gives our managers a new client certificate that is good until
// notAfter (see [World.RotateDaemon]), in the Secret of their identity. Secrets that
// were made of [World.IdentitySecret] keep what they have.
func (w *World) RotateManager(ctx context.Context, notAfter time.Time) error {
	pair, err := w.trust.Until(notAfter).Client(managerName)
	if err != nil {
		return err
	}
	w.pairs.Lock()
	w.managerPair = pair
	w.pairs.Unlock()
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret := &corev1.Secret{}
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: identityNamespace, Name: identityName}, secret); err != nil {
			return err
		}
		secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = pair.Cert, pair.Key
		return w.client.Update(ctx, secret)
	}); err != nil {
		return fmt.Errorf("changing the managers' identity: %w", err)
	}
	w.tellFault("fired", "certificate of "+ElementoProvider, certificate{notAfter})
	return nil
}

// certificate is what the history tells of one.
type certificate struct {
	NotAfter time.Time `json:"notAfter,omitzero"`
}

// tellFault writes into the history what was done to the world.
func (w *World) tellFault(event, name string, detail any) {
	w.history.Add(history.Event{Kind: history.Fault, Event: event, Name: name, Detail: history.Detail(detail)})
}
