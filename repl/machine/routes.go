package machine

import (
	"sync"
	"sync/atomic"

	"muster/raft"
	"muster/shardmap"
)

// Routes says which group a node asks for a slot: the one that the table has, unless
// the log of a replica here is ahead of the table. A move is recorded in the table only
// after its target has taken the slot over; in between, and while the new table is on its
// way to this node, the old owner would be asked in vain.
//
// It may be wrong, as a table may be old: that costs a hop, never a wrong answer.
type Routes struct {
	// ahead is, for each slot, where it went and by which move, as [went] packs it; 0: no
	// log here is ahead of the table.
	ahead [shardmap.Slots]atomic.Uint64
	count atomic.Int64 // of what is not 0 in ahead
	// changes grows with each change of ahead, and with each table.
	changes atomic.Uint64

	mu    sync.Mutex      // held to change ahead
	table *shardmap.Table // guarded by mu: the newest; nil: none yet
}

// went is where a slot went, and by which move: number << groupBits | group.
type went uint64

const groupBits = 14 // raft.GroupMax fits

func (w went) group() raft.GroupID { return raft.GroupID(w & (1<<groupBits - 1)) }
func (w went) number() uint64      { return uint64(w >> groupBits) }

// Follow takes a new table: no log is ahead of it any more in what it has recorded or closed.
func (r *Routes) Follow(t *shardmap.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table != nil && t.Index < r.table.Index {
		return // another goroutine brought a newer one meanwhile
	}
	r.table = t
	r.changes.Add(1)
	if r.count.Load() == 0 {
		return
	}
	for s := range shardmap.Slot(shardmap.Slots) {
		if w := went(r.ahead[s].Load()); w != 0 && knows(t, s, w.number()) {
			r.ahead[s].Store(0)
			r.count.Add(-1)
		}
	}
}

// knows reports whether a table has what came of a move of a slot.
func knows(t *shardmap.Table, s shardmap.Slot, number uint64) bool {
	return t != nil && t.Index >= number && !t.Open(s, number)
}

// Took notes that group g has taken a slot over, by a move: an entry of its log says so,
// that is committed. Any goroutine may call it, late or twice.
func (r *Routes) Took(s shardmap.Slot, number uint64, g raft.GroupID) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := went(r.ahead[s].Load())
	if number <= was.number() || knows(r.table, s, number) {
		return
	}
	if was == 0 {
		r.count.Add(1)
	}
	r.ahead[s].Store(number<<groupBits | uint64(g))
	r.changes.Add(1)
}

// Learn notes all that a view of group g says has been taken over there, and reports whether
// there is any.
func (r *Routes) Learn(v *shardmap.SlotView, g raft.GroupID) (any bool) {
	for _, d := range v.Decisions {
		if d.Taken {
			r.Took(v.Slot, d.Number, g)
			any = true
		}
	}
	return any
}

// GroupOf returns the group to ask for a slot. t is the table as the node has it; without
// Routes it says all.
func (r *Routes) GroupOf(t *shardmap.Table, s shardmap.Slot) raft.GroupID {
	if w := r.of(s); w != 0 {
		return w.group()
	}
	return t.GroupOf(s)
}

// of returns where a slot went, as far as logs here are ahead of the table; 0: they are not.
func (r *Routes) of(s shardmap.Slot) went {
	if r == nil || r.count.Load() == 0 {
		return 0
	}
	return went(r.ahead[s].Load())
}

// version grows whenever an answer of r may have changed.
func (r *Routes) version() uint64 {
	if r == nil {
		return 0
	}
	return r.changes.Load()
}
