package mover

import (
	"fmt"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// moveState is all that three logs say of one slot's move, as small as it can be: what the
// slot holds is version 1, or 2 once a client has written to it.
type moveState struct {
	table     shardmap.MoveState
	cancelled bool
	source    shardmap.Holding
	mark      bool // the source's mark is the move's number
	content   uint64

	target     shardmap.Holding
	targetMark bool
	imported   uint64 // the version that the target has; 0: no import
	partial    bool   // and a piece of a pass to the next one
	decided    uint64 // 1: taken, 2: refused
}

// late is what some runner has proposed once, and what may come at any time from then on,
// again and again.
type late struct {
	steps What
	// Chunks and takeovers that were made of version 1 and 2.
	chunks, pieces, takeovers [3]bool
}

const (
	testMove       = 7
	versionAt      = 100 // index of the source's log where a version is
	ourSource      = raft.GroupID(1)
	ourTarget      = raft.GroupID(2)
	taken, refused = 1, 2
)

func (s *moveState) views() (m shardmap.Move, a, b shardmap.SlotView) {
	m = shardmap.Move{Number: testMove, From: ourSource, To: ourTarget, State: s.table, Cancelled: s.cancelled}
	a = shardmap.SlotView{Holding: s.source}
	if s.mark {
		a.Mark = testMove
	}
	if s.source == shardmap.HoldsSealed {
		a.Number, a.Target, a.Sealed, a.Digest = testMove, ourTarget, raft.LogID{Term: 1, Index: versionAt + s.content}, s.content
	}
	b = shardmap.SlotView{Holding: s.target}
	if s.targetMark {
		b.Mark = testMove
	}
	if s.imported > 0 || s.partial {
		b.Import = shardmap.ImportView{Number: testMove, Source: ourSource, Chunks: 1, Partial: s.partial, Digest: s.imported}
		if s.imported > 0 {
			b.Import.At = raft.LogID{Term: 1, Index: versionAt + s.imported}
		}
	}
	if s.decided != 0 {
		b.Decisions = []shardmap.Decision{{Number: testMove, Taken: s.decided == taken, Source: ourSource}}
	}
	return m, a, b
}

// deliver applies one step as the groups do, by the rules of what is refused. It is what
// the model calls deliver, and knows nothing of Next.
func (s *moveState) deliver(w What, version uint64, partial bool) (applied bool, broken string) {
	was := *s
	switch w {
	case Seal:
		if s.source == shardmap.HoldsOwned && !s.mark {
			s.source, s.mark = shardmap.HoldsSealed, true
		}
	case Cancel:
		s.mark = true
	case Chunk:
		if !s.targetMark && s.target == shardmap.HoldsNothing {
			if s.partial = partial; !partial {
				s.imported = version
			}
		}
	case Takeover:
		if !s.targetMark && s.target == shardmap.HoldsNothing && !s.partial && s.imported == version {
			if s.source != shardmap.HoldsSealed || s.content != version {
				broken = "the target serves what the source has not sealed so"
			}
			s.target, s.targetMark, s.decided, s.imported = shardmap.HoldsOwned, true, taken, 0
		}
	case Refuse:
		if !s.targetMark {
			s.targetMark, s.decided, s.imported, s.partial = true, refused, 0, false
		}
	case Unseal:
		if s.source == shardmap.HoldsSealed {
			if s.source = shardmap.HoldsOwned; s.target == shardmap.HoldsOwned {
				broken = "both serve the slot"
			}
		}
	case Drop:
		if s.source == shardmap.HoldsSealed {
			if s.source = shardmap.HoldsNothing; s.target != shardmap.HoldsOwned {
				broken = "nobody has the slot"
			}
		}
	case Record:
		if s.table == shardmap.MoveOpen {
			s.table = shardmap.MoveTaken
		}
	case Close:
		// Whoever proposes it says whether the move was taken; the table compares.
		if version == taken && s.table == shardmap.MoveTaken || version == refused && s.table == shardmap.MoveOpen {
			s.table = Closed
		}
	case Forget:
		s.decided = 0
	}
	return *s != was, broken
}

// arguments are the versions with which a step is built that is proposed in a state, and
// whether it is part of a pass.
func (s *moveState) arguments(w What) (version uint64) {
	switch {
	case w == Close && s.table == shardmap.MoveTaken:
		return taken
	case w == Close:
		return refused
	}
	return s.content
}

// In each state that can be reached at all, with any step that any runner has ever
// proposed late, twice or never, Next proposes nothing that the groups would refuse; what
// comes late is refused or harmless; and whoever follows Next from there comes to an end
// with one owner and nothing left behind.
func TestNextInEachReachableState(t *testing.T) {
	if why, n := reach(); why != "" {
		t.Fatal(why)
	} else {
		t.Logf("%d states", n)
	}
}

// reach goes through all states, and says what is wrong in one of them.
func reach() (wrong string, states int) {
	type node struct {
		moveState
		late
	}
	first := node{moveState: moveState{table: shardmap.MoveOpen, source: shardmap.HoldsOwned, content: 1}}
	seen, queue := map[node]bool{first: true}, []node{first}
	visit := func(n node) {
		if !seen[n] {
			seen[n] = true
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		m, a, b := n.views()
		next := Next(&m, &a, &b)
		for _, w := range whats {
			if !next.Has(w) {
				continue
			}
			to := n.moveState
			applied, broken := to.deliver(w, n.arguments(w), false)
			idle := w == Chunk && n.imported == n.content && !n.partial // the source may change yet
			if !applied && !idle || broken != "" {
				return fmt.Sprintf("%+v: %s is refused, or breaks: %s", n.moveState, w, broken), len(seen)
			}
			said := n
			switch w {
			case Chunk:
				said.chunks[n.content], said.pieces[n.content] = true, true
			case Takeover:
				said.takeovers[n.content] = true
			case Close:
				said.steps |= w
				if n.arguments(w) == taken {
					said.steps |= Flag // stands for the close of a taken one
				}
			default:
				said.steps |= w
			}
			visit(said)
		}
		try := func(w What, version uint64, partial bool) string {
			to := n
			_, broken := to.moveState.deliver(w, version, partial)
			visit(to)
			return broken
		}
		for _, w := range whats {
			if n.steps.Has(w) && w != Flag && w != Close {
				if broken := try(w, 0, false); broken != "" {
					return fmt.Sprintf("%+v: a late %s: %s", n.moveState, w, broken), len(seen)
				}
			}
		}
		if n.steps.Has(Close) {
			try(Close, refused, false)
		}
		if n.steps.Has(Flag) {
			try(Close, taken, false)
		}
		for v := uint64(1); v <= 2; v++ {
			// A chunk is taken only in its order, so an older version never follows a newer
			// one within an attempt, and a later attempt has the newer one.
			if n.chunks[v] && v >= n.imported {
				try(Chunk, v, false)
				try(Chunk, v, true)
			}
			if n.takeovers[v] {
				if broken := try(Takeover, v, false); broken != "" {
					return fmt.Sprintf("%+v: a late takeover: %s", n.moveState, broken), len(seen)
				}
			}
		}
		if n.source == shardmap.HoldsOwned && n.content == 1 {
			to := n
			to.content = 2
			visit(to)
		}
		if n.table == shardmap.MoveOpen && !n.cancelled {
			to := n
			to.cancelled = true
			visit(to)
		}
		if why := n.moveState.finish(); why != "" {
			return fmt.Sprintf("%+v: %s", n.moveState, why), len(seen)
		}
	}
	return "", len(seen)
}

// finish follows Next to the end.
func (s moveState) finish() (wrong string) {
	for range 12 {
		m, a, b := s.views()
		next := Next(&m, &a, &b)
		done := true
		for _, w := range whats {
			if !next.Has(w) || w == Chunk && s.imported == s.content && !s.partial {
				continue // a source that does not change is sealed next
			}
			s.deliver(w, s.arguments(w), false)
			done = false
			break
		}
		if !done {
			continue
		}
		switch {
		case s.table != Closed:
			return fmt.Sprintf("it ends open, as %+v", s)
		case s.decided != 0 || s.imported != 0 || s.partial:
			return fmt.Sprintf("something is left at the target, as %+v", s)
		case (s.source == shardmap.HoldsOwned) == (s.target == shardmap.HoldsOwned) || s.source == shardmap.HoldsSealed:
			return fmt.Sprintf("it has no one owner, as %+v", s)
		}
		return ""
	}
	return "it does not end"
}

// What is not known is not guessed: with one log unknown, Next proposes only what it would
// propose whatever that log says.
func TestNextWithoutOneLog(t *testing.T) {
	sources := []shardmap.SlotView{{Holding: shardmap.HoldsOwned}, {Holding: shardmap.HoldsOwned, Mark: testMove}, {Mark: testMove},
		{Holding: shardmap.HoldsSealed, Number: testMove, Mark: testMove}, {Holding: shardmap.HoldsSealed, Number: testMove + 1, Mark: testMove + 1}}
	targets := []shardmap.SlotView{{}, {Import: shardmap.ImportView{Number: testMove}}, {Holding: shardmap.HoldsSealed, Mark: testMove - 1, Number: testMove - 1},
		{Holding: shardmap.HoldsOwned, Mark: testMove, Decisions: []shardmap.Decision{{Number: testMove, Taken: true}}},
		{Mark: testMove, Decisions: []shardmap.Decision{{Number: testMove}}}, {Decisions: []shardmap.Decision{{Number: testMove - 1, Taken: true}}}}
	for _, state := range []shardmap.MoveState{Closed, shardmap.MoveOpen, shardmap.MoveTaken} {
		for _, cancelled := range []bool{false, true} {
			m := shardmap.Move{Number: testMove, State: state, Cancelled: cancelled}
			for i := range sources {
				a := &sources[i]
				all := ^What(0)
				for j := range targets {
					all &= Next(&m, a, &targets[j]) | Seal // whether to seal, policy says by what was sent
				}
				if got := Next(&m, a, nil); got&^all != 0 || got.Has(Takeover|Chunk|Refuse|Unseal|Drop|Record|Forget) {
					t.Errorf("%+v, source %+v, target unknown: %s, of which %s depends on the target", m, *a, got, got&^all)
				}
			}
			for j := range targets {
				if got := Next(&m, nil, &targets[j]); got&^(Record|Forget) != 0 {
					t.Errorf("%+v, target %+v, source unknown: %s", m, targets[j], got)
				}
			}
			if got := Next(&m, nil, nil); got != 0 {
				t.Errorf("%+v, nothing known: %s", m, got)
			}
		}
	}
}
