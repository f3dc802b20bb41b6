package doctor

import (
	"os"
	"runtime"
)

// CheckDisk checks the data directory and its free space, which freeDisk returns in
// bytes. needed is false if the queue and the store are remote: only a server
// needs the directory then. With less than minFree bytes a server refuses telemetry.
func CheckDisk(r *Report, dir string, needed bool, minFree int64, freeDisk func(dir string) (int64, error)) {
	info, err := os.Stat(dir)
	if err != nil && !needed {
		r.addOK("disk", "no data directory at %s; only a server needs one", dir)
		return
	}
	if err != nil {
		r.addFailure("disk", "picket serve makes it at its first start; or give --data", "no data directory at %s", dir)
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		r.addFailure("disk", "chmod 700 "+dir, "%s can be read by others", dir)
	}
	free, err := freeDisk(dir)
	switch {
	case err != nil:
		r.addFailure("disk", "", "free space of %s: %v", dir, err)
	case free < minFree:
		r.addFailure("disk", "make room, or set --retention-bytes", "%d MiB free, and --min-free-disk is %d MiB: telemetry is refused", free>>20, minFree>>20)
	case free < 1<<30:
		r.addFailure("disk", "make room, or set --retention-bytes", "%d MiB free", free>>20)
	default:
		r.addOK("disk", "%d GiB free under %s", free>>30, dir)
	}
}
