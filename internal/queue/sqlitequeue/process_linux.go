package sqlitequeue

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pidSpaceID identifies the space in which PIDs are unique: this boot of the
// kernel and this PID namespace. It returns "" if they cannot be read.
func pidSpaceID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + ns
}

// processStartTime returns the start time of a process in clock ticks since boot, or
// "" if it does not exist. It returns false if that cannot be read.
func processStartTime(pid int) (startOrNone string, known bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		_, err := os.Stat("/proc/self/stat")
		return "", err == nil
	}
	if err != nil {
		return "", false
	}
	// The second field, the name, is in parentheses and may contain spaces. The
	// start time is field 22. A zombie has ended.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	f := strings.Fields(rest)
	if len(f) < 20 {
		return "", false
	}
	if f[0] == "Z" || f[0] == "X" {
		return "", true
	}
	return f[19], true
}
