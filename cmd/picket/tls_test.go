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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A server with a certificate serves TLS. An agent connects only if it is given
// the certificate with --ca-file.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := createCertificate(t, cert, key)
	c := newTestCluster(t, "--tls-cert", cert, "--tls-key", key)
	p := c.startServer()
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("console is at %s", p.url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Get(p.url + "/healthz")
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer is %v, %v", resp, err)
	}
	token := c.createToken("--agent", "h")
	events := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(events, []byte(eventJSON("1", "h", firstAlertCommand)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"agent", "--server", p.url, "--token", token, "--source", "replay=" + events, "--spool", filepath.Join(dir, "spool")}
	untrusting, _, err := startProcess(dir, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(untrusting.kill)
	testenv.Until(t, "the agent rejects the certificate", func() bool { return strings.Contains(untrusting.stderr.String(), "certificate") })
	if err := untrusting.stop(); err != nil {
		t.Fatal(err)
	}
	c.run(append(args, "--ca-file", cert)...)

	// Doctor asks with TLS, as the running server or the settings say.
	doctor := func(args ...string) string {
		cmd := exec.Command("picket", append([]string{"doctor"}, args...)...)
		cmd.Dir = c.data
		out, _ := cmd.Output()
		return string(out)
	}
	address := strings.TrimPrefix(p.url, "https://")
	for _, args := range [][]string{{"--data", "."}, {"--data", ".", "--listen", address}, {"--data", "nothing", "--listen", address, "--tls-cert", cert}, {"--server", p.url, "--ca-file", cert}} {
		if out := doctor(args...); !strings.Contains(out, "ok    port   the server at "+p.url+" is ready") {
			t.Errorf("doctor %q: %s", args, out)
		}
	}
	for want, args := range map[string][]string{
		"speaks TLS, and was asked without": {"--data", "nothing", "--listen", address},
		"hint: give --ca-file":              {"--server", p.url},
	} {
		if out := doctor(args...); !strings.Contains(out, want) || strings.Contains(out, "another program") {
			t.Errorf("doctor %q: %s", args, out)
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

// createCertificate creates a self-signed certificate for 127.0.0.1, and returns a
// pool that trusts it.
func createCertificate(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	privateKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "picket"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, privateKey.Public(), privateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(privateKey)
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
