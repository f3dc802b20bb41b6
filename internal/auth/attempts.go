package auth

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ErrTooManySignInFailures: too many failed sign-ins in the last minute.
var ErrTooManySignInFailures = errors.New("too many failed sign-ins")

// How many sign-ins may fail within signInFailureWindow: of one user from one address,
// from one address, and of one user. The last two do not apply to a user at an
// address known to be the user's, so that others cannot lock the user out.
const (
	maxFailuresPerUserAndAddr = 5
	maxFailuresPerAddr        = 4 * maxFailuresPerUserAndAddr
	maxFailuresPerUser        = 10 * maxFailuresPerUserAndAddr
	signInFailureWindow       = time.Minute
)

// An address is known to be a user's for knownAddrLifetime after its last use.
// maxKnownAddrs bounds how many are known.
const (
	knownAddrLifetime = 30 * 24 * time.Hour
	maxKnownAddrs     = 1 << 14
)

// A signInLimiter limits failed sign-ins. It is safe for concurrent use.
type signInLimiter struct {
	mu     sync.Mutex
	recent map[string][]time.Time // failed or in progress, by user and by address
	known  map[userAddr]time.Time // last use
}

// A userAddr is a user at an address.
type userAddr struct{ user, addr string }

// A signInAttempt is one that signInLimiter.begin counted.
type signInAttempt struct {
	userAddr
	at time.Time
}

func newSignInLimiter() *signInLimiter {
	return &signInLimiter{recent: make(map[string][]time.Time), known: make(map[userAddr]time.Time)}
}

// clientNetwork returns what stands for one client: an IPv4 address, or the /64 network
// of an IPv6 address, all of which usually belongs to one.
func clientNetwork(addr string) string {
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

// counterKeys returns the keys of an attempt in recent.
func (a signInAttempt) counterKeys() [3]string {
	return [3]string{"both " + a.addr + "\x00" + a.user, "addr " + a.addr, "user " + a.user}
}

// begin counts an attempt as failed until uncount or recordSuccess, so that concurrent
// attempts cannot exceed the limits. It returns false past a limit.
func (l *signInLimiter) begin(now time.Time, user, addr string) (a signInAttempt, allowed bool) {
	a = signInAttempt{userAddr{user, clientNetwork(addr)}, now}
	keys := a.counterKeys()
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.known[a.userAddr]
	known = known && now.Sub(last) < knownAddrLifetime
	for i, most := range [...]int{maxFailuresPerUserAndAddr, maxFailuresPerAddr, maxFailuresPerUser} {
		if (i == 0 || !known) && l.countRecent(keys[i], now) >= most {
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

// uncount removes an attempt from the failures.
func (l *signInLimiter) uncount(a signInAttempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range a.counterKeys() {
		if i := slices.Index(l.recent[key], a.at); i >= 0 {
			l.recent[key] = slices.Delete(l.recent[key], i, i+1)
		}
	}
}

// recordSuccess removes an attempt from the failures and remembers its address.
func (l *signInLimiter) recordSuccess(a signInAttempt, now time.Time) {
	l.uncount(a)
	l.addKnownAddr(a.user, a.addr, now)
}

// addKnownAddr remembers that a user is at an address.
func (l *signInLimiter) addKnownAddr(user, addr string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := userAddr{user, clientNetwork(addr)}
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

// countRecent counts the attempts within the window and deletes older ones; l.mu is held.
func (l *signInLimiter) countRecent(key string, now time.Time) int {
	left := slices.DeleteFunc(l.recent[key], func(at time.Time) bool { return now.Sub(at) >= signInFailureWindow })
	if len(left) == 0 {
		delete(l.recent, key)
		return 0
	}
	l.recent[key] = left
	return len(left)
}
