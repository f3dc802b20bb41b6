package ruleset

import (
	"path"
	"slices"
	"strings"
)

// isExcludedDir reports whether a directory is skipped: hidden ones, and those of
// SigmaHQ's repository that hold no rules to run.
func isExcludedDir(folder string) bool {
	return strings.HasPrefix(folder, ".") && folder != "." || folder == "__MACOSX" ||
		folder == "deprecated" || folder == "unsupported" || folder == "regression_data"
}

func isRuleFile(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return (ext == ".yml" || ext == ".yaml") && !strings.HasPrefix(path.Base(name), ".")
}

func isLicenseFile(name string) bool {
	base := strings.ToUpper(path.Base(name))
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(s string) bool { return strings.HasPrefix(base, s) })
}

// isLicenseOrReadme reports whether a file is a license, a README or a version file, which
// stay with the rules.
func isLicenseOrReadme(name string) bool {
	base := strings.ToLower(path.Base(name))
	return isLicenseFile(name) || base == "readme.md" || base == "version.txt"
}
