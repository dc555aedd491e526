package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// sentOf returns how many frames of a type a node has sent.
func sentOf(t *testing.T, s *speaker, typ wire.Type) uint64 {
	t.Helper()
	_, body, err := s.ask(wire.TypeCounters, 0, new(wire.Empty).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var c wire.CountersAnswer
	if err := c.Read(body); err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		if row.Name == typ.String() {
			return row.Out
		}
	}
	return 0
}

// A client that talks to one node writes and reads what any group holds, if it asks for
// its requests to be passed on, and is told who leads if it does not ask. A write is
// passed on once and applied once, whichever way its retry comes.
func TestPassedOn(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	for i, r := range nodes {
		s := r.client()
		before := sentOf(t, s, wire.TypeForward)
		led := 0       // keys of groups that this node leads
		again := false // whether a leader changed in between, on a busy machine
		// settled asks until a leader's change no longer hides the outcome.
		settled := func(s *speaker, flags uint16, c shardmap.Command) (a wire.WriteAnswer, err error) {
			until(t, "the outcome is known", func() error {
				a, err = writeWith(s, flags, c)
				e, ok := err.(*wire.Error)
				if ok && (e.Code == wire.CodeMaybeApplied || e.Code == wire.CodeNotLeader && flags == wire.FlagForward) {
					again = true
					return err
				}
				return nil
			})
			return a, err
		}
		const keys = 40
		for k := range keys {
			key := fmt.Sprintf("n%d/k%d", i, k)
			c := setCommand(key, "v")
			c.Session, c.Sequence, c.Floor = uint64(i+1), uint64(k+1), uint64(k+1)
			first, err := settled(s, wire.FlagForward, c)
			if err != nil {
				t.Fatalf("node %d: set %s: %v", i, key, err)
			}
			_, body, err := s.ask(wire.TypeGet, wire.FlagForward, getBody(wire.ReadLinearizable, key))
			if err != nil {
				t.Fatalf("node %d: get %s: %v", i, key, err)
			}
			var a wire.GetAnswer
			if err := a.Read(body); err != nil {
				t.Fatal(err)
			}
			if version, value, ok, _ := a.Next(); !ok || string(value) != "v" || version != first.Version {
				t.Errorf("node %d: %s is %q at version %d, there: %v; want what was written at %d", i, key, value, version, ok, first.Version)
			}
			// Without the flag its leader alone takes it, and repeats its first answer.
			for _, other := range nodes {
				o := other.client()
				repeated, err := settled(o, 0, c)
				o.Close()
				if e, ok := err.(*wire.Error); ok && e.Code == wire.CodeNotLeader {
					continue
				}
				if err != nil || repeated != first {
					t.Errorf("node %d: the retry of %s at its leader gives %+v, %v; want %+v", i, key, repeated, err, first)
				}
				if other == r {
					led++
				}
			}
		}
		if got, want := sentOf(t, s, wire.TypeForward)-before, uint64(keys-led); got != want && !again {
			t.Errorf("node %d passed on %d requests, want %d: each write to a group that it does not lead, and nothing else", i, got, want)
		}
		s.Close()
	}
}

func writeWith(s *speaker, flags uint16, c shardmap.Command) (a wire.WriteAnswer, err error) {
	_, body, err := s.ask(wire.TypeWrite, flags, write(c))
	if err != nil {
		return a, err
	}
	return a, a.Read(body)
}

