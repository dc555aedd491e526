package node

import (
	"errors"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// busyRetry is after which time a client that was told "busy" should come back.
const busyRetry = 20 * time.Millisecond

// dispatch handles one frame. An error ends the connection.
func (c *connection) dispatch(h wire.Header, body []byte) error {
	// First of all, and by what the connection proved when it was admitted: no
	// field of a frame is looked at before its sender may send it at all.
	if sendersOf(h.Type)&c.standing == 0 {
		c.refuse(c.accept(h), mayNotSend(c.standing, h.Type))
		return nil
	}
	to := handlerOf(h.Type)
	if to.word != nil {
		return c.dispatchWord(to, h, body)
	}
	r := c.accept(h)
	if h.Flags != 0 {
		c.refuse(r, wire.BadRequest(h.Type.String(), fmt.Sprintf("flags %#x, want 0: no request is passed on in this version", h.Flags), "send it to the group's leader, with flags 0"))
		return nil
	}
	to.request(c, h, r, body)
	return nil
}

// dispatchWord handles a frame that counts only as the word of the member in
// whose name it comes. It is not answered under its number, so flags that this
// version does not know end the connection.
func (c *connection) dispatchWord(to *handler, h wire.Header, body []byte) error {
	if c.claim != nil && !bug(bugUnattested) {
		if done, err := c.unsettled(h, body); done || err != nil {
			return err
		}
	}
	if h.Flags != 0 {
		return fmt.Errorf("flags %#x, want 0", h.Flags)
	}
	return to.word(c, h, body)
}

// ready returns the loop and the table, or refuses: before its founding a node
// has neither.
func (c *connection) ready(r repl.Reply) (*repl.Loop, *shardmap.Table) {
	loop, table := c.node.running(), c.node.table.Load()
	if loop == nil || table == nil || table.ClusterID == 0 {
		c.refuse(r, c.node.unready(loop))
		return nil, nil
	}
	return loop, table
}

// proposeWrite checks a write and queues it as a proposal.
func (c *connection) proposeWrite(h wire.Header, r repl.Reply, body []byte) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	bytes, err := wire.CheckWrite(body)
	if err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	cmd := &c.command
	if err := shardmap.ReadCommand(bytes, cmd); err != nil {
		c.refuse(r, commandError(err))
		return
	}
	if err := cmd.Validate(table.ValueMax); err != nil {
		c.refuse(r, commandError(err))
		return
	}
	group := table.GroupOf(cmd.Home())
	if group == 0 {
		c.refuse(r, wire.Unavailable(fmt.Sprintf("slot %d", cmd.Home()), "no group owns it"))
		return
	}
	c.proposals = append(c.proposals, repl.Proposal{
		Group:    group,
		Entry:    c.entry(body),
		Deadline: c.deadline(h, loop),
		Reply:    r,
	})
}

// groupOf finds the one group that all keys live in.
func groupOf(table *shardmap.Table, keys [][]byte) (raft.GroupID, *wire.Error) {
	group := raft.GroupID(0)
	for i, k := range keys {
		g := table.GroupOf(shardmap.SlotOf(k))
		if i > 0 && g != group {
			return 0, wire.BadRequest("keys of a get", fmt.Sprintf("key %d is of group %d, the first of group %d", i, g, group), "ask each group for its own keys")
		}
		group = g
	}
	return group, nil
}

func (c *connection) get(h wire.Header, r repl.Reply, body []byte) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	q := &getQuery{conn: c}
	body = append([]byte(nil), body...) // the keys are looked up after this frame is gone
	if err := q.request.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	group, bad := groupOf(table, q.request.Keys)
	if bad != nil {
		c.refuse(r, bad)
		return
	}
	q.group = group
	c.reads = append(c.reads, repl.Read{
		Group: group, Local: q.request.Mode == wire.ReadLocal, AnyReplica: q.request.Mode == wire.ReadFollower, After: after(group, q.request.AfterGroup, q.request.After),
		Deadline: c.deadline(h, loop), Reply: r, Query: q,
	})
}

