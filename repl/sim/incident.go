package sim

import (
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

// incidents are the replicas of a node of which the table is to tell that their states were
// found to be wrong. Package node does the same beside its host.
type incidents struct {
	n     *node
	known map[logstore.Replica]shardmap.Incident // of the process
	next  time.Duration                          // when the table is told again
}

// tellEvery is how often the table is told what it does not say yet.
const tellEvery = time.Second

// begin begins those of a process, with what its disk says.
func (k *incidents) begin() {
	k.known = map[logstore.Replica]shardmap.Incident{}
	for _, i := range k.n.host.Audits.Incidents() {
		k.found(i)
	}
}

var foundBy = map[logstore.FenceFound]shardmap.FoundBy{
	logstore.FenceByWalk: shardmap.FoundByWalk, logstore.FenceByComparison: shardmap.FoundByComparison, logstore.FenceUndecided: shardmap.FoundUndecided,
}

// found is told by the host of a replica whose state was found to be wrong, or is right again.
func (k *incidents) found(i repl.Incident) {
	is := shardmap.Incident{
		IncidentKey: shardmap.IncidentKey{Group: i.Replica.Group, Incarnation: i.Replica.Incarnation, Replica: i.Replica.ID, At: i.At},
		Node:        k.n.id, Found: foundBy[i.Found], What: i.What[:min(len(i.What), shardmap.TableTextMax)], State: shardmap.IncidentFenced, PartsCount: uint32(len(i.Parts)),
	}
	if i.Rebuilt {
		is.State = shardmap.IncidentRebuilt
	}
	for _, p := range i.Parts[:min(len(i.Parts), shardmap.IncidentPartsMax)] {
		is.Parts = append(is.Parts, shardmap.Part(p))
	}
	if k.known == nil {
		k.known = map[logstore.Replica]shardmap.Incident{}
	}
	k.known[i.Replica] = is
}

// tell tells the table what it does not say yet, and the host what a person has seen.
func (k *incidents) tell() {
	c, t := k.n.c, k.n.known.table
	if len(k.known) == 0 || c.now < k.next || t == nil || t.Level < shardmap.AuditLevel {
		return
	}
	k.next = c.now + tellEvery
	for _, r := range k.replicas() {
		is := k.known[r]
		row, has := t.IncidentOf(is.IncidentKey)
		switch {
		case !has || row.State != shardmap.IncidentRebuilt && row.State != is.State:
			c.order.give(shardmap.AppendNoteIncident(nil, &shardmap.NoteIncident{Incident: is}))
		case row.Acknowledged && is.State == shardmap.IncidentRebuilt:
			delete(k.known, r)
			k.n.host.Audits.Forget(r)
		}
		if !k.n.up {
			return
		}
	}
}

// replicas returns those of which something is to be told, in order.
func (k *incidents) replicas() (all []logstore.Replica) {
	for r := range k.known {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b logstore.Replica) int { return int(a.Group) - int(b.Group) })
	return all
}

// told checks what a table says of replicas that differ (I17).
func (x *flaws) told(n *node, t *shardmap.Table) {
	for i := range t.Incidents {
		is := &t.Incidents[i]
		if !x.made[madeFlaw{is.Node, is.Group}] {
			x.c.fail("I17: n%d is told that the state of replica %d of group %d on n%d was wrong at %s (%s): it never was", n.index, is.Replica, is.Group, is.Node, is.At, is.What)
		}
	}
}

// madeFlaw is where there was a flaw once, or where nobody could tell whether there was.
type madeFlaw struct {
	node  raft.NodeID
	group raft.GroupID
}

// acknowledge waits until the table says of all replicas that were fenced that they are right
// again, then has a person take note of it, and waits until nothing is left of it.
func (x *flaws) acknowledge() {
	c := x.c
	c.until("the table says of each replica that it is right again", settleWithin, func() bool {
		t := c.newestTable()
		return !slices.ContainsFunc(c.nodes, func(n *node) bool {
			return !n.up || slices.ContainsFunc(n.incidents.replicas(), func(r logstore.Replica) bool {
				row, has := t.IncidentOf(n.incidents.known[r].IncidentKey)
				return !has || row.State != shardmap.IncidentRebuilt
			})
		})
	})
	var asked time.Duration
	c.until("what a person has seen is forgotten", settleWithin, func() bool {
		t := c.newestTable()
		if c.now-asked > tellEvery && slices.ContainsFunc(t.Incidents, func(i shardmap.Incident) bool { return !i.Acknowledged }) {
			asked = c.now
			c.order.give(shardmap.AppendAcknowledge(nil, &shardmap.Acknowledge{}))
		}
		return !slices.ContainsFunc(c.nodes, func(n *node) bool { return !n.up || len(n.host.Audits.Incidents()) > 0 })
	})
}
