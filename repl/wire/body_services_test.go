package wire_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Limits of the bodies about services are refused by name.
func TestServicesLimits(t *testing.T) {
	all := []shardmap.SlotRange{{From: 0, To: 4095}}
	db := []byte("db")
	slot := shardmap.SlotOf(db)
	own := []shardmap.SlotRange{{From: slot, To: slot}}
	long := bytes.Repeat([]byte("x"), registry.NameMax)
	beat := func(change func(*wire.Heartbeat)) []byte {
		h := wire.Heartbeat{Group: 1, Name: "n", Instance: "i", Status: wire.HeartbeatDown}
		change(&h)
		return h.Append(nil)
	}
	ask := func(q wire.Services) []byte { return q.Append(nil) }
	rows := func(n int, row wire.ServiceRow) []byte {
		a := wire.ServicesAnswer{Rows: make([]wire.ServiceRow, n)}
		for i := range a.Rows {
			a.Rows[i] = row
		}
		return a.Append(nil)
	}
	checkers := func(n int, c wire.ServiceChecker) []byte {
		return (&wire.ServicesAnswer{Checkers: slices.Repeat([]wire.ServiceChecker{c}, n)}).Append(nil)
	}
	longID := strings.Repeat("i", registry.IDMax)
	small := wire.ServiceRow{Name: []byte("n"), Value: []byte{0}}
	watch := func(w wire.Watch) []byte {
		w.PieceBytes, w.Now = wire.StreamPieceMin, true
		if w.Slots == nil {
			w.Slots = all
		}
		return w.Append(nil)
	}
	for _, c := range []struct {
		name string
		typ  wire.Type
		body []byte
		want string // in the error; "": none
	}{
		{"all services", wire.TypeServices, ask(wire.Services{Slots: all}), ""},
		{"services behind the longest name", wire.TypeServices, ask(wire.Services{Slots: all, AfterSlot: 4095, After: long, Limit: wire.ServicesBytesMax}), ""},
		{"one service", wire.TypeServices, ask(wire.Services{Slots: own, AfterSlot: slot, After: db, Exact: true, Mode: wire.ReadBounded, Stale: 5}), ""},
		{"services of no slot", wire.TypeServices, ask(wire.Services{}), "field slots: 0 of them"},
		{"services of group 10000", wire.TypeServices, ask(wire.Services{Group: 10000, Slots: all}), "field group: 10000; want 9999"},
		{"services in mode 4", wire.TypeServices, ask(wire.Services{Slots: all, Mode: 4}), "field mode: 4; want 3"},
		{"services that may be old in mode 2", wire.TypeServices, ask(wire.Services{Slots: all, Mode: 2, Stale: 5}), "field stale: 5 ms in mode 2"},
		{"services behind slot 4096", wire.TypeServices, ask(wire.Services{Slots: all, AfterSlot: 4096}), "field after slot: 4096; want 4095"},
		{"services behind a long name", wire.TypeServices, ask(wire.Services{Slots: all, After: append(long, 'x')}), "field after: a name of 129 bytes"},
		{"services of too many bytes", wire.TypeServices, ask(wire.Services{Slots: all, Limit: wire.ServicesBytesMax + 1}), "field limit: 262145 bytes"},
		{"one service without a name", wire.TypeServices, ask(wire.Services{Slots: own, AfterSlot: slot, Exact: true}), "field after: 0 bytes beside exact"},
		{"one service in all slots", wire.TypeServices, ask(wire.Services{Slots: all, AfterSlot: slot, After: db, Exact: true}), `want the slot of "db" alone`},
		{"one service in another slot", wire.TypeServices, ask(wire.Services{Slots: []shardmap.SlotRange{{From: slot + 1, To: slot + 1}}, AfterSlot: slot + 1, After: db, Exact: true}), `want the slot of "db" alone`},
		{"one service behind another slot", wire.TypeServices, ask(wire.Services{Slots: own, After: db, Exact: true}), `want the slot of "db" alone`},
		{"most rows", wire.TypeServicesAnswer, rows(wire.ServicesRowsMax, small), ""},
		{"a row more", wire.TypeServicesAnswer, rows(wire.ServicesRowsMax+1, small), "10001 rows"},
		{"a row without a name", wire.TypeServicesAnswer, rows(1, wire.ServiceRow{Value: []byte("0000")}), "a name of 0 bytes"},
		{"a row without a value", wire.TypeServicesAnswer, rows(1, wire.ServiceRow{Name: long}), "a value of 0"},
		{"a row of a long name", wire.TypeServicesAnswer, rows(1, wire.ServiceRow{Name: append(long, 'x'), Value: []byte{0}}), "a name of 129 bytes"},
		{"most checkers", wire.TypeServicesAnswer, checkers(registry.InstancesMax, wire.ServiceChecker{Instance: longID, Check: 1, Node: 1}), ""},
		{"a checker more", wire.TypeServicesAnswer, checkers(registry.InstancesMax+1, wire.ServiceChecker{Instance: "i", Node: 1}), "513 checkers"},
		{"a checker of no instance", wire.TypeServicesAnswer, checkers(1, wire.ServiceChecker{Check: 1000, Node: 1}), "an instance of 0 bytes"},
		{"a checker of a long id", wire.TypeServicesAnswer, checkers(1, wire.ServiceChecker{Instance: longID + "x", Node: 1}), "an instance of 257 bytes"},
		{"a checker that is no node", wire.TypeServicesAnswer, checkers(1, wire.ServiceChecker{Instance: "i"}), "want 1 to 256, and a node"},
		{"the largest heartbeat", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) {
			h.Name, h.Instance, h.Note = string(long), strings.Repeat("i", registry.IDMax), strings.Repeat("r", registry.ReasonMax)
		}), ""},
		{"a heartbeat to group 10000", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Group = 10000 }), "field group: 10000"},
		{"a heartbeat of no service", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Name = "" }), "field service: 0 bytes"},
		{"a heartbeat of a long name", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Name = string(long) + "x" }), "field service: 129 bytes"},
		{"a heartbeat of no instance", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Instance = "" }), "field instance: 0 bytes"},
		{"a heartbeat of a long id", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Instance = strings.Repeat("i", 257) }), "field instance: 257 bytes; want 1 to 256"},
		{"a heartbeat without a status", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Status = 0 }), "field status: 0"},
		{"a heartbeat of status 3", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Status = 3 }), "field status: 3"},
		{"a heartbeat with a long note", wire.TypeHeartbeat, beat(func(h *wire.Heartbeat) { h.Note = strings.Repeat("r", 257) }), "field note: 257 bytes"},
		{"a watch of all services", wire.TypeWatch, watch(wire.Watch{Services: true}), ""},
		{"a watch of a service", wire.TypeWatch, watch(wire.Watch{Services: true, From: db, Exact: true, Slots: own}), ""},
		{"a watch of a range of services", wire.TypeWatch, watch(wire.Watch{Services: true, From: db}), "field services: beside a range"},
		{"a watch of services up to one", wire.TypeWatch, watch(wire.Watch{Services: true, To: db}), "field services: beside a range"},
		{"a watch of what services were", wire.TypeWatch, watch(wire.Watch{Services: true, Prev: true}), "field services: beside a range of keys, or prev"},
	} {
		err := wire.ReadBody(c.typ, c.body)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// A node of the build before this one must read a watch of keys, and refuse one of services
// rather than take it for one of keys; and there is one body for each meaning.
func TestWatchOfServices(t *testing.T) {
	w := wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: []shardmap.SlotRange{{From: 0, To: 4095}}, Now: true}
	keys := w.Append(nil)
	w.Services = true
	services := w.Append(nil)
	if keys[0] != 0x9a || services[0] != 0x9b || services[len(services)-1] != 0xc3 {
		t.Errorf("keys % x, services % x", keys, services)
	}
	var got wire.Watch
	if err := got.Read(services); err != nil || !got.Services {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := got.Read(keys); err != nil || got.Services {
		t.Errorf("after one of services: got %+v, %v", got, err)
	}
	services[len(services)-1] = 0xc2
	if err := got.Read(services); err == nil {
		t.Error("services: false is read")
	}
}
