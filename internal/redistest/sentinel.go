package redistest

import (
	"fmt"
	"net"
	"strconv"
	"testing"
)

// StartSentinel starts a Sentinel that monitors master under a name and fails over
// without other Sentinels, after a second without a reply.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	redisServerPath(t)
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(reservePortAndBusPort(t))), t: t, dir: t.TempDir()}
	host, port, _ := net.SplitHostPort(master.Addr)
	// A Sentinel rewrites its configuration file.
	s.configFile = s.WriteFile("sentinel.conf", fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 5000\n",
		name, host, port, name, name))
	s.args = []string{"--sentinel"}
	t.Cleanup(s.Kill)
	s.StartAgain()
	return s
}
