package health

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// A poll that brings nothing new is answered when there is something to tell, when its asker asks
// again, and after a while in any case. What another leader's checks have found is none of its
// business.
func TestHeld(t *testing.T) {
	type answered struct {
		ticket uint64
		states int
	}
	d := newDriven(registry.Up)
	d.run(3 * time.Second)
	d.poll.Groups[0].Since, d.poll.Groups[0].Rows = d.poll.Groups[0].Until, nil
	other := assigned(1, 1, registry.Up)
	other.Groups[0].Group = 2
	first := atOnce(d.c.Poll(d.now, 3, other))
	other.Life, other.Seen, other.Groups[0].Since, other.Groups[0].Rows = first.Life, first.Count, 1, nil
	turn := func(up bool) (all []answered) {
		probes, answers, next := d.c.Turn(d.now)
		for _, a := range answers {
			all = append(all, answered{a.Ticket, len(a.Checks.States)})
		}
		for _, p := range probes {
			d.c.Done(d.now, p.Number, Result{Up: up || d.c.probes[p.Number].held.group == 2})
		}
		if _, late, again := d.c.Turn(d.now); len(late) > 0 {
			for _, a := range late {
				all = append(all, answered{a.Ticket, len(a.Checks.States)})
			}
		} else if next = min(next, again); next > d.now+HoldMax {
			t.Errorf("with a poll that is held, the next turn is %v later", next-d.now)
		}
		return all
	}
	hold := func(from raft.NodeID, q *wire.Checks) uint64 {
		t.Helper()
		ans, ticket := d.c.Poll(d.now, from, q)
		if ans != nil {
			t.Fatalf("the answer comes at once: %+v", ans)
		}
		return ticket
	}
	one := hold(1, d.poll)
	if got := turn(true); len(got) != 0 {
		t.Errorf("with nothing to say it answers %v", got)
	}
	two := hold(1, d.poll)
	if got := turn(true); !slices.Equal(got, []answered{{one, 0}}) {
		t.Errorf("asked again it answers %v, want %d", got, one)
	}
	for end := d.now + HoldMax; d.now < end-tickEvery; d.now += tickEvery {
		if got := turn(true); len(got) != 0 {
			t.Fatalf("it answers %v before its time", got)
		}
	}
	d.now += tickEvery
	if got := turn(true); !slices.Equal(got, []answered{{two, 0}}) {
		t.Errorf("after %v it answers %v, want %d", HoldMax, got, two)
	}
	for end := d.now + 2*time.Second; ; d.now += tickEvery {
		three, four := hold(1, d.poll), hold(3, other)
		got := turn(false)
		got = slices.DeleteFunc(got, func(a answered) bool { return a.ticket < three })
		if slices.Equal(got, []answered{{three, 1}}) {
			break
		}
		if len(got) > 0 || d.now > end {
			t.Fatalf("with a failure it answers %v, want %d and not %d", got, three, four)
		}
	}
	// A probe that hangs holds up nothing.
	var running []Probe
	for end := d.now + 2*time.Second; len(running) == 0 && d.now < end; d.now += tickEvery {
		running, _, _ = d.c.Turn(d.now)
	}
	five := hold(3, other)
	if _, _, next := d.c.Turn(d.now); len(running) == 0 || next > d.now+HoldMax {
		t.Errorf("with %d probes under way and a poll that is held, the next turn is %v later", len(running), next-d.now)
	}
	d.now += HoldMax
	if _, got, _ := d.c.Turn(d.now); len(got) != 1 || got[0].Ticket != five {
		t.Errorf("beside a probe that is under way it answers %v, want %d", got, five)
	}
}

