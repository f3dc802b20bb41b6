// Package redisurl parses the URL of a Redis (a single server, Sentinels or a
// Cluster, with or without TLS) and connects to it. The queue, the cache and the
// Celery broker use it.
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

// CommandTimeout bounds how long a command waits for its reply, so that a server
// that does not answer cannot block callers for long.
const CommandTimeout = 3 * time.Second

// dialTimeout bounds how long connecting may take.
const dialTimeout = 2 * time.Second

// A Config is the content of a URL.
type Config struct {
	Options *redis.UniversalOptions
	Prefix  string        // of all keys
	Lease   time.Duration // of a queue's messages; 0: not in the URL

	display string // the URL without credentials
}

// String returns the URL without credentials.
func (c *Config) String() string { return c.display }

// NewClient returns a client, which connects when it is used.
func (c *Config) NewClient() redis.UniversalClient {
	silenceDriver()
	return redis.NewUniversalClient(c.Options)
}

// silenceDriver keeps the driver from writing to standard error. Its errors are
// returned as well.
var silenceDriver = sync.OnceFunc(func() { redis.SetLogger(nopLogger{}) })

type nopLogger struct{}

func (nopLogger) Printf(context.Context, string, ...any) {}

// IsURL reports whether text has a scheme that Parse accepts.
func IsURL(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && (scheme == "redis" || scheme == "rediss" || scheme == "redis+sentinel" || scheme == "rediss+sentinel")
}

// Parse parses
//
//	redis://[user:password@]host[:port][,host[:port]…][/db][?…]
//
// The scheme rediss:// means TLS, and redis+sentinel:// requires a master. The
// query can have:
//
//	prefix                            of all keys; default picket
//	lease                             of a queue's messages, as in 10s
//	cluster                           true: the hosts are nodes of a Redis Cluster
//	master                            the hosts are Sentinels, which know the server by this name
//	sentinel_user, sentinel_password  for the Sentinels
//	ca_file, cert_file, key_file      for TLS, in PEM
func Parse(text string) (*Config, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("redis URL: %w: %w", fmt.Errorf(format, args...), picket.ErrInvalid)
	}
	if !IsURL(text) {
		return nil, bad("it begins with none of redis://, rediss:// and redis+sentinel://")
	}
	// net/url accepts only one host, so the hosts are replaced by one.
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
		return nil, bad("it cannot be read") // the error would contain the password
	}
	o := &redis.UniversalOptions{
		Protocol: 2, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, // callers decide what to retry
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
	if text := take("cluster"); text != "" {
		if o.IsClusterMode, err = strconv.ParseBool(text); err != nil {
			return nil, bad("cluster=%s is neither true nor false", text)
		}
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return nil, bad("database %q is no number", db)
		}
	}
	c := &Config{Options: o, Prefix: take("prefix")}
	if c.Prefix == "" {
		c.Prefix = "picket"
	}
	if text := take("lease"); text != "" {
		if c.Lease, err = time.ParseDuration(text); err != nil || c.Lease < time.Second {
			return nil, bad("lease=%s is no duration of a second or more", text)
		}
	}
	secure := strings.HasPrefix(scheme, "rediss")
	ca, cert, key := take("ca_file"), take("cert_file"), take("key_file")
	switch {
	case strings.ContainsAny(c.Prefix, "{}"):
		return nil, bad("prefix %q has a brace", c.Prefix)
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
	o.Dialer = noLingerDialer(o.TLSConfig)
	c.display = scheme + "://" + hosts + displayTail(u, o, c)
	return c, nil
}

// noLingerDialer returns a dial function for connections that discard unsent data when
// they are closed. Otherwise the system would keep trying to send it: after a
// partition, commands could arrive long after they were sent again on another
// connection.
func noLingerDialer(secure *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := plain.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) // if it fails, the queue still recognizes late duplicates
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

// displayTail returns what follows the hosts in String.
func displayTail(u *url.URL, o *redis.UniversalOptions, c *Config) string {
	v := url.Values{}
	if o.MasterName != "" {
		v.Set("master", o.MasterName)
	}
	if o.IsClusterMode {
		v.Set("cluster", "true")
	}
	if c.Prefix != "picket" {
		v.Set("prefix", c.Prefix)
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
