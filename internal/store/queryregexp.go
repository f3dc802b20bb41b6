package store

import (
	"fmt"
	"regexp"

	"github.com/picket-edr/picket/sigma/regexpsize"
)

// Limits of the regular expressions of a query. The time that one takes for a value
// is its size times the length of the value.
const (
	// MaxRegexpSize is of one: the characters, classes and operators that are left
	// when counted repetitions are written out, as a{3} is aaa.
	MaxRegexpSize = 1000
	// MaxQueryRegexpSize is of all regular expressions of a query.
	MaxQueryRegexpSize = 5000
	// MaxRegexpInputBytes is how much of a value regular expressions and patterns with
	// the wildcard ? see: a longer value is cut there.
	MaxRegexpInputBytes = 64 << 10
)

// compileRegexp compiles a regular expression whose size is at most most, and
// returns its size.
func compileRegexp(text string, most int) (*regexp.Regexp, int, error) {
	// Checked before it is compiled, which takes memory for every repetition.
	size, err := regexpsize.Of(text)
	if err != nil {
		return nil, 0, err
	}
	if size > most {
		return nil, 0, fmt.Errorf("the regular expression is too large: at most %d characters and operators, %d in the whole query, where a{3} counts as aaa",
			MaxRegexpSize, MaxQueryRegexpSize)
	}
	re, err := regexp.Compile(text)
	return re, size, err
}

// truncateForRegexp returns as much of a value as regular expressions see.
func truncateForRegexp(s string) string { return s[:min(len(s), MaxRegexpInputBytes)] }
