package scanreport_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/scanreport"
	"github.com/picket-edr/picket/internal/testenv"
)

func windowsEvent(eventID, record int, data string) []byte {
	return fmt.Appendf(nil, `{"Event":{"System":{"EventID":%d,"EventRecordID":%d,"Channel":"Security","Computer":"dc01","Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},`+
		`"TimeCreated":{"#attributes":{"SystemTime":"2026-01-02T03:04:%02dZ"}}},"EventData":{%s}}}`, eventID, record, record%60, data)
}

// Events, hosts and logons are counted, and missing records are found whatever the order.
func TestMetrics(t *testing.T) {
	const logon = `"TargetUserName":"ann","TargetDomainName":"CORP","IpAddress":"10.0.0.7","LogonType":"3"`
	var events [][]byte
	for n := 1; n <= 50; n++ {
		if n != 7 && (n < 20 || n > 24) {
			events = append(events, windowsEvent(4624+n%2, n, logon))
		}
	}
	events = append(events, []byte(`{"Image":"x","host":"web","event_type":"custom"}`), []byte(`not JSON`))
	rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	m := scanreport.NewMetrics(time.UTC)
	for _, raw := range events {
		m.Add(raw)
	}
	text, err := json.Marshal(m.JSON())
	testenv.Check(t, err)
	want := `{"events":45,"unreadable":1,"first":"2026-01-02T03:04:01Z","last":"2026-01-02T03:04:50Z","types":[{"channel":"Security","event_id":"4624","events":22},{"channel":"Security","event_id":"4625","events":22},` +
		`{"channel":"custom","events":1}],"hosts":[{"name":"dc01","events":44},{"name":"web","events":1}],"logons":[{"user":"CORP\\ann","address":"10.0.0.7","type":"3 Network","succeeded":22,"failed":22}],` +
		`"logs":[{"host":"dc01","channel":"Security","first_record":1,"last_record":50,"records":44,"gaps":[{"from":7,"to":7},{"from":20,"to":24}]}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	var table strings.Builder
	testenv.Check(t, m.Write(&table, 10))
	if !strings.Contains(table.String(), "44       1     50  Security of dc01  7, 20-24") {
		t.Error(table.String())
	}
}

// What hostile records make metrics hold is bounded.
func TestMetricsAreBounded(t *testing.T) {
	m := scanreport.NewMetrics(time.UTC)
	for n := range 5000 {
		m.Add(windowsEvent(4624, 3*n+1, fmt.Sprintf(`"TargetUserName":"u%d","LogonType":"3"`, n)))
	}
	text, err := json.Marshal(m.JSON())
	testenv.Check(t, err)
	if !strings.Contains(string(text), `"more_gaps":4000`) || strings.Count(string(text), `"from"`) != 999 {
		t.Errorf("%.300s", text)
	}
}
