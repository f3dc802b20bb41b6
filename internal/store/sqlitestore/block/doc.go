// Package block is the columnar format in which sqlitestore keeps events: pure
// bytes, without SQL, disk or clock.
//
// A block holds up to some thousands of events, numbered in the order in which
// they were saved. Inside a block an event is a row: its index, from 0. The
// block consists of a header (numbers to select blocks by), a directory (what
// the block contains, directory.go) and numbered parts:
//
//	metadata       agents, hosts, types, operating systems, times   metadata.go
//	ids            event ids                                        ids.go
//	id filter      Bloom filter of the ids                          idfilter.go
//	field layouts  how Fields follow from the events' JSON          fieldlayout.go
//	text filters   a filter of trigrams for each frame              textfilter.go
//	frames         events as received, half a MiB in each           frame.go
//	columns        the values of one field                          column.go
//
// A fresh block (Encoder.EncodeFresh) is cheap to write and has no filters and no
// columns. An indexed block (Encoder.EncodeIndexed) is made from fresh ones later; frames
// that are large enough are copied as they are. A field has no column where the
// column would be large compared with the events (long texts that hardly
// repeat), nor beyond 300 fields in a block. The directory says so, and a search
// then reads the frames that the text filter does not rule out.
//
// A Searcher finds the events of a block that match a Query. Columns and filters
// decide which rows match for certain and which are candidates (eval.go); only
// candidates are read and evaluated with package store's own Expr. In a fresh
// block every row is a candidate.
package block
