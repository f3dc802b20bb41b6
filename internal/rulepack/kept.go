package rulepack

import (
	"path"
	"slices"
	"strings"
)

// leftOut reports whether a folder is none of rules to run: hidden, or one of
// those that SigmaHQ's repository has beside its rules.
func leftOut(folder string) bool {
	return strings.HasPrefix(folder, ".") && folder != "." || folder == "__MACOSX" ||
		folder == "deprecated" || folder == "unsupported" || folder == "regression_data"
}

func isRule(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return (ext == ".yml" || ext == ".yaml") && !strings.HasPrefix(path.Base(name), ".")
}

func isLicense(name string) bool {
	base := strings.ToUpper(path.Base(name))
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(s string) bool { return strings.HasPrefix(base, s) })
}

// isNotice reports whether a file says something of the rules, which must not
// be parted from them.
func isNotice(name string) bool {
	base := strings.ToLower(path.Base(name))
	return isLicense(name) || base == "readme.md" || base == "version.txt"
}
