package repl

import (
	"slices"
	"time"

	"muster/raft"
)

// Elections, and what the log says of them
//
// A group without a leader answers nobody, so each node logs how long its replica knew
// of none and what it waited for meanwhile. The replica that wins has most to tell, and
// says it once, when the first entry of its term is applied: from then on it answers. The
// others say how long they waited, and how long their vote took to reach the disk.
//
// All times are taken in turns, on the host's clock: what happens between two turns
// counts from the second one.

// miss is why a replica no longer follows the leader that it had.
type miss string

const (
	missStart  miss = "start"             // it has known none since it began
	missClosed miss = "connection closed" // the last connection from the leader's node has closed
	missLife   miss = "node restarted"    // the leader's node has begun a new life
	missRest   miss = "rest not renewed"  // the leader's node no longer says that the group rests
	missSilent miss = "silence"           // an election timeout has passed
	missTerm   miss = "later term"        // another replica stands for election, or leads
	missAsked  miss = "handed over"       // the leader has told this replica to stand
	missQuorum miss = "no majority"       // this replica led, and no majority answered it
)

// election is what a replica remembers of the time without a leader, until the log has
// it. It decides nothing.
type election struct {
	group *group
	// open: no leader is known here, or this replica leads and no entry of its term is
	// applied. The fields below count while it is open.
	open bool
	// hinted is what the core was told last of a leader that is lost, or "".
	hinted miss

	miss   miss
	from   raft.NodeID   // that led before; 0: nobody is known
	heard  time.Duration // how long before the loss its node was heard of
	lost   time.Duration // when the group lost its leader; this and what follows on the host's clock
	asked  time.Duration // when this replica first asked for pre-votes; 0: not yet
	rounds int           // in which it asked
	stood  time.Duration // when it last stood for election; 0: not yet
	last   raft.NodeID   // whose vote came last before it led
	led    time.Duration // when it had the votes; 0: not yet
	vote   promise       // the replica's own vote in the newest term
	entry  promise       // the first entry of its term as a leader
}

// promise is a write that something waits for.
type promise struct {
	number uint64        // of the Ready; 0: none
	at     time.Duration // when it was handed to the batch that gathers
	synced bool          // the log has it, as was reported since the last turn or before
	took   time.Duration // from at until the report; 0: under way
}

// begin remembers that the replica has known no leader since now.
func (e *election) begin(why miss, now time.Duration) {
	*e = election{group: e.group, open: true, miss: why, lost: now}
}

// hint notes why the core is told that the leader is lost.
func (e *election) hint(why miss) { e.hinted = why }

// cause tells why the replica gives up its leader with a Ready; term is that of the Ready
// before.
func (e *election) cause(rd *raft.Ready, term uint64) miss {
	switch {
	case rd.Lead != 0 || rd.Role == raft.RoleFollower && rd.State.Term > term:
		return missTerm
	case e.group.role == raft.RoleLeader:
		return missQuorum
	case e.hinted != "":
		return e.hinted
	}
	return missSilent
}

// changed follows a Ready that brings another role or leader, and each one while the group has
// none; before is the state as of the Ready before it. It runs while the group still has its
// role and leader of then.
func (e *election) changed(rd *raft.Ready, before raft.HardState) {
	g, now := e.group, e.group.host.now
	if g.lead != 0 && rd.Lead != g.lead {
		from, _ := g.node(g.lead)
		e.begin(e.cause(rd, before.Term), now)
		if e.from = from; from != g.host.cfg.Self {
			heard, _ := g.host.contacts.Heard(from, now)
			e.heard = heard
		}
	}
	e.hinted = ""
	if !e.open {
		return
	}
	stands := rd.Role == raft.RoleCandidate && rd.State.Term > before.Term
	if g.role == raft.RoleCandidate && rd.Role != raft.RoleLeader && (stands || rd.Role != raft.RoleCandidate) {
		g.host.cfg.Log.Info("election lost", "group", g.replica.Group, "term", before.Term, "lost", e.miss,
			"vote_sync", e.vote.length(now), "votes", short(now-e.stood), "last", e.last, "without", short(now-e.lost))
	}
	if slices.ContainsFunc(rd.Messages, func(m raft.Message) bool { return m.Type == raft.MsgPreVote }) {
		if e.rounds++; e.asked == 0 {
			e.asked = now
		}
	}
	if stands {
		if e.stood, e.last = now, 0; e.asked == 0 {
			e.asked = now // its leader wants the election, or there is no other voter to ask
		}
	}
	if rd.State.Vote != 0 && (rd.State.Vote != before.Vote || rd.State.Term != before.Term) {
		e.vote = promise{number: rd.Number, at: now}
	}
	if rd.Role == raft.RoleLeader && g.role != raft.RoleLeader {
		e.led = now
		e.entry = promise{number: rd.Number, at: now}
	}
}

// follows ends the election at a replica that hears of the new leader, and returns what the
// line about that says of the time without one.
func (e *election) follows() []any {
	now := e.group.host.now
	e.open = false
	return []any{"lost", e.miss, "vote_sync", e.vote.length(now), "without", short(now - e.lost)}
}

// voted notes who voted for this replica. The last one before it leads was waited for.
func (e *election) voted(from raft.NodeID) {
	if e.led == 0 {
		e.last = from
	}
}

// synced notes that the Readies up to number are on disk. What the time is, only the turn
// knows that follows.
func (e *election) synced(number uint64) {
	for _, p := range []*promise{&e.vote, &e.entry} {
		p.synced = p.synced || p.number != 0 && p.number <= number
	}
}

// turn takes the time of what was reported since the last turn.
func (e *election) turn() {
	for _, p := range []*promise{&e.vote, &e.entry} {
		if p.synced && p.took == 0 {
			p.took = max(e.group.host.now-p.at, 1) // 0 means that it is under way
		}
	}
}

// settle ends the election once this replica leads and answers.
func (e *election) settle() {
	g, now := e.group, e.group.host.now
	if g.role != raft.RoleLeader || g.applied.Term != g.state.Term || g.stopped != nil {
		return
	}
	e.open = false
	g.host.cfg.Log.Info("group leads", "group", g.replica.Group, "term", g.state.Term, "lost", e.miss, "from", e.from, "heard", short(e.heard),
		"ask", short(e.asked-e.lost), "rounds", e.rounds, "prevote", short(e.stood-e.asked),
		"vote_sync", e.vote.length(now), "votes", short(e.led-e.stood), "last", e.last,
		"entry_sync", e.entry.length(now), "entry", short(now-e.led), "without", short(now-e.lost))
}

// length is how long a write took, or has taken until now.
func (p *promise) length(now time.Duration) time.Duration {
	switch {
	case p.number == 0:
		return 0
	case p.took > 0:
		return short(p.took)
	}
	return short(now - p.at)
}

// short is a time as a line has it.
func short(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
