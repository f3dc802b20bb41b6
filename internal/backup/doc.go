// Package backup writes a data directory into one archive while servers and workers
// use it, and restores such an archive.
//
// # What is consistent
//
// The SQLite files are copied page by page from a snapshot of each, which is what one
// read transaction sees: writers go on meanwhile, and only their write-ahead logs grow.
// The snapshots are taken one after another before the first page is copied, in the
// order in which events pass through the files:
//
//	agent's spool → disk buffer → queue → store
//
// Every program removes an event from one file only after it is durable in the next. So
// an event that had been acknowledged when the backup started is in a snapshot: if it
// has left the queue by the time of the queue's snapshot, it is in the store, whose
// snapshot is later. In the opposite order, a batch that a worker saved and acked
// between the two would be in neither. An event that moved between two snapshots is in
// both, which is harmless: the restored queue delivers its batch once more, and the
// store recognizes the batch by its id, as it does after any redelivery.
//
// Other files are copied before the snapshots. The checkpoints of an agent's sources
// are among them: they are then not ahead of the spool, and what an agent reads twice
// has the same event ids. If a directory is replaced while it is read, as a rule pack
// is by an update, the copy begins again.
//
// The leases in the copy of a queue belong to processes that do not use it. Whoever
// restores it must release them.
//
// # The archive
//
// An archive is a tar file compressed with zstd: the files as data/PATH, then
// manifest.json, which has the format's version and the name, size and SHA-256 of every
// file. The manifest is last because hashes are known only then, so an archive without
// one was cut short.
//
// An archive is untrusted input: reading takes a bounded amount of memory, and nothing
// is written outside the directory, nor beyond the free space of its disk.
package backup
