package sqlitequeue

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// processSpace names where a pid means one process: this boot of this
// machine's kernel, and in it the pid namespace. "" when it cannot be told.
func processSpace() string {
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

// processStart tells when the process pid began, in the kernel's own way; ""
// when there is none. It reports false when it cannot tell.
func processStart(pid int) (string, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		_, err := os.Stat("/proc/self/stat")
		return "", err == nil
	}
	if err != nil {
		return "", false
	}
	// The name, second, is in parentheses and may hold spaces; the start is
	// the 22nd field. A zombie has ended.
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
