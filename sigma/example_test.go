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
	parsed, err := sigma.Parse("whoami.yml", []byte(whoami))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, errs := sigma.Compile(parsed, sigma.Options{})
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

func ExampleRuleSet_Group() {
	parsed, _ := sigma.Parse("whoami.yml", []byte(whoami))
	set, _ := sigma.Compile(parsed, sigma.Options{})
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
