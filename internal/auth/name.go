package auth

import (
	"fmt"
	"regexp"

	"github.com/picket-edr/picket"
)

// namePattern is what a user, a program or a collector can be called: a note or an audit
// entry that has the name must not read like another's, and notes sign programs as
// "api:NAME".
var namePattern = regexp.MustCompile(`^[\pL\pN][\pL\pN._@+-]*$`)

// maxNameBytes bounds the names of users, programs and collectors.
const maxNameBytes = 128

// CheckName returns picket.ErrInvalid unless a user, a program or a collector can have the
// name.
func CheckName(name string) error {
	if len(name) > maxNameBytes || !namePattern.MatchString(name) {
		return fmt.Errorf("%q is no name of letters, digits and . _ @ + -, which begins with a letter or a digit and has at most %d bytes: %w", name, maxNameBytes, picket.ErrInvalid)
	}
	return nil
}

// agentIDPattern is what the agent of a token can be called: a host's name, a UUID or
// another id of an inventory.
var agentIDPattern = regexp.MustCompile(`^[^\s\pC]{1,256}$`)
