package nettest_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/testenv"
)

// Hosts reach each other unless one is disconnected. This machine reaches none.
func TestBridge(t *testing.T) {
	bridge := nettest.NewBridge(t)
	one, two := bridge.AttachHost(), bridge.AttachHost()
	var l net.Listener
	two.Run(func() {
		var err error
		if l, err = net.Listen("tcp", two.Addr+":0"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	reached := func(wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		c, err := one.Dial(ctx, "tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := reached(testenv.Timeout); err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]func(){"unplugged": two.Unplug, "black hole": two.Blackhole} {
		part()
		if err := reached(100 * time.Millisecond); err == nil {
			t.Errorf("%s: it is reached", name)
		}
		two.Heal()
		if err := reached(testenv.Timeout); err != nil {
			t.Errorf("%s and healed: %v", name, err)
		}
	}
	if c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond); err == nil {
		c.Close()
		t.Error("this machine reaches the host")
	}
}
