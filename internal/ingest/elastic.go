package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/shape"
)

// elasticVersion is the version that clients of Elasticsearch are told. They
// refuse servers older than themselves, some by the major version.
const elasticVersion = "8.17.0"

// elasticRoutes adds what senders to Elasticsearch ask for: the bulk API, and
// the questions that Beats, Fluent Bit, Vector, rsyslog and the official
// clients put before it.
func (h *Handler) elasticRoutes(mux *httpapi.Mux) {
	handle := func(pattern string, f httpapi.Handler) { mux.Handle(pattern, elastic(f), WriteElastic) }
	for _, method := range []string{"POST", "PUT"} {
		handle(method+" /_bulk", h.bulk)
		handle(method+" /_bulk/{$}", h.bulk)
		// An index, and what is asked of it: the two can't be told apart by
		// patterns, as an API of Elasticsearch may stand in either place.
		handle(method+" /{index}/{api}", h.indexAPI)
		handle(method+" /{index}/{api}/{id}", h.indexAPI)
	}
	handle("GET /{index}/{api}", h.indexAPI)
	handle("GET /{index}/{api}/{id}", h.indexAPI)
	handle("GET /_license", h.known(map[string]any{"license": map[string]any{"status": "active", "uid": "picket", "type": "basic", "mode": "basic"}}))
	handle("GET /_xpack", h.known(map[string]any{"features": map[string]any{"ilm": map[string]any{"available": false, "enabled": false}}}))
}

