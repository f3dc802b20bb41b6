package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

func testSearchOrder(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 130)
	for i := 0; i < len(evs); i += 26 {
		save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: evs[i : i+26]})
	}
	page := must[store.EventPage](t)(s.SearchEvents(t.Context(), store.EventQuery{}))
	checkEqual(t, "the first page of 100", eventIDs(page.Events), idsNewestFirst(evs[30:]))
	if page.Next == "" {
		t.Error("no further page")
	}
	checkEqual(t, "all", eventIDs(searchAll(t, s, store.EventQuery{Limit: 7})), idsNewestFirst(evs))
	checkEqual(t, "exactly all", must[store.EventPage](t)(s.SearchEvents(t.Context(), store.EventQuery{Limit: 130})).Next, "")
}

func testSearchPaging(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 100)
	save(t, s, store.Batch{ID: "b1", Events: evs})
	q := store.EventQuery{Limit: 9, Where: &store.PatternTerm{Field: "even", Pattern: store.NewPattern("true")}}
	var got []string
	for n := 100; ; n++ {
		page := must[store.EventPage](t)(s.SearchEvents(t.Context(), q))
		got = append(got, eventIDs(page.Events)...)
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
		save(t, s, store.Batch{ID: fmt.Sprint("later", n), Events: plainEvents(t, n, n+1)}) // must not change the pages
	}
	var want []string
	for i := 98; i >= 0; i -= 2 {
		want = append(want, evs[i].ID)
	}
	checkEqual(t, "pages", got, want)
}

func testSearchEventTime(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 100)
	slices.Reverse(evs) // so that the order of event times differs from the order of receipt
	save(t, s, store.Batch{ID: "b1", Events: evs[:70]}, store.Batch{ID: "b2", Events: evs[70:]})
	in := func(since, until time.Time) []string {
		var out []string
		for i := len(evs) - 1; i >= 0; i-- {
			if at := evs[i].Time; !at.Before(since) && (until.IsZero() || at.Before(until)) {
				out = append(out, evs[i].ID)
			}
		}
		return out
	}
	for _, c := range []struct{ since, until time.Time }{
		{startTime.Add(10 * time.Second), startTime.Add(20 * time.Second)},
		{startTime.Add(95 * time.Second), time.Time{}},
		{time.Time{}, startTime.Add(3 * time.Second)},
		{startTime.Add(10 * time.Second), startTime.Add(10 * time.Second)},
		{startTime.Add(time.Hour), time.Time{}},
		{startTime.Add(50*time.Second + time.Nanosecond), startTime.Add(51*time.Second + time.Nanosecond)},
	} {
		checkEqual(t, fmt.Sprint(c.since, c.until), eventIDs(searchAll(t, s, store.EventQuery{Since: c.since, Until: c.until, Limit: 13})), in(c.since, c.until))
	}
}

func testEventByID(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 200)
	for i := 0; i < len(evs); i += 40 {
		save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: evs[i : i+40]})
	}
	for i := 0; i < len(evs); i += 7 {
		checkEqual(t, "event", must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: evs[i].ID})), evs[i])
	}
	_, err := s.Event(t.Context(), store.EventSelector{ID: "nothing"})
	checkError(t, "an unknown id", err, picket.ErrNotFound)
}

func testBadCursors(t *testing.T, s store.Store) {
	save(t, s, store.Batch{ID: "b1", Events: plainEvents(t, 0, 3)})
	next := must[store.EventPage](t)(s.SearchEvents(t.Context(), store.EventQuery{Limit: 1})).Next
	for _, c := range []string{"x", "!!", next + "x", strings.Repeat("A", 300), next[:len(next)-1]} {
		_, err := s.SearchEvents(t.Context(), store.EventQuery{Cursor: c})
		checkError(t, "SearchEvents with cursor "+c, err, picket.ErrInvalid)
		_, err = s.Alerts(t.Context(), store.AlertQuery{Cursor: c})
		checkError(t, "Alerts with cursor "+c, err, picket.ErrInvalid)
		_, err = s.Matches(t.Context(), store.MatchQuery{Cursor: c})
		checkError(t, "Matches with cursor "+c, err, picket.ErrInvalid)
		_, err = s.Hosts(t.Context(), "", 0, c)
		checkError(t, "Hosts with cursor "+c, err, picket.ErrInvalid)
	}
}

