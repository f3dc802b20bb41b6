package sigma_test

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// Every item of the lists in the package comments is a whole sentence.
func TestPackageComment(t *testing.T) {
	for name, least := range map[string]int{"doc.go": 14, "correlation/doc.go": 7} {
		checkPackageComment(t, name, least)
	}
}

func checkPackageComment(t *testing.T, name string, least int) {
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	items := 0
	for _, block := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		list, ok := block.(*comment.List)
		if !ok {
			continue
		}
		for _, item := range list.Items {
			items++
			text := string(new(comment.Printer).Text(&comment.Doc{Content: item.Content}))
			if text = strings.TrimSpace(text); !strings.HasSuffix(text, ".") {
				t.Errorf("%s: an item does not end with a full stop: %s", name, text)
			}
		}
	}
	if items < least {
		t.Errorf("%s: %d items found, want at least %d", name, items, least)
	}
}
