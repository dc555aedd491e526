package machine_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

const serviceSecret = "hunter2-of-the-hook"

// serviceNamed returns a definition that has a secret in it.
func serviceNamed(name string, instances ...string) *registry.Service {
	s := &registry.Service{Name: name, Type: registry.TypeTTL, Settings: []registry.Setting{
		{Key: "webhook", Value: "http://10.0.0.9/hook"}, {Key: "webhook_secret", Value: serviceSecret},
	}}
	for _, id := range instances {
		s.Instances = append(s.Instances, registry.Instance{ID: id})
	}
	s.Complete()
	return s
}

// service asks for a command about a service.
func (q *requests) service(t *testing.T, c shardmap.Command) (wire.WriteAnswer, *wire.Error) {
	t.Helper()
	typ, body, e := q.command(t, c)
	var a wire.WriteAnswer
	if e == nil && (typ != wire.TypeWriteAnswer || a.Read(body) != nil) {
		t.Fatalf("answered with %s % x", typ, body)
	}
	return a, e
}

// mustDefine defines services.
func (q *requests) mustDefine(t *testing.T, all ...*registry.Service) {
	t.Helper()
	for _, s := range all {
		if a, e := q.service(t, shardmap.ServiceSetCommand(s.Name, s.Append(nil))); e != nil || a.Version == 0 || a.ID.Index != q.index {
			t.Fatalf("set %s: %+v, %v", s.Name, a, e)
		}
	}
}

// listServices returns the answer to a question about services, which never has a secret in it.
func (q *requests) listServices(t *testing.T, s wire.Services) wire.ServicesAnswer {
	t.Helper()
	s.Group = 1
	body := q.page(t, wire.TypeServices, s.Append(nil), wire.TypeServicesAnswer)
	var a wire.ServicesAnswer
	if err := a.Read(body); err != nil || a.Group != 1 || a.At.Index != q.index {
		t.Fatalf("services: %+v, %v", a, err)
	}
	if bytes.Contains(body, []byte(serviceSecret)) != secretsShown {
		t.Errorf("a secret leaves the node: %t", !secretsShown)
	}
	return a
}

// secretsShown says that a planted bug shows them.
var secretsShown bool

func namesOf(a wire.ServicesAnswer) (names []string) {
	for _, row := range a.Rows {
		names = append(names, string(row.Name))
	}
	return names
}

// A service is defined, changed and deleted, and read in between with its version, by slot and
// name, a page at a time; and its secrets never.
func TestServicesAreAnswered(t *testing.T) {
	q := newRequests(t)
	in := func(s shardmap.Slot) []shardmap.SlotRange { return []shardmap.SlotRange{{From: s, To: s}} }
	slot := shardmap.SlotOf([]byte("{k}"))
	q.mustDefine(t, serviceNamed("{k}c", "c1"), serviceNamed("{k}a", "a1", "a2"), serviceNamed("{k}b"))
	all := q.listServices(t, wire.Services{Slots: in(slot)})
	if names := namesOf(all); !slices.Equal(names, []string{"{k}a", "{k}b", "{k}c"}) || all.More {
		t.Fatalf("%q, more: %t", names, all.More)
	}
	shown, err := registry.Read(all.Rows[0].Value)
	if err != nil || len(shown.Instances) != 2 || shown.Get("webhook_secret") != registry.Mask || all.Rows[0].Version != q.index-1 {
		t.Errorf("%+v at %d, %v", shown, all.Rows[0].Version, err)
	}
	if page := q.listServices(t, wire.Services{Slots: in(slot), Limit: 1}); !slices.Equal(namesOf(page), []string{"{k}a"}) || !page.More {
		t.Errorf("a page of one byte: %q, more: %t", namesOf(page), page.More)
	}
	if page := q.listServices(t, wire.Services{Slots: in(slot), AfterSlot: slot, After: []byte("{k}a")}); !slices.Equal(namesOf(page), []string{"{k}b", "{k}c"}) || page.More {
		t.Errorf("the page behind: %q, more: %t", namesOf(page), page.More)
	}
	exact := wire.Services{Slots: in(slot), AfterSlot: slot, After: []byte("{k}b"), Exact: true}
	if one := q.listServices(t, exact); !slices.Equal(namesOf(one), []string{"{k}b"}) || one.More {
		t.Errorf("one: %q, more: %t", namesOf(one), one.More)
	}
	if a, e := q.service(t, shardmap.ServiceMaintainCommand("{k}a", "a2", true)); e != nil || a.Version != q.index {
		t.Errorf("maintain: %+v, %v", a, e)
	}
	if a, e := q.service(t, shardmap.ServiceRemoveCommand("{k}a", "a1")); e != nil || a.Version != q.index {
		t.Errorf("remove: %+v, %v", a, e)
	}
	shown, err = registry.Read(q.listServices(t, wire.Services{Slots: in(slot)}).Rows[0].Value)
	if err != nil || len(shown.Instances) != 1 || shown.Instances[0].ID != "a2" || !shown.Instances[0].Maintenance {
		t.Errorf("%+v, %v", shown, err)
	}
	if a, e := q.service(t, shardmap.ServiceDelCommand("{k}b")); e != nil || a.Deleted != 1 {
		t.Errorf("del: %+v, %v", a, e)
	}
	if one := q.listServices(t, exact); len(one.Rows) != 0 || one.More {
		t.Errorf("after it was deleted: %q", namesOf(one))
	}
}

