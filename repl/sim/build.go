package sim

import (
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// mixedEvery is how many clusters there are for each that has members of an older
	// build.
	mixedEvery = 3
	// olderLevels is how many levels before the newest one members of the older build
	// may be at: back to the one before the newest command that clients send.
	olderLevels = 4
	// upgradeEvery is how many starts of a member of the older build there are for
	// each at which it gets the newer build.
	upgradeEvery = 12
)

// builds are the levels of commands that the members of a cluster understand. In a
// mixed cluster, which is founded at the level of the older build, some members run the
// newer build from the first, and each other one gets it at some start. The members
// announce what they run, as in a process, and the cluster's level follows from that.
type builds struct {
	c       *cluster
	founded uint32           // the level that the cluster was founded at
	nodes   []uint32         // by node
	command shardmap.Command // scratch
}

// init draws whether the cluster is mixed.
func (b *builds) init(c *cluster) {
	b.c, b.founded = c, shardmap.Level
	if (c.chance.below(mixedEvery) == 0 || c.options.Mixed) && !c.options.Flaws {
		b.founded -= uint32(1 + c.chance.below(olderLevels))
	}
}

// mixed reports whether some founders of the cluster ran an older build.
func (b *builds) mixed() bool { return b.founded < shardmap.Level }

// reached reports whether some node knows that the cluster is at a level.
func (b *builds) reached(level uint32) bool {
	t := b.c.newestTable()
	return t != nil && t.Level >= level
}

// draw draws the build of one more node.
func (b *builds) draw() {
	level := uint32(shardmap.Level)
	if b.mixed() && b.c.chance.below(2) == 0 {
		level = b.founded
	}
	b.nodes = append(b.nodes, level)
}

// of returns the level that a node understands.
func (b *builds) of(n *node) uint32 { return b.nodes[n.index-1] }

// lowest is the highest level that all members understand, by the list of a table. A node
// that was taken off it keeps no level down.
func (b *builds) lowest(t *shardmap.Table) uint32 {
	level := uint32(shardmap.Level)
	for _, n := range b.c.nodes {
		if t == nil || !t.WasRemoved(n.id) {
			level = min(level, b.of(n))
		}
	}
	return level
}

// starts may give the newer build to a node that starts.
func (b *builds) starts(n *node) {
	if b.of(n) < shardmap.Level && n.life > 1 && b.c.chance.below(upgradeEvery) == 0 {
		b.upgrade(n)
	}
}

func (b *builds) upgrade(n *node) {
	b.nodes[n.index-1] = shardmap.Level
	b.c.result.Upgraded++
	b.c.note(n.index, "is of the newer build")
}

// upgradeAll starts the newer build on the nodes that are left, one after the other.
func (b *builds) upgradeAll() {
	for _, n := range b.c.nodes {
		if n.dead || b.of(n) == shardmap.Level {
			continue
		}
		if n.up {
			n.crash(PowerKeep)
		}
		b.upgrade(n)
		n.restartIn(tick)
		b.c.until("an upgraded node serves", settleWithin, func() bool { return n.up && b.c.groupWithoutLeader() < 0 })
	}
}

// raised reports whether each node that has a copy of the table knows that the cluster is
// at the level that all members understand. For a node whose disk is lost, its last
// announcement counts.
func (b *builds) raised() bool {
	newest := b.c.newestTable()
	want := b.lowest(newest)
	for _, n := range b.c.nodes {
		if line, ok := newest.Node(n.id); n.dead && ok {
			want = min(want, line.Level)
		}
	}
	for _, n := range b.c.nodes {
		if n.dead || !n.up && newest != nil && newest.WasRemoved(n.id) {
			continue // one that was taken off the list may find nobody who lets it start
		}
		if !n.up || n.host == nil {
			return false
		}
		if _, ok := n.replica(0); ok && (n.known.table == nil || n.known.table.Level != want) {
			return false
		}
	}
	return true
}

// knows checks the table of a node: no member may be below the cluster's level.
func (b *builds) knows(n *node, t *shardmap.Table) {
	if lowest := b.lowest(t); t.Level > lowest {
		b.c.fail("n%d knows the cluster at level %d, and some member understands level %d: %v", n.index, t.Level, lowest, b.nodes)
	}
}

// wrote checks an entry when it is in a log for the first time: all members must
// understand it.
func (b *builds) wrote(n *node, g raft.GroupID, e *raft.Entry) {
	if lowest := b.lowest(b.c.newestTable()); e.Kind == raft.EntryAudit && lowest < shardmap.AuditLevel {
		b.c.fail("n%d writes entry %s of group %d, of kind %s, and some member understands level %d: %v", n.index, e.ID, g, e.Kind, lowest, b.nodes)
	}
	if e.Kind != raft.EntryNormal {
		return
	}
	row, err := b.row(g, e)
	if err != nil {
		b.c.fail("n%d writes entry %s of group %d: %v", n.index, e.ID, g, err)
	}
	if lowest := b.lowest(b.c.newestTable()); row.Level > lowest {
		b.c.fail("n%d writes entry %s of group %d, a %s of level %d, and some member understands level %d: %v", n.index, e.ID, g, row.Name, row.Level, lowest, b.nodes)
	}
}

// row returns the row of the command in an entry.
func (b *builds) row(g raft.GroupID, e *raft.Entry) (*shardmap.CommandRow, error) {
	if g != 0 {
		err := machine.ReadCommand(e.Payload(), &b.command)
		return b.command.Kind.Row(), err
	}
	_, command, err := wire.ReadOrigin(e.Payload())
	if err != nil {
		return nil, err
	}
	return shardmap.TableRow(command)
}
