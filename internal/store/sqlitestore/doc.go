// Package sqlitestore keeps everything of a store.Store in one SQLite file.
//
// # Blocks
//
// Events are numbered in the order in which they are saved and kept in blocks
// of up to some thousands: a row of table blocks, and its parts, each a blob in
// table parts under the key seq<<9 | part (dir.go):
//
//	meta       agents, hosts, types, systems, times          meta.go
//	ids        event ids                                     ids.go
//	id filter  Bloom filter of the ids                       ids.go
//	recipes    how Fields come from the events' JSON         recipe.go
//	text       a filter of trigrams for each frame           trigram.go
//	frames     the events as received, half a MiB in each    frame.go
//	columns    the values of one field                       column.go, colbuild.go
//
// So a block's parts lie side by side in the file, a search reads those it
// needs, and a block is deleted as one range of keys.
//
// Save writes a fresh block: events, meta and ids, in one transaction with all
// that goes with them. That is a tenth of the work. Columns and filters are
// made later, in the background, when there are enough fresh blocks for a full
// one (compact.go); the frames are copied as they are if they are large enough.
// Posts of single events are first merged into larger fresh blocks. A merge is
// one transaction that replaces blocks by one with the same sequence numbers,
// so cursors, which are sequence numbers, stay true. If Save runs ahead of the
// index by more than 32 MiB of events, it waits for it.
//
// A field's column is left out where it would be large against the events
// (long texts that hardly repeat), and beyond 300 fields in a block. The
// directory says so, and a search then reads the frames, after the text filter
// has ruled out those that lack the texts that a match must have.
//
// # Searches
//
// A search (find.go) walks blocks from the newest, with one goroutine a core,
// until its page is full. In each, columns and filters decide which events
// surely match and which may (eval.go); only for what is between them are
// events read and asked (scan.go), with package store's own evaluation. A fresh
// block has only the events to go by.
//
// Each goroutine reads a snapshot of its own. They see the same blocks if the
// layout counter is the same in all, which changes with every merge.
//
// # Writing once
//
// One goroutine writes (writer.go). Saves that arrive during a commit share the
// next one. All compressing is done before, by the callers.
//
// An event id is known again by a window of the hashes of the last million
// (window.go, claims.go), made anew from the newest blocks at the start. There
// is no index of ids: an insert into one costs more than everything else. An
// event that is sent again after a million others is stored twice; a batch that
// is delivered again is known by its id for a week, whatever came between. Ids
// that another process stored meanwhile are learnt at the start of each
// transaction.
package sqlitestore
