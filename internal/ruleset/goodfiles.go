package ruleset

import (
	"bytes"
	"time"
)

// maxGoodFileBytes bounds the memory of goodFiles.
const maxGoodFileBytes = 32 << 20

// goodFiles has the last version without problems of each rule file, so that a mistake
// in a rule does not end its protection.
type goodFiles struct {
	data  map[string][]byte // by name
	bytes int
}

// update takes the files that have no problems, and forgets those that no longer exist.
func (g *goodFiles) update(files []ruleFile, problems []Problem) {
	broken := filesOf(problems)
	kept := goodFiles{data: make(map[string][]byte)}
	for _, f := range files {
		data := f.Data
		if broken[f.Name] {
			data = g.data[f.Name]
		}
		if data != nil && f.InPack != "builtin" && kept.bytes+len(data) <= maxGoodFileBytes {
			kept.data[f.Name] = data
			kept.bytes += len(data)
		}
	}
	*g = kept
}

// replaceBroken returns the files with the last good version of those that have
// problems, and the names of the replaced ones.
func (g *goodFiles) replaceBroken(files []ruleFile, problems []Problem) (replaced []ruleFile, names map[string]bool) {
	broken := filesOf(problems)
	names = make(map[string]bool)
	for _, f := range files {
		if data, ok := g.data[f.Name]; ok && broken[f.Name] && !bytes.Equal(data, f.Data) {
			f.Data, names[f.Name] = data, true
		}
		replaced = append(replaced, f)
	}
	return replaced, names
}

// compileWithGood compiles files, those with problems in their last good version if there
// is one. It returns the files that it compiled.
func (g *goodFiles) compileWithGood(files []ruleFile, disabled map[string]bool, now time.Time) (LoadedRules, []ruleFile, error) {
	set, err := compileFiles(files, disabled, now)
	if err != nil {
		return set, nil, err
	}
	problems := set.Problems
	compiled, replaced := g.replaceBroken(files, problems)
	if len(replaced) > 0 {
		if set, err = compileFiles(compiled, disabled, now); err != nil {
			return set, nil, err
		}
		for _, p := range problems {
			if replaced[p.File] {
				p.RunsEarlierVersion = true
				set.Problems = append(set.Problems, p)
			}
		}
	}
	g.update(files, problems)
	return set, compiled, nil
}

func filesOf(problems []Problem) map[string]bool {
	names := make(map[string]bool)
	for _, p := range problems {
		names[p.File] = true
	}
	return names
}
