// Package sqlitestore is a store.Store in one SQLite file.
//
// # Events
//
// Events are numbered in the order in which they are saved and kept in blocks of
// up to some thousands, in the format of package block. A block is a row of table
// blocks; its parts are blobs in table parts under the key seq<<9 | part number.
// So the parts of a block are neighbours in the file, a search reads only those
// that it needs, and a block is deleted as one range of keys.
//
// Save writes fresh blocks, in one transaction with everything else that belongs
// to the batches. That is a tenth of the work. Indexed blocks are made later, in
// the background, when there are enough fresh blocks for a full one (compact.go).
// Batches of single events are first merged into larger fresh blocks. A merge is
// one transaction that replaces blocks by one with the same sequence numbers, so
// cursors, which are sequence numbers, stay valid. If more than 32 MiB of events
// are not indexed yet, Save waits for the compaction to catch up.
//
// # Searches
//
// A search (search.go) walks the blocks from the newest, with one goroutine for
// each core, until its page is full. Each goroutine reads from its own snapshot.
// The snapshots show the same blocks if they have the same blocksVersion, which
// changes with every merge.
//
// # Writing
//
// A single goroutine writes (writer.go). Saves that arrive during a commit share
// the next transaction. The callers do all the compressing, before they submit.
//
// # Duplicates
//
// Events are deduplicated against a window of the hashes of the last million
// identities (recentids.go, dedup.go), which is rebuilt from the newest blocks when
// the store is opened. There is no index of ids: inserting into one would cost more
// than everything else. So an event that is sent again after a million others is
// stored twice. Batch ids are kept for a week, however many events came since.
// Events that another process has stored are added to the window at the start of
// each transaction.
//
// The window also has a hash of each event's bytes, so that a duplicate with other
// bytes is noticed. Of events that this process did not save itself it has the
// sequence number instead, and reads the bytes when a duplicate comes (conflicts.go).
package sqlitestore
