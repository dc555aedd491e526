package raft

import "fmt"

// replica is one member of a group, whatever its role: the paper's state on all
// servers (figure 2), and what this implementation adds. What every role does
// with a message is in step.go, what voters do in candidate.go, what followers do
// in follower.go; what a leader has and does in addition is a [leader].
type replica struct {
	config Config

	term  uint64
	reach reach     // of term
	vote  ReplicaID // in term; 0: nobody yet
	// floor: a log that is older neither votes nor stands for election, see
	// [Group.Resume].
	floor LogID

	log     log
	heard   heardTime
	members members

	role    Role
	lead    ReplicaID // Invariant: nobody else leads in term
	leading *leader   // Invariant: nil unless role is RoleLeader
	votes   votes     // a candidate's and pre-candidate's

	ticks     uint64 // since New, while awake
	timer     timer
	resting   bool
	fenced    bool // it does not lead, see [Group.Fence]
	refused   bool // a voter has refused it a pre-vote since it last heard a leader
	called    bool // a voter that may lead lacks what is here, see fence.go
	hint      hint
	questions questions
	preferred ReplicaID // who should lead; 0: nobody
	syncs     syncs
	out       output
	stopped   error
}

// awaitLeader counts a tick in which no leader was heard. Once the timer has
// expired, a replica that may stand for election does.
func (r *replica) awaitLeader() {
	r.timer.silence++
	r.questions.tick(r.config.HeartbeatTicks)
	r.hintTick()
	if !r.timer.expired() {
		return
	}
	// Only the leader's answers are believed, and there is none any more: the owner
	// must ask again, elsewhere.
	r.lead = 0
	r.questions.lose(&r.out)
	switch {
	case r.electable(), r.called && able(r):
		r.called = false // one call is one campaign
		r.preCampaign()
	case r.fenced || lacks(r) || find(r.members.now().Learners, r.config.Self) >= 0:
		r.call()
	}
}

// electable reports whether this replica may stand for election, to lead and serve.
func (r *replica) electable() bool { return (!r.fenced || bug("fenced replica leads")) && able(r) }

// able reports whether a replica can stand for election, fenced or not: it is a voter,
// its disk could keep its own vote, and its log is all that it may have acknowledged.
func able(r *replica) bool {
	return r.complete(r.log.last) && (r.members.mayVote(r.config.Self) || bug("removed node still votes")) && !r.syncs.stalled(r.ticks)
}

// send queues m to leave at once, in the present term if it names none.
func (r *replica) send(to ReplicaID, m Message) {
	m.From, m.To = r.config.Self, to
	if m.Term == 0 {
		m.Term = r.term
	}
	r.out.messages = append(r.out.messages, m)
}

// promise queues m to leave, in the present term, once all that it relies on is synced.
func (r *replica) promise(to ReplicaID, m Message) {
	m.From, m.To, m.Term = r.config.Self, to, r.term
	r.out.afterSync = append(r.out.afterSync, m)
}

// stop ends this replica's part for good, because something happened that never
// may. Output that is not handed out yet is dropped: nothing more leaves the replica.
func (r *replica) stop(reason error) error {
	r.stopped = fmt.Errorf("%w: %w", ErrStopped, reason)
	r.role, r.lead, r.leading = RoleFollower, 0, nil
	r.questions, r.hint, r.resting = questions{}, hint{}, false
	r.out = output{}
	return r.stopped
}