// unusualEvents returns events that are difficult to search.
func unusualEvents(t testing.TB) []picket.Event {
	raws := []string{
		`{"CommandLine":"C:\\Windows\\System32\\cmd.exe /c \"echo hi\"","pid":42,"Image":"C:\\Windows\\System32\\cmd.exe"}`,
		`{"CommandLine":"powershell.exe -EncodedCommand SQBFAFgA","pid":7,"Image":"C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"}`,
		`{"user":{"name":"M\u00fcller","id":null},"tags":["a","b","Ab*"]}`,
		`{"user":{"name":"MÜLLER","id":"null"},"tags":[]}`,
		`{"user":{"name":"\u212aelvin"},"tags":["\/etc\/passwd"]}`,
		`{"msg":"line one\nline two\ttab \u0041\\u0041","n":1.50,"ok":true}`,
		"{\n  \"msg\" : \"spaced out\",\n  \"n\" : 15 ,\"ok\":false, \"deep\":{\"er\":{\"est\":[1,[2,{\"x\":3}]]}}, \"none\": {} }",
		`{"host":"named","event_id":"own","agent_id":["x","y"],"event_type":null}`,
		`{"a":"x","a":"y","A":"z"}`,
		`{"path":"C:\\new\\table","q":"say \"when\"","s":"a=b"}`,
		`{"empty":"","space":" ","star":"*","Straße":"GROSSE STRAẞE"}`,
		`{"":"no name","x.y":"dotted","x":{"y":"nested"}}`,
	}
	var out []picket.Event
	for i, raw := range raws {
		out = append(out, makeEvent(t, i, raw))
	}
	str := func(v string) sigma.Value { return sigma.Value{Kind: sigma.String, Text: v} }
	renamed := makeEvent(t, len(out), `{"process":{"exe":"/bin/bash","args":["-c","id"]},"x":1}`)
	renamed.Fields = []sigma.Field{{Name: "Image", Value: str("/bin/bash")}, {Name: "CommandLine", Value: str("-c id")}, {Name: "x", Value: str("one")}}
	bare := makeEvent(t, len(out)+1, `{"process":{"exe":"/bin/bash"}}`)
	bare.Fields = nil
	long := makeEvent(t, len(out)+2, `{"long":"`+strings.Repeat("0123456789 abcdefghij ", 500)+`needle"}`)
	return append(out, renamed, bare, long)
}

// searchedEvents returns unusualEvents, and events that have a category besides their
// type.
func searchedEvents(t testing.TB) []picket.Event {
	out := unusualEvents(t)
	for _, of := range []struct{ eventType, raw string }{
		{"process", `{"process":{"action":"terminated"}}`}, {"process", `{"process":{"action":["created","exited"]}}`},
		{"process", `{"process":{"action":null}}`}, {"file", `{"file":{"operation":"deleted"}}`}, {"file", `{"file":{"path":"/x"}}`},
		{"network", `{"network":{"dest_port":443}}`}, {"other", `{"event_type":"file","action":"deleted"}`},
	} {
		ev := makeEvent(t, len(out), of.raw)
		ev.Type = of.eventType
		out = append(out, ev)
	}
	return out
}

