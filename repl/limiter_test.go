package repl

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// limiting is a register that refuses numbers, and keeps account of what it admits.
type limiting struct {
	*register
	last   uint64
	open   map[uint64]uint64 // ticket → number: neither proposed nor withdrawn
	stands map[uint64]uint64 // index → number
	gone   int               // withdrawn
	terms  []uint64
}

// beyond is the first number that is over the limit.
const beyond = 1000

func (l *limiting) Admit(term uint64, _ time.Duration, payload []byte) (uint64, *wire.Error) {
	v := binary.LittleEndian.Uint64(payload)
	if v >= beyond {
		return 0, wire.OverLimit("number", fmt.Sprintf("it is %d", v), "take a smaller one")
	}
	l.last++
	l.open[l.last] = v
	l.terms = append(l.terms, term)
	return l.last, nil
}

func (l *limiting) Proposed(ticket, index uint64) {
	l.stands[index] = l.open[ticket]
	delete(l.open, ticket)
}

func (l *limiting) Withdrawn(ticket uint64) {
	l.gone++
	delete(l.open, ticket)
}

func (l *limiting) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	if v, ok := l.stands[e.ID.Index]; ok && v != binary.LittleEndian.Uint64(e.Payload()) {
		return 0, out, fmt.Errorf("entry %s is not %d, which the host said", e.ID, v)
	}
	return l.register.Apply(e, answer, out)
}

// A machine that limits is asked for what concerns a limit and for nothing else, before it is queued. What it
// refuses reaches no log, and it hears of each that it admits where it stands, or that it does not.
func TestLimiterIsAsked(t *testing.T) {
	c := newCluster(t, 1, 0)
	c.start(3)
	c.until("there is a leader", func() bool { return c.leader(1) != nil && c.settled() })
	n := c.leader(1)
	g := n.host.groups[1]
	m := &limiting{register: g.machine.(*register), open: map[uint64]uint64{}, stands: map[uint64]uint64{}}
	g.machine = m
	g.follow()
	say := new(toldErrors)
	propose := func(v uint64, limited bool, deadline time.Duration) {
		n.host.Propose(Proposal{Group: 1, Entry: raft.NewEntry(raft.EntryNormal, binary.LittleEndian.AppendUint64(nil, v)),
			Deadline: deadline, Reply: Reply{To: say, Request: v}, Limited: limited})
	}
	propose(1, true, 0)
	propose(beyond, true, 0)
	propose(beyond+1, false, 0)
	propose(2, true, 0)
	if len(m.open) != 2 || say.errors[beyond] == nil || say.errors[beyond].Code != wire.CodeOverLimit {
		t.Fatalf("%d are admitted, and the refused one is told %v", len(m.open), say.errors[beyond])
	}
	n.turn()
	if len(m.open) != 0 || len(m.stands) != 2 || m.gone != 0 {
		t.Fatalf("of two that were admitted %d stand in the log, %d are open", len(m.stands), len(m.open))
	}
	c.until("they are applied", c.settled)
	for index, v := range m.stands {
		if got := m.history; len(got) < 3 {
			t.Errorf("number %d at %d: there is %v", v, index, got)
		}
	}
	for _, term := range m.terms {
		if term != g.state.Term {
			t.Errorf("asked in term %d, it is %d", term, g.state.Term)
		}
	}
	// Time is over before the queue is looked at.
	propose(3, true, n.host.now+1)
	n.host.now += 2
	g.commands.expire()
	if m.gone != 1 || len(m.open) != 0 || say.errors[3] == nil {
		t.Errorf("%d are withdrawn, %d open, and the client was told %v", m.gone, len(m.open), say.errors[3])
	}
}

// toldErrors are what was refused.
type toldErrors struct{ errors map[uint64]*wire.Error }

func (s *toldErrors) Answer(r Reply, t wire.Type, body []byte) bool {
	if t == wire.TypeError {
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			panic(err)
		}
		if s.errors == nil {
			s.errors = map[uint64]*wire.Error{}
		}
		s.errors[r.Request] = e
	}
	return false
}

func (s *toldErrors) Flush() {}
