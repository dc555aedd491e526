package sim

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Keys and leases end at a time of their slot, by the time entries of the group that serves
// it. The slot's time goes with that of the group while it serves the slot, stands still
// while none does, and continues at the next group: what is left of a time is left.

// leaseVersion is what a lease was from an entry on.
type leaseVersion struct {
	span  int
	index uint64
	there bool
	ttl   uint64 // ms
	due   raft.GroupTime
	owner shardmap.Principal // who was granted it; 0: nobody in particular
}

// slotEvent is what an entry did to a key, or to a service, whose name key then is.
type slotEvent struct {
	span    int
	index   uint64
	n       uint32 // among the events of its entry; 0: nobody was shown it
	kind    shardmap.EventKind
	key     string
	version uint64 // of the entry in the slot
	number  uint64 // of the value: see valueNumber, and numberOf for services
	size    int    // of it, in bytes
	before  state
}

// time returns the slot's time when that of the group which serves it is now.
func (l *slotLife) time(now raft.GroupTime) raft.GroupTime { return l.timeIn(len(l.spans)-1, now) }

func (l *slotLife) timeIn(k int, now raft.GroupTime) raft.GroupTime {
	s := &l.spans[k]
	return s.clock + now - s.began
}

// timed reports whether anything of the slot goes by its time. Where nothing does, the next
// group that serves the slot takes its own.
func (l *slotLife) timed() bool {
	for _, h := range l.keys {
		if is := &h[len(h)-1]; is.there && is.due > 0 {
			return true
		}
	}
	for _, h := range l.leases {
		if h[len(h)-1].there {
			return true
		}
	}
	for _, h := range l.services {
		if h[len(h)-1].service != nil {
			return true
		}
	}
	return hasVersions(l)
}

// put records what an entry does to a key.
func (l *slotLife) put(t *truth, index uint64, kind shardmap.EventKind, version uint64, key string, before, after *state) {
	k := len(l.spans) - 1
	t.c.limits.put(key, before, after)
	keepVersion(l, t, kind, version, key, before, after)
	l.keys[key] = append(l.keys[key], keyVersion{span: k, index: index, state: *after, ended: kind == shardmap.EventExpired, expired: kind == shardmap.EventExpired, seen: t.c.now})
	if kind == shardmap.EventExpired {
		if was := l.told[key]; was.version == before.version {
			was.check(t.c, key, t.c.now)
		}
	}
	if before.there || after.there {
		l.events = append(l.events, slotEvent{span: k, index: index, kind: kind, key: key, version: version, number: after.number, size: after.size, before: *before})
	}
}

// leaseNow returns what a lease is.
func (l *slotLife) leaseNow(number uint64) leaseVersion {
	if h := l.leases[number]; len(h) > 0 {
		return h[len(h)-1]
	}
	return leaseVersion{}
}

func (l *slotLife) alive(lease uint64) bool { return l.leaseNow(lease).there }

// leaseAt returns what a lease was as of an index in a span.
func (l *slotLife) leaseAt(number uint64, k int, index uint64) (was leaseVersion) {
	for _, v := range l.leases[number] {
		if v.span < k || v.span == k && v.index <= index {
			was = v
		}
	}
	return was
}

