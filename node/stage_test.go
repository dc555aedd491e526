package node

import (
	"fmt"
	"testing"

	"muster/repl/rights"
	"muster/repl/wire"
)

// stageRequests are how many requests a batch of the stage has: what a
// connection with many under way brings at a time.
const stageRequests = 64

// routeStage returns what routes a batch of sets: from frames to proposals for
// their groups, which are dropped where they would be handed to the loop.
func routeStage(t testing.TB) func() {
	r := serving(t, defaultLimits())
	c := newConnection(r.node, nil, &wire.Greeting{}, rights.Principal{Open: true})
	bodies := make([][]byte, stageRequests)
	for i := range bodies {
		bodies[i] = write(setCommand(fmt.Sprintf("bench/%010d", i), string(make([]byte, 128))))
	}
	return func() {
		for i, body := range bodies {
			if err := c.dispatch(wire.Header{Type: wire.TypeWrite, Length: len(body), Deadline: 1000, Request: uint64(i + 1)}, body); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(c.requests.Proposals()); n != stageRequests {
			t.Fatalf("%d of %d sets became proposals", n, stageRequests)
		}
		c.mu.Lock()
		c.hold(-c.inflight)
		r.node.door.shedding.waiting.Store(0)
		c.mu.Unlock()
		c.requests.Clear()
	}
}

// BenchmarkStageRoute is from a frame to a proposal for the group that owns its
// key: the command read and checked, its slot looked up, its bytes copied for the
// log.
func BenchmarkStageRoute(b *testing.B) {
	route := routeStage(b)
	b.ReportAllocs()
	for b.Loop() {
		route()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/stageRequests, "ns/request")
}

// To route a write must not allocate but for the room of the log entries, which
// many share. What the rest of the node allocates meanwhile is counted too, so a
// few are let pass.
func TestRouteAllocates(t *testing.T) {
	route := routeStage(t)
	route()
	if n := testing.AllocsPerRun(200, route); n > stageRequests/8 {
		t.Errorf("%d sets: %v allocations, want a few for all of them", stageRequests, n)
	}
}
