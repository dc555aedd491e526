package client

import (
	"maps"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// table is who owns which slot and who leads which group, as far as a client
// knows, and the question for a newer one.
type table struct {
	known bool   // Invariant: set once a table was seen, never cleared
	index uint64 // of the table: which entry changed it last
	epoch uint64 // of its slots
	came  uint64 // how many tables did
	level uint32 // of the cluster
	slots [shardmap.Slots]raft.GroupID
	// moved has the slots that are elsewhere than slots says. Invariant: each is of
	// another group than slots says.
	moved    map[shardmap.Slot]moved
	looked   time.Duration // when a table was last asked for because of one of them
	valueMax int
	groups   map[raft.GroupID]*group
	replicas map[raft.GroupID][]Peer // group.nodes of each; another map with each table, for routes have it
	made     *Routes                 // nil when they have to be made again
	spread   uint32                  // see [Routes.Spread]
	always   bool                    // all goes through one peer, who passes it on
	through  Peer                    // that peer; NoPeer while none is connected

	wanted   bool // a newer table than ours is wanted
	asked    Peer // whom the question after it is with; NoPeer if none is
	askAfter time.Duration
	fails    int
	turn     int
	cause    error // why the last question gave none
}

// group is what is known of a group.
type group struct {
	leader Peer          // Invariant: never an alias of another peer
	looked time.Duration // when a table was last asked for because of named
	named  Peer          // the leader that was told of last, whether or not it can be reached; NoPeer if it said that it does not lead
	nodes  []Peer
	// scouting is how calls look for its leader; see [Scouts.pause].
	scouting scouting
}

// routes returns the routes as they are now.
func (t *table) routes() *Routes {
	if t.made != nil {
		return t.made
	}
	r := &Routes{Index: t.index, Groups: slices.Sorted(maps.Keys(t.groups)), Epoch: t.epoch, Level: t.level, ValueMax: t.valueMax, Group: t.slots, Spread: t.spread}
	if !t.always {
		r.Replicas = t.replicas
	}
	for s, m := range t.moved {
		r.Group[s] = m.group
	}
	for s := range r.Peer {
		if s > 0 && r.Group[s] == r.Group[s-1] {
			r.Peer[s] = r.Peer[s-1] // as most are
			continue
		}
		r.Peer[s] = t.peerOf(r.Group[s])
	}
	t.made = r
	return r
}

// peerOf returns the peer that takes what is for a group while nothing is wrong; NoPeer
// if none is known.
func (t *table) peerOf(id raft.GroupID) Peer {
	g := t.groups[id]
	switch {
	case g == nil:
		return NoPeer
	case t.always:
		return t.through
	}
	return g.leader
}

// reroute notes in the routes that a slot has another owner. Others than its own stay as
// they are: while many slots move it is cheaper than to make all anew.
func (t *table) reroute(s shardmap.Slot) {
	if t.made == nil {
		return
	}
	r := *t.made
	r.Group[s] = t.owner(s)
	r.Peer[s] = t.peerOf(r.Group[s])
	t.made = &r
}

// groupOf returns the group that c is for; 0 if nobody owns its slot.
func (t *table) groupOf(c *Call) raft.GroupID {
	switch {
	case c.Target == ToGroup:
		return c.Group
	case c.told != 0:
		return c.told
	}
	return t.owner(c.Slot)
}

// leaderOf returns the leader of c's group as far as is known.
func (t *table) leaderOf(c *Call) Peer {
	if g := t.groups[t.groupOf(c)]; g != nil {
		return g.leader
	}
	return NoPeer
}

// lead notes that p leads the group, and reports whether that is news.
func (t *table) lead(id raft.GroupID, p Peer) bool {
	g := t.groups[id]
	if g == nil {
		return false
	}
	g.named = p
	g.scouting = scouting{}
	if g.leader == p {
		return false
	}
	g.leader, t.made = p, nil
	return true
}

// unlead notes that p does not lead the group that c is for, if it is for one.
func (t *table) unlead(c *Call, p Peer) {
	if c.Target <= ToGroup {
		t.unleadGroup(t.groupOf(c), p)
	}
}

// unleadGroup notes that p does not lead a group.
func (t *table) unleadGroup(id raft.GroupID, p Peer) {
	g := t.groups[id]
	if g == nil {
		return
	}
	if g.named == p {
		g.named = NoPeer
	}
	if g.leader == p {
		g.leader, t.made = NoPeer, nil
	}
}

// sendThrough has all calls go through one peer, or none while p is NoPeer.
func (t *table) sendThrough(p Peer) {
	if t.through != p {
		t.through, t.made = p, nil
	}
}

// replace puts another peer, or NoPeer, in the place of p wherever it leads.
func (t *table) replace(p, by Peer) {
	for _, g := range t.groups {
		if g.leader == p {
			g.leader, t.made = by, nil
		}
	}
}

// want notes that a newer table is wanted, and asks for it.
func (t *table) want(now time.Duration, of *peers) {
	t.wanted = true
	t.ask(now, of)
}

// ask asks one peer for the table, one at a time. Where no peer is up, one is
// dialled.
func (t *table) ask(now time.Duration, of *peers) {
	if t.asked != NoPeer || now < t.askAfter {
		return
	}
	p := of.anyUp(t.turn)
	if p == NoPeer {
		t.askAfter = of.dialOne(now)
		return
	}
	t.asked = p
	t.turn++
	of.todo.add(Action{Kind: ActAsk, Peer: p})
}

// failed notes that the question gave no table.
func (t *table) failed(now time.Duration, err error) {
	t.asked, t.cause = NoPeer, err
	t.askAfter = now + min(PauseMin<<min(t.fails, 8), PauseMax)
	t.fails++
}

// answered notes that the question gave a table.
func (t *table) answered() { t.asked, t.fails = NoPeer, 0 }

// newFor reports whether c, which may wait for a table, has one that is new enough. The level
// of a cluster is raised where nothing else happens of which a client would hear.
func (t *table) newFor(c *Call) bool {
	if c.since == 0 && t.level < c.Needs {
		c.since = t.came + 1
	}
	return t.came >= c.since
}

// install takes what a peer knows in the place of what was known. The nodes in it
// are peers from now on.
func (t *table) install(now time.Duration, a *wire.TopologyAnswer, of *peers) {
	t.wanted, t.cause = false, nil
	t.came++
	t.askAfter = now + TablePauseMin
	t.known, t.index, t.epoch, t.level, t.made = true, a.Index, a.Epoch, a.Level, nil
	if a.ValueMax > 0 {
		t.valueMax = int(a.ValueMax)
	}
	// A node may live where another one did that the client knows: then only the hello will
	// tell, and it is dialled there.
	at := make(map[raft.NodeID]Peer, len(a.Nodes))
	for _, n := range a.Nodes {
		at[n.ID] = of.named(n.ID, n.Addr)
	}
	groups := make(map[raft.GroupID]*group, len(a.Groups))
	t.replicas = make(map[raft.GroupID][]Peer, len(a.Groups))
	for _, x := range a.Groups {
		g := &group{leader: NoPeer, named: NoPeer}
		if old := t.groups[x.ID]; old != nil {
			g.leader, g.named, g.scouting = old.leader, old.named, old.scouting
		}
		for _, id := range x.Nodes {
			if p, ok := at[id]; ok && p != NoPeer {
				g.nodes = append(g.nodes, of.resolve(p))
			}
		}
		// A leader that we know from its answers or from a hint is newer
		// than what a node has heard.
		if p, ok := of.byID[x.Leader]; ok && x.Leader != 0 && (g.leader == NoPeer || of.all[g.leader].state == peerDown) {
			g.leader = of.resolve(p)
			g.named = g.leader
		}
		groups[x.ID], t.replicas[x.ID] = g, g.nodes
	}
	t.groups = groups
	clear(t.slots[:])
	for _, r := range a.Slots {
		for s := int(r.From); s <= int(r.To) && s < len(t.slots); s++ {
			t.slots[s] = r.Group
		}
	}
	t.settle()
}
