package cmd

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
)

func kvWatchCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "watch", Usage: "print what happens to keys, as it happens", ArgsUsage: watchArgs,
		Description: `Watches the keys that begin with PREFIX, or all; with --key one key; with --from-key
and --to-key those from the one up to the other and without it. It goes on until it is
interrupted. The events of each slot come in order and each once, whatever becomes of
nodes and connections, and wherever slots move.

--from continues where a watch of the same keys ended: it takes all the log ids of that
watch's last "progress" or of its "resume", separated by commas. A watch that is
interrupted prints the command that continues it, on standard error, and ends with status
0. If the events since then are no longer kept, the command ends with status 6: watch from
now, then list the keys.

With -o json one object per line: {"type":"set","key":…,"value":…,"version":…,"log_id":…},
of type set, del or expired; --prev adds "prev_version", 0 if the key was not there, and
"prev". {"type":"progress","log_ids":[…]} when it begins and while nothing happens; at the
end {"type":"end","reason":…,"resume":[…]}, whose reason is cancelled (you interrupted it),
compacted, slow (it was not read as long as events are kept) or refused.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "key", DefaultText: "none", Usage: "watch the key `K` alone"},
			&cli.StringFlag{Name: "from-key", DefaultText: "the first", Usage: "the first key `K` that is watched"},
			&cli.StringFlag{Name: "to-key", DefaultText: "none", Usage: "the first key `K` that is not watched any more"},
			&cli.StringSliceFlag{Name: "from", Usage: "continue behind `LOGID,…`, as in g1/2.17 or g1/2.17+3; from now, if not given"},
			&cli.BoolFlag{Name: "prev", Usage: "print what a key had before, too"},
		},
		Action: con.action(kvWatch),
	})
}

const watchArgs = "[PREFIX | --key K | --from-key K --to-key K]"

func kvWatch(con *console, c *cli.Context) error {
	q, err := watchOf(c)
	if err != nil {
		return err
	}
	return watch(con, c, &keyWatcher{query: q})
}

// watchOf reads what is to be watched.
func watchOf(c *cli.Context) (q *client.WatchQuery, err error) {
	if err := wantArgs(c, 0, 1); err != nil {
		return nil, err
	}
	q = &client.WatchQuery{Prefix: []byte(c.Args().First()), Prev: c.Bool("prev")}
	ranged := c.IsSet("from-key") || c.IsSet("to-key")
	switch {
	case c.IsSet("key") && (c.NArg() > 0 || ranged), ranged && c.NArg() > 0:
		return nil, usagef("muster kv watch: a prefix, --key and a range contradict each other; want muster kv watch %s", watchArgs)
	case c.IsSet("key") && c.String("key") == "":
		return nil, usagef("muster kv watch: --key: empty; want a key")
	case c.IsSet("to-key") && c.String("to-key") <= c.String("from-key"):
		return nil, usagef("muster kv watch: --to-key %s; want one behind --from-key %s", shown([]byte(c.String("to-key"))), shown([]byte(c.String("from-key"))))
	case c.IsSet("key"):
		q.Key = []byte(c.String("key"))
	case ranged:
		q.From = []byte(c.String("from-key"))
		if c.IsSet("to-key") {
			q.To = []byte(c.String("to-key"))
		}
	}
	q.Positions, err = positionsOf(c)
	return q, err
}

// keyWatcher is a [watcher] of keys.
type keyWatcher struct{ query *client.WatchQuery }

type watchRow struct {
	Type string `json:"type"`
	itemText
	Version     uint64  `json:"version"`
	LogID       string  `json:"log_id"`
	PrevVersion *uint64 `json:"prev_version,omitempty"` // 0: it was not there
	Prev        *string `json:"prev,omitempty"`
	PrevBase64  *string `json:"prev_base64,omitempty"`
}

func (w *keyWatcher) open(ctx context.Context, c *client.Client) eventWatch[client.WatchEvent] {
	return c.Watch(ctx, *w.query)
}

func (w *keyWatcher) begins() []client.GroupPosition { return w.query.Positions }

func (w *keyWatcher) kind(e *client.WatchEvent) client.WatchKind { return e.Kind }

func (w *keyWatcher) row(e *client.WatchEvent) any {
	row := &watchRow{Type: e.Kind.String(), itemText: keyText(e.Key), Version: e.Version, LogID: eventID(e.Group, e.ID)}
	if e.Kind == client.WatchSet {
		row.itemText = pairText(e.Key, e.Value)
	}
	if w.query.Prev {
		row.PrevVersion = &e.PrevVersion
		if e.Prev != nil {
			row.Prev, row.PrevBase64 = textOrBase64(e.Prev)
		}
	}
	return row
}

func (w *keyWatcher) line(e *client.WatchEvent) string {
	value := ""
	if e.Kind == client.WatchSet {
		value = cell(e.Value)
	}
	switch {
	case !w.query.Prev:
	case e.PrevVersion == 0:
		value += " (was not there)"
	case e.Prev == nil:
		value += fmt.Sprintf(" (was version %d)", e.PrevVersion)
	default:
		value += fmt.Sprintf(" (was %s, version %d)", cell(e.Prev), e.PrevVersion)
	}
	return watchLine(e.Kind.String(), eventID(e.Group, e.ID), number(e.Version), cell(e.Key), value)
}

func (w *keyWatcher) head() string { return watchLine("TYPE", "LOG ID", "VERSION", "KEY", "VALUE") }

// watchLine is a line of the table: its columns don't wait for what comes.
func watchLine(kind, id, version, key, value string) string {
	return strings.TrimRight(fmt.Sprintf("%-8s %-14s %-9s %-20s %s", kind, id, version, key, value), " ")
}

// continuation names the same keys: the positions are those of the groups that have them, and of
// no other.
func (w *keyWatcher) continuation(at []client.GroupPosition) string {
	q := w.query
	words := []string{"muster kv watch"}
	option := func(name string, value []byte) {
		if len(value) > 0 {
			words = append(words, name+"="+forShell(value))
		}
	}
	option("--key", q.Key)
	option("--from-key", q.From)
	option("--to-key", q.To)
	if q.Prev {
		words = append(words, "--prev")
	}
	option("--from", []byte(strings.Join(logIDsOf(at), ",")))
	if bytes.HasPrefix(q.Prefix, []byte("-")) {
		words = append(words, "--")
	}
	if len(q.Prefix) > 0 {
		words = append(words, forShell(q.Prefix))
	}
	return strings.Join(words, " ")
}

// forShell writes an argument as a POSIX shell reads it: one that can be shown as it is, else
// with each byte that can't be as \xff.
func forShell(arg []byte) string {
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.ContainsFunc(string(arg), odd) {
		return "$'" + escaped(arg) + "'"
	}
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:,+@%", r))
	}
	if s := string(arg); s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(string(arg), "'", `'\''`) + "'"
}

// escaped has each byte that is no printable ASCII, and those that end or escape, as \xff.
func escaped(arg []byte) string {
	var s strings.Builder
	for _, b := range arg {
		if b < ' ' || b > '~' || b == '\'' || b == '\\' {
			fmt.Fprintf(&s, `\x%02x`, b)
		} else {
			s.WriteByte(b)
		}
	}
	return s.String()
}
