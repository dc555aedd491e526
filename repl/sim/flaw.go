package sim

import (
	"fmt"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// In some runs one replica after another gets a wrong state: memory fails, or the code behaves
// differently on one replica than on the others. An audit, or a walk, must find
// each such flaw soon, on the right replica and no other (I17), and the replica must be
// rebuilt. Until it is, what it says of its group is not held against the invariants.

// flaw is something wrong with the state of one replica, and what has become of it.
type flaw struct {
	kind     FlawKind
	what     string
	part     uint32 // of the state, that is wrong
	node     *node
	replica  logstore.Replica
	state    *watched // that is wrong, in the present process or in an earlier one
	made     time.Duration
	at       raft.LogID    // the last entry before it
	since    time.Duration // from when on nothing else goes wrong
	fenced   time.Duration // when it was found; 0: not yet
	walked   bool          // by a walk
	fencedAt raft.LogID    // as of which entry
	life     uint32        // of the process in which it was
	noted    bool          // the fence is, or was, on disk
	leads    time.Duration // from when on the replica has led while it was fenced; 0: it does not
	called   bool          // a voter has called for its log, and it has not led since
	asked    time.Duration // when something was last written, where nobody else writes
	strikes  int           // how often a node is to crash while the replica is fenced
	stopped  bool          // the group, or the process, stopped by itself
	tied     bool          // there was no majority, and the replicas were asked to replay their logs
	split    bool          // nobody can tell which replica is wrong, and several are fenced
	trusted  time.Duration // when a person last said which one is right
	vanished bool          // what was wrong was written over
	over     time.Duration // when the replica was whole again; 0: it is not yet
}

func (f *flaw) String() string {
	if f == nil {
		return "there is no flaw"
	}
	return fmt.Sprintf("%s (%s) in part %d of %s on n%d, made at %.3f s after %s", f.kind, f.what, f.part, f.replica, f.node.index, f.made.Seconds(), f.at)
}

// flaws are those of a run.
type flaws struct {
	c        *cluster
	active   bool
	open     *flaw   // the one that is not over
	due      *flaw   // that is to be made when its node has loaded a snapshot
	past     []*flaw // those before, of which something may still be heard, oldest first
	relayed  relayed // the last one
	passedOn *origin // of the answer that is on its way to a client through another node
	written  map[snapshotName]oddSnapshot
	bearers  int // fenced replicas that came to lead, to bear their logs
	doubted  int // operations and listings that were not checked
	held     int // snapshots that did not leave
	made     map[madeFlaw]bool
	panics   int // of processes with a flaw
	counts   FlawCounts
}

// snapshotName names a snapshot of a node.
type snapshotName struct {
	node  int
	group raft.GroupID
	base  raft.LogID
}

// oddSnapshot is a snapshot of a state with a flaw.
type oddSnapshot struct {
	flaw *flaw
	sum  uint32 // of its bytes
}

// groupSet is a set of groups, as bits.
type groupSet uint64

func (s groupSet) has(g raft.GroupID) bool { return s>>g&1 != 0 }

// origin is what is known of the node that an answer comes from.
type origin struct {
	odd    groupSet // of which it may come of a flaw
	barred groupSet // of which it must answer nothing
}

// answerMax is how long an answer takes at most from the state that it is about to the
// connection: a long read is done beside the host.
const answerMax = 3 * time.Second

// origin returns what is known of the node now.
func (n *node) origin() (o origin) {
	x := &n.c.flaws
	if !x.active {
		return o
	}
	if f := x.open; f != nil && f.node == n {
		o.odd |= 1 << f.replica.Group
		if f.fenced > 0 && n.c.now > f.fenced && n.beside.running == nil {
			o.barred |= 1 << f.replica.Group
		}
	}
	for _, f := range x.past {
		if f.node == n && n.c.now-f.over < answerMax {
			o.odd |= 1 << f.replica.Group
		}
	}
	return o
}

// originAt returns the origin of an answer of a type that leaves a node now.
func (x *flaws) originAt(n *node, t wire.Type) origin {
	if x.passedOn != nil {
		return *x.passedOn
	}
	o := n.origin()
	if r := &x.relayed; r.node == n && t == wire.TypeScanPiece && x.c.now-r.at < answerMax {
		o.odd |= r.odd
	}
	return o
}

// relays notes that a node gets from another what it shows in a stream of its own, later.
func (x *flaws) relays(n *node, e *event) {
	if e.origin.odd != 0 && e.wtype == wire.TypeListAnswer {
		x.relayed = relayed{n, x.c.now, e.origin.odd}
	}
}

// relayed is a page that may come of a flaw, on its way through another node.
type relayed struct {
	node *node
	at   time.Duration
	odd  groupSet
}

// heardBy notes where an answer, or a part of one, comes from, with the operation that it answers.
func (e *event) heardBy(o *op) {
	o.doubted = o.doubted || e.origin.odd.has(o.group)
	if e.origin.barred.has(o.group) && e.wtype != wire.TypeError && e.wtype != wire.TypeStreamEnd {
		f := o.client.c.flaws.open
		o.client.c.fail("I17: %s is answered with a %s by a replica that is fenced: %s", o, e.wtype, f)
	}
}

// unchecked takes an answer that may come of a flaw: what the operation found, or did, is not
// known.
func (x *flaws) unchecked(o *op) {
	x.doubted++
	x.c.history.unknown(o)
	o.over()
}

// odd reports whether the state has a flaw.
func (w *watched) odd() bool { return w.flaw != nil }

// live reports whether the machine is that of the node's replica, and not one that is made
// beside it.
func (w *watched) live() bool {
	if w.node.host == nil {
		return true // it is being opened
	}
	m := w.node.host.Machine(w.replica.Group)
	return m == nil || m == repl.StateMachine(w)
}

// wrote returns the flaw that a snapshot of a node may have; nil if it has none.
func (x *flaws) wrote(n *node, g raft.GroupID, base raft.LogID) *flaw {
	return x.written[snapshotName{n.index, g, base}].flaw
}

// accused checks a verdict or a fence: the replica must have a flaw, in one of the parts that
// are named (I17).
func (x *flaws) accused(n raft.NodeID, g raft.GroupID, parts []uint32, what string) {
	f := x.open
	if f == nil || f.node.id != n || f.replica.Group != g {
		x.c.fail("I17: %s of group %d on n%d (parts %v): its state has no flaw; %s", what, g, n, parts, f)
	}
	if !f.named(parts) {
		x.c.fail("I17: %s of group %d on n%d names parts %v, and not the one that is wrong: %s", what, g, n, parts, f)
	}
}

// named reports whether the wrong part is among those that are named. In a wrong table another
// part may be wrong by then, because what is proposed depends on it. A value that is overwritten
// enters the history of events as it was.
func (f *flaw) named(parts []uint32) bool {
	return len(parts) == 0 || f.replica.Group == 0 || slices.Contains(parts, f.part) || slices.Contains(parts, uint32(shardmap.PartHistory))
}

// ends notes that the replica is whole again, and how that came.
func (f *flaw) ends(how FlawEnd) {
	x := &f.node.c.flaws
	f.over = f.node.c.now
	x.counts[f.kind][how]++
	x.open = nil
	x.past = append(slices.DeleteFunc(x.past, func(f *flaw) bool { return x.c.now-f.over > verdictMax }), f)
	f.node.c.note(f.node.index, "%s: %s after %s", f, how, f.over-f.made)
}

// begins makes the state of a replica wrong from now on.
func (f *flaw) begins(w *watched) {
	x := &f.node.c.flaws
	f.state, f.made, f.since, f.at = w, f.node.c.now, f.node.c.now, w.at
	w.flaw, x.open = f, f
	x.made[madeFlaw{f.node.id, f.replica.Group}] = true
	f.node.c.note(f.node.index, "%s", f)
}

// tainted reports whether the state may have been written down since.
func (x *flaws) tainted(f *flaw) bool {
	for _, o := range x.written {
		if o.flaw == f {
			return true
		}
	}
	return false
}

// keeps reports whether a snapshot of a node may not leave: it was written of a wrong state.
// Nothing tells that from a right one before the wrong replica is found, and after it has left
// two replicas of three may be wrong, which is more than any comparison can find. A replica that
// is fenced sends none by itself (I17).
func (x *flaws) keeps(n *node, stream *repl.SnapshotStream) bool {
	s := stream.Snapshot
	f := x.wrote(n, s.Replica.Group, s.Base.ID)
	if x.open != nil && x.open.node == n && x.open.replica == s.Replica && x.open.fenced > 0 && stream.Current() {
		x.c.fail("I17: n%d sends a snapshot of group %d at %s while its replica is fenced: %s", n.index, s.Replica.Group, s.Base.ID, x.open)
	}
	if f == nil {
		return false
	}
	x.held++
	return true
}
