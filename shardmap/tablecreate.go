package shardmap

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// GroupCreate makes a data group, on servers that the table chooses. It owns no slots until
// some are moved to it. Its incarnation is the index of the entry.
//
//	[group], or, from [LeasesLevel] on
//	[group, [node, …]]
type GroupCreate struct {
	Group raft.GroupID // 0: the lowest that no group has had
	// Away are nodes that the meta group's leader has not heard of for an election timeout:
	// replicas are made there only if there are too few other servers, and no group is made
	// of which half is there. The leader fills it, whatever the order that it was given has.
	Away []raft.NodeID
}

// GroupRemove takes a data group that owns no slots off the table. What its replicas have
// on disk is given back by their nodes. From [LeasesLevel] on no other group gets its
// number.
//
//	[group]
type GroupRemove struct {
	Group raft.GroupID
}

// GroupsMax bounds the data groups. More could not have a slot each.
const GroupsMax = Slots

// ZoneLabel is the key of the label by which replicas are spread. Nodes without
// it stand in one zone together.
const ZoneLabel = "zone"

// AppendGroupCreate appends the bytes of c to b. At this level the error is always nil.
func AppendGroupCreate(b []byte, c *GroupCreate) ([]byte, error) {
	if len(c.Away) == 0 {
		b = appendTableHead(b, TableGroupCreate, 1)
		return pack.AppendUint(b, uint64(c.Group)), nil
	}
	b = appendTableHead(b, TableGroupCreate, 2)
	b = pack.AppendUint(b, uint64(c.Group))
	b = pack.AppendArray(b, len(c.Away))
	for _, n := range c.Away {
		b = pack.AppendUint(b, uint64(n))
	}
	return b, nil
}

// ReadGroupCreate returns the command, if that is what payload has.
func ReadGroupCreate(payload []byte) (*GroupCreate, bool) {
	_, c, err := readTableCommand(payload)
	if err != nil {
		return nil, false
	}
	create, ok := c.(*GroupCreate)
	return create, ok
}

// AppendGroupRemove appends the bytes of c to b. At this level the error is always nil.
func AppendGroupRemove(b []byte, c *GroupRemove) ([]byte, error) {
	b = appendTableHead(b, TableGroupRemove, 1)
	return pack.AppendUint(b, uint64(c.Group)), nil
}

func (r *tableReader) groupCreate() (tableCommand, error) {
	c := new(GroupCreate)
	if ahead := *r; ahead.Array() == 1 {
		r.fields("making of a group", 1)
		c.Group = r.groupID()
		return c, r.err()
	}
	r.fields("making of a group", 2)
	c.Group = r.groupID()
	c.Away = list(r, 1, func() raft.NodeID { return raft.NodeID(r.Uint()) })
	if len(c.Away) == 0 {
		r.Fail("no node is away: that has one field")
	}
	return c, r.err()
}

func (r *tableReader) groupRemove() (tableCommand, error) {
	c := new(GroupRemove)
	r.fields("removal of a group", 1)
	c.Group = r.groupID()
	return c, r.err()
}

