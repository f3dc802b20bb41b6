package doctor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redisurl"
)

// CheckSQLiteQueue checks the queue in a file.
func CheckSQLiteQueue(ctx context.Context, r *Report, path string) {
	if _, err := os.Stat(path); err != nil {
		r.addFailure("queue", "picket serve makes it at its first start", "%s is not there", path)
		return
	}
	if !checkPages(ctx, r, "queue", path) {
		return
	}
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	if err != nil {
		r.addFailure("queue", damageHint(err), "%v", err)
		return
	}
	defer q.Close()
	checkBacklog(ctx, r, q)
}

// CheckRedisQueue checks a queue on Redis and the settings of its server. fsync is whether
// the server of picket runs with --redis-durability fsync.
func CheckRedisQueue(ctx context.Context, r *Report, url string, fsync bool) {
	q, err := redisqueue.Open(ctx, url, redisqueue.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.addFailure("queue", "is Redis running? the URL is redis://[user:password@]host:port/0, or rediss:// for TLS", "%v", err)
		return
	}
	defer q.Close()
	s, err := q.ServerSettings(ctx)
	if err != nil {
		r.addFailure("queue", "", "%v", err)
		return
	}
	text := fmt.Sprintf("Redis %s, %d shards, appendonly %t, appendfsync %s, maxmemory %s %s, WAITAOF %t; accepted events survive %s",
		s.Version, s.Shards, s.AppendOnly, cmp.Or(s.AppendFsync, "unknown"), cmp.Or(s.MaxMemory, "unknown"), s.MaxMemoryPolicy, s.WaitAOF, s.DescribeDurability(fsync))
	wait := redisurl.FsyncNotAwaited
	if fsync {
		wait = redisurl.FsyncAwaited
	}
	reportDurability(r, "redis", text, s.Settings, wait)
	checkBacklog(ctx, r, q)
}

// reportDurability reports what a server of Redis promises: a warning if only a power cut loses
// seconds, which is a documented choice, and a failure if more is lost.
func reportDurability(r *Report, check, text string, s redisurl.Settings, wait redisurl.FsyncWait) {
	switch ws := s.DurabilityWarnings(wait); {
	case len(ws) == 0:
		r.addOK(check, "%s", text)
	case len(ws) == 1 && s.AppendOnly && s.AppendFsync == "everysec":
		r.addWarning(check, ws[0], "%s", text)
	default:
		r.addFailure(check, ws[0], "%s", text)
	}
}

// checkBacklog checks that the messages of a queue are processed, and what its dead
// letters are.
func checkBacklog(ctx context.Context, r *Report, q queue.Inspector) {
	st, err := q.Stats(ctx)
	switch {
	case err != nil:
		r.addFailure("queue", "", "%v", err)
		return
	case st.OldestAge > 60:
		r.addFailure("queue", "is a worker running? its log says what keeps it", "%d messages wait, the oldest for %.0f s", st.Pending+st.Leased, st.OldestAge)
	default:
		r.addOK("queue", "%d messages wait", st.Pending+st.Leased)
	}
	if st.Dead > 0 {
		checkDeadLetters(ctx, r, q)
	}
}

// maxCheckedDeadLetters is how many dead letters are looked at, the newest.
const maxCheckedDeadLetters = 1000

// checkDeadLetters warns of dead letters: of those that workers could not process, and of those
// of which senders were told that their events were rejected. Nothing else suffers from them.
func checkDeadLetters(ctx context.Context, r *Report, q queue.Inspector) {
	page, err := q.DeadLetters(ctx, 0, maxCheckedDeadLetters)
	if err != nil {
		r.addFailure("queue", "", "%v", err)
		return
	}
	var failed, rejected []queue.DeadLetter
	for _, l := range page.DeadLetters {
		if l.Reason == queue.Rejected {
			rejected = append(rejected, l)
		} else {
			failed = append(failed, l)
		}
	}
	more := ""
	if page.Next != 0 {
		more = ", and there are older ones"
	}
	if len(failed) > 0 {
		r.addWarning("queue", "picket queue dead shows the causes; once a cause is gone, picket queue requeue ID puts the event back; picket queue purge ID deletes it",
			"%s that workers could not process%s; the newest, of %s: %s", deadLettersText(len(failed)), more, failed[0].Time.Format(time.DateTime), failed[0].Cause)
	}
	if len(rejected) > 0 {
		r.addWarning("queue", "picket queue dead shows the causes; correct what sends such events, then picket queue purge ID deletes them",
			"%s of rejected events%s; the newest, of %s: %s", deadLettersText(len(rejected)), more, rejected[0].Time.Format(time.DateTime), rejected[0].Cause)
	}
}

func deadLettersText(n int) string {
	if n == 1 {
		return "1 dead letter"
	}
	return fmt.Sprintf("%d dead letters", n)
}
