package cmd

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
)

func kvHistoryCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "history", Usage: "list the last versions of a key, with who made them and when", ArgsUsage: "K",
		Description: `Lists the versions that the cluster has of K, the newest first, also if K was deleted. The setting
history says which keys keep their versions, how many and for how long:

    muster setting set history "conf/=20/720h app/=5"

Other keys have their current version alone. Only the value is known of a version from before its
key had a rule. A version without a value is a delete, or an expiry.

Ends with status 4 if there is no version.

With -o json one object per line: {"version":17,"log_id":"g1/2.17","value":"V","by":"USER","at":"2026-11-30T12:00:00.000Z"}
with "deleted":true, and "expired":true if time did it, instead of "value" where the key went.`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "before", DefaultText: "all", Usage: "only versions older than `V`"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` versions; 0: all"},
			readHowFlag(),
		},
		Action: con.action(kvHistory),
	})
}

func kvDiffCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "diff", Usage: "show what changed between two versions of a key", ArgsUsage: "K V1 V2",
		Description: `Shows the lines that differ between versions V1 and V2 of K, as diff -u does. Of values that are
not text it prints where they begin to differ. A version in which the key was deleted has no line.
"muster kv history" lists the versions. Ends with status 0 whether or not they differ.

With -o json: {"key":"K","from":17,"to":20,"equal":false,"diff":"…"}, or with "binary":true instead of "diff"`,
		Action: con.action(kvDiff),
	})
}

func kvRollbackCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "rollback", Usage: "give a key the value of an older version", ArgsUsage: "K V",
		Description: `Gives K the value that it had in version V, as a new version that does not expire. No version is
removed. If somebody changes K meanwhile nothing happens, and the command ends with status 5.
"muster kv history" lists the versions.

