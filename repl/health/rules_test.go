package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// assigned returns a section that assigns one check, of an interval of a second, rise 2 and fall 3.
func assigned(term, number uint64, status registry.Status) *wire.Checks {
	spec := registry.Spec{Type: registry.TypeTCP, Host: "h", Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}
	return &wire.Checks{Groups: []wire.ChecksOf{{Group: 1, Incarnation: 1, Term: term, Begin: number - 1, Since: number - 1, Until: number,
		Rows: []wire.CheckRow{{Number: number, Name: "s", Instance: "i", Check: 1, Spec: spec.AppendTo(nil), Status: uint8(status)}}}}}
}

// atOnce returns the answer to a poll that is not held.
func atOnce(ans *wire.ChecksAnswer, ticket uint64) *wire.ChecksAnswer {
	if ans == nil {
		panic(fmt.Sprintf("the answer is held, under ticket %d", ticket))
	}
	return ans
}

// driven is a checker with one check, which a leader polls every half second.
type driven struct {
	c    *Checker
	now  time.Duration
	poll *wire.Checks
	told []wire.CheckState // the findings, each once
	last wire.CheckState   // what was told last
	up   bool
	gap  bool // no poll arrives
}

func newDriven(status registry.Status) *driven {
	d := &driven{c: NewChecker(2, 7, nil), poll: assigned(1, 1, status), up: true}
	d.ask()
	return d
}

func (d *driven) ask() {
	ans := atOnce(d.c.Poll(d.now, 1, d.poll))
	for _, s := range ans.States {
		if n := len(d.told); s.Finding != 0 && (n == 0 || d.told[n-1].Finding != s.Finding || d.told[n-1].Changes != s.Changes) {
			d.told = append(d.told, s)
		}
		d.last = s
	}
	d.poll.Life, d.poll.Seen = ans.Life, ans.Count
}

func (d *driven) run(t time.Duration) {
	for end := d.now + t; d.now < end; {
		d.now += tickEvery
		if d.now%PollEvery == 0 && !d.gap {
			d.ask()
		}
		probes, _, _ := d.c.Turn(d.now)
		for _, p := range probes {
			d.c.Done(d.now, p.Number, Result{Up: d.up, Reason: "why"})
		}
	}
}

// One result that differs, or two, change nothing: rise and fall in a row do.
func TestThresholds(t *testing.T) {
	d := newDriven(registry.Up)
	d.run(5 * time.Second)
	if len(d.told) != 1 || d.told[0].Finding != wire.FindingUp || d.told[0].Changes != 0 {
		t.Fatalf("what is up is told of as %+v", d.told)
	}
	d.up = false
	for end := d.now + 2*time.Second + PollEvery; d.last.Downs < 2 && d.now < end; {
		d.run(tickEvery)
	}
	if len(d.told) != 1 || d.last.Downs != 2 || d.last.Ups != 0 {
		t.Fatalf("after two failures it tells %+v, %+v", d.told[1:], d.last)
	}
	d.up = true
	d.run(5 * time.Second)
	if len(d.told) != 1 || d.last.Downs != 0 {
		t.Fatalf("after two failures and a success it tells %+v, %+v", d.told[1:], d.last)
	}
	d.up = false
	d.run(3*time.Second + PollEvery)
	if len(d.told) != 2 || d.told[1].Finding != wire.FindingDown || d.told[1].Changes != 1 || d.told[1].Reason != "why" {
		t.Fatalf("after three failures it tells %+v", d.told[1:])
	}
	d.up = true
	d.run(900 * time.Millisecond) // one probe
	d.up = false
	d.run(3 * time.Second)
	if len(d.told) != 2 {
		t.Fatalf("after one success it tells %+v", d.told[2:])
	}
	d.up = true
	d.run(2*time.Second + PollEvery)
	if len(d.told) != 3 || d.told[2].Finding != wire.FindingUp || d.told[2].Changes != 2 {
		t.Fatalf("after two successes it tells %+v", d.told[2:])
	}
}

