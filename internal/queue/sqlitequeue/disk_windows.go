package sqlitequeue

import "golang.org/x/sys/windows"

// FreeDiskBytes returns how many bytes are free to this user on the disk of dir.
func FreeDiskBytes(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(free), nil
}
