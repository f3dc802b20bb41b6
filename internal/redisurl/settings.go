package redisurl

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
)

// Settings are the settings of a server that determine its durability. Those that
// an ACL or a provider hides are empty.
type Settings struct {
	Version         string
	AppendOnly      bool
	AppendFsync     string // always, everysec or no
	MaxMemoryPolicy string
	MaxMemory       string // bytes, 0 for none
	WaitAOF         bool   // the server has WAITAOF: Redis 7.2, Valkey 7.2
}

// A Node is a client of one server, which may be part of a Cluster.
type Node interface {
	redis.Cmdable
	Do(ctx context.Context, args ...any) *redis.Cmd
}

// ReadSettings reads the settings of a server.
func ReadSettings(ctx context.Context, node Node) (Settings, error) {
	info, err := node.Info(ctx).Result()
	if err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		return Settings{}, fmt.Errorf("read the server's settings: %w", err)
	}
	fields := ParseInfo(info)
	s := Settings{
		Version: fields["redis_version"], AppendOnly: fields["aof_enabled"] == "1",
		MaxMemoryPolicy: fields["maxmemory_policy"], MaxMemory: fields["maxmemory"],
	}
	if v := fields["valkey_version"]; v != "" {
		s.Version = "valkey " + v
	}
	// Providers often forbid CONFIG.
	if m, err := node.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		s.AppendFsync = m["appendfsync"]
	}
	if known, err := node.Do(ctx, "command", "info", "waitaof").Slice(); err == nil {
		s.WaitAOF = len(known) == 1 && known[0] != nil
	}
	return s, nil
}

// OlderThan reports whether the server is a Redis older than a version. It returns
// false for other servers and unknown versions.
func (s Settings) OlderThan(major, minor int) bool {
	var a, b int
	n, _ := fmt.Sscanf(s.Version, "%d.%d", &a, &b)
	return n == 2 && (a < major || a == major && b < minor)
}

// DescribeDurability describes what an accepted batch survives.
func (s Settings) DescribeDurability(fsync bool) string {
	switch {
	case !s.AppendOnly:
		return "nothing: an accepted batch is lost when the server ends, for appendonly is off"
	case s.AppendFsync == "always", fsync && s.WaitAOF:
		return "kill -9 and a power cut of the server; a failover may lose the last moments"
	case s.AppendFsync == "everysec":
		return "kill -9 of the server; a power cut may lose two seconds, a failover the last moments"
	case s.AppendFsync == "no":
		return "kill -9 of the server; a power cut may lose half a minute, a failover the last moments"
	}
	return "what appendfsync promises; the server does not report it"
}

// FsyncWait says whether a queue waits until a batch is on Redis's disk before it accepts
// the batch.
type FsyncWait int

const (
	FsyncUnsupported FsyncWait = iota // the queue cannot wait for it
	FsyncNotAwaited                   // --redis-durability reply
	FsyncAwaited                      // --redis-durability fsync
)

// DurabilityWarnings describes the settings that can lose accepted batches.
func (s Settings) DurabilityWarnings(wait FsyncWait) []string {
	var ws []string
	if !s.AppendOnly {
		ws = append(ws, "appendonly is off: what was accepted is lost when the server ends; set appendonly yes")
	} else if s.AppendFsync != "always" && !(wait == FsyncAwaited && s.WaitAOF) {
		w := fmt.Sprintf("appendfsync is %q: a power cut loses what was accepted last; set it to always", s.AppendFsync)
		if wait == FsyncNotAwaited && s.WaitAOF {
			w += ", or give picket serve --redis-durability fsync"
		}
		ws = append(ws, w)
	}
	if p := s.MaxMemoryPolicy; p != "" && p != "noeviction" {
		ws = append(ws, fmt.Sprintf("maxmemory-policy is %s: short of memory the server deletes what was accepted; set it to noeviction", p))
	}
	return ws
}

// LogDurabilityWarnings logs the warnings.
func (s Settings) LogDurabilityWarnings(log *slog.Logger, wait FsyncWait) {
	for _, w := range s.DurabilityWarnings(wait) {
		log.Warn("redis may lose accepted events", "why", w)
	}
}

// NeedsWaitAOF reports whether WAITAOF is needed to wait for fsync, or returns an error
// if the server cannot do that.
func (s Settings) NeedsWaitAOF() (waitAOF bool, err error) {
	switch {
	case s.AppendOnly && s.AppendFsync == "always":
		return false, nil // it syncs before it answers
	case s.AppendOnly && s.WaitAOF:
		return true, nil
	}
	return false, fmt.Errorf("durability fsync needs appendonly yes, and appendfsync always or a server with WAITAOF (7.2): %w", picket.ErrInvalid)
}

// ParseInfo parses the reply of INFO.
func ParseInfo(info string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}
