package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// tokenFlags are --token and --token-file.
type tokenFlags struct{ token, file string }

// addTokenFlags adds --token, which is for what usage says, and --token-file.
func addTokenFlags(cmd *cobra.Command, f *tokenFlags, usage string) {
	cmd.Flags().StringVar(&f.token, "token", "", usage)
	cmd.Flags().StringVar(&f.file, "token-file", "", "`FILE` with the token, which only its user should be able to read (mode 0600)")
}

// maxTokenFile bounds a token file, in case --token-file names another.
const maxTokenFile = 1 << 10

// read returns the token, "" if neither flag is given.
func (f tokenFlags) read() (string, error) {
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
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return "", fmt.Errorf("read --token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxTokenFile || strings.ContainsAny(token, " \t\r\n") {
		return "", hinted(fmt.Errorf("read --token-file: %s does not hold one token", f.file), "write what picket token create prints into the file, and nothing else")
	}
	return token, nil
}
