package node

import (
	"fmt"
	"testing"
	"time"

	"muster/repl/wire"
)

// shedWorld is a connection with a server behind it that takes turns of a millisecond. What
// comes waits in the buffers of the system until it is read; what was read waits for the
// server, which does so much in each turn: a unit for a request that is served, in order, and
// a part of one for one that is refused. It has the shedder's view on a clock that only it
// moves.
type shedWorld struct {
	shedder
	backlog backlog
	now     time.Duration
	system  []shedRequest // not read yet
	queue   []shedRequest // read, and taken
	next    uint64
	work    float64 // that may be done by now
	stuck   bool    // what comes is for a group without leader, and is not answered

	inTime, refusals int
}

type shedRequest struct {
	number uint64
	at     time.Duration
	stuck  bool
}

const (
	// shedServed is how many requests the server of a shedWorld serves in a millisecond, and
	// shedCost what a refusal costs of one that is served.
	shedServed = 20
	shedCost   = 0.05
	// shedRead is how many requests one read brings at most, and shedBuffered how many fit
	// into the buffers of the system; a client that finds them full drops what is due.
	shedRead     = 256
	shedBuffered = 40_000
	// shedPatience is how long a client waits.
	shedPatience = time.Second
	shedSize     = requestOverhead + 200
)

func newShedWorld() *shedWorld { return &shedWorld{now: 1} }

// turn lets a millisecond pass, in which asked requests come and power of the server's
// work is done.
func (w *shedWorld) turn(asked int, power float64) {
	w.now += time.Millisecond
	w.work += power * shedServed
	for range min(asked, shedBuffered-len(w.system)) {
		w.next++
		w.system = append(w.system, shedRequest{w.next, w.now, w.stuck})
	}
	for len(w.system) > 0 && w.work > 0 {
		if w.limit == 0 && len(w.queue)*shedSize > defaultLimits().inflightBytes {
			w.backlog.wait(w.now)
			break
		}
		n := min(len(w.system), shedRead)
		w.backlog.read(w.now, n == shedRead)
		due := w.due(w.now)
		for _, r := range w.system[:n] {
			switch {
			case w.limit > 0 && (len(w.queue)+1)*shedSize > w.limit:
				w.refusing(w.now)
				w.refusals++
				w.work -= shedCost
				continue
			case due:
				due = false
				w.look(r.number, w.backlog.from, w.now)
			}
			if !r.stuck {
				w.queue = append(w.queue, r)
			}
		}
		w.system = w.system[n:]
	}
	for ; w.work >= 1 && len(w.queue) > 0; w.work-- {
		r := w.queue[0]
		w.queue = w.queue[1:]
		w.answered += shedSize
		if w.looksAt(r.number) {
			w.heard(r.number, w.now, defaultLimits().inflightBytes)
		}
		if w.now-r.at <= shedPatience {
			w.inTime++
		}
	}
	if len(w.queue) == 0 {
		w.work = min(w.work, 0) // time that is not used is not saved up
	}
}

// floodRun asks a server for five times of what it can do, for ten seconds, then for a
// third of that. It returns what went wrong.
func floodRun() (wrong string) {
	const seconds = 10
	w := newShedWorld()
	for range 1000 {
		w.turn(shedServed/2, 1)
	}
	if w.refusals > 0 {
		return fmt.Sprintf("%d of half of what can be done are refused", w.refusals)
	}
	w.inTime = 0
	for range seconds * 1000 {
		w.turn(5*shedServed, 1)
	}
	if least := seconds * 1000 * shedServed * 7 / 10; w.inTime < least {
		return fmt.Sprintf("%d were answered in time; want %d at least", w.inTime, least)
	}
	for range 7000 {
		w.turn(shedServed/3, 1)
	}
	before := w.refusals
	for range 1000 {
		w.turn(shedServed/3, 1)
	}
	if w.refusals > before || w.limit != 0 {
		return fmt.Sprintf("7 s after the flood %d more are refused, the limit is %d", w.refusals-before, w.limit)
	}
	return ""
}

// Most of what can be done must be done in time, whatever is asked: four refusals for each
// answer take a fifth of the time, and the rest must not go to answers that come too late.
// One would doubt it, because what waits in the buffers of the system is more than a second
// of work, and no limit of the node counts it.
func TestShedderFlood(t *testing.T) {
	if wrong := floodRun(); wrong != "" {
		t.Error(wrong)
	}
}

