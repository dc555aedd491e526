package node

import (
	"fmt"
	"runtime"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// getQuery reads values of some keys of one group.
type getQuery struct {
	conn    *connection
	group   raft.GroupID
	request wire.Get
}

// FirstKey implements [machine.Keyed].
func (q *getQuery) FirstKey() []byte {
	if len(q.request.Keys) == 0 {
		return nil
	}
	return q.request.Keys[0]
}

// Run implements [repl.Query]. A get is short, mostly: it is answered by the
// goroutine that asks, between two entries. What turns out to be long is left
// to a lister.
func (q *getQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*machine.Map)
	if !ok {
		return q.conn.Answer(r, wire.TypeError, metaHasNoKeys().Append(nil))
	}
	if q.conn.deaf() {
		return q.conn.Answer(r, wire.TypeError, crowded().Append(nil))
	}
	// Who asked for much asks for much again: then it is not tried here, where
	// all that is begun in vain holds up every group.
	if expected := q.conn.getSize.Load(); expected <= getInlineMax {
		first, made := q.conn.answerWith(r, wire.TypeGetAnswer, func(b []byte) ([]byte, bool) {
			b, m.Value, ok = q.values(b, m.State.Get, at, m.Value, getInlineMax)
			return b, ok
		})
		switch {
		case !made:
			q.conn.getSize.Store(getInlineMax + 1) // at least
		case expected != 0:
			q.conn.getSize.Store(0)
			return first
		default:
			return first
		}
	}
	// The lister reads beside the writes that go on, so it reads copies: all
	// that an answer says is of the log id that it names.
	copies := make(map[shardmap.Slot]*shardmap.SlotCopy)
	for _, k := range q.request.Keys {
		if s := shardmap.SlotOf(k); copies[s] == nil {
			if c := m.State.Copy(s); c != nil {
				copies[s] = c
			}
		}
	}
	release := func() {
		for _, c := range copies {
			c.Release()
		}
	}
	return q.conn.readLater(r, release, func() {
		defer release()
		q.answer(copies, at, r)
	})
}

// answer makes a long answer from copies. How much room it takes is looked up
// first, and counted in: where there is none it is not made.
func (q *getQuery) answer(copies map[shardmap.Slot]*shardmap.SlotCopy, at raft.LogID, r repl.Reply) {
	size := wire.HeaderSize + getAnswerHead
	for _, key := range q.request.Keys {
		size += getRowHead
		if c := copies[shardmap.SlotOf(key)]; c != nil {
			size += c.ValueSize(key)
		}
	}
	long := 0
	if size > getInlineMax {
		long = size
	}
	q.conn.getSize.Store(int64(long))
	tooMuch := size > wire.FrameMax
	if !tooMuch && !q.conn.reserve(&r, size) {
		q.conn.refuse(r, crowded())
		return
	}
	// Nothing is put into the room that it is given: a long value is copied once,
	// into the frame.
	get := func(key, _ []byte) ([]byte, uint64, bool) {
		c := copies[shardmap.SlotOf(key)]
		if c == nil {
			return nil, 0, false
		}
		return c.Get(key)
	}
	var frame []byte
	if !tooMuch {
		b, start := wire.BeginFrame(make([]byte, 0, size), wire.TypeGetAnswer, 0, 0, r.Request)
		b, _, ok := q.values(b, get, at, nil, wire.FrameMax)
		tooMuch, frame = !ok, wire.EndFrame(b, start)
	}
	if tooMuch {
		q.conn.refuse(r, wire.TooLarge(fmt.Sprintf("answer to a get of %d keys", len(q.request.Keys)), fmt.Sprintf("more than %d bytes", wire.FrameMax), "ask for fewer keys at once"))
		return
	}
	q.conn.answerFrame(r, wire.TypeGetAnswer, frame)
	q.conn.Flush()
}

// What an answer to a get has beside its values, in bytes, at most: before its
// rows, and in each of them.
const (
	getAnswerHead = 64
	getRowHead    = 24
)

