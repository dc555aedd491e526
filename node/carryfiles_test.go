package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// machineQuery has a function called with the machine of a replica, by the goroutine that applies.
type machineQuery struct {
	f    func(*machine.Map)
	done chan struct{}
}

// Run implements [repl.Query].
func (q *machineQuery) Run(state repl.StateMachine, _ raft.LogID, _ repl.Reply) bool {
	q.f(state.(*machine.Map))
	close(q.done)
	return false
}

// looks has a function called with the machine of a node's replica of a group.
func (r *runningNode) looks(g raft.GroupID, f func(*machine.Map)) error {
	loop := r.node.running()
	if loop == nil {
		return errors.New("it does not serve yet")
	}
	w, q := newWaiter(), &machineQuery{f, make(chan struct{})}
	loop.Read([]repl.Read{{Group: g, Local: true, Deadline: loop.Now() + callTimeout, Reply: repl.Reply{To: w}, Query: q}})
	select {
	case <-q.done:
		return nil
	case err := <-w.done:
		return err
	case <-loop.Over():
		return errStopped
	}
}

// proposes has the leader of a group put a command into its log.
func proposes(t *testing.T, nodes []*runningNode, g raft.GroupID, c shardmap.Command) {
	t.Helper()
	leads, _ := led(t, nodes, g)
	leads.node.running().Ask(func(h *repl.Host) {
		h.Propose(repl.Proposal{Group: g, Entry: machine.NewEntry(wire.Origin{}, wire.AppendWrite(nil, &c)), Reply: repl.Reply{To: newWaiter()}})
	})
}

// groupFiles is what a node's replica of a group names, and has on its disk.
type groupFiles struct {
	of     blocks.Group
	named  []block.Sum
	frozen int // heads that no file takes the place of yet
}

func (r *runningNode) files(g raft.GroupID) (f groupFiles, err error) {
	err = r.looks(g, func(m *machine.Map) {
		f = groupFiles{of: blocks.Group{ID: g, Incarnation: m.Incarnation()}, named: m.BlockFiles()}
		for _, s := range m.State.Shards() {
			f.frozen += len(s.Points.Frozen())
		}
	})
	return f, err
}

// sealedByHand seals the heads of a group on all of its nodes: what a node does by itself later.
func sealedByHand(t *testing.T, nodes []*runningNode, g raft.GroupID) {
	t.Helper()
	var ids []shardmap.ShardID
	var numbers []uint64
	leads, _ := led(t, nodes, g)
	until(t, "the shards are known", func() error {
		return leads.looks(g, func(m *machine.Map) {
			ids, numbers = nil, nil
			for _, s := range m.State.Shards() {
				ids, numbers = append(ids, s.ShardID), append(numbers, s.Points.Generation())
			}
		})
	})
	for i, id := range ids {
		proposes(t, nodes, g, (&shardmap.PointsSeal{Shard: id, Number: numbers[i]}).Command())
		var sealed shardmap.PointsSealed
		for _, r := range nodes {
			var view *shard.View
			of := blocks.Group{ID: g}
			until(t, "the head is frozen", func() (err error) {
				looked := r.looks(g, func(m *machine.Map) {
					of.Incarnation = m.Incarnation()
					if s := m.State.Shard(id); !slices.Contains(s.Points.Frozen(), numbers[i]) {
						err = errors.New("not yet")
					} else {
						view = s.Points.View()
					}
				})
				return errors.Join(looked, err)
			})
			files := r.node.blocks.Load()
			in, err := files.Create(of)
			if err != nil {
				t.Fatal(err)
			}
			w, err := block.NewWriter(in)
			if err == nil {
				_, err = view.Seal(w, numbers[i], 0, func(block.Sum) (*block.Reader, error) { return nil, errors.New("nothing is merged") })
			}
			var info block.Info
			if err == nil {
				info, err = w.Finish()
			}
			if err == nil {
				_, err = in.Commit(info.Sum)
			}
			if err != nil {
				t.Fatal(err)
			}
			sealed = shardmap.PointsSealed{Shard: id, Number: numbers[i], Sum: info.Sum, Values: info.Values, First: info.First, Last: info.Last, Size: info.Size}
		}
		proposes(t, nodes, g, sealed.Command())
	}
	for _, r := range nodes {
		until(t, "all heads are files", func() error {
			f, err := r.files(g)
			if err == nil && (f.frozen > 0 || len(f.named) != len(ids)) {
				err = fmt.Errorf("%d files, %d frozen heads of %d", len(f.named), f.frozen, len(ids))
			}
			return err
		})
	}
}

