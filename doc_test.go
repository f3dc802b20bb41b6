package picket_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/internal/normalize"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages returns all pages of the documentation.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no pages in %s: %v", pattern, err)
		}
		all = append(all, names...)
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notWord = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors that GitHub gives a page's headings.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		all[strings.ReplaceAll(notWord.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

// Every relative link leads to an existing file and heading.
func TestDocLinks(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			name, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if name != "" {
				target = filepath.Join(filepath.Dir(page), filepath.FromSlash(name))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s links to %s: there is no such heading", page, m[1])
			}
		}
	}
}

// doc.go, CONTRIBUTING.md and README.md name only packages and files that exist.
func TestDocNames(t *testing.T) {
	path := regexp.MustCompile(`\b(?:internal|cmd|rules|sigma|docs|test)/[a-z0-9/_]+[a-z0-9](?:\.[a-z]+)?`)
	for _, page := range []string{"doc.go", "CONTRIBUTING.md", "README.md"} {
		for _, name := range path.FindAllString(read(t, page), -1) {
			if name == "sigma/rules" { // a user's copy of SigmaHQ
				continue
			}
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s: %v", page, name, err)
			}
		}
	}
}

// docs/configuration.md has every flag of every command.
func TestDocFlags(t *testing.T) {
	files, err := filepath.Glob("cmd/picket/*.go")
	if err != nil {
		t.Fatal(err)
	}
	define := regexp.MustCompile(`^(String|StringArray|StringSlice|Int|Int64|Bool|Duration|Float64)(Var)?P?$|^Var$`)
	page, found := read(t, "docs/configuration.md"), 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !define.MatchString(sel.Sel.Name) || len(call.Args) < 3 {
				return true
			}
			arg := call.Args[0]
			if strings.HasSuffix(sel.Sel.Name, "Var") {
				arg = call.Args[1]
			}
			if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				name, _ := strconv.Unquote(lit.Value)
				found++
				if !regexp.MustCompile("`--" + name + "[ `]").MatchString(page) {
					t.Errorf("%s: --%s is not in docs/configuration.md", file, name)
				}
			}
			return true
		})
	}
	if found < 40 {
		t.Errorf("only %d flags found: this test tests nothing", found)
	}
}

// The documentation states the memory limit that the server sets.
func TestDocMemoryLimit(t *testing.T) {
	m := regexp.MustCompile(`\bdefaultMemoryLimitBytes = (\d+) << 20\b`).FindStringSubmatch(read(t, "cmd/picket/serve.go"))
	if m == nil {
		t.Fatal("cmd/picket/serve.go has no defaultMemoryLimitBytes: this test tests nothing")
	}
	for _, page := range []string{"docs/configuration.md", "docs/operations.md"} {
		for line := range strings.Lines(read(t, page)) {
			if strings.Contains(line, "GOMEMLIMIT") && !strings.Contains(line, " "+m[1]+" MiB ") {
				t.Errorf("%s: the limit is %s MiB: %s", page, m[1], line)
			}
		}
	}
}

// docs/operations.md lists every metric and no others.
func TestDocMetrics(t *testing.T) {
	name := regexp.MustCompile(`\b(?:picket|go)_[a-z_]+[a-z]\b`)
	code, page := make(map[string]bool), make(map[string]bool)
	for _, m := range name.FindAllString(read(t, "cmd/picket/metrics.go"), -1) {
		code[m] = true
	}
	for _, m := range name.FindAllString(read(t, "docs/operations.md"), -1) {
		page[m] = true
	}
	for m := range code {
		if !page[m] {
			t.Errorf("docs/operations.md lacks %s", m)
		}
	}
	for m := range page {
		if !code[m] {
			t.Errorf("docs/operations.md has %s, and the program has not", m)
		}
	}
}

// The files in deploy parse, and name only flags and metrics that exist.
func TestDeploy(t *testing.T) {
	flags, metrics := read(t, "docs/configuration.md"), read(t, "docs/operations.md")
	var files []string
	for _, pattern := range []string{"deploy/*", "deploy/*/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	flag := regexp.MustCompile(`(?:[ \["]--([a-z][a-z-]+)|\bPICKET_([A-Z_]+))`)
	ours := regexp.MustCompile(`\b(serve|worker|agent)\b|PICKET_`)
	metric := regexp.MustCompile(`\b(?:picket|go)_[a-z_]+[a-z]\b`)
	read := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // a directory
		}
		read++
		text := string(data)
		for _, m := range metric.FindAllString(text, -1) {
			if !strings.Contains(metrics, "`"+m+"`") {
				t.Errorf("%s: there is no metric %s", name, m)
			}
		}
		switch filepath.Ext(name) {
		case ".json":
			if !json.Valid(data) {
				t.Errorf("%s is no JSON", name)
			}
			continue
		case ".yml", ".yaml":
			for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
				var doc map[string]any
				if err := dec.Decode(&doc); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		for line := range strings.Lines(text) {
			if !ours.MatchString(line) {
				continue // flags of other programs
			}
			for _, m := range flag.FindAllStringSubmatch(line, -1) {
				name := m[1] + strings.ToLower(strings.ReplaceAll(m[2], "_", "-"))
				if !regexp.MustCompile("`--"+name+"[ `]").MatchString(flags) && name != "build" && name != "config" {
					t.Errorf("%s: there is no flag --%s", line, name)
				}
			}
		}
	}
	if read < 6 {
		t.Errorf("%d files read", read)
	}
}

// Each example in docs/formats.md has the format of its section.
func TestDocFormats(t *testing.T) {
	r, section, seen := normalize.NewReader(), "", make(map[string]bool)
	var example strings.Builder
	for line := range strings.Lines(read(t, "docs/formats.md")) {
		text, code := strings.CutPrefix(line, "    ")
		if code {
			example.WriteString(text)
			continue
		}
		if raw := example.String(); raw != "" && !seen[section] {
			example.Reset()
			if !json.Valid([]byte(raw)) {
				t.Errorf("%s: the example is not JSON", section)
			} else if d, err := r.Read([]byte(raw)); err != nil || d.Format != section {
				t.Errorf("%s: the example is read as %v, %v", section, d, err)
			}
			seen[section] = true
		}
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(name)
		}
	}
	for _, name := range normalize.FormatNames() {
		if !seen[name] {
			t.Errorf("docs/formats.md has no example of %s", name)
		}
	}
}

// docs/sigma.md lists the categories and services that events of known formats have.
func TestDocLogSources(t *testing.T) {
	_, page, _ := strings.Cut(read(t, "docs/sigma.md"), "## Logsources")
	page, _, _ = strings.Cut(page, "\n## ")
	for _, s := range normalize.KnownSources() {
		for _, name := range []string{s.Category, s.Service} {
			if name != "" && !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/sigma.md does not list %s, as in %s", name, s.LogSource)
			}
		}
	}
}

// The cases that docs/sigma.md names exist.
func TestDocCases(t *testing.T) {
	known := make(map[string]bool)
	for _, file := range []string{"strings", "structure", "values"} {
		var cases []struct{ Name string }
		if err := yaml.Unmarshal([]byte(read(t, "sigma/testdata/"+file+".yml")), &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			known[c.Name] = true
		}
	}
	_, page, _ := strings.Cut(read(t, "docs/sigma.md"), "## What is decided")
	named := 0
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, ""), "|\n "), " | ")
		if len(cells) != 2 {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			named++
			if !known[m[1]] {
				t.Errorf("docs/sigma.md names the case %q, and there is none", m[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d cases found: this test tests nothing", named)
	}
}
