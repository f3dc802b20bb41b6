package ruleconvert

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

var (
	// repeatUpToPattern is {,n}, which means up to n in Python, and is literal text in RE2.
	repeatUpToPattern   = regexp.MustCompile(`^\{,\d*\}`)
	leadingFlagsPattern = regexp.MustCompile(`^\(\?[ims]+\)`)
	inlineFlagsPattern  = regexp.MustCompile(`^\(\?[a-zA-Z]*(-[a-zA-Z]+)?\)`)
)

// checkRegex returns an error for an expression that RE2 does not support, or that
// has another meaning than in Python. If the two differ only beyond ASCII, it
// returns a note.
func checkRegex(source string) (note string, err error) {
	if _, err := regexp.Compile(source); err != nil {
		why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		if se, ok := errors.AsType[*syntax.Error](err); ok && slices.Contains([]syntax.ErrorCode{syntax.ErrInvalidPerlOp, syntax.ErrInvalidEscape, syntax.ErrInvalidNamedCapture}, se.Code) {
			why += "; RE2 has neither lookaround nor references to groups"
		}
		return "", errors.New(why)
	}
	class := false
	notes := make(map[string]bool)
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		switch {
		case rest[0] == '\\':
			i++
			switch c := source[i]; {
			case strings.IndexByte("pPQECzh", c) >= 0, strings.HasPrefix(rest, `\x{`):
				return "", fmt.Errorf(`\%c is unknown to Python, so it never held`, c)
			case c >= '1' && c <= '9':
				return "", fmt.Errorf(`\%c is a reference to a group`, c)
			case strings.IndexByte("wWdDsSbB", c) >= 0:
				notes[`\`+string(c)] = true
			}
		case class:
			if strings.HasPrefix(rest, "[:") {
				return "", errors.New("[: within a class means something else in RE2; write the class out")
			}
			class = rest[0] != ']'
		case rest[0] == '[':
			class = true
			if strings.HasPrefix(rest, "[^") {
				i++
			}
			if strings.HasPrefix(source[i+1:], "]") { // as the first character it is a member
				i++
			} else if strings.HasPrefix(source[i+1:], "[:") {
				return "", errors.New("[: within a class means something else in RE2; write the class out")
			}
		case repeatUpToPattern.MatchString(rest):
			return "", errors.New("{,n} means something else in RE2; write {0,n}")
		case strings.HasPrefix(rest, "(?<"), strings.HasPrefix(rest, "(?U"):
			return "", fmt.Errorf("%s is unknown to Python, so it never held", rest[:3])
		case i > 0 && inlineFlagsPattern.MatchString(rest), i == 0 && inlineFlagsPattern.MatchString(rest) && !leadingFlagsPattern.MatchString(rest):
			return "", errors.New("flags that do not stand at the beginning mean something else in RE2")
		case rest[0] == '$':
			notes["$"] = true
		}
	}
	var words []string
	for _, w := range []string{`\w`, `\W`, `\d`, `\D`, `\s`, `\S`, `\b`, `\B`} {
		if notes[w] {
			words = append(words, w)
		}
	}
	if words != nil {
		note = fmt.Sprintf("%s in %q know ASCII only; they knew all of Unicode", strings.Join(words, " "), source)
	}
	if notes["$"] {
		if note != "" {
			note += "; "
		}
		note += fmt.Sprintf("$ in %q is the very end; it was also before a last newline", source)
	}
	return note, nil
}
