package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/timetext"
)

// defaultMemoryLimitBytes is the soft memory limit of the Go runtime, unless GOMEMLIMIT
// sets another: near it the garbage collector works harder.
const defaultMemoryLimitBytes = 288 << 20

// setDefaultMemoryLimit sets the soft memory limit of a server or worker.
func setDefaultMemoryLimit() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(defaultMemoryLimitBytes)
	}
}

// serveFlags are the flags of picket serve.
type serveFlags struct {
	data, listen, queue, store, cache string
	redisDurability                   string
	rules                             []string
	pipelines                         *[]string
	trim                              *bool
	workers                           int
	eager, insecure, watchHost        bool
	tlsCert, tlsKey, pprof            string
	maxBody, maxDecoded               int64
	maxEvents, maxEvent, maxConns     int
	maxNewAlerts                      int
	queueBytes, storeBytes, minFree   int64
	spillBytes                        int64
	retention, legacyWait             time.Duration
	searchTimeout                     time.Duration
	auditRetention, alertRetention    time.Duration
	tokenGrace                        time.Duration
	trustedProxies                    []netip.Prefix
}

func (f serveFlags) storeLocation() storeLocation {
	return storeLocation{data: f.data, name: f.store, maxNewAlerts: f.maxNewAlerts}
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: intake, queue, workers, store and console in one process",
		Long: `Runs the server: it receives telemetry over HTTP, queues it on disk, runs Sigma
rules over it, stores it, and shows alerts on the console, all in one process.
It prints the address of the console and, at its first start, the password of the
user admin (PICKET_ADMIN_PASSWORD sets another).

SIGTERM and Ctrl-C stop it within 15 seconds. No accepted event is lost, not even
by kill -9.`,
		Example: `  picket serve
  picket serve --data /var/lib/picket --listen 0.0.0.0:8000 --tls-cert c.pem --tls-key k.pem
  picket serve --rules builtin --rules /etc/picket/rules`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "picket-data", "data `DIR`, created if it does not exist")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8000", "`ADDR` to listen on")
	fl.StringVar(&f.queue, "queue", "sqlite", queueUsage)
	fl.StringVar(&f.redisDurability, "redis-durability", "reply", "`WHEN` Redis counts as having stored an event: reply, when Redis answers, or fsync, when the event is on its disk")
	fl.Int64Var(&f.spillBytes, "spill-bytes", 1<<30, "maximum `BYTES` of the disk buffer, which keeps batches in the data directory while Redis is unreachable; 0: senders must wait")
	fl.StringVar(&f.store, "store", "sqlite", storeUsage)
	fl.StringVar(&f.cache, "cache", "memory", cacheUsage)
	f.pipelines = addPipelineFlag(cmd)
	f.trim = addTrimFlag(cmd)
	fl.StringArrayVar(&f.rules, "rules", []string{"builtin"}, "rules to run: builtin, the `PATH` of a directory, file or .zip (repeatable), or store, for those that another server publishes")
	fl.IntVar(&f.workers, "workers", runtime.GOMAXPROCS(0), "number `N` of workers in this process; 0: intake and console only")
	fl.BoolVar(&f.eager, "eager", false, "detect and store before answering")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "certificate `FILE` for TLS")
	fl.StringVar(&f.tlsKey, "tls-key", "", "private key `FILE` of the certificate")
	fl.BoolVar(&f.insecure, "insecure", false, "serve other machines without TLS: tokens and passwords cross the network in the clear")
	fl.Var(prefixList{&f.trustedProxies}, "trusted-proxies", "`NETWORKS` of reverse proxies, as in 10.0.0.0/8,192.0.2.1: the client is who they say in X-Forwarded-For and X-Forwarded-Proto")
	fl.StringVar(&f.pprof, "pprof", "", "serve profiles of this process on a loopback `ADDR`, such as 127.0.0.1:6060")
	fl.BoolVar(&f.watchHost, "watch-host", false, "also run an agent that watches this host")
	fl.Int64Var(&f.maxBody, "max-body", 16<<20, "maximum `BYTES` of a request as sent")
	fl.Int64Var(&f.maxDecoded, "max-decoded", 64<<20, "maximum `BYTES` of a request after decompression")
	fl.IntVar(&f.maxEvents, "max-events", 10_000, "maximum number `N` of events in a request")
	fl.IntVar(&f.maxEvent, "max-event", 1<<20, "maximum `BYTES` of an event")
	fl.IntVar(&f.maxNewAlerts, "max-new-alerts", store.DefaultMaxNewAlerts, maxNewAlertsUsage)
	fl.IntVar(&f.maxConns, "max-connections", 4096, "maximum number `N` of simultaneous connections")
	f.searchTimeout = 30 * time.Second
	addDurationFlag(fl, &f.searchTimeout, "search-timeout", "end a search, or another request that reads, after this `TIME`")
	f.tokenGrace = auth.DefaultTokenGrace
	addDurationFlag(fl, &f.tokenGrace, "token-grace", "`TIME` that recently used tokens stay valid while the store is unavailable, revoked or not; then senders must wait")
	fl.Int64Var(&f.queueBytes, "queue-bytes", 4<<30, "maximum `BYTES` in the queue; when it is full, senders must wait")
	fl.Int64Var(&f.storeBytes, "retention-bytes", 0, "delete the oldest events while they use more than `BYTES` on disk; 0: never")
	addDurationFlag(fl, &f.retention, "retention", "delete events this `AGE` after their receipt, such as 30d; 0: never")
	f.alertRetention = 365 * timetext.Day
	addDurationFlag(fl, &f.alertRetention, "alert-retention", "delete closed alerts, with their matches, this `AGE` after their last change; 0: never")
	f.auditRetention = 365 * timetext.Day
	addDurationFlag(fl, &f.auditRetention, "audit-retention", "delete entries of the audit log of this `AGE`, and those beyond a million; 0: only the latter")
	fl.Int64Var(&f.minFree, "min-free-disk", sqlitequeue.DefaultMinFreeDisk, "`BYTES` of disk to keep free; with less, senders must wait; 0: no minimum")
	f.legacyWait = time.Minute
	addDurationFlag(fl, &f.legacyWait, "legacy-wait", "`TIME` that a request of a legacy agent waits for room in the queue")
	return cmd
}

