package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/health"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Whether what an assigner proposes follows from what it was told. Only the polls and answers
// count, as they travel: of each instance the newest assignment that any poll named, and of that
// whatever any answer found. What an earlier assignment found, of a checker that died, fell
// silent, or checked the instance as it was before, counts for nothing.

// proof is what the assigner of a process has said and heard.
type proof struct {
	newest map[instanceKey]*assignment
	all    map[uint64]*assignment // by number
	beats  map[instanceKey]*heard
	led    map[raft.GroupID]time.Duration // since when
}

// instanceKey names an instance, as of a term of its group.
type instanceKey struct {
	group          raft.GroupID
	term           uint64
	name, instance string
}

type assignment struct {
	key    instanceKey
	node   raft.NodeID // that it was given to
	number uint64
	check  uint64
	found  [wire.FindingNone + 1]bool
}

func (p *proof) begin() {
	p.newest, p.all, p.beats, p.led = map[instanceKey]*assignment{}, map[uint64]*assignment{}, map[instanceKey]*heard{}, map[raft.GroupID]time.Duration{}
}

// polled notes what a poll of a node assigns.
func (p *proof) polled(to raft.NodeID, q *wire.Checks) {
	for i := range q.Groups {
		s := &q.Groups[i]
		for j := range s.Rows {
			r := &s.Rows[j]
			key := instanceKey{s.Group, s.Term, r.Name, r.Instance}
			if now := p.newest[key]; now != nil && now.number >= r.Number {
				continue // it is sent again
			}
			x := &assignment{key: key, node: to, number: r.Number, check: r.Check}
			p.newest[key], p.all[r.Number] = x, x
		}
	}
}

// named checks whom an assigner names as those that check a service: each has the newest assignment
// of that leader, in that term.
func (p *proof) named(n *node, g raft.GroupID, term uint64, name string, all []wire.ServiceChecker) {
	for i := range all {
		c := &all[i]
		if x := p.newest[instanceKey{g, term, name, c.Instance}]; x == nil || x.node != c.Node || x.check != c.Check {
			n.c.fail("n%d names %+v for service %q in term %d of group %d; the newest assignment is %+v", n.index, *c, name, term, g, x)
		}
	}
}

// answered notes what a checker has found.
func (p *proof) answered(ans *wire.ChecksAnswer) {
	for i := range ans.States {
		s := &ans.States[i]
		if x := p.all[s.Number]; s.Finding != 0 && x != nil && x.key.group == s.Group && x.key.term == s.Term && x.check == s.Check && int(s.Finding) < len(x.found) {
			x.found[s.Finding] = true
		}
	}
}

// proposed checks a report when it is proposed.
func (p *proof) proposed(n *node, a *health.Action) {
	c := n.c
	report := a.Report
	for i := range report.Rows {
		r := &report.Rows[i]
		if r.Op != shardmap.ReportStatus {
			continue
		}
		s := c.lives.ofKey([]byte(report.Name)).knew(report.Name, r.Instance, r.Check)
		if s == nil {
			c.fail("n%d reports %+v of service %q: there never was such an instance", n.index, r, report.Name)
		}
		if s.service.Type == typeTTL {
			p.silent(n, a.Group, report.Name, s, r.Status)
			continue
		}
		x := p.newest[instanceKey{a.Group, a.Term, report.Name, r.Instance}]
		proven := false
		switch r.Status {
		case registry.Up:
			proven = x != nil && x.found[wire.FindingUp]
		case registry.Down:
			proven = x != nil && x.found[wire.FindingDown]
		case registry.Flapping:
			proven = x != nil && slices.Contains(x.found[:], true)
		case registry.Unknown:
			proven = true // nobody can run it
		}
		if !proven || x != nil && r.Status != registry.Unknown && x.check != r.Check {
			c.fail("n%d reports %+v of service %q in term %d of group %d; nobody has found that by the assignment in force: %+v", n.index, r, report.Name, a.Term, a.Group, x)
		}
		if up := r.Status == registry.Up; (up || r.Status == registry.Down) && !c.services.target(s.instance).was(up, c.now-proofWithin) {
			c.fail("n%d reports %+v of service %q; %s has not been that for %s", n.index, r, report.Name, s.instance.Get("host"), time.Duration(proofWithin))
		}
	}
}
