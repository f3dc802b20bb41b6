package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
)

// bulkEventsFactor multiplies Options.MaxEvents for bulk requests. Bulk senders limit
// requests by bytes: 10 MB of short lines are within Vector's defaults, and Vector
// drops requests that are answered with 413.
const bulkEventsFactor = 10

// A bulkItem is the answer to one action of a bulk request.
type bulkItem struct {
	Index  string        `json:"_index,omitempty"`
	ID     string        `json:"_id,omitempty"`
	Status int           `json:"status,omitempty"`
	Result string        `json:"result,omitempty"`
	Error  *elasticError `json:"error,omitempty"`
}

// A bulkAnswer is the answer to a bulk request, reduced by filter_path.
type bulkAnswer struct {
	Took   *int64                `json:"took,omitempty"`
	Errors *bool                 `json:"errors,omitempty"`
	Items  []map[string]bulkItem `json:"items,omitempty"`
}

// bulk accepts pairs of lines: an action and its document.
func (h *Handler) bulk(w http.ResponseWriter, r *http.Request, from auth.Identity, index string) error {
	start := h.opt.Now()
	s := eventSplitter{maxEventBytes: h.opt.MaxEventBytes, maxEvents: 2 * bulkEventsFactor * h.opt.MaxEvents, lines: true, start: -1}
	body, release, err := h.bodies.read(w, r, from.String(), s.scanAndCut)
	if err != nil {
		return err
	}
	defer release()
	if err := s.finish(body); err != nil {
		return fmt.Errorf("%w: %w", err, picket.ErrInvalid)
	}
	b := h.newBatchBuilder(from)
	var items []map[string]bulkItem
	if err := h.readers.use(r.Context(), from.String(), func(reader *normalize.Reader) (err error) {
		items, err = b.addBulk(reader, body, s.spans, index)
		return err
	}); err != nil {
		return err
	}
	// Built before the batch is queued, because send releases the body.
	answer, err := httpapi.MarshalJSON(filterBulk(items, h.opt.Now().Sub(start).Milliseconds(), r.URL.Query().Get("filter_path")))
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if err := b.enqueue(r.Context(), release); err != nil {
		return err
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, answer)
}

// filterBulk returns the parts of the answer that filter_path selects: a list of
// paths with wildcards, such as errors and items.*.error.
func filterBulk(items []map[string]bulkItem, took int64, filter string) bulkAnswer {
	failed := false
	for _, it := range items {
		for _, v := range it {
			failed = failed || v.Error != nil
		}
	}
	if filter == "" {
		return bulkAnswer{&took, &failed, items}
	}
	var a bulkAnswer
	var fields []string // of an item
	for _, path := range strings.Split(filter, ",") {
		switch parts := strings.Split(strings.TrimSpace(path), "."); {
		case parts[0] == "took":
			a.Took = &took
		case parts[0] == "errors":
			a.Errors = &failed
		case parts[0] == "items" && len(parts) >= 3 && parts[2] != "*" && parts[2] != "**":
			fields = append(fields, parts[2])
		case parts[0] == "items" || parts[0] == "*" || parts[0] == "**":
			fields = append(fields, "_index", "_id", "status", "result", "error")
		}
	}
	for _, it := range items {
		for verb, v := range it {
			if v = v.filtered(fields); v != (bulkItem{}) {
				a.Items = append(a.Items, map[string]bulkItem{verb: v})
			}
		}
	}
	return a
}

// filtered returns the item with only some fields.
func (it bulkItem) filtered(fields []string) bulkItem {
	for field, clear := range map[string]func(){
		"_index": func() { it.Index = "" }, "_id": func() { it.ID = "" }, "status": func() { it.Status = 0 },
		"result": func() { it.Result = "" }, "error": func() { it.Error = nil },
	} {
		if !slices.Contains(fields, field) {
			clear()
		}
	}
	return it
}

