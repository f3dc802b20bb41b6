package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// vfsName is the name of the layer, in SQLite's term a VFS.
const vfsName = "picket"

// registerChecksumVFS registers the layer once. It is SQLite's default VFS, except that it opens
// database files with methods that check and write trailers.
var registerChecksumVFS = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	base := sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString(vfsName)
	if err != nil || base == 0 {
		return fmt.Errorf("find SQLite's default VFS: %w", err)
	}
	baseOpen = functionAt[openFunc](at[sqlite3.Tsqlite3_vfs](base).FxOpen)
	if vfs = allocate[sqlite3.Tsqlite3_vfs](tls); vfs == nil {
		return errors.New("register VFS: out of memory")
	}
	*vfs = *at[sqlite3.Tsqlite3_vfs](base)
	vfs.FszOsFile = (vfs.FszOsFile+7)&^7 + checkedFilePointerBytes
	vfs.FpNext, vfs.FzName, vfs.FxOpen = 0, name, pointerTo(openFunc(vfsOpen))
	if rc := sqlite3.Xsqlite3_vfs_register(tls, addressOf(vfs), 0); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("register VFS: SQLite error %d", rc)
	}
	if rc := sqlite3.Xsqlite3_auto_extension(tls, pointerTo(reserveTrailers)); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("register extension: SQLite error %d", rc)
	}
	return nil
})

var (
	vfs      *sqlite3.Tsqlite3_vfs
	baseOpen openFunc
)

