// Package suggest finds the known word that a misspelt one was meant to be.
package suggest

import "strings"

// DidYouMean returns a hint at the known word that is most similar to word, or
// otherwise if none is similar.
func DidYouMean(word string, known []string, otherwise string) string {
	if best := Nearest(word, known); best != "" {
		return "did you mean " + best + "?"
	}
	return otherwise
}

// Nearest returns the known word that is most similar to word, "" if none is
// similar.
func Nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if Similar(word, k) {
			if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < least {
				best, least = k, d
			}
		}
	}
	return best
}

// Similar reports whether two words, ignoring case, are at most two edits
// apart, and fewer than half as many as the longer word has letters.
func Similar(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if max(len(a), len(b)) > 64 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return false
	}
	return editDistance(a, b) <= min(2, (max(len(a), len(b))-1)/2)
}

// editDistance is the optimal string alignment distance: how many letters must be
// inserted, deleted, replaced or swapped with the next to turn a into b.
func editDistance(a, b string) int {
	var before, last []int
	for i := 0; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				row[j] = j
				continue
			}
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
