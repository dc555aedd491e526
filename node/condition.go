package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"muster/node/metrics"
	"muster/repl"
	"muster/shardmap"
)

// These next steps stand in several conditions.
const (
	nextRestart = "see its log and what /debug/pprof/goroutine?debug=2 shows; if this lasts, restart the node"
	nextStatus  = "muster status says which nodes and groups are in the way, and what to do"
)

// Alive implements [metrics.Source]. Only a loop that does not turn makes a node dead: a disk that
// hangs, and a cluster that is not there, are no better after a restart.
func (o observed) Alive(ctx context.Context) []metrics.Condition {
	return []metrics.Condition{o.loopTurns(ctx), o.diskTold()}
}

// loopTurns is met if the loop takes a turn before ctx ends. A node that is no member yet has no loop, and
// meets it.
func (o observed) loopTurns(ctx context.Context) metrics.Condition {
	c := metrics.Condition{Name: "loop", OK: true}
	loop := o.node.running()
	if loop == nil {
		c.Reason = "the node is no member of a cluster yet, and has none"
		return c
	}
	asked := time.Now()
	if !inTurnWithin(ctx, loop, func(*repl.Host) {}) {
		c.OK, c.Reason, c.Next = false, fmt.Sprintf("the loop that owns all replicas has taken no turn for %s", time.Since(asked).Round(time.Millisecond)), nextRestart
		return c
	}
	c.Reason = fmt.Sprintf("it took a turn after %s", time.Since(asked).Round(time.Microsecond))
	return c
}

// diskTold tells what the node waits for at its disk. It is always met.
func (o observed) diskTold() metrics.Condition {
	c := metrics.Condition{Name: "disk", OK: true}
	if s, stalled := o.node.fs.stalled(); stalled {
		c.Reason = "it stands still: " + s.String()
	}
	return c
}

// Ready implements [metrics.Source].
func (o observed) Ready(ctx context.Context) []metrics.Condition {
	n := o.node
	list := []metrics.Condition{o.isMember()}
	loop, table := n.running(), n.table.Load()
	if loop == nil {
		return list
	}
	turns := o.loopTurns(ctx)
	list = append(list, turns, o.diskWrites(), o.hasCertificate())
	if !turns.OK {
		return list
	}
	return append(list, o.tableIsNew(ctx, loop), o.groupsLed(ctx, loop, table))
}

// isMember is met if the node is in a cluster and knows its table.
func (o observed) isMember() metrics.Condition {
	n := o.node
	c := metrics.Condition{Name: "member"}
	switch loop, t := n.running(), n.table.Load(); {
	case loop == nil:
		e := n.notReady()
		c.Reason, c.Next = e.State, e.Next
		if c.Reason == "" {
			c.Reason = e.Text
		}
	case t == nil || !t.Founded():
		c.Reason, c.Next = "group 0 has not told this node its table yet", "wait until a majority of the cluster's nodes run"
	default:
		c.OK, c.Reason = true, fmt.Sprintf("node %s of cluster %s", n.self().Node, t.Cluster)
	}
	return c
}

// diskWrites is met if the disk takes writes.
func (o observed) diskWrites() metrics.Condition {
	c := metrics.Condition{Name: "disk", OK: true}
	if s, stalled := o.node.fs.stalled(); stalled {
		c.OK, c.Reason, c.Next = false, "it stands still: "+s.String(), stallRemedy
	} else if o.node.report.store.Space().Full {
		c.OK, c.Reason, c.Next = false, "it has no room for more of the log", "make room on the disk of "+o.node.report.data
	}
	return c
}

// hasCertificate is met if others can tell this node from a stranger.
func (o observed) hasCertificate() metrics.Condition {
	n := o.node
	c := metrics.Condition{Name: "certificate", OK: true}
	h := n.guard.holder.Get()
	switch t := n.table.Load(); {
	case t == nil || t.Security.Mode == shardmap.SecurityOff:
		c.Reason = "the cluster has none"
	case h.Certificate == nil || h.Certificate.Leaf == nil:
		c.OK, c.Reason, c.Next = false, "the node has none yet", "wait until it has heard from the leader of group 0"
	case n.guard.now().After(h.Certificate.Leaf.NotAfter):
		c.OK, c.Reason, c.Next = false, "it ended at "+h.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339), "compare this host's clock with others; muster doctor says why it was not renewed"
	default:
		c.Reason = "good until " + h.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	return c
}

// tableIsNew is met if a majority of the meta group confirms that this node has its newest table.
func (o observed) tableIsNew(ctx context.Context, loop *repl.Loop) metrics.Condition {
	c := metrics.Condition{Name: "meta-group"}
	if err := tableNow(ctx, loop); err != nil {
		c.Reason, c.Next = "a majority of group 0 does not answer: "+err.Error(), nextStatus
		if errors.Is(err, context.DeadlineExceeded) {
			c.Reason = "a majority of group 0 did not answer in time"
		}
		return c
	}
	c.OK, c.Reason = true, "a majority of group 0 answers"
	return c
}

// groupsLed is met if each group with a replica on this node has a leader, and that replica takes part.
func (o observed) groupsLed(ctx context.Context, loop *repl.Loop, t *shardmap.Table) metrics.Condition {
	c := metrics.Condition{Name: "groups"}
	groups := make(chan []repl.GroupView, 1)
	if !inTurnWithin(ctx, loop, func(h *repl.Host) { groups <- h.View() }) {
		c.Reason, c.Next = "the loop did not tell in time", nextRestart
		return c
	}
	var leaderless, out []string
	all := <-groups
	for i := range all {
		g := &all[i]
		switch {
		case g.Stopped != "" || g.Fenced != nil || g.Held || g.Down():
			out = append(out, g.Replica.Group.String())
		case g.Status.Leader == 0:
			leaderless = append(leaderless, g.Replica.Group.String())
		}
	}
	switch {
	case len(out) > 0:
		c.Reason, c.Next = "replicas here take no part in their groups: "+some(out), nextStatus
	case len(leaderless) > 0:
		c.Reason, c.Next = "groups without a leader: "+some(leaderless), nextStatus
	default:
		c.OK, c.Reason = true, fmt.Sprintf("all %d have a leader", len(all))
	}
	return c
}

// some is a list for a sentence.
func some(names []string) string {
	if more := len(names) - groupsNamedMax; more > 0 {
		names = append(names[:groupsNamedMax:groupsNamedMax], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
