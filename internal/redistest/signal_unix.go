//go:build unix

package redistest

import "syscall"

// Pause suspends the server's process with SIGSTOP.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume continues a process that was paused.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		s.t.Fatal("redis-server is not running")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
