package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

type queueView struct {
	Stats       queue.Stats
	Totals      store.Totals
	Workers     []store.Worker
	Rules       string // the revision of this server's rules
	DeadLetters []deadLetterRow
	Next        string
	CanAct      bool
	Full        int   // per cent of MaxBytes
	Legacy      int64 // events of legacy agents dropped
	Agents      int64 // events that agents report as dropped
}

type deadLetterRow struct {
	queue.DeadLetter
	Raw string
}

func (c *Console) queue(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	ctx := r.Context()
	v := queueView{CanAct: who.HasRole(auth.RoleAdmin)}
	v.Legacy, v.Agents = c.Dropped()
	var err error
	if v.Stats, err = c.Queue.Stats(ctx); err != nil {
		return err
	}
	if v.Totals, err = c.Store.Totals(ctx); err != nil {
		return err
	}
	if v.Workers, err = c.Store.Workers(ctx, c.Now().Add(-store.WorkerTimeout)); err != nil {
		return err
	}
	set, _ := c.Rules.Status()
	v.Rules = set.Revision
	if v.Stats.MaxBytes > 0 {
		v.Full = int(v.Stats.Bytes * 100 / v.Stats.MaxBytes)
	}
	before, _ := strconv.ParseInt(r.URL.Query().Get("cursor"), 10, 64)
	page, err := c.Queue.DeadLetters(ctx, max(before, 0), 20)
	if err != nil {
		return err
	}
	for _, l := range page.DeadLetters {
		v.DeadLetters = append(v.DeadLetters, deadLetterRow{l, deadLetterEventText(l)})
	}
	if page.Next > 0 {
		v.Next = nextLink(r.URL, strconv.FormatInt(page.Next, 10))
	}
	return c.render(w, http.StatusOK, "queue.html", pageData{Title: "Queue", Section: "queue", Who: who, Live: before == 0, Page: v})
}

// maxShownBatchBytes is the size of the largest batch of which the page shows an event.
const maxShownBatchBytes = 4 << 20

// deadLetterEventText returns the event of a dead letter, indented if it is JSON.
func deadLetterEventText(l queue.DeadLetter) string {
	if size := picket.DecodedBytes(l.Payload); size == 0 || size > maxShownBatchBytes {
		return "" // a batch that ended its worker may end the server too
	}
	b, err := picket.DecodeBatch(l.Payload)
	if err != nil || len(b.Events) == 0 {
		return ""
	}
	return indentJSON(b.Events[0].Raw, maxMatchedEventBytes)
}

// changeDeadLetters requeues or purges the dead letters that the form names, or
// all.
func (c *Console) changeDeadLetters(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	actions := map[string]func(context.Context, auth.Identity, ...int64) (int, error){"requeue": c.Triage.RequeueDeadLetters, "purge": c.Triage.PurgeDeadLetters}
	do := actions[r.PostForm.Get("do")]
	if do == nil {
		return fmt.Errorf("there is no action %q: %w", r.PostForm.Get("do"), picket.ErrInvalid)
	}
	var ids []int64
	if v := r.PostForm.Get("id"); v != "" {
		id, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not the id of a dead letter: %w", v, picket.ErrInvalid)
		}
		ids = append(ids, id)
	} else if r.PostForm.Get("all") != "true" {
		return fmt.Errorf("no dead letter is named: %w", picket.ErrInvalid)
	}
	if _, err := do(r.Context(), who, ids...); err != nil {
		return err
	}
	http.Redirect(w, r, "/console/queue", http.StatusSeeOther)
	return nil
}
