package repl

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// readers asks a cluster's nodes for what group 1 has, and compares the answers with what
// was acknowledged.
type readers struct {
	c        *cluster
	writes   uint64
	acked    []uint64                 // values, in the order in which they were acknowledged
	ackedAt  map[uint64]time.Duration // by value, on the cluster's clock
	asked    map[uint64]bool          // reads that are not answered
	reads    uint64
	answered int // with what the group had
	refused  int
	missing  string // what an answer should have had, of the first that had not
}

func newReaders(c *cluster) *readers {
	return &readers{c: c, ackedAt: map[uint64]time.Duration{}, asked: map[uint64]bool{}}
}

// write has the leader write the next value; it is known later when that was acknowledged.
func (w *readers) write(n *testNode) uint64 {
	w.writes++
	w.c.propose(n, 1, w.writes)
	return w.writes
}

// step lets one thing happen in the cluster, and notes what was acknowledged by it.
func (w *readers) step() {
	w.c.step()
	for v := range w.c.acked {
		if _, known := w.ackedAt[v]; !known {
			w.ackedAt[v] = w.c.now
			w.acked = append(w.acked, v)
		}
	}
}

// until steps until something is so.
func (w *readers) until(what string, ok func() bool) {
	w.c.t.Helper()
	w.c.until(what, func() bool {
		w.step()
		return ok()
	})
}

// acknowledged has a value written by whoever leads, other than a node, and waits until
// it is acknowledged.
func (w *readers) acknowledged(other *testNode) uint64 {
	w.c.t.Helper()
	value := uint64(0)
	w.until("a write is acknowledged", func() bool {
		for _, n := range w.c.nodes {
			if n == other || n.host == nil || n.replica() == nil || n.replica().role != raft.RoleLeader {
				continue
			}
			if value == 0 || !n.asked(1, value) {
				value = w.write(n)
			}
		}
		return w.c.acked[value]
	})
	return value
}

// view is a query that came when so many writes were acknowledged. All that were more than
// stale before must be in its answer.
type view struct {
	of    *readers
	stale time.Duration
	came  time.Duration // on the cluster's clock
	acked int
}

func (q *view) Run(state StateMachine, _ raft.LogID, r Reply) bool {
	has := state.(*register).history
	for _, v := range q.of.acked[:q.acked] {
		at := q.of.ackedAt[v]
		if (q.stale == 0 || at < q.came-q.stale) && !slices.Contains(has, v) && q.of.missing == "" {
			q.of.missing = fmt.Sprintf("read %d, at most %s old, came at %s and has not got %d, which was acknowledged at %s", r.Request, q.stale, q.came, v, at)
		}
	}
	return r.To.Answer(r, wire.TypeGetAnswer, nil)
}

func (w *readers) Answer(r Reply, t wire.Type, _ []byte) bool {
	if !w.asked[r.Request] {
		w.c.t.Fatalf("read %d is answered, though nobody waits for it", r.Request)
	}
	delete(w.asked, r.Request)
	if t == wire.TypeGetAnswer {
		w.answered++
	} else {
		w.refused++
	}
	return false
}

func (w *readers) Flush() {}

// read asks a node for an answer that is at most stale old.
func (w *readers) read(n *testNode, stale time.Duration) (request uint64) {
	w.reads++
	w.asked[w.reads] = true
	n.host.Read(Read{Group: 1, AnyReplica: true, Stale: stale, Reply: Reply{To: w, Request: w.reads}, Query: &view{w, stale, w.c.now, len(w.acked)}})
	n.turn()
	return w.reads
}

// readNow asks a node that is told nothing meanwhile, and reports whether it answered.
func (w *readers) readNow(n *testNode, stale time.Duration) (answered bool) {
	before := w.answered
	w.read(n, stale)
	return w.answered > before
}

