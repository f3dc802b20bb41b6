package doctor

import (
	"context"

	"github.com/picket-edr/picket/internal/sqlitefile"
)

// repairHint is what to do about a damaged file.
const repairHint = "stop the server and its workers; picket doctor --repair saves what can be read"

// damageHint returns what to do about an error of opening or reading a file.
func damageHint(err error) string {
	if sqlitefile.IsDamage(err) {
		return repairHint
	}
	return "stop the server and copy the file away before anything else"
}

// checkPages checks the checksums of a file that this process has not open. It returns
// whether the file can be opened.
func checkPages(ctx context.Context, r *Report, check, path string) (opened bool) {
	pages, err := sqlitefile.CheckPages(ctx, path)
	switch {
	case err != nil:
		r.addFailure(check, damageHint(err), "%v", err)
		return false
	case pages.Damaged > 0:
		r.addFailure(check, repairHint, "%s: %s", path, pages.DamageText())
	case pages.Corrected > 0:
		r.addFailure(check, "check the disk and the memory of the machine; with the server and its workers stopped, picket doctor --repair rewrites the pages",
			"%s: %d of %d pages have a changed bit, which is corrected whenever they are read", path, pages.Corrected, pages.Pages)
	case !pages.Checksums && pages.Pages > 0:
		r.addWarning(check, "with the server and its workers stopped, picket doctor --repair adds them",
			"%s is of an earlier picket: its pages have no checksums, so damage may go unnoticed", path)
	}
	return true
}
