package filer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/sealing"
	"muster/repl/wire"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

const (
	// lookEvery is after how long all shards are looked at though nothing has changed: windows end.
	lookEvery = time.Minute
	// waitFor is after how long a group is looked at again that replays its log.
	waitFor = time.Second
	// busyRetry is when points may be sent again that were refused because of memory.
	busyRetry = time.Second
	// ListsAhead is how many lists of files are kept of snapshots that the log does not have yet: one that is
	// being written, one that arrives, and one that failed.
	ListsAhead = 3
	// clearAfter is how long a group's files stay that has no replica here: nothing needs them, and nothing is lost by waiting.
	clearAfter = 10 * time.Minute
)

// Config is what a Filer is made from.
type Config struct {
	Self   raft.NodeID
	Name   string // of the node, for errors
	Limits sealing.Limits
	Files  *blocks.Store
	// Snapshots returns the snapshots of a replica that the log has, oldest first.
	Snapshots func(logstore.Replica) []raft.LogID
	// Wall returns the time of the host, in nanoseconds since 1970.
	Wall func() int64
	// Rouse asks for a turn soon. Any goroutine calls it; it must cost next to nothing.
	Rouse func()
	// Map returns the map that a replica's machine has, or nil. A nil field takes the machine for the map.
	Map func(repl.StateMachine) *machine.Map
	Log *slog.Logger
}

// Filer keeps the points of a node's replicas in files.
type Filer struct {
	cfg Config

	refuses atomic.Bool // groups that are led here take no points
	presses atomic.Bool // heads take so much memory that files are made as fast as can be

	// Owned by the goroutine that takes turns.
	core   *sealing.Core
	groups map[raft.GroupID]*group
	tasks  map[blocks.Group]int           // that are under way
	damage map[file]bool                  // files that the core knows to be damaged
	lookAt time.Duration                  // when all shards are looked at again
	wait   bool                           // a group replays its log
	gone   map[blocks.Group]time.Duration // since when groups have files here, and no replica
	made   Counts

	noted atomic.Uint64 // lists, since the start

	mu       sync.Mutex
	removed  sync.Cond                   // of mu: a removal has ended
	lists    map[blocks.Group][]fileList // guarded by mu: what snapshots list
	removing map[file]bool               // guarded by mu: files that are about to go
}

// Counts count what has been done since the start.
type Counts struct{ Files, Bytes, Fetched, Removed uint64 }

// file names a block file.
type file struct {
	group blocks.Group
	sum   block.Sum
}

// fileList is the files that the snapshot of a group's state names.
type fileList struct {
	at    raft.LogID
	files []block.Sum
}

// New returns a Filer that knows of no replica.
func New(cfg Config) *Filer {
	if cfg.Map == nil {
		cfg.Map = func(m repl.StateMachine) *machine.Map {
			is, _ := m.(*machine.Map)
			return is
		}
	}
	f := &Filer{
		cfg: cfg, core: sealing.New(cfg.Self, cfg.Limits), groups: map[raft.GroupID]*group{}, tasks: map[blocks.Group]int{}, damage: map[file]bool{},
		lists: map[blocks.Group][]fileList{}, removing: map[file]bool{},
	}
	f.removed.L = &f.mu
	return f
}

// Owner returns what a replica's machine is told of this node's files.
func (f *Filer) Owner(id raft.GroupID, of raft.Incarnation) machine.PointsOwner {
	g := blocks.Group{ID: id, Incarnation: of}
	return machine.PointsOwner{
		Read:    func(read func(shard.Opener) error) error { return f.answer(g, read) },
		Changed: f.cfg.Rouse,
		Settle:  func(at raft.LogID, files []block.Sum) string { return f.settle(g, at, files) },
		Listed:  func(at raft.LogID, files []block.Sum) { f.list(g, at, files) },
		Busy:    f.busy,
	}
}

// Refuses reports whether points are refused, as of the last turn: heads take too much memory.
func (f *Filer) Refuses() bool { return f.refuses.Load() }

// Presses reports whether heads take so much memory that files are to be made as fast as can be, as of the last turn.
func (f *Filer) Presses() bool { return f.presses.Load() }

// Held returns the memory of heads, and that of the frozen ones among them, in bytes. The goroutine that takes turns calls it.
func (f *Filer) Held() (held, frozen int64) { return f.core.Held() }

// Made returns what has been done. The goroutine that takes turns calls it.
func (f *Filer) Made() Counts { return f.made }

