package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// kinds are the guests that --guests can name.
var kinds = map[string]func(log *slog.Logger) (guest.Guests, error){
	"none": func(*slog.Logger) (guest.Guests, error) { return nil, nil },
}

func guestKinds() []string { return slices.Sorted(maps.Keys(kinds)) }

func newGuests(kind string, log *slog.Logger) (guest.Guests, error) {
	build := kinds[kind]
	if build == nil {
		return nil, fmt.Errorf("--guests %q: use one of %v", kind, guestKinds())
	}
	return build(log)
}
