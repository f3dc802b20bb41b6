package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

// A bodyParseError is a request body that is not valid JSON.
type bodyParseError struct{ error }

// readJSONBody decodes a JSON body of at most 1 MiB.
func readJSONBody(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return bodyParseError{err}
	}
	return nil
}

// badRequest returns a 400 with a legacy message.
func badRequest(text string) error {
	return &httpapi.Error{Status: http.StatusBadRequest, Err: errors.New(text)}
}

func (d *Dashboard) setStatus(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := d.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	var body struct{ Status, Note string }
	if err := readJSONBody(w, r, &body); err != nil {
		return err
	}
	status, _ := parseStatus(body.Status)
	if !status.Closed() {
		return badRequest("Invalid status")
	}
	if _, err := d.Triage.UpdateAlert(r.Context(), who, id, store.AlertUpdate{Status: &status, Note: body.Note}); err != nil {
		return err
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"success", true}, {"alert_id", id}, {"new_status", body.Status}})
}

func (d *Dashboard) assign(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := d.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	body := struct {
		Analyst *string `json:"analyst_email"`
	}{}
	if err := readJSONBody(w, r, &body); err != nil {
		return err
	}
	analyst := who.Subject
	if body.Analyst != nil && *body.Analyst != "" {
		analyst = *body.Analyst
	}
	if err := d.assignAndInvestigate(r, who, id, analyst, ""); err != nil {
		return err
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"success", true}, {"alert_id", id}, {"assigned_to", analyst}})
}

// assignAndInvestigate assigns an alert to an analyst and marks it as investigated.
func (d *Dashboard) assignAndInvestigate(r *http.Request, who auth.Identity, id, analyst, note string) error {
	status := picket.StatusInvestigating
	_, err := d.Triage.UpdateAlert(r.Context(), who, id, store.AlertUpdate{Status: &status, Assignee: &analyst, Note: note})
	return err
}

func (d *Dashboard) addNote(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := d.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	var body struct{ Note string }
	if err := readJSONBody(w, r, &body); err != nil {
		return err
	}
	if body.Note == "" {
		return badRequest("Note cannot be empty")
	}
	if utf8.RuneCountInString(body.Note) > triage.MaxNoteChars {
		return badRequest("Note is too long")
	}
	if _, err := d.Triage.UpdateAlert(r.Context(), who, id, store.AlertUpdate{Note: body.Note}); err != nil {
		return err
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"success", true}, {"alert_id", id}, {"note_added", body.Note}})
}

func (d *Dashboard) bulkAction(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body struct {
		IDs      []string `json:"alert_ids"`
		Action   string   `json:"action"`
		Note     string   `json:"note"`
		Assignee string   `json:"assignee"`
	}
	if err := readJSONBody(w, r, &body); err != nil {
		return err
	}
	if len(body.IDs) == 0 || body.Action == "" {
		return badRequest("Missing alert_ids or action")
	}
	do := map[string]func(id string) error{
		"resolve":        func(id string) error { return d.closeAlert(r, who, id, picket.StatusResolved, body.Note) },
		"false_positive": func(id string) error { return d.closeAlert(r, who, id, picket.StatusFalsePositive, body.Note) },
		"assign":         func(id string) error { return d.assignAndInvestigate(r, who, id, body.Assignee, body.Note) },
	}[body.Action]
	switch {
	case do == nil:
		return badRequest("Invalid action. Must be one of: resolve, false_positive, assign")
	case body.Action == "assign" && body.Assignee == "":
		return badRequest("Missing assignee email")
	case len(body.IDs) > maxAnswerRows || utf8.RuneCountInString(body.Note) > triage.MaxNoteChars || utf8.RuneCountInString(body.Assignee) > triage.MaxAssigneeChars:
		return badRequest("Too many alert_ids, or note or assignee too long")
	}
	done, missing, errs := 0, 0, []string{}
	for _, id := range body.IDs {
		switch err := do(id); {
		case err == nil:
			done++
		case errors.Is(err, picket.ErrNotFound):
			missing++
			errs = append(errs, fmt.Sprintf("Alert %s not found", id))
		default:
			errs = append(errs, fmt.Sprintf("Error processing %s: %s", id, httpapi.ClientMessage(err)))
		}
	}
	if done == 0 && missing == len(body.IDs) {
		return writePythonJSON(w, http.StatusNotFound, orderedObject{{"error", "No matching alerts found to update"}})
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"success_count", done}, {"total_requested", len(body.IDs)}, {"errors", errs}})
}

func (d *Dashboard) closeAlert(r *http.Request, who auth.Identity, id string, status picket.AlertStatus, note string) error {
	_, err := d.Triage.UpdateAlert(r.Context(), who, id, store.AlertUpdate{Status: &status, Note: note})
	return err
}

func (d *Dashboard) toggleRule(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	on, off := d.Rules.List()
	enable := false
	for _, rule := range off {
		enable = enable || rule.ID == id
	}
	found := enable
	for _, rule := range on {
		found = found || rule.ID == id
	}
	if !found {
		return writePythonJSON(w, http.StatusNotFound, orderedObject{{"error", "Rule not found"}})
	}
	if err := d.Triage.SetRuleEnabled(r.Context(), who, id, enable); err != nil {
		return err
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"success", true}, {"rule_id", id}, {"enabled", enable}})
}