// What a checker finds while no poll reaches it counts for nothing, and neither does a probe
// that was under way; what it had found before stands.
func TestCutOff(t *testing.T) {
	d := newDriven(registry.Up)
	d.run(5 * time.Second)
	d.up, d.gap = false, true
	d.run(3500 * time.Millisecond) // three probes
	var hung []Probe
	for len(hung) == 0 { // one more, that ends after the gap
		d.now += tickEvery
		hung, _, _ = d.c.Turn(d.now)
		if d.now >= 5*time.Second+AssignmentTTL {
			t.Fatal("no probe begins")
		}
	}
	d.now += tickEvery
	d.up, d.gap = true, false
	d.ask()
	for _, p := range hung {
		d.c.Done(d.now, p.Number, Result{Reason: "no answer in time"})
	}
	var k *checking
	for _, x := range d.c.groups[1].checks {
		k = x
	}
	if k.downs != 0 || k.finding != wire.FindingUp || !k.known {
		t.Errorf("after the gap it stands at %d failures, finding %s, known %t", k.downs, k.finding, k.known)
	}
	d.run(5 * time.Second)
	for _, s := range d.told {
		if s.Finding != wire.FindingUp || s.Changes != 0 {
			t.Errorf("it tells %+v", s)
		}
	}
}

// A checker takes assignments of the highest term that it has heard of alone, and drops those
// of the term before.
func TestHighestTerm(t *testing.T) {
	c := NewChecker(2, 7, nil)
	c.Poll(0, 1, assigned(4, 10, registry.Up))
	if ans := atOnce(c.Poll(0, 3, assigned(3, 90, registry.Up))); len(ans.At) != 0 || c.checks != 1 || c.groups[1].leader != 1 {
		t.Errorf("a lower term is answered %+v, and led by %d", ans.At, c.groups[1].leader)
	}
	if ans := atOnce(c.Poll(0, 3, assigned(4, 90, registry.Up))); len(ans.At) != 0 || c.groups[1].leader != 1 {
		t.Errorf("another leader of the term is answered %+v", ans.At)
	}
	if ans := atOnce(c.Poll(0, 3, assigned(5, 2, registry.Up))); len(ans.At) != 1 || ans.At[0].At != 2 || c.checks != 1 || c.groups[1].leader != 3 {
		t.Errorf("a higher term is answered %+v; there are %d checks", ans.At, c.checks)
	}
	again := assigned(1, 1, registry.Up)
	again.Groups[0].Incarnation = 2
	if ans := atOnce(c.Poll(0, 1, again)); len(ans.At) != 1 || c.groups[1].term != 1 {
		t.Errorf("a group that was made anew is answered %+v", ans.At)
	}
}

// A node that was silent gets a list that begins anew. All that it has from before ends, to the
// very last assignment before the first one of now.
func TestListBeginsAnew(t *testing.T) {
	c := NewChecker(2, 7, nil)
	c.Poll(0, 1, assigned(1, 5, registry.Up))
	ans := atOnce(c.Poll(0, 1, assigned(1, 6, registry.Up)))
	if _, old := c.groups[1].checks[5]; old || c.checks != 1 || ans.At[0].At != 6 {
		t.Errorf("it has %d checks, the old one: %t; it is at %d", c.checks, old, ans.At[0].At)
	}
}

// A poll of long ago arrives at a checker that has lost all, and begins what has ended since.
// It must end all the same, though its end was confirmed once.
func TestLatePoll(t *testing.T) {
	x := newAlone(t, 1, 3)
	var late *wire.Checks
	for x.now = 0; x.now < 2*time.Second; x.now += tickEvery {
		x.turn()
		if len(x.last.Groups) > 0 && len(x.last.Groups[0].Rows) > 0 {
			late = x.last
		}
	}
	next := *x.rows[0].Service
	next.Instances = next.Instances[:2]
	x.rows[0].Service, x.rows[0].Version = &next, 2
	x.assigner.Services(x.now, 1, 1, x.rows)
	for end := x.now + time.Second; x.now < end; x.now += tickEvery {
		x.turn()
	}
	x.restart()
	if x.checker.Poll(x.now, 1, late); x.checker.checks != 3 {
		t.Fatalf("the late poll begins %d checks", x.checker.checks)
	}
	for end := x.now + 2*time.Second; x.now < end; x.now += tickEvery {
		x.turn()
	}
	if x.checker.checks != 2 {
		t.Errorf("it has %d checks of 2 instances", x.checker.checks)
	}
}

