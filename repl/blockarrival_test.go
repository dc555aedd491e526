package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// arrivalWorld is node 1, to which node 2 has sent a snapshot that lists files; node 3 is a member too.
type arrivalWorld struct {
	t        *testing.T
	disks    map[raft.NodeID]*vfs.Mem
	stores   map[raft.NodeID]*blocks.Store
	files    []BlockFile
	snapshot logstore.Snapshot
	f        *BlockFetcher
	lists    int // how often the list was made

	mu    sync.Mutex
	asked map[raft.NodeID]int
	// way, if not nil, is asked before each question to a node, and may change the bytes of its answer.
	way func(ctx context.Context, from raft.NodeID, sum block.Sum, data []byte) error
}

func newArrivalWorld(t *testing.T, files int) *arrivalWorld {
	t.Helper()
	w := &arrivalWorld{t: t, disks: map[raft.NodeID]*vfs.Mem{}, stores: map[raft.NodeID]*blocks.Store{}, asked: map[raft.NodeID]int{}}
	for n := raft.NodeID(1); n <= 3; n++ {
		w.disks[n] = vfs.NewMem()
		err := w.disks[n].MkdirAll("data")
		if err == nil {
			w.stores[n], err = blocks.Open(blocks.Options{FS: w.disks[n], Dir: "data"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range files {
		w.files = append(w.files, w.file(i))
	}
	slices.SortFunc(w.files, func(a, b BlockFile) int { return bytes.Compare(a.Sum[:], b.Sum[:]) })
	w.snapshot = logstore.Snapshot{Replica: logstore.Replica{Group: blockGroup.ID, Incarnation: blockGroup.Incarnation, ID: 1}, Base: logstore.Base{
		ID: raft.LogID{Term: 1, Index: 10}, Membership: raft.Membership{Voters: []raft.Member{{Replica: 2, Node: 2}, {Replica: 3, Node: 3}}, Learners: []raft.Member{{Replica: 1, Node: 1}}},
	}}
	w.f = NewBlockFetcher(BlockFetcherConfig{Self: 1, Files: w.stores[1], Fetch: w.carry, Log: slog.New(slog.DiscardHandler)})
	return w
}

// file puts a file on nodes 2 and 3.
func (w *arrivalWorld) file(i int) BlockFile {
	w.t.Helper()
	var made bytes.Buffer
	out, err := block.NewWriter(&made)
	if err == nil {
		err = out.Add(&block.Block{Series: fmt.Appendf(nil, "cpu,host=%d", i), Field: []byte("busy"), Times: []int64{1, 2, 3}, Values: column.Values{Kind: column.Float, Floats: []float64{float64(i), 0.5, 7}}})
	}
	var info block.Info
	if err == nil {
		info, err = out.Finish()
	}
	for n := raft.NodeID(2); n <= 3 && err == nil; n++ {
		var in *blocks.Writer
		if in, err = w.stores[n].Create(blockGroup); err == nil {
			if _, err = in.Write(made.Bytes()); err == nil {
				_, err = in.Commit(info.Sum)
			}
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return BlockFile{info.Sum, int64(made.Len())}
}

// carry does what [Peers.FetchBlockFile] does, without a network.
func (w *arrivalWorld) carry(ctx context.Context, from raft.NodeID, g blocks.Group, sum block.Sum) error {
	w.mu.Lock()
	w.asked[from]++
	w.mu.Unlock()
	a := ReadBlockRange(w.stores[from], &wire.BlockRange{Group: g.ID, Incarnation: g.Incarnation, Sum: wire.BlockSum(sum), Most: wire.ChunkBytesMax})
	if w.way != nil {
		if err := w.way(ctx, from, sum, a.Data); err != nil {
			return err
		}
	}
	if a.State != wire.BlockHere {
		return fmt.Errorf("from %s: %w: %s", from, ErrBlockAbsent, a.Why)
	}
	r, err := w.stores[1].Receive(g, sum, int64(a.Size))
	if err != nil {
		return err
	}
	if err = r.Chunk(0, a.Data); err == nil {
		_, err = r.Commit()
	}
	if err != nil {
		r.Abort()
	}
	return err
}

// ask is what the inbox does when the sender asks.
func (w *arrivalWorld) ask() (missing int, err error) {
	return w.f.Fetch(w.snapshot, 2, func() ([]BlockFile, error) { w.lists++; return w.files, nil })
}

// arrives asks as a sender does, until nothing is missing.
func (w *arrivalWorld) arrives() error {
	for range 200 {
		if missing, err := w.ask(); err != nil || missing == 0 {
			return err
		}
		time.Sleep(BlockFilesPause)
	}
	return errors.New("files are missing after 200 questions")
}

// same says what is wrong with the files here.
func (w *arrivalWorld) same() error {
	for _, f := range w.files {
		name := "data/points/g3-i2/" + f.Sum.Name()
		if !bytes.Equal(w.disks[1].Bytes(name), w.disks[3].Bytes(name)) && !bytes.Equal(w.disks[1].Bytes(name), w.disks[2].Bytes(name)) {
			return fmt.Errorf("%s differs from that of the others", f.Sum.Name())
		}
	}
	return nil
}

// The files of a snapshot come from its sender, or from another member where that one has lost some, or where bytes change on the
// way: byte for byte what the others have.
func TestBlockFilesOfASnapshotArrive(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(w *arrivalWorld)
		asked3 bool // node 3 is asked too
	}{
		{"from the sender", func(*arrivalWorld) {}, false},
		{"with one that the sender has removed", func(w *arrivalWorld) {
			if err := w.stores[2].Remove(blockGroup, w.files[1].Sum); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"with one that is damaged at the sender", func(w *arrivalWorld) {
			w.disks[2].Corrupt("data/points/g3-i2/"+w.files[2].Sum.Name(), 40, 1)
		}, true},
		{"with one that changes on the way", func(w *arrivalWorld) {
			w.way = func(_ context.Context, from raft.NodeID, sum block.Sum, data []byte) error {
				if from == 2 && sum == w.files[0].Sum {
					data[40] ^= 1
				}
				return nil
			}
		}, true},
		{"while the sender is cut off", func(w *arrivalWorld) {
			w.way = func(_ context.Context, from raft.NodeID, _ block.Sum, _ []byte) error {
				if from == 2 {
					return errors.New("no route")
				}
				return nil
			}
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newArrivalWorld(t, 5)
			defer w.f.Close()
			c.change(w)
			err := w.arrives()
			if err == nil {
				err = w.same()
			}
			if err != nil || w.lists != 1 || (w.asked[3] > 0) != c.asked3 || len(w.f.Waiting()) > 0 {
				t.Errorf("%s: %v; the list was made %d times, asked were %v, %d wait", c.what, err, w.lists, w.asked, len(w.f.Waiting()))
			}
		})
	}
}

// A snapshot is given up where a file is on no node, or the disk has no room: the sender hears the reason, and what has come stays
// for the next snapshot. If room is short from the start, nothing is fetched.
func TestBlockFilesOfASnapshotFail(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(w *arrivalWorld)
		want   error
		text   string
		asked  bool
	}{
		{"a file that no node has", func(w *arrivalWorld) {
			for n := raft.NodeID(2); n <= 3; n++ {
				if err := w.stores[n].Remove(blockGroup, w.files[4].Sum); err != nil {
					w.t.Fatal(err)
				}
			}
		}, nil, "from 0000000000000003: " + ErrBlockAbsent.Error(), true},
		{"no room", func(w *arrivalWorld) { w.disks[1].Limit(w.disks[1].Used() + 200) }, logstore.ErrFull, "fetch 5 block files that the snapshot lists", false},
		{"room that others take", func(w *arrivalWorld) {
			w.way = func(context.Context, raft.NodeID, block.Sum, []byte) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.asked[2] > 2 {
					w.disks[1].Limit(w.disks[1].Used())
				}
				return nil
			}
		}, logstore.ErrFull, "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newArrivalWorld(t, 5)
			defer w.f.Close()
			c.change(w)
			err := w.arrives()
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || (w.asked[2] > 0) != c.asked {
				t.Errorf("%s: %v; asked were %v", c.what, err, w.asked)
			}
			synctest.Wait()
			if n := w.stores[1].Stats(); n.Unfinished > 0 || len(w.f.Waiting()) > 0 || c.asked && n.Files == 0 {
				t.Errorf("%s: left are %+v", c.what, n)
			}
			// The next snapshot of the replica, once the file is there again and there is room.
			w.disks[1].Limit(0)
			had := w.stores[1].Stats().Files
			w.way, w.asked = nil, map[raft.NodeID]int{}
			w.files[4] = w.file(99)
			w.snapshot.Base.ID.Index++
			if err := errors.Join(w.arrives(), w.same()); err != nil || w.asked[2] > 6-had {
				t.Errorf("%s: of the next snapshot: %v; %d files were here, asked for were %v", c.what, err, had, w.asked)
			}
		})
	}
}

// Nodes that can't be reached are asked again, later and later; the operator sees why. When nobody asks for the snapshot any more,
// or the replica is gone, nothing is fetched for it.
func TestBlockFilesOfASnapshotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newArrivalWorld(t, 3)
		defer w.f.Close()
		since := time.Now()
		w.way = func(context.Context, raft.NodeID, block.Sum, []byte) error {
			if time.Since(since) < time.Minute {
				return errors.New("no route")
			}
			return nil
		}
		if _, err := w.ask(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if list := w.f.Waiting(); len(list) != 1 || list[0].Missing != 3 || list[0].Files != 3 || !strings.Contains(list[0].Why, "no route") || !strings.HasPrefix(list[0].Why, "block file ") {
			t.Errorf("shown is %+v", list)
		}
		if err := errors.Join(w.arrives(), w.same()); err != nil {
			t.Error(err)
		}
		if n := w.asked[2]; n > 20 { // of 3 files; without growing pauses there would be 60
			t.Errorf("node 2 was asked %d times in a minute", n)
		}
	})
	for _, how := range []string{"silence", "drop", "close"} {
		synctest.Test(t, func(t *testing.T) {
			w := newArrivalWorld(t, 3)
			defer w.f.Close()
			ended := make(chan error, 9)
			w.way = func(ctx context.Context, _ raft.NodeID, _ block.Sum, _ []byte) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it takes its time to end
				ended <- ctx.Err()
				return ctx.Err()
			}
			if missing, err := w.ask(); err != nil || missing != 3 {
				t.Fatalf("%d are missing, %v", missing, err)
			}
			synctest.Wait()
			switch how {
			case "silence":
				time.Sleep(blockSilence + 2*time.Second)
			case "drop":
				w.f.Drop(blocks.Group{ID: 9, Incarnation: 1})
				if len(w.f.Waiting()) != 1 {
					t.Error("another group's end took it along")
				}
				w.f.Drop(blockGroup)
			case "close":
				w.f.Close()
				if _, err := w.ask(); !errors.Is(err, errNoHost) {
					t.Errorf("after its end: %v", err)
				}
			}
			if n := len(ended); n != blockFetchesMax || len(w.f.Waiting()) > 0 {
				t.Errorf("%s: %d fetches ended, want %d; %d wait", how, n, blockFetchesMax, len(w.f.Waiting()))
			}
		})
	}
}

