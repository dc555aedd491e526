package machine

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Step takes a step of a move, which a member sends to the group's leader; sender is what
// the other side has proven to be, and its owner has seen to it that the connection
// counts. What is wrong with the step is answered at once. Nothing of body is kept.
func (q *Requests) Step(h wire.Header, body []byte, r repl.Reply, sender wire.Sender, table *shardmap.Table, now Now) {
	var s wire.Step
	if err := s.Read(body); err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	p, refused := StepProposal(&s, sender, table, wire.Origin{Time: now.Wall})
	if refused != nil {
		q.refuse(r, refused)
		return
	}
	p.Deadline, p.Reply = q.deadline(h, now), r
	q.proposals = append(q.proposals, p)
}

// StepProposal makes a step of a move an entry for its group; a node calls it for its own
// steps too. It copies the command. It refuses what no move needs of the group: the entries
// of steps change whose a key is, so only members have them made, and no other command comes
// in this way.
func StepProposal(s *wire.Step, sender wire.Sender, table *shardmap.Table, o wire.Origin) (repl.Proposal, *wire.Error) {
	if sender&wire.TypeStep.Senders() == 0 {
		return repl.Proposal{}, wire.Unauthorized("step of a move", "it came from "+sender.String(), "only the cluster's own nodes move slots; muster slot move asks them to")
	}
	if e := inTable(s.Group, s.Incarnation, table); e != nil {
		return repl.Proposal{}, e
	}
	check := checkStep
	if s.Group == 0 {
		check = checkMetaStep
	}
	if e := check(s, table); e != nil {
		return repl.Proposal{}, e
	}
	if n := wire.OriginSizeMax + len(s.Command); n > raft.PayloadSizeMax {
		// The core would refuse it, and with it whatever is proposed at the same time.
		return repl.Proposal{}, commandError(fmt.Errorf("%w: a step of %d bytes; the limit is %d", shardmap.ErrTooLarge, len(s.Command), raft.PayloadSizeMax-wire.OriginSizeMax))
	}
	return repl.Proposal{Group: s.Group, Entry: NewEntry(o, s.Command)}, nil
}

// inTable refuses a step for a group that the table does not have in that incarnation: a
// group made anew keeps no marks of the old one, and would take what that one refuses.
// The sender's table may be the newer one.
func inTable(g raft.GroupID, i raft.Incarnation, table *shardmap.Table) *wire.Error {
	row, ok := table.Group(g)
	if ok && row.Incarnation == i {
		return nil
	}
	return wire.NotReady(fmt.Sprintf("group %s", g), fmt.Sprintf("the table of index %d does not have it in incarnation %d", table.Index, i), "try again", wire.BusyRetry)
}

// checkStep refuses what is no step for a data group. Bytes that can't be read would stop
// the group.
func checkStep(s *wire.Step, table *shardmap.Table) *wire.Error {
	bytes, err := wire.CheckWrite(s.Command)
	if err != nil {
		return wire.BadBody(wire.TypeStep, err)
	}
	var c shardmap.Command
	if err := shardmap.ReadCommand(bytes, &c); err != nil {
		return commandError(err)
	}
	if !c.Kind.Moves() {
		return notAStep(c.Kind.String(), s.Group)
	}
	if c.Session != 0 || c.Condition != shardmap.ConditionNone {
		return wire.BadBody(wire.TypeStep, fmt.Errorf("a step with a session or a condition"))
	}
	if err := c.ValidateMove(table.Limits()); err != nil {
		return commandError(err)
	}
	return nil
}

// metaStep reports whether a command to the meta group comes in as a step: of a move, where it
// is told what the two groups have decided, or that a slot that was to be empty is not, so that
// its move is to be given up; or that a replica of the sender differs, or how far its trail is.
func metaStep(k shardmap.TableCommandKind) bool {
	return k == shardmap.TableMoveRecord || k == shardmap.TableMoveClose || k == shardmap.TableMoveCancel || k == shardmap.TableIncident || k == shardmap.TableTrailHead
}

// checkMetaStep refuses what is no step for the meta group. Whether the step fits the table is
// decided when the entry is applied: the table here may be older than the move.
func checkMetaStep(s *wire.Step, table *shardmap.Table) *wire.Error {
	what, _, err := shardmap.Asked(s.Command) // the whole of it: an entry that can't be read stops its group
	if err != nil {
		return OrderError(err)
	}
	kind := shardmap.TableKindOf(s.Command)
	if !metaStep(kind) {
		return notAStep(what, 0)
	}
	if err := kind.Row().Admit(table.Level); err != nil {
		return commandError(err)
	}
	return nil
}

func notAStep(what string, g raft.GroupID) *wire.Error {
	return wire.Unauthorized("command "+what, fmt.Sprintf("it is no step of a move for group %s", g), "send what docs/protocol.md says of a Step")
}
