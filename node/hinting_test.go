package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"muster/node/influx"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/client/pointwriter"
	"muster/repl/wire"
	"muster/shardmap"
)

// hintedCluster are three nodes with a database, and the configurations with which they are started anew.
type hintedCluster struct {
	t       *testing.T
	nodes   []*runningNode
	configs []Config
	client  *client.Client
}

func newHintedCluster(t *testing.T) *hintedCluster {
	t.Helper()
	h := &hintedCluster{t: t}
	h.nodes, h.client = cluster(t, 3, func(c *Config) { h.configs = append(h.configs, *c) })
	raised(t, h.nodes)
	databaseOrdered(t, h.nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 2})
	for _, r := range h.nodes {
		until(t, "each node has the database", func() error {
			if _, ok := r.node.table.Load().Catalog.DatabaseNamed("metrics"); !ok {
				return errors.New("not yet")
			}
			return nil
		})
	}
	return h
}

// writes writes a text through a node, in the name of a caller who reaches that node alone.
func (h *hintedCluster) writes(ctx context.Context, node int, l pointwriter.Level, text string) influx.Written {
	h.t.Helper()
	c, err := client.Open(client.Options{Insecure: true, Endpoints: []string{h.nodes[node].addr}})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	w, err := h.nodes[node].node.writes.write(ctx, c, &influx.WriteRequest{Database: "metrics", Consistency: l, Now: time.Now().UnixNano(), Text: []byte(text)})
	if err != nil {
		h.t.Fatal(err)
	}
	return w
}

// storesOnAll writes a text at level all until all of its points are stored: a voter may lag behind for a while.
func (h *hintedCluster) storesOnAll(ctx context.Context, text string, points int) {
	h.t.Helper()
	until(h.t, "the points are stored on all voters", func() error {
		if w := h.writes(ctx, 0, pointwriter.All, text); w.Stored != points {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
}

// hints is what a node says of its hints, after it has done what q wants.
func (h *hintedCluster) hints(ctx context.Context, node int, q wire.Hints) *wire.HintsAnswer {
	h.t.Helper()
	a, err := h.client.Hints(ctx, h.nodes[node].addr, q)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// values returns how many values of a field are stored.
func (h *hintedCluster) values(ctx context.Context, measurement, field string) int64 {
	h.t.Helper()
	n, _ := valuesStored(ctx, h.t, h.client, metaTable(h.t, h.nodes), "metrics", measurement, field)
	return n
}

// linesOf are points of ten series.
func linesOf(measurement string, from, to int, at int64) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s,host=h%d v=%d %d\n", measurement, i%10, i, at+int64(i))
	}
	return b.String()
}

// levelAllWrong says what is wrong with level all: with all voters, with two of three, and when the third one is back; "": nothing.
func levelAllWrong(t *testing.T) string {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h := newHintedCluster(t)
	now := time.Now().UnixNano()
	h.storesOnAll(ctx, linesOf("cpu", 0, 10, now), 10)
	h.nodes[2].stop()
	wrong := ""
	until(t, "the points are stored on two of three", func() error {
		short, over := context.WithTimeout(ctx, 4*time.Second)
		defer over()
		w := h.writes(short, 0, pointwriter.All, linesOf("cpu", 10, 20, now))
		if w.Stored > 0 {
			wrong = fmt.Sprintf("without a voter: %+v", w)
			return nil
		}
		if w.Failed != 10 || !strings.Contains(w.Why, "stored on 2 of 3") {
			return fmt.Errorf("%+v", w) // their group may have to elect a leader first
		}
		return nil
	})
	if wrong != "" {
		return wrong
	}
	h.nodes[2] = start(t, h.configs[2], defaultLimits())
	h.storesOnAll(ctx, linesOf("cpu", 10, 20, now), 10)
	if n := h.values(ctx, "cpu", "v"); n != 20 {
		return fmt.Sprintf("%d values are stored, want 20", n)
	}
	return ""
}

// A write of level all is stored when each voter has it on disk, and says on how many it is stored if that takes too long. One would doubt
// that a leader counts a voter that it only feeds.
func TestLevelAll(t *testing.T) {
	t.Parallel()
	if wrong := levelAllWrong(t); wrong != "" {
		t.Error(wrong)
	}
}

// Points at level one or any are kept as long as one node of the group answers in the time that a write has for it. One would doubt it where
// the others are gone without a word, as behind a cable that was cut: each of them took a second of the two, one after the other.
func TestFirstNodeThatKeepsHint(t *testing.T) {
	const silent, refuses, takes = 's', 'r', 't'
	for _, c := range []struct {
		nodes string // what each of them does
		want  raft.NodeID
		asked int
		after time.Duration
	}{
		{"t", 1, 1, 0}, {"ttt", 1, 1, 0}, {"rrt", 3, 3, 0}, {"sst", 3, 3, 2 * hintAskPause}, {"srt", 3, 3, hintAskPause}, {"sssst", 5, 5, 4 * hintAskPause},
		{"rrr", 0, 3, 0}, {"sss", 0, 3, hintAskWithin}, {"rs", 0, 2, hintAskWithin}, {"", 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var group []shardmap.TableReplica
			for i := range c.nodes {
				group = append(group, shardmap.TableReplica{Node: raft.NodeID(i + 1)})
			}
			var asked atomic.Int64
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), hintAskWithin)
			defer cancel()
			node, err := firstOf(ctx, group, func(ctx context.Context, to raft.NodeID) error {
				asked.Add(1)
				switch c.nodes[to-1] {
				case silent:
					<-ctx.Done()
					return ctx.Err()
				case refuses:
					return wire.Busy("hints", "full", wire.BusyRetry)
				}
				return nil
			})
			if took := time.Since(began); node != c.want || (err == nil) != (c.want > 0) || int(asked.Load()) != c.asked || took != c.after {
				t.Errorf("%q: node %d of %d that were asked, after %s, %v; want node %d of %d after %s", c.nodes, node, asked.Load(), took, err, c.want, c.asked, c.after)
			}
		})
	}
}

