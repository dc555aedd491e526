package hinting

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// scene is a core whose disk does at once what it is asked for, and whose groups answer by answers.
type scene struct {
	t       *testing.T
	core    *Core
	now     Now
	answers func(h Hint) Outcome
	brought []uint64 // numbers of hints that were proposed
	buried  []string
}

func newScene(t *testing.T, answers func(h Hint) Outcome) *scene {
	return &scene{t: t, core: New(Limits{Group: 1000, Node: 1500, Age: time.Hour}), answers: answers, now: Now{Wall: 1e18}}
}

// takes takes hints of 10 bytes for a group.
func (s *scene) takes(g raft.GroupID, n int) {
	s.t.Helper()
	for range n {
		h, err := s.core.Take(s.now, g, 10, 1)
		if err != nil {
			s.t.Fatal(err)
		}
		s.core.Kept(h.Number, nil)
	}
}

// runs lets some time pass, and carries out what is due meanwhile.
func (s *scene) runs(d time.Duration) {
	s.t.Helper()
	for end := s.now.Host + d; ; {
		for range 1000 {
			actions, next := s.core.Turn(s.now)
			s.ends(actions)
			if len(actions) > 0 {
				continue
			}
			if next > end {
				s.passes(end - s.now.Host)
				return
			}
			s.passes(next - s.now.Host)
		}
		s.t.Fatal("the core comes to no rest")
	}
}

func (s *scene) passes(d time.Duration) {
	s.now.Host += d
	s.now.Wall += int64(d)
}

func (s *scene) ends(actions []Action) {
	for _, a := range actions {
		o := Outcome{Kind: Done}
		switch a.Kind {
		case Answer:
			continue
		case Propose:
			s.brought = append(s.brought, a.Hint.Number)
			o = s.answers(a.Hint)
		case Bury:
			s.buried = append(s.buried, fmt.Sprintf("%d: %s", a.Hint.Number, a.Why))
		}
		s.core.Ended(s.now, a.Hint.Number, o)
	}
}

// While a group takes nothing its hints wait in their order, and when it is back they come in that order, but for one that was
// tried in place of the first. The pause grows to its bound, so that a group that is back is found soon.
func TestFirstInFirstOut(t *testing.T) {
	up := false
	s := newScene(t, func(Hint) Outcome {
		if up {
			return Outcome{Kind: Done}
		}
		return Outcome{Kind: Later, Why: "no leader"}
	})
	s.takes(1, 20)
	s.runs(30 * time.Minute)
	if v := s.core.Views(); len(v) != 1 || v[0].Hints != 20 || v[0].Aside != 0 || v[0].Why != "no leader" || v[0].Bytes != 200 {
		t.Errorf("while the group takes nothing the queue is %+v", v)
	}
	if n := len(s.brought); n < 100 || n > 130 {
		t.Errorf("%d tries in 30 minutes, want one each %s", n, pauseMax)
	}
	up, s.brought = true, nil
	s.runs(pauseMax)
	if len(s.brought) != 20 {
		t.Fatalf("within %s the hints %v came", pauseMax, s.brought)
	}
	if !slices.IsSorted(s.brought[1:]) {
		t.Errorf("the hints came as %v", s.brought)
	}
	if len(s.core.Views()) != 0 || s.core.Bytes() != 0 {
		t.Errorf("left: %+v", s.core.Views())
	}
}

