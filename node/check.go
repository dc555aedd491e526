package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
)

const (
	// checksAtOnce bounds the checks under way on a node: each has every group that the node
	// leads write an entry, and every replica of it report.
	checksAtOnce = 4
	// checkTimeout bounds a check that the host should have ended long before: its loop stands still.
	checkTimeout = repl.CheckTimeout + time.Second
)

// comparing counts the checks under way.
type comparing struct{ underWay atomic.Int32 }

// begin reports whether there is room for one more check.
func (p *comparing) begin() bool {
	if p.underWay.Add(1) > checksAtOnce {
		p.underWay.Add(-1)
		return false
	}
	return true
}

// answerCheck has the host compare the replicas of groups that this node leads, and answers
// with what it found, or has it trust those that it has. It asks no other node for anything:
// their replicas report by themselves.
func answerCheck(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Check)
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	loop := c.node.running()
	if loop == nil {
		c.refuse(r, c.node.notReady())
		return
	}
	if c.Deaf() {
		c.refuse(r, machine.Crowded())
		return
	}
	if !c.node.comparing.begin() {
		c.refuse(r, wire.Busy("check", fmt.Sprintf("%d are under way, as many as this node does at a time", checksAtOnce), wire.BusyRetry))
		return
	}
	if q.Act || q.Trust {
		c.node.trail.done(c, wire.TypeCheck, fmt.Sprintf("act %t trust %t groups %v", q.Act, q.Trust, q.Groups), 0, nil)
	}
	var over atomic.Bool // whoever sets it answers
	end := func() bool {
		if !over.CompareAndSwap(false, true) {
			return false
		}
		c.node.comparing.underWay.Add(-1)
		return true
	}
	late := time.AfterFunc(checkTimeout, func() {
		if end() {
			c.refuse(r, wire.Unavailable("check", fmt.Sprintf("the node did not get to it within %s", checkTimeout)))
		}
	})
	done := func(groups []wire.CheckedGroup) {
		if !end() {
			return
		}
		late.Stop()
		a := wire.CheckAnswer{Groups: groups}
		a.Fit()
		c.answerNow(r, wire.TypeCheckAnswer, a.Append(nil))
	}
	loop.Post(func(h *repl.Host) {
		if q.Trust {
			done(trusted(h, q.Groups))
			return
		}
		h.Audits.Check(q.Groups, repl.CheckActOf(q), done)
	})
}

// trusted has the replicas of groups that this node has trusted, as a person wants it, and says
// of each whether that could be.
func trusted(h *repl.Host, groups []raft.GroupID) []wire.CheckedGroup {
	rows := make([]wire.CheckedGroup, len(groups))
	for i, g := range groups {
		rows[i].Group = g
		if err := h.Audits.Trust(g); err != nil {
			rows[i].Why = err.Error()
		}
	}
	return rows
}
