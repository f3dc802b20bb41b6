package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// A finding is one line of picket doctor.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// A doctor looks at one thing after another.
type doctor struct {
	ctx           context.Context
	place         *storePlace // the store, and the data directory
	listen        string
	server, token string
	queueName     string
	cacheName     string
	caFile        string
	client        *http.Client
	rules         []string
	findings      []finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{check, true, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) bad(check, hint, format string, args ...any) {
	d.findings = append(d.findings, finding{check, false, fmt.Sprintf(format, args...), hint})
}

func newDoctor() *cobra.Command {
	d := new(doctor)
	cmd := &cobra.Command{Use: "doctor", Short: "Check ports, disk, clock, queue, store, cache, rules and token; say what to do", Args: cobra.NoArgs}
	d.place = addStoreFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&d.listen, "listen", "127.0.0.1:8000", "the server's `ADDR`")
	fl.StringVar(&d.queueName, "queue", "sqlite", queueUsage)
	fl.StringVar(&d.cacheName, "cache", "memory", cacheUsage)
	fl.StringVar(&d.server, "server", "", "the server's `URL`; default http:// and --listen")
	fl.StringVar(&d.token, "token", "", "an agent's or collector's `TOKEN` to try")
	fl.StringVar(&d.caFile, "ca-file", "", "`FILE` of the certificates that sign the server's (PEM)")
	fl.StringArrayVar(&d.rules, "rules", []string{"builtin"}, "rules to check: builtin, or a `PATH` (repeatable)")
	asJSON := fl.Bool("json", false, "print JSON, a line a check")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d.ctx = cmd.Context()
		if err := checkQueue(d.queueName, "reply"); err != nil {
			return err
		}
		if err := errors.Join(d.place.check(), checkCache(d.cacheName)); err != nil {
			return err
		}
		if d.server == "" {
			d.server = "http://" + d.listen
		}
		transport, err := agent.Transport(d.caFile)
		if err != nil {
			return err
		}
		d.client = &http.Client{Transport: transport, Timeout: 5 * time.Second}
		for _, check := range []func(){d.disk, d.queue, d.store, d.cache, d.checkRules, d.port, d.clock, d.tryToken} {
			check()
		}
		failed := false
		for _, f := range d.findings {
			failed = failed || !f.OK
			if *asJSON {
				if err := printJSON(cmd.OutOrStdout(), f); err != nil {
					return err
				}
				continue
			}
			mark := "ok  "
			if !f.OK {
				mark = "FAIL"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %-6s %s\n", mark, f.Check, f.Text)
			if f.Hint != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "             hint: %s\n", f.Hint)
			}
		}
		if failed {
			return errSilent
		}
		return nil
	}
	return cmd
}

func (d *doctor) disk() {
	info, err := os.Stat(d.place.data)
	if err != nil && d.place.remote() && d.queueName != "sqlite" {
		d.ok("disk", "no data directory at %s; only a server needs one", d.place.data)
		return
	}
	if err != nil {
		d.bad("disk", "picket serve makes it at its first start; or give --data", "no data directory at %s", d.place.data)
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		d.bad("disk", "chmod 700 "+d.place.data, "%s can be read by others", d.place.data)
	}
	free, err := sqlitequeue.FreeDisk(d.place.data)
	switch {
	case err != nil:
		d.bad("disk", "", "free space of %s: %v", d.place.data, err)
	case free < 1<<30:
		d.bad("disk", "make room, or set --retention-bytes", "%d MiB free", free>>20)
	default:
		d.ok("disk", "%d GiB free under %s", free>>30, d.place.data)
	}
}

func (d *doctor) queue() {
	switch {
	case celeryqueue.Is(d.queueName):
		d.celeryQueue()
		return
	case d.queueName != "sqlite":
		d.redisQueue()
		return
	}
	path := dataDir(d.place.data).queue()
	if _, err := os.Stat(path); err != nil {
		d.bad("queue", "picket serve makes it at its first start", "%s is not there", path)
		return
	}
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	if err != nil {
		d.bad("queue", "stop the server and copy the file away before anything else", "%v", err)
		return
	}
	defer q.Close()
	d.waiting(q)
}

