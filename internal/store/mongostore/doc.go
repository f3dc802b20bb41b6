// Package mongostore is a store.Store in a MongoDB database, for any number of
// servers and workers at once. It needs no transactions, TTL indexes or change
// streams, so it also runs on FerretDB.
//
// # Saving a batch once
//
// An event is a document whose _id is the event's ID. It names the batch that
// stored it, so whoever saves the batch again can tell its own events from
// those that were stored before. Save first inserts the new events, unordered,
// and then one document in batches with everything else that the batch
// contributes: its effects on counters, hosts and minutes, its matches and
// observations (batcheffects.go). Inserting that document is what saves the
// batch. It succeeds once, and until then nothing but events is stored; saving
// the batch again completes what a crash has interrupted. A mark in collection
// pending, inserted before, leads to the batches whose effects have yet to be
// applied.
//
// # The journal
//
// Whatever changes several documents goes through the journal, a write-ahead log
// in a collection. A step of the journal is a document whose _id is the number
// after the last one's, so only one process can insert it. It holds a redo
// record: all documents as they will be after the step. Each step is computed
// from the state left by the previous step, then journaled, applied and marked
// done, in that order. Any process that finds a step that is not done applies it
// too. Each document has the number of the step that wrote it last, and is not
// replaced by an older step, so applying a step twice or late changes nothing.
//
// The steps are: applying the effects of pending batches (applybatches.go), many
// batches of all processes in one step; triage (triage.go); the results of
// correlations (correlations.go); and deleting events (prune.go). So counters are
// exact, an alert is opened once, and observations are ordered, whichever
// processes write or crash meanwhile. Save waits for a step only if the batch has
// matches or observations.
//
// # Order
//
// Events are ordered by seq: microseconds of the clock of the process that
// stored them, incremented where needed so that no two events of a process have
// the same. Alerts, matches and observations are ordered by the step that stored
// them.
//
// docs/scale.md describes the documents, the indexes and the cost of queries.
package mongostore
