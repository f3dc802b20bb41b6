// Package mongostore keeps everything of a store.Store in a MongoDB database,
// for many servers and workers at once. It needs no transactions, TTL indexes
// or change streams, so that FerretDB serves as well.
//
// # Writing once
//
// An event is a document whose _id is the event's ID. It names the batch that
// stored it, so a batch that is saved again, by anyone, tells its own events
// from those known before. Save writes the new events, unordered, and then one
// document in batches with all else that the batch brings: its counts, hosts,
// minutes, matches and observations. That document's insertion is what makes
// the batch saved; it happens once, and before it nothing but events is there.
// A crash in between leaves a state that saving the batch again completes. A
// mark in pending, made before, leads to the batches that are yet to be folded.
//
// # The journal
//
// What changes several documents goes through the journal, which is a write
// ahead log in a collection: a step is a document whose _id is the number after
// the last one's, so only one process can insert it, and the redo in it holds
// all documents as they shall be. A step is decided on what is there after the
// step before it was carried out, written to the journal, carried out, and
// marked done, in that order. Whoever finds a step that is not done carries it
// out, too: each document carries the number of the step that wrote it last and
// takes no older one, so carrying out twice, or late, changes nothing.
//
// Steps are: what batches brought (fold.go), many batches of all processes in
// one; triage (triage.go); what correlations conclude (correlations.go); and
// the deletion of events (prune.go). So counters are exact, an alert is opened
// once, and observations have their order, whoever writes and dies meanwhile.
// Save waits for a step only where the batch has matches or observations.
//
// # Order
//
// Events are ordered by seq, microseconds of the clock of the process that
// stored them, counted up so that no two events of a process share one. Alerts,
// matches and observations are ordered by the step that stored them.
//
// Documents, indexes and what queries cost: docs/scale.md.
package mongostore
