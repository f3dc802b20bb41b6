//go:build !unix

package celeryqueue

// usage is not known here.
func usage() map[string]any { return map[string]any{} }
