package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/node/overview"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// damageFound tells the host that a read of the log met damage. Any goroutine
// may call it.
func (n *Node) damageFound() {
	if loop := n.running(); loop != nil {
		loop.DamageFound()
	}
}

// reached uses a new connection to a node: it asks the node which connections in its
// name are its own, and tells the host. Any goroutine may call it.
func (n *Node) reached(id raft.NodeID) {
	n.attesting.ask(id)
	if loop := n.running(); loop != nil {
		loop.PeerReached(id)
	}
}

// scrubMax bounds how fast the disk is read again, in bytes per second. The fastest
// disks manage no more, and all of it would be missing elsewhere.
const scrubMax = 1 << 30

// scrubPause lies between two steps of the scrub: short, so that a step is
// small, and a follower's read never waits long behind it.
const scrubPause = 200 * time.Millisecond

// scrub reads again what has not been read for long, slowly, over and over, so that rot
// is found while other copies are whole. Without it, rot in bytes that are seldom read
// would gather until two disks have it. It also looks again at what the disk refuses to
// return, even if scrubbing is off. Where neither is to be done it wakes seldom: it is
// among the few things that wake a node at rest.
func (n *Node) scrub() {
	step := max(1, int64(n.cfg.Scrub)*int64(scrubPause)/int64(time.Second))
	s := scrubbing{off: n.cfg.Scrub == 0, begin: n.started, refused: true} // as far as is known before the first look
	pause := s.pause(n.started)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	said, looked := "", n.started
	files := n.blocks.Load()
	logDone := false // of the walk that is under way: the block files are left
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if now.Sub(looked) >= lookAgainPause {
			looked = now
			inLog, inFiles := n.store.LookAgain(), files.LookAgain()
			s.refused = inLog || inFiles
		}
		switch due := s.due(now); {
		case due && !logDone:
			// It continues past what it can't read: the rest may rot meanwhile.
			var err error
			logDone, err = n.store.Scrub(step)
			if err != nil && err.Error() != said {
				said = err.Error()
				n.log.Error("scrub continues past what can't be read", "err", err)
			}
		case due && files.Scrub(step):
			logDone = false
			s.walked(now)
		}
		if next := s.pause(now); next != pause {
			pause = next
			ticker.Reset(pause)
		}
		if len(n.store.Damaged()) > 0 {
			n.damageFound() // the host sees what is new
		}
	}
}

const (
	// scrubRound is the least time between the beginnings of two walks over everything.
	// Rot is rare: to read a small disk again each minute would find it no sooner than
	// it has to be found.
	scrubRound = time.Hour
	// lookAgainPause is the time between two looks at what the disk refuses. After a few
	// looks it counts as damage.
	lookAgainPause = time.Second
	// lookRarelyPause takes its place while the disk refuses nothing. It is how long what
	// is refused or found damaged elsewhere waits to be looked at.
	lookRarelyPause = 5 * time.Second
)

// scrubbing says when the scrub has to do something.
type scrubbing struct {
	off     bool      // nothing is read but what was refused
	begin   time.Time // of the walk that is under way, or of the next one
	refused bool      // the disk refused something when it was last asked again
}

// due reports whether a step of a walk is due.
func (s *scrubbing) due(now time.Time) bool { return !s.off && !now.Before(s.begin) }

// walked ends a walk.
func (s *scrubbing) walked(now time.Time) {
	s.begin = s.begin.Add(scrubRound)
	if s.begin.Before(now) { // it took longer
		s.begin = now
	}
}

// pause is how long there is nothing to do.
func (s *scrubbing) pause(now time.Time) time.Duration {
	switch {
	case s.due(now):
		return scrubPause
	case s.refused:
		return lookAgainPause
	}
	return lookRarelyPause
}

// refuseDamage returns an error if a replica is damaged of which no other node has a
// copy: only a person can bring back what it lost.
func (n *Node) refuseDamage(views []repl.GroupView) error {
	id, table := n.self(), n.table.Load()
	for i := range views {
		v := &views[i]
		if !v.Down() || len(v.Mending.Others) > 0 || othersHave(v.Replica.Group, id, table) {
			continue
		}
		return wire.Damaged(fmt.Sprintf("group %d, of which only this node has a replica", v.Replica.Group), v.Mending.What(),
			"keep "+n.cfg.Data+" as it is, and put that file back from a copy made since the node last stopped; an older one would lose what was written after it")
	}
	return nil
}

// othersHave reports whether other nodes have replicas of a group, according to the
// table or, before that, the founders: the log of the group itself is what is damaged.
func othersHave(g raft.GroupID, id logstore.Identity, table *shardmap.Table) bool {
	if table == nil || !table.Founded() {
		return len(id.Members) > 1
	}
	elsewhere := func(r shardmap.TableReplica) bool { return r.Node != id.Node }
	if g == 0 {
		return slices.ContainsFunc(table.Meta.Replicas, elsewhere)
	}
	for i := range table.Groups {
		if t := &table.Groups[i]; t.ID == g {
			return slices.ContainsFunc(t.Replicas, elsewhere)
		}
	}
	return len(table.Nodes) > 1
}

