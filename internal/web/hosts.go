package web

import (
	"net/http"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

type hostsView struct {
	Text          string
	Hosts         []hostRow
	Next          string
	Total, Online int64
}

type hostRow struct {
	store.Host
	Online bool
}

func (c *Console) hosts(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	v := hostsView{Text: q.Get("q")}
	page, err := c.Store.Hosts(r.Context(), v.Text, rowsPerPage, q.Get("cursor"))
	if err != nil {
		return err
	}
	since := c.Now().UTC().Add(-onlineTimeout)
	for _, h := range page.Hosts {
		v.Hosts = append(v.Hosts, hostRow{h, h.LastSeen.After(since)})
	}
	v.Next = nextLink(r.URL, page.Next)
	if v.Total, v.Online, err = c.Store.CountHosts(r.Context(), since); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "hosts.html", pageData{Title: "Hosts", Section: "hosts", Who: who, Live: q.Get("cursor") == "", Page: v})
}
