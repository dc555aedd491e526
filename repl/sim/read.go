package sim

import (
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// staleMax bounds how old the answers are that clients take.
const staleMax = 10 * time.Second

// beginGet makes o a get of its key, and of some others.
func (o *op) beginGet(c *cluster) {
	q := wire.Get{Keys: [][]byte{o.key}}
	o.kind = opGet
	switch {
	case c.chance.below(localEvery) == 0:
		o.kind, o.local = opLocal, true
		o.beginLocal(c, &q)
	case c.chance.below(followerEvery) == 0:
		o.kind, q.Mode = opFollower, wire.ReadFollower
		o.call.Target, o.call.Peer = client.ToPeer, o.client.anyPeer()
	case c.builds.reached(shardmap.LeasesLevel) && c.chance.below(boundedEvery) == 0:
		o.kind, q.Mode = opBounded, wire.ReadBounded
		o.stale = c.chance.skewed(10*time.Millisecond, staleMax)
		q.Stale = uint32(o.stale.Milliseconds())
		o.call.Target, o.call.Peer = client.ToPeer, o.client.anyPeer()
	}
	o.beginMore(c, &q)
	o.body = q.Append(nil)
}

// beginMore adds other keys of the same group to a get: the answer must show all of them
// at one moment.
func (o *op) beginMore(c *cluster, q *wire.Get) {
	if o.cell.size > 1 && c.chance.below(2) == 0 {
		o.more = append(o.more, o.cell.keys[:o.cell.size]...) // one of them twice
	}
	for range c.chance.below(4) {
		k := c.history.anyKey(c)
		if k != nil && c.lives.owner(shardmap.SlotOf(k)) == o.group {
			o.more = append(o.more, k)
		}
	}
	q.Keys = append(q.Keys, o.more...)
}

// beginPage makes o a page of a listing: of one slot's keys, or of all that a
// group has.
func (o *op) beginPage(c *cluster) {
	o.kind = opPage
	q := &wire.List{Limit: uint32(c.chance.below(12)), KeysOnly: c.chance.below(4) == 0}
	tag := c.tags[c.chance.below(len(c.tags))]
	q.Group = c.lives.ownerOfTag(tag)
	if c.chance.below(3) == 0 {
		q.Prefix = []byte("{" + tag + "}")
	}
	if k := c.history.anyKey(c); k != nil && c.chance.below(3) == 0 {
		q.After = k
	}
	if c.shuffle.active && c.newestTable().Level >= shardmap.MovesLevel && c.chance.below(2) == 0 {
		var slots []shardmap.Slot // those of the group, now; when it is asked it may have others
		for _, s := range c.lives.slots {
			if c.lives.owner(s) == q.Group {
				slots = append(slots, s)
			}
		}
		q.Slots = shardmap.SlotRanges(slots)
	}
	if c.builds.reached(shardmap.RangesLevel) {
		q.Span = drawSpan(c, q.Prefix)
		// What is counted of slots that nobody names depends on the node's table.
		q.Counting = !q.Descending && (q.Slots != nil || !c.shuffle.active) && c.chance.below(4) == 0
	}
	o.list, o.group = q, q.Group
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Group, Needs: q.Level()}
	o.body = q.Append(nil)
}

// drawSpan draws which of the keys with a prefix are listed, and in which order.
func drawSpan(c *cluster, prefix []byte) (s wire.Span) {
	s.Descending = c.chance.below(3) == 0
	bounded := s
	if c.chance.below(3) == 0 {
		bounded.From = c.history.anyKey(c)
	}
	if c.chance.below(3) == 0 {
		bounded.To = c.history.anyKey(c)
	}
	if bounded.Check(prefix) != nil { // nothing could be there
		return s
	}
	return bounded
}

// follows reports whether a key comes after another one in a listing; "": after none.
func follows(s *wire.Span, k, after string) bool {
	if s.Descending && after != "" {
		return k < after
	}
	return k > after
}

// covers reports whether a listing is of a key, whatever it has shown.
func covers(prefix []byte, s *wire.Span, k string) bool {
	return strings.HasPrefix(k, string(prefix)) && k >= string(s.From) && (len(s.To) == 0 || k < string(s.To))
}

// reachedBy reports whether a page of a count has come to a key: it counts slot by slot, those of one slot in
// order.
func reachedBy(a *wire.ListAnswer, q *wire.List, s shardmap.Slot, k string) bool {
	at := func(key []byte) (shardmap.Slot, string) { return shardmap.SlotOf(key), string(key) }
	if len(q.After) > 0 {
		if slot, after := at(q.After); s < slot || s == slot && k <= after {
			return false
		}
	}
	if a.More {
		slot, last := at(a.Last)
		return s < slot || s == slot && k <= last
	}
	return true
}