// Where much is written, the sender's snapshot gives way to a newer one before a large file has come. The file under way goes on for
// the newer one, which lists it too; a file that only the earlier one listed, and that is on no node any more, fails nothing.
func TestNewerSnapshotKeepsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newArrivalWorld(t, 4)
		defer w.f.Close()
		large, gone := w.files[0].Sum, w.files[1].Sum
		w.way = func(ctx context.Context, _ raft.NodeID, sum block.Sum, _ []byte) error {
			if sum == large || sum == gone {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(7 * time.Second):
				}
			}
			return nil
		}
		for range 5 { // a snapshot every two seconds
			if missing, err := w.ask(); err != nil {
				t.Fatalf("%d are missing: %v", missing, err)
			}
			synctest.Wait()
			time.Sleep(2 * time.Second)
			if w.snapshot.Base.ID.Index == 10 {
				w.files = append(w.files[:1:1], w.files[2:]...)
				for n := raft.NodeID(2); n <= 3; n++ {
					if err := w.stores[n].Remove(blockGroup, gone); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.snapshot.Base.ID.Index++
		}
		if err := errors.Join(w.arrives(), w.same()); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asked[2]+w.asked[3] > 6 { // of four files, and of one of them also node 3
			t.Errorf("asked were %v", w.asked)
		}
	})
}

