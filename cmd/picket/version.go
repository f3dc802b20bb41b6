package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker in releases.
var (
	version = "0.1.0-dev"
	commit  = ""
)

// vcsRevision returns the commit that the binary was built from, "" if unknown.
func vcsRevision() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if rev == "" {
		return ""
	}
	return rev[:min(12, len(rev))] + dirty
}

// versionLine returns the output of picket version.
func versionLine() string {
	rev := vcsRevision()
	if rev == "" {
		rev = "unknown commit"
	}
	return fmt.Sprintf("picket %s (%s, %s, %s/%s)\n", version, rev, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version, the commit and the Go it was built with", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]string{
				"version": version, "commit": vcsRevision(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		_, err := io.WriteString(cmd.OutOrStdout(), versionLine())
		return err
	}
	return cmd
}
