package pointwriter

import (
	"errors"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

const (
	// hintAfter is how long a write of level one or any waits for a majority of its groups before nodes keep the points as hints:
	// longer than a group with a leader takes. A group whose leader is gone has another one a second or two later; writes of these
	// levels don't wait for it.
	hintAfter = time.Second
	// hintSoon is how long it still waits, when that is over, for a group that has not answered since it began.
	hintSoon = 100 * time.Millisecond
	// vacantFor is how long it counts that a group has no leader.
	vacantFor = 2 * time.Second
)

// patience decides how long writes of levels one and any wait for a group before a node keeps their points as a hint. All writes of
// a gateway have it in common, so that one of them finds out for all pieces of all of them that a group has no leader.
type patience struct {
	mu     sync.Mutex
	groups map[raft.GroupID]sight // guarded by mu: at most one for each group that a table ever had
}

// sight is what was seen of a group last.
type sight struct {
	vacant bool // it had no leader; else it has answered
	at     time.Time
}

// wait returns how long a piece waits for a group, of a write that has waited since began; 0: not at all.
func (p *patience) wait(g raft.GroupID, began, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.groups[g]
	switch {
	case s.vacant && now.Sub(s.at) < vacantFor:
		return 0
	case s.vacant:
		// This piece finds out. Others go by what was seen until it has.
		p.groups[g] = sight{true, now.Add(hintAfter - vacantFor)}
	case s.at.After(began):
		return hintAfter
	}
	return max(hintAfter-now.Sub(began), hintSoon)
}

// learn takes note of what became of a piece for a group.
func (p *patience) learn(g raft.GroupID, b *Brought, err error, now time.Time) {
	if err != nil || b.Hinted && !vacant(b.Why) {
		return // it was not asked, or nobody knows: a leader that is slow is not to be taken for none
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups == nil {
		p.groups = map[raft.GroupID]sight{}
	}
	p.groups[g] = sight{b.Hinted, now}
}

// vacant reports whether an error says that a group has no leader. An answer that did not come in time does not: with a disk that is
// slow, hints would be brought beside the entries that they wait for.
func vacant(err error) bool {
	var e *wire.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case wire.CodeNotLeader, wire.CodeUnavailable, wire.CodeNotReady:
		return true
	}
	return false
}
