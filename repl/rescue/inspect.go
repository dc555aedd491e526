package rescue

import (
	"errors"
	"fmt"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
)

// ErrNotNow is wrapped by the error about a directory with which this can't be done, as
// it is.
var ErrNotNow = errors.New("refused")

// NoMember is the error of a plan from the report of a node that is not in the newest
// table: it was removed, or it joined and no other survivor has heard of that. It wraps
// [ErrNotNow].
type NoMember struct {
	Node   ID
	Newest ID // the node whose table is the newest
}

func (e *NoMember) Error() string {
	return fmt.Sprintf("%v: node %s is not in the newest table, that of node %s: leave its report out", ErrNotNow, e.Node, e.Newest)
}

func (e *NoMember) Unwrap() error { return ErrNotNow }

// Inspect reads a data directory whose node is stopped, and changes nothing. The caller
// holds the directory's lock.
//
// It makes each group's state as a start would and from all of its log, so it takes as
// long as a start, and memory for the largest group. What is damaged is no error: the
// report says so. Its errors are those about a directory of which no report can be made:
// that of no member, one in which a plan is being applied, and one of which nothing can
// be read.
func Inspect(disk vfs.FS, dir string) (*Report, error) {
	id, err := memberOf(disk, dir)
	if err != nil {
		return nil, err
	}
	if p := id.Recovery; p.Plan != 0 && !p.Done {
		return nil, fmt.Errorf("inspect %s: %w: plan %016x is being applied here: muster recover apply that plan again first", dir, ErrNotNow, p.Plan)
	}
	r := &Report{
		Cluster: id.Cluster, ClusterID: ID(id.ClusterID), Node: ID(id.Node),
		Life: lifeOf(&id), Doubt: id.Doubt.Why, Settled: id.Settled, Groups: []GroupReport{}, TellsSlots: true,
	}
	if r.Doubt == "" {
		if r.Doubt, err = logstore.CheckWitness(disk, dir, &id); err != nil {
			return nil, fmt.Errorf("inspect %s: %w", dir, err)
		}
	}
	if r.Batch, err = lastBatch(disk, dir); err != nil {
		return nil, err
	}
	s, err := logstore.OpenToRead(disk, dir)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", dir, err)
	}
	defer s.Close()
	for _, l := range id.Chain {
		r.Lives = append(r.Lives, LifeLink{Life{l.Number, ID(l.Mark)}, uint64(l.Last)})
	}
	for _, n := range s.Notes() {
		if n.Trusted.Mark != 0 {
			r.Notes = append(r.Notes, Note{ID(n.Node), Life{n.Trusted.Number, ID(n.Trusted.Mark)}, uint64(n.Batch)})
		}
	}
	if d, hurt := s.DamageOf(logstore.Replica{}); hurt {
		r.Unknown = d.Err().Error()
	}
	for _, replica := range newest(s) {
		g, st, err := reportOf(s, replica)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", dir, err)
		}
		r.Groups = append(r.Groups, *g)
		if st != nil && replica.Group == 0 && st.table().Founded() {
			r.Table = st.table().AppendTo(nil)
		}
	}
	return r, nil
}

// memberOf returns the identity of a directory whose node is a member of a cluster.
func memberOf(disk vfs.FS, dir string) (logstore.Identity, error) {
	id, ok, err := logstore.ReadIdentity(disk, dir)
	switch {
	case err != nil:
		return id, err
	case !ok:
		return id, fmt.Errorf("%s: %w: there is no node's identity in it: want the data directory of a survivor, as serve's --data names it", dir, ErrNotNow)
	case id.Stage != logstore.StageMember:
		return id, fmt.Errorf("%s: %w: its node is no member of a cluster (stage %s), so there is nothing to recover in it: leave it out", dir, ErrNotNow, id.Stage)
	}
	return id, nil
}

func lifeOf(id *logstore.Identity) Life {
	return Life{Number: id.Life().Number, Mark: ID(id.Life().Mark)}
}

// lastBatch is the number of the last batch in the log.
func lastBatch(disk vfs.FS, dir string) (uint64, error) {
	v, err := logstore.Verify(disk, dir)
	if err != nil {
		return 0, fmt.Errorf("read the log in %s: %w", dir, err)
	}
	return v.Stats.Batches, nil
}

// newest returns the newest replica of each group, by group: an older one beside it waits
// for its removal.
func newest(s *logstore.Store) (all []logstore.Replica) {
	for _, r := range s.Replicas() {
		if n := len(all); n > 0 && all[n-1].Group == r.Group {
			all[n-1] = r // they are in order
			continue
		}
		all = append(all, r)
	}
	return all
}

// reportOf says what is there of one replica. There is no state if nothing of it can be
// read.
func reportOf(s *logstore.Store, r logstore.Replica) (*GroupReport, *state, error) {
	o, ok := s.Outline(r)
	if !ok {
		return nil, nil, fmt.Errorf("%s: %w", r, logstore.ErrUnknown)
	}
	g := &GroupReport{
		Group: r.Group, Incarnation: uint64(r.Incarnation), Replica: uint64(r.ID), Term: o.State.Term,
		Base: LogID(o.Base.ID), Last: LogID(o.Last), Commit: min(max(o.State.Commit, o.Base.ID.Index), o.Last.Index),
		Membership: membershipOf(&o.Base.Membership), Fence: fenceOf(s, r),
	}
	st, err := stateOf(s, r)
	if errors.Is(err, logstore.ErrDamaged) || errors.Is(err, logstore.ErrRefused) {
		g.Damage = err.Error()
		if st == nil {
			return g, nil, nil
		}
		whole := LogID(st.last)
		g.Whole = &whole
	} else if err != nil {
		return nil, nil, err
	}
	g.Time, g.Membership, g.Keys = uint64(st.time), membershipOf(&st.membership), st.keys()
	g.Slots = slotRuns(st.machine)
	return g, st, nil
}

// fenceOf returns why a replica is fenced, or nothing if it is not, or has a right state
// again.
func fenceOf(s *logstore.Store, r logstore.Replica) string {
	for _, f := range s.Fences() {
		if f.Replica == r && !f.Rebuilt {
			return f.Reason()
		}
	}
	return ""
}

func (m Membership) raft(goal raft.Goal) raft.Membership {
	own := raft.Membership{Next: raft.ReplicaID(m.Next)}
	own.Voters, own.Outgoing = raftMembers(m.Voters, raft.GoalVoter), raftMembers(m.Outgoing, raft.GoalVoter)
	own.Learners = raftMembers(m.Learners, goal)
	return own
}

func raftMembers(list []Member, goal raft.Goal) []raft.Member {
	var all []raft.Member
	for _, m := range list {
		all = append(all, raft.Member{Replica: raft.ReplicaID(m.Replica), Node: raft.NodeID(m.Node), Goal: goal})
	}
	return all
}
