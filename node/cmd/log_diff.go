package cmd

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
)

// diffEntriesDefault is how many entries of each side are shown: a screenful of
// tails, not a log.
const diffEntriesDefault = 100

func logDiffCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "diff", Usage: "compare the logs of two nodes", ArgsUsage: "NODE NODE",
		Description: `Each NODE is a data directory, the address H:P of a running node, or the name or
the id of one that --endpoints know. Finds the last log id that both logs of a
group have in common, and prints what each has after it. Entries are compared
by log id and by their leader's checksum.

Logs diverge if both have committed different entries at one index, or if one log
id stands for two entries: that must never happen. Tails that are not committed
yet are no divergence, and neither is a log that is behind.

Ends with status 1 when logs diverge. With -o json one object per group:
{"group":N,"common":"g1/2.17","left":[…],"right":[…],"diverged":false}, an entry being
{"log_id":…,"checksum":"…","kind":…,"bytes":N,"committed":true}; "left_more" and "right_more"
say that there are more than --limit, "left_lost" and "right_lost" what can't be read.`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "group", DefaultText: "all", Usage: "only group `N`, which both must have"},
			&cli.IntFlag{Name: "limit", Value: diffEntriesDefault, Usage: "`N` entries of each side to show at most"},
		},
		Action: con.action(logDiff),
	})
}

// diffRow is how the two logs of one group compare.
type diffRow struct {
	Group     int         `json:"group"`
	Common    string      `json:"common"`
	Left      []diffEntry `json:"left"`
	Right     []diffEntry `json:"right"`
	Diverged  bool        `json:"diverged"`
	LeftMore  bool        `json:"left_more,omitempty"`
	RightMore bool        `json:"right_more,omitempty"`
	LeftLost  []spanRow   `json:"left_lost,omitempty"`
	RightLost []spanRow   `json:"right_lost,omitempty"`
}

type spanRow struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

type diffEntry struct {
	LogID     string `json:"log_id"`
	Checksum  string `json:"checksum"`
	Kind      string `json:"kind"`
	Bytes     uint32 `json:"bytes"`
	Committed bool   `json:"committed"`

	index uint64
}

func logDiff(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	group, one, err := groupOf(c)
	if err != nil {
		return err
	}
	limit := c.Int("limit")
	if limit < 1 {
		return usagef("%s: --limit %d; want 1 or more", c.Command.HelpName, limit)
	}
	left, right, err := openSides(con, c)
	if err != nil {
		return err
	}
	defer left.close()
	defer right.close()
	groups := []raft.GroupID{group}
	if !one {
		if groups, err = sharedGroups(c.Context, con, left, right); err != nil {
			return err
		}
	}
	if !asJSON {
		con.line("left is %s, right is %s", left.name(), right.name())
	}
	diverged := false
	for _, g := range groups {
		row, err := diffGroup(c.Context, g, left, right, limit)
		if err != nil {
			return err
		}
		diverged = diverged || row.Diverged
		if asJSON {
			err = con.printJSON(row)
		} else {
			err = printDiff(con, row)
		}
		if err != nil {
			return err
		}
	}
	if diverged {
		return errQuiet(exitRefused)
	}
	return nil
}

// sharedGroups are those that both sides have. Those of one alone are named:
// where nodes are placed apart there is nothing to compare.
func sharedGroups(ctx context.Context, con *console, left, right logSide) ([]raft.GroupID, error) {
	l, err := left.groups(ctx)
	if err != nil {
		return nil, err
	}
	r, err := right.groups(ctx)
	if err != nil {
		return nil, err
	}
	var both []raft.GroupID
	for _, g := range l {
		if slices.Contains(r, g) {
			both = append(both, g)
		} else {
			con.warnf("group %d: only %s has a replica of it", g, left.name())
		}
	}
	for _, g := range r {
		if !slices.Contains(l, g) {
			con.warnf("group %d: only %s has a replica of it", g, right.name())
		}
	}
	if len(both) == 0 {
		return nil, withStatus(exitNotFound, "%s and %s have no group in common", left.name(), right.name())
	}
	return both, nil
}

