package watch

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	inQuotes     = regexp.MustCompile(`"[^"]*"`)
	inBrackets   = regexp.MustCompile(`\{[^}]*\}|\[[^]]*\]`)
	labelsOf     = regexp.MustCompile(`\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)`)
	metricOrWord = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	operators    = []string{"and", "or", "unless", "bool", "offset"}
)

// Metrics are the names of the metrics that a query of ours asks for, in order.
func Metrics(query string) []string {
	query = inQuotes.ReplaceAllString(query, "")
	query = inBrackets.ReplaceAllString(query, " ")
	query = labelsOf.ReplaceAllString(query, " ")
	found := map[string]bool{}
	for _, place := range metricOrWord.FindAllStringIndex(query, -1) {
		word := query[place[0]:place[1]]
		function := strings.HasPrefix(strings.TrimLeft(query[place[1]:], " "), "(")
		unit := place[0] > 0 && query[place[0]-1] >= '0' && query[place[0]-1] <= '9' // 1e9
		if !function && !unit && !slices.Contains(operators, word) {
			found[word] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Scraped are the metrics that alerts are made of in the end: those that they ask for, and
// for records what these ask for.
func Scraped(rules []Rule) []string {
	found := map[string]bool{}
	records := recordsOf(rules)
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		for _, query := range queries(r.Expr, records) {
			for _, name := range Metrics(query) {
				if _, recorded := records[name]; !recorded {
					found[name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// LooksBack tells whether an alert is of what was lately, and so outlasts its cause: it, or
// a record that it asks for, is of a range of time.
func LooksBack(alert string, rules []Rule) bool {
	records := recordsOf(rules)
	for _, r := range rules {
		if r.Alert == alert && slices.ContainsFunc(queries(r.Expr, records), func(query string) bool {
			return strings.Contains(inQuotes.ReplaceAllString(query, ""), "[")
		}) {
			return true
		}
	}
	return false
}

// recordsOf are the queries of records, by name.
func recordsOf(rules []Rule) map[string]string {
	records := map[string]string{}
	for _, r := range rules {
		if r.Record != "" {
			records[r.Record] = r.Expr
		}
	}
	return records
}

// queries are those that a query is made of: itself, and those of the records that it asks
// for.
func queries(query string, records map[string]string) []string {
	all := []string{query}
	for _, name := range Metrics(query) {
		if expr, recorded := records[name]; recorded {
			all = append(all, queries(expr, records)...)
		}
	}
	return all
}