// numbers returns the numbers of the leases that the slot ever had, in order.
func (l *slotLife) numbers() []uint64 {
	var all []uint64
	for n := range l.leases {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// lease is a command about a lease that was not carried out before.
func (l *slotLife) lease(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	op, id, ttl, err := shardmap.ReadLease(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is about no lease: %v", e.ID, t.group, err)
	}
	r := outcome{slot: x.Slot, owned: true, group: t.group, id: e.ID, status: shardmap.StatusNoLease}
	version := max(e.ID.Index, l.last+1)
	number := id.Number()
	owner := x.Principal
	switch was := l.leaseNow(number); {
	case op == shardmap.LeaseGrant:
		number = version
	case !was.there || was.owner != 0 && x.Principal != 0 && was.owner != x.Principal:
		return r // a lease of another user is none
	default:
		ttl, owner = was.ttl, was.owner
	}
	r.status, r.version, l.last = shardmap.StatusApplied, version, version
	now := leaseVersion{span: len(l.spans) - 1, index: e.ID.Index}
	if op == shardmap.LeaseRevoke {
		l.endKeys(t, e.ID.Index, shardmap.EventDel, version, number)
	} else {
		r.ttl = ttl
		now.there, now.ttl, now.due, now.owner = true, ttl, l.time(e.Time)+milliseconds(ttl), owner
	}
	l.leases[number] = append(l.leases[number], now)
	r.lease = shardmap.MakeLeaseID(x.Slot, number)
	return r
}

func milliseconds(n uint64) raft.GroupTime {
	return raft.GroupTime(n) * raft.GroupTime(time.Millisecond)
}

// endKeys removes the keys of a lease that ends.
func (l *slotLife) endKeys(t *truth, index uint64, kind shardmap.EventKind, version, number uint64) {
	for _, k := range l.names() {
		if now := l.now([]byte(k)).state; now.there && now.lease == number {
			l.put(t, index, kind, version, k, &now, new(state))
			l.keys[k][len(l.keys[k])-1].ended = true
		}
	}
}

// ending is a key or a lease that ends.
type ending struct {
	due    raft.GroupTime
	lease  uint64 // 0: it is a key
	key    string
	before state
}

// order puts keys before leases that end at the same time.
func (a *ending) order(b *ending) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.lease, b.lease), cmp.Compare(a.key, b.key))
}

// due returns what has ended by a time of the slot, or will have, in order.
func (l *slotLife) due(now raft.GroupTime) (all []ending) {
	for k, h := range l.keys {
		if is := h[len(h)-1].state; is.there && is.due > 0 && is.due <= now {
			all = append(all, ending{due: is.due, key: k, before: is})
		}
	}
	for n, h := range l.leases {
		if is := h[len(h)-1]; is.there && is.due <= now {
			all = append(all, ending{due: is.due, lease: n})
		}
	}
	slices.SortFunc(all, func(a, b ending) int { return a.order(&b) })
	return all
}

// expire is a time entry: all that is due ends. A cluster of the simulator never has more of
// it at a time than one entry may remove.
func (m *model) expire(t *truth, e raft.Entry) {
	t.by = madeBy{id: e.ID}
	t.c.lives.each(func(l *slotLife) {
		if !l.servedBy(t.group) {
			return
		}
		all := l.due(l.time(e.Time))
		if len(all) == 0 {
			return
		}
		version := max(e.ID.Index, l.last+1)
		l.last = version
		for i := range all {
			if o := &all[i]; o.lease == 0 {
				l.put(t, e.ID.Index, shardmap.EventExpired, version, o.key, &o.before, new(state))
			} else {
				l.endKeys(t, e.ID.Index, shardmap.EventExpired, version, o.lease)
				l.leases[o.lease] = append(l.leases[o.lease], leaseVersion{span: len(l.spans) - 1, index: e.ID.Index})
			}
			t.c.result.Ended++
		}
	})
}

// pending is something that is to end, as of a moment at which all replicas are equal.
type pending struct {
	life *slotLife
	ending
	left time.Duration // of the slot's time
}

// pendings returns what is to end in the slots that the groups serve, and within what time,
// by the times that their logs tell.
func pendings(c *cluster, within time.Duration) (all []pending) {
	c.lives.each(func(l *slotLife) {
		k := len(l.spans) - 1
		if k < 0 || l.spans[k].to != 0 {
			return
		}
		t := c.truth[l.spans[k].group]
		now := l.time(t.entries[len(t.entries)-1].time)
		for _, e := range l.due(now + raft.GroupTime(within)) {
			p := pending{life: l, ending: e}
			if e.due > now {
				p.left = time.Duration(e.due - now)
			}
			all = append(all, p)
		}
	})
	return all
}

// there reports whether it has not ended yet.
func (p *pending) there() bool {
	if p.lease != 0 {
		is := p.life.leaseNow(p.lease)
		return is.there && is.due == p.due
	}
	is := p.life.now([]byte(p.key))
	return is.there && is.due == p.due
}

