// Package importtest has the rules of the code as tests: which package may import
// which, the list of packages in doc.go, and words that names must not have. It reads
// the files itself: the go test cache does not notice changes of what go list
// returns.
package importtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is the path of picket's module.
const module = "github.com/picket-edr/picket"

// A layer is a set of packages, by directory. A package imports only layers above its
// own in the table.
type layer struct {
	name     string
	packages []string
	// beside lists the allowed imports within the layer, as "from→to".
	beside []string
	// outside lists the allowed imports from other modules; nil allows all but
	// drivers.
	outside []string
}

// The layers, the lowest first. Every package must be in one.
var layers = []layer{
	{
		name: "pure",
		packages: []string{
			"sigma", "sigma/ast", "sigma/casefold", "sigma/correlation", "sigma/lint", "sigma/pipeline", "sigma/regexpsize",
			"sigma/internal/decimal", "sigma/internal/literalindex", "sigma/internal/parser", "sigma/internal/pattern",
			"sigma/internal/regexprefilter", "sigma/internal/suggest", "sigma/internal/word", "sigma/internal/yamldoc",
			"celery", "internal/jsonescape", "internal/commandline", "internal/printable", "internal/timetext",
		},
		beside: slices.Concat(
			imports("celery", "internal/jsonescape"),
			imports("sigma/casefold", "sigma/internal/word"),
			imports("sigma/ast", "sigma/casefold"),
			imports("sigma/internal/decimal", "sigma/internal/word"),
			imports("sigma/internal/literalindex", "sigma/casefold", "sigma/internal/decimal", "sigma/internal/word"),
			imports("sigma/internal/regexprefilter", "sigma/casefold"),
			imports("sigma/internal/yamldoc", "sigma/ast", "sigma/internal/decimal"),
			imports("sigma/internal/parser", "sigma/ast", "sigma/internal/suggest", "sigma/internal/yamldoc"),
			imports("sigma/correlation", "sigma/ast", "sigma/internal/decimal"),
			imports("sigma", "sigma/ast", "sigma/casefold", "sigma/correlation", "sigma/internal/decimal", "sigma/internal/literalindex",
				"sigma/internal/parser", "sigma/internal/pattern", "sigma/internal/regexprefilter", "sigma/internal/word", "sigma/regexpsize"),
			imports("sigma/pipeline", "sigma/ast", "sigma/internal/decimal", "sigma/internal/parser", "sigma/internal/pattern", "sigma/internal/suggest", "sigma/internal/yamldoc"),
			imports("sigma/lint", "sigma", "sigma/ast", "sigma/casefold", "sigma/internal/parser", "sigma/internal/pattern", "sigma/internal/regexprefilter",
				"sigma/internal/suggest", "sigma/internal/yamldoc"),
		),
		outside: []string{"go.yaml.in/yaml/v3"},
	},
	{name: "bytes", packages: []string{"internal/zst", "internal/evtx", "internal/logline", "internal/backoff", "internal/groupcommit", "internal/filelock", "rules"}, outside: []string{"github.com/klauspost/compress/zstd", "golang.org/x/sys/unix", "golang.org/x/sys/windows"}},
	{name: "root", packages: []string{"."}, outside: []string{}},
	{
		name:     "plumbing",
		packages: []string{"internal/flatjson", "internal/normalize", "internal/legacy/ruleconvert", "internal/redisurl", "internal/sqlitefile", "internal/queue", "internal/queue/diskbuffer", "internal/queue/redisstats", "internal/store", "internal/store/sqlitestore/block", "internal/httpapi", "internal/auth", "internal/cache", "internal/testenv"},
		beside: []string{
			"internal/normalize→internal/flatjson", "internal/store→internal/flatjson",
			"internal/store/sqlitestore/block→internal/store", "internal/store/sqlitestore/block→internal/flatjson",
			"internal/queue/diskbuffer→internal/queue", "internal/queue/redisstats→internal/queue", "internal/auth→internal/store", "internal/httpapi→internal/auth", "internal/httpapi→internal/queue", "internal/cache→internal/store",
		},
	},
	{
		name: "stages",
		packages: []string{
			"internal/detect", "internal/ruleset", "internal/correlate", "internal/worker", "internal/ingest", "internal/api",
			"internal/notify", "internal/respond", "internal/agent", "internal/web", "internal/scan", "internal/scanreport", "internal/audit",
			"internal/triage", "internal/legacy", "internal/rulecoverage",
		},
		beside: slices.Concat(
			imports("internal/ruleset", "internal/detect"),
			imports("internal/correlate", "internal/detect"),
			imports("internal/scan", "internal/ruleset", "internal/detect"),
			imports("internal/scanreport", "internal/scan", "internal/ruleset"),
			imports("internal/triage", "internal/audit"),
			imports("internal/rulecoverage", "internal/ruleset"),
			imports("internal/api", "internal/ruleset", "internal/rulecoverage", "internal/triage"),
			imports("internal/web", "internal/ruleset", "internal/audit", "internal/triage"),
			imports("internal/legacy", "internal/ruleset", "internal/ingest", "internal/triage"),
		),
	},
	{name: "program", packages: []string{"cmd/picket", "internal/backup", "internal/doctor", "internal/migrate"}, beside: slices.Concat(
		imports("cmd/picket", "internal/backup", "internal/doctor", "internal/migrate"), imports("internal/doctor", "internal/backup"))},
}

