package node

import (
	"fmt"

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
	if q.conn.crowded(0) {
		return q.conn.Answer(r, wire.TypeError, crowded().Append(nil))
	}
	// Who asked for much asks for much again: then it is not tried here, where
	// all that is begun in vain holds up every group.
	if !q.conn.asksMuch.Load() {
		first, made := q.conn.answerWith(r, wire.TypeGetAnswer, func(b []byte) ([]byte, bool) {
			b, m.Value, ok = q.values(b, m.State.Get, at, m.Value, getInlineMax)
			return b, ok
		})
		if made {
			return first
		}
		q.conn.asksMuch.Store(true)
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
	get := func(key, dst []byte) ([]byte, uint64, bool) {
		c := copies[shardmap.SlotOf(key)]
		if c == nil {
			return dst, 0, false
		}
		return c.Get(key, dst)
	}
	return q.conn.readLater(r, release, func() {
		body, _, ok := q.values(nil, get, at, nil, wire.FrameMax)
		release()
		q.conn.asksMuch.Store(len(body) > getInlineMax)
		switch {
		case !ok:
			q.conn.refuse(r, wire.TooLarge(fmt.Sprintf("answer to a get of %d keys", len(q.request.Keys)), fmt.Sprintf("more than %d bytes", wire.FrameMax), "ask for fewer keys at once"))
		case q.conn.crowded(len(body)):
			q.conn.refuse(r, crowded())
		default:
			q.conn.answerNow(r, wire.TypeGetAnswer, body)
		}
	})
}

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
	if q.conn.crowded(0) {
		return q.conn.Answer(r, wire.TypeError, crowded().Append(nil))
	}
	page := m.Page(&q.request, at)
	return q.conn.readLater(r, page.Drop, func() { q.answer(page, r) })
}

// answer reads the page and answers.
func (q *listQuery) answer(page *machine.Page, r repl.Reply) {
	if q.conn.crowded(0) { // others were answered since it was asked for
		page.Drop()
		q.conn.refuse(r, crowded())
		return
	}
	a := page.Read()
	if q.conn.crowded(len(a.Rows)) {
		q.conn.refuse(r, crowded())
		return
	}
	q.conn.answerNow(r, wire.TypeListAnswer, a.Append(nil))
}

// readLater has a lister read what takes long. It does not block; where it
// refuses, drop gives up what read would have used.
func (c *connection) readLater(r repl.Reply, drop, read func()) (first bool) {
	select {
	case c.node.reads <- read:
		return false
	default:
		drop()
		return c.Answer(r, wire.TypeError, wire.Busy("reads", fmt.Sprintf("%d long ones wait, as many as this node keeps", readQueueMax), busyRetry).Append(nil))
	}
}

// lister reads pages and long gets until the node ends.
func (n *Node) lister() {
	defer n.ended.Done()
	for {
		select {
		case read := <-n.reads:
			read()
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
