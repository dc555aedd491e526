package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What the client library makes of services must fit what nodes answer: its own tests know only
// a fake.
func TestClientServices(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	ctx := t.Context()
	const secret = "hunter2-of-the-hook"
	var names []string
	var written client.Written
	for i := range 20 {
		name := fmt.Sprintf("shop-%d", i)
		s := &registry.Service{Name: name, Type: registry.TypeTTL, Settings: []registry.Setting{
			{Key: "webhook_secret", Value: secret}, {Key: "webhook", Value: "http://10.0.0.9/hook"}}}
		for n := range 3 {
			s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprint("n", n)})
		}
		w, err := cl.SetService(ctx, s)
		if err != nil || w.Version == 0 || w.ID.Index == 0 {
			t.Fatalf("set: got %+v, %v", w, err)
		}
		names, written = append(names, name), w
	}
	last := names[len(names)-1]
	for _, o := range []client.ReadOptions{{}, {Follower: true}, {MaxStale: client.MaxStaleMax}, {Local: true}} {
		item, err := cl.Service(ctx, last, o)
		if err != nil || item.Service.Name != last || len(item.Service.Instances) != 3 || item.Version != written.Version ||
			item.Service.Get("webhook_secret") != registry.Mask || item.Group != written.Group || item.Slot != shardmap.SlotOf([]byte(last)) || item.At.Index < written.ID.Index {
			t.Errorf("%+v: got %+v, %v", o, item, err)
		}
		var listed []string
		for item, err := range cl.Services(ctx, o) {
			if err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			if item.Service.Get("webhook_secret") != registry.Mask {
				t.Errorf("%+v: a secret is shown", o)
			}
			listed = append(listed, item.Service.Name)
		}
		slices.Sort(listed)
		if want := slices.Sorted(slices.Values(names)); !slices.Equal(listed, want) {
			t.Errorf("%+v: listed %q, want %q", o, listed, want)
		}
	}

	if w, err := cl.Maintain(ctx, last, "n1", client.MaintenanceOn); err != nil || w.Version <= written.Version {
		t.Errorf("maintain: got %+v, %v", w, err)
	}
	if _, err := cl.RemoveInstance(ctx, last, "n0"); err != nil {
		t.Errorf("remove: %v", err)
	}
	item, err := cl.Service(ctx, last, client.ReadOptions{})
	if err != nil || len(item.Service.Instances) != 2 || item.Service.Instances[0].Shown() != registry.ShownMaintenance {
		t.Errorf("changed: got %+v, %v", item.Service, err)
	}
	_, err = cl.Maintain(ctx, last, "n0", client.MaintenanceOff)
	refused(t, "maintain what was removed", err, wire.CodeNotFound, `"n0"`, last)
	if _, err := cl.DelService(ctx, last); err != nil {
		t.Errorf("del: %v", err)
	}
	_, err = cl.DelService(ctx, last)
	refused(t, "del of what was deleted", err, wire.CodeNotFound, last)
	_, err = cl.Service(ctx, last, client.ReadOptions{Follower: true})
	refused(t, "get of what was deleted", err, wire.CodeNotFound, last)
	_, err = cl.RemoveInstance(ctx, last, "n1")
	refused(t, "remove of what was deleted", err, wire.CodeNotFound, last)
	_, err = cl.SetService(ctx, &registry.Service{Name: last, Type: "nonsense"})
	refused(t, "set of no type", err, wire.CodeBadRequest, "type")
}

// A service of type ttl is up once its instance has said so, and down once it says that; a watch
// and a resolver of the library see both, with its definition, and its end.
func TestClientWatchesServices(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	ctx, cancel := context.WithTimeout(t.Context(), readyMax)
	defer cancel()
	all, one := cl.WatchServices(ctx, "", nil), cl.WatchServices(ctx, "shop", nil)
	next := func(w *client.ServiceWatch) client.ServiceEvent {
		t.Helper()
		for {
			e, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind != client.WatchProgress {
				return e
			}
		}
	}
	for _, w := range []*client.ServiceWatch{all, one} {
		defer w.Close()
		if e := next(w); e.Kind != client.WatchOpened || len(w.Positions()) == 0 {
			t.Fatalf("got %+v", e)
		}
	}
	const secret = "hunter2-of-the-hook"
	define := func(name string) client.Written {
		t.Helper()
		w, err := cl.SetService(ctx, &registry.Service{Name: name, Type: registry.TypeTTL,
			Settings:  []registry.Setting{{Key: "webhook", Value: "http://127.0.0.1:1/"}, {Key: "webhook_secret", Value: secret}},
			Instances: []registry.Instance{{ID: "n0"}, {ID: "n1"}}})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	// A key of the same name is none of theirs.
	if _, err := cl.Set(ctx, []byte("shop"), []byte("a key"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	written := define("shop")
	define("bank")
	for _, w := range []*client.ServiceWatch{one, all} {
		e := next(w)
		for e.Name == "bank" { // of another group, maybe
			e = next(w)
		}
		if e.Kind != client.WatchSet || e.Name != "shop" || e.Version != written.Version || e.ID != written.ID || len(e.Service.Instances) != 2 || e.Service.Get("webhook_secret") != registry.Mask {
			t.Errorf("got %+v, want the definition of version %d at %s", e, written.Version, written.ID)
		}
	}
	shop, err := cl.Resolve(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer shop.Close()
	if _, err := shop.Pick(registry.PickOptions{}); !errors.Is(err, registry.ErrNoneUp) {
		t.Errorf("before any heartbeat: got %v", err)
	}
	for _, is := range []client.HeartbeatStatus{client.HeartbeatUp, client.HeartbeatDown, client.HeartbeatUp} {
		if err := cl.Heartbeat(ctx, "shop", "n1", is, "as the test says"); err != nil {
			t.Fatal(err)
		}
		e := next(one)
		status, found := registry.Unknown, e.Service.Instance("n1")
		if status = registry.Up; is == client.HeartbeatDown {
			status = registry.Down
		}
		if found.Status != status || found.Reason == "" || e.Service.Instance("n0").Status != registry.Unknown {
			t.Fatalf("heartbeat %d: got %+v", is, e.Service)
		}
		until(t, fmt.Sprintf("the resolver after heartbeat %d", is), func() error {
			i, err := shop.Pick(registry.PickOptions{})
			if is == client.HeartbeatUp && err == nil && i.ID == "n1" || is == client.HeartbeatDown && errors.Is(err, registry.ErrNoneUp) {
				return nil
			}
			return fmt.Errorf("it picks %+v, %v", i, err)
		})
	}
	if shop.Stale() || shop.Err() != nil {
		t.Errorf("age %s, error %v", shop.Age(), shop.Err())
	}
	var refused *wire.Error
	if err := cl.Heartbeat(ctx, "shop", "n7", client.HeartbeatUp, ""); !errors.As(err, &refused) || refused.Code != wire.CodeNotFound {
		t.Errorf("heartbeat of no instance: got %v", err)
	}
	if _, err := cl.DelService(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if e := next(one); e.Kind != client.WatchDel || e.Name != "shop" || e.Service != nil {
		t.Errorf("got %+v", e)
	}
	if _, err := cl.Resolve(ctx, "shop"); !errors.As(err, &refused) || refused.Code != wire.CodeNotFound {
		t.Errorf("resolve of what was deleted: got %v", err)
	}
}
