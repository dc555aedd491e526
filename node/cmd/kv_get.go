package cmd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
)

func kvGetCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "get", Usage: "read keys", ArgsUsage: "K…",
		Description: `Prints the value of one key and a newline after it, or a table of several keys. On a terminal,
anything that would steer it is shown as an escape. --raw prints the value of one key
unchanged, with nothing after it; -o json and kv export print values exactly too. Ends with
status 4 if a key does not exist, and with 8 if some of several could not be read.

A read sees every write that was answered before it began. That holds for --read follower
too, which any replica answers; it asks the leader from where on it may. --max-stale allows an
answer that was the newest at most so long ago, and mostly spares that question. --read local asks the
first endpoint's own copy instead, however old; "at" says how far it is. --after waits for a
write of the key's group, or of one that had its slot before, named by the log id it was
answered with.

Keys of one slot are read at one moment, others are not. --at-once reads all of them at one,
if one group has them; else it names two of different groups.

With -o json: {"items":[{"key":"K","value":"V","version":17,"slot":1234,"group":1,"at":"g1/2.17"}],"missing":["X"]}
A key that ends by itself also has "remaining_ms", what is left of its time, and "lease" if
it ends with a lease.`,
		Flags: []cli.Flag{
			readHowFlag(),
			&cli.DurationFlag{Name: "max-stale", DefaultText: "not at all", Usage: "how old `D` the answer may be, up to 1h"},
			afterFlag(),
			&cli.BoolFlag{Name: "at-once", Usage: "read all keys at one moment"},
			&cli.BoolFlag{Name: "raw", Usage: "print the value unchanged, even to a terminal, and no newline after it"},
		},
		Action: con.action(kvGet),
	})
}

// readHows are the values that [readHow] takes, and readsLocals those of [readsLocal].
var (
	readHows    = []string{"linearizable", "follower", "local"}
	readsLocals = []string{"linearizable", "local"}
)

// given are the options that a command was given: on a command line, or by a request over HTTP.
type given interface {
	IsSet(option string) bool
	String(option string) string
	Bool(option string) bool
	Uint64(option string) uint64
	Duration(option string) time.Duration
}

// readHow reads --read where any replica may be asked.
func readHow(c *cli.Context) (client.ReadOptions, error) { return readsHow(c, c.Command.HelpName) }

// readsHow is [readHow] of options that are not only those of a command line.
func readsHow(c given, command string) (o client.ReadOptions, err error) {
	switch r := c.String("read"); r {
	case "linearizable":
	case "follower":
		o.Follower = true
	case "local":
		o.Local = true
	default:
		return o, usagef("%s: --read %q; want linearizable, follower or local", command, r)
	}
	return o, nil
}

// readHowFlag is the option that [readHow] reads.
func readHowFlag() cli.Flag {
	return &cli.StringFlag{Name: "read", Value: "linearizable", Usage: "`HOW` to read: linearizable, follower or local"}
}

// readOptionsOf reads how fresh the answer of a get must be.
func readOptionsOf(c given) (o client.ReadOptions, err error) {
	if o, err = readsHow(c, "muster kv get"); err != nil {
		return o, err
	}
	if c.IsSet("max-stale") {
		o.MaxStale = c.Duration("max-stale")
		switch {
		case c.IsSet("read"):
			return o, usagef("muster kv get: --max-stale and --read contradict each other; give one")
		case o.MaxStale < time.Millisecond || o.MaxStale > client.MaxStaleMax:
			return o, usagef("muster kv get: --max-stale %s; want 1ms to %s", o.MaxStale, hours(client.MaxStaleMax))
		}
	}
	o.AtOnce = c.Bool("at-once")
	if c.IsSet("after") {
		if o.AfterGroup, o.After, err = raft.ParseLogID(c.String("after")); err != nil {
			return o, usagef("muster kv get: --after: %v", err)
		}
	}
	return o, nil
}

// readFlag is the option that [readsLocal] reads.
func readFlag() cli.Flag {
	return &cli.StringFlag{Name: "read", Value: "linearizable", Usage: "`HOW` to read: linearizable or local"}
}

func afterFlag() cli.Flag {
	return &cli.StringFlag{Name: "after", Usage: "wait until the copy that is read has reached `LOGID`, as in g3/7.10432"}
}

// readsLocal reads --read where only a leader or this copy may be asked.
func readsLocal(c *cli.Context) (bool, error) {
	switch r := c.String("read"); r {
	case "local":
		return true, nil
	case "linearizable":
		return false, nil
	default:
		return false, usagef("%s: --read %q; want linearizable or local", c.Command.HelpName, r)
	}
}

type gotRow struct {
	itemText
	Version uint64 `json:"version"`
	Slot    int    `json:"slot"`
	Group   int    `json:"group"`
	At      string `json:"at"`
	// Of a key that ends by itself: what is left of its time, and the lease with which it ends.
	Remaining *int64 `json:"remaining_ms,omitempty"`
	Lease     string `json:"lease,omitempty"`
}

type gotRows struct {
	Items         []gotRow `json:"items"`
	Missing       []string `json:"missing"`
	MissingBase64 []string `json:"missing_base64,omitempty"` // keys that are not valid UTF-8
}

func kvGet(con *console, c *cli.Context) error {
	keys, err := keysOf(c)
	if err != nil {
		return err
	}
	o, err := readOptionsOf(c)
	if err != nil {
		return err
	}
	if c.Bool("raw") && len(keys) > 1 {
		return usagef("muster kv get: --raw prints one value and nothing around it, and there are %d keys; leave it out, or use -o json", len(keys))
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		items, missing, err := s.client.Get(ctx, keys, o)
		failed, err := gotPart(c.Context, s, keys, o, err)
		if err != nil {
			return err
		}
		if s.json {
			err = s.printJSON(json.RawMessage(gotLine(items, missing)))
		} else {
			err = printGot(s, formOf(c, len(keys), s.terminal), items)
		}
		switch {
		case err != nil:
			return err
		case len(failed) > 0:
			return errQuiet(exitPartly)
		case len(missing) == 0:
			return nil
		case s.json:
			return errQuiet(exitNotFound)
		}
		return withStatus(exitNotFound, "not found: %s", joinPrintable(missing))
	})
}

