package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A named is a key or another text and where it stands.
type named struct {
	name string
	place
}

func placesOf(pairs []pair) []named {
	out := make([]named, len(pairs))
	for i, kv := range pairs {
		out[i] = named{kv.name, placeOf(kv.key)}
	}
	return out
}

// A warning is what Parse lets pass; check is the name of it in Lint.
type warning struct {
	check string
	place
	reason string
}

// A relative is an entry of a rule's list of related rules.
type relative struct {
	id, kind string
	place
}

// related reads what it can: nothing but Lint looks at it.
func (p *parser) related(node *yaml.Node) []relative {
	var out []relative
	if node.Kind != yaml.SequenceNode {
		return nil
	}
	for _, n := range node.Content {
		pairs, err := p.mapping(n, "an entry of related")
		if err != nil {
			continue
		}
		r := relative{place: placeOf(n)}
		for _, kv := range pairs {
			switch kv.name {
			case "id":
				r.id = text(kv.value)
			case "type":
				r.kind = text(kv.value)
			}
		}
		out = append(out, r)
	}
	return out
}

// documentKeys are the keys that the specification gives documents.
var documentKeys = []string{
	"id", "name", "title", "taxonomy", "related", "status", "description", "license", "author", "references",
	"date", "modified", "logsource", "detection", "fields", "falsepositives", "level", "tags", "scope",
	"correlation", "filter", "generate",
}

// misspelt is a hint that one of the keys of the document was meant to be key,
// "" where none looks like it.
func (p *parser) misspelt(key string) string {
	for _, k := range p.meta.keys {
		if !slices.Contains(documentKeys, k.name) && near(k.name, key) {
			return "write " + key + " for " + k.name
		}
	}
	return ""
}

// names returns the names of the detections.
func (s *search) names() []string {
	out := make([]string, len(s.detections))
	for i, d := range s.detections {
		out[i] = d.name
	}
	return out
}

// didYouMean is a hint at the word that is nearest to an unknown one, or else
// the other hint.
func didYouMean(word string, known []string, otherwise string) string {
	if best := nearest(word, known); best != "" {
		return "did you mean " + best + "?"
	}
	return otherwise
}

// nearest returns the known word that is nearest to word, "" if none is near.
func nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if near(word, k) {
			if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
				best, least = k, d
			}
		}
	}
	return best
}

// near reports whether two words are at most two letters apart, and have more
// in common than not.
func near(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if max(len(a), len(b)) > 64 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return false
	}
	return distance(a, b) <= min(2, (max(len(a), len(b))-1)/2)
}

// distance is how many letters must be put in, taken out or changed to turn
// one word into the other; two that have changed places count as one.
func distance(a, b string) int {
	var before, last []int
	for i := 0; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				row[j] = j
				continue
			}
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		if i == 0 {
			for j := range row {
				row[j] = j
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
