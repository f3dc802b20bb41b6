package pipeline_test

import (
	"fmt"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/pipeline"
)

const whoami = `
title: Whoami by an Office program
id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52
status: test
level: high
logsource:
  product: windows
  category: process_creation
detection:
  selection:
    Image|endswith: '\whoami.exe'
    ParentImage|endswith:
      - '\winword.exe'
      - '\excel.exe'
  filter:
    User|contains: 'audit'
  condition: selection and not filter
`

func Example() {
	pipeline, err := pipeline.Parse("ecs.yml", []byte(`
name: Names of ECS
priority: 20
transformations:
  - id: names
    type: field_name_mapping
    mapping:
      Image: process.executable
      ParentImage: process.parent.executable
    rule_conditions:
      - type: logsource
        product: windows
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	parsed, _ := sigma.Parse("whoami.yml", []byte(whoami))
	parsed, errs := pipeline.Apply(parsed)
	set, _ := sigma.Compile(parsed, sigma.Options{})
	event := []sigma.Field{
		{Name: "process.executable", Value: sigma.Value{Kind: ast.String, Text: `C:\Windows\System32\whoami.exe`}},
		{Name: "process.parent.executable", Value: sigma.Value{Kind: ast.String, Text: `C:\Office\EXCEL.EXE`}},
	}
	group := set.Group(ast.LogSource{Product: "windows", Category: "process_creation"})
	fmt.Println(len(errs), len(sigma.NewMatcher().Match(group, event, nil)))
	// Output:
	// 0 1
}