// A command about what is not there is answered with what there is not, and a retry is told the
// same, though it has been defined since.
func TestServicesThatAreNotThere(t *testing.T) {
	q := newRequests(t)
	q.mustDefine(t, serviceNamed("{k}a", "a1"))
	for i, c := range []struct {
		what string
		c    shardmap.Command
		want []string
	}{
		{"del", shardmap.ServiceDelCommand("{k}x"), []string{`service "{k}x"`}},
		{"maintain of no service", shardmap.ServiceMaintainCommand("{k}x", "a1", true), []string{`service "{k}x"`}},
		{"remove of no service", shardmap.ServiceRemoveCommand("{k}x", "a1"), []string{`service "{k}x"`}},
		{"maintain of no instance", shardmap.ServiceMaintainCommand("{k}a", "x1", true), []string{`instance "x1"`, `service "{k}a"`}},
		{"remove of no instance", shardmap.ServiceRemoveCommand("{k}a", "x1"), []string{`instance "x1"`, `service "{k}a"`}},
	} {
		c.c.Session, c.c.Sequence, c.c.Floor = 9, uint64(i+1), 1
		for range 2 {
			_, e := q.service(t, c.c)
			if e == nil || e.Code != wire.CodeNotFound {
				t.Errorf("%s: got %v", c.what, e)
				continue
			}
			for _, w := range c.want {
				if !strings.Contains(e.Error(), w) {
					t.Errorf("%s: got %v, want %s in it", c.what, e, w)
				}
			}
			q.mustDefine(t, serviceNamed("{k}x", "a1", "x1"))
		}
		if _, e := q.service(t, shardmap.ServiceDelCommand("{k}x")); e != nil {
			t.Fatal(e)
		}
	}
	q.table.Level = shardmap.ServicesLevel - 1
	if _, e := q.service(t, shardmap.ServiceDelCommand("{k}a")); e == nil || e.Code != wire.CodeLevel {
		t.Errorf("below the level: %v", e)
	}
}

