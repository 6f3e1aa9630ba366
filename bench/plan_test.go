package main

import (
	"fmt"
	"slices"
	"testing"
)

func TestThePlanGrowsToAThousandMachines(t *testing.T) {
	t.Parallel()
	p, err := parsePlan(thePlan)
	if err != nil {
		t.Fatal(err)
	}
	if want := (size{1000, 16, 20}); p.last() != want {
		t.Errorf("it ends with %s, want %s", p.last(), want)
	}
	end := p[len(p)-3:]
	if p.alike() != end[0].machines {
		t.Errorf("from %d Machines on there are no more hosts, want from %d on", p.alike(), end[0].machines)
	}
	more := func(from, to size) float64 {
		return float64(to.clusters-from.clusters) / float64(to.machines-from.machines)
	}
	if before, after := more(end[0], end[1]), more(end[1], end[2]); before != after {
		t.Errorf("for each Machine there are %v clusters more, and %v then", before, after)
	}
}

func TestAPlanThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "10", "10/1", "10/1/1/1", "10/0/1", "ten/1/1", "10/1/1,", "100/4/5,10/4/5", "10/4/1,100/1/1", "10/1/5,100/1/1", "4/1/5", "100/1/1,101/1/5"} {
		if p, err := parsePlan(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestClustersGetMoreMachinesAndLoseNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before []int
		size   size
		want   []int
	}{
		{nil, size{10, 1, 1}, []int{10}},
		{nil, size{10, 1, 3}, []int{4, 3, 3}},
		{[]int{10}, size{20, 1, 3}, []int{10, 5, 5}},
		{[]int{10, 2}, size{14, 1, 3}, []int{10, 2, 2}},
		{[]int{4, 4}, size{8, 1, 2}, []int{4, 4}},
	} {
		in, err := spread(c.before, c.size)
		if err != nil || !slices.Equal(in, c.want) {
			t.Errorf("%v grown to %s is %v (%v), want %v", c.before, c.size, in, err, c.want)
		}
	}
}

func TestClustersHaveNetworksThatDoNotOverlap(t *testing.T) {
	t.Parallel()
	found, err := networks("127.128.16.0/20", 20, 60)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range found {
		if want := fmt.Sprintf("127.128.%d.%d/25", 16+i/2, i%2*128); n != want {
			t.Errorf("network %d is %s, want %s", i, n, want)
		}
	}
	if found, err = networks("127.128.16.0/20", 1, 1000); err != nil || !slices.Equal(found, []string{"127.128.16.0/20"}) {
		t.Errorf("the only network is %v (%v)", found, err)
	}
	if _, err := networks("127.128.16.0/20", 20, 200); err == nil {
		t.Error("200 Machines find room in one of 20 networks")
	}
}
