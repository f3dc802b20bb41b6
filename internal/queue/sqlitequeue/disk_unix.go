//go:build unix

package sqlitequeue

import "golang.org/x/sys/unix"

// FreeDiskBytes returns how many bytes are free to this user on the disk of dir.
func FreeDiskBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
