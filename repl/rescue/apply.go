package rescue

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

// Standing is how far a plan has come in a directory.
type Standing int

const (
	// Untouched: the directory is as its report says.
	Untouched Standing = iota
	// Begun: an earlier Apply was cut short. The node does not start.
	Begun
	// Applied: there is nothing left to do.
	Applied
)

// Look reports how far a plan has come in a directory, or why it can't be applied there.
// The caller holds the directory's lock. It changes nothing. Its errors wrap [ErrNotNow]:
// the directory is of a node that the plan takes for gone, was changed since its report,
// or has another plan.
func Look(disk vfs.FS, dir string, p *Plan) (Standing, error) {
	id, err := memberOf(disk, dir)
	if err != nil {
		return 0, err
	}
	refuse := func(format string, args ...any) (Standing, error) {
		return 0, fmt.Errorf("apply plan %s to %s: %w: %s", p.ID, dir, ErrNotNow, fmt.Sprintf(format, args...))
	}
	own, r := p.Survivor(ID(id.Node)), id.Recovery
	switch {
	case id.ClusterID == uint64(p.To) && r.Plan == uint64(p.ID) && r.Done:
		return Applied, nil
	case r.Plan != 0 && !r.Done && r.Plan != uint64(p.ID):
		return refuse("plan %016x was begun here and is not done: apply that one again", r.Plan)
	case r.Plan == uint64(p.ID) && !r.Done:
		return Begun, nil
	case id.ClusterID != uint64(p.From) && r.Done:
		return refuse("plan %016x was applied here: all survivors need one and the same plan; for another loss make new reports and a new plan", r.Plan)
	case id.ClusterID != uint64(p.From):
		return refuse("the directory is of cluster %q (%016x), the plan of %q (%s)", id.Cluster, id.ClusterID, p.Cluster, p.From)
	case own == nil:
		return refuse("node %s counts as gone in it: make a plan with the report of this node too, or move the directory away, start the node with an empty one and add it with muster node add", id.Node)
	}
	batch, err := lastBatch(disk, dir)
	if err != nil {
		return 0, err
	}
	if own.Life != lifeOf(&id) || own.Batch != batch {
		return refuse("the node ran since its report was made: stop it, and make all reports and the plan anew")
	}
	return Untouched, nil
}

// ApplyOptions are what [Apply] needs besides a plan.
type ApplyOptions struct {
	Mark   uint64 // of the life in which it works; random, not 0
	Chance uint64 // random
	Log    *slog.Logger
}

