package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// The answer names the batch that the request names, whether the batch is accepted or
// refused, if the name is short.
func TestAnswerNamesBatch(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{MaxEventBytes: 1000})
	for _, test := range []struct {
		token, body, batch, want string
		status                   int
	}{
		{r.agent, native, "b-1", "b-1", 201},
		{r.agent, native, "", "", 201},
		{r.agent, native, strings.Repeat("b", 1000), "", 201},
		{r.agent, `[{}]`, "b-2", "b-2", 400},
		{r.agent, `[`, "b-3", "b-3", 400},
		{r.agent, `[{"x":"` + strings.Repeat("x", 2000) + `"}]`, "b-4", "b-4", 413},
		{"wrong", native, "b-5", "b-5", 401},
	} {
		w := r.post(test.token, test.body, "X-Picket-Batch", test.batch)
		if w.Code != test.status || w.Header().Get("X-Picket-Batch") != test.want {
			t.Errorf("%.20s: %d, batch %q", test.body, w.Code, w.Header().Get("X-Picket-Batch"))
		}
	}
}

// A sender can ask for whom its token posts.
func TestDescribeToken(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for token, want := range map[string]string{
		r.agent:     `200 {"kind":"agent","name":"PC1","host":""}`,
		r.collector: `200 {"kind":"collector","name":"col","host":""}`,
		r.api:       `403 {"error":"a token of kind api cannot send events; this needs one of kind agent or collector"}`,
		"wrong":     `401 {"error":"not authenticated"}`,
	} {
		w := r.do(http.MethodGet, "/api/v1/token", nil, "Authorization", "Token "+token)
		if got := strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
