// Package legacy is everything that serves only the clients of the legacy
// system, a Django EDR: the JSON API of its dashboard, the intake behaviour that
// its agents rely on, its validation messages and Python's JSON. It wraps
// packages ingest and triage, which know nothing of it; cmd/picket connects
// them. Its subpackage ruleconvert converts legacy rules to Sigma. To drop
// support for legacy clients, delete this folder and its wiring.
package legacy
