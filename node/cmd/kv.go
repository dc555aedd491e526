package cmd

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/raft"
	"muster/repl/client"
)

func kvCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "kv", Usage: "set, get, list and move keys with their values"},
		kvSetCommand(con), kvGetCommand(con), kvDelCommand(con), kvIncrCommand(con), kvTxnCommand(con), kvListCommand(con), kvWatchCommand(con),
		kvLocateCommand(con), kvImportCommand(con), kvExportCommand(con), kvHistoryCommand(con), kvDiffCommand(con), kvRollbackCommand(con))
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
	LogIDs           []string          `json:"log_ids"`
	Versions         map[string]uint64 `json:"versions"`
	VersionsBase64   map[string]uint64 `json:"versions_base64,omitempty"` // of keys that are not valid UTF-8
	Deleted          *int              `json:"deleted,omitempty"`
	Values           map[string]int64  `json:"values,omitempty"`        // of keys that were counted up or down
	ValuesBase64     map[string]int64  `json:"values_base64,omitempty"` // of those that are not valid UTF-8
	*overview.JobRow                   // of the job that deletes keys; nil where none does
}

// writtenKey is what became of one key.
type writtenKey struct {
	key []byte
	client.Written
}

// outcome is what became of all keys that a command was given.
type outcome struct {
	written []writtenKey
	failed  int    // how many are not among them, each told of already
	deleted *int   // how many there were to delete; nil: the command deletes none
	noun    string // what they are, for the head of a table; "KEY" if empty
}

// printWritten prints what became of keys. If some of them did not come through,
// the command ends with status 8.
func printWritten(s *errand, o *outcome) error {
	var err error
	if s.json {
		err = s.printJSON(writtenRowOf(o))
	} else {
		t := newTable(s.out, cmp.Or(o.noun, "KEY"), "VERSION", "LOG ID")
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

// keysOf reads the arguments as keys, each once.
func keysOf(c *cli.Context) ([][]byte, error) {
	if err := wantArgs(c, 1, -1); err != nil {
		return nil, err
	}
	return distinctKeys(c.Args().Slice()), nil
}

// distinctKeys are texts as keys, each once.
func distinctKeys(texts []string) (keys [][]byte) {
	if len(texts) == 1 {
		return [][]byte{[]byte(texts[0])}
	}
	seen := make(map[string]bool, len(texts))
	for _, a := range texts {
		if !seen[a] {
			seen[a] = true
			keys = append(keys, []byte(a))
		}
	}
	return keys
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
	return con.request(c, func(ctx context.Context, s *errand) error {
		l, err := s.client.Locate(ctx, key)
		if err != nil {
			return err
		}
		row := placeRow{keyText(key), int(l.Slot), int(l.Group), l.Name}
		if s.json {
			return s.printJSON(row)
		}
		table := newTable(s.out, "KEY", "SLOT", "GROUP", "LEADER")
		table.row(cell(key), number(row.Slot), number(row.Group), orDash(row.Leader))
		return table.Flush()
	})
}