// unready returns why this node does not answer requests that need the table. That may
// be its own damage.
func (n *Node) unready(loop *repl.Loop) *wire.Error {
	if loop != nil {
		var hurt *wire.Error
		loop.Ask(func(h *repl.Host) {
			for _, v := range h.View() {
				if v.Replica.Group == 0 && v.Down() {
					hurt = wire.Damaged("group 0 on node "+n.name, v.Mending.What(), "ask another node; `muster status` of this one shows what is done about it")
				}
			}
		})
		if hurt != nil {
			return hurt
		}
	}
	return n.notReady()
}

// readyToTell is [connection.ready] for questions about the node itself. A node whose
// group 0 is damaged has no table, and must be able to say so: it then tells what it
// knows from its identity file and its log.
func (c *connection) readyToTell(r repl.Reply) (*repl.Loop, *shardmap.Table) {
	n := c.node
	loop, table := n.running(), n.table.Load()
	if loop == nil || table != nil && table.ClusterID != 0 {
		return c.ready(r)
	}
	if e := n.unready(loop); e.Code != wire.CodeDamaged {
		c.refuse(r, e)
		return nil, nil
	}
	id := n.self()
	table = &shardmap.Table{Cluster: id.Cluster, ClusterID: id.ClusterID}
	for _, m := range id.Members {
		node := shardmap.TableNode{ID: m.Node, Name: m.Addr, Addr: m.Addr, Role: shardmap.NodeServer}
		if m.Node == id.Node {
			node.Name, node.Addr, node.Start, node.Version = n.name, n.addr, id.Life().Number, Version
		}
		table.Nodes = append(table.Nodes, node)
	}
	return loop, table
}

// damaged marks the replica of this node in the row of a group.
func damaged(g *repl.GroupView, row wire.StatusGroup) wire.StatusGroup {
	for i := range row.Replicas {
		if row.Replicas[i].ID == g.Replica.ID {
			row.Replicas[i].State = wire.ReplicaDamaged
		}
	}
	row.Term, row.Commit = g.Status.Term, g.Commit
	return row
}

// damagesShownMax is how many damaged groups status names one by one.
const damagesShownMax = 16

// damages lists what is damaged on this node, each with its place on disk.
func damages(known map[raft.GroupID]*repl.GroupView, name map[raft.NodeID]string) []wire.Problem {
	var list []wire.Problem
	var more []raft.GroupID
	for _, id := range slices.Sorted(maps.Keys(known)) {
		m := known[id].Mending
		switch {
		case m == nil:
		case len(list) == damagesShownMax:
			more = append(more, id)
		default:
			list = append(list, wire.Problem{What: fmt.Sprintf("group %d is damaged on this node: it %s", id, m.What()), Remedy: remedy(m, name)})
		}
	}
	if len(more) > 0 {
		list = append(list, wire.Problem{What: named(more, "is", "are") + " damaged on this node too", Remedy: "repair the first ones; this node's log lists all"})
	}
	return list
}

// remedy is what a person should do about a damaged replica.
func remedy(m *repl.Mending, name map[raft.NodeID]string) string {
	var others []string
	for _, n := range m.Others {
		others = append(others, cmp.Or(name[n], n.String()))
	}
	switch {
	case m.Damage.Promises:
		return "this replica never votes again, for nobody else knows what it promised; the group continues only while a majority of its voters is whole without it: muster doctor reports when it can't; keep the data directory, and check the disk"
	case m.Reopens:
		return "check the disk and its cable: the replica opens by itself as soon as the disk returns what it refuses"
	case m.Broken != "":
		return overview.RemedyReport
	case m.Barren && !m.Runs:
		return fmt.Sprintf("not mended: %s have answered, and have no copy; keep all data directories; bring back a node that has one, or put the file back while its node is down, from a copy made since that node last stopped, never from an older one; if there is none any more, see muster recover --help", strings.Join(others, " and "))
	case m.Damage.Where.Refused:
		return "check the disk and its cable: nothing is known to be lost, and the problem ends once the disk returns it; meanwhile it is mended from other replicas, if they have it"
	case m.Runs:
		return "being mended while it serves; look at the disk"
	}
	return fmt.Sprintf("being mended from %s: see that they run; then look at the disk", strings.Join(others, " and "))
}

// mendRows are the counts of mending, as rows of the counters.
func mendRows(c repl.MendCounts) []wire.CounterRow {
	return countRows("damage: ", mendCounts(c))
}

// mendCounts are the counts of mending by their names.
func mendCounts(c repl.MendCounts) []countRow {
	return []countRow{
		{"replicas found damaged while running", c.Found}, {"questions", c.Asked}, {"questions answered", c.Answered},
		{"entries given back", c.Mended}, {"entries replaced", c.Replaced}, {"snapshots asked for", c.Snapshots}, {"replicas mended", c.Healed},
	}
}

// countRow is a count and its name.
type countRow struct {
	name string
	n    uint64
}

// countRows makes the rows of counts of one kind, without those that are 0.
func countRows(kind string, counts []countRow) (rows []wire.CounterRow) {
	for _, c := range counts {
		if c.n > 0 {
			rows = append(rows, wire.CounterRow{Name: kind + c.name, In: c.n})
		}
	}
	return rows
}
