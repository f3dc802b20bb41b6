package evtx_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/evtx"
)

func FuzzReadXML(f *testing.F) {
	for _, seed := range []string{
		`<Event><System><EventID>1</EventID></System><EventData><Data Name="Image">/bin/sh</Data><Data>x</Data></EventData></Event>`,
		`<?xml version="1.0"?><Events><Event xmlns="x"><System><Provider Name="P"/></System></Event><Event/></Events>`,
		`<Event>&lt;<![CDATA[x]]><!-- --></Event>`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		// Whether it fails is not the question; what it gives is.
		_ = evtx.ReadXML(strings.NewReader(in), func(raw []byte) error {
			if !json.Valid(raw) {
				t.Fatalf("%q", raw)
			}
			return nil
		})
	})
}
