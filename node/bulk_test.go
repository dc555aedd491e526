package node

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/blocks/blockstest"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap/points/block"
)

// A connection for snapshots takes chunks and nothing else, tells why it does not
// take one, has a limit of its own, and its end is no hint that the peer has
// gone.
func TestBulkConnections(t *testing.T) {
	l := defaultLimits()
	l.bulks = 2
	nodes := founders(t, 2, l)
	r := nodes[0]
	other := nodes[1].node.self()
	hello := r.peerHello(other.Node, other.Life().Number)
	hello.Purpose = wire.PurposeBulk
	const feeds = 1
	until(t, "the peer's cores speak to ours", func() error {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		if got := r.node.door.feeds[other.Node]; got != feeds {
			return fmt.Errorf("over %d connections", got)
		}
		return nil
	})

	s, err := dialAs(nodes[1], r, hello)
	if err != nil {
		t.Fatal(err)
	}
	c := wire.Chunk{Number: 7, Group: 99, Incarnation: 1, From: 1, To: 2, Term: 1, Base: raft.LogID{Term: 1, Index: 5}, Size: 1000}
	h, body, err := s.ask(wire.TypeChunk, 0, c.Append(nil))
	var a wire.ChunkAnswer
	if err != nil || h.Type != wire.TypeChunkAnswer || a.Read(body) != nil {
		t.Fatalf("a chunk is answered with %s, %v", h.Type, err)
	}
	if a.Number != 7 || a.State != wire.ChunkRefused || !strings.Contains(a.Why, "not here") {
		t.Errorf("a chunk of a group that is not here: %+v", a)
	}
	for _, bad := range []struct {
		what string
		t    wire.Type
		body []byte
		want string
	}{
		{"a ping", wire.TypePing, (&wire.Empty{}).Append(nil), "carries chunks"},
		{"a beat", wire.TypeBeat, wire.AppendBeat(nil, &wire.Beat{}), "carries chunks"},
		{"a chunk past the end", wire.TypeChunk, (&wire.Chunk{Base: raft.LogID{Term: 1, Index: 1}, Size: 10, Offset: 11}).Append(nil), "offset 11"},
		{"no chunk", wire.TypeChunk, []byte{0xc0}, "array"},
		{"no question", wire.TypeBlockRange, []byte{0xc0}, "array"},
		{"a question for nothing", wire.TypeBlockRange, (&wire.BlockRange{Group: 1}).Append(nil), "want 1 to 262144"},
	} {
		one, err := dialAs(nodes[1], r, hello)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = one.ask(bad.t, 0, bad.body)
		if !errors.Is(err, &wire.Error{Code: wire.CodeBadRequest}) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: got %v, want %q in it", bad.what, err, bad.want)
		}
		one.Close()
		until(t, "it is counted out", func() error { return counted(r.node, 1) })
	}
	second, err := dialAs(nodes[1], r, hello)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "both are counted in", func() error { return counted(r.node, 2) })
	third, err := dialAs(nodes[1], r, hello)
	if err == nil { // the hello is over before the limit is looked at
		var h wire.Header
		h, body, err = third.read()
		e := new(wire.Error)
		if err != nil || h.Type != wire.TypeError || e.Read(body) != nil || e.Code != wire.CodeBusy {
			t.Errorf("one more than the limit is answered with %s, %v, %v", h.Type, e, err)
		}
	}
	s.Close()
	second.Close()
	until(t, "all are counted out", func() error { return counted(r.node, 0) })
	until(t, "as many connections feed from the peer as before", func() error {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		if got := r.node.door.feeds[other.Node]; got != feeds {
			return fmt.Errorf("%d do, were %d", got, feeds)
		}
		return nil
	})
}

func counted(n *Node, want int) error {
	n.door.mu.Lock()
	defer n.door.mu.Unlock()
	if n.door.seats.bulks != want {
		return fmt.Errorf("%d connections for snapshots, want %d", n.door.seats.bulks, want)
	}
	return nil
}

// What is done beside each other is all done, each once, when it returns.
func TestBesides(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		done := make([]atomic.Int32, n)
		besides(n, func(i int) { done[i].Add(1) })
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Fatalf("%d of %d was done %d times", i, n, got)
			}
		}
	}
}

