package sqlitefile

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A SalvageReport says what Salvage found.
type SalvageReport struct {
	Pages        int64            // of the file, according to its size
	DamagedPages int              // of those that are in use
	Rows         map[string]int64 // copied, by table
	Incomplete   map[string]bool  // tables of which something is lost
}

// Salvage copies what can be read of a file that no program has open into a new one, which
// has checksums. template is a file with the same tables, for a file whose schema cannot
// be read.
func Salvage(ctx context.Context, oldPath, newPath, template string) (*SalvageReport, error) {
	report, err := salvage(ctx, oldPath, newPath, template)
	if err != nil {
		return nil, fmt.Errorf("salvage %s: %w", oldPath, err)
	}
	return report, nil
}

func salvage(ctx context.Context, oldPath, newPath, template string) (*SalvageReport, error) {
	old, err := openPages(oldPath)
	if err != nil {
		return nil, err
	}
	defer old.close()
	schema, err := old.readSchemaOrTemplate(template)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(newPath, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// The file is of use only when it is complete, so it needs no journal.
	db, err := Open(newPath, fmt.Sprintf("page_size(%d)", old.pageSize), "auto_vacuum(incremental)", "journal_mode(memory)", "synchronous(off)")
	if err != nil {
		return nil, err
	}
	c := &tableCopier{old: old, report: &SalvageReport{Pages: old.pageCount, Rows: make(map[string]int64), Incomplete: make(map[string]bool)}}
	db.SetMaxOpenConns(1)
	err = c.copyAll(ctx, db, schema)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	c.report.DamagedPages = len(old.damaged)
	return c.report, syncFile(newPath)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// A schemaObject is a row of a file's schema.
type schemaObject struct {
	kind, name, sql string
	root            int64
}

// A fileSchema is the schema of a file and its user_version.
type fileSchema struct {
	objects []schemaObject
	version uint32
}

// readSchemaOrTemplate returns the file's schema, or the template's if it is not complete.
func (r *pageReader) readSchemaOrTemplate(template string) (fileSchema, error) {
	schema, complete, err := r.readSchema()
	if err != nil || complete {
		return schema, err
	}
	like, err := openPages(template)
	if err != nil {
		return schema, err
	}
	defer like.close()
	made, _, err := like.readSchema()
	if err != nil {
		return schema, err
	}
	roots, n := r.rootsInPointerMap(), 0
	slices.Sort(roots)
	slices.SortStableFunc(made.objects, func(a, b schemaObject) int { return int(a.root - b.root) })
	for i := range made.objects {
		o := &made.objects[i]
		if o.root == 0 {
			continue
		}
		if n < len(roots) {
			o.root = roots[n]
		}
		n++
	}
	if n != len(roots) {
		return schema, fmt.Errorf("its schema cannot be read, and it has %d tables and indexes instead of %d: %w", len(roots), n, ErrDamaged)
	}
	return made, nil
}

func (r *pageReader) readSchema() (schema fileSchema, complete bool, err error) {
	first, err := r.page(1)
	if err == nil {
		schema.version = binary.BigEndian.Uint32(first[60:])
	}
	w := &treeWalk{pages: r, seen: make(map[int64]bool), visit: func(o row) error {
		if len(o.values) < 5 {
			return nil
		}
		kind, _ := o.values[0].(string)
		name, _ := o.values[1].(string)
		root, _ := o.values[3].(int64)
		text, _ := o.values[4].(string)
		schema.objects = append(schema.objects, schemaObject{kind, name, text, root})
		return nil
	}}
	err = w.walk(1)
	return schema, w.lost == 0, err
}

// A tableCopier copies the rows of a file's tables.
type tableCopier struct {
	old    *pageReader
	report *SalvageReport
}

func (c *tableCopier) copyAll(ctx context.Context, db *sql.DB, schema fileSchema) error {
	for _, tables := range []bool{true, false} { // indexes are faster to make at the end
		for _, o := range schema.objects {
			if o.sql == "" || strings.HasPrefix(o.name, "sqlite_") || (o.kind == "table") != tables {
				continue
			}
			if _, err := db.ExecContext(ctx, o.sql); err != nil {
				return fmt.Errorf("create %s: %w", o.name, err)
			}
			if o.kind != "table" {
				continue
			}
			if err := c.copyTable(ctx, db, o); err != nil {
				return fmt.Errorf("copy table %s: %w", o.name, err)
			}
		}
	}
	_, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schema.version))
	return err
}

// copyTable copies the rows of a table that can be read and are valid.
func (c *tableCopier) copyTable(ctx context.Context, db *sql.DB, table schemaObject) error {
	columns, err := storedColumns(ctx, db, table.name)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	inserts := make(map[int]*sql.Stmt) // by number of values
	w := &treeWalk{pages: c.old, seen: make(map[int64]bool)}
	w.visit = func(r row) error {
		n := min(len(r.values), len(columns.names)) // a row may be older than the last columns
		if n == 0 {
			w.lost++
			return nil
		}
		if columns.rowID >= 0 && columns.rowID < n {
			r.values[columns.rowID] = r.id
		}
		insert := inserts[n]
		if insert == nil {
			if insert, err = tx.PrepareContext(ctx, columns.insertSQL(table.name, n)); err != nil {
				return err
			}
			inserts[n] = insert
		}
		if _, err := insert.ExecContext(ctx, r.values[:n]...); err != nil {
			if ctx.Err() != nil {
				return err
			}
			w.lost++ // it breaks a constraint: it is not a row
			return nil
		}
		c.report.Rows[table.name]++
		return nil
	}
	if err := w.walk(table.root); err != nil {
		return err
	}
	if w.lost > 0 {
		c.report.Incomplete[table.name] = true
	}
	return tx.Commit()
}

// tableColumns are the columns of a table in the order in which its rows have them.
type tableColumns struct {
	names []string
	rowID int // the column that is the id of the row, -1 if none
}

func storedColumns(ctx context.Context, db *sql.DB, table string) (tableColumns, error) {
	c := tableColumns{rowID: -1}
	var withoutRowID bool
	if err := db.QueryRowContext(ctx, "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", table).Scan(&withoutRowID); err != nil {
		return c, err
	}
	order := "cid"
	if withoutRowID {
		order = "pk = 0, pk, cid"
	}
	rows, err := db.QueryContext(ctx, "SELECT name, pk > 0 AND upper(type) = 'INTEGER' FROM pragma_table_info(?) ORDER BY "+order, table)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var integerKey bool
		if err := rows.Scan(&name, &integerKey); err != nil {
			return c, err
		}
		if integerKey && !withoutRowID {
			c.rowID = len(c.names)
		}
		c.names = append(c.names, name)
	}
	return c, rows.Err()
}

// insertSQL inserts the values of a row's first columns. What is there already stays.
func (c *tableColumns) insertSQL(table string, columns int) string {
	quoted := make([]string, columns)
	for i, name := range c.names[:columns] {
		quoted[i] = `"` + name + `"`
	}
	return fmt.Sprintf(`INSERT INTO "%s" (%s) VALUES (%s)`, table, strings.Join(quoted, ", "), strings.TrimSuffix(strings.Repeat("?, ", columns), ", "))
}
