package shardmap

import (
	"fmt"
	"sync"
	"sync/atomic"

	"muster/raft"
	"muster/shardmap/registry"
)

// Map is one replica's copy of the slots that one group owns. One goroutine
// applies; any other may read meanwhile.
type Map struct {
	group raft.GroupID // whose log it applies; set once
	level uint32       // that it understands; set once

	// slots are those that the group owns. The goroutine that applies puts others in
	// their place where an entry gives or takes some.
	slots   atomic.Pointer[slotPages]
	moments moments

	// Of the goroutine that applies.
	turn    turn
	keeping keeping // of versions; beside turn, which each write touches
	body    body    // that was read of the command at hand
	quota   sessionQuota
	due     raft.GroupTime // nothing in the slots that are served ends before (expire.go)
	looked  raft.GroupTime // when the due of all slots was last looked at without need (expire.go)
	founding
	// What it holds of slots that it may take over, what it has decided about moves, and
	// what became of the last command that moved slots (slotmove.go).
	imports     imports
	decided     // embedded: what is asked about its decisions
	results     []StepResult
	services    // embedded: what is asked about them
	groupShards // embedded: what is asked about them
	noted       // embedded: what entries have found to be wrong

	tallies Tallies // what else it knows of its slots, and no state

	history *History // the pointer is set once

	mu      sync.Mutex // guards what follows; taken alone
	applied raft.LogID // Invariant: all effects up to it are in slots, none beyond it before Apply is called for them
	time    raft.GroupTime
}

// NewMap returns the Map of a group, before its first entry: it owns no slot. The
// entries say what it owns (own.go).
func NewMap(g raft.GroupID) *Map {
	m := &Map{group: g, level: Level, quota: newSessionQuota(), due: raft.GroupTime(endless)}
	m.slots.Store(new(slotPages))
	m.history = newHistory(m)
	m.services.of = m
	m.tallies.m = m
	m.hold(0, nil)
	m.decide(nil)
	return m
}

// Understand makes m one of a build that understands no more than level. It is
// for tests of clusters with members of several builds, and is called before the
// first entry.
func (m *Map) Understand(level uint32) { m.level = level }

func (m *Map) slot(s Slot) *slotState { return m.slots.Load().at(s) }

// Apply carries out the command of the entry id, which was committed at group
// time t. It copies what it keeps of c. A result that the client did not hope
// for is no error; after an error nothing has changed and the group must
// stop.
func (m *Map) Apply(id raft.LogID, t raft.GroupTime, c *Command) (Result, error) {
	if err := c.understood(m.level); err != nil {
		return Result{}, fmt.Errorf("apply %s: %w", id, err)
	}
	now, err := m.follows(id, t)
	if err != nil {
		return Result{}, err
	}
	m.history.begin(id)
	if row := &commandRows[c.Kind]; row.Shape == ShapeBody {
		var status Status
		if row.whole != nil {
			m.turn.detail = m.turn.detail[:0]
			status, err = row.whole(m, entryAt{id, now}, c)
		} else {
			err = row.readBody(&m.body, c)
		}
		if err != nil {
			return Result{}, fmt.Errorf("apply %s: %w", id, err)
		}
		if row.whole != nil {
			m.advance(id, now)
			return Result{Status: status, Group: m.group, ID: id, Detail: m.turn.detail}, nil
		}
	}
	home := c.Home()
	st := m.slot(home)
	r := Result{Status: StatusNotOwned, Group: m.group, ID: id}
	if st == nil {
		if sealed := m.slots.Load().sealed.at(home); sealed != nil {
			r.Status = StatusSealed
			if bug("sealed slot takes a write") || c.Kind == CommandDelPrefix && bug(bugPrefixSealed) {
				st = sealed
			}
		}
	}
	if st != nil {
		m.turn.id, m.turn.now, m.turn.slot, m.turn.by, m.turn.wall = id, now, home, c.Principal, c.Admitted
		st.mu.Lock()
		m.keep(st)
		r = st.apply(m, c)
		st.mu.Unlock()
	}
	m.advance(id, now)
	return r, nil
}

// turn is an entry at work on one slot. It is a part of the map, and not handed from one
// function to the next, because a command's functions are called through its row: what is
// handed to them would have to be allocated for each command.
type turn struct {
	id   raft.LogID
	now  raft.GroupTime
	slot Slot
	by   Principal // who sent the command; 0: nobody in particular, or it is no command
	wall uint64    // [Command.Admitted] of it

	detail []byte // scratch, of the result's detail
}

// body is what the body of a command says that is about one slot. Its slices are used again.
type body struct {
	txn Txn

	op    LeaseOp
	lease LeaseID
	ttl   uint64

	service    ServiceBody
	definition *registry.Service // of service, if it is a set
	report     *Report

	prefix DelPrefix
}

// Skip records an entry that is no command: a no-op, a membership or an audit.
func (m *Map) Skip(id raft.LogID, t raft.GroupTime) error {
	now, err := m.follows(id, t)
	if err != nil {
		return err
	}
	m.advance(id, now)
	return nil
}