func (p *pending) String() string {
	if p.lease != 0 {
		return "lease " + shardmap.MakeLeaseID(p.life.slot, p.lease).String()
	}
	return strconv.Quote(p.key)
}

// told is what an answer said that a version of a key had left.
type told struct {
	version uint64
	left    time.Duration
	began   time.Duration // when the answer was asked for
}

// until is the earliest moment at which the key may end: clocks may be fast, and may have jumped.
func (x *told) until(c *cluster) time.Duration {
	return x.began + x.left*1e6/(1e6+driftMax) - c.chaos.jumped
}

// check checks, when the key's time is over, that it had as much as was said (I13).
func (x *told) check(c *cluster, key string, ended time.Duration) {
	if ended < x.until(c) {
		c.fail("I13: version %d of %q has ended at %s; of an answer that was asked for at %s it had %s left", x.version, key, ended, x.began, x.left)
	}
}

// checkLeft checks the remaining time, in ms, that an answer gives for a key or lease. It was read as of an
// index, in a span of its slot. The time is at most what was left at that index's entry, and at least what
// is left by the fastest clock.
func checkLeft(o *op, what string, due raft.GroupTime, l *slotLife, k int, at raft.LogID, remaining uint64) {
	c := o.client.c
	entry := c.truth[l.spans[k].group].entries[at.Index-1].time
	most, least := leftBy(due, l.timeIn(k, entry)), leftBy(due, l.timeIn(k, raft.GroupTime(c.chaos.fastest())))
	if left := milliseconds(remaining); left > most || left+milliseconds(1) <= least {
		c.fail("I13: %s is answered for %s as of %s with %s left; it should be between %s and %s", o, what, at, time.Duration(left), time.Duration(least), time.Duration(most))
	}
}

// checkEnd checks the end that an answer gives for a key (I13). The key was read as of an index, in a
// span of its slot. It ends if the log says so, and with the same lease. A leader measures the time,
// so the key must live at least as long as its answer says.
func checkEnd(o *op, key []byte, l *slotLife, k int, at raft.LogID, is *keyVersion, got wire.KeyEnd) {
	c := o.client.c
	due, lease := is.due, shardmap.LeaseID(0)
	if is.lease != 0 {
		due, lease = l.leaseAt(is.lease, k, at.Index).due, shardmap.MakeLeaseID(l.slot, is.lease)
	}
	if ends := is.there && due > 0; got.Ends != ends || got.Lease != lease {
		c.fail("I13: %s is answered for %q as of %s with %+v; it ends: %v, with lease %s", o, key, at, got, ends, lease)
	}
	if !got.Ends {
		return
	}
	checkLeft(o, strconv.Quote(string(key)), due, l, k, at, got.Remaining)
	if o.local || o.stale > 0 || o.kind == opFollower || o.call.Forward {
		return // it goes by what the replica has heard of the time
	}
	now := told{version: is.version, left: time.Duration(milliseconds(got.Remaining)), began: o.began}
	h := l.keys[string(key)]
	for i := range h {
		if i > 0 && h[i].expired && h[i-1].version == is.version {
			now.check(c, string(key), h[i].seen)
		}
	}
	if was := l.told[string(key)]; was.version != now.version || was.until(c) < now.until(c) {
		l.told[string(key)] = now
	}
}

// leftBy is what is left until due at a time; 0 if that is past.
func leftBy(due, now raft.GroupTime) raft.GroupTime { return due - min(due, now) }

const (
	// endsSoon is what may be left of the time of what a healed cluster must be seen to end,
	// and endsWithin how late it may be. Leaders stay, but for one to whom its group is
	// handed over.
	endsSoon   = 5 * time.Second
	endsWithin = gather + heardEvery + lullSlack
)

// endSoon waits until what is to end soon has ended (I13).
func endSoon(c *cluster) {
	began := c.now
	for _, p := range pendings(c, endsSoon) {
		left := max(0, p.left-(c.now-began))
		c.until("what is due ends (I13): "+p.String(), left+endsWithin, func() bool { return !p.there() })
	}
}
