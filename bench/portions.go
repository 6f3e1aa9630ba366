package main

// Many Machines of one cluster are asked for in portions: the next one when of those that
// are asked for so many at most, ahead, are not there yet. Cluster API breaks off after a
// minute what it does for one MachineSet, and begins anew: where processors are slow a
// MachineSet that is asked for many at a time does not come to its end, and makes fewer
// each time.
const portion, ahead = 60, 30

// raised is how many each is asked for next, of which so many are wanted: a portion more in
// all, most of it of those that lack most.
func raised(asked, wanted []int) (next []int) {
	next = append(next, asked...)
	for range portion {
		most := 0
		for i := range next {
			if wanted[i]-next[i] > wanted[most]-next[most] {
				most = i
			}
		}
		if wanted[most] <= next[most] {
			break
		}
		next[most]++
	}
	return next
}