// compacted has the logs of a group begin behind a snapshot, so that another replica needs one.
func compacted(t *testing.T, nodes []*runningNode, g raft.GroupID) {
	t.Helper()
	for _, r := range nodes {
		until(t, "the log begins behind a snapshot", func() error {
			view, ok := r.has(g)
			if !ok {
				return errors.New("the group is not here")
			}
			if base, _, _, ok := r.node.store.Bounds(view.Replica); !ok || base.Index == 0 {
				r.node.running().Ask(func(h *repl.Host) { h.AskSnapshot(g) })
				return fmt.Errorf("it begins at %s", base)
			}
			return nil
		})
	}
}

// A group gets a replica on a fourth node: it votes only once it has all block files that the state names, byte for byte those of the
// others. Meanwhile the leader, which sends them, is killed; and one of the others has lost a file to its disk. One would doubt
// that a replica waits which needs nothing of the files to vote, and that what was begun goes on elsewhere.
func TestBlockFilesGoWithAReplica(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes, cl := cluster(t, 3, nil)
	raised(t, nodes)
	w := newPointsWriter(t, nodes[0], cl, databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 12}))
	now := time.Now().UnixNano() / int64(time.Hour) * int64(time.Hour)
	var text strings.Builder
	for i := range int64(600) {
		fmt.Fprintf(&text, "cpu,host=h%d v=%d.25 %d\n", i%100, i*i, now+i)
	}
	if stored := w.write(ctx, now, text.String()); stored != 600 {
		t.Fatalf("%d points are stored, want 600", stored)
	}
	g := slices.Min(slices.Collect(maps.Values(w.groups)))
	sealedByHand(t, nodes, g)
	compacted(t, nodes, g)
	leads, _ := led(t, nodes, g)
	want, err := leads.files(g)
	if err != nil || len(want.named) < 4 {
		t.Fatalf("the state names %d files, %v; want 4 at least", len(want.named), err)
	}
	file := func(r *runningNode, sum block.Sum) string {
		return filepath.Join(r.node.cfg.Data, blocks.Dir, fmt.Sprintf("%s-i%d", g, want.of.Incarnation), sum.Name())
	}
	whole := map[block.Sum][]byte{}
	for _, sum := range want.named {
		b, err := os.ReadFile(file(leads, sum))
		if err != nil {
			t.Fatal(err)
		}
		whole[sum] = b
	}
	others := slices.DeleteFunc(slices.Clone(nodes), func(r *runningNode) bool { return r == leads })
	last := want.named[len(want.named)-1]
	rotten := bytes.Clone(whole[last])
	rotten[40] ^= 1
	if err := os.WriteFile(file(others[0], last), rotten, 0o600); err != nil {
		t.Fatal(err)
	}

	c := standbyConfig(t)
	c.SnapshotRate = 512 << 10 // half a second for a question: the leader ends before the files have come
	fourth := start(t, c, defaultLimits())
	nodes[0].added(fourth.addr)
	fourth.isMember()
	id := fourth.node.self().Node
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobAdd, Group: g, Node: id})
	if err != nil {
		t.Fatal(err)
	}
	ordered(t, nodes, "the group is to get a replica there", command)
	until(t, "block files are on their way", func() error {
		if len(fourth.node.fetcher.Waiting()) == 0 {
			return errors.New("none are")
		}
		return nil
	})
	leads.stop()
	until(t, "the replica votes", func() error {
		_, view := led(t, others, g)
		if !slices.ContainsFunc(view.Status.Membership.Voters, func(m raft.Member) bool { return m.Node == id }) {
			return errors.New("it does not")
		}
		return nil
	})
	// Files that are here now were here when it became a voter, unless they come faster than the question for them.
	if lack := fourth.node.blocks.Load().Missing(want.of, want.named); len(lack) > 0 {
		t.Errorf("it votes, and lacks %d of %d block files", len(lack), len(want.named))
	}
	for sum, b := range whole {
		if got, err := os.ReadFile(file(fourth, sum)); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s differs there from that of the others, %v", sum.Name(), err)
		}
	}
	until(t, "its state names the same files", func() error {
		got, err := fourth.files(g)
		if err == nil && !slices.Equal(got.named, want.named) {
			err = fmt.Errorf("it names %d", len(got.named))
		}
		return err
	})
	if !fourth.node.self().BlockFiles {
		t.Error("its identity says of no block files")
	}
}
