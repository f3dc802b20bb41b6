package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// ClientOptions configure how to reach a server.
type ClientOptions struct {
	Server string // such as https://picket.example.org
	Token  string
	// CAFile holds the CA certificates (PEM) to trust; "" means the system's.
	CAFile string
	// Insecure allows sending the token over plain http to another machine.
	Insecure bool
	Version  string        // of the agent, for User-Agent
	Timeout  time.Duration // of one request; 0 means 1 min
}

// ErrPlainHTTP: the server is on another machine and has no TLS.
var ErrPlainHTTP = fmt.Errorf("plain http would show it to the network: %w", picket.ErrInvalid)

// A Client posts telemetry.
type Client struct {
	server       *url.URL
	token, agent string
	http         *http.Client
}

// NewClient returns a client. A server address that would expose the token is
// ErrPlainHTTP.
func NewClient(o ClientOptions) (*Client, error) {
	u, err := url.Parse(o.Server)
	if !strings.Contains(o.Server, "://") { // of an address with a port, url.Parse says something else
		u, err = new(url.URL), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read server address %q: %w: %w", o.Server, err, picket.ErrInvalid)
	}
	switch {
	case u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("read server address %q: it must begin with https:// or http://: %w", o.Server, picket.ErrInvalid)
	case u.Scheme == "http" && !o.Insecure && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("send token to %s: %w", u.Host, ErrPlainHTTP)
	}
	transport, err := NewTransport(o.CAFile)
	if err != nil {
		return nil, err
	}
	return &Client{
		server: u,
		token:  o.Token,
		agent:  "picket-agent/" + cmp.Or(o.Version, "dev"),
		http: &http.Client{
			Transport: transport,
			Timeout:   cmp.Or(o.Timeout, time.Minute),
			// A redirect would carry the token to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// NewTransport returns an HTTP transport that trusts the CA certificates in a file
// (PEM), or the system's if caFile is "".
func NewTransport(caFile string) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA file %s: no certificate in it: %w", caFile, picket.ErrInvalid)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return transport, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// A RejectedEvent is an event that the server rejected.
type RejectedEvent struct {
	Index   int    `json:"index"`
	EventID string `json:"event_id"`
	Reason  string `json:"reason"`
}

// batchHeader names the batch of a request. The server's answer repeats it.
const batchHeader = "X-Picket-Batch"

// maxResponseBytes bounds what is read of a response.
const maxResponseBytes = 4 << 20

// Post sends a batch, a JSON array compressed with zstd. It returns without an error
// only if picket itself has answered that it has this batch on disk; any other program
// between the agent and the server can answer 201 as well. All other answers are an
// *AnswerError. droppedEvents is how many events were lost since the last Post.
func (c *Client) Post(ctx context.Context, b queue.Message, droppedEvents int64) ([]RejectedEvent, error) {
	req, err := c.newRequest(ctx, http.MethodPost, "api/v1/telemetry/", bytes.NewReader(b.Payload))
	if err != nil {
		return nil, fmt.Errorf("post batch: %w", err)
	}
	req.Header.Set(batchHeader, b.ID)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "zstd")
	if droppedEvents > 0 {
		req.Header.Set("X-Picket-Dropped", strconv.FormatInt(droppedEvents, 10))
	}
	res, body, err := c.do(req)
	if err != nil {
		return nil, fmt.Errorf("post batch: %w", err)
	}
	var a telemetryAnswer
	err = json.Unmarshal(body, &a)
	named := res.Header.Get(batchHeader)
	fromPicket := err == nil && named == b.ID
	if named == "" { // an older server, or a proxy removed the header
		fromPicket = err == nil && a.concerns(b.Events)
	}
	if fromPicket && res.StatusCode == http.StatusCreated && a.Status == "accepted" {
		return a.rejectedEvents(), nil
	}
	e := newAnswerError(res, body)
	e.FromPicket = fromPicket
	if fromPicket && res.StatusCode == http.StatusBadRequest {
		e.Rejected = a.rejectedEvents()
	}
	return nil, e
}

// A TokenInfo is for whom a token posts telemetry.
type TokenInfo struct {
	Kind string `json:"kind"` // "agent" or "collector"
	Name string `json:"name"` // the agent's id, or the collector's name
}

// Token asks the server for whom the client's token posts telemetry. Older servers do
// not know, and answer 404.
func (c *Client) Token(ctx context.Context) (TokenInfo, error) {
	req, err := c.newRequest(ctx, http.MethodGet, "api/v1/token", nil)
	if err != nil {
		return TokenInfo{}, fmt.Errorf("check token: %w", err)
	}
	res, body, err := c.do(req)
	if err != nil {
		return TokenInfo{}, fmt.Errorf("check token: %w", err)
	}
	var t TokenInfo
	if res.StatusCode == http.StatusOK && json.Unmarshal(body, &t) == nil && t.Name != "" {
		return t, nil
	}
	e := newAnswerError(res, body)
	var refusal struct{ Error string }
	e.FromPicket = json.Unmarshal(body, &refusal) == nil && refusal.Error != ""
	return TokenInfo{}, e
}

func (c *Client) newRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server.JoinPath(path).String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Token "+c.token)
	req.Header.Set("User-Agent", c.agent)
	return req, nil
}

// do sends a request and reads the answer. If the body of the answer is cut off, only an
// answer that is an error anyway is returned.
func (c *Client) do(req *http.Request) (*http.Response, []byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponseBytes))
	if err != nil && res.StatusCode < 300 {
		return nil, nil, fmt.Errorf("read answer: %w", err)
	}
	return res, body, nil
}

// A telemetryAnswer is picket's answer to a batch, of which at least one event was
// accepted or all were rejected.
type telemetryAnswer struct {
	Status    string          `json:"status"`
	BatchSize *int            `json:"batch_size"`
	Errors    json.RawMessage `json:"errors"`
}

// concerns reports whether the answer is about a batch of so many events. It is for
// servers that do not name the batch.
func (a *telemetryAnswer) concerns(events int) bool {
	var errs []json.RawMessage
	switch a.Status {
	case "accepted":
		return a.BatchSize != nil && *a.BatchSize == events
	case "error":
		return json.Unmarshal(a.Errors, &errs) == nil && len(errs) == events
	}
	return false
}

// rejectedEvents returns the events that the answer names as rejected. Its errors are a
// list of {index, event_id, reason}, or one object or null for each event of the batch,
// empty for an accepted one.
func (a *telemetryAnswer) rejectedEvents() []RejectedEvent {
	if len(a.Errors) == 0 {
		return nil
	}
	var list []map[string]any
	if json.Unmarshal(a.Errors, &list) != nil {
		var one map[string]any
		if json.Unmarshal(a.Errors, &one) != nil {
			return nil
		}
		list = []map[string]any{one}
	}
	var all []RejectedEvent
	for i, e := range list {
		if len(e) == 0 {
			continue
		}
		r := RejectedEvent{Index: i}
		if at, ok := e["index"].(float64); ok {
			r.Index = int(at)
		}
		r.EventID, _ = e["event_id"].(string)
		if r.Reason, _ = e["reason"].(string); r.Reason == "" {
			text, _ := json.Marshal(e)
			r.Reason = string(text)
		}
		all = append(all, r)
	}
	return all
}
