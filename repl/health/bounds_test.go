package health

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// calmWorld is one in which nothing goes wrong by itself, with all statuses true.
func calmWorld(t *testing.T, seed uint64, nodes, groups int, fill func(w *world)) *world {
	w := newWorld(t, seed, nodes, groups)
	w.calm = true
	w.run(2 * time.Second) // each sees the others
	fill(w)
	w.until("each status is the truth", 20*time.Second, w.allTrue)
	return w
}

// checks returns the checks that a node runs.
func (n *node) checks() (all []*checking) {
	for _, h := range n.checker.groups {
		for _, k := range h.checks {
			all = append(all, k)
		}
	}
	return all
}

// A status follows the truth within an interval for each result of the threshold and one
// second more, and one probe's time if the target hangs.
func TestStatusFollowsTruth(t *testing.T) {
	for seed := range uint64(20) {
		w := calmWorld(t, seed, 3, 2, func(w *world) {
			w.set("a", "tcp", 500, 2)
			w.set("b", "tcp", 2000, 4)
			w.set("c", "custom", 1000, 2)
			w.set("d", "ttl", 1000, 2)
		})
		for _, step := range []struct{ up, hangs bool }{{false, false}, {true, false}, {true, true}, {true, false}} {
			w.run(FlapWindow)
			began, late := w.now, map[string]time.Duration{}
			for _, name := range w.names {
				for _, inst := range w.records[name].service.Instances {
					w.turn(inst.ID, step.up, step.hangs)
					spec, _ := inst.Spec(w.records[name].service)
					n := spec.Rise
					if !step.up || step.hangs {
						n = spec.Fall
					}
					most := spec.Interval*time.Duration(n) + time.Second
					if step.hangs {
						most += spec.Timeout
					}
					late[inst.ID] = began + most
				}
			}
			w.until("all is true", 20*time.Second, func() string {
				why := w.allTrue()
				for _, name := range w.names {
					for _, inst := range w.records[name].service.Instances {
						tg := w.truth[inst.ID]
						if right := (inst.Status == registry.Up) == (tg.up && !tg.hangs); !right && w.now > late[inst.ID] {
							w.fail("%s is still %d", inst.ID, inst.Status)
						}
					}
				}
				return why
			})
		}
	}
}

// The node that runs a check dies. Others know within 3 s of its last answer, even those that
// still take it for alive, and nothing that is up is reported down.
func TestTakeover(t *testing.T) {
	for seed := range uint64(20) {
		w := calmWorld(t, seed, 4, 1, func(w *world) { w.set("a", "tcp", 300, 12) })
		leader := w.groups[0].leader
		var victim *node
		for _, n := range w.nodes {
			if n != leader && n.checker.checks > 0 {
				victim = n
			}
		}
		if victim == nil {
			continue
		}
		downs := w.downs
		w.run(time.Duration(w.rnd.IntN(1000)) * time.Millisecond)
		victim.up, victim.upAt = false, never
		for _, n := range w.nodes {
			n.viewAt = never // nobody hears that it is dead
		}
		w.until("others check", 3*time.Second, func() string {
			have := 0
			for _, n := range w.nodes {
				if n != victim {
					have += n.checker.checks
				}
			}
			if have != 12 {
				return fmt.Sprintf("%d checks run", have)
			}
			return ""
		})
		w.run(5 * time.Second)
		if w.downs != downs {
			t.Fatalf("seed %d: %d reports of down", seed, w.downs-downs)
		}
	}
}

// killedMax is how long it takes until others check what a node did that was killed, from when
// there is a leader: the poll that it held ends, the next one is refused, and a third arrives
// elsewhere.
const killedMax = 150 * time.Millisecond

// A process is killed: its connections break, so others check at once. And a new leader
// that takes the one before for alive gives it nothing, as it does not answer.
func TestTakeoverOfKilled(t *testing.T) {
	for seed := range uint64(20) {
		w := calmWorld(t, seed, 4, 2, func(w *world) { w.set("a", "tcp", 300, 8); w.set("b", "tcp", 300, 8) })
		w.refuses = true
		victim := w.groups[0].leader
		for _, n := range w.nodes {
			n.viewAt = never // nobody hears that it is dead
		}
		w.run(time.Duration(w.rnd.IntN(1000)) * time.Millisecond)
		w.die(victim)
		victim.upAt = never
		others := func() string {
			have := 0
			for _, n := range w.nodes {
				for _, k := range n.checks() {
					if n != victim && k.held.leader == k.held.groupOf(w).leader.id {
						have++
					}
				}
			}
			if have != 16 {
				return fmt.Sprintf("%d checks run", have)
			}
			return ""
		}
		w.until("there are leaders", 3*time.Second, func() string {
			if w.groups[0].leader == nil || w.groups[1].leader == nil {
				return "there is none"
			}
			return ""
		})
		w.until("others check", killedMax, others)
	}
}