// No probe comes later than an interval after the one before, and they come apart.
func TestJitter(t *testing.T) {
	least := 2 * time.Second
	for began := range 1000 {
		k := &checking{name: "s", instance: "i", began: time.Duration(began) * 997 * time.Millisecond, spec: registry.Spec{Interval: 2 * time.Second}}
		if got := k.interval(); got > 2*time.Second || got < 1800*time.Millisecond {
			t.Fatalf("an interval of %v", got)
		} else {
			least = min(least, got)
		}
	}
	if least > 1850*time.Millisecond {
		t.Errorf("none is shorter than %v", least)
	}
}

// Probes begin together, and still none later than an interval after the one before.
func TestProbesGather(t *testing.T) {
	const looks = 10 * time.Second
	x := newAlone(t, 100, 5)
	for x.now = 0; x.now < looks; x.now += tickEvery {
		x.turn()
	}
	c := x.checker
	last, turns, now := map[string]time.Duration{}, 0, x.now
	for end := now + looks; now < end; {
		due, _, next := c.Turn(now)
		if len(due) > 0 {
			turns++
		}
		for i := range due {
			who := due[i].Name + "/" + due[i].Instance
			if was, ok := last[who]; ok && now-was > due[i].Spec.Interval {
				t.Fatalf("%s is probed %s after the last time, every %s", who, now-was, due[i].Spec.Interval)
			}
			last[who] = now
			c.Done(now, due[i].Number, Result{Up: true})
		}
		for _, h := range c.groups {
			h.polled = now // its leader goes on asking
		}
		now = min(max(next, now+1), now+time.Millisecond) // results wake it meanwhile
	}
	if len(last) != 500 {
		t.Errorf("%d instances are probed, of 500", len(last))
	}
	if most := int(looks/gather) + 1; turns > most {
		t.Errorf("probes begin %d times in %s, want %d at most", turns, looks, most)
	}
}

// A finding counts if it is of the assignment in force in all that names it.
func TestVoid(t *testing.T) {
	good := wire.CheckState{Group: 1, Term: 1, Check: 1, Finding: wire.FindingDown, Reason: "why"}
	for name, change := range map[string]func(s *wire.CheckState){
		"":                     func(*wire.CheckState) {},
		"another group":        func(s *wire.CheckState) { s.Group = 2 },
		"a term before":        func(s *wire.CheckState) { s.Term = 0 },
		"a term to come":       func(s *wire.CheckState) { s.Term = 2 },
		"another assignment":   func(s *wire.CheckState) { s.Number++ },
		"another check":        func(s *wire.CheckState) { s.Check++ },
		"a finding of no kind": func(s *wire.CheckState) { s.Finding = wire.FindingNone + 1 },
	} {
		x := newAlone(t, 1, 1)
		x.turn()
		x.now = pollPause
		x.turn()
		c := x.assigner.leads[0].order[0].checks[0]
		x.now += PollEvery
		actions, _ := x.assigner.Turn(x.now, time.Time{})
		if len(actions) != 1 || c.node != 1 {
			t.Fatalf("%d actions, the check is with %d", len(actions), c.node)
		}
		s := good
		s.Number = c.number
		change(&s)
		ans := &wire.ChecksAnswer{Life: 7, Count: 1, At: []wire.ChecksAt{{Group: 1, Term: 1, At: c.number}}, States: []wire.CheckState{s}}
		x.assigner.Polled(x.now, actions[0].Number, ans, nil)
		if counts, void := c.finding == wire.FindingDown, x.assigner.Counts().Void == 1; counts != (name == "") || void == counts {
			t.Errorf("%q: it counts: %t, is void: %t", name, counts, void)
		}
		x.assigner.Polled(x.now, actions[0].Number, ans, nil) // once more: no harm
	}
}

