package shardmap

import (
	"slices"

	"muster/raft"
)

// The sessions of a slot lie in blocks, by id and principal, and are also linked in the order of
// their last use. One sorted slice, tried first, cost 93 µs for each new session among
// 65,536, a look at all of them when one was due to be forgotten, and a copy of
// them all at the first write after each snapshot. However much a slot remembers, a
// command now touches one block, and copies no more than that and the list of
// blocks.

// sessionBlockMax is the most sessions in a block; most blocks hold half to all of
// that: 11 KB, of which a new session moves half.
const sessionBlockMax = 128

// sessionsOrdered is the number of sessions above which their order of use is kept.
// Below it, all are looked at when one may be due, at most 20 KB. Keeping the order
// costs each command four lines of memory, a tenth of the nodes' time for a set, and
// each session 32 bytes. With a limit of 64, tried first, ninety runs within SessionKeep
// of a command that writes to all slots paid for it. The order is dropped again at
// half as many.
const sessionsOrdered = 256

// sessionBlock is a run of sessions, by id and principal.
type sessionBlock struct {
	epoch uint64 // of the table, when it was made; older than a copy: shared with it
	list  []session
}

// sessionView is what a walk through the sessions of a slot needs.
type sessionView struct {
	// blocks lie side by side: most slots have one, and a pointer to it
	// would be one more wait for memory in each command. None is empty.
	blocks []sessionBlock
	count  int // Invariant: of the sessions in blocks
}

