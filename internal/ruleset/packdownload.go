package ruleset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxRedirects, responseHeaderTimeout and downloadTimeout bound a download.
const (
	maxRedirects          = 5
	responseHeaderTimeout = 30 * time.Second
	downloadTimeout       = 10 * time.Minute
)

// downloadToFile downloads u to a new file.
func (f PackDir) downloadToFile(ctx context.Context, u *url.URL, filePath string) (err error) {
	if err := checkHTTPSOrLoopback(u); err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = responseHeaderTimeout
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: downloadTimeout, CheckRedirect: checkRedirect}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "picket")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	out, err := os.OpenFile(filePath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n, err := io.Copy(out, io.LimitReader(resp.Body, f.Limits.Download+1))
	if err == nil && n > f.Limits.Download {
		err = fmt.Errorf("it is larger than %d bytes", f.Limits.Download)
	}
	return err
}

// checkHTTPSOrLoopback returns an error unless u is https, or http to this machine.
func checkHTTPSOrLoopback(u *url.URL) error {
	host := u.Hostname()
	switch ip := net.ParseIP(host); {
	case host == "", u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s is no URL of https", u.Redacted())
	case u.Scheme == "http" && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return ErrPlainHTTP
	}
	return nil
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("it leads from https to %s: %w", req.URL.Scheme, ErrPlainHTTP)
	}
	return checkHTTPSOrLoopback(req.URL)
}
