package sim

import (
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// model is what a group's log means, in the slowest and most obvious code: maps that keep
// everything that ever was.
type model struct {
	keys     map[string][]keyVersion // by index
	last     map[shardmap.Slot]uint64
	outcomes map[outcomeKey]outcome
	floors   map[floorKey]uint64
	used     map[floorKey]raft.GroupTime // of the last command
	command  shardmap.Command
	// owned are the slots of the group, by its log; nil before its founding.
	owned map[shardmap.Slot]bool
}

// keyVersion is what a key was from an index on.
type keyVersion struct {
	index, version, number uint64
	there                  bool
}

type outcomeKey struct{ session, sequence uint64 }

type floorKey struct {
	session uint64
	slot    shardmap.Slot
}

type outcome struct {
	slot    shardmap.Slot
	given   []shardmap.SlotRange // to the group
	owned   bool                 // the slot is the group's
	status  shardmap.Status
	id      raft.LogID
	version uint64
	deleted uint32
}

func newModel() model {
	return model{keys: map[string][]keyVersion{}, last: map[shardmap.Slot]uint64{}, outcomes: map[outcomeKey]outcome{}, floors: map[floorKey]uint64{}, used: map[floorKey]raft.GroupTime{}}
}

// apply returns what an entry does.
func (m *model) apply(t *truth, e raft.Entry) (outcome, outcomeKey) {
	_, write, err := wire.ReadOrigin(e.Payload())
	if err != nil {
		t.c.fail("I9: entry %s of group %d has no origin: %v", e.ID, t.group, err)
	}
	body, err := wire.CheckWrite(write)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no write: %v", e.ID, t.group, err)
	}
	x := &m.command
	if err := shardmap.ReadCommand(body, x); err != nil {
		t.c.fail("I9: entry %s of group %d is no command: %v", e.ID, t.group, err)
	}
	if x.Kind == shardmap.CommandOwn {
		return m.own(t, e.ID, x), outcomeKey{}
	}
	key := outcomeKey{x.Session, x.Sequence}
	if !m.owned[x.Slot] {
		return outcome{slot: x.Slot, status: shardmap.StatusNotOwned, id: e.ID}, key
	}
	if x.Session == 0 {
		return m.change(e.ID, x), outcomeKey{}
	}
	// A session remembers outcomes from its floor on. Below it a retry is refused rather
	// than applied a second time.
	floor := floorKey{x.Session, x.Slot}
	m.floors[floor] = max(m.floors[floor], x.Floor)
	m.used[floor] = e.Time
	if x.Sequence < m.floors[floor] {
		return outcome{slot: x.Slot, owned: true, status: shardmap.StatusStale, id: e.ID}, key
	}
	if was, ok := m.outcomes[key]; ok {
		return was, key
	}
	r := m.change(e.ID, x)
	m.outcomes[key] = r
	return r, key
}

// own founds the group, the first time.
func (m *model) own(t *truth, id raft.LogID, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, id: id, status: shardmap.StatusMarked}
	o, err := shardmap.ReadOwn(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no founding: %v", id, t.group, err)
	}
	if m.owned == nil {
		m.owned, r.given, r.status = map[shardmap.Slot]bool{}, o.Slots, shardmap.StatusApplied
		r.changed(func(s shardmap.Slot) { m.owned[s] = true })
	}
	r.owned = m.owned[x.Slot]
	return r
}

// changed calls f for each slot that an entry may have changed.
func (o *outcome) changed(f func(shardmap.Slot)) {
	for _, r := range o.given {
		for s := r.From; s <= r.To; s++ {
			f(s)
		}
	}
	if len(o.given) == 0 {
		f(o.slot)
	}
}

func (m *model) change(id raft.LogID, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, owned: true, id: id, status: shardmap.StatusConflict}
	now := m.now(x.Key(0))
	switch {
	case x.Condition == shardmap.ConditionAbsent && now.there:
		return r
	case x.Condition == shardmap.ConditionVersion && (!now.there || now.version != x.Version):
		return r
	}
	r.status = shardmap.StatusApplied
	if x.Kind == shardmap.CommandCheck {
		return r
	}
	// Versions grow within a slot, and a key that is deleted and set again never gets an
	// old one.
	r.version = max(id.Index, m.last[x.Slot]+1)
	m.last[x.Slot] = r.version
	key := string(x.Key(0))
	if x.Kind == shardmap.CommandDel {
		if now.there {
			r.deleted = 1
		}
		m.keys[key] = append(m.keys[key], keyVersion{index: id.Index})
	} else {
		m.keys[key] = append(m.keys[key], keyVersion{index: id.Index, version: r.version, number: valueNumber(x.Items[1]), there: true})
	}
	return r
}

func (m *model) now(key []byte) keyVersion {
	h := m.keys[string(key)]
	if len(h) == 0 {
		return keyVersion{}
	}
	return h[len(h)-1]
}

// at returns what a key was as of an index.
func (m *model) at(key []byte, index uint64) (keyVersion, bool) {
	h := m.keys[string(key)]
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].index <= index {
			return h[i], true
		}
	}
	return keyVersion{}, false
}
