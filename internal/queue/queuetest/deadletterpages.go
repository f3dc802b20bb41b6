package queuetest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

// testDeadLetterPages checks that pages of large dead letters are bounded and lead to all
// of them, and that a payload that is too large for a list is kept.
func (su suite) testDeadLetterPages(t *testing.T, q Queue) {
	const n = 12
	random := func(size int) []byte { // which does not compress
		b := make([]byte, size/2)
		rand.Read(b)
		return fmt.Appendf(nil, `{"a":%q}`, hex.EncodeToString(b))
	}
	var want []string
	for i := range n {
		l := deadLetter(fmt.Sprint(i))
		size := 900_000
		if i == 3 {
			size = 4 << 20
		}
		b := picket.Batch{ID: fmt.Sprint("b", i), Events: []picket.Event{{ID: l.EventID, AgentID: "a", Host: "h", Type: "x", Raw: random(size)}}}
		l.Payload = b.Encode(nil)
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: fmt.Sprint("x", i), Agent: fmt.Sprint("agent", i)}, l))
		want = append([]string{l.EventID}, want...)
	}
	var got []string
	var large int64
	pages := 0
	for before := int64(0); ; pages++ {
		page, err := q.DeadLetters(t.Context(), before, 100)
		testenv.Check(t, err)
		bytes := 0
		for i := range page.DeadLetters {
			l := &page.DeadLetters[i]
			got = append(got, l.EventID)
			bytes += l.EstimateListedBytes()
			if len(l.Payload) == 0 {
				large = l.ID
			}
		}
		if len(page.DeadLetters) == 0 || len(page.DeadLetters) > 1 && bytes > queue.MaxDeadLetterPageBytes {
			t.Fatalf("page of %d dead letters and %d bytes", len(page.DeadLetters), bytes)
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	if pages == 0 {
		t.Error("all are on one page")
	}
	if large == 0 {
		t.Fatal("the largest payload is listed")
	}
	if n, err := q.Requeue(t.Context(), large); n != 1 || err != nil {
		t.Errorf("requeued %d, %v", n, err)
	}
	if n, err := q.Requeue(t.Context()); n != len(want)-1 || err != nil {
		t.Errorf("requeued %d, %v", n, err)
	}
}
