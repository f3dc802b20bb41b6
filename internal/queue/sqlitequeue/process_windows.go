package sqlitequeue

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/windows"
)

// pidSpaceID identifies the space in which PIDs are unique: this host.
func pidSpaceID() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// processStartTime returns the start time of a process, or "" if it does not exist.
// It returns false if that cannot be read.
func processStartTime(pid int) (startOrNone string, known bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) { // no such process
		return "", true
	}
	if err != nil {
		return "", false
	}
	defer windows.CloseHandle(h)
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return "", false
	}
	if exited.Nanoseconds() > created.Nanoseconds() { // it has ended, but another process has a handle to it
		return "", true
	}
	return strconv.FormatInt(created.Nanoseconds(), 10), true
}
