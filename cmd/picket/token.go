package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/store"
)

func newToken() *cobra.Command {
	return newGroup("token", "Create, list, bind and revoke the tokens of agents, collectors and programs",
		newTokenCreate(), newTokenList(), newTokenBind(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --agent ID [--host HOST | --any-host] | --collector NAME | --api NAME --role ROLE",
		Short: "Create a token; its secret is shown only now",
		Args:  cobra.NoArgs,
	}
	location := addStoreFlags(cmd)
	agent := cmd.Flags().String("agent", "", "a token that posts telemetry as the agent `ID` only")
	host := cmd.Flags().String("host", "", "the `HOST` of the agent; default: the first one that its events name")
	anyHost := cmd.Flags().Bool("any-host", false, "let the agent post events of any host, as one that reads forwarded events must")
	collector := cmd.Flags().String("collector", "", "a token for a forwarder `NAME` that posts telemetry of any agent")
	api := cmd.Flags().String("api", "", "a token for a program `NAME` that reads and acts")
	role := cmd.Flags().String("role", "", "`ROLE` of an --api token: viewer, analyst or admin")
	completeFlag(cmd, "role", auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kind, subject, given := "", "", 0
		for k, v := range map[string]string{auth.KindAgent: *agent, auth.KindCollector: *collector, auth.KindAPI: *api} {
			if v != "" {
				kind, subject = k, v
				given++
			}
		}
		if given != 1 {
			return usagef("create token: give one of --agent, --collector and --api")
		}
		if (kind == auth.KindAPI) != (*role != "") {
			return usagef("create token: --role goes with --api, and --api with --role")
		}
		if (*host != "" || *anyHost) && kind != auth.KindAgent {
			return usagef("create token: --host and --any-host go with --agent")
		}
		t, secret, err := auth.NewToken(kind, subject, *role, time.Now())
		if err != nil {
			return err
		}
		if t.Host, err = tokenHostFromFlags(*host, *anyHost); err != nil {
			return err
		}
		s, err := location.openOrCreate(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := printSameSubject(cmd, s, t); err != nil {
			return err
		}
		if err := s.AddToken(cmd.Context(), t); err != nil {
			return err
		}
		if err := addCLIAuditEntry(cmd, s, "token.create", t.ID, kind+":"+subject); err != nil {
			return err
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]any{"token": secret, "id": t.ID, "kind": kind, "subject": subject, "role": *role})
		}
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: this is token %s of %s %s; its secret is shown only now\n", t.ID, kind, subject)
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%s\n", secret)
		return err
	}
	return cmd
}

// printSameSubject prints a note if a collector or a program has a valid token already:
// the store cannot tell the two apart.
func printSameSubject(cmd *cobra.Command, s store.Tokens, t store.Token) error {
	if t.Kind == auth.KindAgent {
		return nil
	}
	tokens, err := s.Tokens(cmd.Context())
	if err != nil {
		return err
	}
	for _, other := range tokens {
		if other.Kind == t.Kind && other.Subject == t.Subject && other.Revoked.IsZero() {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: note: token %s is of %s %s too; who uses either counts as the same\n", other.ID, t.Kind, t.Subject)
			return nil
		}
	}
	return nil
}

func newTokenList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens, without their secrets", Args: cobra.NoArgs}
	location := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one token per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := location.openExisting(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		tokens, err := s.Tokens(cmd.Context())
		if err != nil {
			return err
		}
		tw := newTable(cmd.OutOrStdout())
		if !*asJSON {
			fprintfPrintable(tw, "ID\tKIND\tFOR\tROLE\tHOST\tCREATED\tREVOKED\n")
		}
		for _, t := range tokens {
			if *asJSON {
				if err := printJSONLine(cmd.OutOrStdout(), t); err != nil {
					return err
				}
				continue
			}
			fprintfPrintable(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Kind, t.Subject, t.Role, hostText(t), formatTime(t.Created), formatTime(t.Revoked))
		}
		return tw.Flush()
	}
	return cmd
}

// hostText says of which hosts a token can post events.
func hostText(t store.Token) string {
	switch {
	case t.Kind == auth.KindAPI:
		return ""
	case t.Kind == auth.KindCollector || t.Host == store.TokenAnyHost:
		return "any"
	case t.Host == "":
		return "first use"
	}
	return t.Host
}

// tokenHostFromFlags returns the Host of a token that the flags ask for.
func tokenHostFromFlags(host string, anyHost bool) (string, error) {
	if host != "" && anyHost {
		return "", usagef("give a host or --any-host, not both")
	}
	if anyHost {
		return store.TokenAnyHost, nil
	}
	if problem := ingest.NameProblem(host); problem != "" || host == store.TokenAnyHost {
		return "", usagef("%q is not the name of a host", host)
	}
	return host, nil
}

func newTokenBind() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bind ID [HOST | --any-host]",
		Short: "Bind an agent's token to another host, by its id from the list",
		Long: "Bind an agent's token to HOST, as when a machine got another name. Without HOST, the next events that name a\n" +
			"host bind it. The events of an agent count as events of its host, whatever they say.",
		Args: cobra.RangeArgs(1, 2),
	}
	location := addStoreFlags(cmd)
	anyHost := cmd.Flags().Bool("any-host", false, "let the agent post events of any host")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		host, err := tokenHostFromFlags(strings.Join(args[1:], ""), *anyHost)
		if err != nil {
			return err
		}
		s, err := location.openExisting(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := checkBindable(cmd.Context(), s, args[0]); err != nil {
			return err
		}
		if err := s.SetTokenHost(cmd.Context(), args[0], host); err != nil {
			return withHint(err, "picket token list shows the ids")
		}
		return addCLIAuditEntry(cmd, s, "token.bind", args[0], "host="+cmp.Or(host, "first use"))
	}
	return cmd
}

// checkBindable returns an error if a token is not of an agent: a collector posts events
// of any host, and a program posts none.
func checkBindable(ctx context.Context, s store.Tokens, id string) error {
	tokens, err := s.Tokens(ctx)
	for _, t := range tokens {
		if t.ID == id && t.Kind != auth.KindAgent {
			return fmt.Errorf("bind token %s: it is of the kind %s, and only those of agents are bound", id, t.Kind)
		}
	}
	return err
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func newTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke a token, by its id from the list", Args: cobra.ExactArgs(1)}
	location := addStoreFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := location.openExisting(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.RevokeToken(cmd.Context(), args[0], time.Now()); err != nil {
			return withHint(err, "picket token list shows the ids")
		}
		return addCLIAuditEntry(cmd, s, "token.revoke", args[0], "")
	}
	return cmd
}
