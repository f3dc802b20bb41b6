package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"
)

// benchPipelineFlags are the flags of bench pipeline.
type benchPipelineFlags struct {
	server                     string
	token                      tokenOrFileFlags
	batch, connections, events int
	compress                   bool
}

// A benchPipelineResult is the result of bench pipeline.
type benchPipelineResult struct {
	Events   int     `json:"events"`
	Bytes    int64   `json:"-"` // as posted, decompressed
	Accepted float64 `json:"accepted_per_s"`
	P50      float64 `json:"ack_p50_ms"`
	P99      float64 `json:"ack_p99_ms"`
	EndToEnd float64 `json:"end_to_end_per_s"`
	Rejected int64   `json:"rejected"`
}

func newBenchPipeline() *cobra.Command {
	var f benchPipelineFlags
	cmd := &cobra.Command{
		Use:   "pipeline --server URL --token T | --token-file F [FILE...]",
		Short: "Load a server with events and time them until its queue is empty",
		Long: `Posts events, from files or generated, and measures how fast the server accepts
them, how long each response takes, and how long the server needs until its queue
is empty again. Every event has a new id, so that none is a duplicate.`,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", "http://127.0.0.1:8000", "the server's `URL`")
	addTokenOrFileFlags(cmd, &f.token, "a collector's `TOKEN`")
	fl.IntVar(&f.batch, "batch", 500, "number `N` of events in a request; 1 posts single events")
	fl.IntVar(&f.connections, "connections", 4, "number `N` of simultaneous connections")
	fl.IntVar(&f.events, "events", 100_000, "total number `N` of events")
	fl.BoolVar(&f.compress, "compress", true, "compress with zstd, as agents do")
	asJSON := fl.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := f.token.optionalToken()
		if err != nil {
			return err
		}
		if token == "" {
			return withHint(usagef("bench pipeline: --token or --token-file is needed"), "picket token create --collector NAME, on the server")
		}
		if f.batch < 1 || f.connections < 1 || f.events < 1 {
			return usagef("bench pipeline: --batch, --connections and --events must be above 0")
		}
		events := generatedEvents()
		if len(args) > 0 {
			if events, err = readEvents(cmd, args); err != nil {
				return err
			}
		}
		res, err := benchPipeline(cmd.Context(), f, token, events)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), res)
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%d events (%d bytes) accepted at %.0f/s, answered in %.1f ms (median) and %.1f ms (99%%),\nstored and detected on at %.0f/s end to end; %d rejected\n",
			res.Events, res.Bytes, res.Accepted, res.P50, res.P99, res.EndToEnd, res.Rejected)
		return err
	}
	return cmd
}

