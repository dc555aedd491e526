package rescue

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/raft/quorum"
	"muster/shardmap"
)

// best returns the survivor whose log of a group is chosen, or nil if none is usable. It
// is the one that an election would choose, and for the same reason: the log that ends
// with the highest term and index holds all that is committed in any of them (Raft,
// section 5.4.1). Learners' logs count too: each is the beginning of a leader's.
//
// Of several that end alike, one that is not fenced is taken before one that is, because
// the group begins anew with the state as well. A log that goes further is taken even if
// its replica is fenced: what the others lack is lost for good, while a wrong state can be
// found and set right. Then a server's is taken before a client's, and otherwise that of
// the node whose log was chosen least often, so that the work of feeding the others is
// spread.
func (s *surveyed) best(id raft.GroupID, incarnation uint64) *Report {
	best := s.bestOf(id, incarnation, (*GroupReport).usable)
	if best == nil && s.takeDamaged {
		// Then the one of which most can be read.
		best = s.bestOf(id, incarnation, (*GroupReport).readable)
	}
	return best
}

// bestOf is best among the logs for which may reports true.
func (s *surveyed) bestOf(id raft.GroupID, incarnation uint64, may func(*GroupReport) bool) *Report {
	var best *Report
	for _, r := range s.reports {
		g := r.group(id, incarnation)
		if g == nil || !may(g) || id == 0 && len(r.Table) == 0 {
			continue
		}
		if best == nil || s.before(r, best, g, best.group(id, incarnation)) {
			best = r
		}
	}
	return best
}

// anyReadable reports whether something can be read of a group of which no log is usable.
func (s *surveyed) anyReadable(id raft.GroupID, incarnation uint64) bool {
	return s.bestOf(id, incarnation, (*GroupReport).readable) != nil
}

// before reports whether the log of a is chosen before that of b.
func (s *surveyed) before(a, b *Report, ofA, ofB *GroupReport) bool {
	if endA, endB := ofA.end(), ofB.end(); endA != endB {
		return endA.NewerOrEqual(endB) != bug("shorter log chosen")
	}
	if x, y := ofA.Fence == "", ofB.Fence == ""; x != y {
		return x
	}
	if s.table == nil {
		return false // of equal tables any will do
	}
	if x, y := s.server(a.Node), s.server(b.Node); x != y {
		return x
	}
	return s.chosen[a.Node] < s.chosen[b.Node]
}

func (s *surveyed) server(node ID) bool {
	row, _ := s.table.Node(raft.NodeID(node))
	return row.Role == shardmap.NodeServer
}

// majority reports whether a majority of a group's voters survives, whole and without a
// doubt, and of how many voters how many. A directory in doubt may have forgotten what
// it acknowledged, so its log proves nothing about what is committed.
func (s *surveyed) majority(g *GroupReport) (live, voters int, ok bool) {
	count := func(list []Member) int {
		n := 0
		for _, m := range list {
			if r := s.report(m.Node); r != nil && (s.doubts[m.Node] == "" || bug("voter in doubt counted")) {
				if own := r.group(g.Group, g.Incarnation); own != nil && own.Replica == m.Replica && own.usable() {
					n++
				}
			}
		}
		return n
	}
	live, voters = count(g.Membership.Voters), len(g.Membership.Voters)
	ok = live >= quorum.Majority(voters)
	if out := g.Membership.Outgoing; len(out) > 0 {
		ok = ok && count(out) >= quorum.Majority(len(out))
	}
	return live, voters, ok
}

// renew is the plan for a group that begins anew with the best log of a survivor, of
// which there is one.
func (s *surveyed) renew(id raft.GroupID, row *shardmap.TableGroup) GroupPlan {
	is := s.metaIs
	if id != 0 {
		is = uint64(row.Incarnation)
	}
	best := s.best(id, is)
	own := best.group(id, is)
	s.chosen[best.Node]++
	p := GroupPlan{Group: id, Action: Renew, Was: is, Source: best.Node, End: LogID(own.end()), Time: own.Time}
	next := max(own.Membership.Next, nextOf(row))
	p.Base = own.Last
	for _, r := range s.reports {
		if g := r.group(id, is); g != nil {
			// Behind all that any survivor has heard of, as an election would be.
			p.Base.Term = max(p.Base.Term, g.Term, g.Last.Term)
			p.Base.Index = max(p.Base.Index, g.Last.Index, g.Commit)
			next = max(next, g.Membership.Next)
		}
		if id == 0 {
			for k := range r.Groups {
				p.Base.Index = max(p.Base.Index, r.Groups[k].Incarnation)
			}
		}
	}
	p.Base.Term++
	if !bug("log not begun further on") {
		p.Base.Index += IndexAhead
	}
	seat := func(node ID) Member {
		next++
		return Member{next - 1, node}
	}
	p.Members.Voters = []Member{seat(best.Node)}
	for _, r := range s.reports {
		switch {
		case r == best || id != 0 && r.group(id, is) == nil:
		case bug("all survivors vote at once"):
			p.Members.Voters = append(p.Members.Voters, seat(r.Node))
		default:
			p.Members.Learners = append(p.Members.Learners, seat(r.Node))
		}
	}
	p.Members.Next = next
	p.Loss = s.loss(own, best.Node)
	return p
}

// nextOf returns an id that is above all that the table knows of a group.
func nextOf(row *shardmap.TableGroup) uint64 {
	next := max(1, uint64(row.Next))
	for _, list := range [...][]shardmap.TableReplica{row.Founders, row.Replicas} {
		for _, r := range list {
			next = max(next, uint64(r.Replica)+1)
		}
	}
	return next
}

