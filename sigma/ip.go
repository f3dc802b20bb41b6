package sigma

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/picket-edr/picket/sigma/casefold"
)

// parsePrefix reads the value of a cidr modifier. The host bits must be zero:
// others are likely a mistake.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is not a network in CIDR notation", s)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a network in CIDR notation", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has host bits set; write %s", s, p.Masked())
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// parseIP reads an address of an event. An IPv4-mapped IPv6 address is read as
// the IPv4 address, and a zone is dropped.
func parseIP(s string) (netip.Addr, bool) {
	if len(s) > 64 {
		return netip.Addr{}, false
	}
	if strings.IndexByte(s, ':') < 0 {
		return parseIPv4(s)
	}
	s, zone, zoned := strings.Cut(s, "%")
	if zoned && zone == "" {
		return netip.Addr{}, false
	}
	return parseIPv6(s)
}

func parseIPv4(s string) (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		n, digits := 0, 0
		for digits < len(s) && digits < 4 && isDigit(s[digits]) {
			n = n*10 + int(s[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && s[0] == '0' {
			return netip.Addr{}, false
		}
		a[i], s = byte(n), s[digits:]
		if i < 3 {
			if s == "" || s[0] != '.' {
				return netip.Addr{}, false
			}
			s = s[1:]
		}
	}
	return netip.AddrFrom4(a), s == ""
}

// parseIPv6 does what netip.ParseAddr does, without allocating an error.
func parseIPv6(s string) (netip.Addr, bool) {
	var a [16]byte
	n, gap := 0, -1
	if strings.HasPrefix(s, "::") {
		gap, s = 0, s[2:]
	}
	for s != "" {
		if n == 16 {
			return netip.Addr{}, false
		}
		if n <= 12 && strings.IndexByte(s, ':') < 0 && strings.IndexByte(s, '.') > 0 {
			v4, ok := parseIPv4(s)
			if !ok {
				return netip.Addr{}, false
			}
			b := v4.As4()
			n += copy(a[n:], b[:])
			s = ""
			break
		}
		group, digits := 0, 0
		for digits < len(s) && digits < 5 {
			h := hexDigit(s[digits])
			if h < 0 {
				break
			}
			group = group<<4 | h
			digits++
		}
		if digits == 0 || digits > 4 {
			return netip.Addr{}, false
		}
		a[n], a[n+1] = byte(group>>8), byte(group)
		n, s = n+2, s[digits:]
		switch {
		case s == "":
		case strings.HasPrefix(s, "::") && gap < 0:
			gap, s = n, s[2:]
		case s[0] == ':' && len(s) > 1:
			s = s[1:]
		default:
			return netip.Addr{}, false
		}
	}
	if n < 16 {
		if gap < 0 {
			return netip.Addr{}, false
		}
		tail := n - gap
		copy(a[16-tail:], a[gap:n])
		clear(a[gap : 16-tail])
	} else if gap >= 0 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(a).Unmap(), true
}

func hexDigit(c byte) int {
	switch c = casefold.LowerASCII(c); {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
