package sim

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

const (
	nodesMax = 9
	// codecPart is how many messages there are for each that goes through the
	// wire format and back. All of them would take as long as the rest of the
	// simulation. The codec has tests of its own; this is to show that the two
	// ends of a message share nothing.
	codecPart = 32
	// lateMax is how late a message can be.
	lateMax = 5 * time.Second
)

// network is all links between nodes. A link is a direction between two nodes;
// several faults can cut it, and it works once all of them are healed.
type network struct {
	c     *cluster
	nodes int
	cut   [nodesMax + 1][nodesMax + 1]int
	gone  [nodesMax + 1]bool // isolated until everything heals
	last  [nodesMax + 1][nodesMax + 1]time.Duration
	bulk  [nodesMax + 1][nodesMax + 1]time.Duration
	base  time.Duration

	loss, duplicate, reorder, corrupt float64

	breaks  map[uint64][]link // by number of the fault
	number  uint64
	frame   []byte
	decoder *wire.Decoder
	reader  bytes.Reader
}

type link struct{ from, to int }

func (w *network) init(c *cluster, nodes int) {
	w.c, w.nodes = c, nodes
	w.base = c.chance.skewed(100*time.Microsecond, 3*time.Millisecond)
	w.breaks = map[uint64][]link{}
	w.decoder = wire.NewDecoder(wire.FrameMax)
}

// works reports whether frames of from reach to.
func (w *network) works(from, to int) bool {
	return w.cut[from][to] == 0 && !w.gone[from] && !w.gone[to]
}

func (w *network) isolated(n int) bool { return w.gone[n] }

func (w *network) isolate(n int) { w.gone[n] = true }

// heal ends all faults of the network.
func (w *network) heal() {
	w.cut = [nodesMax + 1][nodesMax + 1]int{}
	w.gone = [nodesMax + 1]bool{}
	w.loss, w.duplicate, w.reorder, w.corrupt = 0, 0, 0, 0
	clear(w.breaks)
	// Frames that are late already do not hold up those that are sent from now on.
	w.last, w.bulk = [nodesMax + 1][nodesMax + 1]time.Duration{}, [nodesMax + 1][nodesMax + 1]time.Duration{}
	// Nodes that could not say hello across a cut do it now, unless the other side has
	// found them already.
	for _, from := range w.c.nodes {
		for _, to := range w.c.nodes {
			if from.where.found[to.index] && !to.where.found[from.index] {
				w.dial(from.index, to.index)
			}
		}
	}
}

// breakLinks cuts links until the fault that it numbers is healed.
func (w *network) breakLinks(links []link, d time.Duration) uint64 {
	w.number++
	for _, l := range links {
		w.cut[l.from][l.to]++
		if d > peerSilence {
			w.silence(l)
		}
	}
	w.breaks[w.number] = links
	e := w.c.queue.get(evHeal)
	e.number = w.number
	w.c.after(d, e)
	return w.number
}

func (w *network) mend(number uint64) {
	for _, l := range w.breaks[number] {
		w.cut[l.from][l.to]--
		w.dial(l.from, l.to)
	}
	delete(w.breaks, number)
}

// latency is how long a frame takes.
func (w *network) latency() time.Duration {
	return w.base + time.Duration(w.c.chance.next()%uint64(w.base))
}