// gatedFiles says that so many files of each snapshot are missing.
type gatedFiles struct {
	mu      sync.Mutex
	missing int
	err     error
	asked   chan struct{} // a token: it was asked
}

func (g *gatedFiles) Fetch(_ logstore.Snapshot, _ raft.NodeID, list func() ([]BlockFile, error)) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case g.asked <- struct{}{}:
	default:
	}
	_, err := list()
	return g.missing, errors.Join(err, g.err)
}

func (g *gatedFiles) set(missing int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.missing, g.err = missing, err
}

// A snapshot whose block files are missing does not take effect, and its sender is not told that it has; the sender asks on, and
// other snapshots to the same node do not wait for it. It hears why the files can't come.
func TestSnapshotWaitsForItsFiles(t *testing.T) {
	if wrong := installsWithoutFiles(t, nil); wrong != "" {
		t.Error(wrong)
	}
	if wrong := installsWithoutFiles(t, errors.New("no node has the file")); wrong != "" {
		t.Error(wrong)
	}
}

func installsWithoutFiles(t *testing.T, fails error) string {
	from, late, g, s := largeSnapshot(t)
	files := &gatedFiles{missing: 2, asked: make(chan struct{}, 1)}
	late.inbox.cfg.Files = files
	was := late.host.groups[1].applied
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &bulkServer{listener: listener, inbox: late.inbox}
	server.ended.Add(1)
	go server.serve()
	type end struct {
		number uint64
		err    error
	}
	ends := make(chan end, 9)
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) { return nil, errors.New("not today") },
		DialBulk: func(ctx context.Context, _ raft.NodeID, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Sent:  func(s *SnapshotStream, err error) { ends <- end{s.Number, err} },
		Store: from.store, Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(3, listener.Addr().String())
	defer func() {
		p.Close()
		listener.Close()
		server.ended.Wait()
	}()
	ended := func() (e end, ok bool) {
		select {
		case e = <-ends:
			return e, true
		case <-time.After(busyMax):
			return e, false
		}
	}
	p.SendSnapshot(3, &SnapshotStream{Number: 100, Snapshot: s, To: 3, Term: g.state.Term, group: g, node: 3})
	select {
	case <-files.asked:
	case e := <-ends:
		return fmt.Sprintf("the stream ended before its files were asked for: %v", e.err)
	case <-time.After(busyMax):
		return "nobody asks for the files"
	}
	// Another one, which the other side does not take, ends while the first one waits.
	p.SendSnapshot(3, &SnapshotStream{Number: 101, Snapshot: s, To: 9, Term: g.state.Term, group: g, node: 3})
	if e, ok := ended(); !ok || e.number != 101 || !errors.Is(e.err, errRefused) {
		return fmt.Sprintf("while one waits, stream %d ended with %v", e.number, e.err)
	}
	<-files.asked // again
	server.mu.Lock()
	applied, taken := late.host.groups[1].applied, server.taken
	server.mu.Unlock()
	if applied != was {
		return fmt.Sprintf("it stands at %s, and 2 files are missing", applied)
	}
	files.set(0, fails)
	e, ok := ended()
	server.mu.Lock()
	applied = late.host.groups[1].applied
	sent := server.taken
	server.mu.Unlock()
	switch {
	case !ok || e.number != 100:
		return "the stream does not end"
	case sent != taken:
		return "its bytes were sent again"
	case fails == nil && (e.err != nil || applied != s.Base.ID):
		return fmt.Sprintf("with all files it ended with %v, at %s", e.err, applied)
	case fails != nil && (e.err == nil || !strings.Contains(e.err.Error(), fails.Error()) || applied != was):
		return fmt.Sprintf("without a file it ended with %v, at %s", e.err, applied)
	}
	return ""
}
