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

// elasticVersion is the version that Elasticsearch clients see. They reject servers
// that are older than themselves, some by major version only.
const elasticVersion = "8.17.0"

// elasticRoutes adds the Elasticsearch APIs that senders use: the bulk API, and
// what Beats, Fluent Bit, Vector, rsyslog and the official clients request before
// it.
func (h *Handler) elasticRoutes(mux *httpapi.Mux) {
	for _, pattern := range []string{"POST /_bulk", "PUT /_bulk", "POST /_bulk/{$}", "PUT /_bulk/{$}"} {
		mux.Handle(pattern, withElasticHeaders(h.countRefusals(h.dispatchElastic)), WriteElastic)
	}
	// An index can have any name, so no pattern can match its paths without
	// matching others. The fallback is tried only if no route matches.
	mux.Fallback(isElastic, withElasticHeaders(h.countRefusals(h.dispatchElastic)), WriteElastic)
}

// picketPathRoots are the first elements of picket's own paths, which are never an index.
var picketPathRoots = []string{"api", "console", "dashboard", "accounts", "telemetry", "ws"}

// isElastic reports whether a request is for Elasticsearch: its path names one of
// Elasticsearch's APIs, or an index, with a token.
func isElastic(r *http.Request) bool {
	index, rest := elasticPath(r.URL)
	if slices.Contains(picketPathRoots, index) {
		return false
	}
	return len(rest) > 0 && strings.HasPrefix(rest[0], "_") || index != "" && len(rest) <= 2 && auth.TokenSecret(r) != ""
}

// elasticPath splits a path into the index, "" if there is none, and the API.
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

// dispatchElastic serves every path of Elasticsearch but the root.
func (h *Handler) dispatchElastic(w http.ResponseWriter, r *http.Request) error {
	from, err := h.tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r))
	if err != nil {
		return err
	}
	index, rest := elasticPath(r.URL)
	writes := r.Method == http.MethodPost || r.Method == http.MethodPut
	if len(rest) == 0 {
		switch r.Method {
		case http.MethodHead, http.MethodGet: // every index exists
			return httpapi.WriteJSON(w, http.StatusOK, map[string]any{index: struct{}{}})
		case http.MethodPut:
			return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"acknowledged": true, "shards_acknowledged": true, "index": index})
		}
		return noSuchElasticAPI(r)
	}
	id := ""
	if len(rest) > 1 {
		id = rest[1]
	}
	switch api := rest[0]; {
	case rest[len(rest)-1] == "_bulk" && len(rest) <= 2 && writes: // version 7 still had a type between index and API
		return h.bulk(w, r, from, index)
	case len(rest) <= 2 && index != "" && writes && (api == "_doc" || api == "_create" && id != "" || !strings.HasPrefix(api, "_")):
		return h.document(w, r, from, index, id)
	case api == "_refresh" || api == "_flush":
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"_shards": oneShard})
	case writes && isConfigurationAPI(api):
		// Templates, policies and pipelines configure how Elasticsearch stores
		// events. picket acknowledges and ignores them.
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"acknowledged": true})
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return noSuchElasticAPI(r)
	case isConfigurationAPI(api):
		return httpapi.WriteJSON(w, http.StatusOK, struct{}{})
	case api == "_cluster" && id == "health":
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{
			"cluster_name": "picket", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1})
	case api == "_nodes":
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"nodes": struct{}{}})
	case api == "_license":
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{
			"license": map[string]any{"status": "active", "uid": "picket", "type": "basic", "mode": "basic"}})
	case api == "_xpack":
		return httpapi.WriteJSON(w, http.StatusOK, map[string]any{
			"features": map[string]any{"ilm": map[string]any{"available": false, "enabled": false}}})
	}
	return noSuchElasticAPI(r)
}

var oneShard = map[string]int{"total": 1, "successful": 1, "failed": 0}

// isConfigurationAPI reports whether an API configures how Elasticsearch stores
// events.
func isConfigurationAPI(api string) bool {
	return strings.HasSuffix(api, "_template") ||
		slices.Contains([]string{"_ilm", "_ingest", "_data_stream", "_alias", "_aliases", "_mapping", "_settings"}, api)
}

func noSuchElasticAPI(r *http.Request) error {
	return httpapi.Errorf(http.StatusNotFound, "no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method)
}

// Root answers GET and HEAD / with a token as Elasticsearch does.
func (h *Handler) Root(w http.ResponseWriter, r *http.Request) error {
	return withElasticHeaders(h.elasticRoot)(w, r)
}

func (h *Handler) elasticRoot(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r)); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{
		"name": "picket", "cluster_name": "picket", "cluster_uuid": "picket",
		"version": map[string]any{
			"number": elasticVersion, "build_flavor": "default", "build_type": "binary", "build_hash": "picket",
			"build_snapshot": false, "lucene_version": "9.12.0",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
		"tagline": "You Know, for Search",
	})
}

// withElasticHeaders sets the headers that the official clients require.
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

// An elasticError is an error in Elasticsearch's format.
type elasticError struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// WriteElastic answers an error in Elasticsearch's format.
func WriteElastic(w http.ResponseWriter, r *http.Request, err error) {
	status := httpapi.StatusOf(err)
	if errors.Is(err, queue.ErrFull) {
		status = http.StatusTooManyRequests // its clients back off on this status only
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
	e := elasticError{kind, httpapi.ClientMessage(err)}
	httpapi.WriteJSON(w, status, map[string]any{
		"error":  map[string]any{"root_cause": []elasticError{e}, "type": e.Type, "reason": e.Reason},
		"status": status,
	})
}
