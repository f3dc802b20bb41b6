package auth

import (
	"fmt"
	"testing"
	"time"
)

// Attackers at many addresses cannot lock out a user where the user is known, nor can
// others behind the same address. A /64 network is one address.
func TestSignInLimiter(t *testing.T) {
	l, now := newSignInLimiter(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	allowed := func(user, addr string) bool {
		_, ok := l.begin(now, user, addr)
		return ok
	}
	l.addKnownAddr("ann", "2.2.2.2", now)
	for i := range 60 {
		allowed("ann", fmt.Sprintf("4.4.4.%d", i))
	}
	if allowed("ann", "5.5.5.5") {
		t.Error("after 60 failures, an unknown address is let try")
	}
	if !allowed("ann", "2.2.2.2") {
		t.Error("a known address is locked out by others")
	}
	for i := range 30 {
		allowed(fmt.Sprint("guess", i), "2.2.2.2")
	}
	if allowed("guess", "2.2.2.2") {
		t.Error("an address that guesses names is let try")
	}
	if !allowed("ann", "2.2.2.2") {
		t.Error("a known user is locked out by others at the same address")
	}
	for range 5 {
		allowed("ann", "2.2.2.2")
	}
	if allowed("ann", "2.2.2.2") {
		t.Error("a known user at a known address has no limit")
	}
	now = now.Add(knownAddrLifetime + time.Minute)
	for i := range 60 {
		allowed("ann", fmt.Sprintf("4.4.4.%d", i))
	}
	if allowed("ann", "2.2.2.2") {
		t.Error("an address is known for ever")
	}

	for i := range 5 {
		allowed("bob", fmt.Sprintf("2001:db8::%d", i))
	}
	if allowed("bob", "2001:db8::1:2:3:4") {
		t.Error("another address of the network is let try")
	}
	if !allowed("bob", "2001:db8:0:1::1") {
		t.Error("another network is not let try")
	}
}
