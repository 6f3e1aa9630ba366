package watch

import (
	"slices"
	"testing"

	"github.com/prometheus/common/model"
)

func TestALabelThatHoldsANameIsFound(t *testing.T) {
	t.Parallel()
	series := []model.LabelSet{
		{"__name__": "elemento_a", "job": "j", "instance": "shop", "host": "host-1"},
		{"__name__": "elemento_b", "job": "j", "instance": "i", "reason": "shop/c1-md-0-x7"},
		{"__name__": "elemento_b", "job": "j", "instance": "k", "reason": "shop/c1-md-0-x7"},
		{"__name__": "elemento_c", "domain": "c1-md-0-x7"},
	}
	want := []string{
		`elemento_b{reason="shop/c1-md-0-x7"} holds the name c1-md-0-x7`,
		`elemento_b{reason="shop/c1-md-0-x7"} holds the name shop`,
		`elemento_c{domain="c1-md-0-x7"} holds the name c1-md-0-x7`,
	}
	if got := Naming(series, []string{"c1-md-0-x7", "shop"}); !slices.Equal(got, want) {
		t.Errorf("found are %q, want %q", got, want)
	}
	if got := Naming(series, []string{"c1-md-0-y8"}); len(got) > 0 {
		t.Errorf("found are %q of a name that is in none", got)
	}
}
