package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/timetext"
)

// maxPageRows bounds the rows of a page.
const maxPageRows = 1000

// documentedParameters returns the query parameters of each operation of openapi.json,
// such as "GET /api/v1/alerts".
func documentedParameters() map[string][]string {
	type parameter struct {
		Ref  string `json:"$ref"`
		Name string `json:"name"`
		In   string `json:"in"`
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []parameter `json:"parameters"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]parameter `json:"parameters"`
		} `json:"components"`
	}
	if err := json.Unmarshal(openAPIDocument, &doc); err != nil {
		panic(fmt.Sprintf("read openapi.json: %v", err)) // it is part of the program
	}
	names := make(map[string][]string)
	for path, operations := range doc.Paths {
		for method, op := range operations {
			operation := strings.ToUpper(method) + " " + path
			for _, p := range op.Parameters {
				if p.Ref != "" {
					p = doc.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
				}
				if p.In == "query" {
					names[operation] = append(names[operation], p.Name)
				}
			}
		}
	}
	return names
}

// checkQuery refuses a query that is malformed, has a parameter other than those known,
// or has one twice. A misspelt parameter would otherwise select everything.
func checkQuery(r *http.Request, known []string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("read the query of the URL: %w: %w", err, picket.ErrInvalid)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return fmt.Errorf("unknown parameter %q: this path takes none: %w", name, picket.ErrInvalid)
		case !slices.Contains(known, name):
			return fmt.Errorf("unknown parameter %q: there are %s: %w", name, strings.Join(known, ", "), picket.ErrInvalid)
		case len(values[name]) > 1:
			return fmt.Errorf("parameter %s is given %d times: %w", name, len(values[name]), picket.ErrInvalid)
		case !utf8.ValidString(values.Get(name)):
			return fmt.Errorf("parameter %s is not UTF-8: %w", name, picket.ErrInvalid)
		}
	}
	return nil
}

// queryParams reads URL parameters; err is the first one that is malformed.
type queryParams struct {
	url.Values
	err error
}

// positiveIntPattern is a number as pages give it for a cursor: it fits in 64 bits.
var positiveIntPattern = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)

// maxPositiveInt is the largest that positiveIntPattern allows.
const maxPositiveInt = 999_999_999_999_999_999

// positiveInt returns a parameter that is a number from 1 on, or ifMissing.
func (q *queryParams) positiveInt(name string, ifMissing, maxAllowed int64, want string) int64 {
	if !q.Has(name) {
		return ifMissing
	}
	v := q.Get(name)
	n, _ := strconv.ParseInt(v, 10, 64) // fits where the pattern matches
	if !positiveIntPattern.MatchString(v) || n > maxAllowed {
		q.recordError(name, v, want)
	}
	return n
}

func (q *queryParams) pageLimit() int {
	return int(q.positiveInt("limit", 100, maxPageRows, fmt.Sprintf("a number from 1 to %d", maxPageRows)))
}

// cursorNumber returns the cursor of a list whose rows are numbered, 0 without one.
func (q *queryParams) cursorNumber() int64 {
	if q.Get("cursor") == "" {
		return 0
	}
	return q.positiveInt("cursor", 0, maxPositiveInt, "one that a page gave")
}

// list returns the values of a parameter that has one or more with commas between them.
func (q *queryParams) list(name string, allowed []string) []string {
	if !q.Has(name) {
		return nil
	}
	values := strings.Split(q.Get(name), ",")
	for _, v := range values {
		if !slices.Contains(allowed, v) {
			q.recordError(name, v, "one of "+strings.Join(allowed, ", "))
		}
	}
	return values
}

// timeParam returns a parameter that is a point in time.
func (q *queryParams) timeParam(name string, now time.Time) time.Time {
	if !q.Has(name) {
		return time.Time{}
	}
	t, err := timetext.ParseTime(q.Get(name), now.UTC())
	if err != nil {
		q.recordError(name, q.Get(name), timetext.TimeForms)
	}
	return t
}

func (q *queryParams) recordError(name, value, want string) {
	if q.err == nil {
		q.err = fmt.Errorf("parameter %s is %q, not %s: %w", name, value, want, picket.ErrInvalid)
	}
}