// queryTexts are for what is in searchedEvents and for what is not.
var queryTexts = []string{
	``, `cmd.exe`, `CMD.EXE`, `"echo hi"`, `"\"echo hi\""`, `C:\Windows\`, `c:\windows\system32\CMD.exe`, `müller`, `MÜLLER`, `kelvin`, `ELVIN`,
	`/etc/passwd`, `"line one"`, `two`, `"\u0041"`, `A\u0041`, `"\"pid\":42"`, `"spaced out"`, `": 15"`, `:15`, `1.5`, `true`, `null`, `none`, `est`,
	`strasse`, `straße`, `STRASSE`, `x`, `"a=b"`, `needle`, `"abcdefghij needle"`, `nothing`, `ab`, `"n\\ew"`, `\new`, `new\table`, `"when"`, `" "`,
	`pid=42`, `pid=4*`, `pid=4?`, `pid=?`, `pid=*`, `pid!=42`, `not pid=*`, `Image=*\CMD.exe`, `Image=*\system32\*`, `Image=c:\*powershell*.EXE`,
	`user.name=müller`, `user.name=M?LLER`, `user.name=kelvin`, `user.name=*`, `user.id=null`, `user.id=*`, `user.id=""`, `tags=a`, `tags=AB*`, `tags=ab?`, `tags!=a`,
	`tags=*`, `msg="line one*"`, `n=1.5`, `n=1.50`, `ok=TRUE`, `deep.er.est=2`, `deep.er.est.x=3`, `deep.er.est=3`, `deep=*`, `none=*`,
	`host=named`, `host=host-1`, `host=HOST-?`, `event_id=own`, `event_id=event-000007`, `event_id=event*`, `agent_id=y`, `agent_id=agent-1`, `event_type=null`, `event_type=process`,
	`event_type=process_creation`, `event_type=PROCESS_term*`, `event_type=process_terminatio?`, `event_type~^process_t`, `event_type!=process_creation`, `event_type=file_delete`,
	`event_type=file_event`, `event_type=network_connection`, `event_type=file`, `event_type=other`, `event_type=*`, `event_type=process_termination process.action=exited`,
	`a=x`, `a=y`, `a=z`, `A=z`, `empty=""`, `empty=*`, `space=" "`, `star=*`, `star=?`, `straße=*`, `Straße=*strasse`, `Straße="grosse straße"`, `x.y=dotted`, `x.y=nested`, `x=one`, `x=1`,
	`CommandLine~EncodedCommand\s+[A-Za-z]+`, `CommandLine~encodedcommand`, `CommandLine~(?i)ENCODED`, `CommandLine~"\"echo \w+\""`, `CommandLine~^-c`, `msg~"(?s)one.*two"`, `long~needle$`, `long~^needle`, `n~^1`, `user.id~null`, `Image~.`, `long~.`,
	`long=*needle`, `long=*NEEDLE*`, `long=*haystack*`, `process.exe=/bin/bash`, `Image=/bin/bash`, `process.args=id`, `CommandLine="-c id"`,
	`cmd.exe or powershell`, `(cmd.exe or powershell) and not pid=7`, `not (pid=42 or pid=7)`, `not not pid=42`, `not cmd.exe not powershell`,
	`pid=42 or müller or n=15`, `not x`, `process and not Image=*`, `(a=x and a=y)`, `a=x and not a=y`, `needle and long~needle and not pid=*`,
}

func testQueries(t *testing.T, s store.Store) {
	evs := searchedEvents(t)
	save(t, s, store.Batch{ID: "b1", Events: evs[:5]})
	save(t, s, store.Batch{ID: "b2", Events: evs[5:]})
	for _, text := range queryTexts {
		where, err := store.ParseQuery(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		checkEqual(t, text, eventIDs(searchAll(t, s, store.EventQuery{Where: where})), evaluateQuery(evs, where))
	}
}

// evaluateQuery returns the ids of the events that Expr.Match selects, newest first.
func evaluateQuery(evs []picket.Event, where store.Expr) []string {
	var d store.EventView
	var out []string
	for i := len(evs) - 1; i >= 0; i-- {
		d.Reset(&evs[i])
		if where == nil || where.Match(&d) {
			out = append(out, evs[i].ID)
		}
	}
	return out
}

// randomEventCount is the number of events in testRandomQueries.
const randomEventCount = 200

// testRandomQueries compares random queries over many events with evaluateQuery.
func testRandomQueries(t *testing.T, s store.Store) {
	rng := rand.New(rand.NewPCG(1, 2))
	unusual := unusualEvents(t)
	var evs []picket.Event
	for n := range randomEventCount {
		raw := string(unusual[rng.IntN(len(unusual))].Raw)
		if rng.IntN(3) > 0 {
			raw = fmt.Sprintf(`{"pid":%d,"name":"Worker %d","CommandLine":"C:\\bin\\worker.exe --id %x","tags":["t%d","t%d"]}`, n, rng.IntN(50), rng.Uint32(), rng.IntN(5), rng.IntN(5))
		}
		evs = append(evs, makeEvent(t, n, raw))
	}
	for i := 0; i < len(evs); i += 25 {
		save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: evs[i : i+25]})
	}
	for range 100 {
		where := randomExpr(t, rng, 3)
		got, want := eventIDs(searchAll(t, s, store.EventQuery{Where: where, Limit: 50 + rng.IntN(200)})), evaluateQuery(evs, where)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d events, want %d", where, len(got), len(want))
		}
	}
}

func randomExpr(t testing.TB, rng *rand.Rand, depth int) store.Expr {
	if depth > 0 && rng.IntN(2) == 0 {
		x, y := randomExpr(t, rng, depth-1), randomExpr(t, rng, depth-1)
		switch rng.IntN(3) {
		case 0:
			return store.And{x, y}
		case 1:
			return store.Or{x, y}
		}
		return store.Not{X: x}
	}
	text := queryTexts[1+rng.IntN(len(queryTexts)-1)]
	switch rng.IntN(4) {
	case 0:
		text = fmt.Sprintf(`pid=%d`, rng.IntN(randomEventCount))
	case 1:
		text = fmt.Sprintf(`"worker %d"`, rng.IntN(60))
	case 2:
		text = fmt.Sprintf(`CommandLine~"id %x"`, rng.IntN(256))
	}
	x, err := store.ParseQuery(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return x
}
