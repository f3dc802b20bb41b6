package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// tokenOrFileFlags are --token and --token-file.
type tokenOrFileFlags struct{ token, file string }

// addTokenOrFileFlags adds --token, which is for what usage says, and --token-file.
func addTokenOrFileFlags(cmd *cobra.Command, f *tokenOrFileFlags, usage string) {
	cmd.Flags().StringVar(&f.token, "token", "", usage)
	cmd.Flags().StringVar(&f.file, "token-file", "", "`FILE` with the token, which only its user should be able to read (mode 0600)")
}

// maxTokenFileBytes bounds a token file, in case --token-file names another.
const maxTokenFileBytes = 1 << 10

// fileIsReadableByOthers reports whether --token-file is given and every user can read it.
func (f tokenOrFileFlags) fileIsReadableByOthers() (bool, error) {
	if f.file == "" || runtime.GOOS == "windows" {
		return false, nil
	}
	info, err := os.Stat(f.file)
	return err == nil && info.Mode().Perm()&0o004 != 0, err
}

// optionalToken returns the token, "" if neither flag is given.
func (f tokenOrFileFlags) optionalToken() (string, error) {
	switch {
	case f.file == "":
		return f.token, nil
	case f.token != "":
		return "", usagef("give --token or --token-file, not both")
	}
	file, err := os.Open(f.file)
	if err != nil {
		return "", fmt.Errorf("read --token-file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFileBytes+1))
	if err != nil {
		return "", fmt.Errorf("read --token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxTokenFileBytes || strings.ContainsAny(token, " \t\r\n") {
		return "", withHint(fmt.Errorf("read --token-file: %s does not hold one token", f.file), "write what picket token create prints into the file, and nothing else")
	}
	return token, nil
}