With -o json: {"log_ids":["g1/2.17"],"versions":{"K":17}}`,
		Action: con.action(kvRollback),
	})
}

// keyVersionRow is what kv history prints of a version.
type keyVersionRow struct {
	Version     uint64  `json:"version"`
	LogID       string  `json:"log_id"` // empty: not known
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Deleted     bool    `json:"deleted,omitempty"` // or expired
	Expired     bool    `json:"expired,omitempty"`
	By          string  `json:"by"` // empty: nobody in particular
	At          string  `json:"at"` // empty: not known
}

const versionTime = "2006-01-02T15:04:05.000Z07:00"

func keyVersionRowOf(v *client.Version) keyVersionRow {
	row := keyVersionRow{Version: v.Version, Deleted: v.Deleted || v.Expired, Expired: v.Expired, By: v.By}
	if v.Group != 0 {
		row.LogID = raft.FormatLogID(v.Group, v.ID)
	}
	if !v.At.IsZero() {
		row.At = v.At.Format(versionTime)
	}
	if !row.Deleted {
		row.Value, row.ValueBase64 = textOrBase64(v.Value)
	}
	return row
}

func kvHistory(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	how, err := readHow(c)
	if err != nil {
		return err
	}
	o := client.HistoryOptions{Before: c.Uint64("before"), Limit: c.Int("limit"), Local: how.Local, Follower: how.Follower}
	switch {
	case o.Limit < 0:
		return usagef("muster kv history: --limit %d; want 0 for all, or more", o.Limit)
	case c.IsSet("before") && o.Before == 0:
		return usagef("muster kv history: --before 0; versions begin at 1")
	}
	key := []byte(c.Args().First())
	return con.request(c, func(ctx context.Context, s *errand) error {
		rows := (*table)(nil)
		count := 0
		for v, err := range client.History(ctx, s.client, key, o) {
			if err != nil {
				return firstOnly(s, o.Local, err)
			}
			if count == 0 && v.Kept == 0 {
				s.warnf("no more versions are kept of key %s: no rule of the setting history fits it; see muster setting get history", shown(key))
			}
			count++
			row := keyVersionRowOf(&v)
			if s.json {
				if err := s.printJSON(row); err != nil {
					return err
				}
				if s.call != nil {
					s.call.mark(s.out, strconv.FormatUint(v.Version, 10))
				}
				continue
			}
			if rows == nil {
				rows = newTable(s.out, "VERSION", "AT", "BY", "LOG ID", "VALUE")
			}
			value := cell(v.Value)
			switch {
			case v.Expired:
				value = "(expired)"
			case v.Deleted:
				value = "(deleted)"
			}
			at := "-"
			if !v.At.IsZero() {
				at = v.At.Format(time.RFC3339)
			}
			rows.row(number(v.Version), at, orDash(row.By), orDash(row.LogID), value)
		}
		if count == 0 {
			return noVersions(key, o.Before)
		}
		if rows != nil {
			return rows.Flush()
		}
		return nil
	})
}

func noVersions(key []byte, before uint64) error {
	if before != 0 {
		return withStatus(exitNotFound, "key %s: there is no version before %d; muster kv history lists those that there are", shown(key), before)
	}
	return withStatus(exitNotFound, "key %s: it does not exist, and no version of it is kept; muster setting get history shows which keys keep theirs", shown(key))
}

// versionArg reads an argument that is a version.
func versionArg(c *cli.Context, i int) (uint64, error) {
	text := c.Args().Get(i)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n == math.MaxUint64 {
		return 0, usagef("%s: %s is no version; want a number, as muster kv history shows them", c.Command.HelpName, shown([]byte(text)))
	}
	return n, nil
}

// versionsNamed is how many versions an error names.
const versionsNamed = 5

// versionAt returns one version of a key.
func versionAt(ctx context.Context, s *errand, key []byte, version uint64) (client.Version, error) {
	for v, err := range client.History(ctx, s.client, key, client.HistoryOptions{Before: version + 1, Limit: 1}) {
		if err != nil {
			return v, err
		}
		if v.Version == version {
			return v, nil
		}
	}
	var there []string
	for v, err := range client.History(ctx, s.client, key, client.HistoryOptions{Limit: versionsNamed + 1}) {
		if err != nil {
			return v, err
		}
		if there = append(there, strconv.FormatUint(v.Version, 10)); len(there) > versionsNamed {
			there[versionsNamed] = "…"
		}
	}
	if len(there) == 0 {
		return client.Version{}, noVersions(key, 0)
	}
	return client.Version{}, withStatus(exitNotFound, "key %s: there is no version %d; want one of %s; muster kv history lists them", shown(key), version, strings.Join(there, ", "))
}

// versionsRow is what kv diff prints.
type versionsRow struct {
	itemText
	From   uint64  `json:"from"`
	To     uint64  `json:"to"`
	Equal  bool    `json:"equal"`
	Binary bool    `json:"binary,omitempty"` // one of the values is not text
	Diff   *string `json:"diff,omitempty"`
}

func kvDiff(con *console, c *cli.Context) error {
	if err := wantArgs(c, 3, 3); err != nil {
		return err
	}
	var wanted [2]uint64
	for i := range wanted {
		var err error
		if wanted[i], err = versionArg(c, i+1); err != nil {
			return err
		}
	}
	key := []byte(c.Args().First())
	return con.request(c, func(ctx context.Context, s *errand) error {
		var sides [2]client.Version
		for i := range sides {
			var err error
			if sides[i], err = versionAt(ctx, s, key, wanted[i]); err != nil {
				return err
			}
		}
		return printVersionsDiff(s, key, &sides[0], &sides[1])
	})
}

func printVersionsDiff(s *errand, key []byte, from, to *client.Version) error {
	row := versionsRow{itemText: keyText(key), From: from.Version, To: to.Version}
	gone := func(v *client.Version) bool { return v.Deleted || v.Expired }
	row.Equal = string(from.Value) == string(to.Value) && gone(from) == gone(to)
	row.Binary = !isText(from.Value) || !isText(to.Value)
	text := ""
	if !row.Binary {
		text = unifiedDiff(versionTitle(key, from), versionTitle(key, to), from.Value, to.Value)
		row.Diff = &text
	}
	switch {
	case s.json:
		return s.printJSON(row)
	case row.Equal:
		return nil
	case row.Binary:
		return s.line("%s", binaryDiff(from, to))
	}
	if !s.terminal {
		_, err := s.out.WriteString(text)
		return err
	}
	for line := range strings.Lines(text) {
		if err := s.line("%s", strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// versionTitle is the line above a side of a diff.
func versionTitle(key []byte, v *client.Version) string {
	row := keyVersionRowOf(v)
	title := fmt.Sprintf("%s version %d", shown(key), v.Version)
	for _, word := range []string{row.LogID, row.At, row.By} {
		if word != "" {
			title += " " + word
		}
	}
	switch {
	case v.Expired:
		title += " (expired)"
	case v.Deleted:
		title += " (deleted)"
	}
	return title
}

// binaryDiff describes how values differ that are not text.
func binaryDiff(from, to *client.Version) string {
	at := 0
	for at < len(from.Value) && at < len(to.Value) && from.Value[at] == to.Value[at] {
		at++
	}
	return fmt.Sprintf("values that are not text differ from byte %d on: version %d has %d bytes, version %d has %d", at, from.Version, len(from.Value), to.Version, len(to.Value))
}

func kvRollback(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	version, err := versionArg(c, 1)
	if err != nil {
		return err
	}
	key := []byte(c.Args().First())
	return con.request(c, func(ctx context.Context, s *errand) error {
		to, err := versionAt(ctx, s, key, version)
		if err != nil {
			return err
		}
		if to.Deleted || to.Expired {
			return withStatus(exitRefused, "key %s: version %d is %s and has no value; muster kv del %s deletes the key", shown(key), version, goneHow(&to), shown(key))
		}
		_, current, there, err := s.client.GetOne(ctx, key, nil, client.ReadOptions{})
		if err != nil {
			return err
		}
		w, err := s.client.Set(ctx, key, to.Value, client.WriteOptions{IfAbsent: !there, HasVersion: there, IfVersion: current})
		if err != nil {
			return err
		}
		return printWritten(s, &outcome{written: []writtenKey{{key, w}}})
	})
}

func goneHow(v *client.Version) string {
	if v.Expired {
		return "an expiry"
	}
	return "a delete"
}