// A leader that remembers states of another life of the checker is told those of this one.
func TestSeenInAnotherLife(t *testing.T) {
	d := newDriven(registry.Up)
	d.poll.Life, d.poll.Seen = 6, 100
	for d.now = tickEvery; len(d.told) == 0; d.now += tickEvery {
		probes, _, _ := d.c.Turn(d.now)
		for _, p := range probes {
			d.c.Done(d.now, p.Number, Result{Up: true})
		}
		if d.now%PollEvery == 0 {
			d.told = atOnce(d.c.Poll(d.now, 1, &wire.Checks{Life: 6, Seen: 100, Groups: []wire.ChecksOf{{Group: 1, Incarnation: 1, Term: 1, Since: 1, Until: 1}}})).States
		}
		if d.now > 5*time.Second {
			t.Fatal("it tells nothing")
		}
	}
}

// Quick changes that no poll sees are counted as what they are: the instance is not quiet.
func TestUnseenChanges(t *testing.T) {
	x := newAlone(t, 1, 1)
	for x.now = 0; x.now < 8*time.Second; x.now += tickEvery {
		x.turn()
	}
	c := x.assigner.leads[0].order[0].checks[0]
	if c.finding != wire.FindingUp || c.changed != 0 {
		t.Fatalf("finding %s, changed at %v", c.finding, c.changed)
	}
	for _, k := range x.checker.groups[1].checks {
		for range k.spec.Fall {
			k.judge(Result{})
		}
		for range k.spec.Rise {
			k.judge(Result{Up: true})
		}
		x.checker.news(k)
	}
	for end := x.now + time.Second; x.now < end; x.now += tickEvery {
		x.turn()
	}
	if c.finding != wire.FindingUp || c.changed < 8*time.Second {
		t.Errorf("after two changes: finding %s, changed at %v", c.finding, c.changed)
	}
}

// A checker that starts anew counts its states from the beginning. They must arrive all the
// same, though its node was never taken for dead.
func TestNewLife(t *testing.T) {
	x := newAlone(t, 1, 8)
	run := func(d time.Duration) (reports []*shardmap.Report) {
		for end := x.now + d; x.now < end; x.now += tickEvery {
			reports = append(reports, x.turn()...)
		}
		return reports
	}
	run(8 * time.Second)
	x.restart()
	x.down = "0-3"
	reports := run(10 * time.Second)
	if len(reports) == 0 || reports[0].Rows[0].Instance != "0-3" || reports[0].Rows[0].Status != registry.Down {
		t.Errorf("it reports %v", reports)
	}
}

// What was applied and did not show in the record is not proposed again, until the record is
// another one; what failed is, with pauses.
func TestNotAgain(t *testing.T) {
	x := newAlone(t, 1, 2)
	x.down = "0-1"
	count := func(d time.Duration) (n int) {
		for end := x.now + d; x.now < end; x.now += tickEvery {
			n += len(x.turn())
		}
		return n
	}
	x.fails = errors.New("no majority")
	if n := count(30 * time.Second); n < 5 || n > 15 {
		t.Errorf("it proposes %d times what fails", n)
	}
	x.fails = nil
	if n := count(30 * time.Second); n != 1 {
		t.Errorf("it proposes %d times what is applied", n)
	}
	next := *x.rows[0].Service
	x.rows[0].Service, x.rows[0].Version = &next, 2
	x.assigner.Services(x.now, 1, 1, x.rows)
	if n := count(30 * time.Second); n != 1 {
		t.Errorf("it proposes %d times what another record does not have", n)
	}
}

