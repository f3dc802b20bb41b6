package mongostore

import (
	"math"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// filter returns a MongoDB filter that selects every event that the search selects,
// and maybe others.
func (f *eventSearch) filter() bson.D {
	out := bson.D{}
	var span bson.D
	if f.lo > math.MinInt64 {
		span = append(span, bsonElem("$gte", bson.DateTime(millisOfMicros(f.lo))))
	}
	if f.hi < math.MaxInt64 {
		span = append(span, bsonElem("$lte", bson.DateTime(millisOfMicros(f.hi))))
	}
	if span != nil {
		out = append(out, bsonElem("timestamp", span))
	}
	if f.query.Where != nil {
		out = append(out, exprToFilter(f.query.Where)...)
	}
	return out
}

// exprToFilter returns a condition that holds for every event that x selects; nil if
// there is none better than true. It may hold for other events too, so there is
// none for a Not.
func exprToFilter(x store.Expr) bson.D {
	switch x := x.(type) {
	case store.And:
		return allOf(x)
	case store.Or:
		var conditions bson.A
		for _, sub := range x {
			d := exprToFilter(sub)
			if d == nil {
				return nil
			}
			conditions = append(conditions, d)
		}
		return anyOf(conditions)
	case *store.TextTerm:
		return textToFilter("", string(x.Folded()))
	case *store.PatternTerm:
		return patternToFilter(x)
	case *store.RegexpTerm:
		prefix, _ := x.Re.LiteralPrefix()
		return textToFilter(x.Field, casefold.String(prefix))
	}
	return nil
}

// allOf returns the condition that holds for every event that all terms select. The first
// name of a host or an agent is at the top, where every planner looks for an index.
func allOf(terms []store.Expr) (out bson.D) {
	var others bson.A
	for _, x := range terms {
		d := exprToFilter(x)
		if t, ok := x.(*store.PatternTerm); ok && namePaths[t.Field] != "" && out == nil && len(d) == 1 && d[0].Key == namePaths[t.Field] {
			out = d
		} else if d != nil {
			others = append(others, d)
		}
	}
	if others != nil {
		out = append(out, bsonElem("$and", others))
	}
	return out
}

func anyOf(conditions bson.A) bson.D { return bson.D{bsonElem("$or", conditions)} }

// namePaths are the paths of the indexed names of fields.
var namePaths = map[string]string{"host": "names.host", "agent_id": "names.agent"}

// nameToFilter returns the condition of a term that names a host or an agent in full,
// which an index answers, if it is one. The condition is exact unless the name is cut.
func nameToFilter(x *store.PatternTerm) (condition bson.E, ok bool) {
	path, text := namePaths[x.Field], x.Pattern.String()
	return bsonElem(path, indexedName(text)), path != "" && !strings.ContainsAny(text, "*?")
}

func patternToFilter(x *store.PatternTerm) bson.D {
	if name, ok := nameToFilter(x); ok {
		return bson.D{name}
	}
	best := ""
	for _, lit := range x.Pattern.Literals() {
		if run := longestPlainRun(lit); len(run) > len(best) {
			best = run
		}
	}
	return textToFilter(x.Field, best)
}

// builtinPaths are the paths of the built-in fields in an event's document.
var builtinPaths = map[string]string{"event_id": "_id", "agent_id": "agent_id", "host": "host.hostname", "event_type": "event_type"}

// textToFilter returns the condition that a folded text is in the event or, if a
// field is named, in any of its values: a value is in raw, among the literals, or
// built in. It returns nil if no part of the text can be searched for.
func textToFilter(field, folded string) bson.D {
	run := longestPlainRun(folded)
	if run == "" {
		return nil
	}
	re := bson.Regex{Pattern: runToRegexp(run), Options: "i"}
	conditions := bson.A{bson.D{bsonElem("raw", re)}, bson.D{bsonElem("odd", true)}}
	if field != "" {
		conditions = append(conditions, bson.D{bsonElem("more", re)})
	}
	if path := builtinPaths[field]; path != "" {
		conditions = append(conditions, bson.D{bsonElem(path, re)})
	}
	if field == store.EventTypeField { // of these types it is also the category, which is not stored
		conditions = append(conditions, bson.D{bsonElem(builtinPaths[field], bson.D{bsonElem("$in", bson.A{"process", "file", "network"})})})
	}
	return anyOf(conditions)
}

// maxSearchedRunBytes is how much of a text is searched for.
const maxSearchedRunBytes = 128

// longestPlainRun returns the longest part of a folded text that JSON writes as it
// is, or with escapes for which runToRegexp allows: printable ASCII without quotes
// and slashes.
func longestPlainRun(s string) string {
	best, start := "", 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' && s[i] != '/' {
			continue
		}
		if i-start > len(best) {
			best = s[start:i]
		}
		start = i + 1
	}
	return best[:min(len(best), maxSearchedRunBytes)]
}

// runToRegexp returns a regular expression that matches wherever a run is: as it is
// written, or anywhere in an event that writes ASCII as \u00xx, which hardly any
// event does. The characters that fold to k and s match because of the option i,
// and as escapes.
func runToRegexp(run string) string {
	return regexp.QuoteMeta(run) + `|\\u00[2-7]|\\u212a|\\u017f`
}
