// Signoff merges the runs that it is given into the report that is signed: the
// checklist with what each run measured, as a page, JSON and JUnit XML.
//
//	go run ./reports/signoff --out out/signoff out/poc out/bench out/upstream
//
// Without runs it takes all that have left a report below out. See [reports.Merge]
// for which run answers a criterion. It ends with 1 when something has failed; what
// nobody ran is open, stays in sight, and is no failure.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "signoff:", err)
		os.Exit(1)
	}
}

// errFailed is the end of a sign-off in which something has failed.
var errFailed = errors.New("something has failed; the report says what")

func run(args []string, progress io.Writer) error {
	flags := flag.NewFlagSet("signoff", flag.ContinueOnError)
	out := flags.String("out", "out/signoff", "`directory` for the sign-off")
	from := flags.String("from", "out", "`directory` below which all runs are taken when none is named")
	carry := flags.Bool("carry", false, "copy the evidence beside the sign-off, to hand all of it over, instead of linking to it")
	title := flags.String("title", "Sign-off of the Elemento Cluster API provider", "`title` of the report")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dirs := flags.Args()
	if len(dirs) == 0 {
		found, err := filepath.Glob(filepath.Join(*from, "*", "report.json"))
		if err != nil {
			return err
		}
		for _, path := range found {
			dirs = append(dirs, filepath.Dir(path))
		}
		if len(dirs) == 0 {
			return fmt.Errorf("no run below %s has left a report.json: run a suite, such as make poc, or name the directories of its runs", *from)
		}
	}
	sources, err := read(*out, dirs)
	if err != nil {
		return err
	}
	if *carry {
		if err := carryEvidence(*out, dirs, sources); err != nil {
			return err
		}
	}
	bugs, err := reports.TrackRecord()
	if err != nil {
		return err
	}
	report, err := reports.Merge(*title, command(dirs), sources, bugs)
	if err != nil {
		return err
	}
	path, err := reports.WriteSignOff(*out, report)
	if err != nil {
		return err
	}
	if err := reports.WriteText(progress, report); err != nil {
		return err
	}
	fmt.Fprintf(progress, "report: %s\n", path)
	if report.Verdict == reports.Failed {
		return errFailed
	}
	return nil
}

// command is what makes the sign-off of the same runs again.
func command(dirs []string) string {
	for _, dir := range dirs {
		if filepath.IsAbs(dir) { // where it lies on this machine is nobody's business
			return "make signoff"
		}
	}
	return fmt.Sprintf("make signoff RUNS=%q", strings.Join(dirs, " "))
}

// read reads the runs of the directories and names each after its own, with what
// tells it from one of the same name.
func read(out string, dirs []string) ([]reports.Source, error) {
	from, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	var sources []reports.Source
	for _, dir := range dirs {
		r, err := reports.Read(dir)
		if err != nil {
			return nil, err
		}
		to, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		link, err := filepath.Rel(from, to)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(to)
		for n := 2; slices.ContainsFunc(sources, func(s reports.Source) bool { return s.Name == name }); n++ {
			name = fmt.Sprintf("%s-%d", filepath.Base(to), n)
		}
		sources = append(sources, reports.Source{Name: name, Dir: filepath.ToSlash(link), Report: r})
	}
	return sources, nil
}

// carryEvidence copies what the reports of the runs refer to, and the reports, into
// directories of their own below that of the sign-off.
func carryEvidence(out string, dirs []string, sources []reports.Source) error {
	for i := range sources {
		s := &sources[i]
		s.Dir = "evidence/" + s.Name
		paths := []string{"report.html", "report.json", "report.xml"}
		for _, e := range s.Report.Evidence {
			paths = append(paths, e.Path)
		}
		for _, c := range s.Report.Criteria {
			for _, e := range c.Evidence {
				paths = append(paths, e.Path)
			}
		}
		for _, path := range paths {
			if !filepath.IsLocal(filepath.FromSlash(path)) {
				return fmt.Errorf("evidence %q of the run %s lies outside of its directory", path, s.Name)
			}
			err := copyAll(filepath.Join(dirs[i], path), filepath.Join(out, s.Dir, path))
			if err != nil && !errors.Is(err, os.ErrNotExist) { // an older run may lack a form of its report
				return fmt.Errorf("copying the evidence of the run %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// copyAll copies a file or a directory, over what an earlier sign-off has copied.
func copyAll(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		return errors.Join(err, target.Close())
	}
	return target.Close()
}
