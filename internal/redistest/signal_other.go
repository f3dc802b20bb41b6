//go:build !unix

package redistest

// Pause skips the test: this system cannot suspend a process.
func (s *Server) Pause() { s.t.Skip("this system cannot suspend redis-server") }

// Resume continues a process that was paused.
func (s *Server) Resume() {}