// beginLocal makes o a get of a node's own copy, however old, which may name an index that
// must be applied first: mostly one that is, or soon will be. Some wait in vain, in groups
// at rest too, and must not be kept for longer than wanted (I16).
func (o *op) beginLocal(c *cluster, q *wire.Get) {
	t := c.truth[o.group]
	at := t.acknowledged + uint64(c.chance.below(3))
	if at > 0 && c.chance.below(2) == 0 {
		// The term counts where the slot has moved on: a seal is newer than what its log
		// had in earlier terms.
		term := t.lastTerm
		if at <= uint64(len(t.entries)) {
			term = t.entries[at-1].term
		}
		o.floor, o.after = at, raft.LogID{Term: term, Index: at}
		q.AfterGroup, q.After = o.group, o.after
	}
	q.Mode = wire.ReadLocal
	o.call.Target, o.call.Peer = client.ToPeer, client.Peer(c.chance.below(2)) // one of the endpoints
}

// listed takes a page.
func (o *op) listed(t wire.Type, body []byte) {
	c := o.client.c
	var a wire.ListAnswer
	if err := a.Read(body); err != nil || t != wire.TypeListAnswer {
		c.fail("%s is answered with a %s: %v", o, t, err)
	}
	o.checkPage(&a)
	c.result.Pages++
}

// checkPage compares a page with the model as of the log id that it names: it must have
// each key that was there, no other, and each as it was. A page with two keys as of
// different entries fails this.
func (o *op) checkPage(a *wire.ListAnswer) {
	t := o.spoke(a.Group, a.At)
	q, last, rows := o.list, "", 0
	for {
		key, version, value, ok := a.Next()
		if !ok {
			break
		}
		if k := string(key); !follows(&q.Span, k, last) || !follows(&q.Span, k, string(q.After)) || !covers(q.Prefix, &q.Span, k) {
			t.c.fail("I9: %s shows %q after %q", o, key, last)
		}
		last = string(key)
		rows++
		l := t.c.lives.ofKey(key)
		want, ok := l.at(string(key), o.saw(l, a.Group, a.At), a.At.Index)
		if !ok || !want.there || version != want.version || !q.KeysOnly && valueNumber(value) != want.number {
			t.c.fail("I9: %s stands at %s and shows key %q at version %d of write %d; as of there it should be version %d of write %d (there: %v): the page shows two moments",
				o, a.At, key, version, valueNumber(value), want.version, want.number, ok && want.there)
		}
	}
	if q.Counting && rows > 0 || len(a.Last) > 0 && !q.Counting {
		t.c.fail("I9: %s has %d keys, and has counted up to %q", o, rows, a.Last)
	}
	if q.Counting {
		rows = int(a.Counted)
	}
	if a.More && rows == 0 || q.Limit > 0 && rows > int(q.Limit) {
		t.c.fail("I9: %s has %d keys, of %d at most, and says that there are more: %v", o, rows, q.Limit, a.More)
	}
	there := rows
	// Keys after the last row belong to the next page, if there is one.
	t.c.lives.each(func(l *slotLife) {
		at, ok := l.spanAt(a.Group, a.At.Index)
		named := slices.ContainsFunc(q.Slots, func(r shardmap.SlotRange) bool { return r.Has(l.slot) })
		switch {
		case named && !ok:
			t.c.fail("I9: %s stands at %s of group %d, which does not serve slot %d there: %v", o, a.At, a.Group, l.slot, l.spans)
		case !ok || !named && len(q.Slots) > 0:
			return
		case !named && t.c.shuffle.active:
			return // it shows those that the node's table gives the group
		}
		for k, h := range l.keys {
			switch {
			case !covers(q.Prefix, &q.Span, k):
				continue
			case q.Counting:
				if !reachedBy(a, q, l.slot, k) {
					continue
				}
			case !follows(&q.Span, k, string(q.After)) || a.More && follows(&q.Span, k, last):
				continue
			}
			if want, ok := l.at(k, at, a.At.Index); ok && want.there {
				if rows--; rows < 0 {
					t.c.fail("I9: %s stands at %s and lacks a key that was there then; key %q has had %d versions: the page shows two moments", o, a.At, k, len(h))
				}
			}
		}
	})
	if q.Counting && rows > 0 {
		t.c.fail("I9: %s stands at %s and counts %d keys, %d more than were there then", o, a.At, there, rows)
	}
}
