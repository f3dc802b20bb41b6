// Package backup writes a data directory into one archive while servers and workers
// use it, and restores such an archive.
//
// # What is consistent
//
// The SQLite files are copied page by page from a snapshot of each, which is what one
// read transaction sees: writers go on meanwhile, and only their write-ahead logs grow.
// All snapshots are of one moment: while they are taken, which is milliseconds, the
// backup has the write locks of all files, so that no process can commit to any.
//
// Events pass through the files in this order:
//
//	agent's spool → disk buffer → queue → store
//
// Every program removes an event from one file only after it is durable in the next. So
// at any moment, an event that was acknowledged is in a file: also in the snapshots. It
// is in two if it has been saved and not been acked yet. That is harmless: the restored
// queue delivers its batch once more, and the store recognizes the batch by its id, as
// it does after any redelivery. Without the locks, the snapshots would have to be taken
// in the order above, and a batch that was enqueued, saved and acked between two of them
// would be stored in the copy and not be among its counters.
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
