package health

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap/registry"
)

// hooking is an assigner with services whose instances report themselves, so that nothing but
// webhooks and reports about them happens.
type hooking struct {
	t    *testing.T
	now  time.Duration
	a    *Assigner
	term uint64
	rows []Row
}

func newHooking(t *testing.T, services int) *hooking {
	x := &hooking{t: t, a: NewAssigner(1), now: time.Hour}
	x.a.Alive(x.now, []raft.NodeID{1})
	for i := range services {
		s := &registry.Service{Name: fmt.Sprintf("s%d", i), Type: registry.TypeTTL, Settings: settings(settingWebhook, "http://hooks.example/"),
			Instances: []registry.Instance{{ID: "a", Check: 1, Settings: settings("interval", "86400000")}, {ID: "b", Check: 1, Settings: settings("interval", "86400000")}}}
		x.rows = append(x.rows, Row{Name: s.Name, Service: s})
	}
	x.lead()
	return x
}

// lead begins a term.
func (x *hooking) lead() {
	x.term++
	x.a.Lead(x.now, 1, 1, x.term)
	x.take()
}

func (x *hooking) take() {
	for i := range x.rows {
		x.rows[i].SlotTime = uint64(x.now / time.Millisecond)
	}
	x.a.Services(x.now, 1, x.term, x.rows)
}

// record changes the record of a service.
func (x *hooking) record(service int, f func(a, b *registry.Instance)) {
	row := &x.rows[service]
	next := *row.Service
	next.Instances = append([]registry.Instance(nil), next.Instances...)
	for i := range next.Instances {
		next.Instances[i].Changes = append([]registry.Change(nil), next.Instances[i].Changes...)
	}
	f(&next.Instances[0], &next.Instances[1])
	row.Service = &next
	row.Version++
	x.take()
}

func (x *hooking) change(i *registry.Instance, to registry.Status) {
	i.Report(to, "", 0, uint64(x.now/time.Millisecond))
}

// turn returns the webhooks and the reports that are due.
func (x *hooking) turn() (hooks, reports []Action) {
	actions, _ := x.a.Turn(x.now, time.UnixMilli(0))
	for _, a := range actions {
		switch a.Kind {
		case ActHook:
			hooks = append(hooks, a)
		case ActPropose:
			reports = append(reports, a)
		}
	}
	return hooks, reports
}

// one wants one webhook, of that change.
func (x *hooking) one(instance string, count uint64, from, to registry.Status) Action {
	x.t.Helper()
	hooks, _ := x.turn()
	if len(hooks) != 1 {
		x.t.Fatalf("%d webhooks", len(hooks))
	}
	if h := hooks[0].Hook; h.Instance != instance || h.Count != count || h.From != from || h.To != to {
		x.t.Fatalf("got %s change %d from %s to %s; want %s change %d from %s to %s", h.Instance, h.Count, h.From, h.To, instance, count, from, to)
	}
	return hooks[0]
}

func (x *hooking) none() {
	x.t.Helper()
	if hooks, _ := x.turn(); len(hooks) != 0 {
		x.t.Fatalf("a webhook of %s, change %d", hooks[0].Hook.Instance, hooks[0].Hook.Count)
	}
}

// Each change is told, in order, one at a time; the record hears of it; the next leader goes on
// behind what the record has.
func TestHooksInOrder(t *testing.T) {
	x := newHooking(t, 1)
	x.record(0, func(a, b *registry.Instance) {
		x.change(a, registry.Up)
		x.change(a, registry.Down)
		x.change(b, registry.Up)
	})
	first := x.one("a", 1, registry.Unknown, registry.Up)
	x.none() // one at a time
	x.a.Hooked(x.now, first.Number, nil)
	hooks, reports := x.turn()
	if len(hooks) != 1 || hooks[0].Hook.Count != 2 || len(reports) != 1 || len(reports[0].Report.Rows) != 1 || reports[0].Report.Rows[0].At != 1 {
		t.Fatalf("%d webhooks, %v", len(hooks), reports)
	}
	x.record(0, func(a, b *registry.Instance) { a.Hooked = 1 })
	x.a.Proposed(x.now, reports[0].Number, nil)
	x.a.Hooked(x.now, hooks[0].Number, nil)
	// Its report is lost with the leader: the next one tells that change again, and no other.
	x.lead()
	again := x.one("a", 2, registry.Up, registry.Down)
	x.a.Hooked(x.now, again.Number, nil)
	x.a.Hooked(x.now, x.one("b", 1, registry.Unknown, registry.Up).Number, nil)
	if hooks, reports := x.turn(); len(hooks) != 0 || len(reports) > 1 {
		t.Fatalf("%d webhooks, %d reports", len(hooks), len(reports))
	}
}

// What fails is told again, with pauses that double, for an hour; then the next change has
// its turn. What comes later than it may counts as failed, and its end is then no news.
func TestHooksAgain(t *testing.T) {
	x := newHooking(t, 1)
	x.record(0, func(a, b *registry.Instance) { x.change(a, registry.Up) })
	began, tries := x.now, 0
	var last, pause time.Duration
	var late Action
	for late.Hook == nil {
		if hooks, _ := x.turn(); len(hooks) > 0 && hooks[0].Hook.Instance == "b" {
			late = hooks[0]
		} else if len(hooks) > 0 {
			if tries++; tries > 1 {
				if p := x.now - last; p < pause-time.Second || p > hookPauseMax+time.Second {
					t.Fatalf("after a pause of %v one of %v", pause, p)
				} else {
					pause = p
				}
			}
			last = x.now
			x.a.Hooked(x.now, hooks[0].Number, errors.New("status 500"))
		}
		switch x.now += time.Second; x.now - began {
		case hookFor + hookPauseMax + time.Minute:
			t.Fatal("it is not given up")
		case 30 * time.Minute:
			x.record(0, func(a, b *registry.Instance) { x.change(b, registry.Up) })
		}
	}
	if tries < 15 || tries > 25 || x.a.Counts().HooksLost != 1 {
		t.Errorf("%d tries, %d given up", tries, x.a.Counts().HooksLost)
	}
	x.now += hookLate
	x.none() // it pauses
	x.a.Hooked(x.now, late.Number, nil)
	x.now += hookPauseMin
	x.a.Hooked(x.now, x.one("b", 1, registry.Unknown, registry.Up).Number, nil)
	x.none()
}

// No more webhooks are under way at once than may be, and all come to be told.
func TestHooksMax(t *testing.T) {
	x := newHooking(t, 2*HooksMax)
	for i := range x.rows {
		x.record(i, func(a, b *registry.Instance) { x.change(a, registry.Up) })
	}
	told := 0
	hooks, _ := x.turn()
	if len(hooks) != HooksMax {
		t.Fatalf("%d at once", len(hooks))
	}
	for len(hooks) > 0 {
		told++
		x.a.Hooked(x.now, hooks[0].Number, nil)
		more, _ := x.turn()
		if hooks = append(hooks[1:], more...); len(hooks) > HooksMax {
			t.Fatalf("%d at once", len(hooks))
		}
	}
	if told != 2*HooksMax {
		t.Errorf("%d are told, want %d", told, 2*HooksMax)
	}
}