// apply returns the table with the group.
func (c *GroupCreate) apply(t *Table, id raft.LogID) (*Table, error) {
	if len(c.Away) > 0 && t.Level < LeasesLevel {
		return t, below(t, "making of a group while nodes are away", LeasesLevel)
	}
	g, free := c.Group, t.freeGroup()
	next := "make do with those that there are: muster group list"
	if free != 0 {
		next = fmt.Sprintf("choose another one, or none, which takes %d: muster group create", free)
	}
	if g == 0 {
		g = free
	}
	at, exists := t.group(g)
	servers := hosts(t)
	switch {
	case g == 0:
		return t, &Refusal{Kind: RefusedConflict, Object: "a new group", Found: fmt.Sprintf("each number from 1 to %d was given to one already", raft.GroupMax), Next: next}
	case g > raft.GroupMax:
		return t, &Refusal{Kind: RefusedRequest, Object: g.String(), Found: fmt.Sprintf("it is no id for a group; they are 1 to %d", raft.GroupMax), Next: next}
	case exists:
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: "there is one of this id", Next: next}
	case t.wasRemoved(g) && !bug("group number given again"):
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: "the group of this id was removed, and its log ids must not be taken for another one's", Next: next}
	case len(t.Groups) >= GroupsMax:
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: fmt.Sprintf("there are %d groups, as many as may be", len(t.Groups)), Next: "remove one first: muster group remove GROUP"}
	case len(servers) == 0:
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: "no server could hold its replicas: each is drained, or about to be removed or replaced", Next: "see muster node list"}
	}
	row := foundGroup(t, g, servers, c.Away)
	if away := row.on(c.Away); 2*len(away) >= len(row.Replicas) {
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: fmt.Sprintf("nothing is heard of %d of the %d servers that would hold it, %s among them: it might get no leader", len(away), len(row.Replicas), t.called(away[0])),
			Next: "start muster serve there, or take away the nodes that do not come back: see muster node list"}
	}
	if t.replicas()+len(row.Replicas) > TableReplicasMax {
		return t, &Refusal{Kind: RefusedConflict, Object: g.String(), Found: fmt.Sprintf("all groups have %d replicas, and may have %d", t.replicas(), TableReplicasMax), Next: "remove a group first: muster group remove GROUP"}
	}
	row.Incarnation = raft.Incarnation(id.Index)
	made := t.draft(id)
	made.Groups = slices.Insert(slices.Clone(t.Groups), at, row)
	return made.Table, nil
}

// wasRemoved reports whether the table had a group of the number before.
func (t *Table) wasRemoved(g raft.GroupID) bool {
	_, found := slices.BinarySearch(t.RemovedGroups, g)
	return found
}

// freeGroup returns the lowest number that no group has or has had; 0 if there is none.
func (t *Table) freeGroup() raft.GroupID {
	for g := raft.GroupID(1); g <= raft.GroupMax; g++ {
		if _, ok := t.group(g); !ok && (!t.wasRemoved(g) || bug("group number given again")) {
			return g
		}
	}
	return 0
}

// checkRemovedGroups says why these can't be the groups that were removed.
func checkRemovedGroups(t *Table) error {
	for i, g := range t.RemovedGroups {
		if g == 0 || g > raft.GroupMax || i > 0 && t.RemovedGroups[i-1] >= g {
			return fmt.Errorf("removed %s is out of order", g)
		}
		if _, ok := t.group(g); ok && !bug("group number given again") {
			return fmt.Errorf("%s is in the table, and removed", g)
		}
	}
	return nil
}

// hosts returns the servers that may get a new replica, by id.
func hosts(t *Table) (hosts []*TableNode) {
	leaves := func(n raft.NodeID) bool {
		return jobList(t.Jobs).unfinished(func(j *Job) bool { return j.Node == n && (j.Kind == JobRemove || j.Kind == JobReplace) }) != nil
	}
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Role == NodeServer && !n.Draining && !leaves(n.ID) {
			hosts = append(hosts, n)
		}
	}
	return hosts
}

// foundGroup lays out a new group over the hosts: each of its replicas in the zone that has
// the fewest of them, there on the node that has the fewest of all groups. It is what the
// plan (package plan) would do too, so that it moves none of them right away. Hosts that are
// away get one if there are no others: a group that begins without them lacks a voter.
func foundGroup(t *Table, id raft.GroupID, hosts []*TableNode, away []raft.NodeID) TableGroup {
	holds, leads := map[raft.NodeID]int{}, map[raft.NodeID]int{}
	for i := range t.Groups {
		leads[t.Groups[i].Preferred]++
		for _, r := range t.Groups[i].Replicas {
			holds[r.Node]++
		}
	}
	zones, taken := map[string]int{}, map[raft.NodeID]bool{}
	row := TableGroup{ID: id}
	for r := range min(t.Replicas(), len(hosts)) {
		var best *TableNode
		for _, n := range hosts {
			if taken[n.ID] {
				continue
			}
			if best == nil {
				best = n
				continue
			}
			here, there := slices.Contains(away, n.ID), slices.Contains(away, best.ID)
			switch {
			case here != there:
				if there {
					best = n
				}
			case zones[n.zone()] < zones[best.zone()] || zones[n.zone()] == zones[best.zone()] && holds[n.ID] < holds[best.ID]:
				best = n
			}
		}
		taken[best.ID] = true
		zones[best.zone()]++
		row.Replicas = append(row.Replicas, TableReplica{raft.ReplicaID(r + 1), best.ID, ReplicaVoter})
		if row.Preferred == 0 || leads[best.ID] < leads[row.Preferred] && !slices.Contains(away, best.ID) {
			row.Preferred = best.ID
		}
	}
	row.Founders = slices.Clone(row.Replicas)
	row.Next = row.nextOfFounding()
	return row
}

