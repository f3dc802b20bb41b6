// Package redisurl reads the URLs that name a Redis: one server, Sentinels or a
// Cluster, with or without TLS. The queue, the cache and the broker of Celery
// have it in common.
package redisurl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
)

// CommandTimeout bounds how long one command waits for its answer: a server
// that is frozen must not hold its callers for long.
const CommandTimeout = 3 * time.Second

// dialTimeout bounds how long it takes to connect.
const dialTimeout = 2 * time.Second

// A Config is a server or servers, and what else a URL says.
type Config struct {
	Options *redis.UniversalOptions
	Prefix  string        // of all keys
	Lease   time.Duration // of the messages of a queue; 0: not said

	display string // for people
}

// String is the URL without what is secret.
func (p *Config) String() string { return p.display }

// Connect returns a client, which connects when it is used.
func (p *Config) Connect() redis.UniversalClient {
	silenceDriver()
	return redis.NewUniversalClient(p.Options)
}

// silenceDriver keeps the driver from writing to standard error by itself: what it
// has to say comes back as errors.
var silenceDriver = sync.OnceFunc(func() { redis.SetLogger(nopLogger{}) })

type nopLogger struct{}

func (nopLogger) Printf(context.Context, string, ...any) {}

// IsURL reports whether a text is a URL for this package, by its scheme.
func IsURL(name string) bool {
	scheme, _, found := strings.Cut(name, "://")
	return found && (scheme == "redis" || scheme == "rediss" || scheme == "redis+sentinel" || scheme == "rediss+sentinel")
}

// Parse reads
//
//	redis://[user:password@]host[:port][,host[:port]…][/db][?…]
//
// rediss:// is the same over TLS. Of the query it knows prefix (of all keys;
// picket), lease (of a queue, as in 10s), cluster (true: the hosts are nodes of a Redis Cluster), master (the
// hosts are Sentinels, and this is the name that they know the server by) with
// sentinel_user and sentinel_password, and for TLS ca_file, cert_file and
// key_file, in PEM. redis+sentinel:// is redis:// that must have a master.
func Parse(text string) (*Config, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("redis URL: %w: %w", fmt.Errorf(format, args...), picket.ErrInvalid)
	}
	if !IsURL(text) {
		return nil, bad("it begins with none of redis://, rediss:// and redis+sentinel://")
	}
	// net/url takes one host only; the rest of it goes through as it is.
	scheme, rest, _ := strings.Cut(text, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@')
	hosts := authority[at+1:]
	u, err := url.Parse("redis://" + authority[:at+1] + "host" + tail)
	if err != nil {
		return nil, bad("it cannot be read") // the error would show the password
	}
	o := &redis.UniversalOptions{
		Protocol: 2, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, // what may be tried again, and how often, is decided here
		DialTimeout: dialTimeout, ReadTimeout: CommandTimeout, WriteTimeout: CommandTimeout,
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	query := u.Query()
	take := func(name string) string {
		v := query.Get(name)
		query.Del(name)
		return v
	}
	o.MasterName, o.SentinelUsername, o.SentinelPassword = take("master"), take("sentinel_user"), take("sentinel_password")
	port := "6379"
	if o.MasterName != "" {
		port = "26379"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			return nil, bad("a host is empty")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		o.Addrs = append(o.Addrs, host)
	}
	if c := take("cluster"); c != "" {
		if o.IsClusterMode, err = strconv.ParseBool(c); err != nil {
			return nil, bad("cluster=%s is neither true nor false", c)
		}
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return nil, bad("database %q is no number", db)
		}
	}
	p := &Config{Options: o, Prefix: take("prefix")}
	if p.Prefix == "" {
		p.Prefix = "picket"
	}
	if text := take("lease"); text != "" {
		if p.Lease, err = time.ParseDuration(text); err != nil || p.Lease < time.Second {
			return nil, bad("lease=%s is no duration of a second or more", text)
		}
	}
	secure := strings.HasPrefix(scheme, "rediss")
	ca, cert, key := take("ca_file"), take("cert_file"), take("key_file")
	switch {
	case strings.ContainsAny(p.Prefix, "{}"):
		return nil, bad("prefix %q has a brace", p.Prefix)
	case strings.HasSuffix(scheme, "+sentinel") && o.MasterName == "":
		return nil, bad("master is needed: the name that the Sentinels know the server by")
	case o.MasterName != "" && o.IsClusterMode:
		return nil, bad("a server is behind Sentinels or in a Cluster, not both")
	case len(o.Addrs) > 1 && o.MasterName == "" && !o.IsClusterMode:
		return nil, bad("several hosts need cluster=true or master=NAME")
	case o.IsClusterMode && o.DB != 0:
		return nil, bad("a Cluster has database 0 only")
	case !secure && ca+cert+key != "":
		return nil, bad("ca_file, cert_file and key_file are for rediss://")
	}
	for name := range query {
		return nil, bad("%q is no setting", name)
	}
	if secure {
		if o.TLSConfig, err = tlsConfig(ca, cert, key); err != nil {
			return nil, fmt.Errorf("redis URL: %w", err)
		}
	}
	o.Dialer = dialer(o.TLSConfig)
	p.display = scheme + "://" + hosts + displayTail(u, o, p)
	return p, nil
}

// dialer connects so that what was sent and is not on its way yet when the
// connection is closed is thrown away. The system would go on sending it: after
// a partition, long after it was sent again over another connection.
func dialer(secure *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := plain.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) // where it can't be had, the queue knows late copies for a while
		}
		if secure == nil {
			return conn, nil
		}
		config := secure.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		client := tls.Client(conn, config)
		if err := client.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return client, nil
	}
}

// displayTail is the part of a URL behind the hosts that is fit to be logged.
func displayTail(u *url.URL, o *redis.UniversalOptions, p *Config) string {
	v := url.Values{}
	if o.MasterName != "" {
		v.Set("master", o.MasterName)
	}
	if o.IsClusterMode {
		v.Set("cluster", "true")
	}
	if p.Prefix != "picket" {
		v.Set("prefix", p.Prefix)
	}
	if len(v) == 0 {
		return u.Path
	}
	return u.Path + "?" + v.Encode()
}

func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s has no certificate: %w", ca, picket.ErrInvalid)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read cert_file and key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
