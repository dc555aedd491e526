package repl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/raft"
	"muster/shardmap/points/block"
)

// A snapshot lists block files by name. A replica that gets one has all of them on its own disk before the state takes
// effect: else it would vote with a state that it can't read.
const (
	// blockFetchesMax bounds the block files that are fetched at once for snapshots that arrive, of all groups. More would
	// share the disk, and finish no snapshot sooner.
	blockFetchesMax = 2
	// BlockFilesPause lies between two questions of a sender whether the files of its snapshot are there.
	BlockFilesPause = 500 * time.Millisecond
	// blockSilence is after how long without such a question files of a snapshot are no longer fetched: its sender has
	// ended, or another snapshot takes its place.
	blockSilence = 10 * time.Second
	// blockRestMin and blockRestMax bound the pause after a file could not be fetched from any node; it doubles.
	blockRestMin, blockRestMax = time.Second, 30 * time.Second
	// blockProgressPause lies between two lines of the log that tell how far a snapshot has come.
	blockProgressPause = 10 * time.Second
)

// BlockFile is a block file that a state names.
type BlockFile struct {
	Sum   block.Sum
	Bytes int64
}

// FileNamer is a [StateMachine] whose state names block files.
type FileNamer interface {
	// NamedFiles returns them, sorted by sum, none twice. It is called by the goroutine that applies, or before anyone
	// else has seen the machine.
	NamedFiles() []BlockFile
}

// namedFiles returns the block files that the state of a machine names.
func namedFiles(m StateMachine) []BlockFile {
	if m, ok := m.(FileNamer); ok {
		return m.NamedFiles()
	}
	return nil
}

func sumsOf(files []BlockFile) []block.Sum {
	sums := make([]block.Sum, len(files))
	for i := range files {
		sums[i] = files[i].Sum
	}
	return sums
}

// BlockFetcherConfig is what a fetcher is made from.
type BlockFetcherConfig struct {
	Self  raft.NodeID
	Files *blocks.Store
	// Fetch fetches a file from a node, as [Peers.FetchBlockFile] does, with its errors.
	Fetch func(ctx context.Context, from raft.NodeID, g blocks.Group, sum block.Sum) error
	// Beside has f called beside its caller, which goes on; nil: by a goroutine.
	Beside func(f func())
	Clock  Clock // nil: the system's
	Log    *slog.Logger
}

