package repl

import "muster/raft"

// Proposer is a [StateMachine] that has commands of its own to propose, and not only
// those of clients: by its state and by what it knows of the cluster.
type Proposer interface {
	// Wants returns the payload of a command that is due, or nil if there is none. It
	// is asked where the group is led, when the leadership begins, when the table may
	// have changed ([Host.Place]), when entries may have made it want something ([Observed.Ran]), and when what it
	// wanted before was applied; and again, with each tick, as long as the log does not take what it wants.
	//
	// That a command is proposed does not mean that it is applied: its leadership may
	// end. So another leader may propose the same once more, and the command must
	// change nothing the second time.
	Wants() (payload []byte)
}

// wants is what the machine of a group proposes by itself. There is one command under
// way at a time.
type wants struct {
	group *group
	due   bool   // the machine is to be asked
	index uint64 // of what is under way, in this leadership; 0: nothing is
}

// ask has the machine asked in this turn, if the group is led here.
func (w *wants) ask() {
	if w.group.role == raft.RoleLeader && w.index == 0 {
		w.due = true
		w.group.touch()
	}
}

// leadership notes that one began or ended.
func (w *wants) leadership(begins bool) {
	w.due, w.index = begins, 0
}

// propose asks the machine, if that is due. It is called before the commands of
// clients are offered, and at once where a leadership begins: so what a machine wants
// then, such as the founding of its group, goes into the log right behind the
// leader's no-op, with the same sync, and before the first command of a client.
func (w *wants) propose() {
	g := w.group
	if !w.due || g.stopped != nil || g.removed || g.fence != nil {
		return
	}
	machine, ok := g.machine.(Proposer)
	if !ok {
		w.due = false
		return
	}
	payload := machine.Wants()
	if payload == nil {
		w.due = false
		return
	}
	bytes := int64(raft.EntryHeaderSize+len(payload)) + entryRoom
	if g.commands.admit(payload) != nil || !g.host.full.mayOffer(bytes) {
		return
	}
	now := g.clock.now()
	id, err := g.core.Propose(now, []raft.Entry{raft.NewEntry(raft.EntryNormal, payload)})
	if err != nil {
		return // it is busy, or hands over: the next tick asks again
	}
	g.host.full.accept(bytes)
	g.clock.told = now
	w.due, w.index = false, id.Index
}

// applied notes how far the machine has come.
func (w *wants) applied(index uint64) {
	if w.index != 0 && index >= w.index {
		w.due, w.index = true, 0
	}
}
