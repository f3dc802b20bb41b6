package mongostore

import (
	"math"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store"
)

// filter is what the events selected, and maybe others, have in common, in
// terms of MongoDB.
func (f *finder) filter() bson.D {
	out := bson.D{}
	var span bson.D
	if f.lo > math.MinInt64 {
		span = append(span, where("$gte", bson.DateTime(millis(f.lo))))
	}
	if f.hi < math.MaxInt64 {
		span = append(span, where("$lte", bson.DateTime(millis(f.hi))))
	}
	if span != nil {
		out = append(out, where("timestamp", span))
	}
	if f.where != nil {
		if d := translate(f.where); d != nil {
			out = append(out, where("$and", bson.A{d}))
		}
	}
	return out
}

// translate returns a condition that holds for every event that x selects, nil
// where there is none better than all. What is not selected by x may meet it:
// so there is none for a not.
func translate(x store.Expr) bson.D {
	switch x := x.(type) {
	case store.And:
		var all bson.A
		for _, sub := range x {
			if d := translate(sub); d != nil {
				all = append(all, d)
			}
		}
		if all == nil {
			return nil
		}
		return bson.D{where("$and", all)}
	case store.Or:
		var any bson.A
		for _, sub := range x {
			d := translate(sub)
			if d == nil {
				return nil
			}
			any = append(any, d)
		}
		return either(any)
	case *store.TextTerm:
		return contains("", string(x.Folded()))
	case *store.PatternTerm:
		return equalField(x)
	case *store.RegexpTerm:
		prefix, _ := x.Re.LiteralPrefix()
		return contains(x.Field, store.Fold(prefix))
	}
	return nil
}

func either(any bson.A) bson.D { return bson.D{where("$or", any)} }

// equalField uses the indexes for a host or an agent that is named in full.
func equalField(x *store.PatternTerm) bson.D {
	fold := map[string]string{"host": "fold.host", "agent_id": "fold.agent"}[x.Field]
	if fold != "" && !strings.ContainsAny(x.Pattern.String(), "*?") {
		name := store.Fold(x.Pattern.String())
		return either(bson.A{bson.D{where(pseudo[x.Field], name)}, bson.D{where(fold, name)}, bson.D{where("own", x.Field)}})
	}
	best := ""
	for _, lit := range x.Pattern.Literals() {
		if run := plainRun(lit); len(run) > len(best) {
			best = run
		}
	}
	return contains(x.Field, best)
}

// pseudo are where the event's own attributes are kept.
var pseudo = map[string]string{"event_id": "_id", "agent_id": "agent_id", "host": "host.hostname", "event_type": "event_type"}

// contains is the condition that a text is in the event or, if a field is
// named, in any of its values: all that are not in the bytes as received are in
// more, or are attributes. nil where that can't be told from the text.
func contains(field, folded string) bson.D {
	run := plainRun(folded)
	if run == "" {
		return nil
	}
	re := bson.Regex{Pattern: runPattern(run), Options: "i"}
	any := bson.A{bson.D{where("raw", re)}, bson.D{where("odd", true)}}
	if field != "" {
		any = append(any, bson.D{where("more", re)})
	}
	if own := pseudo[field]; own != "" {
		any = append(any, bson.D{where(own, re)})
	}
	return either(any)
}

// maxRun is as much of a text as is worth looking for.
const maxRun = 128

// plainRun returns the longest part of a folded text that JSON writes as it is,
// or with escapes that runPattern allows for: of ASCII that can be seen, and
// spaces, but for quotes and slashes.
func plainRun(s string) string {
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
	return best[:min(len(best), maxRun)]
}

// runPattern is a regular expression that is found wherever the run is: as it
// stands, or anywhere in an event that writes ASCII as \u00xx, which hardly any
// does. K and s are also the letters that fold to them, written as they are,
// which the option i sees to, or as escapes.
func runPattern(run string) string {
	return regexp.QuoteMeta(run) + `|\\u00[2-7]|\\u212a|\\u017f`
}
