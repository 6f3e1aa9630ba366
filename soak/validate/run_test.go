package validate_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

// kept is the directory of a run that left this history.
func kept(t *testing.T, s story) string {
	t.Helper()
	dir := t.TempDir()
	w, err := fake.Open(filepath.Join(dir, history.AtomOS))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s {
		w.Add(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAnEmptyHistoryIsUnknown(t *testing.T) {
	t.Parallel()
	results, err := validate.Run(t.TempDir(), validate.All(validate.Limits{})...)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 7 || validate.Verdict(results) != reports.Unknown {
		t.Errorf("the verdict is %s of %+v", validate.Verdict(results), results)
	}
	for _, r := range results {
		if r.Verdict != reports.Unknown {
			t.Errorf("%s is %s", r.Validator, r.Verdict)
		}
	}
}

func TestAHistoryInWhichNothingCanBeJudgedIsUnknown(t *testing.T) {
	t.Parallel()
	results, err := validate.Run(kept(t, story{later(1)}), validate.All(validate.Limits{})...)
	if err != nil {
		t.Fatal(err)
	}
	if validate.Verdict(results) != reports.Unknown {
		t.Errorf("the verdict is %s of %+v", validate.Verdict(results), results)
	}
}

func TestARunIsJudgedTheSameWhileItGoesOnAndAfterwards(t *testing.T) {
	t.Parallel()
	for want, s := range map[reports.Verdict]story{
		reports.Failed: {vm(1, "made", "h1", "a", "1"), vm(2, "made", "h2", "a", "2"), vm(3, "removed", "h1", "a", "1"), vm(3, "removed", "h2", "a", "2"), later(20)},
		reports.Passed: {vm(1, "made", "h1", "a", "1"), vm(3, "removed", "h1", "a", "1"), later(20)},
	} {
		dir := kept(t, s)
		results, err := validate.Run(dir, validate.All(validate.Limits{})...)
		if err != nil || validate.Verdict(results) != want {
			t.Errorf("afterwards the verdict is %s, %v; want %s", validate.Verdict(results), err, want)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		told := 0
		results, err = validate.Follow(ctx, dir, func(validate.Violation) { told++ }, validate.All(validate.Limits{})...)
		if err != nil || validate.Verdict(results) != want || (told > 0) != (want == reports.Failed) {
			t.Errorf("while it goes on the verdict is %s, %v, and %d are told; want %s", validate.Verdict(results), err, told, want)
		}
	}
}

func TestTheHistoriesOfARunThatWasResumedAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, inside := range []string{"part-1/history", "part-2/history", "history", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, inside), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := validate.Parts(dir)
	if want := []string{filepath.Join(dir, "part-1/history"), filepath.Join(dir, "part-2/history"), filepath.Join(dir, "history")}; err != nil || !slices.Equal(parts, want) {
		t.Errorf("the parts are %q, %v; want %q", parts, err, want)
	}
	for _, alone := range []string{filepath.Join(dir, "history"), filepath.Join(dir, "logs")} {
		if parts, err := validate.Parts(alone); err != nil || !slices.Equal(parts, []string{alone}) {
			t.Errorf("the parts of %s are %q, %v", alone, parts, err)
		}
	}
}
