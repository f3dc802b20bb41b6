package doctor

import (
	"fmt"
	"slices"

	"github.com/picket-edr/picket/internal/ruleset"
)

// CheckRules checks that the rules of sources load. Problems of installed packs are
// counted, but do not fail the check, because they are not the reader's to fix.
func CheckRules(r *Report, sources []ruleset.Source) {
	set, err := ruleset.Load(sources, nil)
	if err != nil {
		ReportUnreadableRules(r, err)
		return
	}
	own := slices.DeleteFunc(slices.Clone(set.Problems), func(p ruleset.Problem) bool { return p.Pack != "" && p.Pack != "builtin" })
	others := ""
	if n := len(set.Problems) - len(own); n > 0 {
		others = fmt.Sprintf(", %d of packs do not load", n)
	}
	if n := len(own); n > 0 {
		r.addFailure("rules", "picket rules lint PATH lists all", "%d run%s, %d do not load, as %s", set.Rules.Len(), others, n, own[0])
		return
	}
	r.addOK("rules", "%d run%s", set.Rules.Len(), others)
}

// ReportUnreadableRules reports that --rules cannot be read.
func ReportUnreadableRules(r *Report, err error) {
	r.addFailure("rules", "--rules takes builtin, a directory, a .yml file or a .zip", "%v", err)
}
