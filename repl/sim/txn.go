package sim

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// What clients of a cluster at [shardmap.LeasesLevel] write beside plain sets and dels:
// transactions on the keys of a cell, counters, keys that end, and leases.

const (
	// newerEvery is how many writes to cells there are for each of these kinds.
	newerEvery = 2
	// belowEvery is how many writes to a cluster below the level there are for each of them,
	// which is to be refused.
	belowEvery = 64
	// guardsMax and branchMax bound a transaction.
	guardsMax, branchMax = 3, 4
	// Keys and leases last for so long. All of them end in a lull.
	ttlMin, ttlMax = 50 * time.Millisecond, 4 * time.Minute
	// countMax bounds what is added to a counter at a time, but for a few huge numbers.
	countMax = 9
	// hugeEvery is how many incrs of keys that are no counters there are for each of a huge
	// number: two of them overflow.
	hugeEvery = 12
	// numbersEvery is how many sets in transactions there are for each of a number.
	numbersEvery = 4
	// leasesKept is how many leases of each tag clients remember, those of all clients.
	leasesKept = 4
	// prefixMax bounds the keys that one delete of a prefix removes: it may leave some of a cell.
	prefixMax = 4
)

// grants are the leases of which clients know.
type grants struct {
	of map[shardmap.Slot][]shardmap.LeaseID
}

// note notes a lease that was granted.
func (x *grants) note(id shardmap.LeaseID) {
	if x.of == nil {
		x.of = map[shardmap.Slot][]shardmap.LeaseID{}
	}
	list := append(x.of[id.Slot()], id)
	x.of[id.Slot()] = list[max(0, len(list)-leasesKept):]
}

// draw draws a lease of a slot; now and then one that there never was.
func (x *grants) draw(c *cluster, s shardmap.Slot) shardmap.LeaseID {
	list := x.of[s]
	if len(list) == 0 || c.chance.below(16) == 0 {
		return shardmap.MakeLeaseID(s, 1+uint64(c.chance.below(100)))
	}
	return list[c.chance.below(len(list))]
}

// newer reports whether a client's write is to be of one of the newer kinds.
func (x *grants) newer(c *cluster) bool {
	if !c.builds.reached(shardmap.LeasesLevel) {
		return c.chance.below(belowEvery) == 0
	}
	return c.chance.below(newerEvery) == 0
}

// beginNewer makes o a write of one of the newer kinds, in the slot of its key.
func (o *op) beginNewer(c *cluster) {
	t, d := new(shardmap.Txn), draft{o, c}
	slot, rnd := o.call.Slot, &c.chance
	switch k := rnd.below(16); {
	case o.cell.counter:
		o.kind = opIncr
		t.Then = []shardmap.Op{d.incr(o.key)}
	case k < 2:
		o.beginLease(c)
		return
	case k < 4:
		o.kind = opTTL
		t.Then = []shardmap.Op{d.set(o.key)}
		t.Then[0].TTL, t.Then[0].Lease = c.grants.ttl(c), 0
	case k < 6:
		o.kind = opAttach
		t.Then = []shardmap.Op{d.set(o.key)}
		t.Then[0].TTL, t.Then[0].Lease = 0, c.grants.draw(c, slot)
	case k < 8:
		o.kind = opIfValue
		t.If = []shardmap.Compare{d.ifValue(o.key)}
		t.Then = []shardmap.Op{d.set(o.key)}
	case k < 10:
		o.kind = opIncr
		t.Then = []shardmap.Op{d.incr(o.key)}
	case k < 11 && c.grants.prefixes(c):
		beginDelPrefix(o, c)
		return
	default:
		o.kind = opTxn
		for range rnd.below(guardsMax + 1) {
			t.If = append(t.If, d.compare(o.cell.key(c)))
		}
		t.Then, t.Else = d.ops(), d.ops()
		if len(t.If)+len(t.Then)+len(t.Else) == 0 {
			t.Then = []shardmap.Op{d.set(o.key)}
		}
	}
	o.writes(shardmap.TxnCommand(slot, t))
}

// writes makes o the write of a command.
func (o *op) writes(x shardmap.Command) {
	cl := o.client
	o.call.Write = true
	x.Session, x.Sequence = cl.session, cl.next
	cl.next++
	x.Floor = cl.floor(x.Sequence)
	o.command = x
	o.body = wire.AppendWrite(nil, &o.command)
}

