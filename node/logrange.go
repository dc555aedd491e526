package node

import (
	"errors"
	"fmt"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

const (
	// logRangeBytesMax bounds what is read of the log for one answer, payloads
	// included, and logRangeReadBytes what of it is in memory at once.
	logRangeBytesMax  = 16 << 20
	logRangeReadBytes = 1 << 20
)

// logRange answers which entries the replica of a group holds.
func (c *connection) logRange(h wire.Header, r repl.Reply, body []byte) {
	var q wire.LogRange
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	loop := c.node.running()
	if loop == nil {
		c.refuse(r, c.node.notReady())
		return
	}
	var view repl.GroupView
	found := false
	if !loop.Ask(func(h *repl.Host) {
		for _, g := range h.View() {
			if g.Replica.Group == q.Group {
				view, found = g, true
			}
		}
	}) {
		c.refuse(r, c.node.notReady())
		return
	}
	if !found {
		c.refuse(r, wire.NotFound(fmt.Sprintf("replica of group %d", q.Group), "node "+c.node.name+" has none", "muster group list shows which nodes have one"))
		return
	}
	c.laterOrBusy(r, func() {
		a, err := c.node.logRangeOf(&view, &q)
		if err != nil {
			c.refuse(r, wire.Unavailable(fmt.Sprintf("log of group %d", q.Group), err.Error()))
			return
		}
		c.answerNow(r, wire.TypeLogRangeAnswer, a.Append(nil))
	})
}

func (n *Node) logRangeOf(view *repl.GroupView, q *wire.LogRange) (*wire.LogRangeAnswer, error) {
	a := &wire.LogRangeAnswer{
		Node: n.self().Node, Group: view.Replica.Group, Incarnation: view.Replica.Incarnation, Replica: view.Replica.ID,
		Base: view.Status.Base, Last: view.Status.Last, Commit: view.Status.Commit, Applied: view.Applied.Index,
	}
	// The core is ahead of the disk by what is being written.
	to := min(q.To, a.Last.Index, view.Status.Durable)
	read := 0
	for next := max(q.From, a.Base.Index+1); next <= to; {
		if len(a.Entries) >= wire.LogRangeEntriesMax || read > logRangeBytesMax {
			a.Next = next
			break
		}
		entries, err := n.store.Read(view.Replica, next, to, logRangeReadBytes)
		var damage *logstore.Damage
		switch {
		case errors.As(err, &damage):
			read += logRangeReadBytes
			a.Lost = appendLost(a.Lost, next)
			next++
			continue
		case errors.Is(err, logstore.ErrCompacted), errors.Is(err, logstore.ErrRange):
			return a, nil // it was there when the core was asked; who asks again sees what is there now
		case err != nil:
			return nil, err
		}
		for i := range entries {
			if len(a.Entries) >= wire.LogRangeEntriesMax {
				break
			}
			a.Entries = append(a.Entries, logEntry(&entries[i]))
			read += len(entries[i].Raw)
			next++
		}
	}
	return a, nil
}

// appendLost adds an index to the spans, of which it is the highest.
func appendLost(spans []wire.LogSpan, index uint64) []wire.LogSpan {
	if n := len(spans); n > 0 && spans[n-1].Last+1 == index {
		spans[n-1].Last = index
		return spans
	}
	return append(spans, wire.LogSpan{First: index, Last: index})
}

func logEntry(e *raft.Entry) wire.LogEntry {
	return wire.LogEntry{
		Term: e.ID.Term, Index: e.ID.Index, Checksum: e.Checksum(), Kind: e.Kind, Time: e.Time,
		Bytes: uint32(len(e.Payload())),
	}
}