// However many services change at once, so many reports are under way and no more, and all
// come to be proposed.
func TestReportsMax(t *testing.T) {
	x := newAlone(t, 3*ReportsMax, 1)
	x.down, x.holds = "all", true
	most := 0
	for x.now = 0; x.now < 30*time.Second; x.now += tickEvery {
		x.turn()
		most = max(most, len(x.held))
		if x.now > 10*time.Second && len(x.held) > 0 {
			x.assigner.Proposed(x.now, x.held[0], nil)
			x.held = x.held[1:]
		}
	}
	if most != ReportsMax || x.proposed != 3*ReportsMax {
		t.Errorf("%d reports at once, %d in all, want %d and %d", most, x.proposed, ReportsMax, 3*ReportsMax)
	}
}

// All instances of a large service go down at once: each is reported once, in reports that
// stay small.
func TestReportRowsMax(t *testing.T) {
	x := newAlone(t, 1, registry.InstancesMax)
	x.down = "all"
	rows := map[string]int{}
	for x.now = 0; x.now < 30*time.Second; x.now += tickEvery {
		for _, r := range x.turn() {
			if len(r.Rows) > reportRowsMax {
				t.Fatalf("a report of %d rows", len(r.Rows))
			}
			for i := range r.Rows {
				rows[r.Rows[i].Instance]++
			}
		}
	}
	for instance, n := range rows {
		if n != 1 {
			t.Errorf("%s is reported %d times", instance, n)
		}
	}
	if len(rows) != registry.InstancesMax {
		t.Errorf("%d are reported", len(rows))
	}
}

// When a leader begins, it gives each check to one node once, though the nodes answer one
// after the other.
func TestAssignedOnce(t *testing.T) {
	w := calmWorld(t, 5, 3, 1, func(w *world) { w.set("a", "tcp", 300, 40) })
	a := w.groups[0].leader.assigner
	if a.assignment != 40 {
		t.Errorf("40 checks take %d changes of assignments", a.assignment)
	}
	w.depose(w.groups[0])
	w.run(6 * time.Second)
	next := w.groups[0].leader.assigner
	if next != a && next.assignment != 40 || next == a && a.assignment != 80 {
		t.Errorf("the next leader takes %d", next.assignment)
	}
}

// A node is named as the one that checks an instance from when it has taken the assignment until
// that ends: not while the assignment is on its way, and not by the version that was checked before.
func TestCheckersAreThoseThatHaveTaken(t *testing.T) {
	x := newAlone(t, 1, 2)
	both := func(check uint64) []wire.ServiceChecker {
		return []wire.ServiceChecker{{Instance: "0-0", Check: check, Node: 1}, {Instance: "0-1", Check: check, Node: 1}}
	}
	named := func(what string, want []wire.ServiceChecker) {
		t.Helper()
		if got := Checkers(x.assigner, 1, 1, "service-0"); !slices.Equal(got, want) {
			t.Errorf("%s: %+v check, want %+v", what, got, want)
		}
	}
	taken := func() {
		for range 100 {
			x.turn()
			x.now += tickEvery
		}
	}
	named("before it is known which nodes are there", nil)
	taken()
	named("when the node has taken them", both(1))
	for _, c := range []struct {
		what  string
		group raft.GroupID
		term  uint64
		name  string
	}{{"an unknown service", 1, 1, "other"}, {"a group that is not led here", 2, 1, "service-0"}, {"a term that is over", 1, 0, "service-0"}, {"a term to come", 1, 2, "service-0"}} {
		if got := Checkers(x.assigner, c.group, c.term, c.name); got != nil {
			t.Errorf("%s: %+v check", c.what, got)
		}
	}

	other := *x.rows[0].Service
	other.Instances = slices.Clone(other.Instances)
	for i := range other.Instances {
		other.Instances[i].Check = 2
	}
	x.rows[0].Version, x.rows[0].Service = 2, &other
	x.assigner.Services(x.now, 1, 1, x.rows)
	named("before the new version is assigned", nil)
	polls, _ := x.assigner.Turn(x.now, time.UnixMilli(0))
	named("while the new version is on its way", nil)
	for i := range polls {
		if polls[i].Kind == ActPoll {
			x.assigner.Polled(x.now, polls[i].Number, nil, errLate) // it is lost
		}
	}
	taken()
	named("when the node has taken the new version", both(2))
	x.assigner.Lead(x.now, 1, 1, 2)
	x.assigner.Services(x.now, 1, 2, x.rows)
	if got := Checkers(x.assigner, 1, 2, "service-0"); got != nil {
		t.Errorf("at the beginning of the next term: %+v check", got)
	}
}

