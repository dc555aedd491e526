package node

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
)

// getQuery reads values of some keys of one group.
type getQuery struct {
	conn    *connection
	group   raft.GroupID
	request wire.Get
}

// Run implements [repl.Query]. A get is short: it is answered by the goroutine
// that asks, between two entries.
func (q *getQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*machine.Map)
	if !ok {
		return q.conn.Answer(r, wire.TypeError, metaHasNoKeys().Append(nil))
	}
	if q.conn.crowded() {
		return q.conn.Answer(r, wire.TypeError, crowded().Append(nil))
	}
	return q.conn.answerWith(r, wire.TypeGetAnswer, func(b []byte) ([]byte, *wire.Error) {
		start := len(b)
		b = wire.AppendGetAnswer(b, q.group, at, len(q.request.Keys))
		for _, k := range q.request.Keys {
			value, version, ok := m.State.Get(k, m.Value[:0])
			m.Value = value[:0]
			if ok {
				b = wire.AppendFound(b, version, value)
			} else {
				b = wire.AppendMissing(b)
			}
			if len(b)-start > wire.FrameMax {
				return b[:start], wire.TooLarge(fmt.Sprintf("answer to a get of %d keys", len(q.request.Keys)), fmt.Sprintf("more than %d bytes", wire.FrameMax), "ask for fewer keys at once")
			}
		}
		return b, nil
	})
}

// listQuery reads one page of the keys of one group, in order.
type listQuery struct {
	conn    *connection
	request wire.List
}

// Run implements [repl.Query]. A page can be long: a lister reads it, beside
// the writes that go on.
func (q *listQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*machine.Map)
	if !ok {
		return q.conn.Answer(r, wire.TypeError, metaHasNoKeys().Append(nil))
	}
	select {
	case q.conn.node.lists <- listJob{query: q, machine: m, at: at, reply: r}:
		return false
	default:
		return q.conn.Answer(r, wire.TypeError, wire.Busy("listing", "as many pages are being read as this node reads at once", busyRetry).Append(nil))
	}
}

// listJob is a page for a lister to read.
type listJob struct {
	query   *listQuery
	machine *machine.Map
	at      raft.LogID
	reply   repl.Reply
}

// run reads the page and answers.
func (j listJob) run() {
	q := j.query
	a := wire.ListAnswer{Group: q.request.Group, At: j.at}
	a.More = j.machine.State.List(q.request.Prefix, q.request.After, int(q.request.Limit), int(q.request.MaxBytes), q.request.KeysOnly, func(key []byte, version uint64, value []byte) {
		if value == nil && !q.request.KeysOnly {
			value = []byte{}
		}
		a.Rows = wire.AppendListRow(a.Rows, key, version, value)
		a.Count++
	})
	q.conn.answerNow(j.reply, wire.TypeListAnswer, a.Append(nil))
}

// lister reads pages until there are no more.
func (n *Node) lister() {
	defer n.ended.Done()
	for {
		select {
		case j := <-n.lists:
			j.run()
		case <-n.stop:
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