// indexAPI serves /{index}/{api} and /{index}/{api}/{id}.
func (h *Handler) indexAPI(w http.ResponseWriter, r *http.Request) error {
	index, api, id, writes := r.PathValue("index"), r.PathValue("api"), r.PathValue("id"), r.Method == http.MethodPost || r.Method == http.MethodPut
	switch {
	case api == "_bulk" && id == "" && writes:
		return h.bulk(w, r)
	case api == "_doc" && writes && (id != "" || r.Method == http.MethodPost), api == "_create" && writes && id != "":
		return h.document(w, r)
	case index == "_cluster" && api == "health":
		return h.known(map[string]any{"cluster_name": "picket", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1})(w, r)
	case index == "_nodes":
		return h.known(map[string]any{"nodes": map[string]any{}})(w, r)
	case strings.HasSuffix(index, "_template"), index == "_ilm", index == "_ingest", index == "_data_stream", index == "_alias":
		// Templates, policies and pipelines are how Elasticsearch is told to
		// store events. picket does that in its own way: it says yes.
		if r.Method == http.MethodGet {
			return h.known(map[string]any{})(w, r)
		}
		return h.known(map[string]any{"acknowledged": true})(w, r)
	}
	return httpapi.Errorf(http.StatusNotFound, "no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method)
}

// Root answers GET and HEAD / as Elasticsearch does, for those who ask with
// credentials; the console has the path for everyone else.
func (h *Handler) Root(w http.ResponseWriter, r *http.Request) error {
	return elastic(h.known(map[string]any{
		"name": "picket", "cluster_name": "picket", "cluster_uuid": "picket",
		"version": map[string]any{
			"number": elasticVersion, "build_flavor": "default", "build_type": "binary", "build_hash": "picket",
			"build_snapshot": false, "lucene_version": "9.12.0",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
		"tagline": "You Know, for Search",
	}))(w, r)
}

// elastic sets the headers without which the official clients refuse to talk.
func elastic(f httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		if accept := r.Header.Get("Accept"); strings.HasPrefix(accept, "application/vnd.elasticsearch+json") {
			w.Header().Set("Content-Type", strings.TrimSpace(strings.Split(accept, ",")[0]))
		}
		return f(w, r)
	}
}

// known answers v to whoever may post telemetry.
func (h *Handler) known(v any) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := h.authenticate(r.Context(), auth.Secret(r)); err != nil {
			return err
		}
		return httpapi.JSON(w, http.StatusOK, v)
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
		w.Header().Set("Retry-After", "5")
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

// A bulkItem is the answer to one action of a bulk request.
type bulkItem struct {
	Index  string        `json:"_index"`
	ID     string        `json:"_id,omitempty"`
	Status int           `json:"status"`
	Result string        `json:"result,omitempty"`
	Error  *elasticError `json:"error,omitempty"`
}

// bulk takes pairs of lines: an action, and the document it is for.
func (h *Handler) bulk(w http.ResponseWriter, r *http.Request) error {
	start := h.opt.Now()
	from, err := h.authenticate(r.Context(), auth.Secret(r))
	if err != nil {
		return err
	}
	s := splitter{maxEvent: h.opt.MaxEvent, maxEvents: 2 * h.opt.MaxEvents, lines: true, start: -1}
	body, release, err := h.bodies.read(w, r, s.feed)
	if err != nil {
		return err
	}
	defer release()
	if err := s.finish(body); err != nil {
		return fmt.Errorf("%v: %w", err, picket.ErrInvalid)
	}
	b := h.newBuilder(from)
	reader := h.readers.Get().(*shape.Reader)
	defer h.readers.Put(reader)
	items, err := b.bulk(reader, body, s.spans, r.PathValue("index"))
	if err != nil {
		return err
	}
	if _, err := b.send(r.Context(), false); err != nil {
		return err
	}
	failed := false
	for _, it := range items {
		for _, v := range it {
			failed = failed || v.Error != nil
		}
	}
	answer := map[string]any{"errors": failed, "items": items}
	if wanted := r.URL.Query().Get("filter_path"); wanted == "" || strings.Contains(wanted, "took") {
		answer["took"] = h.opt.Now().Sub(start).Milliseconds()
	}
	return httpapi.JSON(w, http.StatusOK, answer)
}

// bulk adds a bulk request's documents and returns the answer to each action.
// Only a broken action line makes the whole request fail: what follows it
// could not be told from documents.
func (b *builder) bulk(reader *shape.Reader, body []byte, spans []span, index string) ([]map[string]bulkItem, error) {
	items := make([]map[string]bulkItem, 0, len(spans)/2)
	for i := 0; i < len(spans); i++ {
		verb, it, err := action(body[spans[i].start:spans[i].end])
		if err != nil {
			return nil, fmt.Errorf("malformed action/metadata line [%d]: %v: %w", i+1, err, picket.ErrInvalid)
		}
		if it.Index == "" {
			it.Index = index
		}
		if verb == "delete" {
			it.Status, it.Error = http.StatusBadRequest, &elasticError{"illegal_argument_exception", "picket does not delete events"}
			items = append(items, map[string]bulkItem{verb: it})
			continue
		}
		if i++; i == len(spans) {
			return nil, fmt.Errorf("the last action has no document: %w", picket.ErrInvalid)
		}
		if verb == "update" {
			it.Status, it.Error = http.StatusBadRequest, &elasticError{"illegal_argument_exception", "picket does not change events"}
			items = append(items, map[string]bulkItem{verb: it})
			continue
		}
		b.item(reader, body[spans[i].start:spans[i].end], &it)
		items = append(items, map[string]bulkItem{verb: it})
	}
	return items, nil
}

// item adds one document and fills the answer to it.
func (b *builder) item(reader *shape.Reader, raw []byte, it *bulkItem) {
	if errs := b.add(reader, raw, hint{id: it.ID, typ: it.Index, anyType: true}); errs != nil {
		it.Status, it.Error = http.StatusBadRequest, &elasticError{"document_parsing_exception", errs.String()}
		return
	}
	it.Status, it.Result = http.StatusCreated, "created"
	if it.ID == "" {
		it.ID = b.batch.Events[len(b.batch.Events)-1].ID
	}
}

// action reads an action line: {"create":{"_index":…,"_id":…}}.
func action(line []byte) (verb string, it bulkItem, err error) {
	var a map[string]*struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	if err := d.Decode(&a); err != nil {
		return "", it, err
	}
	for _, verb := range [...]string{"create", "index", "update", "delete"} {
		if meta, ok := a[verb]; ok && len(a) == 1 {
			if meta != nil {
				it.Index, it.ID = meta.Index, meta.ID
			}
			return verb, it, nil
		}
	}
	return "", it, fmt.Errorf("expected one of create, index, update, delete")
}

// document takes a single document.
func (h *Handler) document(w http.ResponseWriter, r *http.Request) error {
	from, err := h.authenticate(r.Context(), auth.Secret(r))
	if err != nil {
		return err
	}
	body, release, err := h.bodies.read(w, r, func(body []byte) error {
		if len(body) > h.opt.MaxEvent {
			return httpapi.Errorf(http.StatusRequestEntityTooLarge, "event is larger than %d bytes", h.opt.MaxEvent)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer release()
	b := h.newBuilder(from)
	reader := h.readers.Get().(*shape.Reader)
	defer h.readers.Put(reader)
	it := bulkItem{Index: r.PathValue("index"), ID: r.PathValue("id")}
	b.item(reader, bytes.TrimSpace(body), &it)
	if _, err := b.send(r.Context(), false); err != nil {
		return err
	}
	if it.Error != nil {
		return httpapi.Errorf(it.Status, "%s", it.Error.Reason)
	}
	return httpapi.JSON(w, http.StatusCreated, map[string]any{
		"_index": it.Index, "_id": it.ID, "_version": 1, "result": "created", "_seq_no": 0, "_primary_term": 1,
		"_shards": map[string]int{"total": 1, "successful": 1, "failed": 0},
	})
}