// on returns those of the nodes that have a replica of the group.
func (g *TableGroup) on(nodes []raft.NodeID) (holders []raft.NodeID) {
	for _, r := range g.Replicas {
		if slices.Contains(nodes, r.Node) {
			holders = append(holders, r.Node)
		}
	}
	return holders
}

// zone is the value of the node's label [ZoneLabel], or "".
func (n *TableNode) zone() string {
	for _, l := range n.Labels {
		if l.Key == ZoneLabel {
			return l.Value
		}
	}
	return ""
}

// apply returns the table without the group.
func (c *GroupRemove) apply(t *Table, id raft.LogID) (*Table, error) {
	if err := mayOwn(t, c.Group); err != nil {
		return t, err
	}
	refused := func(next, format string, args ...any) error {
		return &Refusal{Kind: RefusedConflict, Object: c.Group.String(), Found: fmt.Sprintf(format, args...), Next: next}
	}
	if len(t.Groups) == 1 {
		return t, refused("make another one first, and move the slots there: muster group create", "it is the last data group")
	}
	if owned := t.SlotsOf(c.Group); len(owned) > 0 {
		runs := SlotRanges(owned)
		return t, refused(fmt.Sprintf("move them first: muster slot move %s GROUP", runs[0].Short()), "it owns %s: %s", countSlots(len(owned)), listShort(runs))
	}
	moves, jobs := t.Moves, jobList(t.Jobs)
	if bug("group removed while it moves") {
		moves, jobs = nil, nil
	}
	for _, m := range moves {
		if m.From == c.Group || m.To == c.Group {
			return t, refused(fmt.Sprintf("wait until it has ended: muster job wait %d", m.Job), "%s on the way from %s to %s", slotsAre(m.SlotRange), m.From, m.To)
		}
	}
	if j := jobs.unfinished(func(j *Job) bool { return j.aboutGroup(c.Group) }); j != nil {
		return t, refused(fmt.Sprintf("muster job wait %d, or muster job cancel %d", j.ID, j.ID), "job %d (%s) is %s", j.ID, j.Kind, j.standing())
	}
	if n := t.Catalog.windowsOn(c.Group); n > 0 {
		return t, refused("wait until retention drops them, or drop their databases: muster window list", "it has shards of %d windows", n)
	}
	at, _ := t.group(c.Group)
	made := t.draft(id)
	made.Groups = slices.Delete(slices.Clone(t.Groups), at, at+1)
	// A member of the older build gives the number again, so below its level all do.
	if t.Level >= LeasesLevel {
		i, _ := slices.BinarySearch(t.RemovedGroups, c.Group)
		made.RemovedGroups = slices.Insert(slices.Clone(t.RemovedGroups), i, c.Group)
	}
	return made.Table, nil
}

// aboutGroup reports whether the job is to do something in a data group.
func (j *Job) aboutGroup(g raft.GroupID) bool {
	return j.Kind.AboutGroup() && j.Group == g ||
		slices.ContainsFunc(j.Targets, func(to SlotTarget) bool { return to.From == g || to.To == g })
}

func (c *GroupCreate) describe() string {
	text := c.Group.String()
	if c.Group == 0 {
		text = "of the lowest new id"
	}
	for i, n := range c.Away {
		switch {
		case i == 0:
			text += " away: " + n.String()
		case i == describedMax:
			return text + ", …"
		default:
			text += ", " + n.String()
		}
	}
	return text
}

func (c *GroupRemove) describe() string { return c.Group.String() }
