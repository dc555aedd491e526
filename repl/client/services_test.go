package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// serviceOf returns a service with an instance of each weight, all of them up.
func serviceOf(name string, weights ...int) *registry.Service {
	s := &registry.Service{Name: name, Type: "tcp"}
	for i, w := range weights {
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("10.0.0.%d:80", i+1), Status: registry.Up,
			Settings: []registry.Setting{
				{Key: "host", Value: fmt.Sprintf("10.0.0.%d", i+1)}, {Key: "port", Value: "80"}, {Key: "priority", Value: fmt.Sprint(w)},
				{Key: "tags", Value: fmt.Sprint("t", i+1)}},
		})
	}
	return s
}

func mustSet(t testing.TB, c *Client, s *registry.Service) Written {
	t.Helper()
	w, err := c.SetService(within(t, 10*time.Second), s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A service is read as it was defined, by each way of reading, until it is deleted; an
// instance is taken out and removed by its id. What is not there is said to be of code not-found.
func TestService(t *testing.T) {
	f := newFakeOfLevel6(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	shop := serviceOf("shop", 1, 2)
	shop.Settings = []registry.Setting{{Key: "webhook", Value: "http://10.0.0.9/hook"}, {Key: "webhook_secret", Value: "s3cret"}}
	shop.Instances[0].ID = "" // which is completed
	w := mustSet(t, c, shop)
	for i, o := range []ReadOptions{{}, {Follower: true}, {MaxStale: time.Second}, {Local: true}} {
		item, err := c.Service(ctx, "shop", o)
		if err != nil {
			t.Fatal(err)
		}
		if pass := item.Service.Get("webhook_secret"); pass != registry.Mask {
			t.Errorf("%+v: the secret is shown: %q", o, pass)
		}
		if item.Service.Name != "shop" || len(item.Service.Instances) != 2 || item.Version != w.Version || item.Slot != shardmap.SlotOf([]byte("shop")) || int(item.Group) != f.ownerOf(item.Slot) || item.At.Index == 0 {
			t.Errorf("%+v: got %+v", o, item)
		}
		if mode := [...]wire.ReadMode{wire.ReadLinearizable, wire.ReadFollower, wire.ReadBounded, wire.ReadLocal}[i]; f.asked[mode] != 1 {
			t.Errorf("%+v: asked %v", o, f.asked)
		}
	}
	second := "10.0.0.2:80"
	for _, m := range []Maintenance{MaintenanceOn, MaintenanceOff, MaintenanceOn} {
		if w, err := c.Maintain(ctx, "shop", second, m); err != nil || w.Version == 0 {
			t.Fatalf("got %+v, %v", w, err)
		}
		if item, err := c.Service(ctx, "shop", ReadOptions{}); err != nil || item.Service.Instances[1].Maintenance != (m == MaintenanceOn) {
			t.Errorf("maintenance %d: got %+v, %v", m, item.Service, err)
		}
	}
	if w, err := c.RemoveInstance(ctx, "shop", second); err != nil || w.Version == 0 {
		t.Errorf("got %+v, %v", w, err)
	}
	if item, err := c.Service(ctx, "shop", ReadOptions{}); err != nil || len(item.Service.Instances) != 1 {
		t.Errorf("got %+v, %v", item.Service, err)
	}
	_, maintained := c.Maintain(ctx, "shop", second, MaintenanceOn)
	_, removed := c.RemoveInstance(ctx, "shop", second)
	if w, err := c.DelService(ctx, "shop"); err != nil || w.ID.Index == 0 {
		t.Errorf("got %+v, %v", w, err)
	}
	_, deleted := c.DelService(ctx, "shop")
	at, read := c.Service(ctx, "shop", ReadOptions{})
	_, resolved := c.Resolve(ctx, "shop")
	beat := c.Heartbeat(ctx, "shop", second, HeartbeatUp, "")
	for i, err := range []error{maintained, removed, deleted, read, resolved, beat} {
		if codeOf(err) != wire.CodeNotFound || !strings.Contains(err.Error(), "shop") {
			t.Errorf("%d: got %v", i, err)
		}
	}
	if at.At.Index == 0 || at.Group == 0 || at.Service != nil {
		t.Errorf("it does not say where the service is not: %+v", at)
	}
}

// A service comes with the nodes that check it, by the name that operators know, if the leader
// names any. What it says of a check that the record does not have is left out.
func TestServiceCheckers(t *testing.T) {
	f := newFakeOfLevel6(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	s := serviceOf("shop", 1, 2, 3, 4)
	for i := range s.Instances {
		s.Instances[i].Check = 17
	}
	mustSet(t, c, s)
	if item, err := c.Service(ctx, "shop", ReadOptions{}); err != nil || item.Checkers != nil {
		t.Errorf("where none is named: got %+v, %v", item.Checkers, err)
	}
	f.mu.Lock()
	f.checkers = []wire.ServiceChecker{
		{Instance: "10.0.0.1:80", Check: 17, Node: 5, Name: "n5"}, {Instance: "10.0.0.2:80", Check: 16, Node: 5, Name: "n5"},
		{Instance: "10.0.0.3:80", Check: 17, Node: 6}, {Instance: "gone", Check: 17, Node: 5, Name: "n5"},
	}
	f.mu.Unlock()
	want := map[string]Checker{"10.0.0.1:80": {5, "n5"}, "10.0.0.3:80": {6, "0000000000000006"}}
	item, err := c.Service(ctx, "shop", ReadOptions{})
	if err != nil || !maps.Equal(item.Checkers, want) {
		t.Errorf("got %+v, %v, want %+v", item.Checkers, err, want)
	}
	for item, err := range c.Services(ctx, ReadOptions{}) {
		if err != nil || item.Checkers != nil {
			t.Errorf("in a listing: got %+v, %v", item.Checkers, err)
		}
	}
}

// What no cluster takes is refused with a typed error, before anything is sent.
func TestBadServices(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	mustSet(t, c, serviceOf("shop", 1))
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			switch h.Type {
			case wire.TypeWrite, wire.TypeServices, wire.TypeHeartbeat, wire.TypeWatch:
				t.Errorf("%s was sent", h.Type)
			}
			return fakeOrder{}
		})
	}
	long := strings.Repeat("n", registry.NameMax+1)
	longID := strings.Repeat("n", registry.IDMax+1)
	set := func(s *registry.Service) error { _, err := c.SetService(ctx, s); return err }
	read := func(name string, o ReadOptions) error { _, err := c.Service(ctx, name, o); return err }
	list := func(o ReadOptions) error {
		for _, err := range c.Services(ctx, o) {
			return err
		}
		return nil
	}
	maintain := func(name, instance string, m Maintenance) error {
		_, err := c.Maintain(ctx, name, instance, m)
		return err
	}
	remove := func(name, instance string) error { _, err := c.RemoveInstance(ctx, name, instance); return err }
	del := func(name string) error { _, err := c.DelService(ctx, name); return err }
	watch := func(name string) error { _, err := c.WatchServices(ctx, name, nil).Next(); return err }
	resolve := func(name string) error { _, err := c.Resolve(ctx, name); return err }
	for _, x := range []struct {
		what string
		err  error
		code wire.Code
		want string
	}{
		{"set without a name", set(serviceOf("", 1)), wire.CodeBadRequest, "0 bytes"},
		{"set with a bad definition", set(&registry.Service{Name: "shop"}), wire.CodeBadRequest, "type"},
		{"no name", read("", ReadOptions{}), wire.CodeBadRequest, "name of a service"},
		{"a long name", read(long, ReadOptions{}), wire.CodeTooLarge, "129 bytes, the limit is 128"},
		{"a name with a space", read("a b", ReadOptions{}), wire.CodeBadRequest, `"a b"`},
		{"a name with a line", del("a\nb"), wire.CodeBadRequest, `"a\nb"`},
		{"read at once", read("shop", ReadOptions{AtOnce: true}), wire.CodeBadRequest, "at-once"},
		{"read after", read("shop", ReadOptions{After: raft.LogID{Term: 1, Index: 1}}), wire.CodeBadRequest, "after"},
		{"read local and follower", read("shop", ReadOptions{Local: true, Follower: true}), wire.CodeBadRequest, "more than one"},
		{"list at once", list(ReadOptions{AtOnce: true}), wire.CodeBadRequest, "at-once"},
		{"list too stale", list(ReadOptions{MaxStale: 2 * MaxStaleMax}), wire.CodeBadRequest, "max-stale"},
		{"delete nothing", del(""), wire.CodeBadRequest, "0 bytes"},
		{"remove no instance", remove("shop", ""), wire.CodeBadRequest, "give its id"},
		{"remove a long instance", remove("shop", longID), wire.CodeTooLarge, "257 bytes, the limit is 256"},
		{"maintain no service", maintain("", "i", MaintenanceOn), wire.CodeBadRequest, "0 bytes"},
		{"maintain to nothing", maintain("shop", "i", 2), wire.CodeBadRequest, "MaintenanceOn or MaintenanceOff"},
		{"heartbeat of no instance", c.Heartbeat(ctx, "shop", "", HeartbeatUp, ""), wire.CodeBadRequest, "give its id"},
		{"heartbeat without a status", c.Heartbeat(ctx, "shop", "i", 0, ""), wire.CodeBadRequest, "HeartbeatUp or HeartbeatDown"},
		{"heartbeat of a third status", c.Heartbeat(ctx, "shop", "i", 3, ""), wire.CodeBadRequest, "HeartbeatUp or HeartbeatDown"},
		{"heartbeat with a long note", c.Heartbeat(ctx, "shop", "i", HeartbeatDown, strings.Repeat("n", HeartbeatNoteMax+1)), wire.CodeTooLarge, "257 bytes, the limit is 256"},
		{"watch a long name", watch(long), wire.CodeTooLarge, "129 bytes"},
		{"resolve nothing", resolve(""), wire.CodeBadRequest, "0 bytes"},
		{"resolve a long name", resolve(long), wire.CodeTooLarge, "129 bytes"},
	} {
		if codeOf(x.err) != x.code || !strings.Contains(x.err.Error(), x.want) {
			t.Errorf("%s: got %v, want code %s and %q", x.what, x.err, x.code, x.want)
		}
	}
}

// A cluster below level 6 has no services: all that is about them says so.
func TestServicesBelowTheLevel(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	_, set := c.SetService(ctx, serviceOf("shop", 1))
	_, read := c.Service(ctx, "shop", ReadOptions{})
	var listed error
	for _, err := range c.Services(ctx, ReadOptions{}) {
		listed = err
	}
	_, watched := c.WatchServices(ctx, "shop", nil).Next()
	_, resolved := c.Resolve(ctx, "shop")
	for i, err := range []error{set, read, listed, c.Heartbeat(ctx, "shop", "i", HeartbeatUp, ""), watched, resolved} {
		if codeOf(err) != wire.CodeLevel || !strings.Contains(err.Error(), "needs level 6, the cluster is at 5") {
			t.Errorf("%d: got %v", i, err)
		}
	}
	// One that was upgraded meanwhile has them, though the client's table is older.
	f.mu.Lock()
	f.level, f.epoch = shardmap.ServicesLevel, f.epoch+1
	f.services, f.events = map[string]fakeService{}, map[int][]wire.WatchRow{}
	f.mu.Unlock()
	mustSet(t, c, serviceOf("shop", 1))
	if _, err := c.Service(ctx, "shop", ReadOptions{}); err != nil {
		t.Error(err)
	}
}

// A listing of services has each one once, though pages are short and slots move between them;
// so does a read, and a heartbeat arrives.
func TestServicesOutliveMoves(t *testing.T) {
	const services = 120
	f := newFakeOfLevel6(t, 3, 5)
	c := f.open(Options{})
	ctx := within(t, busyMax+10*time.Second)
	var want []string
	var slots []shardmap.Slot
	for i := range services {
		name := fmt.Sprintf("{%d}/%d", i/8, i%8)
		mustSet(t, c, serviceOf(name, 1))
		want, slots = append(want, name), append(slots, shardmap.SlotOf([]byte(name)))
	}
	slices.Sort(want)
	for i, o := range []ReadOptions{{}, {}, {Follower: true}} {
		if i == 1 {
			f.moveAround(t, slots...)
		}
		var got []string
		for item, err := range c.Services(ctx, o) {
			if err != nil {
				t.Fatal(err)
			}
			if item.Version == 0 || item.At.Index == 0 || item.Slot != shardmap.SlotOf([]byte(item.Service.Name)) {
				t.Errorf("got %+v", item)
			}
			got = append(got, item.Service.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got %d services, want %d", len(got), len(want))
		}
	}
	for i, name := range want {
		if _, err := c.Service(ctx, name, ReadOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.Heartbeat(ctx, name, "i", HeartbeatDown, fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	f.mu.Lock()
	if len(f.beats) < len(want) || f.beats[0].Name != want[0] || f.beats[0].Instance != "i" || f.beats[0].Status != HeartbeatDown || f.beats[0].Note != "0" {
		t.Errorf("got %d heartbeats, first %+v", len(f.beats), f.beats[0])
	}
	f.mu.Unlock()
	for range c.Services(ctx, ReadOptions{}) {
		break // a caller may stop
	}
}

// A watch of services has each change of each once, over hang-ups, and goes on from its
// positions; one of a single service has only that.
func TestWatchServices(t *testing.T) {
	f := newFakeOfLevel6(t, 3, 4)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	all, one := c.WatchServices(ctx, "", nil), c.WatchServices(ctx, "a", nil)
	for _, w := range []*ServiceWatch{all, one} {
		if e, err := w.Next(); err != nil || e.Kind != WatchOpened || e.Name != "" || len(w.Positions()) == 0 {
			t.Fatalf("got %+v, %v", e, err)
		}
	}
	next := func(w *ServiceWatch) string {
		t.Helper()
		e, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if (e.Service != nil) != (e.Kind == WatchSet) || e.Version == 0 || e.ID.Index == 0 || e.N != 1 || e.Slot != shardmap.SlotOf([]byte(e.Name)) {
			t.Errorf("got %+v", e)
		}
		if e.Kind == WatchSet {
			return fmt.Sprint(e.Name, " ", e.Service.Instances[0].Status)
		}
		return fmt.Sprint(e.Kind, " ", e.Name)
	}
	mustSet(t, c, serviceOf("a", 1))
	if got := next(all) + ", " + next(one); got != "a up, a up" {
		t.Errorf("got %s", got)
	}
	f.stop() // all connections are lost
	f.check("a", "10.0.0.1:80", registry.Down)
	f.restart()
	if got := next(all) + ", " + next(one); got != "a down, a down" {
		t.Errorf("got %s", got)
	}
	at := all.Positions()
	all.Close()
	if _, err := all.Next(); err == nil {
		t.Error("a closed watch goes on")
	}
	mustSet(t, c, serviceOf("b", 1))
	if _, err := c.DelService(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := next(one); got != "del a" {
		t.Errorf("got %s", got)
	}
	again := c.WatchServices(ctx, "", at)
	if e, err := again.Next(); err != nil || e.Kind != WatchOpened {
		t.Fatalf("got %+v, %v", e, err)
	}
	got := []string{next(again), next(again)} // of two groups, in any order
	slices.Sort(got)
	if !slices.Equal(got, []string{"b up", "del a"}) {
		t.Errorf("got %q", got)
	}
	f.forget()
	var end *WatchEnd
	if _, err := c.WatchServices(ctx, "", at).Next(); !errors.As(err, &end) || end.Reason != wire.EndCompacted || len(end.Resume) == 0 || !strings.HasSuffix(err.Error(), "; watch from now, then list the services") {
		t.Errorf("got %v", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.WatchServices(stopped, "", nil).Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
