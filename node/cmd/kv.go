package cmd

import (
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
)

func kvCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "kv", Usage: "set, get, list and move keys with their values"},
		kvSetCommand(con), kvGetCommand(con), kvDelCommand(con), kvListCommand(con),
		kvLocateCommand(con), kvImportCommand(con), kvExportCommand(con))
}

func kvSetCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "set", Usage: "write keys", ArgsUsage: "K V [K V …]",
		Description: `Writes each key K with its value V. Keys of one slot are written together, in
one entry; keys of different slots are not. A write is durable once it is
answered, and is applied once, however often it was sent.

--if-absent and --if-version write one key only if it is not there, or has not
been written since; else the command ends with status 5.

With -o json: {"log_ids":["g1/2.17"],"versions":{"K":17}}`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "if-absent", Usage: "only if the key does not exist"},
			&cli.Uint64Flag{Name: "if-version", DefaultText: "any", Usage: "only if the key's version is `N`"},
		},
		Action: con.action(kvSet),
	})
}

func kvSet(con *console, c *cli.Context) error {
	pairs, err := pairsOf(c)
	if err != nil {
		return err
	}
	o := client.WriteOptions{IfAbsent: c.Bool("if-absent"), IfVersion: c.Uint64("if-version"), HasVersion: c.IsSet("if-version")}
	switch {
	case o.IfAbsent && o.HasVersion:
		return usagef("muster kv set: --if-absent and --if-version contradict each other; give one")
	case o.HasVersion && o.IfVersion == 0:
		return usagef("muster kv set: --if-version 0: versions begin at 1; for a key that is not there use --if-absent")
	case (o.IfAbsent || o.HasVersion) && len(pairs) > 1:
		return usagef("muster kv set: a condition takes one key and value, there are %d", len(pairs))
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return s.with(c.Context, func(ctx context.Context) error {
		if len(pairs) == 1 {
			w, err := s.client.Set(ctx, pairs[0].Key, pairs[0].Value, o)
			if err != nil {
				return err
			}
			return printWritten(s, &outcome{written: []writtenKey{{pairs[0].Key, w}}})
		}
		return setMany(ctx, s, pairs)
	})
}

func pairsOf(c *cli.Context) ([]client.Pair, error) {
	args := c.Args().Slice()
	if len(args) == 0 || len(args)%2 != 0 {
		if len(args) > 0 {
			return nil, usagef("muster kv set: key %s has no value; want muster kv set K V [K V …]", shown([]byte(args[len(args)-1])))
		}
		return nil, wantArgs(c, 2, -1)
	}
	var pairs []client.Pair
	for i := 0; i < len(args); i += 2 {
		if slices.ContainsFunc(pairs, func(p client.Pair) bool { return string(p.Key) == args[i] }) {
			return nil, usagef("muster kv set: key %s is given twice", shown([]byte(args[i])))
		}
		pairs = append(pairs, client.Pair{Key: []byte(args[i]), Value: []byte(args[i+1])})
	}
	return pairs, nil
}

// setMany writes several keys, each slot's together. It prints what was
// written even if not all was.
func setMany(ctx context.Context, s *errand, pairs []client.Pair) error {
	written, err := s.client.SetMany(ctx, pairs)
	failed, err := partly(s, err, len(pairs))
	if err != nil {
		return err
	}
	o := outcome{failed: len(failed)}
	for i, p := range pairs {
		if !failed[i] {
			o.written = append(o.written, writtenKey{p.Key, written[i]})
		}
	}
	return printWritten(s, &o)
}

// partly tells each key of n that was not dealt with on standard error, and
// returns which they were. If none was dealt with, that is the command's error.
func partly(s *errand, err error, n int) (failed map[int]bool, rest error) {
	var partly *client.PartlyError
	if !errors.As(err, &partly) || len(partly.Items) == n {
		return nil, err
	}
	failed = map[int]bool{}
	for _, i := range partly.Items {
		failed[i.Index] = true
		s.warnf("key %s: %s", shown(i.Key), oneLine(i.Err))
	}
	return failed, nil
}

// writtenRow is what every command that writes keys prints.
type writtenRow struct {
	LogIDs         []string          `json:"log_ids"`
	Versions       map[string]uint64 `json:"versions"`
	VersionsBase64 map[string]uint64 `json:"versions_base64,omitempty"` // of keys that are not valid UTF-8
	Deleted        *int              `json:"deleted,omitempty"`
}

// writtenKey is what became of one key.
type writtenKey struct {
	key []byte
	client.Written
}

// outcome is what became of all keys that a command was given.
type outcome struct {
	written []writtenKey
	failed  int  // how many are not among them, each told of already
	deleted *int // how many there were to delete; nil: the command deletes none
}

// printWritten prints what became of keys. If some of them did not come through,
// the command ends with status 8.
func printWritten(s *errand, o *outcome) error {
	var err error
	if s.json {
		err = s.printJSON(writtenRowOf(o))
	} else {
		t := newTable(s.out, "KEY", "VERSION", "LOG ID")
		for _, w := range o.written {
			t.row(cell(w.key), number(w.Version), logID(w.Written))
		}
		err = t.Flush()
	}
	if err == nil && o.failed > 0 {
		return errQuiet(exitPartly)
	}
	return err
}

func writtenRowOf(o *outcome) *writtenRow {
	row := &writtenRow{LogIDs: []string{}, Versions: map[string]uint64{}, Deleted: o.deleted}
	for _, w := range o.written {
		if id := logID(w.Written); !slices.Contains(row.LogIDs, id) {
			row.LogIDs = append(row.LogIDs, id)
		}
		text, encoded := textOrBase64(w.key)
		if text != nil {
			row.Versions[*text] = w.Version
			continue
		}
		if row.VersionsBase64 == nil {
			row.VersionsBase64 = map[string]uint64{}
		}
		row.VersionsBase64[*encoded] = w.Version
	}
	return row
}

func logID(w client.Written) string { return raft.FormatLogID(w.Group, w.ID) }

func kvDelCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "del", Usage: "delete keys", ArgsUsage: "K…",
		Description: `Deletes each key K. A key that does not exist is no error.

With -o json: {"log_ids":["g1/2.18"],"versions":{"K":18},"deleted":N}, where N
is how many existed.`,
		Action: con.action(kvDel),
	})
}

