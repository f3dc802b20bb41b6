// Package mongostore is a store.Store in a MongoDB database, for any number of
// servers and workers at once. It needs transactions: MongoDB 4.2 or later as a
// replica set or sharded, or a server that has the same.
//
// # Saving a batch once
//
// An event is a document whose _id is the event's key. It names the batch that
// stored it, so whoever saves the batch again can tell its own events from those
// that were stored before. Save inserts the new events, unordered, which may be
// repeated. Everything else is one transaction: the ids of the batches, each of
// which can be inserted only once; alerts and matches; observations; hosts; and
// counters (save.go, txn.go). Until it commits, nothing but events is stored;
// saving the batch again completes what a crash has interrupted.
//
// # Processes do not wait for each other
//
// Two transactions that change one document conflict, and one of them is tried
// again. So each transaction adds to counters of its own slot, chosen at random,
// and readers sum over the slots (counters.go). What it adds to hosts is a document
// of its own, which is applied to them later (hostactivity.go). What remains are the
// documents of alerts, which conflict only if several processes save matches of the
// same rule and host at once.
//
// # Order
//
// Events are ordered by seq: microseconds of the clock of the process that
// stored them, incremented where needed so that no two events of a process have
// the same. Alerts and matches are ordered in the same way. Observations are
// numbered when they are first read, because a reader that goes on after a number
// must not miss a transaction that commits later (correlations.go).
//
// docs/scale.md describes the documents, the indexes and the cost of queries.
package mongostore
