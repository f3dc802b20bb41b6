package ruleset

import (
	"fmt"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
)

// KindCounts are the numbers of documents of each kind.
type KindCounts struct {
	Rules        int `json:"rules"`
	Correlations int `json:"correlations"`
	Filters      int `json:"filters"`
}

// CountKinds counts documents by kind.
func CountKinds(list []RuleInfo) KindCounts {
	var c KindCounts
	for _, r := range list {
		switch r.Kind {
		case ast.RuleDocument:
			c.Rules++
		case ast.CorrelationDocument:
			c.Correlations++
		case ast.FilterDocument:
			c.Filters++
		}
	}
	return c
}

// String returns the numbers that are not 0, as in "73 rules, 1 correlation".
func (c KindCounts) String() string {
	var parts []string
	for _, p := range [...]struct {
		n    int
		kind string
	}{{c.Rules, "rule"}, {c.Correlations, "correlation"}, {c.Filters, "filter"}} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.kind)
		case p.n > 1:
			parts = append(parts, fmt.Sprint(p.n, " ", p.kind, "s"))
		}
	}
	if parts == nil {
		return "0 rules"
	}
	return strings.Join(parts, ", ")
}
