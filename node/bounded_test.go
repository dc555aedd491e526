package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"muster/repl/wire"
)

// The last node of three that is left answers a get that may be old by what its leader told
// it, at once, and refuses one that must be newer. One would doubt that a get brings its age
// all the way to the replica.
func TestBoundedGetWithoutALeader(t *testing.T) {
	const group, key, value = 1, "k", "v"
	addrs := freeAddrs(t, 3)
	var nodes []*runningNode
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addrs[i], addrs, len(addrs), 1
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	var leads *runningNode
	until(t, "a value is written", func() error {
		leads, _ = led(t, nodes, group)
		s := leads.client()
		defer s.Close()
		_, err := s.set(key, value)
		return err
	})
	follows := nodes[0]
	if follows == leads {
		follows = nodes[1]
	}
	s := follows.client()
	defer s.Close()
	get := func(mode wire.ReadMode, stale time.Duration) error {
		q := wire.Get{Mode: mode, Stale: uint32(stale.Milliseconds()), Keys: [][]byte{[]byte(key)}}
		_, body, err := s.ask(wire.TypeGet, 0, q.Append(nil))
		if err != nil {
			return err
		}
		var a wire.GetAnswer
		if err := a.Read(body); err != nil {
			return err
		}
		if _, got, _, ok := a.Next(); !ok || string(got) != value {
			return fmt.Errorf("got %q, %t, want %q", got, ok, value)
		}
		return nil
	}
	began := time.Now()
	until(t, "the leader confirms a follower's read", func() error { return get(wire.ReadFollower, 0) })
	for _, r := range nodes {
		if r != follows {
			r.stop()
		}
	}
	for range 2 { // before and after it knows that nobody leads
		if err := get(wire.ReadBounded, time.Since(began)+time.Second); err != nil {
			t.Errorf("a get that may be older than the confirmation: %v", err)
		}
		var refused *wire.Error
		if err := get(wire.ReadBounded, time.Millisecond); !errors.As(err, &refused) || refused.Code != wire.CodeNotLeader && refused.Code != wire.CodeUnavailable {
			t.Errorf("a get that must be newer: %v", err)
		}
	}
}
