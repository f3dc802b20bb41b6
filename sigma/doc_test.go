package sigma_test

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// Every item of the lists in the package's comment is a whole sentence.
func TestPackageComment(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
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
				t.Errorf("an item does not end with a full stop: %s", text)
			}
		}
	}
	if items < 20 {
		t.Errorf("only %d items found: this test tests nothing", items)
	}
}
