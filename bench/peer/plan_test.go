package main

import (
	"slices"
	"testing"
)

func TestTheBigClusterGrowsFromStepToStep(t *testing.T) {
	t.Parallel()
	c := &comparison{size: 3}
	if err := c.scale("100,300"); err != nil {
		t.Fatal(err)
	}
	plans := c.plans()
	if len(plans) != 2 || !slices.Equal(plans[0].workers, []int{3, 6, 3}) || !slices.Equal(plans[1].workers, []int{0, 100, 300, 0}) {
		t.Errorf("the plans are %+v", plans)
	}
	for _, numbers := range []string{"0", "-1", "100,100", "300,100", "many", "100,"} {
		if err := c.scale(numbers); err == nil {
			t.Errorf("--workers %s is taken", numbers)
		}
	}
	if err := c.scale(""); err != nil || len(c.plans()) != 1 {
		t.Errorf("no big cluster: %v, %+v", err, c.plans())
	}
}
