package rescue

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
	"muster/shardmap"
)

// IndexAhead is how far behind the end of the chosen log a group that is made anew
// begins. What the lost voters committed there is not known, and clients may have seen
// its versions and log ids; nothing may get one of them a second time. At 100,000 entries
// a second it takes 127 days to write as many, and a group can be made anew sixteen
// million times.
const IndexAhead = 1 << 40

// indexMax refuses logs that have come absurdly far.
const indexMax = 1 << 62

// Plan says what [Apply] does in the directory of each survivor. It is the same file for
// all.
type Plan struct {
	ID      ID     `json:"id"` // random
	Cluster string `json:"cluster"`
	From    ID     `json:"from"` // the cluster's id before
	To      ID     `json:"to"`   // and after
	// Incarnation is that of all groups that are made anew.
	Incarnation uint64      `json:"incarnation"`
	Survivors   []Survivor  `json:"survivors"` // by node id
	Gone        []Gone      `json:"gone"`      // by node id
	Groups      []GroupPlan `json:"groups"`    // by id
	// Nobody are slots that no log of a group gives it, though groups are there: what was
	// in them is lost. Doubted are those that a group which is kept has, although another
	// one has them by a newer number. Both as runs; a person has to look at them.
	Nobody  []string `json:"nobody,omitempty"`
	Doubted []string `json:"doubted,omitempty"`
	// Table is what group 0 begins with, in the bytes of its snapshot.
	Table []byte `json:"table"`
}

// Survivor is a node that takes part in the plan.
type Survivor struct {
	Node  ID     `json:"node"`
	Name  string `json:"name"`
	Addr  string `json:"addr"`
	Life  Life   `json:"life"`  // as of its report
	Batch uint64 `json:"batch"` // likewise
	// Settles: no group is kept in which this node votes, so what it promised before, and
	// whether its directory is the newest, no longer matters.
	Settles bool `json:"settles,omitempty"`
	// Doubt is why its directory may be of an earlier moment.
	Doubt string `json:"doubt,omitempty"`
}

