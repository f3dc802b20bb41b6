package ingest

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
)

// elasticVersion is the version that clients of Elasticsearch are told. They
// refuse servers older than themselves, some by the major version.
const elasticVersion = "8.17.0"

// elasticRoutes adds what senders to Elasticsearch ask for: the bulk API, and
// the questions that Beats, Fluent Bit, Vector, rsyslog and the official
// clients put before it.
func (h *Handler) elasticRoutes(mux *httpapi.Mux) {
	for _, pattern := range []string{"POST /_bulk", "PUT /_bulk", "POST /_bulk/{$}", "PUT /_bulk/{$}"} {
		mux.Handle(pattern, withElasticHeaders(h.elasticAPI), WriteElastic)
	}
	// The rest is told by its names: an index may have any, so that no
	// pattern would leave room for the paths of others.
	mux.Fallback(isElastic, withElasticHeaders(h.elasticAPI), WriteElastic)
}

// picketPaths are the first parts of paths that are no index.
var picketPaths = []string{"api", "console", "dashboard", "accounts", "telemetry", "ws"}

// isElastic reports whether a request can be meant for Elasticsearch: it names
// one of its APIs, or it shows a token and asks for an index.
func isElastic(r *http.Request) bool {
	index, rest := elasticPath(r.URL)
	if slices.Contains(picketPaths, index) {
		return false
	}
	return len(rest) > 0 && strings.HasPrefix(rest[0], "_") || index != "" && len(rest) <= 2 && auth.Secret(r) != ""
}

// elasticPath takes a path apart: an index, "" where there is none, and what
// is asked of it.
func elasticPath(u *url.URL) (index string, rest []string) {
	for _, part := range strings.Split(strings.Trim(u.EscapedPath(), "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			plain = part
		}
		rest = append(rest, plain)
	}
	if !strings.HasPrefix(rest[0], "_") {
		index, rest = rest[0], rest[1:]
	}
	return index, rest
}

// elasticAPI serves every path of Elasticsearch but the root.
func (h *Handler) elasticAPI(w http.ResponseWriter, r *http.Request) error {
	from, err := h.tokens.CheckSender(r.Context(), auth.Secret(r))
	if err != nil {
		return err
	}
	index, rest := elasticPath(r.URL)
	writes := r.Method == http.MethodPost || r.Method == http.MethodPut
	if len(rest) == 0 {
		switch r.Method {
		case http.MethodHead, http.MethodGet: // an index is there as soon as it is named
			return httpapi.JSON(w, http.StatusOK, map[string]any{index: struct{}{}})
		case http.MethodPut:
			return httpapi.JSON(w, http.StatusOK, map[string]any{"acknowledged": true, "shards_acknowledged": true, "index": index})
		}
		return noSuchElasticAPI(r)
	}
	id := ""
	if len(rest) > 1 {
		id = rest[1]
	}
	switch api := rest[0]; {
	case rest[len(rest)-1] == "_bulk" && len(rest) <= 2 && writes: // the second by a type, which version 7 still had
		return h.bulk(w, r, from, index)
	case len(rest) <= 2 && index != "" && writes && (api == "_doc" || api == "_create" && id != "" || !strings.HasPrefix(api, "_")):
		return h.document(w, r, from, index, id)
	case api == "_refresh" || api == "_flush":
		return httpapi.JSON(w, http.StatusOK, map[string]any{"_shards": oneShard})
	case writes && isConfigurationAPI(api):
		// Templates, policies and pipelines are how Elasticsearch is told to
		// store events. picket does that in its own way: it says yes.
		return httpapi.JSON(w, http.StatusOK, map[string]any{"acknowledged": true})
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return noSuchElasticAPI(r)
	case isConfigurationAPI(api):
		return httpapi.JSON(w, http.StatusOK, struct{}{})
	case api == "_cluster" && id == "health":
		return httpapi.JSON(w, http.StatusOK, map[string]any{
			"cluster_name": "picket", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1})
	case api == "_nodes":
		return httpapi.JSON(w, http.StatusOK, map[string]any{"nodes": struct{}{}})
	case api == "_license":
		return httpapi.JSON(w, http.StatusOK, map[string]any{
			"license": map[string]any{"status": "active", "uid": "picket", "type": "basic", "mode": "basic"}})
	case api == "_xpack":
		return httpapi.JSON(w, http.StatusOK, map[string]any{
			"features": map[string]any{"ilm": map[string]any{"available": false, "enabled": false}}})
	}
	return noSuchElasticAPI(r)
}

var oneShard = map[string]int{"total": 1, "successful": 1, "failed": 0}

// isConfigurationAPI reports whether an API is for telling Elasticsearch how to store.
func isConfigurationAPI(api string) bool {
	return strings.HasSuffix(api, "_template") ||
		slices.Contains([]string{"_ilm", "_ingest", "_data_stream", "_alias", "_aliases", "_mapping", "_settings"}, api)
}

func noSuchElasticAPI(r *http.Request) error {
	return httpapi.Errorf(http.StatusNotFound, "no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method)
}

// Root answers GET and HEAD / as Elasticsearch does, for those who ask with
// credentials; the console has the path for everyone else.
func (h *Handler) Root(w http.ResponseWriter, r *http.Request) error {
	return withElasticHeaders(h.elasticRoot)(w, r)
}

func (h *Handler) elasticRoot(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.tokens.CheckSender(r.Context(), auth.Secret(r)); err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{
		"name": "picket", "cluster_name": "picket", "cluster_uuid": "picket",
		"version": map[string]any{
			"number": elasticVersion, "build_flavor": "default", "build_type": "binary", "build_hash": "picket",
			"build_snapshot": false, "lucene_version": "9.12.0",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
		"tagline": "You Know, for Search",
	})
}

// withElasticHeaders sets the headers without which the official clients refuse to talk.
func withElasticHeaders(f httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		if accept := r.Header.Get("Accept"); strings.HasPrefix(accept, "application/vnd.elasticsearch+json") {
			accept, _, _ = strings.Cut(accept, ",")
			w.Header().Set("Content-Type", strings.TrimSpace(accept))
		}
		return f(w, r)
	}
}

// elasticError is an error as Elasticsearch puts it.
type elasticError struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// WriteElastic answers an error in Elasticsearch's form.
func WriteElastic(w http.ResponseWriter, r *http.Request, err error) {
	status := httpapi.Status(err)
	if errors.Is(err, queue.ErrFull) {
		status = http.StatusTooManyRequests // which is what its clients back off at
	}
	httpapi.SetErrorHeaders(w, err)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="picket"`)
	}
	kind := map[int]string{
		http.StatusUnauthorized: "security_exception", http.StatusForbidden: "security_exception",
		http.StatusTooManyRequests: "es_rejected_execution_exception", http.StatusServiceUnavailable: "unavailable_shards_exception",
		http.StatusInternalServerError: "exception",
	}[status]
	if kind == "" {
		kind = "illegal_argument_exception"
	}
	e := elasticError{kind, httpapi.Message(err)}
	httpapi.JSON(w, status, map[string]any{
		"error":  map[string]any{"root_cause": []elasticError{e}, "type": e.Type, "reason": e.Reason},
		"status": status,
	})
}