// Results in a row count over a change of the checker, but for the last one, which is its own;
// what agrees with the status is not counted.
func TestCarried(t *testing.T) {
	for _, b := range []struct {
		status     registry.Status
		ups, downs uint8
		up         bool
		want       int // results until the first finding
	}{
		{registry.Up, 0, 0, false, 3}, {registry.Up, 0, 1, false, 2}, {registry.Up, 0, 2, false, 1}, {registry.Up, 0, 3, false, 1}, {registry.Up, 0, 255, false, 1},
		{registry.Up, 0, 2, true, 2}, {registry.Down, 0, 0, true, 2}, {registry.Down, 1, 0, true, 1}, {registry.Down, 200, 0, true, 1}, {registry.Down, 1, 0, false, 3},
	} {
		q := assigned(1, 1, b.status)
		q.Groups[0].Rows[0].Ups, q.Groups[0].Rows[0].Downs = b.ups, b.downs
		d := &driven{c: NewChecker(2, 7, nil), poll: q, up: b.up}
		d.ask()
		if len(d.told) > 0 {
			t.Errorf("%+v: before any result it tells %+v", b, d.told)
		}
		for end := 5 * time.Second; len(d.told) == 0 && d.now < end; {
			d.run(tickEvery)
		}
		if n := d.c.counts.Probes; len(d.told) == 0 || int(n) != b.want || d.told[0].Finding == wire.FindingUp != b.up {
			t.Errorf("%+v: after %d results it tells %+v", b, n, d.told)
		}
	}
}

// A leader hands on what a checker had counted when it was killed, and what it had found that
// is not in the record yet; but not what was counted long ago.
func TestHandedOn(t *testing.T) {
	for name, b := range map[string]struct {
		state wire.CheckState
		away  time.Duration // until there is a node again
		want  uint8         // failures of the row that it gets
	}{
		"two failures":              {wire.CheckState{Downs: 2}, silentEvery, 2},
		"two failures of a known":   {wire.CheckState{Finding: wire.FindingUp, Downs: 2}, silentEvery, 2},
		"down, and not reported":    {wire.CheckState{Finding: wire.FindingDown, Changes: 1}, silentEvery, 3},
		"down, and up once":         {wire.CheckState{Finding: wire.FindingDown, Changes: 1, Ups: 1}, silentEvery, 0},
		"up":                        {wire.CheckState{Finding: wire.FindingUp}, silentEvery, 0},
		"two failures, long before": {wire.CheckState{Downs: 2}, carryMax + tickEvery, 0},
	} {
		x := newAlone(t, 1, 1)
		a := x.assigner
		c := a.leads[0].order[0].checks[0]
		poll := func(after time.Duration) Action {
			t.Helper()
			x.now += after
			actions, _ := a.Turn(x.now, time.Time{})
			for _, p := range actions {
				if p.Kind == ActPoll {
					return p
				}
			}
			t.Fatalf("%s: at %v it does not poll", name, x.now)
			return Action{}
		}
		answer := func(p Action, ans wire.ChecksAnswer) { a.Polled(x.now, p.Number, &ans, nil) }
		answer(poll(0), wire.ChecksAnswer{Life: 7})
		p := poll(pollPause)
		s := b.state
		s.Group, s.Term, s.Number, s.Check = 1, 1, c.number, 1
		answer(p, wire.ChecksAnswer{Life: 7, Count: 1, At: []wire.ChecksAt{{Group: 1, Term: 1, At: c.number}}, States: []wire.CheckState{s}})
		p = poll(PollEvery)
		if a.Polled(x.now, p.Number, nil, fmt.Errorf("it breaks: %w", ErrNobody)); c.node != 0 {
			t.Fatalf("%s: the check stays with n%d", name, c.node)
		}
		answer(poll(b.away), wire.ChecksAnswer{Life: 8})
		p = poll(pollPause)
		if len(p.Poll.Groups) != 1 || len(p.Poll.Groups[0].Rows) != 1 {
			t.Fatalf("%s: it is sent %+v", name, p.Poll)
		}
		if r := p.Poll.Groups[0].Rows[0]; r.Downs != b.want || r.Ups != 0 {
			t.Errorf("%s: it gets %d successes and %d failures, want %d failures", name, r.Ups, r.Downs, b.want)
		}
	}
}
