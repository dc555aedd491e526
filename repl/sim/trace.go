package sim

import (
	"fmt"
	"strings"
	"time"
)

// line is one event of the trace, so small that keeping the last few hundred of each run
// costs next to nothing.
type line struct {
	step       uint64
	at         time.Duration
	kind       eventKind
	node, from int32
	detail     uint8 // type of a message
	group      uint16
	term       uint64
	index      uint64
	note       string
}

const traceLines = 400

// trace is the hash of all events of a run, and the last of them.
type trace struct {
	hash  uint64
	step  uint64
	lines [traceLines]line
	next  int
}

const traceKey = `step  number of the event in this run
time  seconds since the run began
what  kind of event (event.go), or a note of the simulator's own after "--"
node  to whom it happens: n1, n2, … a process; c1, c2, … a client
from  who sent it
more  for messages: type, group/term.index of the log id it names`

func (t *trace) mix(v uint64) {
	t.hash = (t.hash ^ v) * 0x9fb21c651e98df25
	t.hash ^= t.hash >> 29
}

func (t *trace) event(at time.Duration, e *event) {
	t.step++
	m := &e.envelope.Message
	t.mix(uint64(at))
	t.mix(uint64(e.kind) | uint64(e.node)<<8 | uint64(e.from)<<16 | uint64(m.Type)<<24 | uint64(e.envelope.Group)<<32)
	t.mix(m.Term ^ m.Log.Index<<20 ^ uint64(len(e.beat.Messages))<<50 ^ e.number<<7)
	l := &t.lines[t.next]
	t.next = (t.next + 1) % traceLines
	l.step, l.at, l.kind, l.node, l.from, l.note = t.step, at, e.kind, e.node, e.from, ""
	l.detail, l.group, l.term, l.index = uint8(m.Type), uint16(e.envelope.Group), m.Term, m.Log.Index
	if e.client != nil {
		l.node = -int32(e.client.id)
	}
}

// note adds a remark of the simulator's own, which is not an event.
func (t *trace) note(at time.Duration, node int, text string) {
	for i := 0; i < len(text); i++ {
		t.mix(uint64(text[i]))
	}
	l := &t.lines[t.next]
	t.next = (t.next + 1) % traceLines
	*l = line{step: t.step, at: at, node: int32(node), note: text}
}

func party(n int32) string {
	switch {
	case n > 0:
		return fmt.Sprintf("n%d", n)
	case n < 0:
		return fmt.Sprintf("c%d", -n)
	}
	return "-"
}

func (l *line) String() string {
	if l.note != "" {
		return fmt.Sprintf("%8d %11.6f -- %s: %s", l.step, l.at.Seconds(), party(l.node), l.note)
	}
	s := fmt.Sprintf("%8d %11.6f %-9s %s", l.step, l.at.Seconds(), eventNames[l.kind], party(l.node))
	if l.from != 0 {
		s += " from " + party(l.from)
	}
	if l.kind == evMessage {
		s += fmt.Sprintf(" %s g%d/%d.%d", messageName(l.detail), l.group, l.term, l.index)
	}
	return s
}

// last returns the last events, one line each, without ticks and heartbeats, which are the
// most and say the least.
func (t *trace) last(n int) string {
	var kept []string
	for i := 1; i <= traceLines && len(kept) < n; i++ {
		l := &t.lines[(t.next+2*traceLines-i)%traceLines]
		if l.at == 0 && l.step == 0 || l.note == "" && (l.kind == evTick || l.kind == evBeat || l.kind == evListen) {
			continue
		}
		kept = append(kept, l.String())
	}
	var b strings.Builder
	b.WriteString(traceKey)
	b.WriteString("\n")
	for i := len(kept) - 1; i >= 0; i-- {
		b.WriteString(kept[i])
		b.WriteString("\n")
	}
	return b.String()
}
