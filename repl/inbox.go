package repl

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

const (
	// inboxStreamsMax bounds the snapshots that arrive at the same time: each
	// ends with a state in memory beside the one that it replaces.
	inboxStreamsMax = 4
	// inboxSilentTicks is after how many ticks without a chunk a stream makes
	// room for another: 10 s. What came of it is kept until then, and can be
	// continued.
	inboxSilentTicks = 200
)

// InboxConfig is what an inbox is made from.
type InboxConfig struct {
	Store *logstore.Store
	// Machine makes an empty state machine, which becomes a group's later or
	// never. It is called by any goroutine.
	Machine func(logstore.Replica) StateMachine
	// Host has f called with the host, by the goroutine that owns it, and
	// returns after that; false: the host has stopped.
	Host func(f func(*Host)) bool
	// Files, if not nil, has the block files that snapshots list; nil: they list none.
	Files SnapshotFiles
	Log   *slog.Logger
}

// SnapshotFiles gets the block files that snapshots list. Any goroutine calls it.
type SnapshotFiles interface {
	// Fetch reports how many files that a snapshot lists are not on the disk here yet. The snapshot came whole from a node;
	// list makes the list, and is called unless that is known from the last call. Fetch does not wait for what is missing: it
	// is called again as long as the sender asks. An error gives the snapshot up; what has come stays.
	Fetch(s logstore.Snapshot, from raft.NodeID, list func() ([]BlockFile, error)) (missing int, err error)
}

// bugWithoutFiles is planted to show that its test finds it: a state takes effect whose block files are not here.
const bugWithoutFiles = "snapshot installed without its files"

// Inbox takes the snapshots that other nodes send, chunk by chunk. It is
// synchronous: it waits for the disk, builds the state machine and calls the
// host in the goroutine that calls it. Several may.
type Inbox struct {
	cfg InboxConfig

	mu      sync.Mutex
	streams map[logstore.Replica]*inbound // guarded by mu
	closed  bool                          // guarded by mu
}

// inbound is a snapshot that is arriving.
type inbound struct {
	base raft.LogID // set once
	size uint64     // set once

	mu   sync.Mutex                 // taken before Inbox.mu
	file *logstore.SnapshotReceiver // guarded by mu; nil once it is over

	heard uint64 // guarded by Inbox.mu: the tick of the last question, or look at moved
	moved bool   // guarded by Inbox.mu: a chunk came since then
}

// NewInbox returns an inbox without a snapshot.
func NewInbox(cfg InboxConfig) *Inbox {
	return &Inbox{cfg: cfg, streams: make(map[logstore.Replica]*inbound)}
}

// Close gives up what has not arrived whole. No Receive is under way or comes.
func (x *Inbox) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for r, in := range x.streams {
		x.giveUp(r, in)
	}
}

// giveUp ends a stream. x.mu is held, and in.mu, unless nobody else has in.
func (x *Inbox) giveUp(r logstore.Replica, in *inbound) {
	if x.streams[r] == in {
		delete(x.streams, r)
	}
	if in.file != nil {
		if err := in.file.Abort(); err != nil {
			x.cfg.Log.Warn("snapshot not given up cleanly", "group", r.Group, "err", err)
		}
		in.file = nil
	}
}

// Receive takes one chunk from a node, and returns the answer to it.
func (x *Inbox) Receive(from raft.NodeID, c *wire.Chunk) wire.ChunkAnswer {
	a := wire.ChunkAnswer{Number: c.Number, State: wire.ChunkTaken}
	offset, done, err := x.receive(from, c)
	switch {
	case errors.Is(err, errFilesMissing):
		a.Offset = c.Size
	case err != nil:
		a.State, a.Why = wire.ChunkRefused, err.Error()
	case done:
		a.State, a.Offset = wire.ChunkDone, c.Size
	default:
		a.Offset = offset
	}
	return a
}

var (
	errStreamUnknown = errors.New("nothing of it is here; ask first where to begin")
	// errFilesMissing says that a snapshot is here whole, and its block files are on their way. The sender gets no error: it
	// asks again.
	errFilesMissing = errors.New("block files are missing")
)