func kvDel(con *console, c *cli.Context) error {
	keys, err := keysOf(c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return s.with(c.Context, func(ctx context.Context) error {
		deleted, err := s.client.Delete(ctx, keys...)
		failed, err := partly(s, err, len(keys))
		if err != nil {
			return err
		}
		o := outcome{deleted: new(int), failed: len(failed)}
		for _, d := range deleted {
			*o.deleted += d.Count
			for _, k := range d.Keys {
				o.written = append(o.written, writtenKey{k, d.Written})
			}
		}
		return printWritten(s, &o)
	})
}

// keysOf reads the arguments as keys, each once.
func keysOf(c *cli.Context) ([][]byte, error) {
	if err := wantArgs(c, 1, -1); err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, a := range c.Args().Slice() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == a }) {
			keys = append(keys, []byte(a))
		}
	}
	return keys, nil
}

func kvLocateCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "locate", Usage: "show where a key belongs, whether or not it exists", ArgsUsage: "K",
		Description: `With -o json: {"key":"K","slot":1234,"group":1,"leader":NAME}`,
		Action:      con.action(kvLocate),
	})
}

type placeRow struct {
	itemText
	Slot   int    `json:"slot"`
	Group  int    `json:"group"`
	Leader string `json:"leader"` // empty: none is known
}

func kvLocate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	key := []byte(c.Args().First())
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	var l client.Location
	if err := s.with(c.Context, func(ctx context.Context) (err error) {
		l, err = s.client.Locate(ctx, key)
		return err
	}); err != nil {
		return err
	}
	row := placeRow{keyText(key), int(l.Slot), int(l.Group), l.Name}
	if s.json {
		return s.printJSON(row)
	}
	table := newTable(s.out, "KEY", "SLOT", "GROUP", "LEADER")
	table.row(cell(key), number(row.Slot), number(row.Group), orDash(row.Leader))
	return table.Flush()
}
