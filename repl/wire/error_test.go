package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
)

// What a user sees of a failure is one line, and it must suffice: the code, the
// object, the limit or state that was found, and what to do next. One that is
// left out is found out by the person who needs it.
func TestEveryCodeTellsAll(t *testing.T) {
	made := map[wire.Code]*wire.Error{}
	for _, c := range []struct {
		e     *wire.Error
		name  string
		retry wire.Retry
		exit  int
	}{
		{wire.BadRequest("set", "field items: none, want 1 or more", "name a key"), "bad-request", wire.RetryNever, 1},
		{wire.TooLarge(`value of "k"`, "1048577 bytes, the limit is 1048576", "split it"), "too-large", wire.RetryNever, 1},
		{wire.NotFound(`key "k"`, "looked at g3/7.9", "set it first"), "not-found", wire.RetryNever, 4},
		{wire.Conflict(`key "k"`, "it is at version 9, the condition wants 8"), "conflict", wire.RetryNever, 5},
		{wire.NotLeader(3, n2, "10.0.0.2:4166"), "not-leader", wire.RetryOtherNode, 6},
		{wire.Moved(77, 4, 5, 1812), "moved", wire.RetryRefresh, 6},
		{wire.Busy("group g3", "64 MiB wait, the limit is 64 MiB", 20*time.Millisecond), "busy", wire.RetrySameNode, 6},
		{wire.Unavailable("group g3", "no leader for 4s"), "unavailable", wire.RetrySameNode, 6},
		{wire.MaybeApplied("group g3", "its leader changed"), "maybe-applied", wire.RetryNever, 6},
		{wire.Unauthorized("client", "it sent no proof", "give the secret"), "unauthorized", wire.RetryNever, 7},
		{wire.WrongCluster("client", "it is of a, this of b", "check --cluster"), "wrong-cluster", wire.RetryNever, 1},
		{wire.WrongVersion("client", 2, 3), "wrong-version", wire.RetryNever, 1},
		{wire.Damaged("000007.log", "the record at 4096 does not verify", "ask another node"), "damaged", wire.RetryOtherNode, 1},
		{wire.StaleSession("session 12", "sequence 4 is below the floor 9"), "stale-session", wire.RetryNever, 6},
		{wire.UnknownNode(n3, "start 3, 5 was seen", "wipe its directory"), "unknown-node", wire.RetryNever, 1},
		{wire.OverLevel("command incr", 2, 1), "level", wire.RetryNever, 1},
		{wire.Full("group g3", "nodes n1, n2 are full", 100*time.Millisecond), "full", wire.RetrySameNode, 6},
		{wire.Removed(n3, "node n1 has it on its list of removed nodes"), "removed", wire.RetryNever, 1},
		{wire.OverLimit(`prefix "app/"`, "it has 20000 keys, the limit is 20000", "delete some"), "over-limit", wire.RetryNever, 1},
		{wire.NotReady("node n1", "waits for 10.0.0.3:4166", "start it", 0), "not-ready", wire.RetrySameNode, 6},
	} {
		e := c.e
		if made[e.Code] != nil {
			t.Errorf("%s: made twice", e.Code)
		}
		made[e.Code] = e
		if e.Code.String() != c.name || e.Retry() != c.retry || e.Code.ExitStatus() != c.exit {
			t.Errorf("%s: got %s, %s, exit %d; want %s, exit %d", c.name, e.Code, e.Retry(), e.Code.ExitStatus(), c.retry, c.exit)
		}
		for what, part := range map[string]string{"text": e.Text, "object": e.Object, "state": e.State, "next": e.Next} {
			if part == "" {
				t.Errorf("%s: no %s", c.name, what)
			}
			if !strings.Contains(e.Error(), part) {
				t.Errorf("%s: %q does not say its %s, %q", c.name, e, what, part)
			}
		}
		if !strings.HasPrefix(e.Error(), c.name+": ") || strings.Contains(e.Error(), "\n") || strings.Contains(e.Error(), "failed to") {
			t.Errorf("%s: %q", c.name, e)
		}
		var back wire.Error
		if err := back.Read(e.Append(nil)); err != nil || back != *e {
			t.Errorf("%s: came back as %+v, %v", c.name, back, err)
		}
		if err := fmt.Errorf("put: %w", e); !errors.Is(err, &wire.Error{Code: e.Code}) || errors.Is(err, &wire.Error{Code: 99}) {
			t.Errorf("%s: errors.Is does not go by the code", c.name)
		}
	}
	for c := wire.Code(1); c.Known(); c++ {
		if made[c] == nil {
			t.Errorf("%s is not in the table", c)
		}
	}
}

// Hints are what makes a client fast; a wrong one costs a hop, a missing one an
// election's time.
func TestHintsTravel(t *testing.T) {
	var e wire.Error
	if err := e.Read(wire.NotLeader(3, n2, "10.0.0.2:4166").Append(nil)); err != nil || e.LeaderNode != n2 || e.LeaderAddr != "10.0.0.2:4166" {
		t.Errorf("got %+v, %v", e, err)
	}
	if got := wire.NotLeader(3, 0, ""); got.LeaderAddr != "" || !strings.Contains(got.Error(), "no leader is known") {
		t.Errorf("without a leader: %q", got)
	}
	if err := e.Read(wire.Moved(77, 4, 5, 1812).Append(nil)); err != nil || e.Slot != 77 || e.Group != 5 || e.Number != 1812 {
		t.Errorf("got %+v, %v", e, err)
	}
	if got := wire.Moved(77, 4, 0, 0); got.Group != 0 || !strings.Contains(got.Next, "topology") {
		t.Errorf("without an owner: %q", got)
	}
	if b := wire.Busy("queue", "full", 986*time.Millisecond+1); b.RetryAfterMs != 987 || b.Next != "try again after 987ms" {
		t.Errorf("a client may come back too early, or reads of nanoseconds: %d ms, %q", b.RetryAfterMs, b.Next)
	}
	if err := e.Read(wire.Busy("queue", "full", 20*time.Millisecond).Append(nil)); err != nil || e.RetryAfterMs != 20 {
		t.Errorf("got %+v, %v", e, err)
	}
}

// The parts come from the other side of the connection, which may want to write
// a second line, or to a terminal.
func TestErrorIsOneLine(t *testing.T) {
	e := wire.Error{Code: 4711, Text: "a\r\nb", Object: "\x1b[2J", State: "x\x00", Next: "\u0085y\u2028z"}
	if got, want := e.Error(), "code 4711:  [2J: a  b (x );  y z"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if e.Retry() != wire.RetryNever || e.Code.ExitStatus() != 1 || e.Code.Known() {
		t.Errorf("an unknown code: %s, exit %d", e.Retry(), e.Code.ExitStatus())
	}
}

// Counters are read while frames pass, and a type that nobody knows must not
// be lost or run past the table.
func TestCounters(t *testing.T) {
	var c wire.Counters
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 1000 {
				c.In(wire.TypeWrite, 100)
				c.Out(wire.TypeWriteAnswer, 10)
				c.In(0xffff, 1)
				c.Rows()
			}
		}()
	}
	for range 4 {
		<-done
	}
	want := []wire.CounterRow{
		{Name: "unknown", In: 4000, BytesIn: 4000 * (wire.HeaderSize + 1)},
		{Name: "Write", In: 4000, BytesIn: 4000 * (wire.HeaderSize + 100)},
		{Name: "WriteAnswer", Out: 4000, BytesOut: 4000 * (wire.HeaderSize + 10)},
	}
	if got := c.Rows(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
