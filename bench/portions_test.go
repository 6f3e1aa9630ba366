package main

import (
	"slices"
	"testing"
)

func TestMachinesAreAskedForInPortions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ asked, wanted, want []int }{
		{[]int{0}, []int{9}, []int{9}},
		{[]int{0, 0}, []int{100, 100}, []int{30, 30}},
		{[]int{40, 0}, []int{50, 100}, []int{40, 60}},
		{[]int{60, 50}, []int{60, 51}, []int{60, 51}},
		{[]int{5, 5}, []int{5, 5}, []int{5, 5}},
	} {
		before := slices.Clone(c.asked)
		if next := raised(c.asked, c.wanted); !slices.Equal(next, c.want) || !slices.Equal(c.asked, before) {
			t.Errorf("after %v of %v come %v (and %v), want %v", before, c.wanted, next, c.asked, c.want)
		}
	}
}