// send brings one event from node to node: never, late, twice, or as it should. Messages
// between two nodes keep their order, except one that is made late.
func (w *network) send(from *node, to raft.NodeID, e *event) {
	c := w.c
	e.node, e.from = int32(to), int32(from.index)
	if !from.where.reaches(int(to)) || c.nodes[to-1].dead {
		c.queue.put(e)
		return
	}
	start := max(c.now, from.outAt)
	if w.loss > 0 && c.chance.is(w.loss) {
		c.result.Fired[Loss]++
		c.queue.put(e)
		return
	}
	// A corrupt frame never arrives: it is enough to see that its checksum tells.
	if w.corrupt > 0 && c.chance.is(w.corrupt) {
		if w.travels(e) {
			w.flip(e)
		}
		c.result.Fired[Corrupt]++
		c.queue.put(e)
		return
	}
	if c.chance.next()%codecPart == 0 && w.travels(e) {
		w.overTheWire(e)
	}
	// A request that is passed on is never sent again, so it does not come twice: the second
	// would be answered in place of the first.
	passedOn := e.kind == evFrame && e.wtype == wire.TypeForward
	if w.duplicate > 0 && !passedOn && c.chance.is(w.duplicate) {
		c.result.Fired[Duplicate]++
		twin := c.queue.get(e.kind)
		messages, rests := twin.beat.Messages, twin.beat.Rests
		*twin = *e
		twin.body = append([]byte(nil), e.body...)
		twin.beat.Messages = append(messages[:0], e.beat.Messages...)
		twin.beat.Rests = append(rests[:0], e.beat.Rests...)
		c.queue.push(start+w.latency()+c.chance.skewed(time.Millisecond, lateMax), twin)
	}
	// A connection keeps the order of its frames. One that is made late stands for a frame
	// of an earlier connection, which others overtake.
	at := start + w.latency()
	if w.reorder > 0 && c.chance.is(w.reorder) {
		c.result.Fired[Reorder]++
		at += c.chance.skewed(time.Millisecond, lateMax)
	} else {
		at = max(at, w.last[from.index][to])
		w.last[from.index][to] = at
	}
	c.queue.push(at, e)
}

// travels reports whether package wire has a frame for the message. A type that raft has
// and wire does not know yet goes from node to node unencoded.
func (w *network) travels(e *event) bool {
	return e.kind != evMessage || wire.TypeOf(e.envelope.Message.Type).Known()
}

// encode writes the frame of an event.
func (w *network) encode(e *event) (wire.Type, []byte) {
	b := w.frame[:0]
	var t wire.Type
	var start int
	switch {
	case e.kind == evFrame:
		t = e.wtype
		b, start = wire.BeginFrame(b, t, 0, 0, 0)
		b = append(b, e.body...)
	case e.kind == evMessage:
		t = wire.TypeOf(e.envelope.Message.Type)
		b, start = wire.BeginFrame(b, t, 0, 0, 0)
		b = wire.AppendEnvelope(b, &e.envelope)
	case e.answer:
		t = wire.TypeBeatAnswer
		b, start = wire.BeginFrame(b, t, 0, 0, 0)
		b = wire.AppendBeatAnswer(b, &e.beat)
	default:
		t = wire.TypeBeat
		b, start = wire.BeginFrame(b, t, 0, 0, 0)
		b = wire.AppendBeat(b, &e.beat)
	}
	w.frame = wire.EndFrame(b, start)
	return t, w.frame
}

// overTheWire takes an event through the wire format, so that the receiver
// shares nothing with the sender.
func (w *network) overTheWire(e *event) {
	t, frame := w.encode(e)
	_, body, err := w.decode(frame)
	if err == nil && e.kind == evFrame {
		e.body = append(e.body[:0], body...)
	} else if err == nil && e.kind == evMessage {
		body = append([]byte(nil), body...)
		e.envelope, err = wire.ReadEnvelope(t, body, func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
			return raft.EntrySeed(g, i), true
		})
	} else if err == nil && e.answer {
		err = wire.ReadBeatAnswer(body, &e.beat)
	} else if err == nil {
		err = wire.ReadBeat(body, &e.beat)
	}
	if err != nil {
		w.c.fail("a frame of type %s does not survive its own format: %v", t, err)
	}
}

// flip flips one bit of a frame. The decoder must notice: a receiver ends the connection,
// and raft sends again.
func (w *network) flip(e *event) {
	t, frame := w.encode(e)
	bit := w.c.chance.below(8 * len(frame))
	frame[bit/8] ^= 1 << (bit % 8)
	if _, _, err := w.decode(frame); err == nil {
		w.c.fail("a frame of type %s with bit %d turned over is taken for good", t, bit)
	}
	w.decoder = wire.NewDecoder(wire.FrameMax)
}

var errShort = errors.New("the frame is not complete")

func (w *network) decode(frame []byte) (wire.Header, []byte, error) {
	w.reader.Reset(frame)
	for w.reader.Len() > 0 {
		if err := w.decoder.Fill(&w.reader); err != nil {
			return wire.Header{}, nil, err
		}
	}
	h, body, ok, err := w.decoder.Next()
	if err == nil && !ok {
		err = errShort
	}
	if err == nil && w.decoder.Buffered() > 0 {
		err = fmt.Errorf("%d bytes are left", w.decoder.Buffered())
	}
	return h, body, err
}

func messageName(t uint8) string { return raft.MessageType(t).String() }
