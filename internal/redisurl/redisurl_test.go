package redisurl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/redisurl"
)

func TestParse(t *testing.T) {
	type result struct {
		Addrs                            []string
		User, Password, Master, Sentinel string
		DB                               int
		Cluster, TLS                     bool
		Prefix, Name                     string
	}
	for url, want := range map[string]result{
		"redis://localhost":                      {Addrs: []string{"localhost:6379"}, Prefix: "picket", Name: "redis://localhost"},
		"redis://u:p%40s@h:1/2?prefix=a":         {Addrs: []string{"h:1"}, User: "u", Password: "p@s", DB: 2, Prefix: "a", Name: "redis://h:1/2?prefix=a"},
		"rediss://:p@[::1]:1":                    {Addrs: []string{"[::1]:1"}, Password: "p", TLS: true, Prefix: "picket", Name: "rediss://[::1]:1"},
		"redis://a,b:2/0?cluster=true":           {Addrs: []string{"a:6379", "b:2"}, Cluster: true, Prefix: "picket", Name: "redis://a,b:2/0?cluster=true"},
		"redis+sentinel://a,b/1?master=m":        {Addrs: []string{"a:26379", "b:26379"}, Master: "m", DB: 1, Prefix: "picket", Name: "redis+sentinel://a,b/1?master=m"},
		"redis://a?master=m&sentinel_password=s": {Addrs: []string{"a:26379"}, Master: "m", Sentinel: "s", Prefix: "picket", Name: "redis://a?master=m"},
	} {
		p, err := redisurl.Parse(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		o := p.Options
		got := result{o.Addrs, o.Username, o.Password, o.MasterName, o.SentinelPassword, o.DB, o.IsClusterMode, o.TLSConfig != nil, p.Prefix, p.String()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
	for _, url := range []string{
		"http://h", "redis://", "redis://a,b", "redis://h/x", "redis://h?nope=1", "redis://h?cluster=perhaps", "redis://h/1?cluster=true",
		"redis+sentinel://h", "redis://h?master=m&cluster=true", "redis://h?ca_file=x", "redis://h?prefix={a}", "redis://u:secret%zz@h",
	} {
		if _, err := redisurl.Parse(url); !errors.Is(err, picket.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want ErrInvalid without the password", url, err)
		}
	}
}
