package node

import (
	"sync/atomic"
	"time"

	"muster/repl/wire"
)

// A client that goes on asking whatever it is answered would have all of its answers too
// late: a node serves a connection in order, so once more is asked than it can do, each
// request waits behind all before it, in this process and in the buffers of the system. The
// library's client holds back by itself (package client, pressure.go). A shedder is for
// those that don't: where the answers over a connection come late, and have done so for some
// time, the node takes no more from it than it answers in a quarter of the time that is late, and
// refuses what is beyond as soon as it is read, before its body is looked at. It goes on
// reading, so that what waits in the buffers does not grow old there.
//
// A request without a deadline is never refused: it is worth as much later, and the
// node stops reading instead, as it always did.
//
// Each connection is judged by its own answers, so a client that asks for little is not
// refused because of another's flood. Its weakness is that of the client's: a thousand
// connections with shedLeast each are 256 MB of requests. And where answers become late
// for another reason than that so many were asked for, as from a disk that has become slow,
// to take less does not make them faster: then shedLeast is what is left.
const (
	// shedLate is how long answers may take, beside twice what they take at least over
	// that connection. It is twice what the library's client bears before it holds back:
	// a node does not refuse what the client would keep to itself.
	shedLate = 500 * time.Millisecond
	// shedInterval is for how long all looks must have found answers late. After a
	// disk has stalled, or the process, all that waited is late at once, and what comes
	// next is not.
	shedInterval = 250 * time.Millisecond
	// shedLeast is what may wait over a connection in any case, in bytes as they are
	// counted: 64 small requests.
	shedLeast = 64 * requestOverhead
	// shedPart is the part of what a connection may have in flight that no limit reaches
	// into: who is refused is not kept waiting as well.
	shedPart = 8
	// shedQuiet is for how long nothing must have been refused before everything is
	// taken again.
	shedQuiet = 5 * time.Second
	// shedMemory is for about how long the rate of answers is remembered while there is a
	// limit.
	shedMemory = 2 * time.Second
	// shedRetry is after which time a client that was refused should come back.
	shedRetry = shedLate / 2
	// lookEvery is the least time between two requests that are looked at, if the first is
	// answered by then.
	lookEvery = 10 * time.Millisecond
	// lookLost is for how long a look waits for its answer, once another is due: the
	// request may be for a group that has no leader.
	lookLost = 2 * time.Second
)

// bugTakesAll is a shedder that never refuses.
const bugTakesAll = "all that comes is taken in, however late the answers are"

// shedder decides how much of what a client asks for is taken. It is the synchronous core
// of that: it knows no clock. All times are on one clock of its owner's, which never shows
// 0. It belongs to a connection; the connection's mu guards it.
type shedder struct {
	looks    [2]look
	asked    time.Duration // when the newest look began
	least    time.Duration // the shortest that an answer took; 0: none came yet
	since    time.Duration // from when on answered is counted
	answered int           // bytes of requests that were answered since then, as they are counted
	rate     float64       // of them, in bytes per second, before since
	late     time.Duration // from when on all looks were late; 0: the last was not
	limit    int           // bytes of requests that may wait for their answers; 0: any number
	changed  time.Duration // when limit was lowered
	refused  time.Duration // when the last request was
}

// look is one request whose answer is waited for.
type look struct {
	open    bool
	request uint64
	from    time.Duration // when it arrived, or the earliest that it may have
}

// due reports whether the next request is to be looked at. Two are at most: the second
// for the case that the first is never answered, and so that the answers come apart.
func (s *shedder) due(now time.Duration) bool {
	past := now - s.asked
	switch a, b := s.looks[0].open, s.looks[1].open; {
	case a && b:
		return past >= lookLost
	case a || b:
		return past >= shedInterval/2
	}
	return past >= lookEvery
}

// look begins to look at a request that arrived at from at the earliest, and was read now.
func (s *shedder) look(request uint64, from, now time.Duration) {
	i := 0
	if s.looks[0].open && (!s.looks[1].open || s.looks[1].from < s.looks[0].from) {
		i = 1
	}
	s.looks[i] = look{open: true, request: request, from: from}
	s.asked = now
}

// looksAt reports whether the answer to a request is waited for.
func (s *shedder) looksAt(request uint64) bool {
	return s.looks[0].request == request && s.looks[0].open || s.looks[1].request == request && s.looks[1].open
}