// loss says what a group that begins anew may have lost, and whether what it has may be
// wrong.
func (s *surveyed) loss(own *GroupReport, source ID) string {
	if own.Fence != "" {
		return fmt.Sprintf("%s; and the state of %s was found to be wrong (%s), so compare what the group has with what it should", s.missing(own, source), s.name(source), own.Fence)
	}
	return s.missing(own, source)
}

// missing says what a group that begins anew may have lost.
func (s *surveyed) missing(own *GroupReport, source ID) string {
	id, last := own.Group, own.end()
	end, committed := raft.FormatLogID(id, last), last.Index
	for _, r := range s.reports {
		if g := r.group(id, own.Incarnation); g != nil {
			committed = max(committed, g.Commit)
		}
	}
	if committed > last.Index {
		return fmt.Sprintf("entries %d to %d, which were committed and can't be read any more, and what may stand behind them", last.Index+1, committed)
	}
	if own.Damage != "" {
		return fmt.Sprintf("all that was acknowledged after %s: the log of %s can't be read from there on: %s", end, s.name(source), own.Damage)
	}
	if _, _, ok := s.majority(own); ok {
		return fmt.Sprintf("nothing: a majority of its voters survives, and %s has all that they have, up to %s", s.name(source), end)
	}
	var gone, doubted []string
	for _, m := range own.Membership.raft(raft.GoalCopy).Replicas() {
		at, votes := s.voter(own, uint64(m))
		switch r := s.report(at); {
		case !votes:
		case r == nil:
			gone = append(gone, s.name(at))
		case s.doubts[at] != "":
			doubted = append(doubted, s.name(at))
		case r.group(id, own.Incarnation) == nil || !r.group(id, own.Incarnation).usable():
			gone = append(gone, s.name(at)+" (damaged)")
		}
	}
	text := fmt.Sprintf("what was acknowledged after %s, up to where %s has it", end, s.name(source))
	if len(gone) > 0 {
		text += "; its voters on " + strings.Join(gone, ", ") + " are gone, and nobody can know what only they had"
	}
	if len(doubted) > 0 {
		text += "; its voters on " + strings.Join(doubted, ", ") + " may run on older disks than what they promised"
	}
	return text
}

// voter returns the node of a replica, and whether it votes.
func (s *surveyed) voter(g *GroupReport, replica uint64) (ID, bool) {
	for _, list := range [...][]Member{g.Membership.Voters, g.Membership.Outgoing} {
		for _, m := range list {
			if m.Replica == replica {
				return m.Node, true
			}
		}
	}
	return 0, false
}

// whyNone says of each survivor why its log of a group can't be used.
func (s *surveyed) whyNone(id raft.GroupID, incarnation uint64) string {
	var parts []string
	for _, r := range s.reports {
		g := r.group(id, incarnation)
		switch {
		case g == nil:
		case g.Damage != "":
			parts = append(parts, fmt.Sprintf("%s: %s", s.name(r.Node), g.Damage))
		case len(g.Membership.Voters) == 0:
			parts = append(parts, fmt.Sprintf("%s: it never got anything", s.name(r.Node)))
		}
	}
	if len(parts) == 0 {
		return "none has a replica of it"
	}
	return strings.Join(parts, "; ")
}

// name is what people call a node.
func (s *surveyed) name(node ID) string {
	if s.table != nil {
		if row, ok := s.table.Node(raft.NodeID(node)); ok && row.Name != "" {
			return row.Name
		}
	}
	return "node " + node.String()
}

// spread returns the servers that vote in a group that is founded anew, an odd number of
// them. They are dealt like cards, so that each node gets its turn.
func (s *surveyed) spread(turn int) []ID {
	var servers []ID
	for _, r := range s.reports {
		if s.server(r.Node) {
			servers = append(servers, r.Node)
		}
	}
	if len(servers) == 0 {
		return []ID{s.reports[turn%len(s.reports)].Node}
	}
	voters := odd(min(len(servers), s.table.Replicas()))
	var all []ID
	for i := range voters {
		all = append(all, servers[(turn*voters+i)%len(servers)])
	}
	slices.Sort(all)
	return all
}

// odd returns the largest odd number up to n, at least 1.
func odd(n int) int { return max(1, n-1+n%2) }

// seats lets more survivors vote in group 0, an odd number in all: it begins with the
// same state everywhere, so whichever of them decide have it. One in doubt is among them
// only if nothing of what it promised counts any more.
func (s *surveyed) seats(p *Plan) {
	g := &p.Groups[0]
	var more []Member
	for _, m := range g.Members.Learners {
		if s.server(m.Node) && (s.doubts[m.Node] == "" || !s.keptAt(p, m.Node)) {
			more = append(more, m)
		}
	}
	more = more[:odd(min(1+len(more), s.table.MetaVoters()))-1]
	g.Members.Voters = append(g.Members.Voters, more...)
	g.Members.Learners = slices.DeleteFunc(g.Members.Learners, func(m Member) bool { return slices.Contains(more, m) })
}

// keptAt reports whether a node has a replica of a group that is kept.
func (s *surveyed) keptAt(p *Plan, node ID) bool {
	return slices.ContainsFunc(p.Groups, func(g GroupPlan) bool {
		return (g.Action == Keep || g.Action == Leave) && s.report(node).group(g.Group, g.Was) != nil
	})
}
