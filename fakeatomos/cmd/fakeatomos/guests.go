package main

import (
	"fmt"
	"maps"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
)

// kinds are the guests that --guests can name. Each returns how to end what
// outlives the VMs.
var kinds = map[string]func(simulated.Options) (guest.Guests, func(), error){
	"none": func(simulated.Options) (guest.Guests, func(), error) { return nil, func() {}, nil },
	"simulated": func(o simulated.Options) (guest.Guests, func(), error) {
		g, err := simulated.New(o)
		if err != nil {
			return nil, nil, err
		}
		return g, g.Close, nil
	},
}

func guestKinds() []string { return slices.Sorted(maps.Keys(kinds)) }

func newGuests(kind string, o simulated.Options) (guest.Guests, func(), error) {
	build := kinds[kind]
	if build == nil {
		return nil, nil, fmt.Errorf("--guests %q: use one of %v", kind, guestKinds())
	}
	return build(o)
}
