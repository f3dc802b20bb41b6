package redisqueue

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// WAITAOF replies at its timeout too: only its counts tell whether it fsynced.
func TestSyncedLocally(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value any
		err   error
		ok    bool
	}{
		{[]any{int64(1), int64(0)}, nil, true},
		{[]any{int64(0), int64(1)}, nil, false},
		{[]any{}, nil, false},
		{nil, errors.New("ERR unknown command"), false},
	} {
		cmd := redis.NewCmd(t.Context())
		cmd.SetVal(c.value)
		cmd.SetErr(c.err)
		if err := redisstats.WrapError(checkFsynced(cmd)); (err == nil) != c.ok || err != nil && !errors.Is(err, picket.ErrUnavailable) {
			t.Errorf("%v, %v: error %v", c.value, c.err, err)
		}
	}
}