// follower returns a node that follows in group 1, once it has been confirmed that it may
// answer.
func (w *readers) follower() *testNode {
	w.c.t.Helper()
	w.until("group 1 is led", func() bool { return w.c.leader(1) != nil })
	f := w.c.nodes[w.c.leader(1).id%3]
	request := uint64(0)
	w.until("the follower answers", func() bool {
		if !w.asked[request] && w.answered == 0 && f.replica().lead != 0 {
			request = w.read(f, 0)
		}
		return w.answered > 0
	})
	return f
}

// pass lets a node's time go on in ticks, while it hears nothing.
func (w *readers) pass(n *testNode, d time.Duration) {
	for range d / waitTick {
		w.c.now += waitTick
		n.host.Tick()
		n.turn()
	}
}

// A follower that is cut off answers reads that may be old as long as it knows that it can,
// and no longer: what the others acknowledge meanwhile it can't know of. That holds while it
// still takes the leader for one, and after.
func TestBoundedReadsOfAFollowerThatIsCutOff(t *testing.T) {
	w := newReaders(newCluster(t, 1, 3))
	c := w.c
	c.nodes[1].ahead, c.nodes[2].ahead = 50*time.Hour, 100*time.Hour
	w.acknowledged(nil)
	f := w.follower()
	confirmed := f.replica().reads.confirmed.asked.at - f.ahead
	c.alone(f)
	w.acknowledged(f)
	if age := c.now - confirmed; w.readNow(f, age-1) || !w.readNow(f, age) {
		t.Errorf("the confirmation is %s old: want answers that may be so old, and none that must be newer", age)
	}
	w.pass(f, time.Hour)
	w.until("it knows no leader any more", func() bool { return f.replica().lead == 0 })
	age := c.now - confirmed
	refused := w.refused
	if w.readNow(f, age-1) || w.refused != refused+1 {
		t.Errorf("without a leader a read of at most %s is not refused; the confirmation is %s old", age-1, age)
	}
	if !w.readNow(f, age) || w.readNow(f, 0) {
		t.Errorf("without a leader, want an answer that is %s old, and none that is linearizable", age)
	}
	if w.missing != "" {
		t.Error(w.missing)
	}
}

// staleByAnswer holds back the leader's answer to a follower's question, has others write,
// and asks for what is newer than the question when the answer comes. It returns what is
// wrong.
func staleByAnswer(t *testing.T) string {
	w := newReaders(newCluster(t, 2, 3))
	c := w.c
	f := w.follower()
	request := w.read(f, 0)
	asked := c.now
	var held []packet
	w.until("the leader answers", func() bool {
		for i, p := range c.net {
			if p.to == f.id && p.envelope != nil && p.envelope.Message.Type == raft.MsgReadIndexAnswer && !p.envelope.Message.Reject {
				held = append(held, p)
				c.net = slices.Delete(c.net, i, i+1)
				return true
			}
		}
		return false
	})
	c.alone(f)
	c.now += time.Minute
	w.acknowledged(f)
	lead := held[0].from
	clear(c.cut)
	c.net = nil
	c.deliver(held[0])
	if w.asked[request] || w.missing != "" {
		t.Fatalf("the read is not answered: %s", w.missing)
	}
	c.alone(f)
	if w.readNow(f, c.now-asked-1) {
		return fmt.Sprintf("the answer of node %d came %s after the question, and a read that may be less old is answered: %s", lead, c.now-asked, w.missing)
	}
	if !w.readNow(f, c.now-asked) || w.missing != "" {
		t.Fatalf("a read that may be as old as the question is not answered: %s", w.missing)
	}
	return ""
}

// How old an answer may be counts from the question, not from when its answer came: the
// leader's word is from before it left.
func TestStalenessCountsFromTheQuestion(t *testing.T) {
	if wrong := staleByAnswer(t); wrong != "" {
		t.Error(wrong)
	}
}

// A replica that was opened anew has no confirmation, whatever is in its log: its clock
// began anew too, and nobody knows what the others did meanwhile.
func TestBoundedReadsAfterARestart(t *testing.T) {
	w := newReaders(newCluster(t, 3, 3))
	w.acknowledged(nil)
	f := w.follower()
	f.stop()
	w.acknowledged(f)
	f.start()
	w.c.alone(f)
	if w.readNow(f, 100*time.Hour) {
		t.Error("a replica that was just opened answers without asking")
	}
	clear(w.c.cut)
	w.until("it is answered in the end", func() bool { return w.answered > 1 || len(w.asked) == 0 })
	if w.missing != "" {
		t.Error(w.missing)
	}
}

