package legacy

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// searchAlertsAndHosts finds up to five alerts and five agents whose names contain a text.
func (d *Dashboard) searchAlertsAndHosts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	alerts, endpoints := []orderedObject{}, []string{}
	if text := strings.TrimSpace(r.URL.Query().Get("q")); utf8.RuneCountInString(text) >= 2 {
		page, err := d.Store.Alerts(r.Context(), store.AlertQuery{Text: text, Limit: 5})
		if err != nil {
			return err
		}
		hosts, err := d.Store.Hosts(r.Context(), text, 5, "")
		if err != nil {
			return err
		}
		known := func(agent string) {
			if len(endpoints) < 5 && !slices.Contains(endpoints, agent) {
				endpoints = append(endpoints, agent)
			}
		}
		for _, a := range page.Alerts {
			alerts = append(alerts, orderedObject{
				{"alert_id", a.ID}, {"severity", severityName(a.Level)}, {"rule_name", truncateListed(a.Title)}, {"endpoint_id", a.AgentID},
				{"status", legacyStatusNames[a.Status]},
			})
			if strings.Contains(strings.ToLower(a.AgentID), strings.ToLower(text)) {
				known(a.AgentID)
			}
		}
		for _, h := range hosts.Hosts {
			known(h.AgentID)
		}
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"alerts", alerts}, {"endpoints", endpoints}})
}
