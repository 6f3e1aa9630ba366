package main

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
)

func TestAMachineThatIsDeletedIsNotInFlight(t *testing.T) {
	t.Parallel()
	lived := func(stages ...life.Stage) life.Life {
		l := life.Life{At: map[life.Stage]time.Time{}}
		for n, s := range stages {
			l.At[s] = at(n)
		}
		return l
	}
	control := lived(life.Created, life.Running)
	control.ControlPlane = true
	there, running := count([]life.Life{
		control,
		lived(),
		lived(life.Created),
		lived(life.Created, life.Running),
		lived(life.Created, life.Deleted),
		lived(life.Created, life.Running, life.Deleted),
	})
	if there != 2 || running != 1 {
		t.Errorf("%d are there and %d of them run, want 2 and 1", there, running)
	}
}