// A status follows the truth within the same time when a node that checks is killed, just before
// the truth changes or while its checker counts, and when it comes back while another counts.
// What a node had counted that led as well is lost with it: of such a one it holds when it dies
// as the truth changes.
func TestStatusFollowsTruthOverKill(t *testing.T) {
	for seed := range uint64(40) {
		w := calmWorld(t, seed, 3, 1, func(w *world) { w.set("a", "tcp", 500, 8); w.set("b", "tcp", 2000, 8) })
		w.refuses = true
		w.run(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
		victim := w.nodes[w.rnd.IntN(len(w.nodes))]
		kill := func() {
			leads := w.groups[0].leader == victim
			w.die(victim)
			if victim.upAt = never; leads {
				w.groups[0].electAt = w.now + 200*time.Millisecond
			}
		}
		if w.groups[0].leader == victim {
			kill()
		} else {
			w.after(time.Duration(w.rnd.IntN(6000))*time.Millisecond, kill)
		}
		w.follows(seed, false)
		w.run(FlapWindow)
		victim.upAt = w.now + time.Duration(w.rnd.IntN(4000))*time.Millisecond
		w.follows(seed, true)
	}
}

// follows has all targets go up or down, and wants the statuses to follow in time.
func (w *world) follows(seed uint64, up bool) {
	w.t.Helper()
	began := w.now
	for _, name := range w.names {
		for _, inst := range w.records[name].service.Instances {
			w.turn(inst.ID, up, false)
		}
	}
	w.until("all is true", 20*time.Second, func() string {
		for _, name := range w.names {
			for _, inst := range w.records[name].service.Instances {
				spec, _ := inst.Spec(w.records[name].service)
				n := spec.Fall
				if up {
					n = spec.Rise
				}
				if right := (inst.Status == registry.Up) == w.truth[inst.ID].up; !right && w.now > began+spec.Interval*time.Duration(n)+time.Second {
					w.fail("seed %d: %s is still %d after %v", seed, inst.ID, inst.Status, w.now-began)
				}
			}
		}
		return w.allTrue()
	})
}

// groupOf returns the group in the world.
func (h *held) groupOf(w *world) *group { return w.groups[h.group-1] }

// All nodes stop and start again, some later than others. What is up stays so, what programs
// no node has told of yet included, and nothing at all is reported.
func TestStartOfAllNodes(t *testing.T) {
	for seed := range uint64(20) {
		w := calmWorld(t, seed, 3, 3, func(w *world) {
			w.set("a", "tcp", 300, 4)
			w.set("b", "custom", 400, 3)
			w.set("c", "ttl", 1000, 2)
		})
		reports := w.reports
		for _, n := range w.nodes {
			w.die(n)
			n.upAt = w.now + time.Duration(w.rnd.IntN(15_000))*time.Millisecond
		}
		w.run(40 * time.Second)
		if why := once(w); why != "" {
			t.Fatalf("seed %d: %s", seed, why)
		}
		if w.reports != reports {
			for _, l := range w.log {
				t.Log(l)
			}
			t.Fatalf("seed %d: %d reports", seed, w.reports-reports)
		}
	}
}

// An instance is down, all nodes stop, and it comes back before they do. That it was down for
// long enough by the records does not have it deregistered: it is looked at first.
func TestNotGoneUnseen(t *testing.T) {
	for seed := range uint64(10) {
		w := calmWorld(t, seed, 3, 2, func(w *world) {
			w.set("a", "tcp", 500, 4, "deregister_after", fmt.Sprint(deregisterAfter.Milliseconds()))
		})
		w.turn("a-1", false, false)
		w.until("it is down", 5*time.Second, w.allTrue)
		for _, n := range w.nodes {
			w.die(n)
			n.upAt = w.now + deregisterAfter + time.Duration(w.rnd.IntN(3000))*time.Millisecond
		}
		w.run(time.Second)
		w.turn("a-1", true, false)
		w.run(deregisterAfter + 10*time.Second)
		if why := w.allTrue(); why != "" || w.gone != 0 {
			t.Fatalf("seed %d: %d deregistered; %s", seed, w.gone, why)
		}
		w.turn("a-3", false, false)
		w.run(deregisterAfter + 5*time.Second)
		if n := len(w.records["a"].service.Instances); n != 3 || w.gone != 1 {
			t.Fatalf("seed %d: %d instances, %d deregistered", seed, n, w.gone)
		}
	}
}

// A service goes to another group while it is checked: no status changes for that.
func TestMoveChangesNoStatus(t *testing.T) {
	w := calmWorld(t, 3, 3, 4, func(w *world) {
		w.set("a", "tcp", 300, 4)
		w.set("c", "ttl", 1000, 2)
	})
	reports := w.reports
	for range 40 {
		for _, r := range w.records {
			w.move(r)
		}
		w.run(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
	}
	w.run(AssignmentTTL + time.Second)
	if why := once(w); why != "" || w.reports != reports {
		t.Fatalf("%d reports; %s", w.reports-reports, why)
	}
}

// The findings before the status follows them again must be the same whichever node they are of: that
// another node has the check is no agreement with what it finds. With a new leader, which knows of no
// finding before, the time begins anew.
func TestFlappingEndsWhenAllAgree(t *testing.T) {
	row := Row{Name: "s", Version: 1, Service: &registry.Service{Name: "s", Type: registry.TypeTCP, Instances: []registry.Instance{{ID: "a", Check: 1, Status: registry.Flapping}}}}
	of := &service{row: row, byID: map[string]*check{}}
	c := newCheck(0, of, &row.Service.Instances[0])
	held := func(now time.Duration) bool {
		status, _, _ := c.flaps(now, registry.Up, "")
		return status == registry.Flapping
	}
	c.find(0, wire.FindingUp, "")
	c.leave()
	const moved = FlapQuiet - time.Second
	c.find(moved, wire.FindingUp, "")
	if held(FlapQuiet) {
		t.Error("two nodes agree for the whole time, and it is held")
	}
	c.leave()
	c.find(moved, wire.FindingDown, "")
	if !held(FlapQuiet) || held(moved+FlapQuiet) {
		t.Error("another node has found something else, and the time does not begin with that")
	}
	c = newCheck(moved, of, &row.Service.Instances[0])
	if !held(FlapQuiet) || held(moved+FlapQuiet) {
		t.Error("a new leader holds it too short, or too long")
	}
}

// An instance that goes up and down all the time is held as flapping: its reports are few,
// and it is up again once it has been quiet.
func TestFlapping(t *testing.T) {
	w := calmWorld(t, 1, 3, 1, func(w *world) { w.set("a", "tcp", 200, 2) })
	inst := func() *registry.Instance { return &w.records["a"].service.Instances[1] }
	before := w.reports
	for range 30 {
		w.turn("a-1", false, false)
		w.run(1500 * time.Millisecond)
		w.turn("a-1", true, false)
		w.run(1500 * time.Millisecond)
	}
	if s := inst().Status; s != registry.Flapping || w.reports-before > FlapChanges {
		t.Fatalf("status %d after %d reports: %q", s, w.reports-before, inst().Reason)
	}
	quiet := w.now
	w.until("it is up", FlapQuiet+2*time.Second, w.allTrue)
	if w.now-quiet < FlapQuiet-3*time.Second {
		t.Errorf("it is up after %v of quiet", w.now-quiet)
	}
	if s := w.records["a"].service.Instances[0]; s.Status != registry.Up || s.Count != 1 {
		t.Errorf("the other one has status %d and %d changes", s.Status, s.Count)
	}
}

// One seed has one outcome, or no failure could be looked into.
func TestReplay(t *testing.T) {
	var logs [2][]string
	for i := range logs {
		w := newWorld(t, 7, 4, 3)
		play(w)
		logs[i] = append(w.log, fmt.Sprint(w.polls, w.reports, w.voids, w.hooks))
	}
	if !slices.Equal(logs[0], logs[1]) {
		t.Error("two runs of one seed differ")
	}
}

// alone is an assigner and a checker that are one node, without anything between them.
type alone struct {
	t        testing.TB
	now      time.Duration
	assigner *Assigner
	checker  *Checker
	rows     []Row
	polls    int
	most     int // rows of a poll
	bytes    int
	last     *wire.Checks
	down     string            // this instance is; "all": each
	asked    map[uint64]uint64 // polls that the checker holds, by ticket
	fails    error             // how reports end
	holds    bool              // they don't end by themselves
	held     []uint64
	proposed int
}

func newAlone(t testing.TB, services, instances int) *alone {
	x := &alone{t: t, assigner: NewAssigner(1), checker: NewChecker(1, 7, nil), asked: map[uint64]uint64{}}
	for i := range services {
		s := &registry.Service{Name: fmt.Sprintf("service-%d", i), Type: "tcp"}
		for k := range instances {
			host := fmt.Sprintf("%d-%d", i, k)
			s.Instances = append(s.Instances, registry.Instance{ID: host, Check: 1, Status: registry.Up, Settings: settings("host", host, "interval", "2000", "port", "80")})
		}
		x.rows = append(x.rows, Row{Name: s.Name, Version: 1, Service: s})
	}
	x.assigner.Alive(0, []raft.NodeID{1})
	x.assigner.Lead(0, 1, 1, 1)
	x.assigner.Services(0, 1, 1, x.rows)
	return x
}

// turn has both do what is due, and returns what was reported. Probes end at once.
func (x *alone) turn() (reports []*shardmap.Report) {
	actions, _ := x.assigner.Turn(x.now, time.UnixMilli(0).Add(x.now))
	for i := range actions {
		a := &actions[i]
		if a.Kind == ActPropose {
			reports = append(reports, a.Report)
			x.proposed++
			if x.holds {
				x.held = append(x.held, a.Number)
			} else {
				x.assigner.Proposed(x.now, a.Number, x.fails)
			}
			continue
		}
		x.polls++
		b := a.Poll.Append(nil)
		x.bytes = max(x.bytes, len(b))
		var q wire.Checks
		if err := q.Read(b); err != nil {
			x.t.Fatal(err)
		}
		x.last = &q
		rows := 0
		for _, g := range q.Groups {
			rows += len(g.Rows)
		}
		x.most = max(x.most, rows)
		if ans, ticket := x.checker.Poll(x.now, 1, &q); ans != nil {
			x.polled(a.Number, ans)
		} else {
			x.asked[ticket] = a.Number
		}
	}
	probes, answers, _ := x.checker.Turn(x.now)
	for _, a := range answers {
		x.polled(x.asked[a.Ticket], a.Checks)
		delete(x.asked, a.Ticket)
	}
	if len(probes) > ProbesMax {
		x.t.Fatalf("%d probes at once", len(probes))
	}
	for _, p := range probes {
		x.checker.Done(x.now, p.Number, Result{Up: x.down != "all" && p.Spec.Host != x.down})
	}
	return reports
}

// polled brings an answer to the assigner.
func (x *alone) polled(number uint64, ans *wire.ChecksAnswer) {
	var r wire.ChecksAnswer
	if err := r.Read(ans.Append(nil)); err != nil {
		x.t.Fatal(err)
	}
	x.assigner.Polled(x.now, number, &r, nil)
}

// restart has the checker begin anew.
func (x *alone) restart() {
	x.checker, x.asked = NewChecker(1, x.checker.life+1, nil), map[uint64]uint64{}
}

// Many checks arrive in pieces, soon; so do their states; and then a poll is short.
func TestManyChecks(t *testing.T) {
	x := newAlone(t, 1000, 20)
	for x.now = 0; x.checker.checks < 20_000; x.now += tickEvery {
		if len(x.turn()) > 0 || x.now > 5*time.Second {
			t.Fatalf("%d checks after 5 s", x.checker.checks)
		}
	}
	t.Logf("20,000 checks take %d polls and %v, the largest %d rows and %d bytes", x.polls, x.now, x.most, x.bytes)
	if x.most > wire.PollRowsMax {
		t.Errorf("a poll of %d rows", x.most)
	}
	known := func() (n int) {
		for _, c := range x.assigner.leads[0].order {
			for _, c := range c.checks {
				if c.finding == wire.FindingUp {
					n++
				}
			}
		}
		return n
	}
	for end := x.now + 6*time.Second; known() < 20_000; x.now += tickEvery {
		if x.turn(); x.now > end {
			t.Fatalf("%d findings are known", known())
		}
	}
	polls := x.polls
	x.bytes = 0
	for end := x.now + 10*time.Second; x.now < end; x.now += tickEvery {
		if r := x.turn(); len(r) > 0 {
			t.Fatalf("it reports %v", r)
		}
	}
	if n := x.polls - polls; n > 21 || x.bytes > 100 {
		t.Errorf("while all is steady, %d polls in 10 s, of %d bytes", n, x.bytes)
	}
	// The checker starts anew, and gets all of them again.
	x.restart()
	for end := x.now + 3*time.Second; x.checker.checks < 20_000; x.now += tickEvery {
		if x.turn(); x.now > end {
			t.Fatalf("%d checks after a start", x.checker.checks)
		}
	}
}

// A node takes no more checks than it has room for, and says so. Those of two leaders share
// the room; what is left over is told in the status.
func TestChecksMax(t *testing.T) {
	x := newAlone(t, 140, 512)
	x.turn() // it asks whether the node is there
	x.turn()
	given := 0
	for _, l := range x.assigner.far(1).lists {
		given += len(l.assigned)
	}
	if given != ChecksMax {
		t.Errorf("a leader gives %d checks to one node, want %d", given, ChecksMax)
	}
	c := NewChecker(2, 9, nil)
	spec := registry.Spec{Type: "tcp", Host: "h", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
	packed := spec.AppendTo(nil)
	number, full := uint64(0), false
	var at uint64
	for range 66 {
		s := wire.ChecksOf{Group: 1, Incarnation: 1, Term: 1, Since: number}
		for range 1000 {
			number++
			s.Rows = append(s.Rows, wire.CheckRow{Number: number, Name: "s", Instance: fmt.Sprint(number), Check: 1, Spec: packed})
		}
		s.Until = number
		ans := atOnce(c.Poll(0, 1, &wire.Checks{Groups: []wire.ChecksOf{s}}))
		full, at = ans.Full, ans.At[0].At
	}
	if c.checks != ChecksMax || !full || at != ChecksMax {
		t.Errorf("it takes %d checks, up to %d, full %t", c.checks, at, full)
	}
}

// A leader that the checker has no room for says so of the instances that nobody checks, and
// takes it back once there is room.
func TestFullIsTold(t *testing.T) {
	x := newAlone(t, 1, 1)
	polled := func() *Action {
		x.now += pollPause
		actions, _ := x.assigner.Turn(x.now, time.Time{})
		if len(actions) != 1 || actions[0].Kind != ActPoll {
			t.Fatalf("got %v", actions)
		}
		return &actions[0]
	}
	x.assigner.Polled(x.now, polled().Number, &wire.ChecksAnswer{Life: 1}, nil)
	poll := polled()
	at := []wire.ChecksAt{{Group: 1, Term: 1, At: poll.Poll.Groups[0].Since}}
	x.assigner.Polled(x.now, poll.Number, &wire.ChecksAnswer{Life: 1, Full: true, At: at}, nil)
	actions, _ := x.assigner.Turn(x.now, time.Time{})
	if len(actions) != 1 || actions[0].Kind != ActPropose {
		t.Fatalf("got %v", actions)
	}
	row := actions[0].Report.Rows[0]
	if row.Status != registry.Unknown || row.Reason != "the node that should check it has 65536 checks, the most it takes" {
		t.Errorf("it reports %+v", row)
	}
}

// Targets that hang hold no more probes than may run at once, and the others are probed in
// their turn.
func TestProbesMax(t *testing.T) {
	c := NewChecker(1, 7, nil)
	spec := registry.Spec{Type: "tcp", Host: "h", Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}
	packed := spec.AppendTo(nil)
	s := wire.ChecksOf{Group: 1, Incarnation: 1, Term: 1, Until: 1000}
	for i := range uint64(1000) {
		s.Rows = append(s.Rows, wire.CheckRow{Number: i + 1, Name: fmt.Sprint("s", i%4), Instance: fmt.Sprint(i), Check: 1, Spec: packed})
	}
	c.Poll(0, 1, &wire.Checks{Groups: []wire.ChecksOf{s}})
	running := map[uint64]Probe{}
	probed := map[string]int{}
	for now := time.Duration(0); now < 20*time.Second; now += tickEvery {
		if now%PollEvery == 0 {
			c.Poll(now, 1, &wire.Checks{Groups: []wire.ChecksOf{{Group: 1, Incarnation: 1, Term: 1, Since: 1000, Until: 1000}}})
		}
		for number, p := range running {
			if now >= p.Deadline {
				c.Done(now, number, Result{Reason: "no answer in time"})
				delete(running, number)
			}
		}
		probes, _, _ := c.Turn(now)
		for _, p := range probes {
			running[p.Number] = p
			probed[p.Instance]++
		}
		if len(running) > ProbesMax {
			t.Fatalf("%d probes run", len(running))
		}
	}
	least := 1000
	for _, n := range probed {
		least = min(least, n)
	}
	if len(probed) != 1000 || least < 15 {
		t.Errorf("%d are probed, one of them only %d times in 20 s", len(probed), least)
	}
	// Those whose end is never said hold their place for a while alone.
	c.Turn(21 * time.Second)
	if c.Counts().Running == 0 {
		t.Fatal("nothing runs")
	}
	for now := 21 * time.Second; now < 30*time.Second; now += PollEvery {
		c.Poll(now, 1, &wire.Checks{Groups: []wire.ChecksOf{{Group: 1, Incarnation: 1, Term: 1, Since: 1000, Until: 1000}}})
		c.Turn(now)
	}
	if c.Counts().Void == 0 {
		t.Error("no probe is given up")
	}
}
