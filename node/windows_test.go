package node

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// databaseOrdered creates a database, and returns its policy as the meta group's leader has it.
func databaseOrdered(t *testing.T, nodes []*runningNode, name string, s shardmap.PolicySpec) (p shardmap.Policy) {
	t.Helper()
	b, err := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: name, Policy: s})
	if err != nil {
		t.Fatal(err)
	}
	ordered(t, nodes, "database "+name+" is created", b)
	until(t, "the database is in the table", func() error {
		in := &metaTable(t, nodes).Catalog
		d, ok := in.DatabaseNamed(name)
		if p, _ = in.PolicyNamed(&d, ""); !ok || p.ID == 0 {
			return fmt.Errorf("there are %+v", in.Databases)
		}
		return nil
	})
	return p
}

// windowAsked has a node get a window, as a write there would, until it can.
func windowAsked(t *testing.T, r *runningNode, p shardmap.PolicyID, at int64) (a *wire.WindowAnswer) {
	t.Helper()
	until(t, "the window is there", func() (err error) {
		a, err = r.node.keeping.of(t.Context(), p, at)
		return err
	})
	return a
}

// Points of one time that come to all nodes at once go to one window. One would doubt it of nodes that ask at a time
// at which nobody has it; and of a leader that makes the windows of now by itself.
func TestWindowsOnDemand(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	p := databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 2})
	const hour = int64(time.Hour)
	now := time.Now().UnixNano()
	for _, at := range []int64{now, now - 100*hour, 0, -5 * hour} {
		var got [6]*wire.WindowAnswer
		var asked sync.WaitGroup
		for i := range got {
			asked.Go(func() { got[i] = windowAsked(t, nodes[i%3], p.ID, at) })
		}
		asked.Wait()
		if t.Failed() {
			return
		}
		for i, a := range got {
			if a.Window != got[0].Window || a.Start > at || a.Truncated <= at || a.End-a.Start != hour || len(a.Shards) != 2 {
				t.Errorf("points at %d: node %d is told of %+v, node 0 of %+v", at, i%3, a, got[0])
			}
		}
	}
	in := &metaTable(t, nodes).Catalog
	if n := len(in.WindowsOf(p.ID)); n < 4 || n > 6 { // two are made ahead, if the hour ends soon
		t.Errorf("%d windows were made: %+v", n, in.Windows)
	}
}

// A node that can't get a window says why, and whether it helps to ask again.
func TestWindowRefused(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	p := databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{Duration: 2 * time.Hour})
	now := time.Now().UnixNano()
	windowAsked(t, nodes[0], p.ID, now)
	for _, r := range nodes {
		until(t, "the node knows of the database", func() error {
			if _, ok := r.node.table.Load().Catalog.Policy(p.ID); !ok {
				return errors.New("not yet")
			}
			return nil
		})
		for _, c := range []struct {
			name   string
			policy shardmap.PolicyID
			at     int64
			code   wire.Code
			want   string
		}{
			{"of no policy", 77, now, wire.CodeNotFound, "there is no such policy"},
			{"before all times", p.ID, math.MinInt64, wire.CodeBadRequest, "is no point's"},
			{"over", p.ID, now - 5*int64(time.Hour), wire.CodeConflict, "keeps them for 2h0m0s"},
		} {
			refused(t, c.name, windowNever(t, r, c.policy, c.at), c.code, c.want)
		}
	}
}

// A cluster below the level is asked for no window, and refuses the request before it looks for one.
func TestWindowBelowTheLevel(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.level = shardmap.PointsLevel - 1
	r := serving(t, l)
	_, err := r.node.keeping.of(t.Context(), 5, 0)
	refused(t, "a window", err, wire.CodeLevel, "level 10", "upgrade")
	_, refusal := r.node.keeping.window(t.Context(), r.node.running(), &wire.Window{Policy: 5})
	refused(t, "the request for one", refusal, wire.CodeLevel, "level 10", "upgrade")
}

// Retention goes by what the clocks of nodes show, which their leader asks for over the wire. A window that is over
// by them is hidden, and takes no points. (That one clock alone hides nothing is shown in repl/windows.)
func TestRetentionOfNodes(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	nodes := startFounders(t, 3, defaultLimits(), func(n *Node) {
		n.keeping.wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	p := databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{Duration: time.Hour})
	at := time.Now().UnixNano()
	w := windowAsked(t, nodes[0], p.ID, at)
	ahead.Store(int64(25 * time.Hour))
	// A new leader asks for all clocks at once.
	lead, _ := led(t, nodes, 0)
	lead.stop()
	var rest []*runningNode
	for _, r := range nodes {
		if r != lead {
			rest = append(rest, r)
		}
	}
	until(t, "the window is hidden", func() error {
		if is, ok := metaTable(t, rest).Catalog.Window(shardmap.WindowID(w.Window)); ok && is.Hidden == 0 {
			return fmt.Errorf("it is %+v", is)
		}
		return nil
	})
	for _, r := range rest {
		err := windowNever(t, r, p.ID, at)
		refused(t, "a window that is hidden", err, wire.CodeConflict, "no longer kept")
	}
}

// windowNever returns why a node can't get a window, once that is not for the moment alone.
func windowNever(t *testing.T, r *runningNode, p shardmap.PolicyID, at int64) (err error) {
	t.Helper()
	until(t, "a window is refused for good", func() error {
		_, err = r.node.keeping.of(t.Context(), p, at)
		var e *wire.Error
		if !errors.As(err, &e) || e.Code == wire.CodeNotLeader || e.Code == wire.CodeNotReady || e.Code == wire.CodeUnavailable || e.Code == wire.CodeMaybeApplied || e.Code == wire.CodeBusy {
			return fmt.Errorf("it is not: %w", errors.Join(err, errors.New("or the node's table is behind")))
		}
		return nil
	})
	return err
}
