package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/internal/scanreport"
	"github.com/picket-edr/picket/internal/timetext"
	"github.com/picket-edr/picket/sigma"
)

// reportFlags say which matches of a scan are reported, and as what.
type reportFlags struct {
	format, output, columns, zone, summary, html, navigator string
	since, until, minLevel                                  string
	levels                                                  []string
	excludedRules, levelsFile                               string
	failOnMatch                                             bool
	filter                                                  scanreport.Filter
}

func (f *reportFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "write the matches sorted by time, in `FORMAT` "+strings.Join(scanreport.Formats(), ", "))
	fl.StringVarP(&f.output, "output", "o", "", "write what --format says to `FILE`")
	fl.StringVar(&f.columns, "columns", "standard", "of --format and --html: `PROFILE` minimal, standard or verbose, or a YAML file with a list of columns")
	fl.StringVar(&f.zone, "timezone", "UTC", "`ZONE` of the times of --format, --html and the summary: UTC, local, or a name such as Europe/Berlin")
	fl.StringVar(&f.summary, "summary", "", "end with a summary as `FORM` text, json or none (default text, none with --json)")
	fl.StringVar(&f.html, "html", "", "write one page of HTML with the summary and the timeline to `FILE`")
	fl.StringVar(&f.navigator, "navigator", "", "write a layer for the ATT&CK Navigator with the techniques that were found to `FILE`")
	fl.StringVar(&f.since, "since", "", "only events from `TIME` on: an age such as 30d, a date, or RFC 3339")
	fl.StringVar(&f.until, "until", "", "only events before `TIME`")
	fl.StringVar(&f.minLevel, "min-level", "informational", "only matches of this `LEVEL` and above")
	fl.StringSliceVar(&f.levels, "level", nil, "only matches of this `LEVEL` (repeatable)")
	fl.StringSliceVar(&f.filter.Statuses, "status", nil, "only rules of this `STATUS`, such as stable (repeatable)")
	fl.StringSliceVar(&f.filter.Tags, "tag", nil, "only rules with this `TAG`, such as t1059* or attack.execution (repeatable)")
	fl.StringArrayVar(&f.filter.Rules, "rule", nil, "only this `RULE`, by id or title, with * and ? (repeatable)")
	fl.StringSliceVar(&f.filter.Categories, "category", nil, "only rules for this `LOGSOURCE`: a category, a service, or windows/process_creation (repeatable)")
	fl.StringSliceVar(&f.filter.EventIDs, "event-id", nil, "only events with this Windows event `ID` (repeatable)")
	fl.StringSliceVar(&f.filter.Hosts, "host", nil, "only events of this `HOST`, with * and ? (repeatable)")
	fl.StringVar(&f.excludedRules, "exclude-rules", "", "leave out the rules whose ids `FILE` lists, one a line")
	fl.StringVar(&f.levelsFile, "levels-file", "", "`FILE` of YAML with the level that a rule has instead of its own, by id")
	fl.BoolVar(&f.failOnMatch, "fail-on-match", false, "exit with 3 if there is a match")
	for _, name := range []string{"min-level", "level"} {
		completeFlag(cmd, name, "informational", "low", "medium", "high", "critical")
	}
	completeFlag(cmd, "format", scanreport.Formats()...)
}

// options checks the flags and returns the options of the report but for its rules.
func (f *reportFlags) options(now time.Time) (o scanreport.Options, err error) {
	switch {
	case f.output != "" && f.format == "":
		return o, usagef("--output: say --format too")
	case f.format != "" && !slices.Contains(scanreport.Formats(), f.format):
		return o, usagef("--format %q is none of %s", f.format, strings.Join(scanreport.Formats(), ", "))
	case !slices.Contains([]string{"", "text", "json", "none"}, f.summary):
		return o, usagef("--summary %q is none of text, json, none", f.summary)
	}
	if f.filter.MinLevel, err = sigma.ParseLevel(f.minLevel); err != nil {
		return o, usagef("--min-level: %w", err)
	}
	for _, text := range f.levels {
		level, err := sigma.ParseLevel(text)
		if err != nil {
			return o, usagef("--level: %w", err)
		}
		f.filter.ExactLevels = append(f.filter.ExactLevels, level)
	}
	if o.Location, err = time.LoadLocation(zoneName(f.zone)); err != nil {
		return o, usagef("--timezone %q: %w", f.zone, err)
	}
	for _, t := range []struct {
		flag, text string
		time       *time.Time
	}{{"since", f.since, &f.filter.Since}, {"until", f.until, &f.filter.Until}} {
		if t.text == "" {
			continue
		}
		if *t.time, err = timetext.ParseTime(t.text, now.In(o.Location)); err != nil {
			return o, usagef("--%s: %w", t.flag, err)
		}
	}
	if o.Columns, err = readColumns(f.columns); err != nil {
		return o, err
	}
	if f.filter.Excluded, err = readExcludedRules(f.excludedRules); err != nil {
		return o, err
	}
	if f.filter.Levels, err = readLevels(f.levelsFile); err != nil {
		return o, err
	}
	o.Filter = f.filter
	return o, nil
}

