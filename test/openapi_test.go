package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// The server and its openapi.json agree: it accepts what the document allows, refuses what
// it does not, and answers as the document says, never with a server error. Schemathesis
// makes the requests from the document.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	cache, err := os.UserCacheDir()
	testenv.Check(t, err)
	schemathesis := filepath.Join(cache, "picket-test", "schemathesis", "bin", "schemathesis")
	if _, err := os.Stat(schemathesis); err != nil {
		testenv.Skip(t, "Schemathesis in "+schemathesis+"; run scripts/install-schemathesis")
	}
	config, err := filepath.Abs("schemathesis/config.toml")
	testenv.Check(t, err)

	s := start(t, "--log-level", "error")
	rejected := map[string]any{"event_type": "process", "agent_id": "WS-001", "process": map[string]any{}}
	s.post(t, append(attackEvents(), rejected)...)

	cmd := exec.CommandContext(t.Context(), schemathesis, "--config-file", config, "run", s.url+"/api/v1/openapi.json",
		"--checks", "all", "--seed", "1", "--max-examples", "10", "--generation-database", "none", "--continue-on-failure", "--no-color")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_PROXY=127.0.0.1", "COLUMNS=200",
		"PICKET_API_TOKEN="+s.picket(t, "token", "create", "--api", "openapi", "--role", "admin"),
		"PICKET_COLLECTOR_TOKEN="+s.picket(t, "token", "create", "--collector", "openapi"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	m := regexp.MustCompile(`(\d+) generated`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no number of requests in\n%s", out)
	}
	if n, err := strconv.Atoi(string(m[1])); n < 2000 || err != nil {
		t.Errorf("%s requests:\n%s", m[1], out)
	}
	t.Logf("%s requests", m[1])
}