// follows reports whether an entry comes after what was applied, and returns the
// group time at which it is applied.
//
// Only the goroutine that applies may call it. It takes no lock, because that
// goroutine alone writes what it reads.
func (m *Map) follows(id raft.LogID, t raft.GroupTime) (raft.GroupTime, error) {
	if id.Index <= m.applied.Index || id.Term < m.applied.Term {
		return 0, fmt.Errorf("%w: apply %s after %s", ErrInvariant, id, m.applied)
	}
	// raft promises that group time never goes back along a log. The order of
	// use of sessions relies on it, so not even a leader that broke the promise
	// may turn group time back.
	return max(t, m.time), nil
}

func (m *Map) advance(id raft.LogID, t raft.GroupTime) {
	m.history.end(t) // first: whoever sees that an entry is applied finds its events
	m.mu.Lock()
	m.applied, m.time = id, t
	m.mu.Unlock()
}

// understood returns an error if a build that understands no more than level can't
// carry out c. Admission has refused such commands before the log; here it catches
// an entry that newer members admitted. To guess at its meaning would make replicas
// differ, so the group stops.
func (c *Command) understood(level uint32) error {
	row := c.Kind.Row()
	if row == nil {
		return fmt.Errorf("command of kind %d: %w", c.Kind, ErrLevel)
	}
	if n := len(c.Items); row.Level <= level && c.Condition == ConditionNone && n > 0 && n%2 == 0 {
		return nil // as most are: a set of one key, without a condition
	}
	if err := row.understood(level); err != nil {
		return err
	}
	if c.Condition > ConditionVersion {
		return fmt.Errorf("command with condition %d: %w", c.Condition, ErrLevel)
	}
	if row.Shape == ShapeBody {
		if c.Slot == SlotByServer || len(c.Items) != 1 {
			return fmt.Errorf("%w: %s with %d items, for slot %d", ErrInvariant, c.Kind, len(c.Items), c.Slot)
		}
		return nil // who reads the body checks it
	}
	if c.Keys() == 0 || c.Condition != ConditionNone && c.Keys() != 1 || row.Shape == ShapePairs && len(c.Items)%2 != 0 {
		return fmt.Errorf("%w: %s with %d items and condition %s", ErrInvariant, c.Kind, len(c.Items), c.Condition)
	}
	return nil
}

// Applied returns the id of the last entry applied or skipped. Whatever is read
// after this call stands at that entry or later.
func (m *Map) Applied() raft.LogID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

// Time returns the group time of the last entry applied or skipped.
func (m *Map) Time() raft.GroupTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.time
}

// Presence says what a read found of a key. Its zero value is none of them.
type Presence uint8

const (
	NotOwned Presence = iota + 1 // the slot is not this group's: whether there is such a key, its owner knows
	Absent                       // there is no such key
	Present                      // there is
	Sealed                       // the slot is on its way to another group, and nobody says before that one has decided
)

func (p Presence) String() string {
	switch p {
	case NotOwned:
		return "not owned"
	case Absent:
		return "absent"
	case Present:
		return "present"
	case Sealed:
		return "sealed"
	}
	return fmt.Sprintf("presence %d", uint8(p))
}

// Get appends key's value to dst and returns it with the key's version, if the
// key is there; else dst comes back as it was.
func (m *Map) Get(key, dst []byte) (value []byte, version uint64, is Presence) {
	value, version, _, is = Find(m, key, dst)
	return value, version, is
}

// Find is [Map.Get], and also returns when the key ends.
func Find(m *Map, key, dst []byte) (value []byte, version uint64, end End, is Presence) {
	s, hash := locate(key)
	pages := m.slots.Load()
	st := pages.at(s)
	if st == nil {
		return dst, 0, End{}, pages.presence(s)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	rec := st.records.get(key, hash)
	if rec == nil {
		return dst, 0, End{}, Absent
	}
	if rec.ends() != endsNever {
		end = endOfKey(s, rec, st.endings.aheadBy(), st.leaseOf)
	}
	return append(dst, rec.value()...), rec.version(), end, Present
}

// Owns reports whether the group serves the slot: it is this group's, and not sealed.
func (m *Map) Owns(s Slot) bool { return m.slot(s) != nil }

// Len returns the number of keys. It visits each slot.
func (m *Map) Len() int {
	n := 0
	m.each(func(st *slotState) { n += st.records.count })
	return n
}

// Bytes returns the number of bytes in the names and values of records, of all
// kinds. It visits each slot.
func (m *Map) Bytes() int64 {
	n := int64(0)
	m.each(func(st *slotState) {
		st.stores(func(s *store) { n += s.bytes })
	})
	return n
}

func (m *Map) each(f func(st *slotState)) {
	for s := range Slot(Slots) {
		if st := m.slot(s); st != nil {
			st.mu.Lock()
			f(st)
			st.mu.Unlock()
		}
	}
}

// CopiesOut returns how many copies of slots that are served, and moments, are out: as
// long as there are any, what is changed is copied first. It visits each slot.
func (m *Map) CopiesOut() int {
	m.moments.mu.Lock()
	n := len(m.moments.open)
	m.moments.mu.Unlock()
	m.each(func(st *slotState) {
		st.stores(func(s *store) { n += s.copies })
	})
	return n
}

// Digest returns the digest of a slot: equal states have equal digests. owned is
// false if the slot is not this group's, or is sealed.
func (m *Map) Digest(s Slot) (digest uint64, owned bool) {
	st := m.slot(s)
	if st == nil {
		return 0, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.digest(), true
}
