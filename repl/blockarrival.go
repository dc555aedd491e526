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
	Log   *slog.Logger
}

// BlockFetcher fetches the block files that snapshots list which arrive here, a few at a time, those of the snapshot that
// came first before those of others. What has come stays when a snapshot is given up: the next one lists most of it. All
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

// blockArrival is a snapshot that came whole, and lists files that are not here yet.
type blockArrival struct {
	// Set once.
	snapshot logstore.Snapshot
	group    blocks.Group
	sources  []raft.NodeID // the sender first
	list     []BlockFile
	bytes    int64 // of all of them
	ctx      context.Context
	cancel   context.CancelFunc
	silence  *time.Timer // ends it
	fetchers sync.WaitGroup

	// Guarded by BlockFetcher.mu.
	due      []BlockFile // not here, and not being fetched
	underWay int
	err      error // why it is given up
	why      string
	rest     time.Duration
	restsTo  time.Time
	saidAt   time.Time
}

// NewBlockFetcher returns a fetcher that has nothing to do.
func NewBlockFetcher(cfg BlockFetcherConfig) *BlockFetcher {
	f := &BlockFetcher{cfg: cfg}
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
	a := f.arrival(s)
	if a == nil {
		files, err := list()
		if err != nil || len(files) == 0 {
			return 0, err
		}
		// From the list on none of the files may be removed here: whoever removes files learns of it by the machine that was
		// restored. So what is here now is here then.
		if a, err = f.begin(s, from, files); a == nil {
			return 0, err
		}
	}
	lack := f.cfg.Files.Missing(a.group, sumsOf(a.list))
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
	if len(a.due)+a.underWay == 0 {
		a.due = a.lacking(lack) // one was found damaged after it had come
	}
	f.fill()
	return len(lack), nil
}

// arrival returns that of a snapshot. One of another snapshot for the replica ends.
func (f *BlockFetcher) arrival(s logstore.Snapshot) *blockArrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.arrivals, func(a *blockArrival) bool { return a.snapshot.Replica == s.Replica })
	if i < 0 {
		return nil
	}
	a := f.arrivals[i]
	if a.snapshot.Base.ID != s.Base.ID {
		f.end(a)
		return nil
	}
	return a
}

