package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

func newUser() *cobra.Command {
	return newGroup("user", "Manage the people who sign in to the console",
		newUserAdd(), newUserList(), newUserPasswd(), newUserRole(), newUserEnable(), newUserDisable(), newUserDelete(), newUserSessions())
}

func newUserAdd() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Add a user; the password is asked for, or read from stdin", Args: cobra.ExactArgs(1)}
	location := addStoreFlags(cmd)
	role := cmd.Flags().String("role", auth.RoleAnalyst, "`ROLE` of the user: viewer, analyst or admin")
	completeFlag(cmd, "role", auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := auth.CheckName(args[0]); err != nil {
			return &usageError{fmt.Errorf("add user: %w", err)}
		}
		if !auth.ValidRole(*role) {
			return usagef("add user: role %q is none of viewer, analyst, admin", *role)
		}
		s, err := location.openOrCreate(cmd)
		if err != nil {
			return err
		}
		return useAndClose(s, func(s store.Store) error {
			if _, err := s.User(cmd.Context(), args[0]); err == nil {
				return withHint(fmt.Errorf("add user %s: the user exists already: %w", args[0], picket.ErrConflict), "picket user passwd changes the password")
			} else if !errors.Is(err, picket.ErrNotFound) {
				return err
			}
			u := store.User{Name: args[0], Role: *role, Created: time.Now().UTC()}
			return setPassword(cmd, s, u, s.AddUser, "user.add")
		})
	}
	return cmd
}

func newUserPasswd() *cobra.Command {
	return userCommand("passwd NAME", "Change a user's password and end the user's sessions", func(cmd *cobra.Command, s store.Store, u store.User) error {
		return setPassword(cmd, s, u, s.PutUser, "user.passwd")
	})
}

// userCommand returns a command that does something to an existing user.
func userCommand(use, short string, do func(cmd *cobra.Command, s store.Store, u store.User) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	location := addStoreFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return location.withStore(cmd, func(s store.Store) error {
			u, err := s.User(cmd.Context(), args[0])
			if err != nil {
				return withHint(err, "picket user list shows the names")
			}
			return do(cmd, s, u)
		})
	}
	return cmd
}

// useAndClose runs f on a store and closes it.
func useAndClose(s store.Store, f func(store.Store) error) error { return errors.Join(f(s), s.Close()) }

// setPassword reads a password, stores the user with it through put, and ends the
// user's sessions.
func setPassword(cmd *cobra.Command, s store.Store, u store.User, put func(context.Context, store.User) error, action string) error {
	password, err := readPassword(cmd)
	if err != nil {
		return err
	}
	if u.PasswordHash, err = auth.HashPassword(password); err != nil {
		return err
	}
	if err := put(cmd.Context(), u); err != nil {
		return err
	}
	if err := s.DeleteUserSessions(cmd.Context(), u.Name); err != nil {
		return err
	}
	return addCLIAuditEntry(cmd, s, action, u.Name, "role="+u.Role)
}

// readPassword prompts on a terminal; otherwise it reads a line of stdin.
func readPassword(cmd *cobra.Command) (string, error) {
	if fd := int(os.Stdin.Fd()); cmd.InOrStdin() == os.Stdin && term.IsTerminal(fd) {
		fprintfPrintable(cmd.ErrOrStderr(), "password: ")
		p, err := term.ReadPassword(fd)
		fprintfPrintable(cmd.ErrOrStderr(), "\n")
		return string(p), err
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && line == "" {
		return "", fmt.Errorf("read the password from stdin: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func newUserList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List users", Args: cobra.NoArgs}
	location := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one user per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return location.withStore(cmd, func(s store.Store) error {
			users, err := s.Users(cmd.Context())
			if err != nil {
				return err
			}
			tw := newTable(cmd.OutOrStdout())
			if !*asJSON {
				fprintfPrintable(tw, "NAME\tROLE\tSTATE\tCREATED\n")
			}
			for _, u := range users {
				if *asJSON {
					if err := printJSONLine(cmd.OutOrStdout(), u); err != nil {
						return err
					}
					continue
				}
				state := "active"
				if u.Disabled {
					state = "disabled"
				}
				fprintfPrintable(tw, "%s\t%s\t%s\t%s\n", u.Name, u.Role, state, formatTime(u.Created))
			}
			return tw.Flush()
		})
	}
	return cmd
}

// createFirstUser creates the user admin in an empty store and prints the password
// once. Of several servers that start at the same time, one does.
func (s *server) createFirstUser() error {
	ctx := s.cmd.Context()
	users, err := s.store.Users(ctx)
	if err != nil || len(users) > 0 {
		return err
	}
	password := os.Getenv("PICKET_ADMIN_PASSWORD")
	given := password != ""
	if !given {
		password = auth.RandomPassword()
	}
	hash, err := auth.HashPassword(password)
	if err != nil {
		return withHint(fmt.Errorf("make the first user: %w", err), "PICKET_ADMIN_PASSWORD holds the password")
	}
	err = s.store.AddUser(ctx, store.User{Name: "admin", PasswordHash: hash, Role: auth.RoleAdmin, Created: time.Now().UTC()})
	if errors.Is(err, picket.ErrConflict) {
		s.log.Info("first user created by another server, which printed the password")
		return nil
	}
	if err != nil {
		return err
	}
	s.audit.Record(ctx, auth.Identity{Kind: "server", Subject: processID()}, "user.add", "admin", "role=admin, at the first start")
	if given {
		return nil
	}
	_, err = fprintfPrintable(s.cmd.OutOrStdout(), "\n  first start: sign in as admin with password %s\n  (shown once; picket user passwd admin %s changes it)\n", password, s.f.storeLocation().asFlag())
	return err
}