// generatedEvents returns process events of some 700 bytes that are like those of
// real hosts: few programs, many different arguments, and almost no matches.
func generatedEvents() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	programs := []struct{ image, parent, args string }{
		{`C:\Windows\System32\svchost.exe`, `C:\Windows\System32\services.exe`, `-k netsvcs -p -s Schedule`},
		{`C:\Program Files\Google\Chrome\Application\chrome.exe`, `C:\Program Files\Google\Chrome\Application\chrome.exe`, `--type=renderer --lang=en-US`},
		{`C:\Windows\System32\RuntimeBroker.exe`, `C:\Windows\System32\svchost.exe`, `-Embedding`},
		{`C:\Windows\System32\backgroundTaskHost.exe`, `C:\Windows\System32\svchost.exe`, `-ServerName:App.AppXmtcan0h2tfbfy7k9kn8hbxb6dmzz1zh0.mca`},
		{`C:\Program Files\Git\cmd\git.exe`, `C:\Program Files\Microsoft VS Code\Code.exe`, `status -z -uall`},
		{`C:\Program Files\WindowsApps\MSTeams_24004\ms-teams.exe`, `C:\Windows\explorer.exe`, `msteams:system-initiated`},
		{`C:\Windows\System32\SearchProtocolHost.exe`, `C:\Windows\System32\SearchIndexer.exe`, `Global\UsGthrFltPipeMssGthrPipe`},
	}
	events := make([][]byte, 2000)
	for i := range events {
		p, host := programs[r.IntN(len(programs))], fmt.Sprintf("WS-%03d", r.IntN(200))
		ev, err := json.Marshal(map[string]any{
			"agent_id": host, "event_type": "process", "timestamp": 1_700_000_000 + i, "severity": "info", "version": "1.0",
			"host": map[string]any{"hostname": host, "os": "Windows", "os_version": "11"},
			"process": map[string]any{
				"name": p.image, "pid": r.IntN(60000), "user": fmt.Sprintf(`CORP\user%d`, r.IntN(300)), "parent_image": p.parent,
				"command_line": fmt.Sprintf(`"%s" %s --id=%016x --field-trial-handle=%d,i,%d --log-file="C:\Users\user%d\AppData\Local\App\%08x.log"`,
					p.image, p.args, r.Uint64(), r.IntN(9999), r.Uint64(), r.IntN(300), r.Uint32()),
				"parent_command_line": fmt.Sprintf(`"%s" --session=%d`, p.parent, r.IntN(9)), "working_directory": `C:\Windows\System32\`, "action": "created",
			},
		})
		if err != nil {
			panic(err) // strings and numbers always encode
		}
		events[i] = ev
	}
	return events
}

// benchPipeline posts the events from several connections.
func benchPipeline(ctx context.Context, f benchPipelineFlags, token string, events [][]byte) (benchPipelineResult, error) {
	res := benchPipelineResult{Events: f.events}
	f.server = strings.TrimRight(f.server, "/")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: f.connections, DisableCompression: true}}
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	var next, rejected, size atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var failure error

	start := time.Now()
	var wg sync.WaitGroup
	for range f.connections {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := benchPoster{ctx: ctx, f: f, token: token, client: client, run: run, events: events}
			if f.compress {
				p.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
			}
			for {
				from := int(next.Add(int64(f.batch))) - f.batch
				if from >= f.events {
					break
				}
				bad, err := p.postEvents(from, min(from+f.batch, f.events))
				rejected.Add(bad)
				if err != nil {
					mu.Lock()
					failure = err
					mu.Unlock()
					break
				}
			}
			mu.Lock()
			took = append(took, p.took...)
			mu.Unlock()
			size.Add(p.size)
		}()
	}
	wg.Wait()
	if failure != nil {
		return res, failure
	}
	accepted := time.Since(start)
	if err := waitUntilEmpty(ctx, client, f.server); err != nil {
		return res, err
	}
	all := time.Since(start)
	slices.Sort(took)
	ms := func(q float64) float64 {
		return float64(took[min(int(q*float64(len(took))), len(took)-1)].Microseconds()) / 1000
	}
	res.Bytes, res.Rejected = size.Load(), rejected.Load()
	res.Accepted, res.EndToEnd = float64(f.events)/accepted.Seconds(), float64(f.events)/all.Seconds()
	res.P50, res.P99 = ms(0.5), ms(0.99)
	return res, nil
}

// A benchPoster posts events over one connection.
type benchPoster struct {
	ctx       context.Context
	f         benchPipelineFlags
	token     string
	client    *http.Client
	zstd      *zstd.Encoder
	run       string
	events    [][]byte
	body, out []byte
	took      []time.Duration
	size      int64
}

// postEvents posts the events [from, to), each with its number as id, and returns how
// many were rejected. While the server is full it waits and retries.
func (p *benchPoster) postEvents(from, to int) (rejected int64, err error) {
	p.body = p.body[:0]
	if to-from > 1 {
		p.body = append(p.body, '[')
	}
	for i := from; i < to; i++ {
		if i > from {
			p.body = append(p.body, ',')
		}
		// Of a repeated key the last counts.
		raw := bytes.TrimSpace(p.events[i%len(p.events)])
		if p.body = append(p.body, raw[:len(raw)-1]...); p.body[len(p.body)-1] != '{' {
			p.body = append(p.body, ',')
		}
		p.body = append(p.body, `"event_id":"`...)
		p.body = append(append(p.body, p.run...), '-')
		p.body = append(strconv.AppendInt(p.body, int64(i), 10), `"}`...)
	}
	if to-from > 1 {
		p.body = append(p.body, ']')
	}
	p.size += int64(len(p.body))
	payload, encoding := p.body, ""
	if p.zstd != nil && to-from > 1 {
		p.out = p.zstd.EncodeAll(p.body, p.out[:0])
		payload, encoding = p.out, "zstd"
	}
	for {
		start := time.Now()
		status, answer, err := p.sendRequest(payload, encoding)
		if err != nil {
			return 0, err
		}
		p.took = append(p.took, time.Since(start))
		switch status {
		case http.StatusCreated:
			if bytes.Contains(answer, []byte(`"failed":0`)) {
				return 0, nil
			}
			var a struct{ Failed int64 }
			return a.Failed, json.Unmarshal(answer, &a)
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			select {
			case <-time.After(200 * time.Millisecond):
			case <-p.ctx.Done():
				return 0, p.ctx.Err()
			}
		default:
			return 0, fmt.Errorf("post events: the server answered %d: %.200s", status, answer)
		}
	}
}

func (p *benchPoster) sendRequest(payload []byte, encoding string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.f.server+"/api/v1/telemetry/", bytes.NewReader(payload))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Token "+p.token)
	req.Header.Set("Content-Type", "application/json")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// waitUntilEmpty waits until the server's metrics show no event waiting.
func waitUntilEmpty(ctx context.Context, client *http.Client, server string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("\npicket_events_waiting 0\n")) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
