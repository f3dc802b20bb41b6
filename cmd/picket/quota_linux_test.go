package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
)

// Falco events that each name a rule of their own, a long or a short one, take little
// memory and disk, and the page of their alerts is small.
func TestHostileAlerts(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	long := strings.Repeat("name ", 20_000)
	for name, flood := range map[string]struct {
		n    int
		rule string
	}{"long names": {600, long}, "short names": {10_000, ""}} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, "--workers", "2")
			p := c.startServer()
			limitMemory(t, p)
			var body bytes.Buffer
			z := gzip.NewWriter(&body)
			decoded := 0
			for i := range flood.n {
				n, err := fmt.Fprintf(z, `{"rule":"%d %s","priority":"Critical","output_fields":{"a":1}}`+"\n", i, flood.rule)
				testenv.Check(t, err)
				decoded += n
			}
			testenv.Check(t, z.Close())
			req, err := http.NewRequest("POST", c.url()+"/api/v1/telemetry/", &body)
			testenv.Check(t, err)
			req.Header = http.Header{"Authorization": {"Token " + c.createToken("--agent", "a1")}, "Content-Type": {"application/x-ndjson"}, "Content-Encoding": {"gzip"}}
			resp, err := http.DefaultClient.Do(req)
			testenv.Check(t, err)
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("answered %s", resp.Status)
			}
			c.waitForWorkers()

			req, err = http.NewRequest("GET", c.url()+"/api/v1/alerts?limit=1000", nil)
			testenv.Check(t, err)
			req.Header.Set("Authorization", "Bearer "+c.createToken("--api", "viewer", "--role", "viewer"))
			resp, err = http.DefaultClient.Do(req)
			testenv.Check(t, err)
			var page struct {
				Alerts []struct {
					RuleID string `json:"rule_id"`
					Count  int
				}
			}
			testenv.Check(t, json.NewDecoder(resp.Body).Decode(&page))
			resp.Body.Close()
			matches, gathering := 0, 0
			for _, a := range page.Alerts {
				matches += a.Count
				if a.RuleID == store.AlertQuotaRule {
					gathering++
				}
			}
			// The minute may have ended meanwhile.
			if n := len(page.Alerts) - gathering; matches != flood.n || gathering != 1 || n < store.DefaultMaxNewAlerts || n > 2*store.DefaultMaxNewAlerts {
				t.Errorf("%d alerts and %d that gather, with %d matches", n, gathering, matches)
			}
			checkMemory(t, p)
			testenv.Check(t, p.stop())
			f, err := os.Stat(filepath.Join(c.data, "events.db"))
			testenv.Check(t, err)
			if f.Size() > int64(2*decoded+8<<20) {
				t.Errorf("%d bytes became %d on disk", decoded, f.Size())
			}
		})
	}
}