// begin makes an arrival, unless all files are here.
func (f *BlockFetcher) begin(s logstore.Snapshot, from raft.NodeID, files []BlockFile) (*blockArrival, error) {
	a := &blockArrival{snapshot: s, group: blocks.Group{ID: s.Replica.Group, Incarnation: s.Replica.Incarnation}, list: files, sources: f.sources(s, from), saidAt: time.Now()}
	lack := f.cfg.Files.Missing(a.group, sumsOf(files))
	if len(lack) == 0 {
		return nil, nil
	}
	a.due = a.lacking(lack)
	for i := range files {
		a.bytes += files[i].Bytes
	}
	// A transfer that ends at half of it on a full disk would have taken that half from all others for nothing.
	if err := f.cfg.Files.Room(bytesOf(a.due)); err != nil {
		return nil, fmt.Errorf("fetch %d block files that the snapshot lists: %w", len(lack), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ctx.Err(); err != nil {
		return nil, errNoHost
	}
	if i := slices.IndexFunc(f.arrivals, func(o *blockArrival) bool { return o.snapshot.Replica == s.Replica }); i >= 0 {
		if f.arrivals[i].snapshot.Base.ID == s.Base.ID {
			return f.arrivals[i], nil // another connection brought it at the same time
		}
		f.end(f.arrivals[i])
	}
	a.ctx, a.cancel = context.WithCancel(f.ctx)
	a.silence = time.AfterFunc(blockSilence, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if slices.Contains(f.arrivals, a) {
			f.cfg.Log.Info("block files of a snapshot are not fetched any more: nobody asks for it", "group", a.group.ID, "base", s.Base.ID, "missing", len(a.due)+a.underWay)
			f.end(a)
		}
	})
	f.arrivals = append(f.arrivals, a)
	f.cfg.Log.Info("block files of a snapshot are fetched", "group", a.group.ID, "from", from, "base", s.Base.ID, "files", len(files), "missing", len(lack), "bytes", bytesOf(a.due))
	return a, nil
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

// lacking returns the files of the list with these sums.
func (a *blockArrival) lacking(sums []block.Sum) []BlockFile {
	lacks := make(map[block.Sum]bool, len(sums))
	for _, s := range sums {
		lacks[s] = true
	}
	return slices.DeleteFunc(slices.Clone(a.list), func(b BlockFile) bool { return !lacks[b.Sum] })
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
		a, file, ok := f.next()
		if !ok {
			return
		}
		f.fetchers++
		f.ended.Go(func() { f.work(a, file) })
	}
}

// next takes the next file that is due; f.mu is held.
func (f *BlockFetcher) next() (a *blockArrival, file BlockFile, ok bool) {
	now := time.Now()
	for _, a := range f.arrivals {
		if len(a.due) > 0 && a.err == nil && !now.Before(a.restsTo) {
			file, a.due = a.due[0], a.due[1:]
			a.underWay++
			a.fetchers.Add(1)
			return a, file, true
		}
	}
	return nil, BlockFile{}, false
}

// work fetches one file after another.
func (f *BlockFetcher) work(a *blockArrival, file BlockFile) {
	for more := true; more; {
		final, err := f.fetch(a, file.Sum)
		f.mu.Lock()
		f.fetched(a, file, final, err)
		a.fetchers.Done()
		if a, file, more = f.next(); !more {
			f.fetchers--
		}
		f.mu.Unlock()
	}
}

// fetch asks one node after another for a file. final reports whether to ask again is of no use, as far as is known.
func (f *BlockFetcher) fetch(a *blockArrival, sum block.Sum) (final bool, err error) {
	var whys []string
	final = true
	for _, n := range a.sources {
		err := f.cfg.Fetch(a.ctx, n, a.group, sum)
		switch {
		case err == nil:
			return false, nil
		case a.ctx.Err() != nil:
			return false, a.ctx.Err()
		case errors.Is(err, logstore.ErrFull), errors.Is(err, blocks.ErrStopped):
			return true, err // wherever it comes from
		case !errors.Is(err, ErrBlockAbsent) && !errors.Is(err, blocks.ErrContent):
			final = false
		}
		whys = append(whys, err.Error())
	}
	return final, fmt.Errorf("block file %.16s… of the snapshot: %s", sum, strings.Join(whys, "; "))
}

// fetched notes what became of a file; f.mu is held.
func (f *BlockFetcher) fetched(a *blockArrival, file BlockFile, final bool, err error) {
	a.underWay--
	now := time.Now()
	switch {
	case err == nil:
		a.rest, a.why = 0, ""
		if now.Sub(a.saidAt) >= blockProgressPause {
			a.saidAt = now
			f.cfg.Log.Info("block files of a snapshot arrive", "group", a.group.ID, "base", a.snapshot.Base.ID, "files", len(a.list)-len(a.due)-a.underWay, "of", len(a.list),
				"bytes_left", bytesOf(a.due))
		}
		return
	case a.ctx.Err() != nil:
		return // it has ended
	case final:
		a.err = err
		a.cancel() // the others, too
	}
	a.due = append(a.due, file)
	a.rest = min(max(2*a.rest, blockRestMin), blockRestMax)
	a.restsTo = now.Add(a.rest)
	if why := err.Error(); why != a.why { // a line for each change
		a.why = why
		f.cfg.Log.Warn("block file of a snapshot not fetched", "group", a.group.ID, "base", a.snapshot.Base.ID, "err", err)
	}
}

// BlockArrivals are the snapshots of one replica each that came whole, and wait for block files.
type BlockArrivals struct {
	Replica        logstore.Replica
	Base           raft.LogID
	Files, Missing int
	Bytes, Left    int64  // of all files; of those that are missing and not on their way
	Why            string // the last file could not be fetched; empty: it could
}

// Arrivals returns them, in the order of their coming.
func (f *BlockFetcher) Arrivals() []BlockArrivals {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []BlockArrivals
	for _, a := range f.arrivals {
		list = append(list, BlockArrivals{a.snapshot.Replica, a.snapshot.Base.ID, len(a.list), len(a.due) + a.underWay, a.bytes, bytesOf(a.due), a.why})
	}
	return list
}
