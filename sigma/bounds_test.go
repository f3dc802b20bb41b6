package sigma_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// Whatever a rule of 100 kB says, compiling it takes a bounded amount of memory: it
// is compiled, or left out with an error.
func TestCompileBounds(t *testing.T) {
	const size = 100_000
	rule := func(detection string) string {
		return "title: T\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {product: windows}\ndetection:\n" + detection
	}
	list := func(item, value string) string {
		return rule("  a:\n    " + item + ":\n" + strings.Repeat("    - '"+value+"'\n", size/(len(value)+10)) + "  condition: a\n")
	}
	many := func(prefix, text string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, prefix+text, i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 1000)
	for name, text := range map[string]string{
		"dashes":             list("CommandLine|windash|contains", strings.Repeat(" -a", 5)+long),
		"dashes, one value":  list("CommandLine|windash|contains", strings.Repeat(" -a", 5)+strings.Repeat("x", size-100)),
		"too many dashes":    list("CommandLine|windash|contains", strings.Repeat(" -a", 300)),
		"base64 of dashes":   list("CommandLine|windash|wide|base64offset|contains", " -a -b -c -d "+long),
		"repeated selection": rule("  a:\n" + many("  - ", "F: 'a*b*%d'\n", 2000) + "  condition: " + strings.Repeat("a or ", 10_000) + "a\n"),
		"not of selection":   rule("  a:\n" + many("  - ", "F: 'a*b*%d'\n", 2000) + "  condition: " + strings.Repeat("not a and ", 6000) + "a\n"),
		"selectors":          rule(many("  s", "%d: {F: x}\n", 3000) + "  condition: " + strings.Repeat("1 of them and ", 4000) + "s0\n"),
		"conditions":         rule("  a:\n" + many("  - ", "F: 'a*b*%d'\n", 2000) + "  condition:\n" + strings.Repeat("  - a\n", 10_000)),
		"regexps":            list("CommandLine|re", "(a{10}b{10}){50}[a-z]{900}"),
		"near the bounds":    list("CommandLine|windash|contains", " -a -b -c"),
		"many documents":     strings.Repeat(rule("  a:\n    CommandLine|windash|contains: ' -a -b -c -d -e'\n  condition: a\n---\n"), size/150),
		"one regexp":         list("CommandLine|re", strings.Repeat("a{1000}", size/8)),
		"all of many":        rule("  a:\n    F|contains|all:\n" + many("    - ", "'%d*y'\n", 5000) + "  condition: " + strings.Repeat("a or ", 5000) + "a\n"),
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, err := sigma.Parse("rule.yml", []byte(text))
		var errs []*ast.DocumentError
		rules := 0
		if err == nil {
			var rs *sigma.RuleSet
			rs, errs = sigma.Compile(c, sigma.Options{})
			rules = rs.Len()
		}
		runtime.ReadMemStats(&after)
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 400 {
			t.Errorf("%s: %d bytes of rule took %d MiB in all", name, len(text), mib)
		}
		if rules == 0 && err == nil && len(errs) == 0 {
			t.Errorf("%s: left out without an error", name)
		}
	}
}