func zoneName(flag string) string {
	if strings.EqualFold(flag, "local") {
		return "Local"
	}
	return flag
}

// readColumns returns the columns of a profile or of a file with a list of them.
func readColumns(profileOrFile string) ([]string, error) {
	if columns, ok := scanreport.Profile(profileOrFile); ok {
		return columns, nil
	}
	var columns []string
	if err := readYAMLFile(profileOrFile, &columns); err != nil {
		return nil, withHint(fmt.Errorf("read --columns: %w", err), "give minimal, standard, verbose, or a YAML file with a list, as in [time, level, title, CommandLine]")
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("read --columns: %s lists no columns", profileOrFile)
	}
	return columns, nil
}

// readLevels returns the levels that a file gives to rules; none without a file.
func readLevels(file string) (map[string]sigma.Level, error) {
	levels := make(map[string]sigma.Level)
	if file == "" {
		return levels, nil
	}
	if err := readYAMLFile(file, &levels); err != nil {
		return nil, fmt.Errorf("read --levels-file: %w", err)
	}
	return levels, nil
}

// readYAMLFile decodes a file into v.
func readYAMLFile(file string, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// readExcludedRules returns the ids in a file, one a line, with comments behind #; none
// without a file.
func readExcludedRules(file string) (map[string]bool, error) {
	ids := make(map[string]bool)
	if file == "" {
		return ids, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read --exclude-rules: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		id, _, _ := strings.Cut(lines.Text(), "#")
		if id = strings.TrimSpace(id); id != "" {
			ids[id] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read --exclude-rules %s: %w", file, err)
	}
	return ids, nil
}

// keepsRows reports whether something needs the matches once all are known.
func (f *reportFlags) keepsRows() bool { return f.format != "" || f.html != "" }

// write writes what the flags name, once the scan has ended.
func (f *reportFlags) write(r *scanreport.Report, stdout, stderr io.Writer, asJSON bool) (err error) {
	var files []*outputFile
	defer func() {
		for _, file := range files {
			err = errors.Join(err, file.finish(err))
		}
	}()
	create := func(name string) (io.Writer, error) {
		file, err := createOutputFile(name)
		if err == nil {
			files = append(files, file)
		}
		return file, err
	}
	var writers []scanreport.RowWriter
	if f.format != "" {
		to := stdout
		if f.output != "" {
			if to, err = create(f.output); err != nil {
				return err
			}
		}
		rows, err := r.NewRowWriter(f.format, to)
		if err != nil {
			return err
		}
		writers = append(writers, rows)
	}
	if f.html != "" {
		page, err := create(f.html)
		if err != nil {
			return err
		}
		writers = append(writers, r.NewHTMLPage(page))
	}
	if len(writers) > 0 {
		if err := r.WriteRows(writers...); err != nil {
			return err
		}
	}
	if f.navigator != "" {
		layer, err := create(f.navigator)
		if err != nil {
			return err
		}
		if err := r.Summary.WriteNavigatorLayer(layer); err != nil {
			return err
		}
	}
	to := stderr // standard output has the matches
	if f.output != "" {
		to = stdout
	}
	return f.writeSummary(&r.Summary, to, asJSON)
}

func (f *reportFlags) writeSummary(s *scanreport.Summary, w io.Writer, asJSON bool) error {
	switch f.summary {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(s.JSON())
	case "text", "":
		if f.summary == "" && (asJSON || s.Matches == 0) {
			return nil
		}
		return s.Write(w)
	}
	return nil
}

// An outputFile is a file that takes its name once it is complete.
type outputFile struct {
	*os.File
	name string
}

func createOutputFile(name string) (*outputFile, error) {
	f, err := os.OpenFile(name+".partial", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	return &outputFile{f, name}, nil
}

// finish closes the file, which is removed after a failure.
func (f *outputFile) finish(failure error) error {
	if err := f.Close(); failure == nil && err == nil {
		return os.Rename(f.Name(), f.name)
	} else {
		return errors.Join(err, os.Remove(f.Name()))
	}
}