// What follows are the C functions of SQLite's interface as Go functions.
type (
	openFunc  func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	ioFunc    func(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32
	closeFunc func(tls *libc.TLS, file uintptr) int32
)

// at returns what is at an address of SQLite's memory.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// allocate returns zeroed memory of SQLite's, nil if there is none.
func allocate[T any](tls *libc.TLS) *T {
	var v T
	return at[T](libc.Xcalloc(tls, 1, libc.Tsize_t(unsafe.Sizeof(v))))
}

// addressOf is the inverse of at.
func addressOf[T any](v *T) uintptr { return uintptr(unsafe.Pointer(v)) }

// pointerTo returns a function of the package as SQLite calls it.
func pointerTo[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// functionAt is the inverse of pointerTo.
func functionAt[F any](pointer uintptr) F { return *(*F)(unsafe.Pointer(&pointer)) }

func bytesAt(address uintptr, n int32) []byte { return unsafe.Slice(at[byte](address), n) }

// A methodTable has the methods of a checked file.
type methodTable struct {
	checked *sqlite3.Tsqlite3_io_methods // what SQLite calls
	read    ioFunc                       // of the base VFS, as are the others
	write   ioFunc
	close   closeFunc
}

// methodTables has a methodTable for each table of the base VFS, which has several for
// different kinds of file systems.
var methodTables sync.Map // uintptr → *methodTable

// methodTableFor returns the methodTable for a table of the base VFS, nil if there is no
// memory for it.
func methodTableFor(tls *libc.TLS, base uintptr) *methodTable {
	if t, ok := methodTables.Load(base); ok {
		return t.(*methodTable)
	}
	m, checked := at[sqlite3.Tsqlite3_io_methods](base), allocate[sqlite3.Tsqlite3_io_methods](tls)
	if checked == nil {
		return nil
	}
	*checked = *m
	checked.FiVersion = min(m.FiVersion, 2) // version 3 maps files into memory, past the checks
	checked.FxRead, checked.FxWrite, checked.FxClose = pointerTo(ioFunc(vfsRead)), pointerTo(ioFunc(vfsWrite)), pointerTo(closeFunc(vfsClose))
	t := &methodTable{checked, functionAt[ioFunc](m.FxRead), functionAt[ioFunc](m.FxWrite), functionAt[closeFunc](m.FxClose)}
	actual, _ := methodTables.LoadOrStore(base, t)
	return actual.(*methodTable)
}

// A checkedFile is an open database file. SQLite uses it from one thread at a time.
type checkedFile struct {
	base     *methodTable
	pageSize int64 // 0 if the pages have no trailers
}

// openFilesKeptAlive keeps the open files from being collected: the only other references
// to them are in SQLite's memory.
var openFilesKeptAlive sync.Map // *checkedFile → struct{}

// checkedFileOf returns the place of the reference to a file's checkedFile: behind what
// the base VFS keeps of the file.
func checkedFileOf(file uintptr) **checkedFile {
	return at[*checkedFile](file + uintptr(vfs.FszOsFile) - checkedFilePointerBytes)
}

const checkedFilePointerBytes = 8

// vfsOpen opens a file as the base VFS does. SQLite's other files than databases, such as
// write-ahead logs, stay as they are.
func vfsOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	rc := baseOpen(tls, vfs, name, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_MAIN_DB == 0 {
		return rc
	}
	opened := at[sqlite3.Tsqlite3_file](file)
	base := methodTableFor(tls, opened.FpMethods)
	if base == nil {
		functionAt[closeFunc](at[sqlite3.Tsqlite3_io_methods](opened.FpMethods).FxClose)(tls, file)
		opened.FpMethods = 0
		return sqlite3.SQLITE_NOMEM
	}
	f := &checkedFile{base: base}
	f.findPageSize(tls, file)
	openFilesKeptAlive.Store(f, struct{}{})
	*checkedFileOf(file) = f
	opened.FpMethods = addressOf(base.checked)
	return rc
}

func vfsClose(tls *libc.TLS, file uintptr) int32 {
	f := *checkedFileOf(file)
	openFilesKeptAlive.Delete(f)
	return f.base.close(tls, file)
}

// findPageSize sets the page size from what the file begins with.
func (f *checkedFile) findPageSize(tls *libc.TLS, file uintptr) {
	for _, n := range []int32{100, maxPageSize} {
		buf := libc.Xcalloc(tls, 1, libc.Tsize_t(n))
		if buf == 0 {
			return
		}
		rc := f.base.read(tls, file, buf, n, 0)
		start := append([]byte(nil), bytesAt(buf, n)...)
		libc.Xfree(tls, buf)
		if rc != sqlite3.SQLITE_OK && rc != sqlite3.SQLITE_IOERR_SHORT_READ || allZero(start) {
			return
		}
		if f.pageSize = int64(checkedPageSize(start)); n == maxPageSize {
			f.pageSize = int64(findCheckedPageSize(start))
		}
		if f.pageSize > 0 {
			return
		}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// vfsRead reads whole pages, whatever part of one SQLite asks for, and checks them.
func vfsRead(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32 {
	f := *checkedFileOf(file)
	if f.pageSize > 0 && (offset%f.pageSize != 0 || int64(n) != f.pageSize) {
		return f.readPart(tls, file, buf, n, offset)
	}
	rc := f.base.read(tls, file, buf, n, offset)
	if f.pageSize == 0 {
		if rc != sqlite3.SQLITE_OK || offset != 0 || n < 512 {
			return rc
		}
		// Another process may have written the first page since the file was opened.
		if size := checkedPageSize(bytesAt(buf, n)); size != int(n) {
			return rc
		}
		f.pageSize = int64(n)
	}
	return f.verify(tls, file, bytesAt(buf, n), offset, rc)
}

// verify checks a page that was read with a result, and returns the result for SQLite.
func (f *checkedFile) verify(tls *libc.TLS, file uintptr, page []byte, offset int64, rc int32) int32 {
	number := offset/f.pageSize + 1
	switch {
	case rc == sqlite3.SQLITE_IOERR_SHORT_READ && number <= f.headerPageCount(tls, file):
		// The file was cut. SQLite would take what is missing for zeros.
	case rc != sqlite3.SQLITE_OK:
		return rc
	default:
		if verifyOrCorrectPage(number, page) != pageDamaged {
			return rc
		}
	}
	return sqlite3.SQLITE_CORRUPT
}

// headerPageCount returns how many pages the file has according to its header. A transaction
// that adds pages may read them before they are in the file.
func (f *checkedFile) headerPageCount(tls *libc.TLS, file uintptr) int64 {
	buf := libc.Xcalloc(tls, 1, 4)
	if buf == 0 {
		return 0
	}
	defer libc.Xfree(tls, buf)
	f.base.read(tls, file, buf, 4, 28)
	return int64(binary.BigEndian.Uint32(bytesAt(buf, 4)))
}

// readPart reads a part of a page.
func (f *checkedFile) readPart(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32 {
	start := offset - offset%f.pageSize
	if offset+int64(n) > start+f.pageSize {
		return f.base.read(tls, file, buf, n, offset)
	}
	page := libc.Xmalloc(tls, libc.Tsize_t(f.pageSize))
	if page == 0 {
		return sqlite3.SQLITE_IOERR_NOMEM
	}
	defer libc.Xfree(tls, page)
	rc := f.verify(tls, file, bytesAt(page, int32(f.pageSize)), start, f.base.read(tls, file, page, int32(f.pageSize), start))
	if rc == sqlite3.SQLITE_OK {
		copy(bytesAt(buf, n), bytesAt(page, int32(f.pageSize))[offset-start:])
	}
	return rc
}

// vfsWrite writes the trailers of pages. They lie in bytes of SQLite's page that it does
// not use.
func vfsWrite(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32 {
	f := *checkedFileOf(file)
	if offset == 0 && n >= 512 && checkedPageSize(bytesAt(buf, n)) == int(n) {
		f.pageSize = int64(n)
	}
	if f.pageSize > 0 && int64(n) == f.pageSize && offset%f.pageSize == 0 {
		SetChecksum(offset/f.pageSize+1, bytesAt(buf, n))
	}
	return f.base.write(tls, file, buf, n, offset)
}

// reserveTrailers makes SQLite leave room for trailers in the pages of a new file that is
// opened with the layer. SQLite calls it with each new connection. An existing file stays
// as it is.
func reserveTrailers(tls *libc.TLS, db, _, _ uintptr) int32 {
	arg := libc.Xcalloc(tls, 1, 8)
	if arg == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	defer libc.Xfree(tls, arg)
	rc := sqlite3.Xsqlite3_file_control(tls, db, 0, sqlite3.SQLITE_FCNTL_VFS_POINTER, arg)
	if rc != sqlite3.SQLITE_OK || *at[uintptr](arg) != addressOf(vfs) {
		return sqlite3.SQLITE_OK
	}
	*at[int64](arg) = 0
	*at[int32](arg) = trailerBytes
	sqlite3.Xsqlite3_file_control(tls, db, 0, sqlite3.SQLITE_FCNTL_RESERVE_BYTES, arg)
	return sqlite3.SQLITE_OK
}
