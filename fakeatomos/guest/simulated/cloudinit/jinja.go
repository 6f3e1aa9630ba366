package cloudinit

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// TemplateError is a template that cannot be rendered. It tells the line in
// the user-data and what is wrong, and of the text no more than the name of a
// variable or filter.
type TemplateError struct {
	Line   int
	Reason string
}

func (e *TemplateError) Error() string {
	return fmt.Sprintf("template: line %d: %s", e.Line, e.Reason)
}

// render expands the part of Jinja that seeds use: variables with dots and
// brackets, literals, a few filters, comments, raw blocks and the marks that
// eat white space. What it does not know is an error, never passed on, because
// a machine made of a half-rendered seed would be a riddle.
func render(text string, variables map[string]any) (string, error) {
	var out strings.Builder
	rest := text
	trim := false // the tag before ate the white space that follows
	fail := func(format string, args ...any) (string, error) {
		// The header line that was cut away counts.
		return "", &TemplateError{2 + strings.Count(text[:len(text)-len(rest)], "\n"), fmt.Sprintf(format, args...)}
	}
	for {
		start, open := firstTag(rest)
		if start < 0 {
			out.WriteString(trimLeft(rest, trim))
			return out.String(), nil
		}
		plain := trimLeft(rest[:start], trim)
		rest = rest[start:]
		body := rest[2:]
		if strings.HasPrefix(body, "-") {
			plain, body = strings.TrimRightFunc(plain, unicode.IsSpace), body[1:]
		}
		out.WriteString(plain)
		closing := map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"}[open]
		inner, after, found := cutOutsideQuotes(body, closing, open != "{#")
		if !found {
			return fail("%s is not closed by %s", open, closing)
		}
		trim = strings.HasSuffix(inner, "-")
		inner = strings.TrimSpace(strings.TrimSuffix(inner, "-"))
		switch open {
		case "{{":
			value, err := evaluate(inner, variables)
			if err != nil {
				return fail("%v", err)
			}
			out.WriteString(toText(value))
		case "{%":
			if inner != "raw" {
				return fail("only the statement raw is supported")
			}
			verbatim, afterRaw, found := cutEndRaw(strings.TrimPrefix(after, "\n"))
			if !found {
				return fail("raw is not closed by endraw")
			}
			out.WriteString(verbatim)
			after, trim = strings.TrimPrefix(afterRaw, "\n"), false
		case "{#":
			after = strings.TrimPrefix(after, "\n")
		}
		rest = after
	}
}

func firstTag(text string) (int, string) {
	best, open := -1, ""
	for _, tag := range []string{"{{", "{%", "{#"} {
		if i := strings.Index(text, tag); i >= 0 && (best < 0 || i < best) {
			best, open = i, tag
		}
	}
	return best, open
}