// While a majority is gone, writes of level one and any are answered as hinted, and those of level quorum are not answered as stored. The
// node that keeps the hints is killed. When all are back the points come to their groups: each once, none in the place of a newer
// value, and what no group takes stands in a dead letter.
func TestHintsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	h := newHintedCluster(t)
	const hour = int64(time.Hour)
	now := time.Now().UnixNano() / hour * hour
	h.storesOnAll(ctx, linesOf("cpu", 0, 100, now)+fmt.Sprintf("mem v=2 %d\n", now), 101)
	stopTogether(h.nodes[1:])
	late := linesOf("cpu", 100, 150, now)
	if w := h.writes(ctx, 0, pointwriter.Any, late+fmt.Sprintf("mem v=1 %d\n", now)); w.Hinted != 51 {
		t.Fatalf("at level any without a majority: %+v", w)
	}
	if w := h.writes(ctx, 0, pointwriter.One, linesOf("cpu", 140, 200, now)); w.Hinted != 60 {
		t.Fatalf("at level one without a majority: %+v", w)
	}
	if w := h.writes(ctx, 0, pointwriter.Any, fmt.Sprintf("mem v=1i %d\n", now+1)); w.Hinted != 1 {
		t.Fatalf("a field of another kind, without a majority: %+v", w)
	}
	short, over := context.WithTimeout(ctx, time.Second)
	if w := h.writes(short, 0, pointwriter.Quorum, fmt.Sprintf("disk v=1 %d\n", now)); w.Stored != 0 || w.Hinted != 0 || w.Failed != 1 {
		t.Errorf("at level quorum without a majority: %+v", w)
	}
	over()
	before := h.hints(ctx, 0, wire.Hints{Act: wire.HintsList, All: true})
	waiting := uint64(0)
	for _, q := range before.Queues {
		waiting += q.Points
	}
	if waiting != 112 {
		t.Errorf("the hints are %+v", before)
	}
	h.nodes[0].kill()
	h.nodes[0].stop()
	for i := range h.nodes {
		h.nodes[i] = start(t, h.configs[i], defaultLimits())
	}
	until(t, "the hints have come to their groups", func() error {
		a, err := h.client.Hints(ctx, h.nodes[0].addr, wire.Hints{Act: wire.HintsRetry, All: true})
		if err != nil {
			return err
		}
		if len(a.Queues) > 0 {
			return fmt.Errorf("%+v", a.Queues)
		}
		return nil
	})
	if n := h.values(ctx, "cpu", "v"); n != 200 {
		t.Errorf("%d values are stored, want 200", n)
	}
	if n := h.values(ctx, "mem", "v"); n != 1 {
		t.Errorf("%d values of mem are stored, want the first one", n)
	}
	names, err := filepath.Glob(filepath.Join(h.configs[0].Data, lettersDir, "*"+letterSuffix))
	if err != nil || len(names) != 1 {
		t.Fatalf("dead letters: %q, %v", names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("mem v=1i %d\n", now+1), "points were dropped", "database metrics"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the dead letters lack %q:\n%s", want, text)
		}
	}
}
