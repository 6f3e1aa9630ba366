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

// Scraped are the metrics that rules are made of in the end: those that they ask for,
// and for records what these ask for.
func Scraped(rules []Rule) []string {
	records := map[string]string{}
	for _, r := range rules {
		if r.Record != "" {
			records[r.Record] = r.Expr
		}
	}
	found := map[string]bool{}
	var follow func(query string)
	follow = func(query string) {
		for _, name := range Metrics(query) {
			if expr, recorded := records[name]; recorded {
				follow(expr)
			} else {
				found[name] = true
			}
		}
	}
	for _, r := range rules {
		if r.Alert != "" {
			follow(r.Expr)
		}
	}
	return slices.Sorted(maps.Keys(found))
}
