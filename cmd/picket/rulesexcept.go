package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/timetext"
	"github.com/picket-edr/picket/sigma/lint"
)

// exceptFlags are the flags of picket rules except.
type exceptFlags struct {
	hosts, fields []string
	until, reason string
}

func newRulesExcept() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "except RULE --until TIME --reason TEXT [--host HOST]... [--field NAME=VALUE]...",
		Short: "Except hosts or values from a rule until a time; a running server applies it",
		Long: `Writes a Sigma filter into the server's data directory: until a time, the rule does not
fire on events of these hosts that also have these values. Says which of the rule's
newest 1,000 stored matches it would have hidden. To end an exception early, disable
its id with picket rules disable, or delete its file.`,
		Example: `  picket rules except 'picket Works: the First Alert' --host build-1 --until 30d --reason 'test machine'
  picket rules except 9b170e7e-feb7-517f-ad35-a5179b0a1d0e --field 'Image=C:\Tools\*' --until 2027-06-01 --reason INC-7 --dry-run`,
		Args: cobra.ExactArgs(1),
	}
	location := addRulesAndStoreFlags(cmd)
	var f exceptFlags
	cmd.Flags().StringArrayVar(&f.hosts, "host", nil, "except events of `HOST` (repeatable)")
	cmd.Flags().StringArrayVar(&f.fields, "field", nil, "except events whose field NAME is VALUE, which may have wildcards: `NAME=VALUE` (repeatable; all must hold)")
	cmd.Flags().StringVar(&f.until, "until", "", "when the exception ends: a duration such as 30d, a date, or never: `TIME`")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for those who come later: `TEXT`")
	dryRun := cmd.Flags().Bool("dry-run", false, "only say what it would have hidden, and print the filter")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := location.loadFromDataDir()
		if err != nil {
			return err
		}
		r, err := in.findFor("except", args[0])
		if err != nil {
			return err
		}
		id, expires, text, err := f.filter(r, time.Now())
		if err != nil {
			return err
		}
		var p exceptionPreview
		if err := location.withStore(cmd, func(s store.Store) error {
			p, err = previewException(cmd.Context(), s, in.sources, r.ID, text)
			return err
		}); err != nil {
			return err
		}
		file := filepath.Join(in.dir.exceptionDir(), id+".yml")
		if !*dryRun {
			err := os.MkdirAll(in.dir.exceptionDir(), 0o700)
			if err == nil {
				err = replaceFile(file, text)
			}
			if err != nil {
				return withFileHint(fmt.Errorf("write exception: %w", err))
			}
			location.recordChanges(cmd, "rule.except", fmt.Sprintf("rule=%s hosts=%q fields=%q until=%s reason=%q", r.ID, f.hosts, f.fields, cmp.Or(expires, "never"), f.reason), id)
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]any{"id": id, "rule_id": r.ID, "file": file, "written": !*dryRun, "matches": p.matches, "hidden": p.hidden, "filter": string(text)})
		}
		for _, name := range f.fieldNames() {
			if p.matches > 0 && !p.fields[name] {
				fprintfPrintable(cmd.ErrOrStderr(), "picket: note: %s: no event of these matches has this field%s\n", name, p.suggestField(name))
			}
		}
		if p.matches > 0 && p.hidden == 0 {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: warning: the exception would have hidden none of the stored matches; hosts and values are compared as a whole, with * and ? as wildcards\n")
		}
		fprintfPrintable(cmd.OutOrStdout(), "would have hidden %d of the newest %s of %s\n", p.hidden, quantity(p.matches, "stored match"), r.Title)
		if *dryRun {
			return printLines(cmd.OutOrStdout(), string(text))
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "exception %s is in %s\n", id, file)
		return err
	}
	return cmd
}

// filter returns the id, the end ("" for never) and the text of the Sigma filter for a rule.
func (f *exceptFlags) filter(r ruleset.RuleInfo, now time.Time) (id, expires string, text []byte, err error) {
	_, ofSender := normalize.SenderRuleTitle(r.ID)
	switch {
	case ofSender:
		return "", "", nil, withHint(fmt.Errorf("except rule %q: alerts that a sender raised cannot have exceptions", r.ID),
			"write the exception in the sender's own rules; picket rules disable disables the alerts here")
	case r.Kind.String() != "rule":
		return "", "", nil, withHint(fmt.Errorf("except %s %s: only rules can have exceptions", r.Kind, r.ID), "except the rules that a correlation refers to")
	case len(f.hosts)+len(f.fields) == 0:
		return "", "", nil, usagef("except: give a --host or a --field; picket rules disable disables a rule altogether")
	case f.until == "" || strings.TrimSpace(f.reason) == "":
		return "", "", nil, usagef("except: give --until and --reason")
	}
	expires, err = parseUntil(f.until, now)
	if err != nil {
		return "", "", nil, err
	}
	searches := yaml.Node{Kind: yaml.MappingNode}
	add := func(key string, value any) error {
		var k, v yaml.Node
		if err := errors.Join(k.Encode(key), v.Encode(value)); err != nil {
			return err
		}
		searches.Content = append(searches.Content, &k, &v)
		return nil
	}
	condition := "not values"
	err = add("rules", []string{r.ID})
	if len(f.hosts) > 0 {
		err = errors.Join(err, add("host", map[string][]string{normalize.HostField: hostPatterns(f.hosts)}))
		condition = "not host"
	}
	if len(f.fields) > 0 {
		values := make(map[string][]string)
		for _, field := range f.fields {
			name, value, ok := strings.Cut(field, "=")
			if !ok || name == "" {
				return "", "", nil, usagef("except: --field %q is not NAME=VALUE", field)
			}
			values[name] = append(values[name], value)
		}
		err = errors.Join(err, add("values", values))
		if len(f.hosts) > 0 {
			condition = "not (host and values)"
		}
	}
	if err = errors.Join(err, add("condition", condition)); err != nil {
		return "", "", nil, err
	}
	id = uuid.NewString()
	source := make(map[string]string)
	for part, value := range map[string]string{"product": r.LogSource.Product, "category": r.LogSource.Category, "service": r.LogSource.Service} {
		if value != "" {
			source[part] = value
		}
	}
	text, err = yaml.Marshal(struct {
		Title       string            `yaml:"title"`
		ID          string            `yaml:"id"`
		Status      string            `yaml:"status"`
		Description string            `yaml:"description"`
		Author      string            `yaml:"author"`
		Date        string            `yaml:"date"`
		Expires     string            `yaml:"expires,omitempty"`
		LogSource   map[string]string `yaml:"logsource"`
		Filter      *yaml.Node        `yaml:"filter"`
	}{"Exception: " + r.Title, id, "stable", f.reason, userName(), now.UTC().Format(time.DateOnly), expires, source, &searches})
	return id, expires, text, err
}

