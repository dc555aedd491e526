package machine

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

// deletesRetry is when a delete for which a shard has no room before its next seal may be sent again.
const deletesRetry = time.Second

// groupOfPoints returns the group that has the shard for which a command brings points. It refuses them unless the
// shard is what the table says of it: groups take the command's word for it.
func groupOfPoints(c *shardmap.Command, table *shardmap.Table) (raft.GroupID, *wire.Error) {
	p, err := shardmap.ReadPoints(c)
	if err != nil {
		return 0, commandError(err)
	}
	return groupOfShard(&p.Shard, p.Name, table)
}

// bugNoLimits is planted to show that its test finds it: points are admitted without the limits of their database.
const bugNoLimits = "points admitted without limits"

// limitsOfPoints returns the limits of the database for which a command brings points; zero: they are the default ones.
func limitsOfPoints(c *shardmap.Command, table *shardmap.Table) points.Limits {
	p, err := shardmap.ReadPoints(c)
	d, ok := table.Catalog.Database(p.Shard.Database)
	if err != nil || !ok || d.Limits == points.DefaultLimits || d.Limits == (points.Limits{}) || bug(bugNoLimits) {
		return points.Limits{}
	}
	return d.Limits
}

// groupOfDelete returns the group that has the shards from which a command takes points away. It refuses a delete of shards that are not
// what the table says of them, or not all of one group.
func groupOfDelete(c *shardmap.Command, table *shardmap.Table) (group raft.GroupID, refused *wire.Error) {
	d, err := shardmap.ReadPointsDelete(c)
	if err != nil {
		return 0, commandError(err)
	}
	for i := range d.Shards {
		g, refused := groupOfShard(&d.Shards[i], d.Name, table)
		if refused != nil {
			return 0, refused
		}
		if i > 0 && g != group {
			return 0, &wire.Error{Code: wire.CodeMoved, Object: d.Shards[i].String(), Text: "another group has it than the shards before it", Epoch: table.Epoch,
				State: fmt.Sprintf("the table of index %d gives it to group %s, and those to group %s", table.Index, g, group), Next: "send each group the shards that the table gives it"}
		}
		group = g
	}
	return group, nil
}

// groupOfShard returns the group that has a shard of a database, which must be what the table says of it.
func groupOfShard(s *shardmap.ShardRef, database string, table *shardmap.Table) (raft.GroupID, *wire.Error) {
	catalog := &table.Catalog
	w, ok := catalog.WindowFrom(s.Policy, s.Span.First, s.Window)
	if !ok {
		// The policy or the start may be wrong, and the window be there.
		if w, ok = catalog.Window(s.Window); !ok {
			return 0, staleWindow(s, table)
		}
	}
	d, ok := catalog.Database(s.Database)
	switch {
	case !ok || d.Name != database:
		// The right to write went by the name. The database may have been dropped, and made again.
		return 0, staleWindow(s, table)
	case w.Policy != s.Policy || !policyOf(catalog, s) || int(s.Shards) != len(w.Shards) || s.Span != w.Span():
		return 0, wire.BadRequest(s.String(), fmt.Sprintf("the table of index %d has window %d with policy %d, %d shards, from %d to %d",
			table.Index, w.ID, w.Policy, len(w.Shards), w.Span().First, w.Span().Last), "take the shard from the table")
	}
	return w.Shards[s.Shard], nil
}

// bugLiveShards is planted to show that its test finds it: a leader whose table is old drops shards of windows that are
// newer than that.
const bugLiveShards = "shards of newer windows dropped"

// goneWindows returns windows of which the group has shards and the table has none any more, ascending: the first
// [shardmap.DropShardsMax]. A window that is newer than the table is none of them.
func goneWindows(m *Map, t *shardmap.Table) (gone []shardmap.WindowID) {
	all := m.State.Shards()
	if len(all) == 0 {
		return nil
	}
	kept := make(map[shardmap.WindowID]bool, len(t.Catalog.Windows))
	for i := range t.Catalog.Windows {
		kept[t.Catalog.Windows[i].ID] = true
	}
	for _, s := range all {
		w := s.Window
		if kept[w] || uint64(w) > t.Index && !bug(bugLiveShards) || len(gone) > 0 && gone[len(gone)-1] == w {
			continue
		}
		if gone = append(gone, w); len(gone) == shardmap.DropShardsMax {
			break
		}
	}
	return gone
}

// policyOf reports whether the policy of a shard is one of its database.
func policyOf(catalog *shardmap.Catalog, s *shardmap.ShardRef) bool {
	p, ok := catalog.Policy(s.Policy)
	return ok && p.Database == s.Database
}

// staleWindow refuses points for a window that the table does not have, or whose database has another name now. If the
// node's table is the older one, that passes.
func staleWindow(s *shardmap.ShardRef, table *shardmap.Table) *wire.Error {
	if uint64(s.Window) > table.Index {
		return wire.NotReady(s.String(), fmt.Sprintf("the table here is of index %d", table.Index), "try again", wire.BusyRetry)
	}
	return &wire.Error{Code: wire.CodeMoved, Object: s.String(), Text: "this node knows of no such window in that database", Epoch: table.Epoch,
		State: fmt.Sprintf("the table of index %d", table.Index), Next: "fetch the table, and take the window from it"}
}

// noWindow is the error that answers points for a window that was dropped. A seal, and the name of a file, may come behind the drop, too: nobody waits
// for their answer, but the leader makes it.
func noWindow(c *shardmap.Command) (*wire.Error, error) {
	switch c.Kind {
	case shardmap.CommandPointsSeal, shardmap.CommandPointsSealed:
		return wire.NotFound("shard", "its window was dropped before it was sealed", "leave it: its points are gone"), nil
	}
	p, err := shardmap.ReadPoints(c)
	if err != nil {
		return nil, brokenDetail(c, err)
	}
	return wire.NotFound(p.Shard.String(), "its window was dropped", "leave the points out: their policy keeps them no longer, or its database is gone"), nil
}

// PointsGroup returns the group that stores the points of a command, which it checks as a write that comes from a client.
func PointsGroup(c *shardmap.Command, table *shardmap.Table) (raft.GroupID, *wire.Error) {
	if err := c.Validate(table.Limits()); err != nil {
		return 0, commandError(err)
	}
	return groupOfPoints(c, table)
}
