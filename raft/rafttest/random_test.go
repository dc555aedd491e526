package rafttest

import (
	"flag"
	"math/rand/v2"
	"testing"

	"muster/raft"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed only")
	seeds   = flag.Int("seeds", 250, "how many seeds to run")
)

// Whatever is lost, doubled, delayed or cut, whoever loses power with whatever
// part of what was not synced, while members come and go, leaders hand over,
// logs are compacted and disks stall: one leader per term (I1), equal logs up
// to an equal id (I2), leaders that hold all that is committed (I3), the same
// entry at the same index (I4), terms, votes and commits that do not go back
// (I5), quorums that meet (I6), equal states at equal indexes (I10), reads that
// see what was committed before them. And when it stops, the group goes on and
// all logs become one.
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
		"refused busy", "fetch", "new leader", "rejected append", "proposal", "transfer", "transfer vote", "prefer", "change", "refused change", "joint", "promotion",
		"leader removes itself", "leader demotes itself", "demotion", "explicit promotion", "repeated change", "stale change", "lagging learner", "fence", "fenced leader", "unfence", "bearer", "bearer hands over", "one may lead", "one may lead, and lacks entries", "follower read", "compact", "snapshot", "install", "hint", "hint taken back", "short tick", "asked by a short tick", "quiet", "wake", "stall", "lie", "term out of reach"} {
		if total[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

// rates of what goes wrong, in a thousand things done.
type rates struct{ phase, fault, reorder, drop, twice, admin, lie int }

type run struct {
	*Network
	rates  rates
	seed   uint64
	r      *rand.Rand
	count  map[string]int
	floors map[uint64]uint64 // by number of a read: the commit when it began
	reads  uint64
	word   int
	node   raft.NodeID // the newest
	calm   bool        // nobody asks for anything
	// guarded is the last change that was asked for by the membership that it follows.
	guarded raft.Change
	hints   hints
	old     [40]raft.Message // delivered long ago; some come once more
}

func newRun(seed uint64) *run {
	r := rand.New(rand.NewPCG(seed, 1))
	c := raft.Config{Chance: seed, ElectionTicks: 2 + r.IntN(5), HeartbeatTicks: 1, UncommittedBytesMax: 700,
		TailBytesMax: 1 + r.IntN(400), AppendBytesMax: 1 + r.IntN(300), InflightMessagesMax: 1 + r.IntN(4)}
	n := &run{seed: seed, r: r, count: map[string]int{}, floors: map[uint64]uint64{}}
	n.rates = rates{phase: r.IntN(20), fault: r.IntN(30), reorder: r.IntN(200), drop: r.IntN(150), twice: r.IntN(150)}
	voters, copies := 1+r.IntN(5), r.IntN(5)/4
	if r.IntN(3) > 0 {
		n.rates.admin = r.IntN(30)
		if r.IntN(2) == 0 {
			c.QuietTicks = 1 + r.IntN(5)
		}
	}
	if r.IntN(3) == 0 {
		n.rates.lie = 10
	}
	n.node = raft.NodeID(voters + copies)
	n.Network = New(c, voters, copies)
	n.hints = hints{run: n, of: map[raft.ReplicaID]*hinted{}}
	return n
}

const actions = 8000

// run does all that is random and returns what was broken.
func (n *run) run() []string {
	for range actions {
		n.act()
		if len(n.Check.Broken) > 0 {
			return n.Check.Broken
		}
	}
	n.settle()
	n.Check.Unchanged()
	return n.Check.Broken
}

func (n *run) check(t *testing.T) {
	t.Helper()
	for _, what := range n.run() {
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

func (n *run) any() *Replica { return n.Replicas[n.r.IntN(len(n.Replicas))] }

// act does one thing, of one replica or of the network.
func (n *run) act() {
	r := n.any()
	n.hints.tick(r)
	if n.chance("phase", n.rates.phase) {
		n.phase()
	}
	if n.chance("fault", n.rates.fault) {
		n.fault(r)
		return
	}
	if n.r.IntN(1000) < n.rates.lie {
		n.lie(r)
		return
	}
	if n.r.IntN(1000) < n.rates.admin {
		n.administer()
		return
	}
	switch n.r.IntN(20) {
	case 0:
		if r.Group != nil {
			n.tick(r)
		} else if n.r.IntN(3) == 0 {
			n.Start(r)
		}
	case 1, 2:
		if n.calm {
			return
		}
		for _, r := range n.Replicas {
			if r.Group != nil && (r.Group.Status().Role == raft.RoleLeader || n.r.IntN(10) == 0) {
				n.ask(r)
			}
		}
	case 3, 4, 5, 6, 7:
		for i := 0; i < len(n.Replicas); i++ {
			if r := n.Replicas[i]; r.Group != nil && n.r.IntN(4) > 0 && r.Group.HasReady() {
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

func (n *run) tick(r *Replica) {
	r.Group.Tick()
	st := r.Group.Status()
	if r.outgoing >= 0 && st.Role == raft.RoleLeader {
		if r.outgoing++; r.outgoing >= n.Config.ElectionTicks {
			n.Check.broken("replica %d is fenced and leads on for %d ticks", r.ID, r.outgoing)
		}
	}
	if st.Stalled {
		n.count["stall"]++
	}
	if !st.Quiet {
		return
	}
	n.count["quiet"]++
	// The owner of a quiet follower notices when the leader's node is gone.
	if lead := st.Leader; lead != r.ID && n.r.IntN(4) == 0 && (lead == 0 || n.Replicas[lead-1].Group == nil ||
		n.Blocked(lead, r.ID) || n.Replicas[lead-1].Group.Status().Role != raft.RoleLeader) {
		n.hints.lose(r)
	}
}

func (n *run) take(r *Replica) {
	before := r.Group.Status()
	s := n.Check.replicas[r.ID]
	end := s.base.Index + uint64(len(s.log))
	bears := r.bearing.leads
	n.Take(r)
	rd := r.Taken[len(r.Taken)-1]
	if r.bearing.leads {
		n.countBearer(r, &rd, bears)
	}
	n.hints.taken(r, &rd)
	if len(rd.Entries) > 0 && rd.Entries[0].ID.Index <= end {
		n.count["truncated"]++
	}
	if rd.Role == raft.RoleLeader && len(rd.Entries) > 0 && rd.Entries[0].Kind == raft.EntryNoOp && before.Term > 1 {
		n.count["new leader"]++
	}
	if rd.Role == raft.RoleLeader {
		n.countChanges(r, &rd)
	}
	if rd.Install != nil {
		n.count["install"]++
	}
	n.count["snapshot"] += len(rd.Snapshots)
	for _, m := range rd.Messages {
		if m.Fetch != 0 {
			n.count["fetch"]++
		}
	}
	for _, m := range rd.AfterSync {
		switch {
		case m.Type == raft.MsgAppendAnswer && m.Reject:
			n.count["rejected append"]++
		case m.Type == raft.MsgTransferVote:
			n.count["transfer vote"]++
		}
	}
	for _, read := range r.Reads {
		n.count["read"]++
		if rd.Role != raft.RoleLeader {
			n.count["follower read"]++
		}
		if floor := n.floors[read.Number]; read.Index < floor {
			n.Check.broken("replica %d lets read %d run at %d, %d was committed before it began", r.ID, read.Number, read.Index, floor)
		}
	}
	n.count["read lost"] += len(r.ReadsLost)
	r.Reads, r.ReadsLost = nil, nil
}

// countBearer counts what a fenced replica does that leads to bear its log.
func (n *run) countBearer(r *Replica, rd *raft.Ready, before bool) {
	if !before {
		n.count["bearer"]++
	}
	for _, m := range rd.Messages {
		if m.Type == raft.MsgTimeoutNow && !n.Replicas[m.To-1].Fenced {
			n.count["bearer hands over"]++
		}
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
	m := n.Flying[i]
	switch {
	case n.chance("drop", n.rates.drop):
		n.Drop(i)
	case n.chance("twice", n.rates.twice):
		n.hints.handed(m, n.Hand(m))
	default:
		if n.r.IntN(20) == 0 {
			n.old[n.r.IntN(len(n.old))] = m
		}
		n.hints.handed(m, n.Deliver(i))
	}
	if m := n.old[n.r.IntN(len(n.old))]; m.Type != 0 && n.chance("old", n.rates.twice/4) {
		n.hints.handed(m, n.Hand(m))
	}
}
