package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/testenv"
)

// The document and the routes are the same, and the document refers and links to
// nothing that is not in it. That the server does what the document says is tested in the
// module test.
func TestOpenAPI(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	var doc struct {
		OpenAPI    string                               `json:"openapi"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components map[string]map[string]any            `json:"components"`
	}
	r.Get(t, "anonymous", "/api/v1/openapi.json", &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	var documented, routes []string
	ids := make(map[any]bool)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
			if id := op["operationId"]; id == nil || ids[id] {
				t.Errorf("%s %s: operationId %v is none or another's", method, path, id)
			} else {
				ids[id] = true
			}
			declared := 0
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				if p := p.(map[string]any); p["in"] == "path" {
					declared++
					if p["example"] == nil {
						t.Errorf("%s %s: %s has no example", method, path, p["name"])
					}
				}
			}
			if declared != strings.Count(path, "{") {
				t.Errorf("%s %s: %d parameters of the path", method, path, declared)
			}
		}
	}
	for _, pattern := range r.Mux.Patterns() {
		pattern = strings.TrimSuffix(pattern, "{$}")
		if method, path, ok := strings.Cut(pattern, " "); ok && strings.HasPrefix(path, "/api/v1/") && method != "" {
			routes = append(routes, pattern)
		}
	}
	for _, d := range documented {
		if !slices.Contains(routes, d) {
			t.Errorf("%s is documented, and not there", d)
		}
	}
	for _, route := range routes {
		if !slices.Contains(documented, route) {
			t.Errorf("%s is there, and not documented", route)
		}
	}

	w := r.Do("anonymous", "GET", "/api/v1/openapi.json", nil)
	var all any
	testenv.Check(t, json.Unmarshal(w.Body.Bytes(), &all))
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			if links, ok := v["links"].(map[string]any); ok {
				for name, link := range links {
					if id := link.(map[string]any)["operationId"]; !ids[id] {
						t.Errorf("the link %s leads to %v, which is nowhere", name, id)
					}
				}
			}
			if to, ok := v["$ref"].(string); ok {
				kind, name, _ := strings.Cut(strings.TrimPrefix(to, "#/components/"), "/")
				if doc.Components[kind][name] == nil {
					t.Errorf("%s is nowhere", to)
				}
			}
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(all)
}
