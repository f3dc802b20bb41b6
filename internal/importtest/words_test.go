package importtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// refusedWords are words that must not be part of a name, with the field's term for
// what they used to mean here.
var refusedWords = map[string]string{
	"witness": "prefilter, commitMarker", "judge": "evaluate", "judged": "evaluated", "tally": "aggregate", "stranger": "unregistered",
	"strangers": "unregistered", "hopeless": "isPermanent", "obey": "handle", "hear": "receive", "heard": "received",
	"tell": "emit, report", "telling": "eventsEnabled", "recipe": "layout", "ingredient": "field", "exotic": "nonCanonical", "spare": "pool",
	"crew": "pool, workers", "survey": "diagnose", "books": "stats", "shape": "format", "shapes": "formats", "rig": "fixture",
	"hire": "startWorker", "patience": "timeout", "anew": "again", "forget": "invalidate, delete", "dearest": "most expensive",
	"follower": "runner", "sweep": "reclaim", "homes": "targets", "figures": "statistics", "verdict": "senderAlert", "recall": "loadAttempts",
	"doubt": "markUnconfirmed", "unsure": "unconfirmed", "giveback": "release", "lent": "leased", "nameless": "synthetic",
	"letter": "deadLetter", "letters": "deadLetters",
}

// refusedPhrases are phrases that must not be in a comment.
var refusedPhrases = regexp.MustCompile(`(?i)\b(anew|seldom|dearest|for want of|hopeless|hears of|is told|tells of|reckoned|the replaced system|witness(es)?|strangers?|what (became|comes|came) of|nobody knows)\b`)

// words splits a name at its capitals and underscores.
func words(name string) []string {
	var out []string
	start := 0
	runes := []rune(name)
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || runes[i] == '_' || unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1]) {
			out = append(out, strings.ToLower(strings.Trim(string(runes[start:i]), "_")))
			start = i
		}
	}
	return out
}

// refusedNames returns what is wrong with the declared names and the comments of a
// file.
func refusedNames(fset *token.FileSet, file *ast.File) []string {
	var wrong []string
	complain := func(pos token.Pos, text string) { wrong = append(wrong, fset.Position(pos).String()+": "+text) }
	check := func(id *ast.Ident) {
		ws := words(id.Name)
		for i, w := range ws {
			if strings.HasPrefix(w, "letter") && i > 0 && ws[i-1] == "dead" {
				continue
			}
			if better, refused := refusedWords[w]; refused {
				complain(id.Pos(), "the name "+id.Name+" has the word "+w+"; better: "+better)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			check(n.Name)
		case *ast.TypeSpec:
			check(n.Name)
		case *ast.ValueSpec:
			for _, id := range n.Names {
				check(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				check(id)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					if id, ok := e.(*ast.Ident); ok {
						check(id)
					}
				}
			}
		}
		return true
	})
	for _, group := range file.Comments {
		if m := refusedPhrases.FindString(group.Text()); m != "" {
			complain(group.Pos(), "the comment says "+m)
		}
	}
	return wrong
}

// Names are the field's terms, and comments are plain English.
func TestWords(t *testing.T) {
	root := filepath.Join("..", "..")
	fset := token.NewFileSet()
	n := 0
	for _, f := range goFiles(t, os.DirFS(root)) {
		if f.dir() == "internal/importtest" {
			continue
		}
		file, err := parser.ParseFile(fset, filepath.Join(root, filepath.FromSlash(f.name)), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		n++
		for _, complaint := range refusedNames(fset, file) {
			t.Error(complaint)
		}
	}
	if n < 100 {
		t.Fatalf("only %d files found", n)
	}
}

func TestRefusedNames(t *testing.T) {
	src := `package p
type witnessFile struct{ hopeless bool; deadLetters int }
func letterOf() { dearest := 1; _ = dearest }
// It hears of nothing.
func fine(format string) {}
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if got := refusedNames(fset, file); len(got) != 5 {
		t.Errorf("%d complaints, want 5: %q", len(got), got)
	}
}