// gotPart is [partly] for keys that were read; rest says where the replica stands, if that is why.
func gotPart(ctx context.Context, s *errand, keys [][]byte, o client.ReadOptions, err error) (failed map[int]bool, rest error) {
	if err == nil {
		return nil, nil
	}
	if failed, err = partly(s, err, len(keys)); err != nil {
		return nil, firstOnly(s, o.Local, behind(ctx, s, keys, o, err))
	}
	return failed, nil
}

// firstOnly says of a local read that could not be made, where other endpoints
// are given, why these were not asked.
func firstOnly(s *errand, local bool, err error) error {
	if local && len(s.endpoints) > 1 && (statusOf(err) == exitNoEndpoint || statusOf(err) == exitNoResult) {
		return fmt.Errorf("--read local asks the first endpoint only, %s: %w", s.first(), err)
	}
	return err
}

// behindMax bounds the question where a replica stands, after the timeout.
const behindMax = time.Second

// behind says of a read that was to wait for a log id, and has waited too long,
// where the replica stands: no node need be missing for it.
func behind(ctx context.Context, s *errand, keys [][]byte, o client.ReadOptions, err error) error {
	if o.After == (raft.LogID{}) || statusOf(err) != exitNoResult {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, behindMax)
	defer cancel()
	endpoint := ""
	if o.Local {
		endpoint = s.first()
	}
	a, serr := s.client.Status(ctx, endpoint)
	if serr != nil {
		return err
	}
	for _, g := range a.Groups {
		if g.ID == o.AfterGroup && g.Commit.Index < o.After.Index {
			return withStatus(exitNoResult, "get %s: not at %s within %v: group %s stands at %s, says node %s; wait for that write, or leave --after out",
				shown(keys[0]), raft.FormatLogID(g.ID, o.After), s.timeout, g.ID, raft.FormatLogID(g.ID, g.Commit), nodeNames(a.Nodes)(a.Self))
		}
	}
	return err
}

// gotLine returns the line of JSON with what a get found: [gotRows], to the last byte as [marshalLine] makes it. It is put
// together by hand, because encoding/json takes some microseconds for it.
func gotLine(items []client.Item, missing [][]byte) []byte {
	size := 64
	for i := range items {
		size += len(items[i].Key) + len(items[i].Value) + 128
	}
	for _, k := range missing {
		size += len(k) + 3
	}
	b := append(make([]byte, 0, size), `{"items":[`...)
	for i := range items {
		x := &items[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, '{'), "key", x.Key)
		b = appendText(append(b, ','), "value", x.Value)
		b = strconv.AppendUint(append(b, `,"version":`...), x.Version, 10)
		b = strconv.AppendUint(append(b, `,"slot":`...), uint64(x.Slot), 10)
		b = strconv.AppendUint(append(b, `,"group":`...), uint64(x.Group), 10)
		b = append(append(append(b, `,"at":"`...), raft.FormatLogID(x.Group, x.At)...), '"')
		if x.Ends {
			b = strconv.AppendInt(append(b, `,"remaining_ms":`...), x.Remaining.Milliseconds(), 10)
			if x.Lease != 0 {
				b = append(append(append(b, `,"lease":"`...), x.Lease.String()...), '"')
			}
		}
		b = append(b, '}')
	}
	b = append(b, `],"missing":[`...)
	var odd [][]byte // not valid UTF-8
	first := true
	for _, k := range missing {
		if !utf8.Valid(k) {
			odd = append(odd, k)
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b, first = appendQuoted(b, k), false
	}
	b = append(b, ']')
	for i, k := range odd {
		if i == 0 {
			b = append(b, `,"missing_base64":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), k), '"')
	}
	if len(odd) > 0 {
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

// gotForm is how values are printed for people.
type gotForm int

const (
	gotTable gotForm = iota // several would run together
	gotBare                 // as it is, and nothing else
	gotRaw                  // as it is, with a newline behind it, so that a script can take it
	gotPlain                // its lines, without what would steer the terminal
)

func formOf(c *cli.Context, keys int, terminal bool) gotForm {
	switch {
	case keys > 1:
		return gotTable
	case c.Bool("raw"):
		return gotBare
	case terminal:
		return gotPlain
	}
	return gotRaw
}

func printGot(s *errand, form gotForm, items []client.Item) error {
	switch form {
	case gotBare:
		for _, i := range items {
			s.out.Write(i.Value)
		}
		return nil
	case gotRaw:
		for _, i := range items {
			s.out.Write(i.Value)
			s.out.WriteByte('\n')
		}
		return nil
	case gotPlain:
		for _, i := range items {
			for line := range strings.SplitSeq(string(i.Value), "\n") {
				s.line("%s", line)
			}
		}
		return nil
	}
	if len(items) == 0 {
		return nil
	}
	t := newTable(s.out, "KEY", "VERSION", "AT", "VALUE")
	for _, i := range items {
		t.row(cell(i.Key), number(i.Version), raft.FormatLogID(i.Group, i.At), cell(i.Value))
	}
	return t.Flush()
}

func joinPrintable(keys [][]byte) string {
	var all []string
	for _, k := range keys {
		all = append(all, shown(k))
	}
	return strings.Join(all, ", ")
}