// Gone is a node of the table that no report is of.
type Gone struct {
	Node ID     `json:"node"`
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// What becomes of a group.
const (
	// Keep: a majority of its voters survives. Nothing of it changes.
	Keep = "keep"
	// Renew: it begins anew with the log of one survivor.
	Renew = "renew"
	// Refound: no survivor has a usable log of it, and it begins anew without a key.
	Refound = "refound"
	// Leave: no survivor has a usable log of it, and that is left to a person.
	Leave = "leave"
)

// GroupPlan says what becomes of one group.
type GroupPlan struct {
	Group  raft.GroupID `json:"group"`
	Action string       `json:"action"`
	Was    uint64       `json:"was"` // its incarnation
	// Source is the survivor whose log is chosen, and End that log's last entry; of a group
	// that is renewed only.
	Source ID    `json:"source,omitempty"`
	End    LogID `json:"end"`
	// Base is where the new log begins, Time its group time, and Members who is in it.
	Base    LogID      `json:"base"`
	Time    uint64     `json:"time,omitempty"`
	Members Membership `json:"members"`
	Slots   []string   `json:"slots,omitempty"` // of a group of which nothing is left
	// Steps are what a group that is renewed does about slots that were moving, before it
	// begins, by slot.
	Steps []PlanStep `json:"steps,omitempty"`
	// Loss says in one line what may be lost.
	Loss string `json:"loss"`
}

// begins is what the new log of a group begins with.
func (g *GroupPlan) begins() raft.Membership { return g.Members.raft(raft.GoalCopy) }

// replica returns the replica that a node has of a group that is renewed, or 0.
func (g *GroupPlan) replica(node ID) uint64 {
	for _, list := range [...][]Member{g.Members.Voters, g.Members.Learners} {
		for _, m := range list {
			if m.Node == node {
				return m.Replica
			}
		}
	}
	return 0
}

// Survivor returns the line of a node, or nil.
func (p *Plan) Survivor(node ID) *Survivor {
	for i := range p.Survivors {
		if p.Survivors[i].Node == node {
			return &p.Survivors[i]
		}
	}
	return nil
}

// Encode returns the plan's file.
func (p *Plan) Encode() ([]byte, error) { return encode(planKind, p) }

// ReadPlan reads what [Plan.Encode] wrote. Its errors wrap [ErrFile].
func ReadPlan(b []byte) (*Plan, error) {
	p := new(Plan)
	if err := decode(planKind, b, p); err != nil {
		return nil, err
	}
	if p.ID == 0 || p.From == 0 || p.To == 0 || len(p.Groups) == 0 {
		return nil, fmt.Errorf("%w: it names no plan, no cluster or no group", ErrFile)
	}
	if _, err := shardmap.ReadTable(p.Table); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return p, nil
}

// Options of [Make].
type Options struct {
	ID       uint64 // random, not 0
	DropLost bool   // found groups anew of which no survivor has a usable log
	// TakeDamaged lets a group of which all logs that are left are damaged begin anew with
	// what stands in front of the damage.
	TakeDamaged bool
}

// Make makes the plan for the survivors that the reports are of. Each node of the table
// without a report counts as gone for good. It depends on nothing but its arguments. Its
// errors wrap [ErrNotNow]: reports of several clusters, two of one node, or no usable log
// of group 0.
func Make(reports []*Report, o Options) (*Plan, error) {
	s, err := survey(reports, o.TakeDamaged)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		ID: ID(o.ID), Cluster: reports[0].Cluster, From: reports[0].ClusterID,
		To: clusterAfter(reports[0].ClusterID, ID(o.ID)), Gone: s.gone(),
	}
	meta := s.renew(0, s.meta)
	if meta.Base.Index >= indexMax {
		return nil, fmt.Errorf("make a plan: %w: the log of group 0 ends at %d, there is no room behind it", ErrNotNow, meta.End.Index)
	}
	p.Incarnation = meta.Base.Index
	p.Groups = append(p.Groups, meta)
	for i := range s.table.Groups {
		p.Groups = append(p.Groups, s.plan(&s.table.Groups[i], o.DropLost))
	}
	s.seats(p)
	for _, r := range s.reports {
		row, _ := s.table.Node(raft.NodeID(r.Node))
		p.Survivors = append(p.Survivors, Survivor{
			Node: r.Node, Name: row.Name, Addr: row.Addr, Life: r.Life, Batch: r.Batch,
			Settles: !s.keptAt(p, r.Node), Doubt: s.doubts[r.Node],
		})
	}
	settled, err := s.settle(p)
	if err != nil {
		return nil, err
	}
	p.Table = s.after(p, settled).AppendTo(nil)
	if _, err := shardmap.ReadTable(p.Table); err != nil {
		return nil, fmt.Errorf("make a plan: the table after it: %w", err)
	}
	return p, nil
}

// clusterAfter derives the id of the cluster that a plan makes. It is never zero, which
// stands for none.
func clusterAfter(from, plan ID) ID {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(from))
	binary.LittleEndian.PutUint64(b[8:], uint64(plan))
	return ID(max(xxhash.Sum64(b[:]), 1))
}

// surveyed is what the reports say together.
type surveyed struct {
	reports []*Report // by node id
	// takeDamaged is that of [Options].
	takeDamaged bool
	metaIs      uint64 // the incarnation of group 0
	meta        *shardmap.TableGroup
	table       *shardmap.Table
	doubts      map[ID]string // why a directory may be of an earlier moment, by node
	chosen      map[ID]int    // how many groups begin anew with the node's log
}

