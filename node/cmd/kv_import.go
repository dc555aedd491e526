package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
)

const (
	// importBytesMax bounds the keys and values under way, in bytes. One item
	// may be larger; it then goes alone.
	importBytesMax = 32 << 20
	// importTimeoutDefault lets one write outlive the loss of a leader on a
	// cluster that is busy with the other writes of the import.
	importTimeoutDefault = time.Minute
)

func kvImportCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "import", Usage: "write the lines that kv export printed", ArgsUsage: "FILE|-",
		Description: `FILE has one JSON object per line, as kv export prints them; "-" is standard input:

    {"key":"a/b","value":"text"}
    {"key_base64":"/wA=","value_base64":"//79"}

Other fields are ignored. Lines with the same key are written in their
order, all others in parallel; the file is never held in memory as a whole.

If the cluster refuses a line for its own sake, for example a value over the
limit, the import reports it on standard error with its line, key and size,
continues, and ends with status 8. It stops at a line that it can't read, with
status 1, and at a write that has no result in time, with status 6; the error
then names the first line that was not tried. A line before that which is not
counted as written may have been written all the same; importing it again does
no harm.

On a terminal a line on standard error shows how far it is.

Prints: {"written":N,"failed":N}; nothing if the import could not begin.`,
		Flags: []cli.Flag{&cli.DurationFlag{Name: "timeout", Value: importTimeoutDefault,
			Usage: "how long `D` one write may take, retries included, up to 5m [$MUSTER_TIMEOUT]"}},
		Action: con.action(kvImport),
	})
}

func kvImport(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	in, name, err := con.input(c.Args().First())
	if err != nil {
		return err
	}
	defer in.Close()
	if err := noDirectory(in, name, "a file with the lines of kv export"); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()

	m := newImporter(s, name)
	m.total = sizeOf(in)
	err = m.run(c.Context, in)
	if statusOf(err) == exitNoEndpoint && m.written == 0 {
		return err
	}
	if perr := printCounts(s, m.written, m.failed); perr != nil && err == nil {
		return perr
	}
	if err == nil && m.failed > 0 {
		return errQuiet(exitPartly)
	}
	return err
}

// sizeOf returns how many bytes there are to read, 0 where that is not known: of a pipe, or a terminal.
func sizeOf(in io.Reader) uint64 {
	f, ok := in.(*os.File)
	if !ok {
		return 0
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return uint64(info.Size())
	}
	return 0
}

type countsRow struct {
	Written int `json:"written"`
	Failed  int `json:"failed"`
}

func printCounts(s *errand, written, failed int) error {
	if s.json {
		return s.printJSON(countsRow{written, failed})
	}
	t := newTable(s.out, "WRITTEN", "FAILED")
	t.row(number(written), number(failed))
	return t.Flush()
}

// importer writes the items of one import: the command's goroutine reads lines
// and hands them to a Bulk, which has as many under way as there is room for. A
// line whose key is under way waits until all that is has ended; exports have
// each key once, so this costs only those who need it. (With 64 goroutines that
// set one key after the other, small lines took eight times as long.)
type importer struct {
	*errand
	name  string // of the input
	total uint64 // its bytes; 0: nobody knows
	bulk  *client.Bulk

	mu              sync.Mutex // guards what follows
	read            uint64     // bytes of the input that were read
	progress        meter
	lines           map[uint64]importLine
	keys            map[string]struct{} // of lines
	written, failed int
	fatal           error  // the first that is more than one item's
	untried         uint64 // the first line that was read and not tried; 0: none
}

// importLine is a line whose write is under way.
type importLine struct {
	key        string
	valueBytes int
}

func newImporter(s *errand, name string) *importer {
	return &importer{errand: s, name: name, progress: meter{console: s.console}, lines: map[uint64]importLine{}, keys: map[string]struct{}{}}
}

func (m *importer) run(ctx context.Context, in io.Reader) error {
	m.bulk = m.client.Bulk(ctx, importBytesMax, m.end)
	m.bulk.Within(m.timeout)
	err := m.each(in)
	m.bulk.Wait()
	m.progress.clear() // no other goroutine draws it any more
	if m.fatal != nil && m.untried > 0 {
		return fmt.Errorf("%w; the lines from %d on were not tried", m.fatal, m.untried)
	}
	if m.fatal != nil {
		return m.fatal
	}
	return err
}

// each hands out one item per line until the input ends, a line can't be read,
// or a write meets an error that is not one item's.
func (m *importer) each(in io.Reader) error {
	lines := newLineReader(&importInput{in, m}, lineMax)
	for {
		line, err := lines.next()
		var long *errLineLong
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &long):
			m.refuse(fmt.Sprintf("%s: line %d: %v", m.name, lines.number, long))
			continue
		case err != nil:
			if where := (*fs.PathError)(nil); errors.As(err, &where) {
				err = where.Err // the name stands before it
			}
			return fmt.Errorf("%s: line %d: %w", m.name, lines.number, err)
		}
		key, value, err := parseLine(line)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", m.name, lines.number, err)
		}
		if !m.begin(uint64(lines.number), key, value) {
			m.untried = uint64(lines.number)
			return nil // run has the error
		}
		m.bulk.Set(key, value, uint64(lines.number))
	}
}

// importInput counts what is read of the input.
type importInput struct {
	io.Reader
	importer *importer
}

func (r *importInput) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.importer.mu.Lock()
	defer r.importer.mu.Unlock()
	r.importer.read += uint64(n)
	return n, err
}

// show draws now and then how far the import is. The caller holds mu.
func (m *importer) show() {
	if m.progress.due() {
		m.progress.draw(importProgress(m.read, m.total, m.written))
	}
}

// importProgress is how far an import is, for a person: what was read runs ahead of what is written, by
// [importBytesMax] at most.
func importProgress(read, total uint64, written int) string {
	if total == 0 {
		return fmt.Sprintf("import: %s written, %s read", counted(written, "key"), showBytes(read))
	}
	return fmt.Sprintf("import %s %s written, %s of %s read", bar(read, total), counted(written, "key"), showBytes(read), showBytes(total))
}

// begin notes a line, once no other with its key is under way; it says false
// when the import has ended.
func (m *importer) begin(line uint64, key, value []byte) bool {
	m.mu.Lock()
	_, busy := m.keys[string(key)]
	m.mu.Unlock()
	if busy {
		m.bulk.Wait()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fatal != nil {
		return false
	}
	x := importLine{string(key), len(value)}
	m.lines[line] = x
	m.keys[x.key] = struct{}{}
	return true
}

// end is told what became of a line. It is called by the Bulk.
func (m *importer) end(line uint64, _ client.Written, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.lines[line]
	delete(m.lines, line)
	delete(m.keys, x.key)
	switch {
	case err == nil:
		m.written++
		m.show()
	case isItemsOwn(err):
		m.failed++
		m.progress.clear()
		m.warnf("%s: line %d: value of %d bytes: set %s: %s", m.name, line, x.valueBytes, shown([]byte(x.key)), oneLine(err))
	default:
		m.failed++
		if m.fatal == nil {
			m.fatal = fmt.Errorf("%s: line %d: set %s: %w", m.name, line, shown([]byte(x.key)), err)
		}
	}
}

func (m *importer) refuse(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed++
	m.progress.clear()
	m.warnf("%s", text)
}

// isItemsOwn reports whether err is about one item, so that the next may do well.
func isItemsOwn(err error) bool {
	return errors.Is(err, client.ErrTooLarge) || errors.Is(err, client.ErrBadRequest) || errors.Is(err, client.ErrConflict)
}
