package auth

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ErrTooMany: too many failed sign-ins in the last minute.
var ErrTooMany = errors.New("too many failed sign-ins")

// How many sign-ins may fail within attemptWindow: of one user from one address,
// from one address, and of one user. The last two do not apply to a user at an
// address known to be the user's, so that others cannot lock the user out.
const (
	maxAttempts     = 5
	maxAddrAttempts = 4 * maxAttempts
	maxUserAttempts = 10 * maxAttempts
	attemptWindow   = time.Minute
)

// An address is known to be a user's for knownAddrLifetime after its last use.
// maxKnownAddrs bounds how many are known.
const (
	knownAddrLifetime = 30 * 24 * time.Hour
	maxKnownAddrs     = 1 << 14
)

// An attemptLimiter limits failed sign-ins. It is safe for concurrent use.
type attemptLimiter struct {
	mu     sync.Mutex
	recent map[string][]time.Time // failed or in progress, by user and by address
	known  map[userAddr]time.Time // last use
}

// A userAddr is a user at an address.
type userAddr struct{ user, addr string }

// An attempt is one that limiter.begin counted.
type attempt struct {
	userAddr
	at time.Time
}

func newAttemptLimiter() *attemptLimiter {
	return &attemptLimiter{recent: make(map[string][]time.Time), known: make(map[userAddr]time.Time)}
}

// network returns what stands for one client: an IPv4 address, or the /64 network
// of an IPv6 address, all of which usually belongs to one.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Unmap().Is4() {
		return addr
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.String()
}

// keys returns the keys of an attempt in recent.
func (a attempt) keys() [3]string {
	return [3]string{"both " + a.addr + "\x00" + a.user, "addr " + a.addr, "user " + a.user}
}

// begin counts an attempt as failed until remove or succeeded, so that concurrent
// attempts cannot exceed the limits. It returns false past a limit.
func (l *attemptLimiter) begin(now time.Time, user, addr string) (attempt, bool) {
	a := attempt{userAddr{user, network(addr)}, now}
	keys := a.keys()
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.known[a.userAddr]
	known = known && now.Sub(last) < knownAddrLifetime
	for i, most := range [...]int{maxAttempts, maxAddrAttempts, maxUserAttempts} {
		if (i == 0 || !known) && l.count(keys[i], now) >= most {
			return a, false
		}
	}
	if len(l.recent) >= maxCachedTokens {
		clear(l.recent) // bounds the memory that made-up names take
	}
	for i, key := range keys {
		if i == 0 || !known {
			l.recent[key] = append(l.recent[key], now)
		}
	}
	return a, true
}

// remove removes an attempt from the failures.
func (l *attemptLimiter) remove(a attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range a.keys() {
		if i := slices.Index(l.recent[key], a.at); i >= 0 {
			l.recent[key] = slices.Delete(l.recent[key], i, i+1)
		}
	}
}

// succeeded removes an attempt from the failures and remembers its address.
func (l *attemptLimiter) succeeded(a attempt, now time.Time) {
	l.remove(a)
	l.addKnown(a.user, a.addr, now)
}

// addKnown remembers that a user is at an address.
func (l *attemptLimiter) addKnown(user, addr string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := userAddr{user, network(addr)}
	if _, ok := l.known[key]; !ok && len(l.known) >= maxKnownAddrs {
		var oldest userAddr
		for k, at := range l.known {
			if oldest.user == "" || at.Before(l.known[oldest]) {
				oldest = k
			}
		}
		delete(l.known, oldest)
	}
	l.known[key] = now
}

// count counts the attempts within the window and deletes older ones; l.mu is held.
func (l *attemptLimiter) count(key string, now time.Time) int {
	left := slices.DeleteFunc(l.recent[key], func(at time.Time) bool { return now.Sub(at) >= attemptWindow })
	if len(left) == 0 {
		delete(l.recent, key)
		return 0
	}
	l.recent[key] = left
	return len(left)
}
