package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/wire"
)

const (
	// importLanes is how many writes of one import are under way at a time:
	// enough to fill the batches of every group of a small cluster.
	importLanes = 64
	// importBytesMax bounds the keys and values under way, in bytes. One item
	// may be larger; it then goes alone.
	importBytesMax = 32 << 20
	// importTimeoutDefault lets one write outlive the loss of a leader on a
	// cluster that is busy with the other writes of the import.
	importTimeoutDefault = time.Minute
)

func (t *tool) kvImportCommand() *cli.Command {
	return verb(cli.Command{
		Name: "import", Usage: "write the lines that kv export printed", ArgsUsage: "FILE|-",
		Description: `FILE has one JSON object per line, as kv export prints them; "-" is standard input:

    {"key":"a/b","value":"text"}
    {"key_base64":"/wA=","value_base64":"//79"}

Other fields are passed over. Lines with the same key are written in their
order, all others side by side; the file is never held as a whole.

What the cluster refuses for itself, as a value over its limit, is told on
standard error with its line, key and size, and the import goes on: it then
ends with status 8. A line that can't be read ends it with status 1, and a
write without a result in time with status 6; the lines before may be written,
and importing them again does no harm.

Prints: {"written":N,"failed":N}`,
		Flags: []cli.Flag{&cli.DurationFlag{Name: "timeout", Value: importTimeoutDefault, EnvVars: []string{"MUSTER_TIMEOUT"},
			Usage: "how long `D` one write may take, retries included, up to 5m"}},
		Action: t.kvImport,
	})
}

func (t *tool) kvImport(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	in := t.in
	name := c.Args().First()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	} else {
		name = "standard input"
	}
	s, err := t.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()

	m := newImporter(s)
	err = m.run(c.Context, name, in)
	if perr := s.printCounts(m.written, m.failed); perr != nil && err == nil {
		return perr
	}
	if err == nil && m.failed > 0 {
		return errQuiet(exitPartly)
	}
	return err
}

func (s *session) printCounts(written, failed int) error {
	if s.json {
		return s.printJSON(struct {
			Written int `json:"written"`
			Failed  int `json:"failed"`
		}{written, failed})
	}
	t := newTable(s.out, "WRITTEN", "FAILED")
	t.row(number(written), number(failed))
	return t.Flush()
}

// importer writes the items of one import. The command's goroutine reads
// lines and hands items to lanes; each lane is one goroutine, started and
// awaited by run, that writes one item after the other. Items of one key go to
// one lane, which keeps their order.
type importer struct {
	*session
	seed  maphash.Seed
	lanes [importLanes]chan importItem // from run to its lane; closed by run

	mu              sync.Mutex // guards what follows
	free            sync.Cond  // bytes went down
	bytes           int        // of items handed out and not yet done
	written, failed int
	fatal           error // the first that is more than one item's
}

type importItem struct {
	line       int
	key, value []byte
}

func newImporter(s *session) *importer {
	m := &importer{session: s, seed: maphash.MakeSeed()}
	m.free.L = &m.mu
	for i := range m.lanes {
		m.lanes[i] = make(chan importItem)
	}
	return m
}

func (m *importer) run(ctx context.Context, name string, in io.Reader) error {
	var done sync.WaitGroup
	for _, lane := range m.lanes {
		done.Go(func() {
			for item := range lane {
				m.write(ctx, item)
			}
		})
	}
	err := m.read(name, in)
	for _, lane := range m.lanes {
		close(lane)
	}
	done.Wait()
	if m.fatal != nil {
		return m.fatal
	}
	return err
}

// read hands out one item per line until the input ends, a line can't be read,
// or a lane meets an error that is not one item's.
func (m *importer) read(name string, in io.Reader) error {
	lines := newLineReader(in, lineMax)
	for {
		line, err := lines.next()
		var long *errLineLong
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &long):
			m.refuse(fmt.Sprintf("line %d: %v", lines.number, long))
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		}
		item := importItem{line: lines.number}
		if item.key, item.value, err = parseLine(line); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, lines.number, err)
		}
		if !m.reserve(len(item.key) + len(item.value)) {
			return nil // run has the error
		}
		m.lanes[maphash.Bytes(m.seed, item.key)%importLanes] <- item
	}
}

// reserve waits until n bytes more may be under way; it says false once the
// import has ended.
func (m *importer) reserve(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.fatal == nil && m.bytes > 0 && m.bytes+n > importBytesMax {
		m.free.Wait()
	}
	m.bytes += n
	return m.fatal == nil
}

func (m *importer) write(ctx context.Context, item importItem) {
	m.mu.Lock()
	over := m.fatal != nil
	m.mu.Unlock()
	var err error
	if !over {
		err = m.with(ctx, func(ctx context.Context) error {
			_, err := m.client.Set(ctx, item.key, item.value, client.WriteOptions{})
			return err
		})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes -= len(item.key) + len(item.value)
	m.free.Signal()
	switch {
	case over:
	case err == nil:
		m.written++
	case isItemsOwn(err):
		m.failed++
		m.warnf("line %d: value of %d bytes: %s", item.line, len(item.value), oneLine(err))
	case m.fatal == nil:
		m.fatal = fmt.Errorf("line %d: %w", item.line, err)
	}
}

func (m *importer) refuse(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed++
	m.warnf("%s", text)
}

// isItemsOwn says whether err is about one item, so that the next may do well.
func isItemsOwn(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && (e.Code == wire.CodeTooLarge || e.Code == wire.CodeBadRequest || e.Code == wire.CodeConflict)
}
