package cmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

func kvListCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "list", Usage: "list keys in order", ArgsUsage: "[PREFIX]",
		Description: `Lists the keys that begin with PREFIX, or all, in order. Each page of a group
shows one moment; the whole listing does not.

--from and --to bound the keys, --desc begins with the last. To go on with a
listing, give --after the last key that it showed, and the same options as before.

With -o json one object per line: {"key":…,"value":…,"version":…}; with --count
{"count":N}.`,
		Flags: append(rangeFlags(),
			&cli.BoolFlag{Name: "desc", Usage: "the last key first"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` keys; 0: all"},
			&cli.BoolFlag{Name: "keys", Usage: "without the values"},
			&cli.BoolFlag{Name: "count", Usage: "only how many keys there are; the nodes count them"},
		),
		Action: con.action(kvList),
	})
}

func kvExportCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "export", Usage: "print keys with their values, one JSON object per line", ArgsUsage: "[PREFIX]",
		Description: `Prints the keys that begin with PREFIX, or all, in order, as kv import reads them:

    {"key":"a/b","value":"text","version":17}
    {"key_base64":"/wA=","value_base64":"//79","version":18}

The base64 form is for keys and values that are not valid UTF-8. --from and --to bound
the keys, --after goes on behind the last key of an export that was cut short. --read
local prints the first endpoint's own copy, which may lag. Where standard error is a
terminal, and standard output is not, a line shows how far it is.`,
		Flags:  append(rangeFlags(), readFlag()),
		Action: con.action(kvExport),
	})
}

// rangeFlags bound a listing: [rangeOf] reads them. --after continues one that has ended early.
func rangeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "after", DefaultText: "all", Usage: "only keys that come after `K`"},
		&cli.StringFlag{Name: "from", DefaultText: "the first", Usage: "only keys from `K` on"},
		&cli.StringFlag{Name: "to", DefaultText: "no end", Usage: "only keys below `K`"},
	}
}

// rangeOf reads [rangeFlags] into o. Bounds between which no key with the prefix can be are a mistake
// of the command line, which a node would refuse.
func rangeOf(c *cli.Context, o *client.ListOptions) error {
	o.From, o.To = []byte(c.String("from")), []byte(c.String("to"))
	prefix := []byte(c.Args().First())
	end := shardmap.EndOfPrefix(prefix)
	switch {
	case len(o.To) > 0 && bytes.Compare(o.To, o.From) <= 0:
		return usagef("%s: --to %s, --from %s; want an end that comes behind the beginning", c.Command.HelpName, shown(o.To), shown(o.From))
	case end != nil && bytes.Compare(o.From, end) >= 0:
		return usagef("%s: --from %s with prefix %s; want a beginning below %s, where the keys with that prefix end", c.Command.HelpName, shown(o.From), shown(prefix), shown(end))
	case len(o.To) > 0 && bytes.Compare(o.To, prefix) <= 0:
		return usagef("%s: --to %s with prefix %s; want an end that comes behind the prefix", c.Command.HelpName, shown(o.To), shown(prefix))
	}
	if c.IsSet("after") {
		o.After = []byte(c.String("after"))
	}
	return nil
}

type lineRow struct {
	itemText
	Version uint64 `json:"version"`
}

func kvList(con *console, c *cli.Context) error {
	o := client.ListOptions{Descending: c.Bool("desc"), KeysOnly: c.Bool("keys"), Limit: c.Int("limit")}
	if err := rangeOf(c, &o); err != nil {
		return err
	}
	if c.Bool("count") {
		return kvCount(con, c, o)
	}
	return listItems(con, c, o, listAsAsked)
}

// listedRow is what kv list prints of a key, or, with --count, of all.
type listedRow struct {
	itemText
	Version uint64  `json:"version,omitempty"`
	Count   *uint64 `json:"count,omitempty"`
}

// kvCount prints how many keys a listing would show.
func kvCount(con *console, c *cli.Context, o client.ListOptions) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	for _, other := range []string{"desc", "keys", "limit"} {
		if c.IsSet(other) {
			return usagef("muster kv list: --count and --%s; want one of them", other)
		}
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		n, err := client.Count(ctx, s.client, []byte(c.Args().First()), o)
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(listedRow{Count: &n})
		}
		return s.line("%d", n)
	})
}

func kvExport(con *console, c *cli.Context) error {
	local, err := readsLocal(c)
	if err != nil {
		return err
	}
	o := client.ListOptions{Local: local}
	if err := rangeOf(c, &o); err != nil {
		return err
	}
	return listItems(con, c, o, listAsLines)
}

// listForm is how a list is printed.
type listForm int

const (
	listAsAsked listForm = iota // by -o
	listAsLines                 // a JSON object per line, as kv import reads them
)

// tableRows is how many rows of a long list are aligned with each other before
// they are printed: the list is never held as a whole.
const tableRows = 500

// listGrowth is by how much the heap of a listing may grow between two collections, in percent of what is live. Its
// live part is a window for each group, and rows that were printed; at the 100 of the runtime, a command on a busy host
// grew beyond 64 MB.
const listGrowth = 50

// growLittle has the heap of the process grow by listGrowth until the function that it returns is called. It leaves a node
// alone, which runs commands over HTTP, and a person who has set GOGC.
func growLittle(s *errand) (done func()) {
	if s.call != nil || os.Getenv("GOGC") != "" {
		return func() {}
	}
	was := debug.SetGCPercent(listGrowth)
	return func() { debug.SetGCPercent(was) }
}

func listItems(con *console, c *cli.Context, o client.ListOptions, form listForm) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	if o.Limit < 0 {
		return usagef("muster kv list: --limit %d; want 0 for all, or more", o.Limit)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	defer growLittle(s)()
	asJSON := s.json || form == listAsLines
	head := []string{"KEY", "VERSION"}
	if !o.KeysOnly {
		head = append(head, "VALUE")
	}
	var rows *table
	var line []byte
	count := 0
	var progress *exportMeter
	if form == listAsLines {
		progress = newExportMeter(c.Context, s, []byte(c.Args().First()), o)
		defer progress.clear()
	}
	err = eachItem(c.Context, s, []byte(c.Args().First()), o, func(i client.ListItem) error {
		count++
		if asJSON {
			line = appendLine(line[:0], i, o.KeysOnly)
			_, err := s.out.Write(line)
			progress.wrote(len(line))
			if s.call != nil {
				s.call.mark(s.out, base64.StdEncoding.EncodeToString(i.Key))
			}
			return err
		}
		if rows == nil {
			rows = newTable(s.out, head...)
		}
		rows.text = appendCell(rows.text, i.Key)
		rows.endCell()
		rows.text = strconv.AppendUint(rows.text, i.Version, 10)
		rows.endCell()
		if !o.KeysOnly {
			rows.text = appendCell(rows.text, i.Value)
			rows.endCell()
		}
		rows.endRow()
		if count%tableRows == 0 {
			return rows.Flush()
		}
		return nil
	})
	if rows != nil {
		if ferr := rows.Flush(); err == nil {
			err = ferr
		}
	}
	return err
}

// exportMeter shows how far an export is. A nil one shows nothing.
type exportMeter struct {
	meter
	keys  int
	total uint64 // keys that there were at the beginning; 0: nobody knows
	bytes uint64 // that were printed
}

// newExportMeter returns nil where nobody would see the line, or where it would stand between the lines of the export.
func newExportMeter(ctx context.Context, s *errand, prefix []byte, o client.ListOptions) *exportMeter {
	if !s.watched || s.terminal {
		return nil
	}
	m := &exportMeter{meter: meter{console: s.console}}
	if !o.Local { // another copy may have more keys, and others
		// The listing itself says what is wrong; a cluster below [shardmap.RangesLevel] counts nothing.
		_ = s.with(ctx, func(ctx context.Context) (err error) {
			m.total, err = client.Count(ctx, s.client, prefix, o)
			return err
		})
	}
	return m
}

// wrote counts a line of some bytes.
func (m *exportMeter) wrote(bytes int) {
	if m == nil {
		return
	}
	m.keys++
	m.bytes += uint64(bytes)
	if !m.due() {
		return
	}
	if m.total == 0 {
		m.draw(fmt.Sprintf("export: %s, %s", counted(m.keys, "key"), showBytes(m.bytes)))
		return
	}
	m.draw(fmt.Sprintf("export %s %d of %s, %s", bar(uint64(m.keys), m.total), m.keys, counted(int(m.total), "key"), showBytes(m.bytes)))
}

func (m *exportMeter) clear() {
	if m != nil {
		m.meter.clear()
	}
}

// appendLine appends an item as a line of JSON, as [marshalLine] makes one of a [lineRow]: the encoder of any value takes
// five times as long for each, and a long listing has a lot of them.
func appendLine(b []byte, i client.ListItem, keysOnly bool) []byte {
	b = appendText(append(b, '{'), "key", i.Key)
	if !keysOnly {
		b = appendText(append(b, ','), "value", i.Value)
	}
	b = strconv.AppendUint(append(b, `,"version":`...), i.Version, 10)
	return append(b, "}\n"...)
}

// eachItem calls f with each key under prefix, in order. The timeout is how long
// it may take until the next one.
func eachItem(ctx context.Context, s *errand, prefix []byte, o client.ListOptions, f func(client.ListItem) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(s.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	count := 0
	for item, err := range s.client.List(ctx, prefix, o) {
		if err != nil {
			// Where no endpoint could be used, that is what the error says.
			if cause := context.Cause(ctx); cause == context.DeadlineExceeded && statusOf(err) == exitNoResult {
				err = withStatus(exitNoResult, "list: no answer within %v, after %d keys: %w", s.timeout, count, err)
			}
			return firstOnly(s, o.Local, err)
		}
		// How long the reader of our output takes is its own affair.
		late.Stop()
		if err := f(item); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		late.Reset(s.timeout)
		count++
	}
	return nil
}
