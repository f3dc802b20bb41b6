package correlation_test

import (
	"fmt"
	"time"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

func Example() {
	parsed, err := sigma.Parse("logons.yml", []byte(`
title: Failed logon
id: 5638f7c0-ac70-491d-8465-2a65075e0d86
level: low
logsource: {product: windows, service: security}
detection: {selection: {EventID: 4625}, condition: selection}
---
title: Many failed logons
level: high
correlation:
  type: event_count
  rules: [5638f7c0-ac70-491d-8465-2a65075e0d86]
  group-by: [TargetUserName]
  timespan: 5m
  condition: {gte: 3}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, _ := sigma.Compile(parsed, sigma.Options{})
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	correlator := correlation.New(set.Correlations(), correlation.Options{})
	for i := range 4 {
		// A match of the first rule, with the fields that its CorrelationFields names.
		for _, f := range correlator.Observe(correlation.Observation{
			Rule: set.Rules()[0].ID, Event: fmt.Sprint("event ", i), Time: start, Fields: map[string]string{"TargetUserName": "bob"},
		}, nil) {
			fmt.Println(f.Rule.Title, f.Group)
			for _, e := range f.Events {
				fmt.Println(" ", e.ID)
			}
		}
	}
	// Output:
	// Many failed logons [{TargetUserName bob}]
	//   event 0
	//   event 1
	//   event 2
	// Many failed logons [{TargetUserName bob}]
	//   event 3
}