// survey checks that the reports are of one cluster, and finds the newest table.
func survey(reports []*Report, takeDamaged bool) (*surveyed, error) {
	if len(reports) == 0 {
		return nil, fmt.Errorf("make a plan: %w: there is no report; give those of all survivors", ErrNotNow)
	}
	s := &surveyed{reports: slices.Clone(reports), takeDamaged: takeDamaged, doubts: make(map[ID]string), chosen: make(map[ID]int)}
	slices.SortFunc(s.reports, func(a, b *Report) int { return cmp.Compare(a.Node, b.Node) })
	for i, r := range s.reports {
		switch first := reports[0]; {
		case r.ClusterID != first.ClusterID || r.Cluster != first.Cluster:
			return nil, fmt.Errorf("make a plan: %w: node %s is of cluster %q (%s), node %s of %q (%s): give reports of one cluster, made anew if a plan was applied since", ErrNotNow, first.Node, first.Cluster, first.ClusterID, r.Node, r.Cluster, r.ClusterID)
		case i > 0 && s.reports[i-1].Node == r.Node:
			return nil, fmt.Errorf("make a plan: %w: two reports are of node %s: give the one of the directory that is to be used", ErrNotNow, r.Node)
		}
		if r.Unknown != "" {
			return nil, fmt.Errorf("make a plan: %w: node %s: %s: leave its report out; it comes back as a new node, with an empty directory", ErrNotNow, r.Node, r.Unknown)
		}
		for k := range r.Groups {
			if g := &r.Groups[k]; g.Group == 0 {
				s.metaIs = max(s.metaIs, g.Incarnation)
			}
		}
	}
	s.compareNotes()
	best := s.best(0, s.metaIs)
	if best == nil {
		return nil, fmt.Errorf("make a plan: %w: no survivor has a usable log of group 0, which says what the others are; %s", ErrNotNow, s.whyNone(0, s.metaIs))
	}
	t, err := shardmap.ReadTable(best.Table)
	if err != nil {
		return nil, fmt.Errorf("make a plan: the table of node %s: %w", best.Node, err)
	}
	s.table, s.meta = t, &t.Meta
	for _, r := range s.reports {
		if _, ok := t.Node(raft.NodeID(r.Node)); !ok {
			return nil, fmt.Errorf("make a plan: %w", &NoMember{Node: r.Node, Newest: best.Node})
		}
	}
	return s, nil
}

// compareNotes finds out whose directory may be of an earlier moment: by its own doubt, or
// because another survivor remembers more of its node.
func (s *surveyed) compareNotes() {
	for _, r := range s.reports {
		if r.Doubt != "" {
			s.doubts[r.Node] = r.Doubt
		}
		for i := range r.Notes {
			n := &r.Notes[i]
			about := s.report(n.Node)
			if about == nil || s.doubts[n.Node] != "" || bug("notes not compared") {
				continue
			}
			if why := about.older(n); why != "" {
				s.doubts[n.Node] = fmt.Sprintf("node %s knows that %s", r.Node, why)
			}
		}
	}
}

// gone returns the nodes of the table without a report.
func (s *surveyed) gone() []Gone {
	all := []Gone{}
	for i := range s.table.Nodes {
		if n := &s.table.Nodes[i]; s.report(ID(n.ID)) == nil {
			all = append(all, Gone{ID(n.ID), n.Name, n.Addr})
		}
	}
	return all
}

func (s *surveyed) report(node ID) *Report {
	i, ok := slices.BinarySearchFunc(s.reports, node, func(r *Report, id ID) int { return cmp.Compare(r.Node, id) })
	if !ok {
		return nil
	}
	return s.reports[i]
}

// plan decides what becomes of a data group.
func (s *surveyed) plan(row *shardmap.TableGroup, dropLost bool) GroupPlan {
	is := uint64(row.Incarnation)
	best := s.best(row.ID, is)
	if best == nil {
		return s.lost(row, dropLost)
	}
	if live, voters, ok := s.majority(best.group(row.ID, is)); ok && best.group(row.ID, is).usable() {
		return GroupPlan{Group: row.ID, Action: Keep, Was: is, Loss: fmt.Sprintf("nothing: %d of its %d voters survive, and it is kept as it is", live, voters)}
	}
	return s.renew(row.ID, row)
}

// lost is the plan for a group of which no survivor has a usable log.
func (s *surveyed) lost(row *shardmap.TableGroup, drop bool) GroupPlan {
	p := GroupPlan{Group: row.ID, Action: Leave, Was: uint64(row.Incarnation), Loss: "all of it: no survivor has a usable log; " + s.whyNone(row.ID, uint64(row.Incarnation))}
	slots := s.table.SlotsOf(row.ID)
	for _, r := range shardmap.SlotRanges(slots) {
		p.Slots = append(p.Slots, r.String())
	}
	if !drop {
		p.Loss += "; its slots stay without an owner until a plan with --drop-lost"
		if s.anyReadable(row.ID, uint64(row.Incarnation)) {
			p.Loss += ", or with --take-damaged, which keeps what stands in front of the damage"
		}
		return p
	}
	p.Action = Refound
	for i, n := range s.spread(int(row.ID)) {
		p.Members.Voters = append(p.Members.Voters, Member{uint64(i + 1), n})
	}
	p.Members.Next = uint64(len(p.Members.Voters) + 1)
	return p
}
