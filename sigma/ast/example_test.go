package ast_test

import (
	"fmt"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

func ExampleDetections_TopLevelItems() {
	parsed, err := sigma.Parse("whoami.yml", []byte(`
title: Whoami by an Office program
level: high
logsource: {product: windows, category: process_creation}
detection:
  selection:
    Image|endswith: '\whoami.exe'
    ParentImage|endswith: ['\winword.exe', '\excel.exe']
  condition: selection
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	var rule *ast.Rule = parsed.Rules[0]
	fmt.Println(rule.LogSource, rule.Level)
	for item := range rule.Detections.TopLevelItems() {
		fmt.Printf("line %d: %s %v", item.Line, item.Field, item.Modifiers)
		for _, v := range item.Values {
			fmt.Print(" ", v.Text)
		}
		fmt.Println()
	}
	// Output:
	// windows/process_creation high
	// line 7: Image [endswith] \whoami.exe
	// line 8: ParentImage [endswith] \winword.exe \excel.exe
}