// waiting looks at what is in a queue.
func (d *doctor) waiting(q queue.Inspector) {
	st, err := q.Stats(d.ctx)
	switch {
	case err != nil:
		d.bad("queue", "", "%v", err)
	case st.OldestAge > 60:
		d.bad("queue", "is a worker running? its log says what keeps it", "%d messages wait, the oldest for %.0f s", st.Pending+st.Leased, st.OldestAge)
	case st.Dead > 0:
		d.bad("queue", "picket queue dead shows the causes, picket queue requeue --all puts them back", "%d dead letters", st.Dead)
	default:
		d.ok("queue", "%d messages wait", st.Pending+st.Leased)
	}
}

func (d *doctor) store() {
	if d.place.remote() {
		d.mongoStore()
		return
	}
	path := dataDir(d.place.data).events()
	if _, err := os.Stat(path); err != nil {
		d.bad("store", "picket serve makes it at its first start", "%s is not there", path)
		return
	}
	s, err := sqlitestore.Open(path, sqlitestore.Options{NoBackground: true})
	if err != nil {
		d.bad("store", "stop the server and copy the file away before anything else", "%v", err)
		return
	}
	defer s.Close()
	t, err := s.Totals(d.ctx)
	if err != nil {
		d.bad("store", "", "%v", err)
		return
	}
	d.ok("store", "%d events, %d MiB", t.Events, t.DiskBytes>>20)
}

func (d *doctor) checkRules() {
	dir := dataDir(d.place.data)
	sources, err := sourcesInForce(dir, d.rules)
	var set detect.Set
	if err == nil {
		set, err = detect.Load(sources, nil)
	}
	if err != nil {
		d.bad("rules", "--rules takes builtin, a directory, a .yml file or a .zip", "%v", err)
		return
	}
	// What others wrote is seldom for their reader to mend.
	own := slices.DeleteFunc(slices.Clone(set.Problems), func(p detect.Problem) bool { return dir.packs().PackOf(p.File) != "" })
	others := ""
	if n := len(set.Problems) - len(own); n > 0 {
		others = fmt.Sprintf(", %d of packs do not load", n)
	}
	if n := len(own); n > 0 {
		d.bad("rules", "picket rules lint PATH lists all", "%d run%s, %d do not load, as %s", set.Rules.Len(), others, n, own[0])
		return
	}
	d.ok("rules", "%d run%s", set.Rules.Len(), others)
}

// port looks who has the port: a picket, somebody else, or nobody.
func (d *doctor) port() {
	conn, err := net.DialTimeout("tcp", d.listen, 2*time.Second)
	if err != nil {
		d.bad("port", "start it with picket serve", "no server answers at %s", d.listen)
		return
	}
	conn.Close()
	body, _, err := d.get("/healthz")
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		d.bad("port", "give --ca-file the certificates that sign the server's", "%v", err)
		return
	}
	if err != nil || !strings.Contains(body, `"status":"ok"`) {
		d.bad("port", "give picket serve --listen another address", "%s belongs to another program", d.listen)
		return
	}
	if body, _, err = d.get("/readyz"); err != nil {
		d.bad("port", "", "the server is not ready: %s", strings.TrimSpace(body))
		return
	}
	d.ok("port", "the server at %s is ready", d.server)
}

func (d *doctor) get(path string) (string, http.Header, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.server+path, nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %w", resp.Status, picket.ErrUnavailable)
	}
	return string(body), resp.Header, err
}

// clock compares this machine's clock with the server's.
func (d *doctor) clock() {
	_, h, err := d.get("/healthz")
	if err != nil {
		return // port has said so
	}
	there, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	off := time.Since(there).Abs()
	if off > 5*time.Second {
		d.bad("clock", "set both by NTP: times of events are the sender's", "the server's clock is off by %s", off.Round(time.Second))
		return
	}
	d.ok("clock", "agrees with the server's")
}

// tryToken posts an empty array, which changes nothing.
func (d *doctor) tryToken() {
	if d.token == "" {
		return
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, d.server+"/api/v1/telemetry/", strings.NewReader("[]"))
	if err != nil {
		d.bad("token", "", "%v", err)
		return
	}
	req.Header.Set("Authorization", "Token "+d.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return // port has said so
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated:
		d.ok("token", "may post telemetry")
	case http.StatusUnauthorized:
		d.bad("token", "picket token list shows which there are; create makes another", "the server does not know it, or it is revoked")
	case http.StatusForbidden:
		d.bad("token", "post with one made by --agent or --collector", "it may not post telemetry")
	default:
		d.bad("token", "", "the server answered %s", resp.Status)
	}
}