// A hint that is never taken, though its group takes others, steps aside, however many of them there are; one that is refused goes to
// the dead letters at once.
func TestBadHintsBlockNone(t *testing.T) {
	s := newScene(t, func(h Hint) Outcome {
		switch {
		case h.Number <= 3:
			return Outcome{Kind: Later, Why: "no answer"}
		case h.Number == 5:
			return Outcome{Kind: Refused, Why: "its window was dropped"}
		case h.Number == 6:
			return Outcome{Kind: Done, Came: shardmap.PointsOutcome{Dropped: 1, Refused: []shardmap.PointsRefusal{{Reason: shardmap.RefusedKind, Measurement: "m", Field: "f", Kind: 1, Has: 2}}}}
		}
		return Outcome{Kind: Done}
	})
	s.takes(1, 10)
	s.runs(time.Minute)
	if v := s.core.Views(); len(v) != 1 || v[0].Hints != 3 || v[0].Aside != 3 {
		t.Errorf("left: %+v, want the three bad ones, aside", v)
	}
	if len(s.buried) != 2 || s.buried[0] != "5: its window was dropped" || !strings.HasPrefix(s.buried[1], `6: 1 of its 1 points were dropped: input field "f" on measurement "m"`) {
		t.Errorf("dead letters: %q", s.buried)
	}
	before := len(s.brought)
	s.runs(time.Minute / 2)
	if tries := len(s.brought) - before; tries > 10 {
		t.Errorf("what has stepped aside was tried %d times in half a minute", tries)
	}
	s.buried = nil
	s.runs(time.Hour)
	if len(s.buried) != 3 || !strings.Contains(s.buried[0], "waited for more than 1h0m0s") || len(s.core.Views()) != 0 {
		t.Errorf("after an hour the dead letters are %q, and left is %+v", s.buried, s.core.Views())
	}
}

// A queue is bounded, and so are all together; the refusal tells whose limit it is. A refused hint leaves nothing behind.
func TestQueuesAreBounded(t *testing.T) {
	s := newScene(t, func(Hint) Outcome { return Outcome{Kind: Later} })
	s.takes(1, 100)
	var full *FullError
	if _, err := s.core.Take(s.now, 1, 1, 1); !errors.As(err, &full) || full.Limit != 1000 || full.Held != 1000 || !strings.Contains(err.Error(), "g1") {
		t.Errorf("beyond the limit of the group: %v", err)
	}
	s.takes(2, 50)
	if _, err := s.core.Take(s.now, 2, 1, 1); !errors.As(err, &full) || full.Limit != 1500 {
		t.Errorf("beyond the limit of the node: %v", err)
	}
	if _, err := s.core.Take(s.now, 3, 1, 1); err == nil || len(s.core.Views()) != 2 {
		t.Errorf("of another group, beyond the limit of the node: %v; %d queues", err, len(s.core.Views()))
	}
	if n := s.core.Totals(); n.Full != 3 || n.Taken != 150 {
		t.Errorf("the totals are %+v", n)
	}
	h, _ := New(Limits{Group: 10, Node: 10}).Take(s.now, 1, 10, 1)
	if h.Number != 1 {
		t.Errorf("the first hint is %+v", h)
	}
}

// A person can have what waits tried at once, or give it up; of one that is under way it is known only later whether it came.
func TestRetryAndPurge(t *testing.T) {
	up := false
	s := newScene(t, func(Hint) Outcome {
		if up {
			return Outcome{Kind: Done}
		}
		return Outcome{Kind: Later}
	})
	s.takes(1, 5)
	s.takes(2, 5)
	s.runs(time.Hour / 2)
	actions, _ := s.core.Turn(s.now)
	s.ends(actions)
	up, s.brought = true, nil
	if n := s.core.Retry(1); n != 5 {
		t.Errorf("%d hints of group 1 are tried", n)
	}
	s.runs(0)
	if slices.Sort(s.brought); len(s.brought) != 5 || s.brought[4] != 5 {
		t.Errorf("at once %v were tried", s.brought)
	}
	up = false
	s.core.Retry(All)
	actions, _ = s.core.Turn(s.now)
	if len(actions) != 1 || actions[0].Kind != Propose {
		t.Fatalf("to do: %+v", actions)
	}
	if hints, points := s.core.Purge(2); hints != 5 || points != 5 {
		t.Errorf("%d hints with %d points are purged", hints, points)
	}
	if hints, _ := s.core.Purge(All); hints != 0 {
		t.Errorf("%d hints are purged twice", hints)
	}
	s.runs(time.Second)
	if v := s.core.Views(); len(v) != 0 || s.core.Bytes() != 10 {
		t.Errorf("with one under way the queues are %+v, of %d bytes", v, s.core.Bytes())
	}
	s.ends(actions)
	s.runs(time.Second)
	if n := s.core.Bytes(); n != 0 {
		t.Errorf("then they have %d bytes", n)
	}
	if n := s.core.Totals(); n.Purged != 5 || n.PurgedPoints != 5 || n.Arrived != 5 {
		t.Errorf("the totals are %+v", n)
	}
}