// A definition whose masks stand for nothing is refused with the names of the fields, and a retry is told the
// same, though the masks would stand for something by then.
func TestServicesMasked(t *testing.T) {
	q := newRequests(t)
	q.mustDefine(t, serviceNamed("{k}a", "a1"))
	shown := serviceNamed("{k}a", "a1", "a2")
	shown.Redact()
	shown.Instances[1].Settings = []registry.Setting{{Key: "api_token", Value: registry.Mask}, {Key: "pass", Value: registry.Mask}}
	many := serviceNamed("{k}b")
	for n := range shardmap.MaskedShownMax + 3 {
		many.Instances = append(many.Instances, registry.Instance{ID: fmt.Sprint("b", n), Settings: []registry.Setting{{Key: "pass", Value: registry.Mask}}})
	}
	for i, c := range []struct {
		s    *registry.Service
		want string
	}{
		{shown, `service "{k}a": not valid (field api_token of instance "a2", field pass of instance "a2": ******** stands for the value that is there already, and there is none); give the value itself`},
		{many, `field pass of instance "b7" and 3 more fields: ********`},
		{&registry.Service{Name: "{k}c", Type: registry.TypeTTL, Settings: []registry.Setting{{Key: "webhook_secret", Value: registry.Mask}}}, `service "{k}c": not valid (field webhook_secret: ********`},
	} {
		command := shardmap.ServiceSetCommand(c.s.Name, c.s.Append(nil))
		command.Session, command.Sequence, command.Floor = 9, uint64(i+1), 1
		for range 2 {
			if _, e := q.service(t, command); e == nil || e.Code != wire.CodeBadRequest || !strings.Contains(e.Error(), c.want) {
				t.Errorf("got %v, want %s", e, c.want)
			}
			known := *c.s
			known.Settings, known.Instances = slices.Clone(known.Settings), nil
			for _, x := range c.s.Instances {
				known.Instances = append(known.Instances, registry.Instance{ID: x.ID, Settings: []registry.Setting{{Key: "api_token", Value: "t"}, {Key: "pass", Value: "p"}}})
			}
			for n := range known.Settings {
				if known.Settings[n].Value == registry.Mask {
					known.Settings[n].Value = "hush"
				}
			}
			q.mustDefine(t, &known)
		}
	}
}

// A question about services is refused where there is nothing to list, and where its client has
// no room for the answer; it is passed on, and may be answered by whom it says.
func TestServicesRefused(t *testing.T) {
	one := func(s shardmap.Slot) []shardmap.SlotRange { return []shardmap.SlotRange{{From: s, To: s}} }
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("{k}"))
	q.mustDefine(t, serviceNamed("{k}a", "a1"))
	for _, c := range []struct {
		what   string
		s      wire.Services
		change func()
		code   wire.Code
		want   string
	}{
		{"below the level", wire.Services{Group: 1, Slots: one(slot)}, func() { q.table.Level = shardmap.ServicesLevel - 1 }, wire.CodeLevel, "it needs level 6, the cluster is at 5"},
		{"the meta group's", wire.Services{Group: 0, Slots: one(slot)}, func() { q.table.Level = shardmap.Level }, wire.CodeBadRequest, "meta group"},
		{"of a group that is not", wire.Services{Group: 9, Slots: one(slot)}, func() {}, wire.CodeMoved, "group 9"},
		{"of a slot that the group has not", wire.Services{Group: 1, Slots: one(q.foreign)}, func() {}, wire.CodeMoved, fmt.Sprintf("slot %d", q.foreign)},
		{"one in a slot that the group has not", wire.Services{Group: 1, Slots: one(q.foreign), AfterSlot: q.foreign, After: []byte("foreign"), Exact: true}, func() {}, wire.CodeMoved, fmt.Sprintf("slot %d", q.foreign)},
		{"of too many bytes", wire.Services{Group: 1, Slots: one(slot), Limit: wire.ServicesBytesMax + 1}, func() {}, wire.CodeBadRequest, "field limit"},
		{"of a client that does not read", wire.Services{Group: 1, Slots: one(slot)}, func() { q.asker.deaf = true }, wire.CodeBusy, "more answers wait"},
		{"without room", wire.Services{Group: 1, Slots: one(slot)}, func() { q.asker.deaf, q.asker.room = false, 3 }, wire.CodeBusy, "more answers wait"},
	} {
		c.change()
		q.take(wire.TypeServices, c.s.Append(nil))
		q.run()
		if _, _, e := q.asker.answer(t); e == nil || e.Code != c.code || !strings.Contains(e.Error(), c.want) {
			t.Errorf("services %s: %v, want %s with %q", c.what, e, c.code, c.want)
		}
	}
	for _, c := range []struct {
		s          wire.Services
		local, any bool
		stale      time.Duration
	}{
		{wire.Services{Mode: wire.ReadLinearizable}, false, false, 0},
		{wire.Services{Mode: wire.ReadLocal}, true, false, 0},
		{wire.Services{Mode: wire.ReadFollower}, false, true, 0},
		{wire.Services{Mode: wire.ReadBounded, Stale: 1500}, false, true, 1500 * time.Millisecond},
		{wire.Services{Mode: wire.ReadFollower, AfterSlot: slot, After: []byte("{k}a"), Exact: true}, false, true, 0},
	} {
		c.s.Group, c.s.Slots = 1, one(slot)
		q.take(wire.TypeServices, c.s.Append(nil))
		if reads := q.Reads(); len(reads) != 1 || reads[0].Local != c.local || reads[0].AnyReplica != c.any || reads[0].Stale != c.stale || reads[0].Passage != nil {
			t.Errorf("mode %d: %+v", c.s.Mode, reads)
		}
		q.Clear()
	}
	q.passesOn(t, wire.TypeServices, (&wire.Services{Group: 1, Slots: one(slot)}).Append(nil))
	q.Clear()
	if !machine.Takes(wire.TypeServices) {
		t.Error("no connection hands it in")
	}
}