// Clock is what time goes by.
type Clock interface {
	Now() time.Time
	// AfterFunc has f called after d, beside its caller. The timer is as one of package time.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is what [time.AfterFunc] returns.
type Timer interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// systemClock is the clock of the system.
type systemClock struct{}

// Now implements [Clock].
func (systemClock) Now() time.Time { return time.Now() }

// AfterFunc implements [Clock].
func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// BlockFetcher fetches the block files that snapshots list which arrive here, a few at a time, those of the snapshot that
// came first before those of others. Files that have come stay when a snapshot is given up: the next one lists most of it. All
// methods may be called from any goroutine.
//
// # Goroutines
//
//	file fetcher   at most blockFetchesMax; each fetches one file after another, and ends when none is due, or with Close
type BlockFetcher struct {
	cfg    BlockFetcherConfig
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	arrivals []*blockArrival // guarded by mu, in the order of their coming; one for each replica
	fetchers int             // guarded by mu: goroutines
}

// blockArrival is the newest snapshot of a replica that came whole, and lists files that are not here yet. Where a newer one
// takes its place, what is being fetched goes on: where much is written a snapshot may last for less than a large file takes,
// and the newer one lists that file too.
type blockArrival struct {
	// Set once.
	replica  logstore.Replica
	group    blocks.Group
	ctx      context.Context
	cancel   context.CancelFunc
	silence  Timer // ends it
	fetchers sync.WaitGroup

	// Guarded by BlockFetcher.mu.
	base     raft.LogID    // of the snapshot
	sources  []raft.NodeID // the sender first
	list     []BlockFile
	bytes    int64                  // of all of them
	due      []BlockFile            // not here, and not being fetched
	underWay map[block.Sum]struct{} // being fetched; of an earlier snapshot perhaps
	err      error                  // why it is given up
	why      string
	rest     time.Duration
	restsTo  time.Time
	saidAt   time.Time
}

// NewBlockFetcher returns a fetcher that has nothing to do.
func NewBlockFetcher(cfg BlockFetcherConfig) *BlockFetcher {
	f := &BlockFetcher{cfg: cfg}
	if f.cfg.Beside == nil {
		f.cfg.Beside = f.ended.Go
	}
	if f.cfg.Clock == nil {
		f.cfg.Clock = systemClock{}
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Close ends what is under way, and waits for it.
func (f *BlockFetcher) Close() {
	f.cancel()
	f.mu.Lock()
	for len(f.arrivals) > 0 {
		f.end(f.arrivals[0])
	}
	f.mu.Unlock()
	f.ended.Wait()
}

// Drop ends what is under way for a group, and waits for it: its replica is no longer here.
func (f *BlockFetcher) Drop(g blocks.Group) {
	var dropped []*blockArrival
	f.mu.Lock()
	for _, a := range slices.Clone(f.arrivals) {
		if a.group == g {
			f.end(a)
			dropped = append(dropped, a)
		}
	}
	f.mu.Unlock()
	for _, a := range dropped {
		a.fetchers.Wait()
	}
}

// Fetch implements [SnapshotFiles].
func (f *BlockFetcher) Fetch(s logstore.Snapshot, from raft.NodeID, list func() ([]BlockFile, error)) (missing int, err error) {
	a, sums := f.arrival(s)
	if a == nil {
		files, err := list()
		if err != nil || len(files) == 0 {
			return 0, err
		}
		// From the list on none of the files may be removed here: the owner of the files learns of the list by the machine that was
		// restored. So what is here now is here then.
		if a, err = f.begin(s, from, files); a == nil {
			return 0, err
		}
		sums = sumsOf(files)
	}
	lack := f.cfg.Files.Missing(a.group, sums)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.err != nil:
		f.end(a)
		return 0, a.err
	case len(lack) == 0:
		f.end(a)
		f.cfg.Log.Info("block files of a snapshot are here", "group", a.group.ID, "base", s.Base.ID, "files", len(a.list), "bytes", a.bytes)
		return 0, nil
	}
	a.silence.Reset(blockSilence)
	if len(a.due)+len(a.underWay) == 0 {
		a.due = lacking(a.list, lack) // one was found damaged after it had come
	}
	f.fill()
	return len(lack), nil
}

// of returns the arrival for a replica, or nil; f.mu is held.
func (f *BlockFetcher) of(r logstore.Replica) *blockArrival {
	i := slices.IndexFunc(f.arrivals, func(a *blockArrival) bool { return a.replica == r })
	if i < 0 {
		return nil
	}
	return f.arrivals[i]
}

// arrival returns that of a snapshot, and what it lists; nil: it is not known yet.
func (f *BlockFetcher) arrival(s logstore.Snapshot) (*blockArrival, []block.Sum) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.of(s.Replica); a != nil && a.base == s.Base.ID {
		return a, sumsOf(a.list)
	}
	return nil, nil
}

// begin makes the arrival of a snapshot, or has it take the place of an earlier one, unless all files are here.
func (f *BlockFetcher) begin(s logstore.Snapshot, from raft.NodeID, files []BlockFile) (*blockArrival, error) {
	of := blocks.Group{ID: s.Replica.Group, Incarnation: s.Replica.Incarnation}
	lack := f.cfg.Files.Missing(of, sumsOf(files))
	due := lacking(files, lack)
	// A transfer that ends at half of it on a full disk would have taken that half from all others for nothing.
	if err := f.cfg.Files.Room(bytesOf(due)); len(lack) > 0 && err != nil {
		return nil, fmt.Errorf("fetch %d block files that the snapshot lists: %w", len(lack), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.of(s.Replica)
	switch {
	case f.ctx.Err() != nil:
		return nil, errNoHost
	case len(lack) == 0:
		if a != nil {
			f.end(a)
		}
		return nil, nil
	case a == nil || a.ctx.Err() != nil:
		if a != nil {
			f.end(a)
		}
		a = f.make(s.Replica, of)
	case a.base == s.Base.ID:
		return a, nil // another connection brought it at the same time
	}
	a.base, a.sources, a.list, a.bytes = s.Base.ID, f.sources(s, from), files, bytesOf(files)
	a.due = slices.DeleteFunc(due, func(b BlockFile) bool { _, is := a.underWay[b.Sum]; return is })
	a.err, a.why, a.rest, a.restsTo = nil, "", 0, time.Time{}
	f.cfg.Log.Info("block files of a snapshot are fetched", "group", of.ID, "from", from, "base", s.Base.ID, "files", len(files), "missing", len(lack), "bytes", bytesOf(due))
	return a, nil
}

// make makes an arrival, which ends if nobody asks for it; f.mu is held.
func (f *BlockFetcher) make(r logstore.Replica, of blocks.Group) *blockArrival {
	a := &blockArrival{replica: r, group: of, underWay: map[block.Sum]struct{}{}, saidAt: f.cfg.Clock.Now()}
	a.ctx, a.cancel = context.WithCancel(f.ctx)
	a.silence = f.cfg.Clock.AfterFunc(blockSilence, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if slices.Contains(f.arrivals, a) {
			f.cfg.Log.Info("block files of a snapshot are not fetched any more: nobody asks for it", "group", of.ID, "base", a.base, "missing", len(a.due)+len(a.underWay))
			f.end(a)
		}
	})
	f.arrivals = append(f.arrivals, a)
	return a
}

// sources are the nodes that a file is asked of, in this order: the sender, then those of the other members.
func (f *BlockFetcher) sources(s logstore.Snapshot, from raft.NodeID) []raft.NodeID {
	nodes := []raft.NodeID{from}
	m := &s.Base.Membership
	for _, list := range [...][]raft.Member{m.Voters, m.Outgoing, m.Learners} {
		for i := range list {
			if n := list[i].Node; n != f.cfg.Self && !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// lacking returns the files of a list with these sums.
func lacking(list []BlockFile, sums []block.Sum) []BlockFile {
	lacks := make(map[block.Sum]bool, len(sums))
	for _, s := range sums {
		lacks[s] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(b BlockFile) bool { return !lacks[b.Sum] })
}

func bytesOf(files []BlockFile) (n int64) {
	for i := range files {
		n += files[i].Bytes
	}
	return n
}

// end takes an arrival out; f.mu is held.
func (f *BlockFetcher) end(a *blockArrival) {
	a.cancel()
	a.silence.Stop()
	f.arrivals = slices.DeleteFunc(f.arrivals, func(o *blockArrival) bool { return o == a })
}

// fill begins fetchers, as many as may be and have something to do; f.mu is held.
func (f *BlockFetcher) fill() {
	for f.fetchers < blockFetchesMax {
		t, ok := f.next()
		if !ok {
			return
		}
		f.fetchers++
		f.cfg.Beside(func() { f.work(t) })
	}
}

// fileTask is a file that is being fetched, from one of these nodes.
type fileTask struct {
	*blockArrival
	file  BlockFile
	nodes []raft.NodeID
}

// next takes the next file that is due; f.mu is held.
func (f *BlockFetcher) next() (t fileTask, ok bool) {
	now := f.cfg.Clock.Now()
	for _, a := range f.arrivals {
		if len(a.due) > 0 && a.err == nil && !now.Before(a.restsTo) {
			t = fileTask{a, a.due[0], a.sources}
			a.due = a.due[1:]
			a.underWay[t.file.Sum] = struct{}{}
			a.fetchers.Add(1)
			return t, true
		}
	}
	return t, false
}

// work fetches one file after another.
func (f *BlockFetcher) work(t fileTask) {
	for more := true; more; {
		final, err := f.fetch(&t)
		f.mu.Lock()
		f.fetched(&t, final, err)
		t.fetchers.Done()
		if t, more = f.next(); !more {
			f.fetchers--
		}
		f.mu.Unlock()
	}
}

// fetch asks one node after another for a file. final reports whether to ask again is of no use, as far as is known.
func (f *BlockFetcher) fetch(t *fileTask) (final bool, err error) {
	var whys []string
	final = true
	for _, n := range t.nodes {
		err := f.cfg.Fetch(t.ctx, n, t.group, t.file.Sum)
		switch {
		case err == nil:
			return false, nil
		case t.ctx.Err() != nil:
			return false, t.ctx.Err()
		case errors.Is(err, logstore.ErrFull), errors.Is(err, blocks.ErrStopped):
			return true, err // wherever it comes from
		case !errors.Is(err, ErrBlockAbsent) && !errors.Is(err, blocks.ErrContent):
			final = false
		}
		whys = append(whys, err.Error())
	}
	return final, fmt.Errorf("block file %.16s… of the snapshot: %s", t.file.Sum, strings.Join(whys, "; "))
}

// fetched notes what became of a file; f.mu is held.
func (f *BlockFetcher) fetched(t *fileTask, final bool, err error) {
	a := t.blockArrival
	delete(a.underWay, t.file.Sum)
	now := f.cfg.Clock.Now()
	switch {
	case err == nil:
		a.rest, a.why = 0, ""
		if now.Sub(a.saidAt) >= blockProgressPause {
			a.saidAt = now
			f.cfg.Log.Info("block files of a snapshot arrive", "group", a.group.ID, "base", a.base, "files", len(a.list)-len(a.due)-len(a.underWay), "of", len(a.list),
				"bytes_left", bytesOf(a.due))
		}
		return
	case a.ctx.Err() != nil:
		return // it has ended
	case !slices.ContainsFunc(a.list, func(b BlockFile) bool { return b.Sum == t.file.Sum }):
		return // an earlier snapshot listed it
	case final:
		a.err = err
		a.cancel() // the others, too
	}
	a.due = append(a.due, t.file)
	a.rest = min(max(2*a.rest, blockRestMin), blockRestMax)
	a.restsTo = now.Add(a.rest)
	if why := err.Error(); why != a.why { // a line for each change
		a.why = why
		f.cfg.Log.Warn("block file of a snapshot not fetched", "group", a.group.ID, "base", a.base, "err", err)
	}
}

// WaitingSnapshot is a snapshot that came whole, and waits for block files.
type WaitingSnapshot struct {
	Replica        logstore.Replica
	Base           raft.LogID
	Files, Missing int
	Bytes, Left    int64  // of all files; of those that are missing and not on their way
	Why            string // the last file could not be fetched; empty: it could
}

// Waiting returns the snapshots that wait, in the order of their coming.
func (f *BlockFetcher) Waiting() []WaitingSnapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []WaitingSnapshot
	for _, a := range f.arrivals {
		list = append(list, WaitingSnapshot{a.replica, a.base, len(a.list), len(a.due) + len(a.underWay), a.bytes, bytesOf(a.due), a.why})
	}
	return list
}
