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
	url, token, agent string
	http              *http.Client
}

// NewClient returns a client. A server address that would expose the token is
// ErrPlainHTTP.
func NewClient(o ClientOptions) (*Client, error) {
	u, err := url.Parse(o.Server)
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
		url:   u.JoinPath("api/v1/telemetry/").String(),
		token: o.Token,
		agent: "picket-agent/" + cmp.Or(o.Version, "dev"),
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

// A AcceptedResponse is the server's answer to a batch that it accepted.
type AcceptedResponse struct {
	Rejected []RejectedEvent
}

// A StatusError is an HTTP answer other than success.
type StatusError struct {
	Status     int
	Message    string
	RetryAfter time.Duration   // 0: not given
	Rejected   []RejectedEvent // of a 400 that names the events
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("server answered %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// maxResponseBytes bounds what is read of a response.
const maxResponseBytes = 4 << 20

// Post sends body, a JSON array compressed with zstd, and returns once the server
// has it on disk. dropped is how many events were dropped since the last Post.
func (c *Client) Post(ctx context.Context, body []byte, droppedEvents int64) (AcceptedResponse, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return AcceptedResponse{}, fmt.Errorf("post batch: %w", err)
	}
	req.Header.Set("Authorization", "Token "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "zstd")
	req.Header.Set("User-Agent", c.agent)
	if droppedEvents > 0 {
		req.Header.Set("X-Picket-Dropped", strconv.FormatInt(droppedEvents, 10))
	}
	res, err := c.http.Do(req)
	if err != nil {
		return AcceptedResponse{}, fmt.Errorf("post batch: %w", err)
	}
	defer res.Body.Close()
	responseBody, err := io.ReadAll(io.LimitReader(res.Body, maxResponseBytes))
	switch {
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated:
		return AcceptedResponse{}, newStatusError(res, responseBody)
	case err != nil:
		return AcceptedResponse{}, fmt.Errorf("post batch: read answer: %w", err)
	}
	return AcceptedResponse{Rejected: parseRejectedEvents(responseBody)}, nil
}

func newStatusError(res *http.Response, responseBody []byte) error {
	e := &StatusError{Status: res.StatusCode, RetryAfter: parseRetryAfter(res.Header.Get("Retry-After"), time.Now())}
	if res.StatusCode == http.StatusBadRequest {
		e.Rejected = parseRejectedEvents(responseBody)
	}
	e.Message = strings.TrimSpace(string(responseBody[:min(len(responseBody), 300)]))
	return e
}

// parseRejectedEvents returns the events that an answer names as rejected. Its errors
// are a list of {index, event_id, reason}, or one object or null for each event
// of the batch, empty for an accepted one.
func parseRejectedEvents(responseBody []byte) []RejectedEvent {
	var a struct{ Errors json.RawMessage }
	if json.Unmarshal(responseBody, &a) != nil || len(a.Errors) == 0 {
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

// parseRetryAfter parses a Retry-After header: seconds or a date. It returns at most
// ten minutes.
func parseRetryAfter(header string, now time.Time) time.Duration {
	const most = 10 * time.Minute
	if n, err := strconv.Atoi(header); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, most)
	}
	if t, err := http.ParseTime(header); err == nil && t.After(now) {
		return min(t.Sub(now), most)
	}
	return 0
}
