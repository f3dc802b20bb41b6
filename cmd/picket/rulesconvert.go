package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/legacy/ruleconvert"
)

// maxLegacyRulesBytes bounds a file of legacy rules in bytes.
const maxLegacyRulesBytes = 64 << 20

func newRulesConvert() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert FILE|DIR|-",
		Short: "Convert the legacy system's JSON rules to Sigma",
		Long: `Converts the JSON rules of the legacy Django system to Sigma rules. The input is one
object or several, an array, a Django dump (dumpdata) or a MongoDB export
(mongoexport). - is standard input. Of a directory, the .json, .jsonl and .ndjson
files are read.

A rule that cannot be converted exactly is reported with the reason. The others
are converted, and the exit status is 1.`,
		Example: `  mongoexport --db edr --collection detection_rules | picket rules convert - --out rules
  picket rules add rules --name mine`,
		Args: cobra.ExactArgs(1),
	}
	out := cmd.Flags().String("out", "", "write a file a rule into `DIR`, made if need be; default one stream to standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		files, err := findDumpFiles(args[0])
		if err != nil {
			return withHint(fmt.Errorf("convert rules: %w", err), "give a file of JSON, a directory of them, or -")
		}
		w := ruleWriter{cmd: cmd, dir: *out, from: make(map[string]string), taken: make(map[string]bool)}
		for _, name := range files {
			data, err := readDump(cmd.InOrStdin(), name)
			if err != nil {
				return fmt.Errorf("convert rules: %w", err)
			}
			rules, errs := ruleconvert.ConvertJSON(data)
			for _, e := range errs {
				w.reportFailure(name, e)
			}
			for _, r := range rules {
				if first, ok := w.from[r.LegacyID]; ok {
					w.reportFailure(name, &ruleconvert.Error{Rule: r.LegacyID, Reason: "there is another of this id in " + first + ", which is converted"})
					continue
				}
				w.from[r.LegacyID] = name
				if err := w.write(r); err != nil {
					return err
				}
			}
		}
		fprintfPrintable(cmd.ErrOrStderr(), "%s converted, %d not\n", quantity(w.written, "rule"), w.failed)
		if w.failed > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

// findDumpFiles returns the files that an argument names.
func findDumpFiles(arg string) ([]string, error) {
	if arg == "-" {
		return []string{arg}, nil
	}
	if info, err := os.Stat(arg); err != nil || !info.IsDir() {
		return []string{arg}, err
	}
	var files []string
	err := filepath.WalkDir(arg, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{".json", ".jsonl", ".ndjson"}, strings.ToLower(filepath.Ext(name))) {
			files = append(files, name)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no .json, .jsonl or .ndjson files in %s", arg)
	}
	return files, err
}

func readDump(stdin io.Reader, name string) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxLegacyRulesBytes+1))
	if err == nil && len(data) > maxLegacyRulesBytes {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxLegacyRulesBytes)
	}
	return data, err
}

// A ruleWriter writes converted rules to standard output or to a directory.
type ruleWriter struct {
	cmd             *cobra.Command
	dir             string
	from            map[string]string // files by the ids of their rules
	taken           map[string]bool   // file names in dir
	written, failed int
}

func (w *ruleWriter) reportFailure(file string, err *ruleconvert.Error) {
	w.failed++
	fprintfPrintable(w.cmd.ErrOrStderr(), "picket: rule not converted: %s: %s\n", file, err.Error())
}

func (w *ruleWriter) write(r ruleconvert.ConvertedRule) error {
	for _, note := range r.Notes {
		fprintfPrintable(w.cmd.ErrOrStderr(), "picket: note: %s: %s\n", r.LegacyID, note)
	}
	w.written++
	if w.dir == "" {
		if w.written > 1 {
			fprintfPrintable(w.cmd.OutOrStdout(), "---\n")
		}
		_, err := w.cmd.OutOrStdout().Write(r.YAML)
		return err
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return fmt.Errorf("convert rules: %w", err)
	}
	name := r.Name + ".yml"
	for n := 2; w.taken[name]; n++ { // a rule of another file has the name
		name = fmt.Sprintf("%s-%d.yml", r.Name, n)
	}
	w.taken[name] = true
	return createRuleFile(filepath.Join(w.dir, name), r.YAML)
}

// createRuleFile writes a file, unless it exists with another content.
func createRuleFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		if there, readErr := os.ReadFile(name); readErr == nil && bytes.Equal(there, data) {
			return nil
		}
		return withHint(fmt.Errorf("convert rules: %s is there already, and is another", name), "give --out a new directory")
	}
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("convert rules: %w", err)
	}
	return nil
}
