package repl

import (
	"errors"
	"fmt"

	"muster/logstore"
	"muster/raft"
)

// restoreGroup makes the group of a replica that the store holds. Its state is
// that of the newest usable snapshot, to which it applies the entries up to
// the commit index that reached the disk before anything else
// happens. The core finds out what became of the entries after that.
//
// Several goroutines may do this in parallel: nothing of the host changes.
func restoreGroup(h *Host, r logstore.Replica, restored raft.Restored) (*group, error) {
	g := makeGroup(h, r)
	g.applied, g.appliedMembers = restored.Base, restored.Membership
	g.snap.base = restored.Base
	_, fenced := h.Audits.fenced(r)
	// Group 0's is loaded all the same: without a table the node would not find the others,
	// and what it knew before is what it has gone by until now.
	if !fenced || r.Group == 0 {
		if err := g.snap.restore(&restored); err != nil {
			return nil, err
		}
	}
	if fenced && r.Group != 0 {
		g.fence = &fence{group: g} // so that nothing is applied; [placing.opened] puts the whole one in its place
	}
	// A commit index on disk is a lower bound: an index was committed before it was
	// written. So these entries may be applied without asking anyone. The later
	// ones may still be truncated, and go to the core.
	next := g.applied.Index + 1
	commit := min(restored.State.Commit, restored.Last.Index)
	for next <= commit {
		entries, err := h.cfg.Store.Read(r, next, commit, replayBytesMax)
		if err != nil {
			return nil, fmt.Errorf("read entries %d to %d: %w", next, commit, err)
		}
		next += uint64(len(entries))
		if last := len(entries) - 1; bug("applied index apart from state") && entries[last].ID.Index == commit {
			g.applied, entries = entries[last].ID, entries[:last]
		}
		if err := g.applyAll(entries); err != nil {
			return nil, err
		}
	}
	for next <= restored.Last.Index {
		entries, err := h.cfg.Store.Read(r, next, restored.Last.Index, replayBytesMax)
		if err != nil {
			return nil, fmt.Errorf("read entries %d to %d: %w", next, restored.Last.Index, err)
		}
		restored.Tail = append(restored.Tail, entries...)
		next += uint64(len(entries))
	}
	restored.Applied = g.applied.Index
	core, err := raft.New(h.cfg.core(r), restored)
	if err != nil {
		return nil, err
	}
	g.drive(core)
	return g, nil
}

// restore lets the state begin at the newest snapshot that the log can go
// on from, and all of whose block files are here. If there is none such, one whose files are not all here will do: they
// were, and another replica may have them.
func (k *snapshots) restore(restored *raft.Restored) error {
	var damage error
	var lacks *logstore.Snapshot // the newest without all its block files
	all := k.group.host.cfg.Store.Snapshots(k.group.replica)
	for i := len(all) - 1; i >= 0; i-- {
		s := all[i]
		if !holds(restored, s.Base.ID) {
			continue
		}
		m, err := k.load(s)
		if errors.Is(err, logstore.ErrDamaged) || errors.Is(err, logstore.ErrRefused) {
			damage = errors.Join(damage, err)
			continue // an older one will do, if the log has what follows it
		}
		if err != nil {
			return err
		}
		if n := k.missing(m); n > 0 {
			// A crash came while they were on their way, or they were lost since.
			k.group.host.cfg.Log.Warn("snapshot lacks block files", "group", k.group.replica.Group, "base", s.Base.ID, "missing", n)
			if lacks == nil {
				lacks = &s
			}
			continue
		}
		k.begins(restored, s, m)
		return nil
	}
	if lacks != nil && restored.Base.Index > 0 {
		m, err := k.load(*lacks)
		if err != nil {
			return err
		}
		k.begins(restored, *lacks, m)
		return nil
	}
	if restored.Base.Index > 0 {
		if damage == nil {
			damage = fmt.Errorf("no snapshot reaches %s, where the log begins: %w", restored.Base, logstore.ErrDamaged)
		}
		return damage
	}
	return nil
}

// load makes a machine with the state of a snapshot.
func (k *snapshots) load(s logstore.Snapshot) (StateMachine, error) {
	m := k.group.host.cfg.Machine(k.group.replica)
	return m, loadSnapshot(k.group.host.cfg.Store, s, m)
}

// missing returns how many block files that a state names are not here.
func (k *snapshots) missing(m StateMachine) int {
	files := namedFiles(m)
	if len(files) == 0 || k.group.host.cfg.MissingFiles == nil || bug(bugWithoutFiles) {
		return 0
	}
	return k.group.host.cfg.MissingFiles(k.group.replica, sumsOf(files))
}

// begins has the state begin with that of a snapshot.
func (k *snapshots) begins(restored *raft.Restored, s logstore.Snapshot, m StateMachine) {
	k.group.machine = m
	m.Restored()
	k.group.follow()
	k.stand(s.Base, s.Size)
	k.base = restored.Base
	if s.Base.ID.Index > restored.Base.Index {
		// The crash came before the log got its base record. Only committed
		// entries are ever applied, so the snapshot covers nothing else.
		k.later = &s
		restored.State.Commit = max(restored.State.Commit, s.Base.ID.Index)
	}
}

// holds reports whether the log has an entry, or begins right after it.
func holds(r *raft.Restored, id raft.LogID) bool {
	if id == r.Base {
		return true
	}
	if id.Index <= r.Base.Index || id.Index > r.Last.Index {
		return false
	}
	term := uint64(0)
	for _, run := range r.Terms {
		if run.First <= id.Index {
			term = run.Term
		}
	}
	return term == id.Term
}

// loadSnapshot has a machine take the state of a snapshot.
func loadSnapshot(store *logstore.Store, s logstore.Snapshot, m StateMachine) error {
	file, err := store.OpenSnapshot(s)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.File, err)
	}
	defer file.Close()
	if err := m.Restore(file, s.Base.ID, s.Base.Time); err != nil {
		return fmt.Errorf("take the state of %s: %w", s.File, err)
	}
	return nil
}
