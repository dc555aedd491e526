package health

import (
	"errors"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// losses returns the changes that are noted as lost, of the instances, in this turn.
func (x *hooking) losses() (hooks, lost []Hook) {
	actions, _ := x.a.Turn(x.now, time.UnixMilli(0))
	for _, a := range actions {
		switch a.Kind {
		case ActHook:
			hooks = append(hooks, *a.Hook)
		case ActLost:
			lost = append(lost, *a.Hook)
		}
	}
	return hooks, lost
}

// hook returns the number of the webhook that is under way.
func (x *hooking) hook() uint64 {
	for number, f := range x.a.flights {
		if f.kind == ActHook {
			return number
		}
	}
	x.t.Fatal("no webhook is under way")
	return 0
}

func (x *hooking) changes(i *registry.Instance, n int) {
	for range n {
		to := registry.Up
		if i.Status == registry.Up {
			to = registry.Down
		}
		x.change(i, to)
	}
}

// trim leaves an instance its last n changes, as a record does that has no room for more.
func trim(i *registry.Instance, n int) { i.Changes = i.Changes[len(i.Changes)-n:] }

// Changes that the record holds no more are counted, noted once for an instance until one is told,
// and reported, so that the next leader counts them no more. What the oldest one that is left began
// from is not known.
func TestHooksLostAreCounted(t *testing.T) {
	x := newHooking(t, 1)
	const changes = registry.ChangesMax + 3
	x.record(0, func(a, b *registry.Instance) { x.changes(a, changes) })
	hooks, lost := x.losses()
	if len(hooks) != 1 || hooks[0].Count != 4 || !hooks[0].NoFrom || hooks[0].To != registry.Down {
		t.Fatalf("told %+v", hooks)
	}
	if len(lost) != 1 || lost[0].Instance != "a" || lost[0].Count != 1 || x.a.Counts().HooksLost != 3 {
		t.Fatalf("%+v is noted as lost, %d counted", lost, x.a.Counts().HooksLost)
	}
	// Two more go while the fourth is on its way: that one counts by how it ends.
	number := x.hook()
	x.record(0, func(a, b *registry.Instance) { x.changes(a, 2) })
	if _, lost := x.losses(); len(lost) != 0 || x.a.Counts().HooksLost != 3 {
		t.Fatalf("%+v is noted as lost, %d counted", lost, x.a.Counts().HooksLost)
	}
	x.a.Hooked(x.now, number, errors.New("status 500"))
	x.now += hookPauseMin
	hooks, lost = x.losses()
	if len(hooks) != 1 || hooks[0].Count != 6 || !hooks[0].NoFrom || len(lost) != 0 || x.a.Counts().HooksLost != 5 {
		t.Fatalf("told %+v; %+v is noted as lost again, %d counted", hooks, lost, x.a.Counts().HooksLost)
	}
	if got := x.a.Missed(); len(got) != 1 || got[0].Instances != 1 || got[0].Full {
		t.Fatalf("%+v are missed", got)
	}
	x.a.Hooked(x.now, x.hook(), nil)
	if got := x.a.Missed(); len(got) != 0 {
		t.Fatalf("%+v are missed after one was told", got)
	}
	x.a.Hooked(x.now, x.one("a", 7, registry.Down, registry.Up).Number, nil)

	// A record without any room holds no change: all are lost, and it is noted anew.
	x.record(0, func(a, b *registry.Instance) { x.changes(a, 1); trim(a, 0) })
	hooks, lost = x.losses()
	if len(hooks) != 0 || len(lost) != 1 || lost[0].Count != 8 || x.a.Counts().HooksLost != 5+changes+2+1-7 {
		t.Fatalf("told %+v; %+v is noted as lost, %d counted", hooks, lost, x.a.Counts().HooksLost)
	}
	if got := x.a.Missed(); len(got) != 1 || got[0].Service != x.rows[0].Name || !got[0].Full {
		t.Fatalf("%+v are missed", got)
	}
	x.record(0, func(a, b *registry.Instance) { a.Hooked = a.Count })
	before := x.a.Counts().HooksLost
	x.lead()
	if hooks, lost = x.losses(); len(hooks)+len(lost) != 0 || x.a.Counts().HooksLost != before {
		t.Fatalf("the next leader tells %+v, and notes %+v", hooks, lost)
	}
}

// An instance that is removed by hand takes with it what was not told.
func TestHooksLostWithTheirInstance(t *testing.T) {
	x := newHooking(t, 1)
	x.record(0, func(a, b *registry.Instance) { x.changes(a, 1); x.changes(b, 2) })
	first := x.one("a", 1, registry.Unknown, registry.Up)
	row := &x.rows[0]
	next := *row.Service
	next.Instances = nil
	row.Service, row.Version = &next, row.Version+1
	x.take()
	if _, lost := x.losses(); len(lost) != 1 || lost[0].Instance != "b" || lost[0].Count != 1 || x.a.Counts().HooksLost != 2 {
		t.Fatalf("%+v is noted as lost, %d counted", lost, x.a.Counts().HooksLost)
	}
	x.a.Hooked(x.now, first.Number, errors.New("status 500"))
	if n := x.a.Counts().HooksLost; n != 3 {
		t.Errorf("%d counted", n)
	}
}

// An instance is not deregistered before its webhook has heard that it is down, or can't for
// an hour.
func TestDeregisteredWhenTold(t *testing.T) {
	for _, hears := range []bool{true, false} {
		x := newHooking(t, 1)
		row := &x.rows[0]
		next := *row.Service
		next.Settings = settings(settingDeregister, "10000", settingWebhook, "http://hooks.example/")
		row.Service = &next
		x.record(0, func(a, b *registry.Instance) { x.changes(a, 2) })
		began := x.now
		if err := x.a.Heartbeat(x.now, 1, "s0", "a", false, ""); err != (*wire.Error)(nil) {
			t.Fatal(err)
		}
		answer := errors.New("status 500")
		gone := time.Duration(0)
		for ; gone == 0 && x.now-began < 2*hookFor; x.now += time.Second {
			if hears && x.now-began > time.Minute {
				answer = nil
			}
			hooks, reports := x.turn()
			for _, h := range hooks {
				x.a.Hooked(x.now, h.Number, answer)
			}
			for _, r := range reports {
				for _, row := range r.Report.Rows {
					if row.Op == shardmap.ReportGone {
						gone = x.now - began
					}
				}
				x.a.Proposed(x.now, r.Number, nil)
			}
		}
		least, most := time.Minute, 3*time.Minute
		if !hears {
			least, most = hookFor, hookFor+time.Minute
		}
		if gone < least || gone > most {
			t.Errorf("deregistered after %v, want %v to %v", gone, least, most)
		}
		if lost := x.a.Counts().HooksLost; hears != (lost == 0) {
			t.Errorf("%d lost", lost)
		}
	}
}

// An instance whose record has no room for changes flaps too.
func TestFlapsWithoutChanges(t *testing.T) {
	x := newHooking(t, 1)
	status := func() registry.Status { return x.rows[0].Service.Instances[0].Status }
	for n := range 2 * FlapChanges {
		if status() == registry.Flapping {
			if n != FlapChanges {
				t.Errorf("flapping after %d changes", n)
			}
			return
		}
		if err := x.a.Heartbeat(x.now, 1, "s0", "a", n%2 == 0, ""); err != (*wire.Error)(nil) {
			t.Fatal(err)
		}
		_, reports := x.turn()
		for _, r := range reports {
			for _, row := range r.Report.Rows {
				if row.Op == shardmap.ReportStatus {
					x.record(0, func(a, b *registry.Instance) { x.change(a, row.Status); trim(a, 0) })
				}
			}
			x.a.Proposed(x.now, r.Number, nil)
		}
		x.now += time.Second
	}
	t.Errorf("it is %v", status())
}
