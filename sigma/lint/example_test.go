package lint_test

import (
	"fmt"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/lint"
)

func Example() {
	parsed, _ := sigma.Parse("whoami.yml", []byte(`
title: Whoami
id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52
logsource: {product: windows, category: process_creation}
detection:
  selection:
    Image: '*\whoami.exe'
  other:
    User|all: [a]
  condition: selection
level: low
`))
	for _, f := range lint.Run(parsed, lint.Options{Ignore: []string{"missing_status", "missing_description", "missing_author", "missing_date"}}) {
		fmt.Println(f.Severity, f)
	}
	// Output:
	// info whoami.yml:7:5: the stars of field Image mean the same as endswith (write Image|endswith without the stars) [wildcard_modifier]
	// warning whoami.yml:8:3: no condition names the search "other" (remove it, or name it in the condition) [unused_search]
	// warning whoami.yml:9:5: the modifier all needs more than one value [single_value_all]
}
