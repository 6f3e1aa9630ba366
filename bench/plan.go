package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// size is how much there is at a step of the growth.
type size struct {
	// machines are all of them, with the control plane's, of which each cluster has one.
	machines int
	// hosts are those that the daemons know.
	hosts, clusters int
}

func (s size) String() string {
	return fmt.Sprintf("%s over %s in %s", several(s.machines, "Machine"), several(s.hosts, "host"), several(s.clusters, "cluster"))
}

// several are so many of something.
func several(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// plan is a growth: sizes of which none is smaller in anything than the one before.
type plan []size

// thePlan is the growth that is measured when nothing else is said. Of its last three sizes,
// clusters grow with Machines on one line and hosts do not, so that what does not grow on
// one either grows with something else.
const thePlan = "10/1/1,100/4/5,300/16/5,580/16/11,1000/16/20"

// parsePlan reads sizes as machines/hosts/clusters, separated by commas.
func parsePlan(text string) (plan, error) {
	var p plan
	for _, step := range strings.Split(text, ",") {
		var of []int
		for _, field := range strings.Split(step, "/") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q is no size: write machines/hosts/clusters, such as 100/4/5", step)
			}
			of = append(of, n)
		}
		if len(of) != 3 {
			return nil, fmt.Errorf("%q is no size: write machines/hosts/clusters, such as 100/4/5", step)
		}
		p = append(p, size{machines: of[0], hosts: of[1], clusters: of[2]})
	}
	var in []int
	for i, s := range p {
		if i > 0 && (s.machines < p[i-1].machines || s.hosts < p[i-1].hosts || s.clusters < p[i-1].clusters) {
			return nil, fmt.Errorf("%s after %s: what there is only grows", s, p[i-1])
		}
		var err error
		if in, err = spread(in, s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// alike is the least number of Machines among the sizes that have as many hosts as the last.
func (p plan) alike() int {
	return p[slices.IndexFunc(p, func(s size) bool { return s.hosts == p.last().hosts })].machines
}

// last is the largest size.
func (p plan) last() size { return p[len(p)-1] }

// spread deals Machines to clusters, of which the first have those already that before
// says: the clusters with the fewest get more, and none loses any.
func spread(before []int, s size) ([]int, error) {
	in := make([]int, s.clusters)
	left := s.machines
	for i := range in {
		in[i] = 1 // the control plane
		if i < len(before) {
			in[i] = before[i]
		}
		left -= in[i]
	}
	if left < 0 {
		return nil, fmt.Errorf("%s: these clusters have %d Machines at least, with what was there before and a control plane each", s, s.machines-left)
	}
	for ; left > 0; left-- {
		fewest := 0
		for i := range in {
			if in[i] < in[fewest] {
				fewest = i
			}
		}
		in[fewest]++
	}
	return in, nil
}

// guestBits are those of the range of addresses that guests of each world may have, on
// loopback and on a Docker network alike.
const guestBits = 20

// divided are the bits of so many networks of the same size in a range of addresses.
func divided(bits, networks int) int {
	for room := 1; room < networks; room *= 2 {
		bits++
	}
	return bits
}

// room says whether a range of addresses can be divided so.
func room(bits, clusters, machines int) error {
	// The ends of a network, its gateway and a virtual address are not for Machines.
	if room := 1<<(32-divided(bits, clusters)) - 4; room < machines {
		return fmt.Errorf("/%d has no room for %d clusters of up to %d Machines: %d each", bits, clusters, machines, room)
	}
	return nil
}

// networks divides a range of addresses into networks of the same size, one for each
// of so many clusters of at most so many Machines.
func networks(within string, clusters, machines int) ([]string, error) {
	of, err := netip.ParsePrefix(within)
	if err != nil {
		return nil, err
	}
	if err := room(of.Bits(), clusters, machines); err != nil {
		return nil, fmt.Errorf("%s: %w", within, err)
	}
	bits := divided(of.Bits(), clusters)
	var found []string
	address := of.Masked().Addr().As4()
	first := uint32(address[0])<<24 | uint32(address[1])<<16 | uint32(address[2])<<8 | uint32(address[3])
	for i := range clusters {
		a := first + uint32(i)<<(32-bits)
		found = append(found, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits).String())
	}
	return found, nil
}