// imports returns the entries of layer.beside for one package.
func imports(from string, to ...string) []string {
	edges := make([]string, len(to))
	for i, dir := range to {
		edges[i] = from + "→" + dir
	}
	return edges
}

// An adapter is the only package that imports a driver. It imports its seam and the
// layers below.
type adapter struct{ seam, driver string }

var adapters = map[string]adapter{
	"internal/queue/sqlitequeue": {"internal/queue", "modernc.org/sqlite"},
	"internal/store/sqlitestore": {"internal/store", "modernc.org/sqlite"},
	"internal/queue/redisqueue":  {"internal/queue", "github.com/redis/go-redis"},
	"internal/queue/celeryqueue": {"internal/queue", "github.com/redis/go-redis"},
	"internal/celeryworker":      {"internal/queue/celeryqueue", "github.com/redis/go-redis"},
	"internal/cache/rediscache":  {"internal/cache", "github.com/redis/go-redis"},
	"internal/store/mongostore":  {"internal/store", "go.mongodb.org/mongo-driver"},
}

// connectors are packages below several adapters that also import their driver.
var connectors = map[string]string{"internal/redisurl": "github.com/redis/go-redis", "internal/queue/redisstats": "github.com/redis/go-redis", "internal/sqlitefile": "modernc.org/sqlite"}

// effects are packages that reach disk, network or a database.
var effects = []string{"database/sql", "io/fs", "net", "net/http", "os", "os/exec", "path/filepath", "syscall"}

// pure are packages that must not have side effects, with what they must not import.
var pure = map[string][]string{
	"internal/detect":                  slices.Concat(effects, []string{"time", "log/slog", module + "/internal/store"}),
	"internal/store/sqlitestore/block": effects,
}

// vague are package names that say nothing about the content.
var vague = []string{"utils", "util", "common", "models", "types", "core", "config", "services", "helpers", "misc", "pkg"}

// A file is a Go file and its imports.
type file struct {
	name    string // from the module's root, with slashes
	imports []string
}

func (f file) dir() string { return path.Dir(f.name) }

// test reports whether the file is compiled for tests only.
func (f file) test() bool { return strings.HasSuffix(f.name, "_test.go") || testSupport(f.dir()) }

// testSupport reports whether a package is for tests only.
func testSupport(dir string) bool {
	base := path.Base(dir)
	return strings.HasSuffix(base, "test") || base == "testenv" || dir == "test" || strings.HasPrefix(dir, "test/")
}

