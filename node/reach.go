package node

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"muster/node/overview"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// A node that is not heard of may be dead, out of reach, or replaced, and each needs
// another remedy. This node dials all others, so it knows more than that it hears
// nothing.

// answeredWithin is how recently a node must have answered a ping to count as alive
// though nothing else is heard of it: the pause between two pings, and the time of one.
const answeredWithin = 2 * time.Second

// answersOnly reports whether a node answers this one, while its own messages have not
// arrived for longer than an election takes: the way back is cut. A node whose process
// hangs answers no ping that was sent since then.
func answersOnly(l *repl.Link, heard time.Duration, ever bool) bool {
	answers := l.Connected && l.RTT > 0 && l.RTTAgo <= answeredWithin && l.Waiting <= answeredWithin
	return answers && (!ever || heard > l.RTTAgo+aliveWithin)
}

// ways records how this node reaches each node that it does not hear.
func (v *view) ways(self raft.NodeID, table *shardmap.Table, link func(raft.NodeID) repl.Link) {
	links := make(map[raft.NodeID]repl.Link)
	for i := range table.Nodes {
		if id := table.Nodes[i].ID; v.status(self, id) == wire.NodeDead {
			links[id] = link(id)
		}
	}
	v.links = links
}

// silent is the problem with a node of which nothing is heard, and its remedy. self is
// where this node is reached.
func silent(node *wire.StatusNode, l *repl.Link, self string) wire.Problem {
	who := fmt.Sprintf("node %s (%s)", node.Name, node.Addr)
	heard := "last heard of " + ago(node.LastHeardMs)
	var elsewhere *wire.ElsewhereError
	var refusal *wire.Error
	switch {
	case node.Status == wire.NodeAlive:
		return wire.Problem{What: fmt.Sprintf("%s answers this node, but nothing that it sends by itself arrives here, %s", who, heard),
			Remedy: "see what keeps connections from it to " + self + ": a firewall, a route, a wrong --advertise of this node; muster doctor shows who reaches whom"}
	case errors.As(l.Err, &elsewhere) && elsewhere.Challenge.Node != node.ID, errors.Is(l.Err, &wire.Error{Code: wire.CodeWrongCluster}):
		return wire.Problem{What: fmt.Sprintf("%s is gone, %s: another node answers at its address, so its data directory was emptied or replaced", who, heard),
			Remedy: overview.RemedyReplaced + "; the others continue as long as each group has a majority without it"}
	case errors.As(l.Err, &refusal) && refusal.Retry() == wire.RetryNever:
		return wire.Problem{What: fmt.Sprintf("%s does not speak with this node, %s: %s", who, heard, refusal), Remedy: "do what it says: " + refusal.Next}
	case errors.Is(l.Err, syscall.ECONNREFUSED):
		return wire.Problem{What: fmt.Sprintf("%s is dead, %s: nothing listens at its address", who, heard), Remedy: overview.RemedyStart}
	case l.Connected:
		return wire.Problem{What: fmt.Sprintf("%s is dead, %s: its system keeps the connection, and the process does not answer", who, heard),
			Remedy: "check whether that process or its disk stands still; if it does not recover, stop it, and " + overview.RemedyStart}
	}
	why := ""
	if l.Err != nil {
		why = ": " + l.Err.Error()
	}
	return wire.Problem{What: fmt.Sprintf("%s is dead, %s%s", who, heard, why),
		Remedy: "check whether that host runs, and whether this one can reach it; if muster does not run there, " + overview.RemedyStart + "; muster doctor shows who reaches whom"}
}