// What is late for another reason than a queue must not be taken for one: a disk that stalls
// for seconds and answers all at once, and a group that answers nothing.
func TestShedderIsPatient(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *shedWorld)
	}{
		{"stall", func(w *shedWorld) {
			for range 5 {
				for range 2000 {
					w.turn(1, 0)
				}
				for range 2000 {
					w.turn(1, 1)
				}
			}
		}},
		{"a group that is stuck, beside one that is not", func(w *shedWorld) {
			for i := range 20_000 {
				w.stuck = i%2 == 0
				w.turn(shedServed/2, 1)
			}
		}},
		{"a burst that is done within its time", func(w *shedWorld) {
			for range 5 {
				w.turn(200*shedServed, 1)
				for range 2000 {
					w.turn(1, 1)
				}
			}
		}},
	} {
		w := newShedWorld()
		for range 1000 {
			w.turn(shedServed/2, 1)
		}
		tt.do(w)
		if w.refusals > 0 || w.limit != 0 {
			t.Errorf("%s: %d requests refused, the limit is %d; want none", tt.name, w.refusals, w.limit)
		}
	}
}

// Groups that answer nothing must not hide a flood: looks at their requests are given up.
func TestShedderBesideStuckGroup(t *testing.T) {
	w := newShedWorld()
	for i := range 20_000 {
		w.stuck = i%500 == 0 // each is looked at, if any is
		w.turn(5*shedServed, 1)
	}
	if w.limit == 0 {
		t.Errorf("%d requests wait, and nothing is refused", len(w.queue))
	}
}

// What a reader leaves in the buffers of the system is as old as the reader is behind; what
// it finds after it has taken all is new.
func TestBacklog(t *testing.T) {
	var b backlog
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for i, step := range []struct {
		now, from int // ms
		full      bool
		waits     int // ms, before the read; 0: it does not
	}{
		{now: 10, from: 10},
		{now: 20, from: 20, full: true},
		{now: 30, from: 20, full: true},
		{now: 500, from: 20, full: true, waits: 40},
		{now: 510, from: 20},
		{now: 520, from: 520},
		{now: 900, from: 530, waits: 530},
		{now: 910, from: 910},
	} {
		if step.waits > 0 {
			b.wait(ms(step.waits))
		}
		b.read(ms(step.now), step.full)
		if b.from != ms(step.from) {
			t.Errorf("step %d: what is read at %d ms is from %v, want %d ms", i, step.now, b.from, step.from)
		}
	}
}

// What is refused must say so as any refusal does, come to be counted, and leave the
// connection as it was; and what has no deadline must be served all the same.
func TestShedRefusal(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	if _, err := s.set("{shed}", "first"); err != nil {
		t.Fatal(err)
	}
	c := r.otherEnd(s)
	c.mu.Lock()
	c.shed.limit = 1 // nothing fits
	c.mu.Unlock()
	body := write(setCommand("{shed}", "refused"))
	var refusal wire.Error
	until(t, "a set with a deadline is refused", func() error {
		s.request++
		b, start := wire.BeginFrame(nil, wire.TypeWrite, 0, 1000, s.request)
		if _, err := s.Write(wire.EndFrame(append(b, body...), start)); err != nil {
			return err
		}
		h, answer, err := s.read()
		if err != nil {
			return err
		}
		if h.Type != wire.TypeError || h.Request != s.request {
			return fmt.Errorf("request %d is answered by %s under %d", s.request, h.Type, h.Request)
		}
		return refusal.Read(answer)
	})
	if refusal.Code != wire.CodeBusy || refusal.RetryAfterMs != uint32(shedRetry.Milliseconds()) {
		t.Errorf("refused with %v, retry after %d ms; want busy, after %v", &refusal, refusal.RetryAfterMs, shedRetry)
	}
	if rows := r.node.door.shedding.rows(); len(rows) != 1 || rows[0].In != 1 {
		t.Errorf("counted as %v, want 1 refused", rows)
	}
	if _, err := s.set("{shed}", "last"); err != nil {
		t.Errorf("a set without a deadline: %v", err)
	}
	if got, err := s.get("{shed}"); err != nil || len(got) != 1 || got[0] != "last" {
		t.Errorf("read %q, %v; want the last set", got, err)
	}
	s.Close()
	r.idle()
}
