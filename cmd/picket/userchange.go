package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

func newUserRole() *cobra.Command {
	var role string
	cmd := userCommand("role NAME ROLE", "Change a user's role: viewer, analyst or admin", func(cmd *cobra.Command, s store.Store, u store.User) error {
		old := u.Role
		u.Role = role
		return changeUser(cmd, s, u, "user.role", "role="+role+" was="+old)
	})
	cmd.Args = cobra.ExactArgs(2)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if role = args[1]; !auth.ValidRole(role) {
			return usagef("change role: %q is none of viewer, analyst, admin", role)
		}
		return run(cmd, args)
	}
	return cmd
}

func newUserEnable() *cobra.Command {
	return userCommand("enable NAME", "Let a disabled user sign in again", func(cmd *cobra.Command, s store.Store, u store.User) error {
		u.Disabled = false
		return changeUser(cmd, s, u, "user.enable", "")
	})
}

func newUserDisable() *cobra.Command {
	return userCommand("disable NAME", "Disable a user and end their sessions", func(cmd *cobra.Command, s store.Store, u store.User) error {
		u.Disabled = true
		if err := changeUser(cmd, s, u, "user.disable", ""); err != nil {
			return err
		}
		return s.DeleteUserSessions(cmd.Context(), u.Name)
	})
}

func newUserDelete() *cobra.Command {
	return userCommand("delete NAME", "Delete a user and end their sessions", func(cmd *cobra.Command, s store.Store, u store.User) error {
		gone := u
		gone.Disabled = true
		if err := checkAdminLeft(cmd, s, gone); err != nil {
			return err
		}
		if err := s.DeleteUser(cmd.Context(), u.Name); err != nil {
			return err
		}
		if err := s.DeleteUserSessions(cmd.Context(), u.Name); err != nil {
			return err
		}
		return addCLIAuditEntry(cmd, s, "user.delete", u.Name, "role="+u.Role)
	})
}

// changeUser stores a changed user and records that.
func changeUser(cmd *cobra.Command, s store.Store, u store.User, action, detail string) error {
	if err := checkAdminLeft(cmd, s, u); err != nil {
		return err
	}
	if err := s.PutUser(cmd.Context(), u); err != nil {
		return err
	}
	return addCLIAuditEntry(cmd, s, action, u.Name, detail)
}

// checkAdminLeft returns an error if nobody could administer the server once u is
// changed.
func checkAdminLeft(cmd *cobra.Command, s store.Users, u store.User) error {
	users, err := s.Users(cmd.Context())
	if err != nil {
		return err
	}
	isAdmin := func(u store.User) bool { return u.Role == auth.RoleAdmin && !u.Disabled }
	before, after := false, isAdmin(u)
	for _, other := range users {
		before = before || isAdmin(other)
		after = after || other.Name != u.Name && isAdmin(other)
	}
	if before && !after {
		return withHint(fmt.Errorf("change user %s: nobody else is an admin", u.Name), "make another user an admin first: picket user role NAME admin")
	}
	return nil
}

func newUserSessions() *cobra.Command {
	var end, asJSON bool
	cmd := userCommand("sessions NAME", "List the sessions of a user, or end them", func(cmd *cobra.Command, s store.Store, u store.User) error {
		if end {
			if err := s.DeleteUserSessions(cmd.Context(), u.Name); err != nil {
				return err
			}
			return addCLIAuditEntry(cmd, s, "user.sign-out", u.Name, "")
		}
		sessions, err := s.UserSessions(cmd.Context(), u.Name, time.Now())
		if err != nil {
			return err
		}
		tw := newTable(cmd.OutOrStdout())
		if !asJSON {
			fprintfPrintable(tw, "SIGNED IN\tEXPIRES UNLESS USED\n")
		}
		var errs []error
		for _, ses := range sessions {
			if asJSON {
				errs = append(errs, printJSONLine(cmd.OutOrStdout(), map[string]time.Time{"created": ses.Created, "expires": ses.Expires}))
				continue
			}
			fprintfPrintable(tw, "%s\t%s\n", formatTime(ses.Created), formatTime(ses.Expires))
		}
		return errors.Join(append(errs, tw.Flush())...)
	})
	cmd.Long = "Lists when a user signed in and when the sessions end. From where the user signed in is in the audit log:\npicket audit --action sign-in --actor user:NAME"
	cmd.Flags().BoolVar(&end, "end", false, "sign the user out everywhere")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one session per line")
	return cmd
}
