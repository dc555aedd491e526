package rafttest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"muster/raft"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed only")
	seeds   = flag.Int("seeds", 250, "how many seeds to run")
)

// Whatever is lost, doubled, delayed or cut, whoever loses power with whatever
// part of what was not synced: one leader per term (I1), equal logs up to an
// equal id (I2), leaders that hold all that is committed (I3), the same entry
// at the same index (I4), terms, votes and commits that do not go back (I5),
// reads that see what was committed before them. And when it stops, the group
// goes on and all logs become one.
func TestRandom(t *testing.T) {
	if *oneSeed != 0 {
		newRun(*oneSeed).check(t)
		return
	}
	total := map[string]int{}
	for i := range *seeds {
		r := newRun(uint64(i + 1))
		r.check(t)
		for what, n := range r.count {
			total[what] += n
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%v", total)
	for _, what := range []string{"crash", "part synced", "drop", "twice", "reorder", "phase", "split", "block", "slow disk", "truncated", "read", "read lost",
		"refused busy", "fetch", "new leader", "rejected append", "proposal"} {
		if total[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

// rates of what goes wrong, in a thousand things done.
type rates struct{ phase, fault, reorder, drop, twice int }

type run struct {
	*Network
	rates  rates
	seed   uint64
	r      *rand.Rand
	count  map[string]int
	floors map[uint64]uint64 // by number of a read: the commit when it began
	reads  uint64
	word   int
}

func newRun(seed uint64) *run {
	r := rand.New(rand.NewPCG(seed, 1))
	c := raft.Config{Chance: seed, ElectionTicks: 2 + r.IntN(5), HeartbeatTicks: 1, UncommittedBytesMax: 700,
		TailBytesMax: 1 + r.IntN(400), AppendBytesMax: 1 + r.IntN(300), InflightMessagesMax: 1 + r.IntN(4)}
	n := &run{seed: seed, r: r, count: map[string]int{}, floors: map[uint64]uint64{}}
	n.rates = rates{phase: r.IntN(20), fault: r.IntN(30), reorder: r.IntN(200), drop: r.IntN(150), twice: r.IntN(150)}
	n.Network = New(c, 1+r.IntN(5), r.IntN(5)/4)
	return n
}

func (n *run) check(t *testing.T) {
	t.Helper()
	for range 8000 {
		n.act()
		if len(n.Check.Broken) > 0 {
			break
		}
	}
	if len(n.Check.Broken) == 0 {
		n.settle()
	}
	n.Check.Unchanged()
	for _, what := range n.Check.Broken {
		t.Errorf("seed %d: %s", n.seed, what)
	}
}

func (n *run) chance(what string, perMille int) bool {
	if n.r.IntN(1000) >= perMille {
		return false
	}
	n.count[what]++
	return true
}

// act does one thing, of one replica or of the network.
func (n *run) act() {
	r := n.Replicas[n.r.IntN(len(n.Replicas))]
	if n.chance("phase", n.rates.phase) {
		n.phase()
	}
	if n.chance("fault", n.rates.fault) {
		n.fault(r)
		return
	}
	switch n.r.IntN(20) {
	case 0:
		if r.Group != nil {
			r.Group.Tick()
		} else if n.r.IntN(3) == 0 {
			n.Start(r)
		}
	case 1, 2:
		for _, r := range n.Replicas {
			if r.Group != nil && r.Group.Status().Role == raft.RoleLeader {
				n.ask(r)
			}
		}
	case 3, 4, 5, 6, 7:
		for _, r := range n.Replicas {
			if r.Group != nil && n.r.IntN(4) > 0 && r.Group.HasReady() {
				n.take(r)
			}
		}
	case 8, 9, 10:
		for _, r := range n.Replicas {
			if r.Group != nil && (!r.Hold && n.r.IntN(4) > 0 || n.r.IntN(40) == 0) {
				n.Sync(r, 1+n.r.IntN(3))
			}
		}
	default:
		for range 1 + n.r.IntN(2*len(n.Replicas)) {
			n.deliver()
		}
	}
}

func (n *run) take(r *Replica) {
	before := r.Group.Status()
	log := len(n.Check.replicas[r.ID].log)
	n.Take(r)
	rd := r.Taken[len(r.Taken)-1]
	if len(rd.Entries) > 0 && int(rd.Entries[0].ID.Index) <= log {
		n.count["truncated"]++
	}
	if rd.Role == raft.RoleLeader && len(rd.Entries) > 0 && rd.Entries[0].Kind == raft.EntryNoOp && before.Term > 1 {
		n.count["new leader"]++
	}
	for _, m := range rd.Messages {
		if m.Fetch != 0 {
			n.count["fetch"]++
		}
	}
	for _, m := range rd.AfterSync {
		if m.Type == raft.MsgAppendAnswer && m.Reject {
			n.count["rejected append"]++
		}
	}
	for _, read := range r.Reads {
		n.count["read"]++
		if floor := n.floors[read.Number]; read.Index < floor {
			n.Check.broken("replica %d lets read %d run at %d, %d was committed before it began", r.ID, read.Number, read.Index, floor)
		}
	}
	n.count["read lost"] += len(r.ReadsLost)
	r.Reads, r.ReadsLost = nil, nil
}

func (n *run) ask(r *Replica) {
	if n.r.IntN(2) == 0 {
		n.reads++
		n.floors[n.reads] = n.Check.Commit
		_ = r.Group.ReadIndex(n.reads) // refused where it does not lead
		return
	}
	var entries []raft.Entry
	for range 1 + n.r.IntN(3) {
		n.word++
		entries = append(entries, raft.NewEntry(raft.EntryNormal, fmt.Appendf(nil, "word %d", n.word)))
	}
	if _, err := r.Group.Propose(raft.GroupTime(n.word), entries); err == nil {
		n.count["proposal"]++
	} else if errors.Is(err, raft.ErrBusy) {
		n.count["refused busy"]++
	}
}

func (n *run) deliver() {
	if len(n.Flying) == 0 {
		return
	}
	i := 0
	if n.chance("reorder", n.rates.reorder) {
		i = n.r.IntN(len(n.Flying))
	}
	switch {
	case n.chance("drop", n.rates.drop):
		n.Flying = append(n.Flying[:i:i], n.Flying[i+1:]...)
	case n.chance("twice", n.rates.twice):
		n.Hand(n.Flying[i])
	default:
		n.Deliver(i)
	}
}

// phase changes who reaches whom, and has all but the leaders lose patience at
// once: leaders change often, and those cut off go on taking commands for a
// while that will not be committed.
func (n *run) phase() {
	n.Heal()
	if n.r.IntN(10) < 7 {
		n.split()
	}
	if n.r.IntN(2) == 0 {
		n.Flying = nil
	}
	for _, r := range n.Replicas {
		if r.Group == nil {
			n.Start(r)
		}
		if n.r.IntN(12) == 0 {
			n.crash(r)
			n.Start(r)
		}
		for range n.Config.ElectionTicks {
			if r.Group.Status().Role != raft.RoleLeader {
				r.Group.Tick()
			}
		}
		r.Hold = n.r.IntN(5) == 0
	}
	n.Replicas[n.r.IntN(len(n.Replicas))].Group.Campaign()
}

func (n *run) split() {
	n.count["split"]++
	side := n.r.Uint64()
	for a := range n.Replicas {
		for b := range n.Replicas {
			n.Block(raft.ReplicaID(a+1), raft.ReplicaID(b+1), side>>a&1 != side>>b&1)
		}
	}
}

func (n *run) fault(r *Replica) {
	switch n.r.IntN(6) {
	case 0:
		if r.Group != nil {
			n.crash(r)
		}
	case 1:
		n.split()
	case 2: // one way of one link
		n.count["block"]++
		n.Block(raft.ReplicaID(1+n.r.IntN(len(n.Replicas))), r.ID, true)
	case 3:
		n.Heal()
	case 4:
		n.count["slow disk"]++
		r.Hold = !r.Hold
	case 5:
		if r.Group != nil {
			r.Group.Campaign()
		}
	}
}

// crash keeps on disk what was synced, any first part of what was not, and of
// the state machine any state on the way to what it has applied.
func (n *run) crash(r *Replica) {
	n.count["crash"]++
	st := r.Group.Status()
	kept := 0
	if n.r.IntN(2) == 0 {
		kept = n.r.IntN(len(r.Taken) + 1)
	}
	if kept > 0 {
		n.count["part synced"]++
	}
	n.Crash(r, kept)
	if most := min(st.Applied, r.Disk.State.Commit); most > r.Disk.Applied {
		r.Disk.Applied += n.r.Uint64N(most - r.Disk.Applied + 1)
	}
}

// settle ends all faults; the group must elect a leader, commit, and end with
// equal logs.
func (n *run) settle() {
	n.Heal()
	for _, r := range n.Replicas {
		if r.Group == nil {
			n.Start(r)
		}
		r.Hold = false
	}
	for range 30 * n.Config.ElectionTicks {
		for _, r := range n.Replicas {
			r.Group.Tick()
		}
		n.Run()
	}
	var lead *Replica
	for _, r := range n.Replicas {
		if st := r.Group.Status(); st.Role == raft.RoleLeader {
			lead = r
		}
	}
	if lead == nil {
		n.Check.broken("no leader after all faults ended")
		return
	}
	if _, err := lead.Group.Propose(0, []raft.Entry{raft.NewEntry(raft.EntryNormal, []byte("the last"))}); err != nil {
		n.Check.broken("the leader takes no command after all faults ended: %v", err)
		return
	}
	if err := lead.Group.ReadIndex(1 << 40); err != nil {
		n.Check.broken("the leader takes no read: %v", err)
	}
	lead.Reads = nil
	n.Run()
	if len(lead.Reads) != 1 {
		n.Check.broken("%d reads are answered, want 1", len(lead.Reads))
	}
	for range n.Config.HeartbeatTicks * 2 {
		for _, r := range n.Replicas {
			r.Group.Tick()
		}
		n.Run()
	}
	want := lead.Group.Status()
	for _, r := range n.Replicas {
		st := r.Group.Status()
		if st.Last != want.Last || st.Commit != want.Last.Index || st.Applied != want.Last.Index || st.Leader != lead.ID {
			n.Check.broken("replica %d ends with %s, commit %d, applied %d, leader %d; the leader %d with %s",
				r.ID, st.Last, st.Commit, st.Applied, st.Leader, lead.ID, want.Last)
		}
	}
}
