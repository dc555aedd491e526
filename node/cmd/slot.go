package cmd

import (
	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/shardmap"
)

func slotCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "slot", Usage: "look at the slots, which hold the keys, and move them between groups"},
		verb(cli.Command{
			Name: "list", Usage: "list which group owns which slots, and how much is in them",
			Description: `A run of slots has one owner. One that moves shows where to; until it has arrived its keys
are in one of the two groups, and clients notice nothing. The leaders of all groups are
asked how many keys there are, and how many bytes: names and values of all records. Where
one does not answer the two are left out.

With -o json: [{"from":0,"to":1023,"group":1,"state":"stable"|"moving","target":2,"keys":N,
"bytes":N}]`,
			Action: con.action(slotList),
		}),
		slotOrderCommand(con, shardmap.JobAssign),
		slotOrderCommand(con, shardmap.JobMove),
		slotRebalanceCommand(con))
}

type slotRow struct {
	From   int     `json:"from"`
	To     int     `json:"to"`
	Group  int     `json:"group"`
	State  string  `json:"state"`
	Target int     `json:"target,omitempty"` // of those that move
	Keys   *uint64 `json:"keys,omitempty"`
	Bytes  *uint64 `json:"bytes,omitempty"`
}

// slotRows are all slots as runs of one owner and, where they move, one target. A run has
// either only slots whose contents are known, or only others.
func slotRows(t *shardmap.Table, v *slotViews) []slotRow {
	type kind struct {
		group, target raft.GroupID
		moving        bool
		known         bool
	}
	rows := []slotRow{}
	var last kind
	for s := range shardmap.Slot(shardmap.Slots) {
		m, moving := t.MoveOf(s)
		now := kind{t.Slots[s], m.To, moving, v.of[s] != nil}
		if s == 0 || now != last {
			r := slotRow{From: int(s), Group: int(now.group), State: "stable", Target: int(now.target)}
			if moving {
				r.State = "moving"
			}
			if now.known {
				r.Keys, r.Bytes = new(uint64), new(uint64)
			}
			rows, last = append(rows, r), now
		}
		r := &rows[len(rows)-1]
		r.To = int(s)
		if now.known {
			*r.Keys += v.of[s].Keys
			*r.Bytes += v.of[s].Bytes
		}
	}
	return rows
}

func slotList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	views := s.knownViews(c.Context, t, allSlots)
	rows := slotRows(t, views)
	if s.json {
		return s.printJSON(rows)
	}
	table := newTable(s.out, "FROM", "TO", "GROUP", "STATE", "TARGET", "KEYS", "BYTES")
	for _, r := range rows {
		target, keys, bytes := "-", "-", "-"
		if r.Target != 0 {
			target = number(r.Target)
		}
		if r.Keys != nil {
			keys, bytes = number(*r.Keys), number(*r.Bytes)
		}
		table.row(number(r.From), number(r.To), number(r.Group), r.State, target, keys, bytes)
	}
	return table.Flush()
}
