package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A server with a certificate serves TLS, and an agent that is told of the
// certificate trusts it, and no other.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := makeCertificate(t, cert, key)
	f := newTestCluster(t, "--tls-cert", cert, "--tls-key", key)
	p := f.startServer()
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("the console is at %s", p.url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Get(p.url + "/healthz")
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer is %v, %v", resp, err)
	}
	token := f.token("--agent", "h")
	events := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(events, []byte(eventJSON("1", "h", fires)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"agent", "--server", p.url, "--token", token, "--source", "replay=" + events, "--spool", filepath.Join(dir, "spool")}
	stranger, _, err := start(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.kill)
	testenv.Until(t, "the agent refuses", func() bool { return strings.Contains(stranger.err.String(), "certificate") })
	if err := stranger.stop(); err != nil {
		t.Fatal(err)
	}
	f.run(append(args, "--ca-file", cert)...)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

// makeCertificate makes a certificate of this machine that signs itself, and
// returns it as what is to be trusted.
func makeCertificate(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "picket"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return roots
}
