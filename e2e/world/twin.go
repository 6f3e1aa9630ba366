package world

import (
	"context"
	"errors"
)

// Twin brings up a second embedded plane beside an embedded world: with a manager of
// ours that uses the same daemons, for the same client UUID, on the same hosts. What
// is on one plane can be moved to the other. Of o.Elemento, which may be nil, only
// what belongs to our manager matters; cut ways and rotate the daemons' certificates
// by the first world, which must not be taken down before its twin.
func (w *World) Twin(ctx context.Context, o Options) (*World, error) {
	if len(w.daemons) == 0 {
		return nil, errors.New("a twin shares the daemons that a world has started, and this one has none")
	}
	var elemento Elemento
	if o.Elemento != nil {
		elemento = *o.Elemento
	}
	elemento.twinOf = w
	o.Elemento = &elemento
	return Up(ctx, o)
}

// share makes the other world's AtomOS and daemons this one's.
func (w *World) share(other *World) {
	w.twinOf = other
	w.hosts, w.clientUID, w.fake, w.fakeURL = other.hosts, other.clientUID, other.fake, other.fakeURL
	w.trust, w.daemons, w.ownPair = other.trust, other.daemons, other.ownPair
	other.pairs.Lock()
	defer other.pairs.Unlock()
	w.managerPair = other.managerPair
}
