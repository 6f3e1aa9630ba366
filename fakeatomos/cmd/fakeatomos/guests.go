package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
)

// kinds are the guests that --guests can name. Each returns how to end what
// outlives the VMs.
var kinds = map[string]func(context.Context, settings) (guest.Guests, func(), error){
	"none": func(context.Context, settings) (guest.Guests, func(), error) { return nil, func() {}, nil },
	"simulated": func(_ context.Context, s settings) (guest.Guests, func(), error) {
		g, err := simulated.New(s.simulated)
		if err != nil {
			return nil, nil, err
		}
		return g, g.Close, nil
	},
	"container": func(ctx context.Context, s settings) (guest.Guests, func(), error) {
		s.container.KeepDisks = s.options.StateDir != ""
		g, err := container.New(ctx, s.container)
		if err != nil {
			return nil, nil, err
		}
		return g, g.Close, nil
	},
}

func guestKinds() []string { return slices.Sorted(maps.Keys(kinds)) }

func newGuests(ctx context.Context, s settings) (guest.Guests, func(), error) {
	build := kinds[s.guests]
	if build == nil {
		return nil, nil, fmt.Errorf("--guests %q: use one of %v", s.guests, guestKinds())
	}
	return build(ctx, s)
}