// ttl draws for how long a key or a lease lasts, in milliseconds.
func (x *grants) ttl(c *cluster) uint64 {
	return uint64(c.chance.skewed(ttlMin, ttlMax).Milliseconds())
}

// draft draws what is in a transaction of an operation.
type draft struct {
	*op
	c *cluster
}

// ops draws the operations of a branch, which changes no key twice.
func (d *draft) ops() (list []shardmap.Op) {
	var changed [][]byte
	for range d.c.chance.below(branchMax + 1) {
		key := d.cell.key(d.c)
		if d.c.chance.below(3) == 0 || slices.ContainsFunc(changed, func(k []byte) bool { return &k[0] == &key[0] }) {
			list = append(list, shardmap.Op{Kind: shardmap.OpGet, Key: key})
			continue
		}
		changed = append(changed, key)
		switch d.c.chance.below(6) {
		case 0:
			list = append(list, shardmap.Op{Kind: shardmap.OpDel, Key: key})
		case 1:
			list = append(list, d.incr(key))
		default:
			list = append(list, d.set(key))
		}
	}
	return list
}

// set draws an operation that gives a key the value of o: some are numbers, some end.
func (d *draft) set(key []byte) shardmap.Op {
	s := shardmap.Op{Kind: shardmap.OpSet, Key: key, Value: d.value(d.c)}
	if d.cell.size > 1 && d.c.chance.below(numbersEvery) == 0 {
		s.Value = strconv.AppendUint(nil, d.number<<16, 10) // no sum of incrs gets from one to the next
	}
	switch d.c.chance.below(6) {
	case 0:
		s.TTL = d.c.grants.ttl(d.c)
	case 1:
		s.Lease = d.c.grants.draw(d.c, d.call.Slot)
	}
	return s
}

// incr draws an operation that adds to a number.
func (d *draft) incr(key []byte) shardmap.Op {
	by := int64(1 + d.c.chance.below(countMax))
	switch {
	case d.c.chance.below(4) == 0:
		by = -by
	case !d.cell.counter && d.c.chance.below(hugeEvery) == 0:
		by = math.MaxInt64 - int64(d.c.chance.below(countMax))
	}
	return shardmap.Op{Kind: shardmap.OpIncr, Key: key, By: by}
}

// compare draws a comparison, which mostly holds if nobody else writes meanwhile.
func (d *draft) compare(key []byte) shardmap.Compare {
	now := d.c.lives.of(d.call.Slot).now(key)
	switch k := d.c.chance.below(8); {
	case k == 0 || !now.there:
		return shardmap.Compare{Kind: shardmap.CompareAbsent, Key: key}
	case k < 4:
		return d.ifValue(key)
	}
	return shardmap.Compare{Kind: shardmap.CompareVersion, Key: key, Version: now.version}
}

// ifValue returns the comparison of a key with its value; with that of o if it is absent.
func (d *draft) ifValue(key []byte) shardmap.Compare {
	now := d.c.lives.of(d.call.Slot).now(key)
	if !now.there {
		now.number, now.size = d.number, 0
	}
	return shardmap.Compare{Kind: shardmap.CompareValue, Key: key, Value: now.bytes()}
}

// beginLease makes o a command about a lease.
func (o *op) beginLease(c *cluster) {
	o.cell = nil // it names no keys
	slot := o.call.Slot
	switch c.chance.below(8) {
	case 0:
		o.kind = opRevoke
		o.writes(shardmap.LeaseCommand(slot, shardmap.LeaseRevoke, c.grants.draw(c, slot), 0))
	case 1, 2, 3:
		o.kind = opKeepalive
		o.writes(shardmap.LeaseCommand(slot, shardmap.LeaseKeepalive, c.grants.draw(c, slot), 0))
	default:
		o.kind = opGrant
		o.writes(shardmap.LeaseCommand(slot, shardmap.LeaseGrant, 0, c.grants.ttl(c)))
	}
}

