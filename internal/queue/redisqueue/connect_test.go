package redisqueue_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/testenv"
)

// TestUserAndTLS connects over TLS, as a user with only the permissions that
// docs/scale.md lists.
func TestUserAndTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	s := redistest.Start(t, redistest.DurableArgs...)
	_, port, _ := net.SplitHostPort(s.Addr)
	port = "1" + port[1:]
	admin := s.Client()
	for _, set := range [][]any{
		{"config", "set", "tls-auth-clients", "no"},
		{"config", "set", "tls-ca-cert-file", cert},
		{"config", "set", "tls-key-file", key},
		{"config", "set", "tls-cert-file", cert},
		{"config", "set", "tls-port", port},
		{"acl", "setuser", "picket", "on", ">secret", "resetkeys", "~picket:*", "resetchannels", "-@all",
			"+@stream", "+@hash", "+@sortedset", "+@scripting", "+@connection", "+expire", "+time", "+info", "+waitaof", "+config|get", "+command"},
	} {
		err := admin.Do(t.Context(), set...).Err()
		if err != nil && strings.Contains(err.Error(), "waitaof") { // before 7.2
			for i, v := range set {
				if v == "+waitaof" {
					set[i] = "+time"
				}
			}
			err = admin.Do(t.Context(), set...).Err()
		}
		// Built without TLS, Redis refuses its settings, and Valkey 9.1 crashes
		// over the port.
		if name := fmt.Sprint(set[2]); err != nil && strings.HasPrefix(name, "tls-") {
			testenv.Skip(t, fmt.Sprintf("TLS in this redis-server: set %s: %v", name, err))
		}
		testenv.Check(t, err)
	}
	q := open(t, "rediss://picket:secret@127.0.0.1:"+port+"/0?ca_file="+cert, redisqueue.Options{})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 10)))
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(t.Context(), ds...))
	st, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if st.Accepted != 1 || st.Pending+st.Leased != 0 {
		t.Errorf("stats %+v", st)
	}
	settings, err := q.ServerSettings(t.Context())
	testenv.Check(t, err)
	if len(settings.DurabilityWarnings(redisurl.FsyncNotAwaited)) != 0 {
		t.Errorf("warnings %q for a durable server", settings.DurabilityWarnings(redisurl.FsyncNotAwaited))
	}
}

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testenv.Check(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	testenv.Check(t, err)
	kder, err := x509.MarshalECPrivateKey(k)
	testenv.Check(t, err)
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		testenv.Check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", kder)
}

// TestSentinel: after a failover by Sentinel, the queue uses the new server.
func TestSentinel(t *testing.T) {
	t.Parallel()
	first := redistest.Start(t, redistest.DurableArgs...)
	host, port, _ := net.SplitHostPort(first.Addr)
	second := redistest.Start(t, append([]string{"--replicaof", host, port}, redistest.DurableArgs...)...)
	sentinel := redistest.StartSentinel(t, "main", first)
	q := open(t, "redis://"+sentinel.Addr+"/0?master=main", redisqueue.Options{Lease: 2 * time.Second})
	testenv.Check(t, q.Enqueue(t.Context(), message("before", 10)))
	replica := second.Client()
	testenv.Until(t, "the replica has what was accepted", func() bool { n, _ := replica.Exists(t.Context(), "picket:meta").Result(); return n == 1 })
	testenv.Until(t, "the replica is in step", func() bool { n, _ := first.Client().Wait(t.Context(), 1, time.Second).Result(); return n == 1 })
	testenv.Until(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(sentinel.Client().Info(t.Context(), "sentinel").Val(), "slaves=1")
	})
	first.Kill()
	testenv.Until(t, "the queue takes more after the failover", func() bool { return q.Enqueue(t.Context(), message("after", 10)) == nil })
	got := map[string]bool{}
	testenv.Until(t, "both arrive", func() bool {
		if ds, err := q.Receive(t.Context(), 10); err == nil {
			for _, d := range ds {
				got[d.ID] = true
			}
		}
		return got["before"] && got["after"]
	})
}
