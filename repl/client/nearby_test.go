package client

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What is near is what the first endpoint has as labels, whichever node leads: a client names the node
// beside it first. If that can't be reached it is the next one.
func TestNearby(t *testing.T) {
	f := newFakeOfLevel6(t, 2, 1)
	f.labels = map[raft.NodeID][]shardmap.Label{
		f.nodes[0].id: {{Key: "disk", Value: "ssd"}, {Key: "zone", Value: "a"}},
		f.nodes[1].id: {{Key: "zone", Value: "b"}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	open := func(endpoints ...string) *Client {
		c, err := Open(Options{Insecure: true, Endpoints: endpoints, Patience: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first, second := f.nodes[0].addr, f.nodes[1].addr
	zone := func(v string) []registry.Setting { return []registry.Setting{{Key: "zone", Value: v}} }
	for name, b := range map[string]struct {
		endpoints []string
		keys      []string
		want      []registry.Setting
	}{
		"the first":                     {[]string{first, second}, []string{"zone"}, zone("a")},
		"the other":                     {[]string{second, first}, []string{"zone"}, zone("b")},
		"the first that can be asked":   {[]string{closed, second, first}, []string{"zone"}, zone("b")},
		"two labels, in their order":    {[]string{first}, []string{"zone", "disk"}, append(zone("a"), registry.Setting{Key: "disk", Value: "ssd"})},
		"nothing, if that is asked for": {[]string{first}, nil, nil},
	} {
		c := open(b.endpoints...)
		if got, err := c.Nearby(within(t, 10*time.Second), b.keys...); err != nil || !slices.Equal(got, b.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, b.want)
		}
	}
	for name, b := range map[string]struct {
		endpoint, key string
		code          wire.Code
		want          string
	}{
		"another label": {first, "rack", wire.CodeNotFound, "it has disk, zone); give it one: muster node label "},
		"no labels":     {second, "disk", wire.CodeNotFound, "it has zone"},
		"no key":        {first, "", wire.CodeBadRequest, "label key"},
		"no label key":  {first, "a b", wire.CodeBadRequest, "label key"},
	} {
		_, err := open(b.endpoint).Nearby(within(t, 10*time.Second), "zone", b.key)
		if !isCode(err, b.code) || !strings.Contains(err.Error(), b.want) {
			t.Errorf("%s: got %v, want code %s, %q", name, err, b.code, b.want)
		}
	}
	if _, err := open(closed).Nearby(within(t, 10*time.Second), "zone"); err == nil || !strings.Contains(err.Error(), closed) {
		t.Errorf("with nobody to ask: %v", err)
	}
}

// A resolver picks those that are near, as long as one of them is up.
func TestPickNearby(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	f.labels = map[raft.NodeID][]shardmap.Label{f.nodes[0].id: {{Key: "zone", Value: "b"}}}
	c := f.open(Options{})
	s := serviceOf("shop", 1, 1, 1)
	for i, zone := range []string{"a", "b", "c"} {
		s.Instances[i].Settings = append(s.Instances[i].Settings, registry.Setting{Key: "zone", Value: zone})
	}
	mustSet(t, c, s)
	r := mustResolve(t, c, "shop")
	near, err := c.Nearby(within(t, 10*time.Second), shardmap.ZoneLabel)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if i, err := r.Pick(registry.PickOptions{Near: near}); err != nil || i.Get("zone") != "b" {
			t.Fatalf("got %+v, %v, want one in zone b", i, err)
		}
	}
}
