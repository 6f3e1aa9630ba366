package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

func TestBackgroundOfFaultsIsOfTransientOnes(t *testing.T) {
	t.Parallel()
	faults, err := seeded(background, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if f.Name == "" || f.Call == "" || f.Probability <= 0 || f.Probability > 0.1 {
			t.Errorf("fault %q befalls %q with probability %v, want a name, a call, and once in a while", f.Name, f.Call, f.Probability)
		}
	}
	again, err := seeded(background, 0)
	if err != nil || !slices.Equal(faults, again) {
		t.Errorf("the same file has other faults: %v, %v", again, err)
	}
	other, err := seeded(background, 99)
	if err != nil {
		t.Fatal(err)
	}
	for n := range other {
		if other[n].Seed != int64(99+n) {
			t.Errorf("fault %q has seed %d in spite of --seed 99", other[n].Name, other[n].Seed)
		}
	}
}

func TestEveryReasonIsRepeatableOrNot(t *testing.T) {
	t.Parallel()
	for n, name := range rpc.Reason_name {
		if _, known := repeatable[rpc.Reason(n)]; !known {
			t.Errorf("nothing says whether %s is repeatable", name)
		}
	}
}

func TestEveryOperationHasADeadline(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		if deadlines[k] <= 0 {
			t.Errorf("%s has none", k)
		}
	}
	if len(deadlines) != len(kinds) {
		t.Errorf("%d deadlines for %d operations", len(deadlines), len(kinds))
	}
}

func failure(code codes.Code, reason rpc.Reason) error {
	st, err := status.New(code, "failed").WithDetails(&rpc.ErrorDetail{Reason: reason})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

func TestCallIsRepeatedWhereThatHelpsAndOnlyThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		err   error
		calls int
	}{
		{"success", nil, 1},
		{"an outcome that is not known", failure(codes.Aborted, rpc.Reason_REASON_OUTCOME_UNKNOWN), 2},
		{"no daemon", status.Error(codes.Unavailable, "no connection"), 2},
		{"a VM that is gone", failure(codes.NotFound, rpc.Reason_REASON_VM_NOT_FOUND), 1},
		{"a request that is wrong", failure(codes.InvalidArgument, rpc.Reason_REASON_INVALID_REQUEST), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			attempts, answers := 0, []error{c.err, nil}
			err := ask(t.Context(), &attempts, func(context.Context) error { return answers[attempts-1] })
			if attempts != c.calls || (err == nil) != (c.err == nil || c.calls > 1) {
				t.Errorf("%d calls and %v, want %d calls", attempts, err, c.calls)
			}
		})
	}
}

func TestWhatDoesNotComeEndsWithItsDeadlineAndSaysWhy(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	notYet := errors.New("not yet")
	if err := until(ctx, func(context.Context) error { return notYet }); !errors.Is(err, notYet) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	never := &lost{errors.New("never")}
	if err := until(t.Context(), func(context.Context) error { return never }); !errors.Is(err, never) {
		t.Errorf("got %v", err)
	}
}

func TestLifeThatFailedGoesOnWithItsDeletionAndCountsWhatItSkipped(t *testing.T) {
	t.Parallel()
	log, err := openLog(t.TempDir() + "/operations.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l := &life{iterations: &iterations{log: log}, run: "without faults", number: 1, vm: 1}
	fails := errors.New("no")
	l.do(t.Context(), create, func(context.Context, *int) error { return nil })
	l.do(t.Context(), attachVolume, func(context.Context, *int) error { return fails })
	l.do(t.Context(), stop, func(context.Context, *int) error { t.Error("stopped all the same"); return nil })
	var outcomes []string
	for _, o := range l.done {
		outcomes = append(outcomes, o.Outcome)
	}
	if want := []string{succeededOutcome, failedOutcome, skippedOutcome}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q, want %q", outcomes, want)
	}
	if n := count(l.done, succeededOutcome); n != 1 {
		t.Errorf("%d have succeeded, want 1 of 3", n)
	}
}

func TestWorkThatWasSaidToBeDoneAndIsNotIsLost(t *testing.T) {
	t.Parallel()
	log, err := openLog(t.TempDir() + "/operations.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l := &life{iterations: &iterations{log: log}}
	l.do(t.Context(), detachVolume, func(ctx context.Context, attempts *int) error {
		return l.askUntil(ctx, attempts, func(context.Context) error { return nil }, func(context.Context) error { return &lost{errors.New("it is still there")} })
	})
	if n := count(l.done, lostOutcome); n != 1 || l.done[0].Attempts != 1 {
		t.Errorf("got %+v", l.done)
	}
}