// What a member passes on is checked as what a client sends, goes no further, and a
// flood of it takes nothing from others. One would doubt it: it comes over the
// connection that carries the heartbeats, under a name that nobody doubts.
func TestHostileForwards(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	member := func() *speaker {
		s, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s, cl := member(), r.client()
	forward := func(typ wire.Type, body []byte) []byte {
		return (&wire.Forward{Type: typ, Body: body}).Append(nil)
	}
	good := write(setCommand("k", "v"))
	flipped := write(setCommand("k", "v"))
	flipped[len(flipped)-1] ^= 1
	before := sentOf(t, cl, wire.TypeForward)
	until(t, "the connection is known to be the member's", func() error {
		_, _, err := s.ask(wire.TypeForward, 0, forward(wire.TypeWrite, good))
		if e, ok := err.(*wire.Error); ok && e.Code == wire.CodeNotReady {
			return err
		}
		return nil
	})
	for _, c := range []struct {
		what string
		body []byte
	}{
		{"a Forward in a Forward", forward(wire.TypeForward, forward(wire.TypeWrite, good))},
		{"a question that is not passed on", forward(wire.TypeTopology, new(wire.Empty).Append(nil))},
		{"an announcement", forward(wire.TypeAnnounce, (&wire.Announce{Node: other.Node, Addr: "127.0.0.1:1"}).Append(nil))},
		{"a vote", forward(wire.TypeVote, []byte{0x90})},
		{"a type beyond all", forward(0xffff, good)},
		{"no request in it", []byte{0x92, 0, byte(wire.TypeWrite)}},
		{"no array", []byte{0xc0}},
		{"a write that is none", forward(wire.TypeWrite, []byte{0xc0})},
		{"a write whose checksum does not fit", forward(wire.TypeWrite, flipped)},
		{"a get of no key", forward(wire.TypeGet, getBody(wire.ReadLinearizable))},
	} {
		_, _, err := s.ask(wire.TypeForward, 0, c.body)
		refused(t, c.what, err, wire.CodeBadRequest)
	}
	_, _, err := cl.ask(wire.TypeForward, 0, forward(wire.TypeWrite, good))
	refused(t, "a Forward by a client", err, wire.CodeUnauthorized, "Forward", "a member")
	_, _, err = s.ask(wire.TypeForward, wire.FlagForward, forward(wire.TypeWrite, good))
	refused(t, "a Forward to be passed on", err, wire.CodeBadRequest, "flags 0x1")

	// Of the groups that this node does not lead it says who does, and passes nothing on.
	told := 0
	for i := range 40 {
		_, _, err := s.ask(wire.TypeForward, 0, forward(wire.TypeWrite, write(setCommand(fmt.Sprintf("k%d", i), "v"))))
		if e, ok := err.(*wire.Error); ok && e.Code == wire.CodeNotLeader {
			if told++; e.LeaderNode != other.Node {
				t.Errorf("k%d: the hint names node %s, want %s", i, e.LeaderNode, other.Node)
			}
		} else if err != nil {
			t.Errorf("k%d: %v", i, err)
		}
	}
	if told == 0 {
		t.Error("this node leads the groups of all keys: the test shows nothing")
	}
	if got := sentOf(t, cl, wire.TypeForward); got != before {
		t.Errorf("the node passed on %d requests that had been passed on to it", got-before)
	}

	// A flood of gets of a large value whose answers are never read.
	large := setCommand("large", string(make([]byte, 512<<10)))
	until(t, "a large value is written", func() error { _, err := writeWith(cl, wire.FlagForward, large); return err })
	flood := member()
	get := frame(wire.TypeForward, 0, 1, forward(wire.TypeGet, getBody(wire.ReadLocal, "large")))
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range 100_000 {
			if flood.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
				return
			}
			if _, err := flood.Write(get); err != nil {
				return // nothing more is read from it
			}
		}
	}()
	most := int64(0)
	for flooding := true; flooding; {
		select {
		case <-over:
			flooding = false
		default:
		}
		most = max(most, r.node.held.Load())
		if _, err := writeWith(cl, wire.FlagForward, setCommand("good", "v")); err != nil {
			t.Errorf("meanwhile a good client: %v", err)
			break
		}
	}
	// What it may have, its refusals, and a little that others have.
	if limit := int64(memberSlack+1) * int64(r.node.limits.inflightBytes); most > limit {
		t.Errorf("%d bytes were held, want at most %d", most, limit)
	}
	if most < int64(r.node.limits.inflightBytes)/2 {
		t.Errorf("%d bytes were held at most: the flood shows nothing", most)
	}
	flood.Close()
	<-over
}

// A client that reaches one node alone may watch what happens from now on, whether that node leads the groups or not. One
// would doubt it: a watch begins once the groups have said that they serve its slots, and such a question is not passed on.
func TestWatchThroughOneNode(t *testing.T) {
	t.Parallel()
	if wrong := watchesThroughOne(t, readyMax); wrong != "" {
		t.Error(wrong)
	}
}

// watchesThroughOne tells through which node a watch does not begin within a time.
func watchesThroughOne(t *testing.T, within time.Duration) string {
	nodes, direct := cluster(t, 3, nil)
	for i, r := range nodes {
		c, err := client.Open(client.Options{Insecure: true, Endpoints: []string{r.addr}, Forward: client.ForwardAlways})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		w := c.Watch(ctx, client.WatchQuery{Prefix: []byte("seen/")})
		var writing sync.WaitGroup
		writing.Go(func() { // until one is seen
			for n := 0; ctx.Err() == nil; n++ {
				_, _ = direct.Set(ctx, fmt.Appendf(nil, "seen/%d/%d", i, n), []byte("v"), client.WriteOptions{})
			}
		})
		_, err = w.Next()
		cancel()
		writing.Wait()
		w.Close()
		c.Close()
		if err != nil {
			return fmt.Sprintf("through node %d: %v", i+1, err)
		}
	}
	return ""
}