// The nodes that a leader names are those that run the checks, each check one; when one of them is
// gone, the others are named for its checks. Nobody is named for an instance that reports itself, or
// whose check no node can run.
func TestCheckersAreThoseThatRun(t *testing.T) {
	for seed := range uint64(10) {
		w := calmWorld(t, seed, 4, 1, func(w *world) { w.set("a", "tcp", 300, 12); w.set("t", "ttl", 1500, 2) })
		nobody := w.set("nobody", "custom", 500, 1)
		nobody.service.Instances[0].Settings = settings("host", "nobody-0", "interval", "500", "script", "program-none")
		w.change(nobody)
		g := w.groups[0]
		agree := func() string {
			if g.leader == nil {
				return "nobody leads"
			}
			named := map[string]raft.NodeID{}
			for _, c := range Checkers(g.leader.assigner, g.id, g.term, "a") {
				if !w.node(c.Node).up {
					return fmt.Sprintf("n%d is named, which is dead", c.Node)
				}
				named[c.Instance] = c.Node
			}
			if len(named) != 12 {
				return fmt.Sprintf("nodes are named for %d checks of 12", len(named))
			}
			for _, n := range w.nodes {
				for _, k := range n.checks() {
					if n.up && k.held.term == g.term && named[k.instance] != n.id {
						return fmt.Sprintf("n%d checks %s, and n%d is named", n.id, k.instance, named[k.instance])
					}
				}
			}
			for _, name := range []string{"t", "nobody"} {
				if got := Checkers(g.leader.assigner, g.id, g.term, name); got != nil {
					return fmt.Sprintf("for %s %+v are named", name, got)
				}
			}
			return ""
		}
		w.until("those that check are named", 3*time.Second, agree)
		victim := w.node(Checkers(g.leader.assigner, g.id, g.term, "a")[0].Node)
		w.die(victim)
		victim.upAt = never
		w.until("others are named", 8*time.Second, agree)
	}
}

// Heartbeats are taken for instances that report themselves, where they are led, and refused
// with what is wrong.
func TestHeartbeats(t *testing.T) {
	x := newAlone(t, 1, 1)
	ttl := &registry.Service{Name: "ttl", Type: registry.TypeTTL, Instances: []registry.Instance{{ID: "i", Check: 1}}}
	x.assigner.Services(0, 1, 1, append(x.rows, Row{Name: "ttl", Version: 1, Service: ttl}))
	for _, b := range []struct {
		group          raft.GroupID
		name, instance string
		code           wire.Code
		next           string // the command that helps
	}{
		{1, "ttl", "i", 0, ""}, {2, "ttl", "i", wire.CodeNotLeader, ""},
		{1, "other", "i", wire.CodeNotFound, "muster service set"}, {1, "ttl", "j", wire.CodeNotFound, "muster service get"},
		{1, "service-0", "0-0", wire.CodeBadRequest, ""},
	} {
		err := x.assigner.Heartbeat(0, b.group, b.name, b.instance, true, "")
		if got := codeOf(err); got != b.code || err != nil && !strings.Contains(err.Error(), b.next) {
			t.Errorf("%v: got %v", b, err)
		}
	}
	x.assigner.Lead(0, 1, 1, 2)
	if err := x.assigner.Heartbeat(0, 1, "ttl", "i", true, ""); codeOf(err) != wire.CodeNotLeader {
		t.Errorf("before the services are known: %v", err)
	}
}

