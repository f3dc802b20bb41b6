package web_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// The link to an event leads to it, whatever its id is.
func TestEventLinks(t *testing.T) {
	r := newFixture(t)
	session := r.signIn(auth.RoleViewer)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for _, id := range []string{"a/b", "a//b", "/a", "a/", "a?b", "a#b", ".", "..", "a/../b", "a b+c", "%41%2F", "é☃", `<"'&>`, "a;b=c", `a\b`, "a\nb"} {
		ev := picket.Event{ID: id, AgentID: "agent", Host: "h", Type: "process", Time: now, Received: now, Raw: []byte(`{"mark":"of this event"}`)}
		if _, err := r.store.Save(t.Context(), store.Batch{ID: "b" + id, Events: []picket.Event{ev}}); err != nil {
			t.Fatal(err)
		}
		page := r.do("GET", "/console/events", session, nil).Body.String()
		links := regexp.MustCompile(`href="(/console/events[/?][^"]*)"`).FindAllStringSubmatch(page, -1)
		if len(links) == 0 {
			t.Fatal("no links")
		}
		link := html.UnescapeString(links[0][1])
		w := r.do("GET", link, session, nil)
		body := html.UnescapeString(w.Body.String())
		if strings.Contains(link, "?q=") { // a list of the event alone
			body = strings.Replace(body, `href="/console/events?q=`, "of this event", 1)
		}
		if w.Code != http.StatusOK || !strings.Contains(body, id) || !strings.Contains(body, "of this event") {
			t.Errorf("%q: %s is answered %d %v", id, link, w.Code, w.Header())
		}
	}
}
