//go:build !unix

package celeryworker

// usage is not available on this system.
func usage() map[string]any { return map[string]any{} }
