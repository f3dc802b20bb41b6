package sigma_test

import (
	"fmt"

	"github.com/picket-edr/picket/sigma"
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
	pack, err := sigma.Parse("whoami.yml", []byte(whoami))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, errs := sigma.Compile(pack, sigma.Options{})
	for _, err := range errs {
		fmt.Println(err)
	}

	event := []sigma.Field{
		{Name: "Image", Value: sigma.Value{Kind: sigma.String, Text: `C:\Windows\System32\whoami.exe`}},
		{Name: "ParentImage", Value: sigma.Value{Kind: sigma.String, Text: `C:\Program Files\Microsoft Office\EXCEL.EXE`}},
		{Name: "ProcessId", Value: sigma.Value{Kind: sigma.Number, Text: "4711"}},
	}
	group := set.Group(sigma.LogSource{Product: "windows", Category: "process_creation", Service: "sysmon"})
	m := sigma.NewMatcher()
	for _, r := range m.Match(group, event, nil) {
		fmt.Println(r.Level, r.Title)
		for _, e := range r.Explain(event) {
			fmt.Printf("  %s: %s\n", e.Field, e.Value)
		}
	}
	// Output:
	// high Whoami by an Office program
	//   Image: C:\Windows\System32\whoami.exe
	//   ParentImage: C:\Program Files\Microsoft Office\EXCEL.EXE
}

func ExampleParse() {
	_, err := sigma.Parse("bad.yml", []byte(`
title: A modifier that does not exist
logsource: {product: windows}
detection:
  selection:
    Image|endwith: '\cmd.exe'
  condition: selection
`))
	fmt.Println(err)
	// Output:
	// bad.yml:6:5: unknown modifier "endwith" (did you mean endswith?)
}

func ExampleParsePipeline() {
	pipeline, err := sigma.ParsePipeline("ecs.yml", []byte(`
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
	pack, _ := sigma.Parse("whoami.yml", []byte(whoami))
	pack, errs := pipeline.Apply(pack)
	set, _ := sigma.Compile(pack, sigma.Options{})
	event := []sigma.Field{
		{Name: "process.executable", Value: sigma.Value{Kind: sigma.String, Text: `C:\Windows\System32\whoami.exe`}},
		{Name: "process.parent.executable", Value: sigma.Value{Kind: sigma.String, Text: `C:\Office\EXCEL.EXE`}},
	}
	group := set.Group(sigma.LogSource{Product: "windows", Category: "process_creation"})
	fmt.Println(len(errs), len(sigma.NewMatcher().Match(group, event, nil)))
	// Output:
	// 0 1
}

func ExampleLint() {
	pack, _ := sigma.Parse("whoami.yml", []byte(`
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
	for _, f := range sigma.Lint(pack, sigma.LintOptions{Ignore: []string{"missing_status", "missing_description", "missing_author", "missing_date"}}) {
		fmt.Println(f.Severity, f)
	}
	// Output:
	// info whoami.yml:7:5: the stars of field Image are what endswith says (write Image|endswith without the stars) [wildcard_modifier]
	// warning whoami.yml:8:3: no condition names the search "other" (take it out, or name it in the condition) [unused_search]
	// warning whoami.yml:9:5: the modifier all needs more than one value [single_value_all]
}

func ExampleRuleSet_Group() {
	pack, _ := sigma.Parse("whoami.yml", []byte(whoami))
	set, _ := sigma.Compile(pack, sigma.Options{})
	// An event may belong to several logsources.
	group := set.Group(
		sigma.LogSource{Product: "windows", Category: "process_creation", Service: "sysmon"},
		sigma.LogSource{Product: "windows", Service: "security"},
	)
	fmt.Println(len(group.Rules()))
	fmt.Println(set.Group(sigma.LogSource{Product: "linux"}) == nil)
	// Output:
	// 1
	// true
}
