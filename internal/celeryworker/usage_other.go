//go:build !unix

package celeryworker

// usage is not known here.
func usage() map[string]any { return map[string]any{} }