// diffGroup compares the logs of one group.
func diffGroup(ctx context.Context, g raft.GroupID, left, right logSide, limit int) (*diffRow, error) {
	l, err := newCursor(ctx, left, g)
	if err != nil {
		return nil, err
	}
	r, err := newCursor(ctx, right, g)
	if err != nil {
		return nil, err
	}
	if l.first.Incarnation != r.first.Incarnation {
		return nil, fmt.Errorf("group %d is another on %s (incarnation %d) than on %s (incarnation %d): one of the two was removed; nothing to compare",
			g, left.name(), l.first.Incarnation, right.name(), r.first.Incarnation)
	}
	d := &differ{left: l, right: r, limit: limit, row: &diffRow{Group: int(g), Left: []diffEntry{}, Right: []diffEntry{}}}
	// All up to a base is committed. What the other log has there is the same,
	// or diverges.
	d.common, d.base = l.first.Base, r.first.Base
	if d.base.Index < d.common.Index {
		d.common, d.base = d.base, d.common
	}
	d.row.Diverged = d.common.Index == d.base.Index && d.common.Term != d.base.Term
	for {
		more, err := d.step(ctx)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	d.row.Common = raft.FormatLogID(g, d.common)
	d.row.LeftLost, d.row.RightLost = l.lost, r.lost
	return d.row, nil
}

// differ goes along two logs of one group, index by index.
type differ struct {
	left, right *cursor
	limit       int
	row         *diffRow
	common      raft.LogID // the last that both have
	base        raft.LogID // the higher one of the bases: committed
	parted      bool       // they differ from some index on
}

func (d *differ) step(ctx context.Context) (more bool, err error) {
	a, hasA, err := d.left.entry(ctx)
	if err != nil {
		return false, err
	}
	b, hasB, err := d.right.entry(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case !hasA && !hasB:
		return false, nil
	case !hasB, hasA && a.Index < b.Index:
		d.alone(d.left, d.right, a, &d.row.Left, &d.row.LeftMore)
		d.left.at++
		return hasB || !d.row.LeftMore, nil
	case !hasA, b.Index < a.Index:
		d.alone(d.right, d.left, b, &d.row.Right, &d.row.RightMore)
		d.right.at++
		return hasA || !d.row.RightMore, nil
	}
	d.both(a, b)
	d.left.at++
	d.right.at++
	return true, nil
}

// alone takes an entry whose index the other log does not have, or can't read.
func (d *differ) alone(c, other *cursor, e *wire.LogEntry, list *[]diffEntry, more *bool) {
	switch {
	case other.hasLost(e.Index):
		return // nobody knows
	case e.Index < d.base.Index && !d.parted:
		// The other log has compacted it. If this one has committed it, it
		// is the same there.
		if c.committed(e) {
			d.common = e.ID()
			return
		}
	case e.Index == d.base.Index && !d.parted:
		if e.Term == d.base.Term {
			// Two logs that hold one id are the same up to there.
			d.common = e.ID()
			clearEntries(list, more)
			return
		}
		d.parted = true
		d.row.Diverged = d.row.Diverged || c.committed(e)
	}
	d.keep(c, e, list, more)
}

// clearEntries takes back what was listed before it turned out to be common.
func clearEntries(list *[]diffEntry, more *bool) { *list, *more = []diffEntry{}, false }

// both compares two entries of one index.
func (d *differ) both(a, b *wire.LogEntry) {
	same := a.Term == b.Term && a.Checksum == b.Checksum
	if same && !d.parted {
		d.common = a.ID()
		return
	}
	d.parted = true
	// One id for two entries, or two entries that are both final. What one
	// side has not committed gives way.
	if !same && a.Term == b.Term || !same && d.left.committed(a) && d.right.committed(b) {
		d.row.Diverged = true
	}
	// The same entry behind another one: two logs that hold one id have to be
	// the same up to there.
	d.row.Diverged = d.row.Diverged || same
	d.keep(d.left, a, &d.row.Left, &d.row.LeftMore)
	d.keep(d.right, b, &d.row.Right, &d.row.RightMore)
}

func (d *differ) keep(c *cursor, e *wire.LogEntry, list *[]diffEntry, more *bool) {
	if len(*list) >= d.limit {
		*more = true
		return
	}
	*list = append(*list, c.row(e))
}

func printDiff(con *console, d *diffRow) error {
	verdict := "the same after that"
	switch {
	case d.Diverged:
		verdict = "DIVERGED"
	case len(d.Left)+len(d.Right) > 0:
		verdict = "no divergence"
	}
	con.line("")
	con.line("group %d: common up to %s; %s", d.Group, d.Common, verdict)
	for _, s := range []struct {
		name string
		lost []spanRow
	}{{"left", d.LeftLost}, {"right", d.RightLost}} {
		for _, l := range s.lost {
			con.line("%s can't read entries %d to %d; muster log verify says more", s.name, l.First, l.Last)
		}
	}
	if len(d.Left)+len(d.Right) == 0 {
		return nil
	}
	table := newTable(con.out, "LEFT", "CHECKSUM", "KIND", "", "RIGHT", "CHECKSUM", "KIND", "")
	for l, r := d.Left, d.Right; len(l)+len(r) > 0; {
		cells := make([]string, 8)
		least := ^uint64(0)
		for _, side := range [][]diffEntry{l, r} {
			if len(side) > 0 {
				least = min(least, side[0].index)
			}
		}
		l = diffCells(cells[:4], l, least)
		r = diffCells(cells[4:], r, least)
		table.row(cells...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if d.LeftMore || d.RightMore {
		con.line("and more; --limit shows them")
	}
	return nil
}

// diffCells fills the cells of one side with its first entry, if that is of the
// index.
func diffCells(cells []string, side []diffEntry, index uint64) []diffEntry {
	for i := range cells {
		cells[i] = "-"
	}
	if len(side) == 0 || side[0].index != index {
		return side
	}
	e := side[0]
	state := "not committed"
	if e.Committed {
		state = "committed"
	}
	copy(cells, []string{e.LogID, e.Checksum, e.Kind, state})
	return side[1:]
}
