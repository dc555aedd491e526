package sim

import (
	"slices"

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
	slot      shardmap.Slot
	given     []shardmap.SlotRange // to the group
	steps     []stepOutcome        // of a command that moves slots
	owned     bool                 // the slot is the group's
	status    shardmap.Status
	group     raft.GroupID // in whose log id is
	id        raft.LogID
	version   uint64
	deleted   uint32
	more      bool    // a delete of a prefix left keys
	succeeded bool    // the comparisons of a transaction held
	results   []found // of its operations
	lease     shardmap.LeaseID
	ttl       uint64 // of the lease, in ms
	service   string // that it is about
}

// apply returns what an entry does.
func (m *model) apply(t *truth, e raft.Entry) (outcome, outcomeKey) {
	origin, write, err := wire.ReadOrigin(e.Payload())
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
	x.Principal = origin.Principal
	if x.Kind == shardmap.CommandOwn {
		return m.own(t, e, x), outcomeKey{}
	}
	if x.Kind == shardmap.CommandRaise {
		t.raised = max(t.raised, e.ID.Index)
		level, _ := shardmap.ReadRaise(x)
		t.level = max(t.level, level)
		return outcome{slot: x.Slot, group: t.group, id: e.ID, owned: t.c.lives.of(x.Slot).servedBy(t.group)}, outcomeKey{}
	}
	if x.Kind == shardmap.CommandVersions {
		t.rule(e, x)
		return outcome{slot: x.Slot, group: t.group, id: e.ID, owned: t.c.lives.of(x.Slot).servedBy(t.group)}, outcomeKey{}
	}
	if isSeries(x.Kind) {
		t.series.apply(t, e, x)
		return outcome{slot: x.Slot, group: t.group, id: e.ID, owned: t.c.lives.of(x.Slot).servedBy(t.group)}, outcomeKey{}
	}
	t.by = madeBy{e.ID, x.Principal}
	if x.Kind.Moves() {
		return m.move(t, e, x), outcomeKey{}
	}
	key := outcomeKey{x.Session, x.Sequence}
	l := t.c.lives.of(x.Slot)
	if !l.servedBy(t.group) {
		return outcome{slot: x.Slot, status: shardmap.StatusNotOwned, group: t.group, id: e.ID}, key
	}
	if x.Session == 0 {
		return l.change(t, e, x), outcomeKey{}
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
	r := l.change(t, e, x)
	l.outcomes[key] = r
	if o := l.refused[key]; o != nil && r.status == shardmap.StatusApplied {
		t.c.fail("I9: group %d applies %s at %s; its client was told that it never would be", t.group, o, e.ID)
	}
	return r, key
}

// own founds the group, the first time.
func (m *model) own(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, group: t.group, id: e.ID, status: shardmap.StatusMarked}
	o, err := shardmap.ReadOwn(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no founding: %v", e.ID, t.group, err)
	}
	if !m.founded {
		m.founded, r.given, r.status = true, o.Slots, shardmap.StatusApplied
		r.changed(func(s shardmap.Slot) {
			m.hold(s).mark = o.Number
			t.c.lives.of(s).begin(t, e)
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
func (l *slotLife) change(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	if x.Kind == shardmap.CommandLease {
		return l.lease(t, e, x)
	}
	switch x.Kind {
	case shardmap.CommandService:
		return l.service(t, e, x)
	case shardmap.CommandReport:
		return l.report(t, e, x)
	}
	w, err := readWrite(x, func(prefix []byte) []string { return keysUnder(l, prefix) })
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no write: %v", e.ID, t.group, err)
	}
	// Versions grow within a slot, in whichever group it is, and a key that is deleted and
	// set again never gets an old one.
	version := max(e.ID.Index, l.last+1)
	keys := make([]state, len(w.keys))
	for i, k := range w.keys {
		keys[i] = l.now([]byte(k)).state
	}
	before := slices.Clone(keys)
	did := w.carryOut(keys, version, l.time(e.Time), l.alive)
	r := outcome{slot: x.Slot, owned: true, group: t.group, id: e.ID, status: did.status, succeeded: did.succeeded, deleted: did.deleted, more: did.more}
	if did.status != shardmap.StatusApplied {
		return r
	}
	r.results = slices.Clone(did.results[:did.count])
	if w.most > 0 { // it takes a version even if there is no such key
		r.version, l.last = version, version
	}
	for _, a := range w.branch(did.succeeded) {
		if a.kind == actGet || w.most > 0 && keys[a.key].there == before[a.key].there {
			continue
		}
		r.version, l.last = version, version
		kind := shardmap.EventSet
		if !keys[a.key].there {
			kind = shardmap.EventDel
		}
		l.put(t, e.ID.Index, kind, version, w.keys[a.key], &before[a.key], &keys[a.key])
	}
	return r
}
