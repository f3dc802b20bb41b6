package auth

import (
	"strings"
	"testing"
)

// The hash that is checked for unknown users costs as much as that of a password,
// and no password matches it.
func TestDecoyCost(t *testing.T) {
	phc, err := HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	cost := func(phc string) string { return strings.Join(strings.Split(phc, "$")[:4], "$") }
	size := func(phc string, part int) int { return len(strings.Split(phc, "$")[part]) }
	if cost(decoyPasswordHash) != cost(phc) || size(decoyPasswordHash, 5) != size(phc, 5) || size(decoyPasswordHash, 4) != size(phc, 4) {
		t.Errorf("the decoy is %s, a hash %s", decoyPasswordHash, phc)
	}
	if passwordMatches(decoyPasswordHash, "") || passwordMatches(decoyPasswordHash, "correct horse battery") {
		t.Error("the decoy has a password")
	}
}