// A node that lacks a block file gets it from another one that runs. One that has it damaged finds that before it sends
// anything, and says that it has none.
func TestBlockFilesBetweenNodes(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	from, to := nodes[0].node, nodes[1].node
	g := blocks.Group{ID: 7, Incarnation: 1}
	sum := blockstest.Put(t, from.blocks.Load(), g)
	fetch := func() error {
		_, err := to.transport.FetchBlockFile(t.Context(), from.self().Node, to.blocks.Load(), g, sum)
		return err
	}
	until(t, "the file is fetched", fetch) // at first the other node may not know yet whose connection it is
	if err := to.blocks.Load().Verify(g, sum); err != nil {
		t.Error(err)
	}
	file := filepath.Join(from.cfg.Data, blocks.Dir, "g7-i1", sum.Name())
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[40] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := to.blocks.Load().Remove(g, sum); err != nil {
		t.Fatal(err)
	}
	if err := fetch(); !errors.Is(err, repl.ErrBlockAbsent) {
		t.Errorf("a damaged file is fetched: %v", err)
	}
	if d := from.blocks.Load().Damaged(); len(d) != 1 || d[0].File.Sum != sum {
		t.Errorf("found are %v", d)
	}
}

// A node that runs finds what has rotted in its block files, behind what has in its log: its scrub reads both.
func TestScrubReadsBlockFiles(t *testing.T) {
	c, disk := testConfig(t), vfs.NewMem()
	c.Scrub = 64 << 20
	r, _, ready := startOn(t, disk, c)
	<-ready
	r.serves()
	g := blocks.Group{ID: 7, Incarnation: 1}
	sum := blockstest.Put(t, r.node.blocks.Load(), g)
	r.stop()
	disk.Corrupt(path.Join(c.Data, blocks.Dir, "g7-i1", sum.Name()), 40, 1)
	r, _, ready = startOn(t, disk, c)
	<-ready
	r.serves()
	until(t, "the scrub finds it", func() error {
		if d := r.node.blocks.Load().Damaged(); len(d) != 1 || d[0].File.Sum != sum {
			return fmt.Errorf("found are %v", d)
		}
		return nil
	})
	want := "a block file of group 7 on node " + r.node.name + ": " + path.Join(c.Data, blocks.Dir, "g7-i1", sum.Name()) + " is damaged at offset 38: block of field \"busy\" of series \"cpu\""
	if list := r.finds(); !slices.ContainsFunc(list, func(f string) bool {
		return strings.HasPrefix(f, want) && strings.Contains(f, "fetches the file from another replica")
	}) {
		t.Errorf("the doctor finds %q, want %q", list, want)
	}
}

// The doctor tells of block files that can't be kept, and of those that the disk refuses or that are damaged, up to a
// number; one would doubt that it tells of all kinds at once.
func TestBlockProblems(t *testing.T) {
	mem := vfs.NewMem()
	disk := vfs.NewFaulty(mem)
	open := func() *blocks.Store {
		files, err := blocks.Open(blocks.Options{FS: disk, Dir: "d"})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := open()
	// Of group 2 the state names nothing; of the others nobody knows.
	named := func([]blocks.Damaged) namedFiles { return namedFiles{{ID: 2, Incarnation: 1}: {}} }
	waiting := []repl.WaitingSnapshot{{Replica: logstore.Replica{Group: 51}, Files: 9, Missing: 2}}
	if list := blockProblems("n1", files, waiting, named); len(list) > 0 {
		t.Errorf("of nothing but files on their way: %v", list)
	}
	waiting[0].Why = "no route"
	for i := range damagesShownMax + 3 {
		sum := blockstest.Put(t, files, blocks.Group{ID: raft.GroupID(i), Incarnation: 1})
		if i > 0 {
			mem.Corrupt(path.Join("d", blocks.Dir, fmt.Sprintf("g%d-i1", i), sum.Name()), 40, 1)
		}
	}
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "open", Name: "d/points/g0-i1/*.points", Times: vfs.Always})
	files = open()
	for !files.Scrub(1 << 20) {
	}
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "syncdir", Times: vfs.Always})
	in, err := files.Create(blocks.Group{ID: 50, Incarnation: 1})
	if err == nil {
		var w *block.Writer
		if w, err = block.NewWriter(in); err == nil {
			var info block.Info
			if info, err = w.Finish(); err == nil {
				_, err = in.Commit(info.Sum)
			}
		}
	}
	if !errors.Is(err, blocks.ErrStopped) {
		t.Fatal(err)
	}
	list := blockProblems("n1", files, waiting, named)
	if len(list) != damagesShownMax+3 {
		t.Fatalf("%d problems, want %d: %v", len(list), damagesShownMax+3, list)
	}
	for i, want := range map[int]string{0: "the replica of group 51 on node n1 waits for 2 of 9 block files of points: no route", 1: "node n1 keeps no more block files of points", 2: "can't be read", 3: "a block file of group 1 on node n1", 4: "no point is lost, the group's state does not name the file", damagesShownMax + 2: "3 block files more are damaged on node n1"} {
		if !strings.Contains(list[i].What, want) || list[i].Remedy == "" {
			t.Errorf("problem %d is %+v, want %q", i, list[i], want)
		}
	}
}
