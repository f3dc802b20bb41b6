package doctor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// CheckSQLiteQueue checks the queue in a file.
func CheckSQLiteQueue(ctx context.Context, r *Report, path string) {
	if _, err := os.Stat(path); err != nil {
		r.addFailure("queue", "picket serve makes it at its first start", "%s is not there", path)
		return
	}
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	if err != nil {
		r.addFailure("queue", "stop the server and copy the file away before anything else", "%v", err)
		return
	}
	defer q.Close()
	checkBacklog(ctx, r, q)
}

// CheckRedisQueue checks a queue on Redis and the settings of its server.
func CheckRedisQueue(ctx context.Context, r *Report, url string) {
	q, err := redisqueue.Open(ctx, url, redisqueue.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.addFailure("queue", "is Redis running? the URL is redis://[user:password@]host:port/0, or rediss:// for TLS", "%v", err)
		return
	}
	defer q.Close()
	s, err := q.Settings(ctx)
	if err != nil {
		r.addFailure("queue", "", "%v", err)
		return
	}
	text := fmt.Sprintf("Redis %s, %d shards, appendonly %t, appendfsync %s, maxmemory %s %s, WAITAOF %t; accepted events survive %s",
		s.Version, s.Shards, s.AppendOnly, cmp.Or(s.AppendFsync, "unknown"), cmp.Or(s.MaxMemory, "unknown"), s.MaxMemoryPolicy, s.WaitAOF, s.DescribeDurability(false))
	if ws := s.Warnings(); len(ws) > 0 {
		r.addFailure("redis", ws[0], "%s", text)
	} else {
		r.addOK("redis", "%s", text)
	}
	checkBacklog(ctx, r, q)
}

// checkBacklog checks that the messages of a queue are processed, and that there are
// no dead letters.
func checkBacklog(ctx context.Context, r *Report, q queue.Inspector) {
	st, err := q.Stats(ctx)
	switch {
	case err != nil:
		r.addFailure("queue", "", "%v", err)
	case st.OldestAge > 60:
		r.addFailure("queue", "is a worker running? its log says what keeps it", "%d messages wait, the oldest for %.0f s", st.Pending+st.Leased, st.OldestAge)
	case st.Dead > 0:
		r.addFailure("queue", "picket queue dead shows the causes, picket queue requeue --all puts them back", "%d dead letters", st.Dead)
	default:
		r.addOK("queue", "%d messages wait", st.Pending+st.Leased)
	}
}