// addBulk adds a bulk request's documents and returns the answer to each action. Only
// a malformed action line fails the whole request, because actions and documents
// after it cannot be told apart.
func (b *batchBuilder) addBulk(reader *normalize.Reader, body []byte, spans []eventSpan, index string) ([]map[string]bulkItem, error) {
	items := make([]map[string]bulkItem, 0, len(spans)/2)
	refuse := func(verb string, it bulkItem, reason string) {
		it.Status, it.Error = http.StatusBadRequest, &elasticError{"illegal_argument_exception", reason}
		items = append(items, map[string]bulkItem{verb: it})
	}
	for i := 0; i < len(spans); i++ {
		verb, it, err := parseBulkAction(body[spans[i].start:spans[i].end])
		if spans[i].size > b.h.opt.MaxEventBytes {
			err = fmt.Errorf("it has %d bytes, more than the %d that are accepted", spans[i].size, b.h.opt.MaxEventBytes)
		}
		if err != nil {
			return nil, fmt.Errorf("malformed action/metadata line [%d]: %w: %w", i+1, err, picket.ErrInvalid)
		}
		if it.Index == "" {
			it.Index = index
		}
		if verb == "delete" {
			refuse(verb, it, "picket does not delete events")
			continue
		}
		if i++; i == len(spans) {
			return nil, fmt.Errorf("the last action has no document: %w", picket.ErrInvalid)
		}
		if verb == "update" {
			refuse(verb, it, "picket does not change events")
			continue
		}
		b.addItem(reader, body[spans[i].start:spans[i].end], spans[i].size, &it)
		items = append(items, map[string]bulkItem{verb: it})
	}
	return items, nil
}

// addItem adds one document of size bytes and completes its answer. Of a document that is
// too large, raw is the start.
func (b *batchBuilder) addItem(reader *normalize.Reader, raw []byte, size int, it *bulkItem) {
	defaults := requestDefaults{id: it.ID, typ: it.Index, index: it.Index, anyType: true}
	if size > b.h.opt.MaxEventBytes {
		errs := b.rejectOversize(raw, size, defaults)
		it.Status, it.Error = http.StatusRequestEntityTooLarge, &elasticError{"illegal_argument_exception", errs.String()}
		return
	}
	if errs := b.addEvent(reader, raw, defaults); errs != nil {
		it.Status, it.Error = http.StatusBadRequest, &elasticError{"document_parsing_exception", errs.String()}
		return
	}
	it.Status, it.Result = http.StatusCreated, "created"
	if it.ID == "" {
		it.ID = b.batch.Events[len(b.batch.Events)-1].ID
	}
}

// parseBulkAction parses an action line: {"create":{"_index":…,"_id":…}}.
func parseBulkAction(line []byte) (verb string, it bulkItem, err error) {
	var a map[string]*struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	if err := json.Unmarshal(line, &a); err != nil {
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

// document accepts a single document.
func (h *Handler) document(w http.ResponseWriter, r *http.Request, from auth.Identity, index, id string) error {
	size, last := 0, 0 // of the document, and of the body that was kept of it
	body, release, err := h.bodies.read(w, r, from.String(), func(body []byte) ([]byte, error) {
		size += len(body) - last
		if size > h.opt.MaxEventBytes {
			body = body[:min(len(body), maxKeptOversizeBytes, h.opt.MaxEventBytes)]
		}
		last = len(body)
		return body, nil
	})
	if err != nil {
		return err
	}
	defer release()
	b := h.newBatchBuilder(from)
	it := bulkItem{Index: index, ID: id}
	if err := h.readers.use(r.Context(), from.String(), func(reader *normalize.Reader) error {
		b.addItem(reader, bytes.TrimSpace(body), size, &it)
		return nil
	}); err != nil {
		return err
	}
	it.ID = strings.Clone(it.ID)
	if err := b.enqueue(r.Context(), release); err != nil {
		return err
	}
	if it.Error != nil {
		return httpapi.Errorf(it.Status, "%s", it.Error.Reason)
	}
	return httpapi.WriteJSON(w, http.StatusCreated, map[string]any{
		"_index": it.Index, "_id": it.ID, "_version": 1, "result": "created", "_seq_no": 0, "_primary_term": 1,
		"_shards": oneShard,
	})
}
