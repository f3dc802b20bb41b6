package web

import (
	"context"
	"encoding/json"
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
	Stats   queue.Stats
	Totals  store.Totals
	Workers []store.Worker
	Rules   string // the revision of the rules of this server
	Letters []letterRow
	Next    string
	CanAct  bool
	Full    int   // per cent of the bound
	Legacy  int64 // dropped
	Agents  int64 // dropped
}

type letterRow struct {
	queue.DeadLetter
	Raw string
}

func (c *Console) queue(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	ctx := r.Context()
	v := queueView{CanAct: who.Can(auth.RoleAdmin)}
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
	letters, err := c.Queue.DeadLetters(ctx, max(before, 0), 20)
	if err != nil {
		return err
	}
	for _, l := range letters {
		v.Letters = append(v.Letters, letterRow{l, letterRaw(l)})
	}
	if len(letters) == 20 {
		v.Next = nextLink(r.URL, strconv.FormatInt(letters[19].ID, 10))
	}
	return c.render(w, http.StatusOK, "queue.html", view{Title: "Queue", Section: "queue", Who: who, Live: before == 0, Page: v})
}

// letterRaw is the event in a letter, laid out where it is JSON.
func letterRaw(l queue.DeadLetter) string {
	b, err := picket.DecodeBatch(l.Payload)
	if err != nil || len(b.Events) == 0 {
		return ""
	}
	raw := b.Events[0].Raw
	if json.Valid(raw) {
		return indent(raw)
	}
	return string(raw[:min(len(raw), 4096)])
}

// tend puts dead letters back, or deletes them.
func (c *Console) tend(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	do := map[string]func(context.Context, ...int64) (int, error){"requeue": c.Queue.Requeue, "purge": c.Queue.Purge}[r.PostForm.Get("do")]
	if do == nil {
		return fmt.Errorf("there is no action %q: %w", r.PostForm.Get("do"), picket.ErrInvalid)
	}
	var ids []int64
	if v := r.PostForm.Get("id"); v != "" {
		id, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no dead letter: %w", v, picket.ErrInvalid)
		}
		ids = append(ids, id)
	} else if r.PostForm.Get("all") != "true" {
		return fmt.Errorf("no dead letter is named: %w", picket.ErrInvalid)
	}
	n, err := do(r.Context(), ids...)
	if err != nil {
		return err
	}
	c.audit(r.Context(), who, "queue."+r.PostForm.Get("do"), r.PostForm.Get("id"), strconv.Itoa(n)+" letters")
	http.Redirect(w, r, "/console/queue", http.StatusSeeOther)
	return nil
}
