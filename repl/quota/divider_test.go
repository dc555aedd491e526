package quota

import (
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// A limit is taken away while a round is under way that some have not answered. What they are asked next must
// be readable: an order for each limit that is asked for.
func TestLimitGoesDuringRound(t *testing.T) {
	var d Divider
	limits := []Limit{{Prefix: "a/", Keys: 10}, {Prefix: "b/", Keys: 10}}
	set := func() { d.Set(limits, []raft.GroupID{1, 2}, []raft.NodeID{1, 2}) }
	set()
	d.Lead(1)
	now := time.Second
	asks, _ := d.Turn(now)
	rows := []wire.UsageRow{{Counted: true}, {Counted: true}}
	for n := range 2 {
		report := wire.UsageReport{Group: raft.GroupID(n + 1), Term: 1, Rows: rows}
		d.Took(raft.NodeID(n+1), &wire.UsageAnswer{Term: 1, Round: asks[0].Body.Round, Reports: []wire.UsageReport{report}})
	}
	now += hungryPause
	if asks, _ = d.Turn(now); len(asks) != 2 || len(asks[1].Body.Orders) != 1 {
		t.Fatalf("asked is %+v; want both nodes, with an order to each", asks)
	}

	limits = limits[:1]
	set()
	asks, _ = d.Turn(now + againAfter)
	if len(asks) == 0 {
		t.Fatal("nobody is asked again")
	}
	for _, a := range asks {
		if err := new(wire.Usage).Read(a.Body.Append(nil)); err != nil {
			t.Errorf("node %s is asked: %v", a.To, err)
		}
		if len(a.Body.Limits) != 1 {
			t.Errorf("node %s is asked for %d limits, there is one", a.To, len(a.Body.Limits))
		}
	}
}