func (x *Inbox) receive(from raft.NodeID, c *wire.Chunk) (offset uint64, done bool, err error) {
	r := logstore.Replica{Group: c.Group, Incarnation: c.Incarnation, ID: c.To}
	var in *inbound
	if len(c.Data) == 0 {
		in, done, err = x.begin(from, r, c)
	} else {
		x.mu.Lock()
		if in = x.streams[r]; in == nil || in.base != c.Base || in.size != c.Size {
			err = errStreamUnknown
		} else {
			in.moved = true
		}
		x.mu.Unlock()
	}
	if err != nil || done {
		return 0, done, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file == nil {
		return 0, false, errStreamUnknown
	}
	if len(c.Data) > 0 {
		if err := in.file.Chunk(int64(c.Offset), c.Data); err != nil && !errors.Is(err, logstore.ErrChunk) {
			x.mu.Lock()
			x.giveUp(r, in)
			x.mu.Unlock()
			return 0, false, fmt.Errorf("take the chunk at %d: %w", c.Offset, err)
		}
	}
	if offset = uint64(in.file.Offset()); offset < in.size {
		return offset, false, nil
	}
	s, err := in.file.Commit()
	if err == nil {
		in.file = nil
	}
	x.mu.Lock()
	x.giveUp(r, in)
	x.mu.Unlock()
	if err != nil {
		return 0, false, fmt.Errorf("keep the snapshot: %w", err)
	}
	return 0, true, x.hand(from, c, s)
}

// begin answers the question that comes before the first chunk.
func (x *Inbox) begin(from raft.NodeID, r logstore.Replica, c *wire.Chunk) (in *inbound, done bool, err error) {
	var why string
	var tick uint64
	if !x.cfg.Host(func(h *Host) {
		done, why = h.WantsSnapshot(from, c)
		tick = h.ticks
	}) {
		return nil, false, errNoHost
	}
	if why != "" {
		return nil, false, errors.New(why)
	}
	if done {
		return nil, true, nil
	}
	for _, s := range x.cfg.Store.Snapshots(r) {
		if s.Base.ID == c.Base && uint64(s.Size) == c.Size {
			return nil, true, x.hand(from, c, s) // it came before, and was not taken
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, false, errNoHost
	}
	if in = x.streams[r]; in != nil && in.base == c.Base && in.size == c.Size {
		in.heard = tick
		return in, false, nil
	}
	if err := x.makeRoom(r, tick); err != nil {
		return nil, false, err
	}
	file, err := x.cfg.Store.ReceiveSnapshot(r)
	if err != nil {
		return nil, false, fmt.Errorf("begin a snapshot: %w", err)
	}
	in = &inbound{base: c.Base, size: c.Size, file: file, heard: tick}
	x.streams[r] = in
	return in, false, nil
}

// makeRoom ends a stream for the same replica, and one that has gone silent if
// there are too many. x.mu is held.
func (x *Inbox) makeRoom(r logstore.Replica, tick uint64) error {
	if in := x.streams[r]; in != nil && !x.drop(r, in) {
		return errors.New("another snapshot is being taken for the replica")
	}
	if len(x.streams) < inboxStreamsMax {
		return nil
	}
	for other, in := range x.streams {
		if in.moved {
			in.heard, in.moved = tick, false
		}
		if tick >= in.heard+inboxSilentTicks && x.drop(other, in) {
			return nil
		}
	}
	return fmt.Errorf("%d snapshots are arriving, the limit is %d", len(x.streams), inboxStreamsMax)
}

// drop gives a stream up, unless a chunk of it is being taken just now. x.mu is
// held, so in.mu must not be waited for.
func (x *Inbox) drop(r logstore.Replica, in *inbound) bool {
	if !in.mu.TryLock() {
		return false
	}
	defer in.mu.Unlock()
	x.giveUp(r, in)
	return true
}

var errNoHost = errors.New("the node stops")

// hand makes the state of a snapshot that is here whole and gives it to the
// host, once the block files are here that it lists; until then it returns errFilesMissing.
func (x *Inbox) hand(from raft.NodeID, c *wire.Chunk, s logstore.Snapshot) error {
	if s.Base.ID != c.Base {
		return fmt.Errorf("the file is of %s, the chunks said %s", s.Base.ID, c.Base)
	}
	var m StateMachine
	load := func() error {
		m = x.cfg.Machine(s.Replica)
		return loadSnapshot(x.cfg.Store, s, m)
	}
	if x.cfg.Files != nil && !bug(bugWithoutFiles) {
		missing, err := x.cfg.Files.Fetch(s, from, func() ([]BlockFile, error) {
			if err := load(); err != nil {
				return nil, err
			}
			return namedFiles(m), nil
		})
		switch {
		case err != nil:
			return err
		case missing > 0:
			return errFilesMissing // the state goes meanwhile: it is loaded again
		}
	}
	if m == nil {
		if err := load(); err != nil {
			return err
		}
	}
	why := ""
	if !x.cfg.Host(func(h *Host) {
		why = h.TakeSnapshot(&ReceivedSnapshot{Node: from, From: c.From, Term: c.Term, Snapshot: s, Machine: m})
	}) {
		return errNoHost
	}
	if why != "" {
		return errors.New(why)
	}
	return nil
}
