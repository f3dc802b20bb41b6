package main

import (
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/auth"
)

func newToken() *cobra.Command {
	return newGroup("token", "Create, list and revoke the tokens of agents, collectors and programs",
		newTokenCreate(), newTokenList(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --agent ID | --collector NAME | --api NAME --role ROLE",
		Short: "Create a token; its secret is shown only now",
		Args:  cobra.NoArgs,
	}
	location := addStoreFlags(cmd)
	agent := cmd.Flags().String("agent", "", "a token that posts telemetry as the agent `ID` only")
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
		t, secret, err := auth.NewToken(kind, subject, *role, time.Now())
		if err != nil {
			return err
		}
		s, err := location.openOrCreate(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.AddToken(cmd.Context(), t); err != nil {
			return err
		}
		if err := addCLIAuditEntry(cmd, s, "token.create", t.ID, kind+":"+subject); err != nil {
			return err
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]any{"token": secret, "id": t.ID, "kind": kind, "subject": subject, "role": *role})
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%s\n", secret)
		return err
	}
	return cmd
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
		tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		if !*asJSON {
			fprintfPrintable(tw, "ID\tKIND\tFOR\tROLE\tCREATED\tREVOKED\n")
		}
		for _, t := range tokens {
			if *asJSON {
				if err := printJSONLine(cmd.OutOrStdout(), t); err != nil {
					return err
				}
				continue
			}
			fprintfPrintable(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Kind, t.Subject, t.Role, formatTime(t.Created), formatTime(t.Revoked))
		}
		return tw.Flush()
	}
	return cmd
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