// beginLeases makes o a listing of the leases of some of a group's slots.
func (o *op) beginLeases(c *cluster) {
	o.kind, o.cell = opLeases, nil
	tag := c.tags[c.chance.below(len(c.tags))]
	q := &wire.Leases{Group: c.lives.ownerOfTag(tag), Limit: uint32(c.chance.below(4))}
	var slots []shardmap.Slot // those of the group, now; when it is asked it may have others
	for _, s := range c.lives.slots {
		if c.lives.owner(s) == q.Group && (s == tagSlot(tag) || c.chance.below(2) == 0) {
			slots = append(slots, s)
		}
	}
	q.Slots = shardmap.SlotRanges(slots)
	if c.chance.below(3) == 0 {
		q.After = c.grants.draw(c, slots[c.chance.below(len(slots))])
	}
	o.leases, o.group = q, q.Group
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Group}
	o.body = q.Append(nil)
}

// checkLeases compares a listing of leases with the model as of the log id that it names.
func (o *op) checkLeases(a *wire.LeasesAnswer) {
	t, q := o.spoke(a.Group, a.At), o.leases
	rows := a.Rows
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			l := t.c.lives.of(s)
			k := o.saw(l, a.Group, a.At)
			for _, n := range l.numbers() {
				is := l.leaseAt(n, k, a.At.Index)
				id := shardmap.MakeLeaseID(s, n)
				if !is.there || id <= q.After {
					continue
				}
				if len(rows) == 0 {
					if !a.More {
						t.c.fail("I9: %s stands at %s of group %d, and lacks lease %s", o, a.At, a.Group, id)
					}
					return
				}
				checkLeft(o, "lease "+id.String(), is.due, l, k, a.At, rows[0].Remaining)
				want := wire.LeaseRow{Lease: id, TTL: is.ttl, Remaining: rows[0].Remaining, Keys: l.attached(n, k, a.At.Index)}
				if rows[0] != want {
					t.c.fail("I9: %s stands at %s of group %d, and shows %+v; it should be %+v", o, a.At, a.Group, rows[0], want)
				}
				rows = rows[1:]
			}
		}
	}
	if len(rows) > 0 || a.More && len(a.Rows) == 0 || q.Limit > 0 && len(a.Rows) > int(q.Limit) {
		t.c.fail("I9: %s stands at %s of group %d, and shows %d leases (more: %v); there are no such: %+v", o, a.At, a.Group, len(a.Rows), a.More, rows)
	}
}

// attached returns how many keys ended with a lease as of an index in a span.
func (l *slotLife) attached(number uint64, k int, index uint64) (n uint64) {
	for key := range l.keys {
		if is, ok := l.at(key, k, index); ok && is.there && is.lease == number {
			n++
		}
	}
	return n
}

// checkTxn compares the answer to a transaction with the entry that it names.
func (o *op) checkTxn(a *wire.TxnAnswer) {
	w, _ := readWrite(&o.command, nil)
	acts := w.branch(a.Succeeded)
	got := histOutput{version: a.Version, effect: effect{status: shardmap.StatusApplied, succeeded: a.Succeeded, count: a.Count}}
	if a.Count != len(acts) {
		o.client.c.fail("I9: %s is answered with %d results, of %d operations", o, a.Count, len(acts))
	}
	for i := range acts {
		r, _ := a.Next()
		x := &got.results[i]
		switch {
		case acts[i].kind == actDel && r.Kind == wire.ResultDeleted:
			x.there = r.Deleted
		case acts[i].kind == actGet && r.Kind == wire.ResultValue:
			*x = found{true, r.Version, valueNumber(r.Value)}
		case acts[i].kind == actIncr && r.Kind == wire.ResultNumber:
			x.number = countNumber(r.Number)
		case r.Kind != wire.ResultNone || acts[i].kind != actSet && acts[i].kind != actGet:
			o.client.c.fail("I9: operation %d of %s is answered with %+v", i, o, r)
		}
	}
	e := o.acknowledged(a.Group, a.ID)
	if e.version != a.Version || e.succeeded != a.Succeeded || !slices.Equal(e.results, got.results[:got.count]) {
		o.client.c.fail("I9: %s is acknowledged at %s, succeeded %v, with %+v; it should be %v with %+v", o, a.ID, a.Succeeded, got.results[:got.count], e.succeeded, e.results)
	}
	o.client.c.history.change(o, got)
}

// prefixes reports whether a write may be a delete of a prefix.
func (x *grants) prefixes(c *cluster) bool {
	return c.builds.reached(shardmap.RangesLevel) || c.chance.below(belowEvery) == 0
}