// after is the index that must be applied for a log id to be seen, if it is
// one of this group.
func after(g, of raft.GroupID, id raft.LogID) uint64 {
	if g != of {
		return 0
	}
	return id.Index
}

func (c *connection) list(h wire.Header, r repl.Reply, body []byte) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	q := &listQuery{conn: c}
	body = append([]byte(nil), body...)
	if err := q.request.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	if e := q.request.Epoch; e != 0 && e != table.Epoch {
		c.refuse(r, tableChanged(q.request.Group, e, table.Epoch))
		return
	}
	if q.request.Group == 0 {
		c.refuse(r, metaHasNoKeys())
		return
	}
	if _, ok := table.Group(q.request.Group); !ok {
		c.refuse(r, wire.NotFound(fmt.Sprintf("group %d", q.request.Group), fmt.Sprintf("the table of epoch %d has no such group", table.Epoch), "fetch the topology, then ask one of its groups"))
		return
	}
	c.reads = append(c.reads, repl.Read{
		Group: q.request.Group, Local: q.request.Mode == wire.ReadLocal, AnyReplica: q.request.Mode == wire.ReadFollower, After: q.request.AfterID.Index,
		Deadline: c.deadline(h, loop), Reply: r, Query: q,
	})
}

// tableChanged refuses a listing whose sender chose its groups by another slot
// table than this node's: pages of the one and of the other together could
// leave out slots, or have them twice.
func tableChanged(g raft.GroupID, theirs, ours uint64) *wire.Error {
	return &wire.Error{Code: wire.CodeMoved, Object: fmt.Sprintf("listing of group %d", g), Text: "the slot table is another one", Epoch: ours,
		State: fmt.Sprintf("it was chosen by epoch %d, this node has epoch %d", theirs, ours), Next: "fetch the topology, then begin again after the last key"}
}

// announce puts what a node says of itself into the meta group's log.
func (c *connection) announce(h wire.Header, r repl.Reply, body []byte) {
	loop := c.node.running()
	if loop == nil {
		c.refuse(r, c.node.notReady())
		return
	}
	var a wire.Announce
	if err := a.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	anybody := bug(bugClientAnnounces)
	if c.peer != a.Node && !anybody {
		c.refuse(r, wire.Unauthorized("announcement", fmt.Sprintf("node %s speaks for node %s", c.peer, a.Node), "a node announces itself"))
		return
	}
	if err := checkAnnouncement(&a); err != nil {
		c.refuse(r, wire.BadRequest("announcement of node "+a.Node.String(), err.Error(), "start that node with a name, labels and an address that are right"))
		return
	}
	if t := c.node.table.Load(); t == nil || !t.Founded() {
		c.refuse(r, c.node.notReady()) // before the log: there is no table yet to put it in
		return
	}
	if !anybody && !c.claim.counted(c.node.ctx) {
		c.refuse(r, c.uncounted())
		return
	}
	command, err := announceCommand(&a)
	if err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	c.proposals = append(c.proposals, repl.Proposal{
		Group: 0, Entry: raft.NewEntry(raft.EntryNormal, command), Deadline: c.deadline(h, loop), Reply: r,
	})
}

// commandError makes the typed refusal of a command that shardmap refused.
func commandError(err error) *wire.Error {
	code := wire.CodeBadRequest
	next := "change the request"
	switch {
	case errors.Is(err, shardmap.ErrTooLarge):
		code, next = wire.CodeTooLarge, "split it, or raise the limit when the cluster is founded (--value-max)"
	case errors.Is(err, shardmap.ErrLevel):
		code, next = wire.CodeLevel, "upgrade all nodes first"
	}
	return &wire.Error{Code: code, Object: "write", Text: "refused before the log", State: err.Error(), Next: next}
}