// A group that rests is not woken by reads that are answered by what was confirmed before,
// and nobody is sent anything. The first that may not be that old wakes it. The leader does
// as a follower does.
func TestBoundedReadsLeaveAGroupAtRest(t *testing.T) {
	w := newReaders(newCluster(t, 4, 3))
	c := w.c
	w.acknowledged(nil)
	f := w.follower()
	led := c.leader(1)
	request := w.read(led, 0)
	w.until("the leader answers", func() bool { return !w.asked[request] })
	w.until("all rest", c.resting)
	c.now += time.Minute
	for _, n := range []*testNode{f, led} {
		c.net = nil
		if !w.readNow(n, 10*time.Minute) || !n.replica().resting.quiet || len(c.net) > 0 {
			t.Errorf("node %d: quiet %t, %d messages; want an answer that is made of nothing but what is here", n.id, n.replica().resting.quiet, len(c.net))
		}
		before := w.answered
		w.read(n, time.Second)
		w.until("one that must be newer is answered", func() bool { return w.answered > before })
		w.until("all rest", c.resting)
	}
	if w.missing != "" {
		t.Error(w.missing)
	}
}

// Reads that come while a question is on its way wait for its answer, if the question is
// new enough, and have another one asked if not. A log id that the confirmation does not
// have is none that nobody gave: it may be newer than the confirmation.
func TestBoundedReadsShareAQuestion(t *testing.T) {
	w := newReaders(newCluster(t, 5, 3))
	c := w.c
	w.acknowledged(nil)
	f := w.follower()
	c.now += time.Minute
	c.alone(f)
	for range 5 {
		w.read(f, time.Second)
	}
	if n := len(f.replica().reads.unconfirmed); n != 1 {
		t.Errorf("%d questions for 5 reads that one can answer", n)
	}
	c.now += 10 * time.Second
	w.read(f, time.Second)
	w.read(f, 11*time.Second)
	if n := len(f.replica().reads.unconfirmed); n != 2 {
		t.Errorf("%d questions, want a second one for the read that must be newer", n)
	}
	if err := CheckHost(f.host); err != nil {
		t.Error(err)
	}
	clear(c.cut)
	w.until("all are answered", func() bool { return len(w.asked) == 0 })

	w.acknowledged(nil)
	w.until("all have all", c.settled)
	at := f.replica().applied.Index
	known := f.replica().reads.confirmed.index
	if known >= at {
		t.Fatalf("index %d is confirmed, %d is applied: it shows nothing", known, at)
	}
	var s said
	for i, after := range []uint64{known, at, at + 1} {
		f.host.Read(Read{Group: 1, AnyReplica: true, Stale: time.Hour, After: after, Reply: Reply{To: &s, Request: uint64(i)}, Query: anything{}})
	}
	f.turn()
	if a, b, c := s.to(0), s.to(1), s.to(2); a != "GetAnswer" || b != "GetAnswer" || c != "" {
		t.Errorf("after what is confirmed, what is applied, and more: %q, %q, %q", a, b, c)
	}
	w.until("the last one is answered", func() bool { return s.to(2) != "" })
	if got := s.to(2); got != "bad-request" {
		t.Errorf("a log id that there is not is answered %q", got)
	}
	f.host.Read(Read{Group: 1, Stale: time.Hour, Reply: Reply{To: &s, Request: 9}, Query: anything{}})
	if got := s.to(9); got != "not-leader" {
		t.Errorf("a follower that may not answer says %q", got)
	}
	if w.missing != "" {
		t.Error(w.missing)
	}
}