// fieldNames returns the names of the fields that the exception compares.
func (f *exceptFlags) fieldNames() (names []string) {
	for _, field := range f.fields {
		name, _, _ := strings.Cut(field, "=")
		names = append(names, name)
	}
	return names
}

// hostPatterns returns the values of a search that holds for the hosts, with or without a
// domain.
func hostPatterns(hosts []string) (patterns []string) {
	for _, h := range hosts {
		h = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(h)
		patterns = append(patterns, h)
		if !strings.Contains(h, ".") {
			patterns = append(patterns, h+".*")
		}
	}
	return patterns
}

// parseUntil returns the end of an exception in RFC 3339, "" for never.
func parseUntil(text string, now time.Time) (string, error) {
	if text == "never" {
		return "", nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		d, durationErr := timetext.ParseDuration(text)
		if durationErr != nil {
			return "", usagef("except: --until %q is no duration such as 30d, no date such as 2026-12-31, and not never", text)
		}
		t = now.Add(d)
	}
	if !t.After(now) {
		return "", usagef("except: --until %s has passed", text)
	}
	return t.UTC().Format(time.RFC3339), nil
}

// An exceptionPreview counts the stored matches of a rule, and those that an exception
// would have hidden.
type exceptionPreview struct {
	matches, hidden int
	fields          map[string]bool // names of those of the events
}

// maxPreviewFields bounds exceptionPreview.fields.
const maxPreviewFields = 100_000

// suggestField returns the name of a field that the events have and that was probably meant.
func (p *exceptionPreview) suggestField(name string) string {
	if near := lint.NearestName(name, slices.Sorted(maps.Keys(p.fields))); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// maxReevaluatedMatches is how many matches, the newest, a preview looks at.
const maxReevaluatedMatches = 1000

// previewException evaluates a rule again, with the exception, on the events of its
// stored matches.
func previewException(ctx context.Context, s store.Store, sources []ruleset.Source, ruleID string, exception []byte) (p exceptionPreview, err error) {
	dir, err := os.MkdirTemp("", "picket-exception")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "exception.yml"), exception, 0o600); err != nil {
		return p, err
	}
	set, err := ruleset.Load(append(sources[:len(sources):len(sources)], ruleset.Source{Name: dir}), nil)
	if err != nil {
		return p, err
	}
	for _, problem := range set.Problems {
		if strings.HasPrefix(problem.File, dir) {
			return p, fmt.Errorf("the exception is not valid: %s", cmp.Or(problem.Reason, problem.Hint))
		}
	}
	detector := detect.NewEngine(set.Rules, nil).NewDetector()
	p.fields = map[string]bool{normalize.HostField: true}
	q := store.MatchQuery{RuleID: ruleID, Limit: maxReevaluatedMatches}
	for p.matches < maxReevaluatedMatches {
		page, err := s.Matches(ctx, q)
		if err != nil {
			return p, err
		}
		for i := range page.Matches {
			m := &page.Matches[i]
			ev, err := s.Event(ctx, store.NewEventRef(m.EventID, m.EventNamespace))
			if errors.Is(err, picket.ErrNotFound) {
				continue // deleted by retention
			}
			if err != nil {
				return p, err
			}
			events := []picket.Event{ev}
			found, err := detector.Detect(events)
			if err != nil {
				return p, err
			}
			for _, f := range events[0].Fields {
				if len(p.fields) < maxPreviewFields {
					p.fields[strings.Clone(f.Name)] = true
				}
			}
			p.matches++
			if !hasRule(found, ruleID) {
				p.hidden++
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	return p, nil
}

func hasRule(matches []picket.Match, ruleID string) bool {
	for i := range matches {
		if matches[i].RuleID == ruleID {
			return true
		}
	}
	return false
}
