package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// connect returns a client of a real cluster, and a context for a busy machine.
func connect(t *testing.T) (*client.Client, context.Context) {
	t.Helper()
	c, err := client.Open(options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c, ctx
}

// A watch of a namespace has the events of its keys and of no others, whatever of the namespace is watched,
// and goes on from its positions.
func TestNamespaceWatches(t *testing.T) {
	c, ctx := connect(t)
	ns := client.In(c, "watch/of/").In("a/")
	set := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := c.Set(ctx, []byte(key), []byte(key), client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, x := range []struct {
		query client.WatchQuery
		want  string
	}{
		{client.WatchQuery{}, "k k/1 k/2 l"},
		{client.WatchQuery{Prefix: []byte("k/")}, "k/1 k/2"},
		{client.WatchQuery{Key: []byte("k/2")}, "k/2"},
		{client.WatchQuery{From: []byte("k/2")}, "k/2 l"},
		{client.WatchQuery{To: []byte("k/2")}, "k k/1"},
		{client.WatchQuery{From: []byte("k/"), To: []byte("l")}, "k/1 k/2"},
	} {
		// The keys are of several groups, between which there is no order; each is written once the one before was seen.
		want := strings.Fields(x.want)
		keys := []string{"watch/of/", "watch/of/a/", "watch/of/a", "watch/of/b", "watch/of/a/k", "watch/of/a/k/1", "watch/of/a/k/2", "watch/of/a/l"}
		inside := func(key string) bool { // reports whether the watch has it
			for _, k := range want {
				if key == "watch/of/a/"+k {
					return true
				}
			}
			return false
		}
		next := func() { // sets keys up to the next that the watch has
			for len(keys) > 0 {
				key := keys[0]
				keys = keys[1:]
				if set(key); inside(key) {
					return
				}
			}
		}
		var got []string
		for len(got) < len(want) {
			w := ns.Watch(ctx, x.query)
			for e, err := range w.Events() {
				if err != nil {
					t.Fatalf("%+v: after %q: %v", x.query, got, err)
				}
				if e.Kind == client.WatchOpened && len(got) == 0 {
					next()
				}
				if e.Kind != client.WatchSet {
					continue
				}
				if string(ns.Key(e.Key)) != string(e.Value) {
					t.Errorf("%+v: key %q has the value %q", x.query, e.Key, e.Value)
				}
				got = append(got, string(e.Key))
				break
			}
			if x.query.Positions = w.Positions(); len(got) < len(want) {
				next()
			}
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%+v: got %q, want %s", x.query, got, x.want)
		}
	}
	for _, q := range []client.WatchQuery{{Key: []byte{}}, {Key: []byte("a"), Prefix: []byte("b")}, {Prefix: []byte("a"), From: []byte("b")}, {From: []byte("b"), To: []byte("a")}, {To: []byte{}}} {
		for e, err := range ns.Watch(ctx, q).Events() {
			if !errors.Is(err, client.ErrBadRequest) {
				t.Errorf("%+v: got %+v, %v", q, e, err)
				break
			}
		}
	}
}

// What a real cluster refuses has the kind that the package documentation says.
func TestKindsOfRealRefusals(t *testing.T) {
	c, ctx := connect(t)
	set := func(key string, value int, o client.WriteOptions) error {
		_, err := c.Set(ctx, []byte(key), make([]byte, value), o)
		return err
	}
	if err := set("kinds", 1, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	lease, err := c.Grant(ctx, []byte("kinds"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	other := options()
	other.Cluster = "another"
	elsewhere, err := client.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	secure := options()
	secure.Insecure, secure.Home = false, t.TempDir()
	stranger, err := client.Open(secure)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	one := func(c *client.Client) error {
		_, _, _, err := c.GetOne(ctx, []byte("kinds"), nil, client.ReadOptions{})
		return err
	}
	for what, x := range map[string]struct{ err, kind error }{
		"an empty key":            {set("", 1, client.WriteOptions{}), client.ErrBadRequest},
		"a long key":              {set(strings.Repeat("k", shardmap.KeyMax+1), 1, client.WriteOptions{}), client.ErrTooLarge},
		"a large value":           {set("kinds", shardmap.ValueMaxDefault+1, client.WriteOptions{}), client.ErrTooLarge},
		"a key that is there":     {set("kinds", 1, client.WriteOptions{IfAbsent: true}), client.ErrConflict},
		"another value":           {set("kinds", 1, client.WriteOptions{IfValue: []byte("no")}), client.ErrConflict},
		"a lease that is gone":    {set("kinds", 1, client.WriteOptions{Lease: lease.ID}), client.ErrNotFound},
		"another cluster's name":  {one(elsewhere), client.ErrWrongCluster},
		"TLS to nodes without it": {one(stranger), client.ErrUnauthorized},
		"a number that is none": {func() error {
			_, _, err := c.Incr(ctx, []byte("kinds"), 1)
			return err
		}(), client.ErrConflict},
		"no such service": {func() error {
			_, err := c.Service(ctx, "none", client.ReadOptions{})
			return err
		}(), client.ErrNotFound},
	} {
		if !errors.Is(x.err, x.kind) {
			t.Errorf("%s: got %v, want %v", what, x.err, x.kind)
		}
		if fmt.Sprint(x.err) == x.kind.Error() {
			t.Errorf("%s: the error says nothing but its kind: %v", what, x.err)
		}
	}
}
