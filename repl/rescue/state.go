package rescue

import (
	"errors"
	"fmt"
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/shardmap"
)

// replayBytesMax is how much of the log is read at once, in bytes.
const replayBytesMax = 4 << 20

// state is what all entries of a replica's log make, whether or not the replica knows
// that they are committed.
type state struct {
	machine    repl.StateMachine
	last       raft.LogID
	time       raft.GroupTime  // at last
	membership raft.Membership // in force at last
}

// stateOf makes the state of all of a replica's log. An error that wraps
// [logstore.ErrDamaged] or [logstore.ErrRefused] says that it can't be made from what is
// here; then the state is that in front of the first entry that can't be read, or nil if
// not even the log's beginning can.
func stateOf(s *logstore.Store, r logstore.Replica) (*state, error) {
	o, ok := s.Outline(r)
	if !ok {
		return nil, fmt.Errorf("%s: %w", r, lostOr(s, r, logstore.ErrUnknown))
	}
	st, err := stateUpTo(s, r, o.Last.Index)
	if d, hurt := s.DamageOf(r); hurt && err == nil {
		err = d.Err() // what is lost is in front of the newest snapshot, or no entry
	}
	return st, err
}

// lostOr returns what a replica lost, or else err.
func lostOr(s *logstore.Store, r logstore.Replica, err error) error {
	if d, hurt := s.DamageOf(r); hurt {
		return d.Err()
	}
	return err
}

// stateUpTo makes the state of a replica's log up to an index. Its errors are those of
// [stateOf].
func stateUpTo(s *logstore.Store, r logstore.Replica, last uint64) (*state, error) {
	o, ok := s.Outline(r)
	if !ok {
		return nil, fmt.Errorf("%s: %w", r, logstore.ErrUnknown)
	}
	st := &state{machine: newMachine(r), last: o.Base.ID, time: o.Base.Time, membership: o.Base.Membership}
	if err := st.load(s, r, &o, last); err != nil {
		return nil, err
	}
	var damage error
	for st.last.Index < last {
		entries, err := s.Read(r, st.last.Index+1, last, replayBytesMax)
		if errors.Is(err, logstore.ErrDamaged) {
			// By now the log knows which entries that hit. All in front of them can be read.
			d, _ := s.DamageOf(r)
			if damage = err; len(d.Lost) > 0 && d.Lost[0].First-1 < last && d.Lost[0].First-1 >= st.last.Index {
				last = d.Lost[0].First - 1
				continue
			}
		}
		if err != nil {
			return st, fmt.Errorf("read entries %d to %d of %s: %w", st.last.Index+1, last, r, err)
		}
		for _, e := range entries {
			if err := st.apply(e); err != nil {
				return nil, fmt.Errorf("apply %s: %w", raft.FormatLogID(r.Group, e.ID), err)
			}
		}
	}
	return st, damage
}

func newMachine(r logstore.Replica) repl.StateMachine {
	if r.Group == 0 {
		return machine.NewMeta(func(*shardmap.Table) {})
	}
	// No entry's effect depends on the table.
	return machine.NewMap(r, func() *shardmap.Table { return nil })
}

// load begins at the newest snapshot up to an index that the log can continue from.
func (st *state) load(s *logstore.Store, r logstore.Replica, o *logstore.Outline, last uint64) error {
	var damage error
	for _, sn := range slices.Backward(s.Snapshots(r)) {
		if term, holds := o.TermAt(sn.Base.ID.Index); !holds || term != sn.Base.ID.Term || sn.Base.ID.Index > last {
			continue
		}
		err := st.restore(s, sn)
		if errors.Is(err, logstore.ErrDamaged) || errors.Is(err, logstore.ErrRefused) {
			damage = errors.Join(damage, err)
			continue // an older one will do, if the log has what follows it
		}
		if err != nil {
			return err
		}
		st.last, st.time, st.membership = sn.Base.ID, sn.Base.Time, sn.Base.Membership
		return nil
	}
	if o.Base.ID.Index > 0 {
		return errors.Join(fmt.Errorf("no snapshot of %s reaches %s, where its log begins: %w", r, o.Base.ID, logstore.ErrDamaged), damage)
	}
	return nil
}

func (st *state) restore(s *logstore.Store, sn logstore.Snapshot) error {
	file, err := s.OpenSnapshot(sn)
	if err != nil {
		return fmt.Errorf("open %s: %w", sn.File, err)
	}
	defer file.Close()
	if err := st.machine.Restore(file, sn.Base.ID, sn.Base.Time); err != nil {
		return fmt.Errorf("take the state of %s: %w", sn.File, err)
	}
	return nil
}

func (st *state) apply(e raft.Entry) (err error) {
	if e.Kind == raft.EntryNormal {
		_, _, err = st.machine.Apply(e, false, nil)
	} else {
		err = st.machine.Skip(e)
	}
	if err == nil && e.Kind == raft.EntryMembership {
		st.membership, err = raft.ReadMembership(e.Payload())
	}
	st.last, st.time = e.ID, e.Time
	return err
}

// keys is how many keys the state has, 0 for that of group 0.
func (st *state) keys() int {
	if m, ok := st.machine.(*machine.Map); ok {
		return m.State.Len()
	}
	return 0
}

// table is the state of group 0.
func (st *state) table() *shardmap.Table { return st.machine.(*machine.Meta).Table.Table() }