// each calls f for all sessions, by id and principal, until it returns an error.
func (v *sessionView) each(f func(s *session) error) error {
	for k := range v.blocks {
		list := v.blocks[k].list
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// sessions is everything that one slot remembers of sessions.
type sessions struct {
	sessionView
	firsts   []sessionKey   // of each block: none in it is below, all in earlier blocks are
	outcomes int            // Invariant: the sum of len(kept()) of all
	details  int            // Invariant: the bytes of the details of all
	sum      uint64         // Invariant: the sum of the sums of all sessions and outcomes
	oldest   raft.GroupTime // no later than the last use of any, unless ordered
	order    useOrder

	epoch     uint64 // counts copies
	shared    uint64 // a copy may see what is of an earlier epoch; 0: no copy sees anything
	copies    int32  // not released yet
	topShared bool   // blocks
	ordered   bool   // there are so many that their order of use is kept
}

// copyView returns the sessions as they are now, in O(1).
func (t *sessions) copyView() sessionView {
	t.epoch++
	t.shared = t.epoch
	t.copies++
	t.topShared = true
	return t.sessionView
}

// releaseView records that the owner of a copy is done with it.
func (t *sessions) releaseView() {
	if t.copies--; t.copies == 0 {
		t.shared, t.topShared = 0, false
	}
}

// takeCopies makes the copies of what was here before count as copies of t.
func (t *sessions) takeCopies(copies int32) {
	t.copies = copies
	t.epoch++
	t.shared, t.topShared = t.epoch, true
}

// find returns the block and position of a session, or where it would be. It is
// on the path of every command; a search with a function for each comparison took
// twice as long.
func (t *sessions) find(k sessionKey) (block, at int, ok bool) {
	if len(t.blocks) == 0 {
		return 0, 0, false
	}
	if len(t.blocks) > 1 {
		block = t.blockOf(k)
	}
	list := t.blocks[block].list
	if len(list) == 1 && list[0].sessionKey == k { // one client writes to most slots
		return block, 0, true
	}
	lo, hi := 0, len(list)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch x := &list[mid].sessionKey; {
		case *x == k:
			return block, mid, true
		case x.below(k):
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return block, lo, false
}

// blockOf returns the block in which a session is, or would be.
func (t *sessions) blockOf(k sessionKey) int {
	lo, hi := 0, len(t.firsts) // k is not below firsts[lo], but below firsts[hi]; or lo is the first
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) / 2); !k.below(t.firsts[mid]) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// ownBlock returns a block for writing, good until the list of blocks changes.
//
// A block that is the writer's own lies in a list that is: it became so, after the
// last copy, by being written into the list.
func (t *sessions) ownBlock(i int) *sessionBlock {
	if b := &t.blocks[i]; b.epoch >= t.shared {
		return b
	}
	return t.cloneBlock(i)
}

// cloneBlock makes the writer's own what a copy may see.
func (t *sessions) cloneBlock(i int) *sessionBlock {
	t.ownTop()
	b := &t.blocks[i]
	b.epoch, b.list = t.epoch, slices.Clone(b.list)
	return b
}

// ownTop makes the list of blocks the writer's own: 32 KB at the limit.
func (t *sessions) ownTop() {
	if t.topShared {
		t.blocks = slices.Clone(t.blocks)
		t.topShared = false
	}
}

// insert puts a session where find has found its position, and begins to keep the order of
// use once there are enough.
func (t *sessions) insert(block, at int, s session) *session {
	placed := t.place(block, at, s)
	if !t.ordered && t.count > sessionsOrdered {
		t.arrange() // it owns all blocks then, the session's among them, which stays where it is
	}
	return placed
}

// place puts a session where find has found its position.
func (t *sessions) place(block, at int, s session) *session {
	switch {
	case t.ordered:
		s.order = t.order.push(s.sessionKey, s.used)
	case t.count == 0:
		t.oldest = s.used
	default:
		t.oldest = min(t.oldest, s.used)
	}
	t.count++
	if len(t.blocks) == 0 {
		t.insertBlock(0, sessionKey{})
	}
	b := t.ownBlock(block)
	if len(b.list) == sessionBlockMax {
		const half = sessionBlockMax / 2
		right := t.insertBlock(block+1, b.list[half].sessionKey)
		b = &t.blocks[block] // the list may have moved
		right.list = append(right.list, b.list[half:]...)
		clear(b.list[half:])
		b.list = b.list[:half]
		if at > half {
			b, at = right, at-half
		}
	}
	b.list = slices.Insert(b.list, at, s)
	return &b.list[at]
}

// touch makes a session the most recently used.
func (t *sessions) touch(s *session) {
	if t.ordered {
		t.order.touch(s.order, s.used)
	}
}

// insertBlock adds an empty block as number i, of sessions from first on.
func (t *sessions) insertBlock(i int, first sessionKey) *sessionBlock {
	t.ownTop()
	t.blocks = slices.Insert(t.blocks, i, sessionBlock{epoch: t.epoch})
	t.firsts = slices.Insert(t.firsts, i, first)
	return &t.blocks[i]
}

// append adds a session that all others are below, of a snapshot.
func (t *sessions) append(s session) {
	last := len(t.blocks) - 1
	if last < 0 || len(t.blocks[last].list) >= sessionBlockMax*3/4 {
		last++
		t.insertBlock(last, s.sessionKey)
	}
	t.blocks[last].list = append(t.blocks[last].list, s)
	if t.count == 0 || s.used < t.oldest {
		t.oldest = s.used
	}
	t.count++
}

// arrange begins to keep the order of use, if there are enough sessions for that.
func (t *sessions) arrange() {
	if t.count <= sessionsOrdered {
		return // oldest is right
	}
	t.ordered = true
	all := make([]*session, 0, t.count)
	for i := range t.blocks {
		b := t.ownBlock(i)
		for i := range b.list {
			all = append(all, &b.list[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *session) int {
		switch {
		case a.used < b.used:
			return -1
		case a.used > b.used:
			return 1
		}
		return 0
	})
	for _, s := range all {
		s.order = t.order.push(s.sessionKey, s.used)
	}
}

// forget drops a session.
func (t *sessions) forget(block, at int, q *sessionQuota) {
	b := t.ownBlock(block)
	s := &b.list[at]
	if t.ordered {
		t.order.remove(s.order)
	}
	t.sum -= s.sum
	kept := s.kept()
	for i := range kept {
		t.sum -= kept[i].sum
	}
	t.outcomes -= len(kept)
	t.details -= s.detailBytes()
	t.count--
	q.sessions--
	q.details -= s.detailBytes()
	q.outcomes -= len(kept)
	b.list = slices.Delete(b.list, at, at+1)
	if t.ordered && t.count <= sessionsOrdered/2 {
		t.ordered, t.order, t.oldest = false, useOrder{}, 0
	}
	// A block that is a quarter full is joined with the next or the one before
	// if both fit well into one: few blocks are found fast.
	const joinMax = sessionBlockMax * 3 / 4
	switch n := len(b.list); {
	case n == 0:
		t.removeBlock(block)
	case n > sessionBlockMax/4:
	case block+1 < len(t.blocks) && n+len(t.blocks[block+1].list) <= joinMax:
		b.list = append(b.list, t.blocks[block+1].list...)
		t.removeBlock(block + 1)
	case block > 0 && n+len(t.blocks[block-1].list) <= joinMax:
		left := t.ownBlock(block - 1)
		left.list = append(left.list, b.list...)
		t.removeBlock(block)
	}
}

func (t *sessions) removeBlock(i int) {
	t.ownTop()
	t.blocks = slices.Delete(t.blocks, i, i+1)
	t.firsts = slices.Delete(t.firsts, i, i+1)
}

// forgetMax is how many sessions are forgotten at once. A new session makes room
// for itself and for some more, so that due sessions go soon.
const forgetMax = 4

// forgetDue forgets sessions that were not used for SessionKeep, least recently
// used first, and returns how many: most of them, and any others that were last used
// at the very same time, because replicas can't agree on an order among those. It
// never forgets a younger session to make room: its client may be retrying a
// command.
func (t *sessions) forgetDue(now raft.GroupTime, most int, q *sessionQuota) (n int) {
	last := raft.GroupTime(0)
	for ; ; n++ {
		block, at, used, ok := t.leastUsed(now)
		if !ok || !due(used, now) || n >= most && (used != last || bug("sessions of one time forgotten by their order of use")) {
			return n
		}
		last = used
		t.forget(block, at, q)
	}
}

// due reports whether a session that was last used then is forgotten now.
func due(used, now raft.GroupTime) bool { return now > used && now-used > SessionKeep }

// leastUsed returns the least recently used session; false if there is none, or
// none can be due.
func (t *sessions) leastUsed(now raft.GroupTime) (block, at int, used raft.GroupTime, ok bool) {
	if t.ordered {
		oldest, ok := t.order.oldest()
		if !ok {
			return 0, 0, 0, false
		}
		block, at, _ = t.find(oldest.of)
		return block, at, oldest.used, true
	}
	if !due(t.oldest, now) {
		return 0, 0, 0, false
	}
	for i := range t.blocks {
		list := t.blocks[i].list
		for j := range list {
			if x := list[j].used; !ok || x < used {
				block, at, used, ok = i, j, x, true
			}
		}
	}
	t.oldest = used
	return block, at, used, ok
}

// sessionQuota counts what all slots of a map remember together, against its
// limits. It belongs to the goroutine that applies.
type sessionQuota struct {
	sessions, outcomes       int // Invariant: the sums over all slots
	details                  int // Invariant: so are the bytes of details
	sessionsMax, outcomesMax int
	detailsMax               int
	// oldest is no later than the last use of any session; see expire.go.
	oldest raft.GroupTime
}

func newSessionQuota() sessionQuota {
	return sessionQuota{sessionsMax: GroupSessionsMax, outcomesMax: GroupOutcomesMax, detailsMax: GroupDetailsMax}
}

// full reports whether the group has no room for one more session, or outcome.
func (q *sessionQuota) full() bool {
	return q.sessions >= q.sessionsMax || q.outcomes >= q.outcomesMax
}

// useOrder keeps the sessions of a slot in the order of their last use. Only the
// writer sees it.
type useOrder struct {
	// nodes are a ring. The first stands for its beginning and end: after it
	// comes the session that was used longest ago.
	nodes []useNode
	free  uint32 // a node that is not in the ring, linked by next; 0: none
}

type useNode struct {
	of         sessionKey
	used       raft.GroupTime
	prev, next uint32
}

// push adds a session as the most recently used, and returns its node.
func (o *useOrder) push(of sessionKey, used raft.GroupTime) uint32 {
	if len(o.nodes) == 0 {
		o.nodes = make([]useNode, 1, 2)
	}
	n := o.free
	if n != 0 {
		o.free = o.nodes[n].next
	} else {
		n = uint32(len(o.nodes))
		o.nodes = append(o.nodes, useNode{})
	}
	o.nodes[n].of = of
	o.link(n, used)
	return n
}

// touch makes a session the most recently used.
func (o *useOrder) touch(n uint32, used raft.GroupTime) {
	if o.nodes[0].prev == n {
		o.nodes[n].used = used // it was the last already
		return
	}
	o.unlink(n)
	o.link(n, used)
}

func (o *useOrder) remove(n uint32) {
	o.unlink(n)
	o.nodes[n].next = o.free
	o.free = n
}

// oldest returns the least recently used session.
func (o *useOrder) oldest() (*useNode, bool) {
	if len(o.nodes) == 0 || o.nodes[0].next == 0 {
		return nil, false
	}
	return &o.nodes[o.nodes[0].next], true
}

func (o *useOrder) link(n uint32, used raft.GroupTime) {
	last := o.nodes[0].prev
	x := &o.nodes[n]
	x.used, x.prev, x.next = used, last, 0
	o.nodes[last].next = n
	o.nodes[0].prev = n
}

func (o *useOrder) unlink(n uint32) {
	x := &o.nodes[n]
	o.nodes[x.prev].next = x.next
	o.nodes[x.next].prev = x.prev
}
