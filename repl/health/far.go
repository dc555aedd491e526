package health

import (
	"errors"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// errLate says that an action has not ended in time.
var errLate = errors.New("no answer in time")

// pauseDoubles bounds how often the time between two polls doubles: then it is PollEvery.
const pauseDoubles = 5

// far is a node that is alive, as its polls see it. This node is one, too.
type far struct {
	node raft.NodeID // set once

	lists map[raft.GroupID]*list // what is assigned to it
	load  int                    // checks that are assigned to it, while they are
	asked bool                   // it is to answer even if nothing is assigned: whether it is there, which programs it allows

	heard    bool // it has answered since there was something to ask
	life     uint64
	seen     uint64 // of its states, in that life
	programs map[string]bool
	last     uint64        // the newest poll that was answered
	answered time.Duration // when

	polled  bool
	sent    time.Duration // the last poll
	under   int           // polls under way
	hurry   bool          // there is something to say, or more to ask
	waiting time.Duration // since when polls are without an answer; never: there was one
	refused bool          // one of them has ended with an error
	failed  int           // polls in a row that have
	silent  bool          // for so long that it gets no checks
}

// poll asks a node, if it is time.
func (a *Assigner) poll(now time.Duration, n *far) {
	if len(n.lists) == 0 && (!a.need || !n.silent && !n.asked) {
		n.waiting = never
		return
	}
	at := now
	switch {
	case !n.polled:
	case n.silent:
		at = n.sent + silentEvery
	case n.failed > 0 && n.under == 0:
		at = n.sent + min(pollPause<<min(n.failed-1, pauseDoubles), PollEvery)
	case n.hurry && n.under <= pollsHurried:
		at = n.sent + pollPause
	default:
		at = n.sent + PollEvery
	}
	if at > now {
		a.wake = min(a.wake, at)
		return
	}
	body := &wire.Checks{Life: n.life, Seen: n.seen}
	r := room{rows: wire.PollRowsMax, bytes: wire.PollBytesMax, gone: wire.PollGoneMax}
	for _, l := range a.leads {
		x := n.lists[l.group]
		if x == nil {
			continue
		}
		if x.idle() {
			delete(n.lists, l.group)
			continue
		}
		section, all := x.section(l, &r)
		body.Groups = append(body.Groups, section)
		if !all {
			// Those behind it are asked for their states alone.
			r = room{}
		}
	}
	n.polled, n.sent, n.hurry = true, now, false
	if n.waiting == never {
		n.waiting, n.refused = now, false
	}
	n.under++
	a.counts.Polls++
	a.launch(now, Action{Kind: ActPoll, To: n.node, Poll: body}, &flight{to: n.node}, pollLate)
	a.wake = min(a.wake, n.sent+PollEvery, n.waiting+SilentMax)
}

// lost handles a poll that has ended with an error.
func (a *Assigner) lost(n *far, err error) {
	n.refused = true
	n.failed++
	if errors.Is(err, ErrNobody) && !n.silent {
		n.silent = true
		a.empty(n)
	}
}

// silence takes the checks away from nodes that have left polls without an answer for too long.
func (a *Assigner) silence(now time.Duration) {
	for _, n := range a.fars {
		if n.silent || n.waiting == never {
			continue
		}
		most := SilentMax
		if n.refused {
			most = refusedMax
		}
		if now-n.waiting < most {
			a.wake = min(a.wake, n.waiting+most)
			continue
		}
		n.silent = true
		a.empty(n)
	}
}

// bugLateAnswer is a planted bug: what an answer says counts however late it comes.
const bugLateAnswer = "findings in an answer that comes too late"

// answered handles the answer to a poll, which took so long.
func (a *Assigner) answered(now time.Duration, n *far, ans *wire.ChecksAnswer, took time.Duration) {
	n.waiting, n.failed, n.answered = never, 0, now
	if n.silent || !n.heard {
		n.silent, n.heard, a.anew = false, true, true
	}
	if ans.Life != n.life {
		n.life, n.seen, n.hurry = ans.Life, 0, true
	}
	states := ans.States
	if took > cutOffAfter && !bug(bugLateAnswer) {
		// It has waited on its way, or its checker stood still: the next answer has what is
		// still found then.
		states = nil
	} else {
		n.seen = max(n.seen, ans.Count)
		n.hurry = n.hurry || ans.More || len(states) > 0
	}
	a.offered(n, ans.Programs)
	for _, at := range ans.At {
		l, x := a.led(at.Group), n.lists[at.Group]
		if l == nil || x == nil || l.term != at.Term {
			continue
		}
		before := x.at
		if !x.taken(at.At) {
			a.renew(x)
		}
		n.hurry = n.hurry || x.at != before // the next one may be held
		for _, e := range x.changes {
			if c := x.assigned[e.number]; c != nil && ans.Full && !c.full {
				c.full = true
				c.service.look(l, now)
			}
		}
	}
	for i := range states {
		a.state(now, n, &states[i])
	}
}

// state takes the state of a check, if it counts.
func (a *Assigner) state(now time.Duration, n *far, s *wire.CheckState) {
	c := a.ofState(n, s.Group, s.Term, s.Number, s.Check)
	if c == nil || s.Finding > wire.FindingNone {
		a.counts.Void++
		return
	}
	c.full = false
	if c.ups, c.downs = s.Ups, s.Downs; s.Finding == 0 {
		return
	}
	if s.Changes > c.changes {
		// It may have changed twice, and be what it was before.
		c.changed = now
	}
	c.changes = s.Changes
	c.find(now, s.Finding, s.Reason)
	c.service.look(a.led(s.Group), now)
}

// offered takes the programs that a node allows.
func (a *Assigner) offered(n *far, programs []string) {
	same := len(programs) == len(n.programs) && !slices.ContainsFunc(programs, func(p string) bool { return !n.programs[p] })
	if same {
		return
	}
	n.programs = make(map[string]bool, len(programs))
	for _, p := range programs {
		n.programs[p] = true
	}
	a.anew = true
}