// busy refuses points while the heads of the node take too much memory.
func (f *Filer) busy() *wire.Error {
	if !f.refuses.Load() {
		return nil
	}
	return wire.Busy("points of node "+f.cfg.Name, fmt.Sprintf("those that are in memory and in no file take more than --points-memory allows, %d bytes", f.cfg.Limits.Hard), busyRetry)
}

// settle says why no snapshot may list some files of a group; "": it may, and they stay for it.
func (f *Filer) settle(g blocks.Group, at raft.LogID, files []block.Sum) (why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sum := range f.cfg.Files.Missing(g, files) {
		return fmt.Sprintf("block file %s of points is not here yet", sum.Name())
	}
	for _, sum := range files {
		if f.removing[file{g, sum}] {
			return fmt.Sprintf("block file %s of points is being removed, and comes back", sum.Name())
		}
	}
	f.note(g, fileList{at, files})
	return ""
}

// list notes which files a snapshot lists that was read. It waits for those that are being removed: a reader of a
// snapshot that arrives looks then which files are here.
func (f *Filer) list(g blocks.Group, at raft.LogID, files []block.Sum) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(g, fileList{at, files}) // first: none of them is removed from now on
	for slices.ContainsFunc(files, func(sum block.Sum) bool { return f.removing[file{g, sum}] }) {
		f.removed.Wait()
	}
}

// note adds a list, in place of one of the same snapshot: one that arrives is read again and again. f.mu is held.
func (f *Filer) note(g blocks.Group, l fileList) {
	lists := slices.DeleteFunc(f.lists[g], func(o fileList) bool { return o.at == l.at && slices.Equal(o.files, l.files) })
	f.lists[g] = append(lists, l)
	f.noted.Add(1)
}

// listed returns which files the snapshots of a replica list, sorted, and forgets the lists of those that are gone. kept are
// those that there are, oldest first.
func (f *Filer) listed(g blocks.Group, kept []raft.LogID) (sums []block.Sum) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ahead := 0
	lists := f.lists[g]
	for i := len(lists) - 1; i >= 0; i-- {
		at := lists[i].at
		switch {
		case slices.Contains(kept, at):
		case ahead < ListsAhead && (len(kept) == 0 || at.Index > kept[len(kept)-1].Index):
			ahead++
		default:
			lists = slices.Delete(lists, i, i+1)
			continue
		}
		sums = append(sums, lists[i].files...)
	}
	if f.lists[g] = lists; len(lists) == 0 {
		delete(f.lists, g)
	}
	slices.SortFunc(sums, compareSums)
	return slices.Compact(sums)
}

func compareSums(a, b block.Sum) int { return bytes.Compare(a[:], b[:]) }

// Read calls read with a way to open block files of a group, and closes them. Damage that was met is found in its file, which
// is then fetched. Any goroutine may call it.
func (f *Filer) Read(g blocks.Group, read func(shard.Opener) error) error {
	files := f.cfg.Files
	open := map[block.Sum]*blocks.Reader{}
	defer func() {
		for _, r := range open {
			_ = r.Close() // nothing was written
		}
	}()
	err := read(func(sum block.Sum) (*block.Reader, error) {
		if r := open[sum]; r != nil {
			return r.Reader, nil
		}
		r, err := files.Open(g, sum)
		if err != nil {
			return nil, err
		}
		open[sum] = r
		return r.Reader, nil
	})
	var met *block.DamageError
	if errors.As(err, &met) {
		// A cursor does not say in which file.
		for sum := range open {
			if damage := files.Verify(g, sum); damage != nil {
				err = damage
			}
		}
	}
	if absent(err) {
		f.cfg.Rouse()
	}
	return err
}

// absent reports whether a file is not here, or not whole, so that it is made or fetched.
func absent(err error) bool {
	var damaged *blocks.Damaged
	return errors.Is(err, blocks.ErrUnknown) || errors.As(err, &damaged)
}

// answer is Read for a question: its error for a file that is not here lets the question be asked again.
func (f *Filer) answer(g blocks.Group, read func(shard.Opener) error) error {
	err := f.Read(g, read)
	switch {
	case absent(err):
		return wire.NotReady(fmt.Sprintf("points of group %d", g.ID), err.Error(), "try again, or ask another replica: the file is made or fetched", wire.BusyRetry)
	case errors.Is(err, blocks.ErrBusy):
		return wire.Busy(fmt.Sprintf("points of group %d", g.ID), err.Error(), wire.BusyRetry)
	}
	return err
}
