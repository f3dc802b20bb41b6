package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/servertest"
)

// The fields parameter selects values under Sigma's names, count_by counts their
// combinations, and a field that no event has is noted.
func TestEventFieldsAndCounts(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.PostAndProcess(t, servertest.Event("e1", 0, `C:\whoami.exe`), servertest.Event("e2", 1, `C:\whoami.exe`), servertest.Event("e3", 2, `C:\a<b>.exe`))
	get := func(query string) string {
		t.Helper()
		w := r.Do("viewer", "GET", "/api/v1/events?"+query, nil)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	for query, want := range map[string]string{
		"fields=Image,nothing&limit=1":               `"fields":{"Image":"C:\\a<b>.exe","nothing":null}}],"next":"`,
		"fields=event_type,process.name&q=e1":        `"fields":{"event_type":"process_creation","process.name":"C:\\whoami.exe"}}],"next":null}`,
		"fields=Image&q=image%3Dx":                   `200 {"events":[],"next":null,"notes":["image: no stored event has this field; did you mean Image?"]}`,
		"count_by=Image":                             `200 {"counts":[{"count":2,"values":{"Image":"C:\\whoami.exe"}},{"count":1,"values":{"Image":"C:\\a<b>.exe"}}],"combinations":2,"events":3,"uncounted":0}`,
		"count_by=Image,nothing&limit=1":             `200 {"counts":[{"count":2,"values":{"Image":"C:\\whoami.exe","nothing":null}}],"combinations":2,"events":3,"uncounted":0,"notes":["nothing: no stored event has this field"]}`,
		"count_by=host&q=e1":                         `"events":1,"uncounted":0}`,
		"count_by=host&since=2050-01-01T00:00:00Z":   `200 {"counts":[],"combinations":0,"events":0,"uncounted":0}`,
		"count_by=host&fields=Image":                 `400 {"error":"parameter count_by does not go with fields or cursor`,
		"count_by=host&cursor=x":                     `400 {"error":"parameter count_by does not`,
		"fields=a,,b":                                `400 {"error":"parameter fields is \"a,,b\", not up to 32 names`,
		"fields=" + strings.Repeat("a,", 40) + "a":   `400 {"error":"parameter fields is`,
		"count_by=a&q=" + url.QueryEscape("Image=("): `400 {"error":`,
	} {
		if got := get(query); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
		}
	}
	if got := get("fields=Image"); strings.Contains(got, `"event":`) {
		t.Errorf("with fields, the events are there too: %s", got)
	}
}
