package main

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// controlling are characters that control a terminal or reorder what it shows, and
// a byte that is not UTF-8 but C1 to some terminals.
const controlling = "\x00\a\b\t\n\v\f\r\x1b\x7f\u0080\u0085\u009b\u009f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\x9b"

// isPrintable reports whether lines of text have nothing that controls a terminal.
func isPrintable(lines string) bool {
	return utf8.ValidString(lines) && !strings.ContainsFunc(lines, func(r rune) bool {
		return r != '\n' && unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	})
}

func TestFprintf(t *testing.T) {
	var b bytes.Buffer
	fprintfPrintable(&b, "%s %v %s %d %v %-4s|\n", controlling, errors.New(controlling), []byte(controlling), 7, time.Second, "é")
	blank := strings.Repeat(" ", utf8.RuneCountInString(controlling)-1) + "\ufffd"
	if want := blank + " " + blank + " " + blank + " 7 1s é   |\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// An error cannot control the terminal or pretend to be two lines, nor can its hint.
func TestPrintError(t *testing.T) {
	var b bytes.Buffer
	printError(&b, newRoot(), withHint(errors.New("read "+controlling+": no"), controlling))
	if lines := b.String(); !isPrintable(lines) || strings.Count(lines, "\n") != 2 {
		t.Errorf("%q", lines)
	}
}

// Lines of the process log cannot either, as people read them.
func TestLogIsPrintable(t *testing.T) {
	cmd := newRoot()
	testenv.Check(t, cmd.ParseFlags(nil))
	var b bytes.Buffer
	cmd.SetErr(&b)
	log, err := newLog(cmd)
	if err != nil {
		t.Fatal(err)
	}
	log.Info(controlling, controlling, controlling, slog.Group(controlling, "error", errors.New(controlling)))
	if lines := b.String(); !isPrintable(lines) || strings.Count(lines, "\n") != 1 {
		t.Errorf("%q", lines)
	}
}

// No command prints around fprintf: text of events and rules could control the
// terminal.
func TestCommandsPrintWithFprintf(t *testing.T) {
	files, err := filepath.Glob("*.go")
	testenv.Check(t, err)
	set := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "print.go" {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		testenv.Check(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "fmt" && (strings.HasPrefix(sel.Sel.Name, "Fprint") || strings.HasPrefix(sel.Sel.Name, "Print")) {
					t.Errorf("%s: fmt.%s; use fprintf", set.Position(n.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	}
}

// What commands print cannot control the terminal, whatever rules, files, events and
// arguments have in them. Every command must print the word evil, so that the test
// does not pass because a command failed earlier.
func TestCommandsPrintHostileText(t *testing.T) {
	const evil = "evil\x1b]0;x\a\u009b31m\u202egnp\u2066\u061c\u2028\x9b"
	const name = "evil\x1b]0;x\a\u009b31m\u202egnp\u2066\u061c\u2028" // of rule files: they must be UTF-8
	const evilYAML = `evil\e]0;x\a\x9b31m\u202egnp\u2066\u061c\L`     // inside double quotes
	const evilJSON = `evil\u001b]0;x\u0007\u009b31m\u202egnp\u2066\u061c\u2028`
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		testenv.Check(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	rule := func(id, title string) string {
		return "title: \"" + title + "\"\nid: " + id + "\nstatus: test\nlevel: low\nlogsource: {product: \"" + evilYAML + "\"}\n" +
			"detection: {selection: {CommandLine|contains: \"" + evilYAML + "\"}, condition: selection}\n"
	}
	const id = "00000000-0000-4000-8000-000000000001"
	good := filepath.Dir(write("good-"+name+"/rule-"+name+".yml", strings.Replace(rule(id, evilYAML), "product: \""+evilYAML+"\"", "product: linux, category: process_creation", 1)))
	write("good-"+name+"/rule-"+name+".test.yml", "- name: \""+evilYAML+"\"\n  event: {\""+evilYAML+"\": x}\n  fires: true\n")
	bad := filepath.Dir(write("bad-"+name+"/rule-"+name+".yml", rule("\""+evilYAML+"\"", evilYAML)))
	event := `{"agent_id":"` + evilJSON + `","event_id":"` + evilJSON + `","event_type":"process","host":{"hostname":"` + evilJSON + `","os":"linux"},"process":{"action":"created","command_line":"` + evilJSON + `"}}`
	events := write("events-"+evil+".ndjson", event+"\n")
	broken := write("broken-"+evil+".ndjson", "{"+evil+"\n")
	legacyRules := write("legacy-"+evil+".json", `[{"rule_id":"`+evilJSON+`","title":"`+evilJSON+`","detection":{"`+evilJSON+`":1}}]`)

	data := filepath.Join(dir, "data")
	testenv.Check(t, os.MkdirAll(data, 0o700))
	s, err := sqlitestore.Open(dataDir(data).eventsFile(), sqlitestore.Options{})
	testenv.Check(t, err)
	_, err = s.Save(t.Context(), store.Batch{ID: "b", Events: []picket.Event{{ID: evil, AgentID: evil, Host: evil, Type: evil, Raw: []byte(event), Time: time.Now(), Received: time.Now()}}})
	testenv.Check(t, err)
	testenv.Check(t, s.AddToken(t.Context(), store.Token{ID: "1", Hash: "1", Kind: "agent", Subject: evil, Created: time.Now()}))
	_, err = s.AddAuditEntry(t.Context(), store.AuditEntry{Time: time.Now(), Actor: evil, Action: evil, Object: evil, Detail: evil})
	testenv.Check(t, err)
	testenv.Check(t, s.Close())
	q, err := sqlitequeue.Open(dataDir(data).queueFile(), sqlitequeue.Options{})
	testenv.Check(t, err)
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: evil, Agent: evil, Events: 1, Payload: []byte("x")},
		queue.DeadLetter{Reason: queue.DeadReason(evil), Cause: evil, AgentID: evil, EventID: evil, Events: 1, Time: time.Now()}))
	testenv.Check(t, q.Close())

	for _, args := range [][]string{
		{"token", "create", "--api", evil, "--role", evil, "--data", data},
		{"rules", "add", good, "--data", data},
		{"rules", "list", "--data", data},
		{"rules", "disable", "evil", "--data", data},
		{"rules", "disable", evil, "--data", data},
		{"rules", "enable", "rule-" + name, "--data", data},
		{"rules", "list", good},
		{"rules", "lint", good},
		{"rules", "lint", bad},
		{"rules", "test", good},
		{"rules", "convert", legacyRules},
		{"rules", "profile", "--rules", good, events},
		{"rules", "retro", evil, "--data", data},
		{"rules", "remove", "good-" + name, "--data", data},
		{"rules", evil},
		{"scan", "--rules", good, events},
		{"scan", "--rules", bad, events},
		{"scan", broken},
		{"scan", evil},
		{"hunt", "--data", data},
		{"queue", "dead", "--data", data},
		{"queue", "peek", "--data", data},
		{"queue", "requeue", evil, "--data", data},
		{"audit", "--data", data},
		{"audit", "--data", evil},
		{"user", "sessions", evil, "--data", data},
		{"token", "revoke", evil, "--data", data},
		{"token", "list", "--data", data},
		{"doctor", "--data", filepath.Join(dir, evil)},
		{"agent", "--token", "t", "--server", evil},
		{"agent", "--token", "t", "--source", evil},
		{"agent", "--config", evil},
		{"worker", "--queue", evil},
		{"serve", "--listen", evil, "--data", data},
		{"--" + evil},
		{evil},
	} {
		root := newRoot()
		var b bytes.Buffer
		root.SetOut(&b)
		root.SetErr(&b)
		root.SetArgs(args)
		if cmd, err := root.ExecuteContextC(t.Context()); err != nil && !errors.Is(err, errSilent) {
			printError(&b, cmd, err)
		}
		if text := b.String(); !isPrintable(text) || !strings.Contains(text, "evil") {
			t.Errorf("picket %q prints %.1000q", args, text)
		}
	}
}
