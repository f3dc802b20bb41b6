package celeryqueue_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestChordAndLinks(t *testing.T) {
	r := celerytest.New(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	testenv.Check(t, r.Client.Set(t.Context(), r.Keys.ChordSize("g"), 2, 0).Err())
	body := celery.Signature{Task: "app.tasks.all", Options: map[string]json.RawMessage{"task_id": []byte(`"body"`), "queue": []byte(`"python"`)}}
	for i, id := range []string{"a", "b"} {
		c := celerytest.NewTask(id)
		c.GroupID, c.GroupIndex, c.Chord = "g", i, &body
		c.Callbacks = []celery.Signature{{Task: "app.tasks.link", Options: map[string]json.RawMessage{"task_id": []byte(`"link of ` + id + `"`), "queue": []byte(`"python"`)}}}
		r.Publish(c)
	}
	testenv.Check(t, q.Ack(t.Context(), celerytest.Receive(t, q, 2)...))
	var sent []string
	for _, raw := range r.Client.LRange(t.Context(), "python", 0, -1).Val() {
		task, err := new(celery.Decoder).Decode([]byte(raw))
		testenv.Check(t, err)
		sent = append(sent, task.ID+" "+task.Name)
		if task.ID == "body" {
			var args [][]map[string]any
			testenv.Check(t, json.Unmarshal(task.Args, &args))
			if len(args) != 1 || len(args[0]) != 2 || args[0][1]["event_id"] != "event of b" {
				t.Errorf("arguments %s", task.Args)
			}
		}
	}
	if diff := cmp.Diff([]string{"body app.tasks.all", "link of b app.tasks.link", "link of a app.tasks.link"}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if n := r.Client.Exists(t.Context(), r.Keys.ChordSize("g"), r.Keys.ChordResults("g")).Val(); n != 0 {
		t.Error("the chord is kept")
	}
}