// While a machine is suspended its clock stands still. A confirmation from before is then
// older than the clock says, and answers nothing any more.
func TestBoundedReadsAfterASleep(t *testing.T) {
	w := newReaders(newCluster(t, 6, 3))
	w.acknowledged(nil)
	f := w.follower()
	w.c.alone(f)
	before := w.c.now
	w.acknowledged(f)
	w.c.now += time.Hour
	f.ahead -= w.c.now - before // its clock stood still
	f.host.Clock.Slept()
	if w.readNow(f, 10*time.Second) {
		t.Errorf("an answer from before the sleep: %s", w.missing)
	}
	clear(w.c.cut)
	w.until("it is answered in the end", func() bool { return len(w.asked) == 0 })
	if !w.readNow(f, time.Minute) || w.missing != "" {
		t.Errorf("what was confirmed after the sleep is not used; %s", w.missing)
	}
}

// The wall clock tells that the monotonic one stood still. One that is corrected a little,
// or set back, says nothing of that kind.
func TestSleepIsNoticed(t *testing.T) {
	const s = time.Second
	var w sleeps
	var wall, mono time.Duration
	for _, step := range []struct {
		name       string
		wall, mono time.Duration // since the last look
		slept      bool
	}{
		{"a turn", 3 * time.Microsecond, 3 * time.Microsecond, false},
		{"a correction", s + sleepMin - 1, s, false},
		{"set back", -s, s, false},
		{"and on from there", s, s, false},
		{"suspended", 100 * s, s, true},
		{"and on", s, s, false},
		{"for a moment", s + sleepMin, s, true},
		{"set forward, which can't be told from it", 3600 * s, s, true},
	} {
		wall, mono = wall+step.wall, mono+step.mono
		if got := w.look(wall, mono); got != step.slept {
			t.Errorf("%s: slept %t, want %t", step.name, got, step.slept)
		}
	}
}

// Whatever is lost, cut, crashes and comes back, and whoever leads: no answer lacks what
// was acknowledged as long before the read as the read asked for, and for a read that may
// not be old, before it. It returns what is wrong, and counts what was answered.
func readRun(t *testing.T, seed uint64) (w *readers, wrong string) {
	c := newCluster(t, seed, 3)
	c.policy = eager
	w = newReaders(c)
	for i, n := range c.nodes {
		n.ahead = time.Duration(i) * 50 * time.Hour
	}
	c.loss = c.rnd.IntN(3) * 5
	for range 2500 {
		n := c.nodes[c.rnd.IntN(3)]
		switch k := c.rnd.IntN(1000); {
		case k < 60:
			if lead := c.leader(1); lead != nil {
				w.write(lead)
			}
		case k < 200:
			if n.host != nil && n.host.groups[1] != nil {
				stale := []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, time.Second, 10 * time.Second}[c.rnd.IntN(5)]
				w.read(n, stale)
			}
		case k < 202:
			if n.host != nil {
				n.crash()
			}
		case k < 208:
			if n.host == nil {
				n.start()
			}
		case k < 212:
			a, b := raft.NodeID(c.rnd.IntN(3)+1), raft.NodeID(c.rnd.IntN(3)+1)
			c.cut[[2]raft.NodeID{a, b}] = true
		case k < 214:
			c.alone(n)
		case k < 220:
			clear(c.cut)
		case k < 222:
			c.now += time.Duration(c.rnd.IntN(2000)) * time.Millisecond // nobody runs
		default:
			for range 10 {
				w.step()
			}
		}
		if w.missing != "" {
			return w, fmt.Sprintf("seed %d: %s", seed, w.missing)
		}
	}
	return w, ""
}

func TestBoundedReadsUnderFaults(t *testing.T) {
	answered, installs := 0, 0
	for seed := range uint64(*seeds) {
		w, wrong := readRun(t, seed)
		if wrong != "" {
			t.Fatal(wrong)
		}
		answered += w.answered
		installs += w.c.installs
	}
	if answered < 20**seeds || installs == 0 {
		t.Errorf("%d reads were answered in %d runs, %d states came from other nodes; the test shows nothing", answered, *seeds, installs)
	}
	t.Logf("%d reads answered, %d states installed", answered, installs)
}