// Apply carries out a plan in the directory of a survivor whose node is stopped. The
// caller holds the directory's lock. Where it was applied before, it does nothing.
//
// Before it removes anything it has made all that is new. An error, or a crash at any
// operation, leaves a directory in which Apply can be called again, and whose node does
// not start before that is done. Its errors are those of [Look], of the disk, one that
// wraps [logstore.ErrFull] if there is no room for the new snapshots, and one that wraps
// [logstore.ErrDamaged] if what the report found whole can't be read any more.
func Apply(disk vfs.FS, dir string, p *Plan, o ApplyOptions) error {
	standing, err := Look(disk, dir, p)
	if err != nil || standing == Applied {
		return err
	}
	id, err := memberOf(disk, dir)
	if err != nil {
		return err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fail := func(err error) error { return fmt.Errorf("apply plan %s to %s: %w", p.ID, dir, err) }
	// Before anything changes: from here on the node must not run, and no other plan may
	// be applied.
	id.Recovery = logstore.Recovery{Plan: uint64(p.ID)}
	if err := logstore.WriteIdentity(disk, dir, id); err != nil {
		return fail(err)
	}
	s, err := logstore.Open(logstore.Options{FS: disk, Dir: dir, Lock: keptLock{}, Chance: o.Chance, Log: o.Log})
	if err != nil {
		return fail(err)
	}
	a := &applying{store: s, plan: p, self: ID(id.Node), log: o.Log}
	err = a.run(id, o.Mark)
	return wrapped(fail, errors.Join(err, s.Close()))
}

func wrapped(fail func(error) error, err error) error {
	if err == nil {
		return nil
	}
	return fail(err)
}

// keptLock leaves the lock to the caller.
type keptLock struct{}

func (keptLock) Close() error { return nil }

// applying is a plan that is being carried out in one directory.
type applying struct {
	store *logstore.Store
	plan  *Plan
	self  ID
	log   *slog.Logger
}

func (a *applying) run(id logstore.Identity, mark uint64) error {
	if _, err := logstore.BeginLife(a.store, id, 0, mark); err != nil {
		return err
	}
	if bug("identity before the logs") {
		if err := a.settle(); err != nil {
			return err
		}
	}
	if bug("old log goes first") {
		if err := a.retire(); err != nil {
			return err
		}
	}
	for i := range a.plan.Groups {
		if g := &a.plan.Groups[i]; g.Action == Renew && (g.Group == 0 || g.Source == a.self) {
			if err := a.renew(g); err != nil {
				return err
			}
		}
	}
	// Only now: until here the old logs are whole, whatever fails.
	if err := a.retire(); err != nil {
		return err
	}
	return a.settle()
}

// renew makes the new replica of a group, with its state, unless that is there.
func (a *applying) renew(g *GroupPlan) error {
	replica := logstore.Replica{Group: g.Group, Incarnation: raft.Incarnation(a.plan.Incarnation), ID: raft.ReplicaID(g.replica(a.self))}
	base := logstore.Base{ID: g.Base.raft(), Time: raft.GroupTime(g.Time), Membership: g.begins()}
	if at, _, _, ok := a.store.Bounds(replica); ok && at == base.ID {
		return nil
	} else if !ok {
		// Blank, as each replica that is not a founder begins: a snapshot has no place where
		// there is no replica.
		if err := a.store.Append([]logstore.Write{{Replica: replica, Base: &logstore.Base{}}}); err != nil {
			return err
		}
	}
	copied, err := a.stateFor(g)
	if err != nil {
		return err
	}
	defer copied.Release()
	w, err := a.store.CreateBase(replica, base)
	if err != nil {
		return err
	}
	defer w.Abort() // after Commit it does nothing
	if _, err := copied.WriteTo(w); err != nil {
		return err
	}
	if _, err := w.Commit(); err != nil {
		return err
	}
	// The file first, so that at each moment a whole one holds the state of the log's base.
	state := raft.HardState{Term: base.ID.Term, Commit: base.ID.Index}
	if err := a.store.Append([]logstore.Write{{Replica: replica, Base: &base, State: state, HasState: true}}); err != nil {
		return err
	}
	a.log.Info("group made anew", "group", g.Group, "incarnation", a.plan.Incarnation, "replica", replica.ID, "base", base.ID, "from", g.End)
	return nil
}

// stateFor returns the state with which a group begins anew.
func (a *applying) stateFor(g *GroupPlan) (repl.StateCopy, error) {
	if g.Group == 0 {
		t, err := shardmap.ReadTable(a.plan.Table)
		if err != nil {
			return nil, err
		}
		return tableCopy{t}, nil
	}
	old := slices.IndexFunc(a.store.Replicas(), func(r logstore.Replica) bool {
		return r.Group == g.Group && uint64(r.Incarnation) == g.Was
	})
	if old < 0 {
		return nil, fmt.Errorf("%s of incarnation %d is not here: %w", g.Group, g.Was, logstore.ErrUnknown)
	}
	st, err := stateUpTo(a.store, a.store.Replicas()[old], g.End.Index)
	if err != nil {
		return nil, err
	}
	if LogID(st.last) != g.End {
		return nil, fmt.Errorf("the log of %s ends with %s, the plan was made for %s: %w", g.Group, st.last, g.End.raft(), ErrNotNow)
	}
	if err := g.take(st.machine); err != nil {
		return nil, err
	}
	return st.machine.Copy(), nil
}

// retire removes all that is older than the plan of the groups that begin anew, and what
// is noted of other nodes' lives where it no longer matters.
func (a *applying) retire() error {
	var ws []logstore.Write
	for _, r := range a.store.Replicas() {
		if uint64(r.Incarnation) < a.plan.Incarnation && a.replaces(r.Group) {
			ws = append(ws, logstore.Write{Replica: r, Remove: true})
		}
	}
	for _, n := range a.store.Notes() {
		if to := a.plan.Survivor(ID(n.Node)); to == nil || to.Settles {
			ws = append(ws, logstore.Write{Note: &logstore.Note{Node: n.Node}})
		}
	}
	if len(ws) == 0 {
		return nil
	}
	return a.store.Append(ws)
}

// replaces reports whether the plan makes a group anew.
func (a *applying) replaces(id raft.GroupID) bool {
	return slices.ContainsFunc(a.plan.Groups, func(g GroupPlan) bool {
		return g.Group == id && (g.Action == Renew || g.Action == Refound)
	})
}

// settle makes the directory one of the new cluster. That is the last step: one write,
// so that the node starts with all of the plan or not at all.
func (a *applying) settle() error {
	own := a.plan.Survivor(a.self)
	_, err := logstore.ChangeIdentity(a.store, func(id *logstore.Identity) {
		id.ClusterID = uint64(a.plan.To)
		id.Recovery = logstore.Recovery{Plan: uint64(a.plan.ID), Done: true}
		id.Meta = logstore.MetaReplica{Incarnation: raft.Incarnation(a.plan.Incarnation), ID: raft.ReplicaID(a.plan.Groups[0].replica(a.self))}
		id.Members = nil
		for _, s := range a.plan.Survivors {
			id.Members = append(id.Members, logstore.IdentityMember{Node: raft.NodeID(s.Node), Addr: s.Addr})
		}
		if own.Settles {
			id.Doubt = logstore.Doubt{}
		}
	})
	return err
}

// At says in lines for people what the plan changes in the directory of a node.
func (p *Plan) At(node ID) (lines []string) {
	for i := range p.Groups {
		g := &p.Groups[i]
		switch {
		case g.Action == Renew && g.Group == 0:
			lines = append(lines, fmt.Sprintf("group 0 begins anew, with the table of this plan, as replica %d", g.replica(node)))
		case g.Action == Renew && g.Source == node:
			lines = append(lines, fmt.Sprintf("group %d begins anew with the log that is here, up to %s, as replica %d, its only voter", g.Group, raft.FormatLogID(g.Group, g.End.raft()), g.replica(node)))
		case g.Action == Renew && g.replica(node) != 0:
			lines = append(lines, fmt.Sprintf("the replica of group %d is removed, and comes back from %s as replica %d", g.Group, p.Survivor(g.Source).Name, g.replica(node)))
		}
	}
	return append(lines, fmt.Sprintf("the directory becomes one of cluster %s", p.To))
}
