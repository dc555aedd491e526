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
	// logRangeBytesMax bounds what one answer reads of the log, payloads included,
	// and logRangeReadBytes how much of that is in memory at once.
	logRangeBytesMax  = 16 << 20
	logRangeReadBytes = 1 << 20
)

// answerLogRange answers which entries the replica of a group holds.
func answerLogRange(c *connection, h wire.Header, r repl.Reply, body []byte) {
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
		a, err := ListLog(c.node.store, view.Replica, &q)
		if err != nil {
			c.refuse(r, wire.Unavailable(fmt.Sprintf("log of group %d", q.Group), err.Error()))
			return
		}
		// The view is older than the reading of the log, but what the core knew to
		// be committed then is still committed.
		a.Node = c.node.self().Node
		a.Commit, a.Applied = max(a.Commit, view.Status.Commit), max(a.Applied, view.Applied.Index)
		c.answerNow(r, wire.TypeLogRangeAnswer, a.Append(nil))
	})
}

// ListLog lists the entries of q that a log holds of a replica, or the first of them if
// they are many. It names spans that can't be read, and lists the rest. The log may be
// in use.
func ListLog(store *logstore.Store, id logstore.Replica, q *wire.LogRange) (*wire.LogRangeAnswer, error) {
	base, last, commit, ok := store.Bounds(id)
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, logstore.ErrUnknown)
	}
	a := &wire.LogRangeAnswer{Group: id.Group, Incarnation: id.Incarnation, Replica: id.ID,
		Base: base, Last: last, Commit: commit, Applied: base.Index}
	to := min(q.To, last.Index)
	read, until := 0, to // until: how far the next read tries to reach
	for next := max(q.From, base.Index+1); next <= to; {
		if len(a.Entries)+len(a.Lost) >= wire.LogRangeEntriesMax || read > logRangeBytesMax {
			a.Next = next
			break
		}
		entries, err := store.Read(id, next, until, logRangeReadBytes)
		switch {
		case errors.Is(err, logstore.ErrDamaged) && until > next:
			until = next + (until-next)/2 // entries before the damage can be read
			continue
		case errors.Is(err, logstore.ErrDamaged):
			read += logRangeReadBytes
			end := min(lostUntil(store, id, next), to)
			a.Lost = appendLost(a.Lost, next, end)
			next, until = end+1, to
			continue
		case errors.Is(err, logstore.ErrCompacted), errors.Is(err, logstore.ErrRange):
			return a, nil // it was there a moment ago; another question shows what is there now
		case err != nil:
			return nil, err
		}
		for i := range entries {
			if len(a.Entries)+len(a.Lost) >= wire.LogRangeEntriesMax {
				break
			}
			a.Entries = append(a.Entries, logEntry(&entries[i]))
			read += len(entries[i].Raw)
			next++
		}
		until = to
	}
	return a, nil
}

// lostUntil returns the last index of the span that can't be read from index on,
// as far as the log knows it.
func lostUntil(store *logstore.Store, id logstore.Replica, index uint64) uint64 {
	d, _ := store.DamageOf(id)
	for _, s := range d.Lost {
		if s.First <= index && index <= s.Last {
			return s.Last
		}
	}
	return index
}

// appendLost adds a span to others, which are all before it.
func appendLost(spans []wire.LogSpan, first, last uint64) []wire.LogSpan {
	if n := len(spans); n > 0 && spans[n-1].Last+1 == first {
		spans[n-1].Last = last
		return spans
	}
	return append(spans, wire.LogSpan{First: first, Last: last})
}

func logEntry(e *raft.Entry) wire.LogEntry {
	return wire.LogEntry{
		Term: e.ID.Term, Index: e.ID.Index, Checksum: e.Checksum(), Kind: e.Kind, Time: e.Time,
		Bytes: uint32(len(e.Payload())),
	}
}