// heard takes note of the answer to a request that is looked at. most is the highest limit
// there is to be, in bytes.
func (s *shedder) heard(request uint64, now time.Duration, most int) {
	i := 0
	if !s.looks[0].open || s.looks[0].request != request {
		i = 1
	}
	takes := now - s.looks[i].from
	s.looks[i].open = false
	if other := &s.looks[1-i]; other.from < s.looks[i].from {
		other.open = false // it was overtaken: what it waits for is not the queue
	}
	if past := now - s.since; past >= shedInterval {
		rate := float64(s.answered) / past.Seconds()
		if s.limit > 0 {
			// Answers come in bursts where many connections share a node. Each span counts
			// for as much as it lasts, or the bursts would count for more than the pauses.
			part := past.Seconds() / (past + shedMemory).Seconds()
			rate = s.rate + part*(rate-s.rate)
		}
		s.rate, s.since, s.answered = rate, now, 0
	}
	if s.least == 0 || takes < s.least {
		s.least = takes
	}
	slow := shedLate + 2*s.least
	// As much as is answered in a quarter of the time keeps the node busy.
	fits := max(shedLeast, min(int(s.rate*(slow/4).Seconds()), most))
	switch {
	case takes <= slow:
		s.late = 0
		switch {
		case s.limit == 0:
		case now-s.refused >= shedQuiet:
			s.limit = 0
		case takes < slow/4:
			s.limit = max(s.limit, min(s.limit+s.limit/8, fits))
		}
	case s.late == 0:
		s.late = now
	case s.limit == 0:
		if now-s.late >= shedInterval && s.rate > 0 && !bug(bugTakesAll) {
			s.limit, s.changed = fits, now
		}
	case now-s.changed >= takes:
		// It did not suffice: to read and refuse takes too much of the node's time
		// beside what is taken, and what comes grows old before it is read.
		s.limit, s.changed = max(shedLeast, s.limit*3/4), now
	}
}

// refusing takes note that requests were refused.
func (s *shedder) refusing(now time.Duration) { s.refused = now }

// shedding is what a node's shedders share.
type shedding struct {
	refusal []byte        // set once: the body of the error that refuses
	refused atomic.Uint64 // how many requests were
	waiting atomic.Int64  // bytes in flight of requests not yet answered, of all connections
}

// rows returns what is counted.
func (s *shedding) rows() (rows []wire.CounterRow) {
	if n := s.refused.Load(); n > 0 {
		rows = append(rows, wire.CounterRow{Name: "requests refused: answers late", In: n})
	}
	return rows
}

// backlog is how old what a connection has read may be, and what its shedder is to do with
// it. The reader owns it. All times are those of the shedder.
type backlog struct {
	now    time.Duration // when the last read returned
	asked  time.Duration // when the shedder was asked whether it looks at something
	from   time.Duration // what it brought arrived then or later
	behind time.Duration // what it left in the buffers of the system waits from about then on; 0: it left nothing
	due    bool          // the shedder looks at the next request

	limited  bool   // the shedder had a limit when the read returned
	room     int    // bytes of requests that may still be taken, if limited
	refusals []byte // whole frames, not handed to the writer yet
	refused  int    // how many they are
}

// read takes note of a read that returned now. It filled the buffer or, if it is not full,
// took all that there was.
func (b *backlog) read(now time.Duration, full bool) {
	b.now, b.from = now, now
	if b.behind != 0 {
		b.from = b.behind
	}
	switch {
	case !full:
		b.behind = 0
	case b.behind == 0:
		b.behind = now
	}
}

// refuses reports whether a request is one too many, and if so adds the frame of a refusal
// with body to refusals. The shedder has a limit.
func (b *backlog) refuses(h wire.Header, body []byte) bool {
	if !sheds(h) {
		return false
	}
	if size := h.Length + requestOverhead; size <= b.room {
		b.room -= size
		return false
	}
	frame, start := wire.BeginFrame(b.refusals, wire.TypeError, 0, 0, h.Request)
	b.refusals = wire.EndFrame(append(frame, body...), start)
	b.refused++
	return true
}

// askShedder asks what is to be done with what a read brought.
func askShedder(c *connection) {
	b := &c.backlog
	b.read(sinceStart(c.node, c.readAt), c.decoder.Full())
	if !b.limited && b.now-b.asked < lookEvery {
		return
	}
	b.asked = b.now
	c.mu.Lock()
	b.due = c.shed.due(b.now)
	b.limited = c.shed.limit > 0
	b.room = c.shed.limit - (c.inflight - c.out.size - c.sending)
	c.mu.Unlock()
}

// sendRefusals hands the refusals to the writer.
func sendRefusals(c *connection) {
	b := &c.backlog
	c.node.counters.OutAll(wire.TypeError, b.refused, len(b.refusals))
	c.node.door.shedding.refused.Add(uint64(b.refused))
	c.mu.Lock()
	c.shed.refusing(b.now)
	c.hold(c.out.end(append(c.out.begin(), b.refusals...)))
	c.full = c.full || c.over()
	c.mu.Unlock()
	b.refusals, b.refused = b.refusals[:0], 0
	c.Flush()
}

// wait takes note that nothing is read for a while, from now on.
func (b *backlog) wait(now time.Duration) {
	if b.behind == 0 {
		b.behind = now
	}
}

// sinceStart is t on the clock of a node's shedders.
func sinceStart(n *Node, t time.Time) time.Duration { return t.Sub(n.started) + 1 }

// sheds reports whether a request may be refused by a shedder. Streams are not: they are
// few, and wait long.
func sheds(h wire.Header) bool {
	return h.Deadline != 0 && (h.Type == wire.TypeWrite || h.Type == wire.TypeGet || h.Type == wire.TypeList)
}

// answersLate refuses what comes over a connection whose answers are late.
func answersLate(node string) *wire.Error {
	return wire.Busy("node "+node, "its answers are late", shedRetry)
}