// values appends the body of the answer, unless it is longer than limit. value
// is room for one of them.
func (q *getQuery) values(b []byte, get func(key, dst []byte) ([]byte, uint64, bool), at raft.LogID, value []byte, limit int) (body, scratch []byte, ok bool) {
	start := len(b)
	b = wire.AppendGetAnswer(b, q.group, at, len(q.request.Keys))
	for _, k := range q.request.Keys {
		v, version, found := get(k, value[:0])
		value = v[:0]
		if len(b)-start+len(v) > limit {
			return b, value, false
		}
		if found {
			b = wire.AppendFound(b, version, v)
		} else {
			b = wire.AppendMissing(b)
		}
		if len(b)-start > limit {
			return b, value, false
		}
	}
	return b, value, true
}

// listQuery reads one page of the keys of one group, in order.
type listQuery struct {
	conn    *connection
	request wire.List
}

// Run implements [repl.Query]. A page can be long: a lister reads it, beside
// the writes that go on. What it shows is settled here, between two entries.
func (q *listQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*machine.Map)
	if !ok {
		return q.conn.Answer(r, wire.TypeError, metaHasNoKeys().Append(nil))
	}
	if q.conn.deaf() {
		return q.conn.Answer(r, wire.TypeError, crowded().Append(nil))
	}
	page := m.Page(&q.request, at)
	return q.conn.readLater(r, page.Drop, func() { q.answer(page, r) })
}

// answer reads the page and answers.
func (q *listQuery) answer(page *machine.Page, r repl.Reply) {
	// How long it is shows when it has been read. Until then it counts what
	// each connection may always have: no more are read at once than there are
	// listers.
	if !q.conn.reserve(&r, min(int(q.request.MaxBytes), q.conn.node.limits.inflightBytesShare)) {
		page.Drop()
		q.conn.refuse(r, crowded())
		return
	}
	a := page.Read()
	size := wire.HeaderSize + pageHead + len(a.Rows)
	long := 0
	if size > getInlineMax {
		long = size
	}
	q.conn.pageSize.Store(int64(long))
	if !q.conn.reserve(&r, size) { // rows have heads, and one row may be larger than a page
		q.conn.refuse(r, crowded())
		return
	}
	q.conn.answerFrame(r, wire.TypeListAnswer, wire.AppendFrame(make([]byte, 0, size), wire.TypeListAnswer, r.Request, a))
	q.conn.Flush()
}

// pageHead is what an answer to a listing has before its rows, in bytes, at
// most.
const pageHead = 64

// readLater has a lister read what takes long. It does not block; where it
// refuses, drop gives up what read would have used.
func (c *connection) readLater(r repl.Reply, drop, read func()) (first bool) {
	if c.long.Add(1) > readQueueShare {
		return c.tooManyReads(r, drop, fmt.Sprintf("%d long ones of this connection wait, as many as this node keeps", readQueueShare))
	}
	select {
	case c.node.reads <- func() { read(); c.long.Add(-1) }:
		return false
	default:
		return c.tooManyReads(r, drop, fmt.Sprintf("%d long ones wait, as many as this node keeps", readQueueMax))
	}
}

// tooManyReads refuses a long read that readLater has counted.
func (c *connection) tooManyReads(r repl.Reply, drop func(), found string) (first bool) {
	c.long.Add(-1)
	drop()
	return c.Answer(r, wire.TypeError, wire.Busy("reads", found, busyRetry).Append(nil))
}

// lister reads pages and long gets until the node ends.
func (n *Node) lister() {
	defer n.ended.Done()
	for {
		select {
		case read := <-n.reads:
			read()
			// A long one takes a millisecond, and many may wait: the
			// goroutines that a short request passes through come first.
			runtime.Gosched()
		case <-n.ctx.Done():
			return
		}
	}
}

func metaHasNoKeys() *wire.Error {
	return wire.BadRequest("group 0", "the meta group has no keys", "ask one of groups 1 to 9999")
}

func crowded() *wire.Error {
	return wire.Busy("connection", "more answers wait than this client reads", busyRetry)
}