func TestImports(t *testing.T) {
	files := goFiles(t, os.DirFS(filepath.Join("..", "..")))
	if len(files) < 100 {
		t.Fatalf("only %d files found: the test checks nothing", len(files))
	}
	for _, f := range files {
		for _, complaint := range check(f) {
			t.Error(complaint)
		}
	}
}

// goFiles reads the imports of all Go files of the module.
func goFiles(t *testing.T, fsys fs.FS) []file {
	t.Helper()
	var files []file
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			base := path.Base(name)
			if name != "." && strings.HasPrefix(base, ".") || base == "node_modules" || isModule(fsys, name) {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".go":
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := file{name: name}
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// isModule reports whether a directory is another module.
func isModule(fsys fs.FS, dir string) bool {
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil && dir != "."
}

// check returns the violations of a file.
func check(f file) []string {
	var wrong []string
	complain := func(format string, args ...any) {
		wrong = append(wrong, f.name+": "+fmt.Sprintf(format, args...))
	}
	for part := range strings.SplitSeq(f.dir(), "/") {
		if slices.Contains(vague, part) {
			complain("package %s: the name says nothing about the content", part)
		}
	}
	for _, imp := range f.imports {
		if !f.test() && slices.Contains(pure[f.dir()], imp) {
			complain("imports %s: the package must be pure", imp)
			continue
		}
		if imp == module || strings.HasPrefix(imp, module+"/") {
			own := path.Clean("." + strings.TrimPrefix(imp, module))
			if why := checkOwn(f, own); why != "" {
				complain("imports %s: %s", imp, why)
			}
		} else if why := checkOther(f, imp); why != "" {
			complain("imports %s: %s", imp, why)
		}
	}
	return wrong
}

// checkOwn returns why a file must not import a package of the module, "" if it may.
func checkOwn(f file, to string) string {
	from := f.dir()
	if f.test() {
		return "" // tests may import anything
	}
	if testSupport(to) {
		return "it is for tests only"
	}
	if a, ok := adapters[from]; ok {
		switch {
		case to == a.seam, rank(to) >= 0 && rank(to) < rank("internal/agent") && !isSeam(to):
			return ""
		case path.Dir(to) == a.seam: // a part of an adapter of the same seam
			return ""
		}
		return "an adapter imports its seam, and nothing of the stages"
	}
	if _, ok := adapters[to]; ok {
		if layers[max(rank(from), 0)].name == "program" {
			return ""
		}
		return "only the program imports an adapter"
	}
	switch rf, rt := rank(from), rank(to); {
	case rf < 0:
		return fmt.Sprintf("%s is in no layer; add it to layers", from)
	case rt < 0:
		return "it is in no layer; add it to layers"
	case rt > rf:
		return fmt.Sprintf("%s are above %s", layers[rt].name, layers[rf].name)
	case rt == rf && !slices.Contains(layers[rf].beside, from+"→"+to):
		return fmt.Sprintf("they are side by side in %s", layers[rf].name)
	}
	return ""
}

func isSeam(dir string) bool {
	return dir == "internal/queue" || dir == "internal/store" || dir == "internal/cache"
}

// rank returns the index of a package's layer, -1 if it has none.
func rank(dir string) int {
	return slices.IndexFunc(layers, func(l layer) bool { return slices.Contains(l.packages, dir) })
}

// checkOther returns why a file must not import a package of the standard library or
// of another module, "" if it may.
func checkOther(f file, imp string) string {
	from := f.dir()
	if !f.test() && (imp == "testing" || strings.HasPrefix(imp, "testing/")) {
		return "the program must not link it"
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return ""
	}
	for _, a := range adapters {
		if under(imp, a.driver) {
			if adapters[from].driver == a.driver || connectors[from] == a.driver || f.test() {
				return ""
			}
			return "it is a driver; only its adapter may import it"
		}
	}
	if r := rank(from); r >= 0 && layers[r].outside != nil && !f.test() && !slices.Contains(layers[r].outside, imp) {
		return fmt.Sprintf("%s has the standard library and %v only", from, layers[r].outside)
	}
	return ""
}

// under reports whether a package belongs to a module.
func under(imp, mod string) bool { return imp == mod || strings.HasPrefix(imp, mod+"/") }

// The rules reject what they should.
func TestCheck(t *testing.T) {
	var got []string
	for _, f := range []file{
		{"sigma/a.go", []string{"strings", "go.yaml.in/yaml/v3"}},
		{"sigma/a.go", []string{"github.com/google/go-cmp/cmp"}},
		{"sigma/a_test.go", []string{"github.com/google/go-cmp/cmp", module + "/internal/testenv"}},
		{"sigma/a.go", []string{module}},
		{"a.go", []string{module + "/sigma", module + "/internal/zst"}},
		{"a.go", []string{module + "/internal/queue"}},
		{"internal/worker/a.go", []string{module + "/internal/queue", module + "/internal/backoff", module}},
		{"internal/worker/a.go", []string{module + "/internal/web"}},
		{"internal/worker/a.go", []string{module + "/internal/queue/sqlitequeue"}},
		{"internal/worker/a_test.go", []string{module + "/internal/queue/sqlitequeue", "testing"}},
		{"internal/worker/a.go", []string{"modernc.org/sqlite"}},
		{"internal/queue/sqlitequeue/a.go", []string{module + "/internal/queue", "modernc.org/sqlite/lib"}},
		{"internal/queue/sqlitequeue/a.go", []string{module + "/internal/store"}},
		{"internal/queue/sqlitequeue/a.go", []string{module + "/internal/worker"}},
		{"internal/queue/a.go", []string{"testing", module + "/internal/queue/queuetest"}},
		{"internal/queue/queuetest/a.go", []string{"testing"}},
		{"internal/detect/a.go", []string{"time", module + "/internal/store"}},
		{"internal/store/sqlitestore/block/a.go", []string{"os", "bytes", "modernc.org/sqlite"}},
		{"internal/utils/a.go", nil},
		{"internal/new/a.go", []string{module}},
		{"cmd/picket/a.go", []string{module + "/internal/queue/sqlitequeue", module + "/internal/web"}},
	} {
		got = append(got, check(f)...)
	}
	want := []string{
		"sigma/a.go: imports github.com/google/go-cmp/cmp: sigma has the standard library and [go.yaml.in/yaml/v3] only",
		"sigma/a.go: imports " + module + ": root are above pure",
		"a.go: imports " + module + "/internal/queue: plumbing are above root",
		"internal/worker/a.go: imports " + module + "/internal/web: they are side by side in stages",
		"internal/worker/a.go: imports " + module + "/internal/queue/sqlitequeue: only the program imports an adapter",
		"internal/worker/a.go: imports modernc.org/sqlite: it is a driver; only its adapter may import it",
		"internal/queue/sqlitequeue/a.go: imports " + module + "/internal/store: an adapter imports its seam, and nothing of the stages",
		"internal/queue/sqlitequeue/a.go: imports " + module + "/internal/worker: an adapter imports its seam, and nothing of the stages",
		"internal/queue/a.go: imports testing: the program must not link it",
		"internal/queue/a.go: imports " + module + "/internal/queue/queuetest: it is for tests only",
		"internal/detect/a.go: imports time: the package must be pure",
		"internal/detect/a.go: imports " + module + "/internal/store: the package must be pure",
		"internal/store/sqlitestore/block/a.go: imports os: the package must be pure",
		"internal/store/sqlitestore/block/a.go: imports modernc.org/sqlite: it is a driver; only its adapter may import it",
		"internal/utils/a.go: package utils: the name says nothing about the content",
		"internal/new/a.go: imports " + module + ": internal/new is in no layer; add it to layers",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
