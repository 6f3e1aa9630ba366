package world

import (
	"net/netip"
	"testing"
)

func TestDockerNetworksOfWorldsDoNotMeet(t *testing.T) {
	t.Parallel()
	all := netip.MustParsePrefix("10.77.0.0/16")
	if got := (dockerNetwork{number: 0}).subnet(); got.Addr() != all.Addr() {
		t.Errorf("the first is %s", got)
	}
	if got := (dockerNetwork{number: networks - 1}).subnet().String(); got != "10.92.224.0/19" {
		t.Errorf("the last is %s", got)
	}
	for number := range networks - 1 {
		n, next := dockerNetwork{number: number}, dockerNetwork{number: number + 1}
		if n.subnet().Overlaps(next.subnet()) {
			t.Errorf("%s and %s overlap", n.subnet(), next.subnet())
		}
		parts := []netip.Prefix{n.dockers(), n.own(), n.guests()}
		for i, part := range parts {
			if part != part.Masked() || !n.subnet().Overlaps(part) {
				t.Errorf("%s is no part of %s", part, n.subnet())
			}
			for _, other := range parts[i+1:] {
				if part.Overlaps(other) {
					t.Errorf("of %s, %s and %s overlap", n.subnet(), part, other)
				}
			}
		}
		block := &Block{number: number, network: &n}
		for _, own := range []byte{1, 254} {
			if a := netip.MustParseAddr(block.Address(own)); !n.own().Contains(a) {
				t.Errorf("%s is not in %s", a, n.own())
			}
		}
	}
}
