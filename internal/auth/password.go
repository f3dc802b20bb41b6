package auth

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/picket-edr/picket"
)

// Parameters of argon2id (RFC 9106): OWASP's second recommendation, which needs
// less memory than the first.
const (
	argonPasses      = 2
	argonMemoryKiB   = 19 << 10
	argonThreads     = 1
	minPasswordBytes = 10
)

// HashPassword returns the hash of a password in PHC string format.
func HashPassword(password string) (string, error) {
	if len(password) < minPasswordBytes || len(password) > 1024 {
		return "", fmt.Errorf("set password: it must have %d to 1024 characters: %w", minPasswordBytes, picket.ErrInvalid)
	}
	salt := []byte(randomHex(8))
	key := argon2.IDKey([]byte(password), salt, argonPasses, argonMemoryKiB, argonThreads, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemoryKiB, argonPasses, argonThreads, b64(salt), b64(key)), nil
}

// RandomPassword returns a random password for the first user.
func RandomPassword() string { return randomHex(8) }

// passwordMatches reports whether a password matches a PHC string.
func passwordMatches(phcHash, password string) bool {
	parts := strings.Split(phcHash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || len(password) > 1024 {
		return false
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || threads == 0 || time == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// decoyPasswordHash is a hash that matches no password. It is checked for unknown users, so
// that they take as long as known ones.
const decoyPasswordHash = "$argon2id$v=19$m=19456,t=2,p=1$MDAwMDAwMDAwMDAwMDAwMA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
