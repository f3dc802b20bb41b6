package scanreport

import (
	"encoding/json"
	"io"
)

// WriteNavigatorLayer writes the techniques that were found as a layer of the ATT&CK
// Navigator, format 4.5: github.com/mitre-attack/attack-navigator/tree/master/layers.
func (s *Summary) WriteNavigatorLayer(w io.Writer) error {
	type technique struct {
		ID    string `json:"techniqueID"`
		Score int64  `json:"score"`
	}
	found := largest(s.techniques, maxSummaryKeys)
	techniques := make([]technique, 0, len(found))
	var highest int64 = 1
	for _, t := range found {
		techniques = append(techniques, technique{t.Name, t.Count})
		highest = max(highest, t.Count)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"name": "picket scan", "domain": "enterprise-attack", "description": "techniques of the matches of a scan; the score is the number of matches",
		"versions":   map[string]string{"attack": "19", "navigator": "5.1.0", "layer": "4.5"},
		"techniques": techniques,
		"gradient":   map[string]any{"colors": []string{"#ffe766", "#ff6666"}, "minValue": 0, "maxValue": highest},
	})
}