// What an instance says of itself is shown to whoever asks: its own passwords are not.
func TestHeartbeatKeepsSecrets(t *testing.T) {
	a := NewAssigner(1)
	a.Alive(0, []raft.NodeID{1})
	a.Lead(0, 1, 1, 1)
	ttl := &registry.Service{Name: "ttl", Type: registry.TypeTTL, Settings: settings("webhook_secret", "s3same"),
		Instances: []registry.Instance{{ID: "i", Check: 1, Settings: settings("pass", "hunter2")}}}
	a.Services(0, 1, 1, []Row{{Name: "ttl", Version: 1, Service: ttl}})
	if err := a.Heartbeat(0, 1, "ttl", "i", false, "no login with hunter2, nor with s3same"); err != nil {
		t.Fatal(err)
	}
	actions, _ := a.Turn(0, time.UnixMilli(0))
	if want := "no login with " + registry.Mask + ", nor with " + registry.Mask; len(actions) != 1 || actions[0].Report.Rows[0].Reason != want {
		t.Errorf("got %+v, want a report for the reason %q", actions, want)
	}
}

func codeOf(err *wire.Error) wire.Code {
	if err == nil {
		return 0
	}
	return err.Code
}

// An instance says itself that it is down, and why, and is down at once; when it says nothing
// for its interval times fall, it is down too.
func TestTTL(t *testing.T) {
	a := NewAssigner(1)
	a.Alive(0, []raft.NodeID{1})
	a.Lead(0, 1, 1, 1)
	ttl := &registry.Service{Name: "ttl", Type: registry.TypeTTL, Instances: []registry.Instance{{ID: "i", Check: 1, Settings: settings("interval", "1000", "fall", "2")}}}
	version, row := uint64(1), Row{Name: "ttl", Service: ttl}
	now := time.Duration(0)
	take := func() {
		row.Version = version
		a.Services(now, 1, 1, []Row{row})
	}
	take()
	want := func(status registry.Status, reason string) {
		t.Helper()
		actions, _ := a.Turn(now, time.UnixMilli(0))
		if len(actions) != 1 || actions[0].Kind != ActPropose {
			t.Fatalf("%v: got %v, want a report of %s", now, actions, status)
		}
		if r := actions[0].Report.Rows[0]; r.Status != status || r.Reason != reason {
			t.Fatalf("%v: it reports %+v", now, r)
		}
		next := *row.Service
		next.Instances = []registry.Instance{row.Service.Instances[0]}
		next.Instances[0].Status, next.Instances[0].Reason = status, reason
		row.Service = &next
		version++
		take()
		a.Proposed(now, actions[0].Number, nil)
	}
	nothing := func() {
		t.Helper()
		if actions, _ := a.Turn(now, time.UnixMilli(0)); len(actions) != 0 {
			t.Fatalf("%v: got %v", now, actions)
		}
	}
	beat := func(up bool, note string) {
		if err := a.Heartbeat(now, 1, "ttl", "i", up, note); err != nil {
			t.Fatal(err)
		}
	}
	nothing()
	beat(true, "")
	want(registry.Up, "")
	now = 1999 * time.Millisecond
	nothing()
	beat(true, "")
	now += 1999 * time.Millisecond
	nothing()
	now += time.Millisecond
	want(registry.Down, "no heartbeat for 2s")
	now += time.Hour
	nothing()
	beat(true, "")
	want(registry.Up, "")
	beat(false, "it stops")
	want(registry.Down, "it stops")
	beat(true, "")
	want(registry.Up, "")
	// The next leader allows a whole time, whatever was heard before.
	a.Lead(now, 1, 1, 2)
	a.Services(now, 1, 2, []Row{row})
	now += 1999 * time.Millisecond
	nothing()
	now += time.Millisecond
	actions, _ := a.Turn(now, time.UnixMilli(0))
	if len(actions) != 1 || fmt.Sprint(actions[0].Report.Rows[0].Status) != "down" {
		t.Errorf("got %v", actions)
	}
}
