package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Writes of levels one and any wait for groups without a leader once, together, and not for each piece and each write again: they are
// slower than the whole cluster would be otherwise, while a part of it is gone. A leader that does not answer in time is another thing:
// its points are hinted, and the next ones wait for it again.
func TestWritesWaitOnceTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), NewGateway(0)
		gone := map[raft.GroupID]error{}
		w.slow = func(g raft.GroupID) error { return gone[g] }
		series := 0
		// Pieces that begin in the moment in which the first ones give up don't know that yet.
		writes := func(what string, l Level, lines, stored int, within time.Duration) {
			t.Helper()
			var text strings.Builder
			for range lines {
				series++
				fmt.Fprintf(&text, "m,host=h%d v=1 %d\n", series, noon-int64(series%40)*hour)
			}
			q, began := request("%s", text.String()), time.Now()
			q.Level = l
			r, err := g.Write(t.Context(), w, q)
			if took := time.Since(began); err != nil || r.Stored+r.Hinted != lines || stored >= 0 && r.Stored != stored || took < within || took > within+min(within, hintSoon) {
				t.Errorf("%s: %v, %v after %s; want %d stored after %s", what, r, err, took, stored, within)
			}
		}
		writes("all groups lead", One, 400, 400, 0)
		for g := range raft.GroupID(groups + 1) {
			gone[g] = wire.Unavailable("group", "it has no leader")
		}
		writes("no group leads, 160 pieces", One, 400, 0, hintAfter)
		writes("once more", Any, 400, 0, 0)
		writes("once more", One, 400, 0, 0)
		time.Sleep(vacantFor)
		writes("one piece for each group finds out whether that leads", Any, 400, 0, hintAfter)
		clear(gone)
		time.Sleep(vacantFor)
		writes("they lead again", Any, 1, 1, 0)
		writes("they lead again", Any, 400, -1, 0)
		writes("they lead again", Any, 400, 400, 0)
		gone[1] = wire.MaybeApplied("group 1", "no answer in time")
		writes("a leader is slow", One, 3, -1, hintAfter)
		writes("a leader is slow", One, 3, -1, hintAfter)
	})
}

// The last thing known of a group decides how long a piece waits for it.
func TestPatience(t *testing.T) {
	lacks, slow := wire.Unavailable("group", "no leader"), wire.Busy("points", "full", time.Second)
	at := func(d time.Duration) time.Time { return time.Unix(1.8e9, 0).Add(d) }
	hinted := func(why error) Brought { return Brought{Hinted: true, Why: why} }
	for _, c := range []struct {
		name    string
		brought Brought // for the group, at 0
		err     error
		began   time.Duration // of the write
		now     time.Duration
		want    time.Duration
	}{
		{"a new group", hinted(nil), nil, 0, 0, hintAfter},
		{"a new group, late in a write", hinted(nil), nil, 0, 800 * time.Millisecond, hintAfter - 800*time.Millisecond},
		{"a new group, very late in a write", hinted(nil), nil, 0, time.Minute, hintSoon},
		{"one without a leader", hinted(lacks), nil, 0, vacantFor - 1, 0},
		{"one without a leader a while ago", hinted(lacks), nil, vacantFor, vacantFor, hintAfter},
		{"one that has answered since the write began", Brought{}, nil, -1, time.Minute, hintAfter},
		{"one that has answered before", Brought{}, nil, 0, time.Minute, hintSoon},
		{"one that was busy", hinted(slow), nil, 0, 0, hintAfter},
		{"one that nobody could keep points for", Brought{}, errors.Join(lacks, context.DeadlineExceeded), 0, 0, hintAfter},
	} {
		var p patience
		p.learn(3, &c.brought, c.err, at(0))
		if got := p.wait(3, at(c.began), at(c.now)); got != c.want {
			t.Errorf("%s: a wait of %s, want %s", c.name, got, c.want)
		}
	}
	// One that may have a leader again is asked by one piece, until its answer is there.
	var p patience
	gone := hinted(lacks)
	p.learn(3, &gone, nil, at(0))
	for i, want := range []time.Duration{hintAfter, 0, 0} {
		if got := p.wait(3, at(vacantFor), at(vacantFor)); got != want {
			t.Errorf("piece %d: a wait of %s, want %s", i, got, want)
		}
	}
	p.learn(3, new(Brought), nil, at(vacantFor))
	if got := p.wait(3, at(0), at(vacantFor)); got != hintAfter {
		t.Errorf("a leader is back: a wait of %s", got)
	}
}
