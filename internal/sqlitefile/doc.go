// Package sqlitefile opens picket's SQLite files, whose pages have checksums, and
// salvages what can be read of damaged ones.
//
// SQLite itself notices damage only where it breaks its own structure: a changed bit in
// a value would be returned as if it had been written. The files that this package
// creates therefore end each page with two CRCs (trailer.go), in bytes that SQLite sets
// aside for extensions. A layer between SQLite and the operating system (vfs.go) writes
// them and checks them on every read. A single changed bit is corrected; more damage is
// an error, SQLITE_CORRUPT. The write-ahead log has SQLite's own checksums.
//
// Only programs that write through this layer keep the checksums right. A file without
// them, of an earlier picket, is read and written as before.
//
// Salvage (salvage.go) reads the pages without SQLite: it walks the tree of each table,
// goes around damaged pages with the help of SQLite's pointer map, and writes the rows
// that it finds into a new file.
package sqlitefile
