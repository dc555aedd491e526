package node

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// policy says how this node looks for replicas that differ: as the cluster's settings have it.
func (s *incidents) policy() repl.AuditPolicy {
	t := s.node.table.Load()
	if t == nil || !t.Founded() {
		return repl.AuditPolicy{}
	}
	return repl.AuditPolicy{Every: t.AuditPace(), Walk: t.WalkPace(), Understood: t.Level >= shardmap.AuditLevel}
}

// auditRows are what the audits of this node have counted.
func auditRows(c repl.AuditCounts) []wire.CounterRow {
	return countRows("audit: ", auditCounts(c))
}

// auditCounts are the counts of audits by their names.
func auditCounts(c repl.AuditCounts) []countRow {
	return []countRow{
		{"entries written", c.Entries}, {"comparisons", c.Rounds}, {"replicas that differed", c.Differed}, {"ties", c.Ties},
		{"walks", c.Walks}, {"faults found by walks", c.Faults}, {"replicas fenced", c.Fenced}, {"replicas rebuilt", c.Rebuilt},
	}
}

// happened is told by the host of a replica whose state was found to be wrong, or is right again.
func (s *incidents) happened(i repl.Incident) { s.found(s.of(&i)) }

var foundBy = map[logstore.FenceFound]shardmap.FoundBy{
	logstore.FenceByWalk: shardmap.FoundByWalk, logstore.FenceByComparison: shardmap.FoundByComparison, logstore.FenceUndecided: shardmap.FoundUndecided,
}

// of is an incident of the host as the table has it.
func (s *incidents) of(i *repl.Incident) shardmap.Incident { return incidentOn(s.node.self().Node, i) }

// incidentOn is an incident of the host of a node as the table has it.
func incidentOn(node raft.NodeID, i *repl.Incident) shardmap.Incident {
	is := shardmap.Incident{
		IncidentKey: shardmap.IncidentKey{Group: i.Replica.Group, Incarnation: i.Replica.Incarnation, Replica: i.Replica.ID, At: i.At},
		Node:        node, Found: foundBy[i.Found], What: i.What, State: shardmap.IncidentFenced,
	}
	if i.Rebuilt {
		is.State = shardmap.IncidentRebuilt
	}
	for _, p := range i.Parts {
		is.Parts = append(is.Parts, shardmap.Part(p))
	}
	return is
}

// hostIncidents are the incidents that the host has on its disk. Any goroutine may call it.
type hostIncidents struct {
	node *Node
	loop *repl.Loop
}

// incidents returns those that are not forgotten, in any order.
func (h *hostIncidents) incidents() (all []shardmap.Incident) {
	var of []repl.Incident
	h.loop.Ask(func(host *repl.Host) { of = host.Audits.Incidents() })
	for i := range of {
		all = append(all, h.node.incidents.of(&of[i]))
	}
	return all
}

// forget says that a person has seen the one of this replica, which was rebuilt.
func (h *hostIncidents) forget(r logstore.Replica) {
	h.loop.Post(func(host *repl.Host) { host.Audits.Forget(r) })
}
