package sim

import (
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// model is what a group's log means. What it means for a slot is kept with the slot
// (life.go).
type model struct {
	command shardmap.Command
	founded bool
	holds   map[shardmap.Slot]*hold
}

type outcomeKey struct{ session, sequence uint64 }

type outcome struct {
	slot    shardmap.Slot
	given   []shardmap.SlotRange // to the group
	steps   []stepOutcome        // of a command that moves slots
	owned   bool                 // the slot is the group's
	status  shardmap.Status
	group   raft.GroupID // in whose log id is
	id      raft.LogID
	version uint64
	deleted uint32
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
	if x.Kind.Moves() {
		return m.move(t, e, x), outcomeKey{}
	}
	key := outcomeKey{x.Session, x.Sequence}
	l := t.c.lives.of(x.Slot)
	if !l.servedBy(t.group) {
		return outcome{slot: x.Slot, status: shardmap.StatusNotOwned, group: t.group, id: e.ID}, key
	}
	if x.Session == 0 {
		return l.change(t.group, e.ID, x), outcomeKey{}
	}
	// A session remembers outcomes from its floor on. Below it a retry is refused rather
	// than applied a second time.
	l.floors[x.Session] = max(l.floors[x.Session], x.Floor)
	l.used[x.Session] = e.Time
	if x.Sequence < l.floors[x.Session] {
		return outcome{slot: x.Slot, owned: true, status: shardmap.StatusStale, group: t.group, id: e.ID}, key
	}
	if was, ok := l.outcomes[key]; ok {
		was.owned = true
		return was, key
	}
	r := l.change(t.group, e.ID, x)
	l.outcomes[key] = r
	if o := l.refused[key]; o != nil && r.status == shardmap.StatusApplied {
		t.c.fail("I9: group %d applies %s at %s; its client was told that it never would be", t.group, o, e.ID)
	}
	return r, key
}

// own founds the group, the first time.
func (m *model) own(t *truth, id raft.LogID, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, group: t.group, id: id, status: shardmap.StatusMarked}
	o, err := shardmap.ReadOwn(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no founding: %v", id, t.group, err)
	}
	if !m.founded {
		m.founded, r.given, r.status = true, o.Slots, shardmap.StatusApplied
		r.changed(func(s shardmap.Slot) {
			m.hold(s).mark = o.Number
			t.c.lives.of(s).begin(t, id)
		})
	}
	r.owned = t.c.lives.of(x.Slot).servedBy(t.group)
	return r
}

// changed calls f for each slot that an entry may have changed.
func (o *outcome) changed(f func(shardmap.Slot)) {
	for _, r := range o.given {
		for s := r.From; s <= r.To; s++ {
			f(s)
		}
	}
	for i := range o.steps {
		f(o.steps[i].slot)
	}
	if len(o.given) == 0 && len(o.steps) == 0 {
		f(o.slot)
	}
}

// change is a command that was not carried out before, by an entry of the group that
// serves the slot.
func (l *slotLife) change(g raft.GroupID, id raft.LogID, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, owned: true, group: g, id: id, status: shardmap.StatusConflict}
	now := l.now(x.Key(0))
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
	// Versions grow within a slot, in whichever group it is, and a key that is deleted and
	// set again never gets an old one.
	r.version = max(id.Index, l.last+1)
	l.last = r.version
	v := keyVersion{span: len(l.spans) - 1, index: id.Index}
	if x.Kind == shardmap.CommandDel {
		if now.there {
			r.deleted = 1
		}
		key := string(x.Key(0))
		l.keys[key] = append(l.keys[key], v)
		return r
	}
	for items := x.Items; len(items) > 0; items = items[2:] {
		key := string(items[0])
		v.version, v.number, v.there = r.version, valueNumber(items[1]), true
		l.keys[key] = append(l.keys[key], v)
	}
	return r
}