// beginDelPrefix makes o a delete of the keys of its cell, as one deletes a prefix, or of one of
// them. All keys of a cell begin with the first, and none of another cell does.
func beginDelPrefix(o *op, c *cluster) {
	o.kind = opDelPrefix
	prefix := o.key
	if c.chance.below(3) > 0 {
		prefix = o.cell.keys[0]
	}
	o.writes(shardmap.DelPrefixCommand(o.call.Slot, prefix, uint32(1+c.chance.below(prefixMax))))
}

// checkDelPrefix compares the answer to a delete of a prefix with the entry that it names.
func checkDelPrefix(o *op, a *wire.DelPrefixAnswer) {
	e := o.acknowledged(a.Group, a.ID)
	if e.version != a.Version || e.deleted != a.Deleted || e.more != a.More {
		o.client.c.fail("I9: %s is acknowledged at %s with version %d, %d deleted, more %t; it should be version %d, %d deleted, more %t",
			o, a.ID, a.Version, a.Deleted, a.More, e.version, e.deleted, e.more)
	}
	if a.More != (len(a.Next) > 0) {
		o.client.c.fail("I9: %s is acknowledged at %s with more %t and next %q", o, a.ID, a.More, a.Next)
	}
	o.client.c.history.change(o, histOutput{version: a.Version,
		effect: effect{status: shardmap.StatusApplied, succeeded: true, deleted: a.Deleted, more: a.More}})
}

// checkLease compares the answer to a command about a lease with the entry that it names.
func (o *op) checkLease(a *wire.LeaseAnswer) {
	e := o.acknowledged(a.Group, a.ID)
	if e.lease != a.Lease || e.ttl != a.TTL {
		o.client.c.fail("I9: %s is acknowledged at %s with lease %s for %d ms; it should be %s for %d ms", o, a.ID, a.Lease, a.TTL, e.lease, e.ttl)
	}
	if o.kind == opGrant && o.contender == nil { // nobody else is to revoke that of a lock
		o.client.c.grants.note(a.Lease)
	}
}

// refused takes a refusal for a reason that lies in the keys or in a lease, as the log must
// have it; false if the error is no such.
func (o *op) refused(err error) bool {
	c := o.client.c
	var e *wire.Error
	if !errors.As(err, &e) || o.reads() {
		return false
	}
	var as []shardmap.Status
	switch e.Code {
	case wire.CodeConflict:
		as = []shardmap.Status{shardmap.StatusConflict, shardmap.StatusNotNumber, shardmap.StatusOverflow}
	case wire.CodeTooLarge:
		as = []shardmap.Status{shardmap.StatusReadTooLarge}
	case wire.CodeNotFound:
		as = []shardmap.Status{shardmap.StatusNoLease, shardmap.StatusNoService, shardmap.StatusNoInstance}
	case wire.CodeBadRequest:
		if o.kind != opServiceSet {
			return false
		}
		as = []shardmap.Status{shardmap.StatusServiceMasked}
	default:
		return false
	}
	is, ok := c.lives.of(o.command.Slot).outcomes[outcomeKey{o.command.Session, o.command.Sequence}]
	if !ok || !slices.Contains(as, is.status) {
		c.fail("I9: %s is refused: %v; by the log it is %s at %s (there: %v)", o, err, is.status, is.id, ok)
	}
	if e.Code == wire.CodeConflict {
		c.history.change(o, histOutput{refused: true})
	}
	return true
}

// checkCounters checks that each counter is what its increments make it (I9): those that were
// acknowledged, and of those whose fate is not known any part.
func (h *history) checkCounters(c *cluster) {
	for _, x := range h.cells {
		if !x.counter || len(x.ops) == 0 {
			continue
		}
		least, most := int64(0), int64(0)
		for _, p := range x.ops {
			in, out := p.Input.(histInput), p.Output.(histOutput)
			if in.get || in.ends || out.refused {
				continue
			}
			for _, a := range in.write.then {
				if !out.unknown || a.by < 0 {
					least += a.by
				}
				if !out.unknown || a.by > 0 {
					most += a.by
				}
			}
		}
		is, _ := counted(c.lives.ofKey(x.keys[0]).now(x.keys[0]).number)
		if !c.lives.ofKey(x.keys[0]).now(x.keys[0]).there {
			is = 0
		}
		if is < least || is > most {
			c.fail("I9: counter %q is at %d; by what clients were told it is from %d to %d", x.keys[0], is, least, most)
		}
	}
}
