package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// known is what a node knows about the cluster from the table of group 0, and what it has
// announced of itself.
type known struct {
	n         *node
	table     *shardmap.Table // nil: none yet
	told      []raft.NodeID   // who was a member when it joined: whom it knows without a table
	others    []raft.NodeID   // whom the host was told of
	shown     shownTable
	intends   intendedTable
	routes    *machine.Routes // of the process: what its logs say of slots before the table does
	lent      bool            // the process has shown the table of another node
	announced bool
}

func (k *known) changed(t *shardmap.Table) {
	if !k.odd() {
		k.n.c.builds.knows(k.n, t)
		k.n.c.order.checkTable(k.n, t)
		k.n.c.shuffle.groups(t)
		k.n.c.flaws.told(k.n, t)
		k.n.c.security.table(t)
		k.n.c.users.table(t)
		k.n.c.limits.table(t)
	}
	k.table = t
	k.n.lawful.tableChanged(t)
	k.routes.Follow(t)
	k.n.feeds.feed.TableChanged()
	if k.n.moves.leds {
		k.n.moves.plan(0)
	}
	k.n.carries.plan(0)
	k.n.creds.plan(0)
	k.n.divides.plan(0)
	k.n.moves.keeper.changed()
	if k.n.host != nil {
		k.follow(t)
	}
}

// audits says how the host looks for replicas that differ.
func (k *known) audits() repl.AuditPolicy {
	if k.table == nil || !k.table.Founded() {
		return repl.AuditPolicy{}
	}
	return repl.AuditPolicy{Every: k.table.AuditPace(), Walk: k.table.WalkPace(), Understood: k.table.Level >= shardmap.AuditLevel}
}

// odd reports whether the table may be a wrong one.
func (k *known) odd() bool { return k.n.origin().odd.has(0) }

// follow brings the host in line with the table.
func (k *known) follow(t *shardmap.Table) {
	var others []raft.NodeID
	member := func(id raft.NodeID) {
		if id != k.n.id {
			others = append(others, id)
		}
	}
	if t != nil && t.Founded() && k.n.c.order.active {
		for i := range t.Nodes {
			member(t.Nodes[i].ID)
		}
	} else if k.told != nil {
		for _, id := range k.told {
			member(id)
		}
	} else {
		for i := range k.n.c.result.Nodes {
			member(raft.NodeID(i + 1))
		}
	}
	k.others = others
	k.n.host.SetNodes(others)
	if t == nil {
		return
	}
	k.n.where.follow(t)
	var place []repl.Placement
	if k.n.c.order.active && t.Founded() {
		// As a process does: the table says what is here, and what no longer is.
		for g := range t.EachGroup {
			if p, ok := machine.Placement(g, k.n.id); ok {
				place = append(place, p)
			}
		}
		k.n.host.Keep(machine.Kept(t))
		k.n.host.Place(place)
		return
	}
	for i := range t.Groups {
		if p, ok := machine.Placement(&t.Groups[i], k.n.id); ok && !k.n.c.truth[t.Groups[i].ID].removed(p.Replica.ID) {
			place = append(place, p)
		}
	}
	k.n.host.Place(append(place, k.n.moves.keeper.unlisted(place)...))
}

// announce puts what this process is into the table, or makes the table.
func (k *known) announce() {
	if k.announced {
		return
	}
	e := k.n.event(evAnnounce)
	k.n.c.after(k.n.c.chance.between(200*time.Millisecond, 400*time.Millisecond), e)
	table := k.table
	if _, ok := k.n.replica(0); !ok {
		// In a process each node has a copy of group 0 and sees itself in it.
		table = k.n.c.newestTable()
	}
	var command []byte
	switch {
	case table == nil || !table.Founded():
		f := shardmap.Found{Cluster: clusterName, ClusterID: clusterID, Level: k.n.c.builds.founded, ValueMax: valueMax, Groups: k.n.c.options.Groups, Mode: k.n.c.security.mode(k.n.c.builds.founded)}
		for i := range k.n.c.result.Nodes {
			id := raft.NodeID(i + 1)
			f.Nodes = append(f.Nodes, shardmap.FoundNode{ID: id, Name: nameOf(id), Addr: addrOf(id), Role: shardmap.NodeServer, Level: f.Level})
		}
		command, _ = shardmap.AppendFound(nil, &f)
	default:
		if line, ok := table.Node(k.n.id); ok && line.Start >= k.n.start && line.Level == k.n.c.builds.of(k.n) {
			k.announced = true
			return
		}
		command, _ = shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: k.n.id, Start: k.n.start, Addr: k.n.where.addr, Name: nameOf(k.n.id), Version: "sim", Level: k.n.c.builds.of(k.n)})
	}
	// A process sends it over a connection to the leader. Here it goes straight to the
	// node that leads, if that can be reached.
	if lead := k.n.c.leaderOf(0); lead != nil && (lead == k.n || k.n.where.reaches(lead.index)) {
		lead.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: k.n.ticks.wall()}, command)})
		if lead != k.n {
			lead.turn()
		}
	}
}

