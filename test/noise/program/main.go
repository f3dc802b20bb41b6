// Command program stands for programs that a test machine does not have, such as
// servers: copies of it have their paths. It runs the command in the variable
// NOISE_CHILD, whose arguments are separated by the control character US, or nothing.
package main

import (
	"os"
	"os/exec"
	"strings"
)

func main() {
	args := strings.Split(os.Getenv("NOISE_CHILD"), "\x1f")
	os.Unsetenv("NOISE_CHILD")
	if args[0] == "" {
		return
	}
	cmd := exec.Command(strings.TrimPrefix(args[0], "-")) // the name of a login shell starts with a dash
	cmd.Args, cmd.Stdin, cmd.Stdout, cmd.Stderr = args, os.Stdin, os.Stdout, os.Stderr
	if cmd.Run() != nil {
		os.Exit(1)
	}
}
