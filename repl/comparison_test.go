package repl

import (
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// asks has a node check groups, and returns what will hold the answer.
func (c *auditedCluster) asks(n *testNode, groups []raft.GroupID, act CheckAct) *checked {
	a := &checked{c: c.cluster, at: c.now}
	n.host.Audits.Check(groups, act, func(rows []wire.CheckedGroup) {
		if a.times++; a.times > 1 {
			c.t.Error("a check is answered twice")
		}
		a.rows, a.took = rows, c.now-a.at
	})
	n.turn()
	return a
}

// checked is what a check was answered.
type checked struct {
	c     *cluster
	at    time.Duration
	times int
	rows  []wire.CheckedGroup
	took  time.Duration
}

// wait waits for the answer, which comes in time, and returns it.
func (a *checked) wait() []wire.CheckedGroup {
	a.c.t.Helper()
	a.c.until("the check is answered", func() bool { return a.times > 0 })
	// The clock of the test goes on in small steps, and a node has its ticks by chance.
	if a.took > CheckTimeout+10*testTick {
		a.c.t.Errorf("the check is answered after %s, want %s and a tick at most", a.took, CheckTimeout)
	}
	if !slices.IsSortedFunc(a.rows, func(x, y wire.CheckedGroup) int { return int(x.Group) - int(y.Group) }) {
		a.c.t.Errorf("its rows are not in the order of groups: %+v", a.rows)
	}
	return a.rows
}

// states are those of the replicas of a row, in order.
func states(row *wire.CheckedGroup) string {
	var all []string
	for _, r := range row.Replicas {
		all = append(all, r.State.String())
	}
	return strings.Join(all, " ")
}

// With audits off a leader writes no audit entry unless a check asks for one. The check reports
// a replica that differs, and fences it only if asked to; then the replica is mended.
func TestAuditsOff(t *testing.T) {
	for _, act := range []CheckAct{CheckTells, CheckMends} {
		c := newAuditedOf(t, 3, 3, whenAsked)
		c.readyToAudit(30)
		c.steps(10_000)
		if n := c.counts().Entries; n != 0 {
			t.Errorf("%d audit entries were written", n)
		}
		lead := c.leader(1)
		wrong := c.nodes[lead.id%3]
		part := spoil(wrong, rewritten)
		rows := c.asks(lead, []raft.GroupID{1, 7}, act).wait()
		if len(rows) != 1 || rows[0].Group != 1 || rows[0].Incarnation != 1 || rows[0].Why != "" || rows[0].At.Index == 0 || rows[0].Term != lead.host.groups[1].state.Term || len(rows[0].Replicas) != 3 {
			t.Fatalf("got %+v", rows)
		}
		for _, r := range rows[0].Replicas {
			if want := wrong.id == r.Node; r.Replica != raft.ReplicaID(r.Node) || (r.State == wire.CheckedDiffers) != want || slices.Equal(r.Parts, []uint32{part}) != want || r.State != wire.CheckedAgrees && !want || r.PartsMore != 0 {
				t.Errorf("wrong is part %d on node %d: got %+v", part, wrong.id, r)
			}
		}
		if act == CheckTells {
			c.steps(20_000)
			if n := c.counts(); n.Fenced != 0 || n.Entries != 1 {
				t.Errorf("a check that tells makes %+v", n)
			}
			continue
		}
		c.until("it is fenced", func() bool { return fenceOf(wrong) != nil })
		c.until("it is right again", c.alike)
		c.until("a comparison has found all well", func() bool { return !lead.host.groups[1].audit.sick })
		before := c.counts()
		c.steps(20_000)
		if n := c.counts(); n.Fenced != 1 || n.Entries != before.Entries {
			t.Errorf("a check that mends makes %+v, and in the end no entries: before it was %+v", n, before)
		}
	}
}

// While some members don't know audit entries none is written, and a check is told why.
func TestAuditsNotUnderstood(t *testing.T) {
	c := newAuditedOf(t, 4, 3, whenAsked)
	c.audited.Understood = false
	c.write(1, 30)
	c.until("all are alike", c.alike)
	spoil(c.leader(1), rewritten)
	rows := c.asks(c.leader(1), nil, CheckMends).wait()
	if len(rows) == 0 || rows[0].Why == "" {
		t.Errorf("got %+v", rows)
	}
	reports := 0
	for range 20_000 {
		c.step()
		for _, p := range c.net {
			switch p.body.(type) {
			case *wire.AuditReport, *wire.AuditVerdict:
				reports++
			}
		}
	}
	if n := c.counts(); n.Entries != 0 || n.Fenced != 0 || reports > 0 {
		t.Errorf("%+v, and %d reports or verdicts were sent", n, reports)
	}
	c.audited.Understood = true
	c.until("it is found once all know them", func() bool { return c.counts().Fenced == 1 })
}

// A faster pace takes effect at once, not when the slower one would have been due.
func TestAuditPaceChanges(t *testing.T) {
	c := newAuditedOf(t, 5, 3, whenAsked)
	c.audited.Every = 24 * time.Hour
	c.write(1, 30)
	c.until("all are alike", c.alike)
	c.steps(10_000)
	lead := c.leader(1)
	if g := lead.host.groups[1]; g.audit.last > 0 {
		t.Fatalf("the test shows nothing: the last entry counts as of %s", g.audit.last)
	}
	before := lead.host.Audits.counts.Entries
	lead.host.groups[1].audit.last, lead.host.groups[1].audit.changed = lead.host.now, true // there was one just now
	c.steps(1000)
	if n := lead.host.Audits.counts.Entries; n != before {
		t.Fatalf("%d entries in a day, before it was %d", n, before)
	}
	at := c.now
	c.audited.Every = time.Second
	c.until("there is an entry", func() bool { return lead.host.Audits.counts.Entries > before })
	if took := c.now - at; took > time.Second+10*testTick {
		t.Errorf("it comes after %s", took)
	}
}

// A group that nobody writes to gets one audit entry, from a new leader, which can't know which
// replicas are fenced. After some writes it gets one more.
func TestAuditsRest(t *testing.T) {
	c := newAuditedOf(t, 6, 3, whenAsked)
	c.until("all groups are led by the preferred", func() bool {
		for g := range raft.GroupID(testGroups) {
			if n := c.leader(g); n == nil || n.id != raft.NodeID(g)+1 {
				return false
			}
		}
		return true
	})
	rests := func() {
		t.Helper()
		for range 3 { // longer than the pace
			now := c.now
			c.until("a while has passed", func() bool { return c.now > now+time.Second })
		}
		c.until("nothing is under way", c.settled)
	}
	audits := func() (of [testGroups]uint64) {
		for g := range raft.GroupID(testGroups) {
			of[g] = c.leader(g).host.groups[g].core.Status().Last.Index
		}
		return of
	}
	rests()
	before, entries := audits(), c.counts().Entries
	rests()
	if now := audits(); now != before {
		t.Errorf("the logs end at %d, before they ended at %d, and nobody writes", now, before)
	}
	if entries > testGroups {
		t.Errorf("%d entries of %d new leaders", entries, testGroups)
	}
	c.write(1, 40)
	rests()
	some := c.counts().Entries - entries
	if some == 0 {
		t.Error("there is no entry after writes")
	}
	c.write(1, 1)
	rests()
	if now := c.counts().Entries - entries; now <= some {
		t.Errorf("after the last write there is none: %d entries, before it was %d", now, some)
	}
	last := audits()
	rests()
	if now := audits(); now != last || now[0] != before[0] || now[2] != before[2] {
		t.Errorf("the logs end at %d, before they ended at %d, at first at %d", now, last, before)
	}
}

// A check is answered in time, with what the replicas held after it was asked, even if nodes are
// down or the leader changes meanwhile.
func TestCheckIsAnswered(t *testing.T) {
	for _, every := range []time.Duration{0, time.Second} { // alone, and beside the host's own rounds
		for seed := range uint64(10) {
			c := newAuditedOf(t, seed, 3, whenAsked)
			c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
			c.readyToAudit(10)
			c.audited.Every = every
			lead := c.leader(1)
			row := func(rows []wire.CheckedGroup) *wire.CheckedGroup {
				t.Helper()
				for i := range rows {
					if rows[i].Group == 1 {
						return &rows[i]
					}
				}
				t.Fatalf("seed %d: no row of group 1: %+v", seed, rows)
				return nil
			}

			// Two at once, and of all groups; a node that leads none of them has nothing to say.
			at := lead.host.groups[1].applied.Index
			a, b := c.asks(lead, nil, CheckTells), c.asks(lead, []raft.GroupID{1}, CheckMends)
			for _, n := range c.nodes {
				if n != lead {
					if o := c.asks(n, []raft.GroupID{1}, CheckTells); o.times != 1 || len(o.rows) != 0 {
						t.Errorf("seed %d: node %d, which does not lead the group, answers %+v", seed, n.id, o.rows)
					}
				}
			}
			for _, rows := range [][]wire.CheckedGroup{a.wait(), b.wait()} {
				if r := row(rows); states(r) != "agrees agrees agrees" || r.At.Index <= at || r.Why != "" {
					t.Errorf("seed %d: got %+v, asked at %d", seed, r, at)
				}
			}

			// One that is down is silent, and the others are compared all the same.
			down := c.nodes[lead.id%3]
			down.kill()
			c.write(1, 3)
			if every > 0 {
				c.until("the host's own round waits for it", func() bool { return lead.host.groups[1].audit.round != nil || c.leader(1) != lead })
			}
			if c.leader(1) == lead {
				at = lead.host.groups[1].applied.Index
				a = c.asks(lead, nil, CheckTells)
				c.steps(500)
				b = c.asks(lead, nil, CheckTells)
				for _, r := range []*wire.CheckedGroup{row(a.wait()), row(b.wait())} {
					if r.Why != "" || r.At.Index <= at || len(r.Replicas) != 3 || r.Replicas[down.id-1].State != wire.CheckedSilent ||
						strings.Count(states(r), "agrees") != 2 {
						t.Errorf("seed %d: node %d is down: got %+v", seed, down.id, r)
					}
				}
			}
			down.start()
			c.until("all are alike", c.alike)

			// The lead goes while a check waits.
			lead = c.leader(1)
			a = c.asks(lead, []raft.GroupID{1}, CheckTells)
			c.depose(lead)
			clear(c.cut)
			if r := row(a.wait()); r.Why == "" && len(r.Replicas) != 3 {
				t.Errorf("seed %d: the lead went: got %+v", seed, r)
			}
			c.until("all are alike", c.alike)
			for _, n := range c.nodes {
				if len(n.host.Audits.checks) > 0 || len(n.host.groups[1].audit.checks) > 0 {
					t.Errorf("seed %d: node %d keeps %d checks", seed, n.id, len(n.host.Audits.checks))
				}
			}
		}
	}
}

// A check is answered with the present state. A round that began before the check would tell an
// earlier one.
func TestCheckIsOfNow(t *testing.T) {
	for seed := range uint64(10) {
		c := newAuditedOf(t, seed, 3, whenAsked)
		c.readyToAudit(10)
		lead := c.leader(1)
		first := c.asks(lead, []raft.GroupID{1}, CheckTells)
		g := lead.host.groups[1]
		c.until("its round is under way", func() bool { return g.audit.round != nil || first.times > 0 })
		wrong := c.nodes[lead.id%3]
		spoil(wrong, rewritten)
		second := c.asks(lead, []raft.GroupID{1}, CheckTells)
		if rows := second.wait(); len(rows) != 1 || rows[0].Replicas[wrong.id-1].State != wire.CheckedDiffers {
			t.Errorf("seed %d: got %+v, asked after node %d went wrong", seed, rows, wrong.id)
		}
		first.wait()
	}
}

// Checks over the limit are refused, and say so.
func TestChecksAreBounded(t *testing.T) {
	c := newAuditedOf(t, 7, 3, whenAsked)
	c.readyToAudit(3)
	lead := c.leader(1)
	var all []*checked
	for range checksMax + 1 {
		all = append(all, c.asks(lead, []raft.GroupID{1}, CheckTells))
	}
	if last := all[checksMax]; last.times != 1 || len(last.rows) != 1 || last.rows[0].Why == "" {
		t.Errorf("one too many: %+v", last)
	}
	for _, a := range all[:checksMax] {
		if rows := a.wait(); len(rows) != 1 || rows[0].Why != "" {
			t.Fatalf("got %+v", rows)
		}
	}
}
