package client

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// fakeStreams are the streams of one connection to a fake node.
type fakeStreams struct {
	node *fakeNode
	open map[uint64]*fakeStream
}

type fakeStream struct {
	scan        wire.Scan
	after       []byte
	limit, sent uint64
	rows        uint64
}

func (x *fakeStreams) close() { x.node.streams.Add(-int64(len(x.open))) }

func (x *fakeStreams) end(number uint64, e *wire.StreamEnd, out []byte) []byte {
	delete(x.open, number)
	x.node.streams.Add(-1)
	return wire.AppendFrame(out, wire.TypeStreamEnd, number, e)
}

// take takes a frame of a stream, and sends what may be.
func (x *fakeStreams) take(h wire.Header, body, out []byte) (sent []byte, hangUp bool) {
	c := x.node.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s := x.open[h.Request]
	switch h.Type {
	case wire.TypeScan:
		s = new(fakeStream)
		if x.open[h.Request] != nil {
			c.t.Errorf("a client uses number %d twice", h.Request)
		}
		if err := s.scan.Read(bytes.Clone(body)); err != nil {
			c.t.Errorf("a client sends a bad scan: %v", err)
		}
		if e := x.refusal(s); e != nil {
			return wire.AppendFrame(out, wire.TypeError, h.Request, e), false
		}
		s.after, s.limit = s.scan.After, s.scan.Window
		x.open[h.Request] = s
		x.node.streams.Add(1)
	case wire.TypeStreamGrant:
		var g wire.StreamGrant
		if err := g.Read(body); err != nil {
			c.t.Errorf("a client sends a bad grant: %v", err)
		}
		if s == nil {
			return out, false
		}
		if g.Limit > s.sent+wire.StreamWindowMax || g.Limit < s.limit {
			c.t.Errorf("a client grants %d, after %d, when %d were sent", g.Limit, s.limit, s.sent)
		}
		s.limit = g.Limit
	case wire.TypeStreamCancel:
		if s != nil {
			out = x.end(h.Request, &wire.StreamEnd{Reason: wire.EndCancelled, Resume: s.after}, out)
		}
		return out, false
	}
	return x.send(h.Request, s, out)
}

func (x *fakeStreams) refusal(s *fakeStream) *wire.Error {
	c := x.node.cluster
	if s.scan.Epoch != 0 && s.scan.Epoch != c.epoch {
		return &wire.Error{Code: wire.CodeMoved, Object: "group " + s.scan.Group.String(), Epoch: c.epoch}
	}
	if e := x.node.leads(int(s.scan.Group)); e != nil && s.scan.Mode == wire.ReadLinearizable {
		return e
	}
	for _, r := range s.scan.Slots {
		for slot := r.From; slot <= r.To; slot++ {
			if c.groupOf(slot) != int(s.scan.Group) {
				return c.moved(slot)
			}
		}
	}
	return nil
}

// has reports whether a stream has keys of a slot.
func (s *fakeStream) has(c *fakeCluster, slot shardmap.Slot) bool {
	if len(s.scan.Slots) == 0 {
		return c.groupOf(slot) == int(s.scan.Group)
	}
	return slices.ContainsFunc(s.scan.Slots, func(r shardmap.SlotRange) bool { return r.From <= slot && slot <= r.To })
}

// send sends the pieces that the window has room for. Held: the cluster's mu.
func (x *fakeStreams) send(number uint64, s *fakeStream, out []byte) (sent []byte, hangUp bool) {
	for s.limit >= s.sent+uint64(s.scan.PieceBytes) {
		e := x.refusal(s)
		if f := x.node.piece.Load(); f != nil {
			order := (*f)(number)
			if order.hangUp {
				return out, true
			}
			if order.refuse != nil {
				e = order.refuse
			}
		}
		if e != nil {
			return x.end(number, &wire.StreamEnd{Reason: wire.EndReasonOf(e.Code), Resume: s.after, Why: *e}, out), false
		}
		a := x.page(s)
		body := a.Append(nil)
		s.sent += uint64(len(body))
		s.rows += uint64(a.Count)
		out = wire.AppendPiece(out, wire.TypeScanPiece, number, a)
		if !a.More || s.rows == s.scan.Limit && s.scan.Limit > 0 {
			return x.end(number, &wire.StreamEnd{Reason: wire.EndDone, Resume: s.after}, out), false
		}
	}
	return out, false
}

// page makes the next piece.
func (x *fakeStreams) page(s *fakeStream) *wire.ListAnswer {
	c := x.node.cluster
	var keys []string
	for k := range c.data {
		if fakeLists(k, s.scan.Prefix, s.after, &s.scan.Span) && s.has(c, shardmap.SlotOf([]byte(k))) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if s.scan.Descending {
		slices.Reverse(keys)
	}
	a := &wire.ListAnswer{Group: s.scan.Group, At: raft.LogID{Term: 1, Index: c.index}}
	for _, k := range keys {
		v := c.data[k].value
		full := s.scan.Limit > 0 && s.rows+uint64(a.Count) == s.scan.Limit
		if full || a.Count > 0 && wire.ListHead+len(a.Rows)+len(k)+len(v)+wire.ListRowHead > int(s.scan.PieceBytes) {
			a.More = true
			break
		}
		if s.scan.KeysOnly {
			v = nil
		} else if v == nil {
			v = []byte{}
		}
		a.Rows = wire.AppendListRow(a.Rows, []byte(k), c.data[k].version, v)
		a.Count++
		s.after = []byte(k)
	}
	return a
}

// fakeLists reports whether a listing shows a key behind another one.
func fakeLists(k string, prefix, after []byte, s *wire.Span) bool {
	if len(after) > 0 && (s.Descending && k >= string(after) || !s.Descending && k <= string(after)) {
		return false
	}
	return strings.HasPrefix(k, string(prefix)) && k >= string(s.From) && (len(s.To) == 0 || k < string(s.To))
}

// fakeCountPage is how many keys a fake node counts at a time.
const fakeCountPage = 7

// count counts keys by slot and key, as far as a page goes. Held: the cluster's mu.
func (n *fakeNode) count(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var q wire.List
	if err := q.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeList, err).Append(nil)
	}
	if e := n.leads(int(q.Group)); e != nil {
		return wire.TypeError, e.Append(nil)
	}
	if !q.Counting || c.level < shardmap.RangesLevel {
		c.t.Errorf("a client at level %d sends %+v", c.level, q)
	}
	a := wire.ListAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: c.index}}
	behind := shardmap.Slot(0)
	if len(q.After) > 0 {
		behind = shardmap.SlotOf(q.After)
	}
	keys := slices.Sorted(maps.Keys(c.data))
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			if c.groupOf(s) != int(q.Group) {
				return wire.TypeError, c.moved(s).Append(nil)
			}
			for _, k := range keys {
				after := q.After
				if s > behind {
					after = nil
				}
				if s < behind || shardmap.SlotOf([]byte(k)) != s || !fakeLists(k, q.Prefix, after, &q.Span) {
					continue
				}
				if a.Counted == fakeCountPage {
					a.More = true
					return wire.TypeListAnswer, a.Append(nil)
				}
				a.Counted++
				a.Last = []byte(k)
			}
		}
	}
	return wire.TypeListAnswer, a.Append(nil)
}
