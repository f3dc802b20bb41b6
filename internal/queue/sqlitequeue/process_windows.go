package sqlitequeue

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/windows"
)

// processSpace names where a pid means one process: this machine.
func processSpace() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// processStart tells when the process pid began; "" when there is none. It
// reports false when it cannot tell.
func processStart(pid int) (string, bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) { // its word for: no such process
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
	if exited.Nanoseconds() > created.Nanoseconds() { // it has ended, and someone holds it open
		return "", true
	}
	return strconv.FormatInt(created.Nanoseconds(), 10), true
}