const cacheUsage = "`ENGINE` of the cache for the console's statistics: memory, or a URL such as redis://HOST:6379/1"

// checkCache returns an error if --cache names no cache.
func checkCache(name string) error {
	if name != "memory" && !redisurl.IsURL(name) {
		return usagef("--cache is neither memory nor the URL of a Redis, as in redis://HOST:6379/1")
	}
	return nil
}

// dataPermissionHint is the hint about a data directory that is not writable.
const dataPermissionHint = "give --data a directory that this user may write to"

// makeDataDir creates a data directory that only its owner can read. It refuses one
// that is partly restored.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return withHint(fmt.Errorf("make data directory: %w", err), dataPermissionHint)
	}
	return checkNotPartlyRestored(dir)
}

// checkServe returns an error for settings that are unsafe or without effect.
func checkServe(f serveFlags) error {
	if err := checkCache(f.cache); err != nil {
		return err
	}
	if _, err := findQueueBackend(f.queue, f.redisDurability); err != nil {
		return err
	}
	if _, err := f.storeLocation().backend(); err != nil {
		return err
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usagef("--listen %q: %w", f.listen, err)
	}
	if f.tlsCert == "" && !f.insecure && !isLoopback(host) {
		return withHint(usagef("--listen %s reaches beyond this machine without TLS", f.listen),
			"give --tls-cert and --tls-key, or --insecure where something in front of picket serves TLS")
	}
	if host, _, err := net.SplitHostPort(f.pprof); f.pprof != "" && (err != nil || !isLoopback(host)) {
		return usagef("--pprof %q is no loopback address; profiles show what is in memory", f.pprof)
	}
	for _, limit := range []struct {
		flag  string
		value int64
	}{
		{"max-body", f.maxBody}, {"max-decoded", f.maxDecoded}, {"max-events", int64(f.maxEvents)}, {"max-event", int64(f.maxEvent)},
		{"max-connections", int64(f.maxConns)}, {"queue-bytes", f.queueBytes},
	} {
		if limit.value <= 0 {
			return usagef("--%s %d is not above 0", limit.flag, limit.value)
		}
	}
	if f.minFree < 0 {
		return usagef("--min-free-disk %d is below 0", f.minFree)
	}
	if f.searchTimeout <= 0 {
		return usagef("--search-timeout %v is not above 0", f.searchTimeout)
	}
	if f.workers < 0 {
		return usagef("--workers %d is below 0", f.workers)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func serve(cmd *cobra.Command, f serveFlags) (err error) {
	if err := checkServe(f); err != nil {
		return err
	}
	log, err := newLog(cmd)
	if err != nil {
		return err
	}
	setDefaultMemoryLimit()
	if f.tlsCert != "" {
		// Checked before anything is created; it is read again to serve TLS.
		if _, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey); err != nil {
			return withHint(fmt.Errorf("read certificate: %w", err), "--tls-cert and --tls-key take a certificate and its key, in PEM")
		}
	}
	if err := makeDataDir(f.data); err != nil {
		return err
	}
	lock, err := dataDir(f.data).lockForServer()
	if errors.Is(err, errServerRuns) {
		return withHint(err, "each server needs a --data of its own; picket worker and the other commands share one")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	s := &server{cmd: cmd, f: f, log: log, start: time.Now(), metrics: newMetrics()}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.openParts(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return withHint(fmt.Errorf("listen: %w", err), "is the port taken, by another picket perhaps? give --listen another, as in 127.0.0.1:8001")
	}
	defer listener.Close()
	scheme := "http"
	if f.tlsCert != "" {
		scheme = "https"
	}
	base := scheme + "://" + listener.Addr().String()
	if err := s.createFirstUser(); err != nil {
		return err
	}
	if err := newServerRecord(cmd, listener.Addr().String()).write(dataDir(f.data)); err != nil {
		log.Warn("writing server.json failed: picket doctor does not find this server by itself", "error", err)
	}
	return s.run(listener, base)
}

// browsableURL returns the URL of a server for a browser: with the name of this machine if
// the server listens on all its addresses.
func browsableURL(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	name, err := os.Hostname()
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsUnspecified() || err != nil {
		return base
	}
	u.Host = net.JoinHostPort(name, u.Port())
	return u.String()
}

// A prefixList is a flag: networks or addresses, separated by commas.
type prefixList struct{ to *[]netip.Prefix }

func (l prefixList) Type() string { return "networks" }

func (l prefixList) String() string {
	var out []string
	if l.to != nil {
		for _, p := range *l.to {
			out = append(out, p.String())
		}
	}
	return strings.Join(out, ",")
}

func (l prefixList) Set(text string) error {
	*l.to = nil
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		p, err := netip.ParsePrefix(part)
		if ip, ipErr := netip.ParseAddr(part); ipErr == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is neither a network nor an address", part)
		}
		*l.to = append(*l.to, p.Masked())
	}
	return nil
}
