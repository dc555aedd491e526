package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// waySilence is for how long a way to another node may be silent: longer than an answer
	// takes, and shorter than that node bears a silent member.
	waySilence = stepMax + 2*time.Second
	// wayBytesMax and wayActionsMax bound what is on its way to one node and not answered.
	// The carrier comes back with what is over. It has less under way itself (package mover),
	// unless answers are lost.
	wayBytesMax   = 32 << 20
	wayActionsMax = 4096
)

var errNoWay = errors.New("no node is known that holds a replica of the group")

// carryWays are the connections over which this node has others carry out actions of its
// carrier: those that lead the groups.
type carryWays struct {
	// Set once.
	carrying *carrying
	ways     ways

	mu      sync.Mutex
	leaders map[raft.GroupID]raft.NodeID // guarded by mu, as other nodes told
	turns   map[raft.GroupID]int         // guarded by mu: whom to ask next who leads
}

func (w *carryWays) init(c *carrying) {
	w.carrying = c
	w.ways.node, w.ways.what = c.node, "steps"
	w.ways.within, w.ways.silence, w.ways.bytesMax, w.ways.questionsMax = stepMax, waySilence, wayBytesMax, wayActionsMax
	w.ways.took, w.ways.over = c.took, w.over
	w.leaders = make(map[raft.GroupID]raft.NodeID)
	w.turns = make(map[raft.GroupID]int)
}

// send has an action carried out by another node: the one that leads the group, if that is
// known. If it returns an error nothing was sent.
func (w *carryWays) send(lead raft.NodeID, t *shardmap.Table, a *mover.CarryAction) error {
	kind, body := wire.TypeStep, wire.Body(&wire.Step{Group: a.Group, Incarnation: a.Incarnation, Command: a.Command})
	if a.Kind == mover.CarryView {
		kind, body = wire.TypeSlotView, &wire.SlotView{Group: a.Group, Slots: a.Slots}
	}
	if lead == 0 {
		lead = w.whom(t, a.Group)
	}
	if lead == 0 {
		return fmt.Errorf("group %s: %w", a.Group, errNoWay)
	}
	return w.ways.send(lead, question{pending: pending{number: a.Number, group: a.Group}, kind: kind, body: body, size: len(a.Command)})
}

// over takes how an action has ended at a node.
func (w *carryWays) over(to raft.NodeID, q pending, err error) {
	w.learn(q.group, to, err)
	if err != nil {
		w.carrying.ended(q.number, fmt.Errorf("node %s: %w", to, err))
	}
}

// whom returns the node that is said to lead a group of which no replica here knows that,
// or one that holds a replica: each time another, for one that is cut off from its group would
// have the same to say every time. It is 0 if there is none.
func (w *carryWays) whom(t *shardmap.Table, g raft.GroupID) raft.NodeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lead, known := w.leaders[g]; known {
		return lead
	}
	row, _ := t.Group(g)
	self := w.carrying.node.self().Node
	for range row.Replicas {
		w.turns[g]++
		if to := row.Replicas[w.turns[g]%len(row.Replicas)].Node; to != self {
			return to
		}
	}
	return 0
}

// learn notes who leads a group, by what became of an action that a node was to carry out.
func (w *carryWays) learn(g raft.GroupID, from raft.NodeID, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, refused := refusalIn(err)
	switch {
	case err == nil:
		w.leaders[g] = from
		return
	case refused && e.Code.Retry() != wire.RetryOtherNode && e.Code != wire.CodeUnavailable && e.Code != wire.CodeNotReady:
		return // it is about the action
	}
	delete(w.leaders, g)
	if refused && e.Code == wire.CodeNotLeader && e.LeaderNode != 0 && e.LeaderNode != from && e.LeaderNode != w.carrying.node.self().Node {
		w.leaders[g] = e.LeaderNode
	}
}