// shownTable is a table as a node shows it to clients.
type shownTable struct {
	table  *shardmap.Table
	epochs uint64 // changes of slots' owners of which the node knows
}

// show returns the founded table as a node shows it to clients; nil if there is none
// yet. Where no slot moves, tables record neither that nor changes of memberships, so both
// are made up.
func (k *known) show() *shardmap.Table {
	c, x, table := k.n.c, &k.shown, k.kept()
	if _, ok := k.n.replica(0); table == nil && (!ok || k.lent) {
		// In a process each node has a copy of group 0, and keeps its table while it gets
		// another replica.
		table, k.lent = c.newestTable(), true
	}
	if table == nil || !table.Founded() {
		return nil
	}
	if c.shuffle.active {
		return table
	}
	if c.chance.below(epochEvery) == 0 {
		c.epochs++
	}
	if x.epochs < c.epochs && c.chance.below(epochKnown) == 0 {
		x.epochs = c.epochs
	}
	index, epoch := table.Index+c.changes()+x.epochs, table.Epoch+x.epochs
	if x.table == nil || x.table.Index != index || x.table.Epoch != epoch {
		t := *table
		t.Index, t.Epoch = index, epoch
		x.table = &t
	}
	return x.table
}

// intendedTable is a table as the machines of a node's groups see it.
type intendedTable struct {
	table, of *shardmap.Table
	epochs    uint64
}

// intended returns the table as the machines of the node's groups see it; nil if there
// is none yet. Its groups are founded with the slots that the run uses, and no others:
// an empty slot costs some 400 bytes in each map, and its share of each snapshot.
//
// Where no slot moves, in this table the slots that the run uses do all the same. It stands
// for the table of a later moment, which differs from the one at the founding.
// What a map owns must not follow from it.
func (k *known) intended() *shardmap.Table {
	table := k.kept()
	if table == nil {
		return nil
	}
	x, groups := &k.intends, len(table.Groups)
	if x.of == table && x.epochs == k.shown.epochs {
		return x.table
	}
	t := *table
	t.Groups = slices.Clone(t.Groups)
	if !k.n.c.shuffle.active {
		t.Slots = [shardmap.Slots]raft.GroupID{}
	}
	for i := range t.Groups {
		g := &t.Groups[i]
		if int(g.ID) >= len(k.n.c.slots) {
			continue // it was made without any
		}
		slots := k.n.c.slots[g.ID]
		g.FirstSlots = shardmap.SlotRanges(slots)
		for _, s := range slots {
			if k.n.c.shuffle.active {
				break
			}
			t.Slots[s] = 1 + (g.ID-1+raft.GroupID(uint64(s)*k.shown.epochs))%raft.GroupID(groups)
		}
	}
	*x = intendedTable{&t, table, k.shown.epochs}
	return x.table
}

// kept returns the table that the node goes by; nil if there is none yet. In a run with limits or time series a node without a copy
// of group 0 knows what others know: in a process each has one, and admits nothing without a look at it.
func (k *known) kept() *shardmap.Table {
	if k.n.c.limits.active || k.n.c.series.active {
		if _, ok := k.n.replica(0); !ok || k.table == nil && k.lent {
			return k.n.c.newestTable()
		}
	}
	return k.table
}

// topology is what package node answers to a request for the table; nil if it does not
// answer.
func (k *known) topology() *wire.TopologyAnswer {
	if !k.n.up || k.n.paused {
		return nil
	}
	t := k.show()
	if t == nil {
		return nil
	}
	a := &wire.TopologyAnswer{ClusterID: t.ClusterID, Index: t.Index, Epoch: t.Epoch, ValueMax: uint32(t.ValueMax), Level: t.Level}
	for _, line := range t.Nodes {
		a.Nodes = append(a.Nodes, wire.TopologyNode{ID: line.ID, Name: line.Name, Addr: line.Addr, Role: shardmap.NodeServer, Status: wire.NodeAlive})
	}
	leaders := map[raft.GroupID]raft.NodeID{}
	for _, v := range k.n.host.View() {
		if m, ok := v.Status.Membership.Member(v.Status.Leader); ok {
			leaders[v.Replica.Group] = m.Node
		}
	}
	for _, g := range t.Groups {
		line := wire.TopologyGroup{ID: g.ID, Leader: leaders[g.ID]}
		for _, m := range k.n.c.truth[g.ID].committed().Voters {
			line.Nodes = append(line.Nodes, m.Node)
		}
		a.Groups = append(a.Groups, line)
	}
	a.Slots = append(a.Slots, k.n.c.ranges(t)...)
	return a
}

// joined notes the members that the answer to a host which asked to join names.
func (k *known) joined(t *shardmap.Table) {
	for i := range t.Nodes {
		k.told = append(k.told, t.Nodes[i].ID)
	}
}

// spoken notes that a node has spoken to this one. If this one has never heard of it, a
// process asks it for its table: it joined later, and may lead the group from which the
// table would come.
func (k *known) spoken(from raft.NodeID) {
	if k.n.c.order.active && !slices.Contains(k.others, from) {
		k.ask(from)
	}
}
