package suite

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"sigs.k8s.io/cluster-api/test/framework"
)

// failing is a proxy whose calls fail, one after the other.
type failing struct {
	framework.ClusterProxy
	left []error
}

func (f *failing) CreateOrUpdate(context.Context, []byte, ...framework.CreateOrUpdateOption) error {
	if len(f.left) == 0 {
		return nil
	}
	err := f.left[0]
	f.left = f.left[1:]
	return err
}

func TestWhatAControllerHasChangedMeanwhileIsWrittenAgain(t *testing.T) {
	t.Parallel()
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "clusters"}, "c", errors.New("it was modified"))
	refusal := errors.New("it is refused")
	for name, test := range map[string]struct {
		fails []error
		want  error
		left  int
	}{
		"nothing went wrong":        {nil, nil, 0},
		"conflicts":                 {[]error{conflict, kerrors.NewAggregate([]error{conflict, conflict})}, nil, 0},
		"another error":             {[]error{refusal, conflict}, refusal, 1},
		"another error with others": {[]error{kerrors.NewAggregate([]error{conflict, refusal}), conflict}, refusal, 1},
	} {
		inner := &failing{left: test.fails}
		if err := (proxy{inner}).CreateOrUpdate(t.Context(), nil); !errors.Is(err, test.want) || len(inner.left) != test.left {
			t.Errorf("%s: the error is %v, and %d calls were not made", name, err, len(inner.left))
		}
	}
}