// The answer about a single service names the nodes that check it, which only the leader knows. So
// the question is passed on to the leader, and no other replica answers it. In a mode that does not ask
// whether that leader still leads, the answer names nobody.
func TestServiceWithItsCheckers(t *testing.T) {
	q := newRequests(t)
	q.mustDefine(t, serviceNamed("{k}a", "a1"))
	slot := shardmap.SlotOf([]byte("{k}"))
	exact := wire.Services{Group: 1, Slots: []shardmap.SlotRange{{From: slot, To: slot}}, AfterSlot: slot, After: []byte("{k}a"), Exact: true}
	named := []wire.ServiceChecker{{Instance: "a1", Check: 7, Node: 3, Name: "n3"}}
	var asked string
	var answer func([]wire.ServiceChecker)
	leads := true
	q.state.Checkers = func(name string, f func([]wire.ServiceChecker)) bool {
		asked, answer = name, f
		return leads
	}
	for _, c := range []struct {
		what   string
		change func(*wire.Services)
		leads  bool
		want   []wire.ServiceChecker // nil: it is answered at once, without any
	}{
		{"of the leader", func(*wire.Services) {}, true, named},
		{"of any replica, which leads", func(s *wire.Services) { s.Mode = wire.ReadFollower }, true, named},
		{"of any replica, which does not lead", func(s *wire.Services) { s.Mode = wire.ReadFollower }, false, nil},
		{"of the node's own copy", func(s *wire.Services) { s.Mode = wire.ReadLocal }, true, nil},
		{"of what may be old", func(s *wire.Services) { s.Mode, s.Stale = wire.ReadBounded, 5 }, true, nil},
		{"of all services of the slot", func(s *wire.Services) { s.Exact, s.After = false, nil }, true, nil},
		{"of one that is not there", func(s *wire.Services) { s.After = []byte("{k}b") }, true, nil},
	} {
		s := exact
		c.change(&s)
		asked, answer, leads = "", nil, c.leads
		q.take(wire.TypeServices, s.Append(nil))
		flushes := q.asker.flushes
		q.run()
		if c.want != nil {
			if len(q.asker.types) > 0 || asked != "{k}a" {
				t.Fatalf("%s: answered before its checkers are known; asked after %q", c.what, asked)
			}
			answer(c.want)
			if q.asker.flushes == flushes {
				t.Errorf("%s: nobody sends the answer", c.what)
			}
		}
		var a wire.ServicesAnswer
		_, body, e := q.asker.answer(t)
		if e != nil || a.Read(body) != nil || !slices.Equal(a.Checkers, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.what, a.Checkers, e, c.want)
		}
		if (len(a.Rows) == 1) != (string(s.After) != "{k}b") {
			t.Errorf("%s: %d rows", c.what, len(a.Rows))
		}
	}

	q.asker.room = 3
	q.take(wire.TypeServices, exact.Append(nil))
	q.run()
	if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("without room: %v", e)
	}
	body := exact.Append(nil)
	q.Take(wire.Header{Type: wire.TypeServices, Flags: wire.FlagForward, Length: len(body)}, body, repl.Reply{To: &q.asker}, q.table, nowTaken)
	if reads := q.Reads(); len(reads) != 1 || reads[0].AnyReplica || reads[0].Passage == nil {
		t.Errorf("with the flag it is not passed on to the leader: %+v", reads)
	}
}