func trimLeft(text string, trim bool) string {
	if trim {
		return strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	return text
}

// cutOutsideQuotes splits at the first separator that no string literal holds.
func cutOutsideQuotes(text, separator string, quotes bool) (before, after string, found bool) {
	var quote byte
	for i := 0; i < len(text); i++ {
		switch {
		case quote != 0:
			switch text[i] {
			case '\\':
				i++
			case quote:
				quote = 0
			}
		case quotes && (text[i] == '\'' || text[i] == '"'):
			quote = text[i]
		case strings.HasPrefix(text[i:], separator):
			return text[:i], text[i+len(separator):], true
		}
	}
	return "", "", false
}

var endRaw = regexp.MustCompile(`\{%-?\s*endraw\s*-?%\}`)

func cutEndRaw(text string) (verbatim, after string, found bool) {
	at := endRaw.FindStringIndex(text)
	if at == nil {
		return "", "", false
	}
	return text[:at[0]], text[at[1]:], true
}

// missing is a variable that does not exist, by its last name.
type missing string

// evaluate computes an expression: a value, then filters after bars.
func evaluate(expression string, variables map[string]any) (any, error) {
	tokens, err := tokenize(expression)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	value, err := p.value(variables)
	if err != nil {
		return nil, err
	}
	for p.take("|") {
		if value, err = p.filter(value, variables); err != nil {
			return nil, err
		}
	}
	if len(p.tokens) > 0 {
		return nil, fmt.Errorf("the expression has something after its end")
	}
	return value, nil
}

type token struct {
	kind tokenKind
	text string
}

type tokenKind int

const (
	symbol tokenKind = iota
	name
	literal
	number
)

func tokenize(text string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case isNameByte(c) && !isDigit(c):
			end := i
			for end < len(text) && isNameByte(text[end]) {
				end++
			}
			tokens, i = append(tokens, token{name, text[i:end]}), end
		case isDigit(c):
			end := i
			for end < len(text) && isDigit(text[end]) {
				end++
			}
			tokens, i = append(tokens, token{number, text[i:end]}), end
		case c == '\'' || c == '"':
			var value strings.Builder
			end := i + 1
			for ; end < len(text) && text[end] != c; end++ {
				if text[end] == '\\' && end+1 < len(text) {
					end++
				}
				value.WriteByte(text[end])
			}
			if end >= len(text) {
				return nil, fmt.Errorf("a string literal is not closed")
			}
			tokens, i = append(tokens, token{literal, value.String()}), end+1
		case strings.IndexByte(".[]()|,=", c) >= 0:
			tokens, i = append(tokens, token{symbol, string(c)}), i+1
		default:
			return nil, fmt.Errorf("the expression has a character that is not supported")
		}
	}
	return tokens, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameByte(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

type parser struct{ tokens []token }

func (p *parser) next() (token, bool) {
	if len(p.tokens) == 0 {
		return token{}, false
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, true
}

func (p *parser) take(text string) bool {
	if len(p.tokens) > 0 && p.tokens[0] == (token{symbol, text}) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

var errExpression = fmt.Errorf("the expression is not a variable, literal or filter")

// value reads a literal or a variable with its dots and brackets.
func (p *parser) value(variables map[string]any) (any, error) {
	t, ok := p.next()
	switch {
	case !ok:
		return nil, fmt.Errorf("the expression is empty")
	case t.kind == literal:
		return t.text, nil
	case t.kind == number:
		return t.text, nil
	case t.kind != name:
		return nil, errExpression
	}
	value := member(variables, t.text)
	for {
		var step token
		switch {
		case p.take("."):
			if step, ok = p.next(); !ok || step.kind != name && step.kind != number {
				return nil, errExpression
			}
		case p.take("["):
			if step, ok = p.next(); !ok || step.kind != literal && step.kind != number || !p.take("]") {
				return nil, errExpression
			}
		default:
			return value, nil
		}
		if lost, isMissing := value.(missing); isMissing {
			return nil, fmt.Errorf("the variable %q does not exist", string(lost))
		}
		value = member(value, step.text)
	}
}

func member(of any, by string) any {
	switch of := of.(type) {
	case map[string]any:
		if value, ok := of[by]; ok {
			return value
		}
	case []any:
		if i, err := strconv.Atoi(by); err == nil && i < len(of) {
			return of[i]
		}
	}
	return missing(by)
}

// filter applies one filter with its arguments.
func (p *parser) filter(value any, variables map[string]any) (any, error) {
	t, ok := p.next()
	if !ok || t.kind != name {
		return nil, errExpression
	}
	var arguments []any
	if p.take("(") {
		for !p.take(")") {
			argument, err := p.value(variables)
			if err != nil {
				return nil, err
			}
			arguments = append(arguments, argument)
			if !p.take(",") && !slices.Equal(p.tokens[:min(1, len(p.tokens))], []token{{symbol, ")"}}) {
				return nil, errExpression
			}
		}
	}
	_, isMissing := value.(missing)
	switch {
	case t.text == "default" || t.text == "d":
		if !isMissing {
			return value, nil
		}
		if len(arguments) == 0 {
			return "", nil
		}
		return arguments[0], nil
	case len(arguments) == 0 && t.text == "lower":
		return strings.ToLower(toText(value)), nil
	case len(arguments) == 0 && t.text == "upper":
		return strings.ToUpper(toText(value)), nil
	case len(arguments) == 0 && t.text == "trim":
		return strings.TrimSpace(toText(value)), nil
	case len(arguments) == 2 && t.text == "replace":
		return strings.ReplaceAll(toText(value), toText(arguments[0]), toText(arguments[1])), nil
	}
	return nil, fmt.Errorf("the filter %q with %d arguments is not supported", t.text, len(arguments))
}

// toText prints a value as Python does; a missing variable shows as what
// cloud-init leaves in its place.
func toText(value any) string {
	switch value := value.(type) {
	case missing:
		return "CI_MISSING_JINJA_VAR/" + string(value)
	case nil:
		return "None"
	case bool:
		if value {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}
