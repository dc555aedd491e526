package sim

import (
	"errors"
	"hash/crc32"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// drawPolicy draws how often the groups of a run write snapshots, mostly all the time, and
// how small the chunks are in which they are sent.
func (c *cluster) drawPolicy() {
	c.chunk = int(c.chance.skewed(512, 16<<10))
	if c.chance.below(16) == 0 {
		return // hardly ever
	}
	c.policy = repl.SnapshotPolicy{
		BytesMin:  int64(c.chance.skewed(512, 32<<10)),
		RestBytes: int64(c.chance.below(16<<10)) + 256, RestTicks: 10 + c.chance.below(60),
		LogBytesMax: int64(c.chance.below(112<<10)) + 16<<10, OverBytesMin: 512,
		RetryTicks: 20 + c.chance.below(100), HoldTicks: 1 + c.chance.below(60),
	}
}

// work begins what the host wants done beside it.
func (n *node) work() {
	if n.leave.closing {
		return
	}
	w := n.host.Work()
	if w == nil {
		return
	}
	if w.Writes() {
		n.c.note(n.index, "writes a snapshot of group %d at %s", w.Replica.Group, w.Base.ID)
	}
	host, store := n.host, n.store
	n.beside.spawn(func(t *task) {
		if !t.wait(n.beside.stepTime()) {
			return
		}
		w.Run(store, func(int) error {
			if !t.wait(n.beside.stepTime()) {
				return errEnded
			}
			return nil
		})
		if n.host != host || n.leave.closing || n.files.failing.final() {
			return
		}
		n.host.Worked(w)
		if w.Writes() {
			n.checkSnapshots(w.Replica)
		}
		n.turn()
	})
}

// checkSnapshots compares the files of a replica with those of others at the same base.
// I10: they are the same, byte for byte, as long as no disk lacked the room for what a state
// can do without.
func (n *node) checkSnapshots(r logstore.Replica) {
	if n.decay.hurt {
		return // the file may be rotten, which shows when it is read
	}
	for _, s := range n.store.Snapshots(r) {
		if n.c.flaws.wrote(n, r.Group, s.Base.ID) != nil {
			continue
		}
		n.c.truth[r.Group].snapshot(n, s)
	}
}

// snapshotFile is what all snapshots of a base are.
type snapshotFile struct {
	sum  uint32
	size int
	node int
}

func (t *truth) snapshot(n *node, s logstore.Snapshot) {
	t.isBase(n, s.Base.ID, s.Base.Time, &s.Base.Membership)
	b := n.files.mem.Bytes(s.File)
	f := snapshotFile{crc32.ChecksumIEEE(b), len(b), n.index}
	was, ok := t.snapshots[s.Base.ID]
	if !ok {
		t.snapshots[s.Base.ID] = f
		t.c.result.Snapshots++
		return
	}
	if (was.sum != f.sum || was.size != f.size) && !t.trimmed {
		t.c.fail("I10: the snapshot of group %d at %s has %d bytes with checksum %08x on n%d, %d with %08x on n%d",
			t.group, s.Base.ID, f.size, f.sum, n.index, was.size, was.sum, was.node)
	}
}

// courier sends snapshots to other nodes and receives theirs, over separate connections.
type courier struct {
	n       *node
	inbox   *repl.Inbox
	streams []*stream
}

// newInbox makes the inbox for the snapshots of others.
func (u *courier) newInbox() *repl.Inbox {
	host := u.n.host
	return repl.NewInbox(repl.InboxConfig{
		Store: u.n.store, Machine: u.n.machine, Files: u.n.files.points.arriving(), Log: u.n.c.logger(u.n.index),
		// Another goroutine owns the host: it comes to this later, and to other
		// things before.
		Host: func(f func(*repl.Host)) bool {
			d := u.n.beside.stepTime()
			if u.n.c.chaos.knows(SnapshotLate) && u.n.c.chance.below(4) == 0 {
				u.n.c.result.Fired[SnapshotLate]++
				d = u.n.c.chance.skewed(100*time.Millisecond, 10*time.Second)
			}
			if !u.n.beside.running.wait(d) || u.n.host != host || u.n.leave.closing {
				return false
			}
			f(host)
			u.n.turn()
			return true
		},
	})
}

// takeChunk is the arrival of a chunk.
func (u *courier) takeChunk(from int32, body []byte) {
	c := new(wire.Chunk)
	if err := c.Read(body); err != nil {
		u.n.c.fail("n%d can't read a chunk of n%d: %v", u.n.index, from, err)
	}
	host, inbox := u.n.host, u.inbox
	u.n.beside.spawn(func(t *task) {
		a := inbox.Receive(raft.NodeID(from), c)
		if u.n.host != host || u.n.leave.closing || u.n.files.failing.final() {
			return
		}
		if a.State == wire.ChunkDone {
			u.n.checkSnapshots(logstore.Replica{Group: c.Group, Incarnation: c.Incarnation, ID: c.To})
		}
		if len(c.Data) > 0 && a.State == wire.ChunkRefused {
			u.n.c.note(u.n.index, "refuses a chunk of group %d at %s: %s", c.Group, c.Base, a.Why)
		}
		u.send(raft.NodeID(from), wire.TypeChunkAnswer, &a, 0)
	})
}

const (
	// streamSilence is after how long without an answer a stream of chunks is begun
	// again. After streamTries it is given up.
	streamSilence = 3 * time.Second
	streamTries   = 3
)

// stream is a snapshot that a node sends.
type stream struct {
	to     raft.NodeID
	of     *repl.SnapshotStream
	sender *repl.SnapshotSender // nil while it waits for another one to the same node
	heard  time.Duration
	tries  int
}

func (u *courier) lookAt(stream uint64, d time.Duration) {
	e := u.n.event(evStream)
	e.number = stream
	u.n.c.after(d, e)
}

func (u *courier) streamOf(number uint64) *stream {
	for _, s := range u.streams {
		if s.of.Number == number {
			return s
		}
	}
	return nil
}

// look begins a stream whose turn it is, and begins a silent one again or gives it up.
func (u *courier) look(number uint64) {
	s := u.streamOf(number)
	switch {
	case s == nil:
	case s.sender == nil:
		if slices.ContainsFunc(u.streams, func(o *stream) bool { return o.to == s.to && o.sender != nil }) {
			u.lookAt(number, streamSilence)
			return
		}
		if u.n.c.flaws.keeps(u.n, s.of) {
			u.end(s, errReset)
			return
		}
		sender, err := repl.OpenSender(u.n.store, s.of)
		if err != nil {
			u.end(s, err)
			return
		}
		sender.Limit(u.n.c.chunk)
		s.sender, s.heard = sender, u.n.c.now
		u.n.c.note(u.n.index, "sends a snapshot of group %d at %s to n%d", s.of.Snapshot.Replica.Group, s.of.Snapshot.Base.ID, s.to)
		u.push(s)
		u.lookAt(number, streamSilence)
	case u.n.c.now-s.heard < streamSilence:
		u.lookAt(number, streamSilence)
	case s.tries < streamTries && u.n.c.chance.below(2) == 0:
		s.tries++
		s.sender.Again()
		u.push(s)
		u.lookAt(number, streamSilence)
	default:
		u.end(s, errSilence)
	}
}

// push sends all chunks that may leave now.
func (u *courier) push(s *stream) {
	x := &u.n.c.chaos
	for {
		var c wire.Chunk
		more, err := s.sender.Next(&c)
		if over, why := s.sender.Ended(); over {
			u.end(s, why)
			return
		}
		if err != nil {
			u.end(s, err)
			return
		}
		if !more {
			return
		}
		if x.strikes(SnapshotCut) {
			u.end(s, errReset)
			return
		}
		if len(c.Data) > 0 && x.strikes(SnapshotBad) {
			c.Data = slices.Clone(c.Data)
			c.Data[u.n.c.chance.below(len(c.Data))] ^= 1 << u.n.c.chance.below(8)
		}
		u.send(s.to, wire.TypeChunk, &c, 0)
		if x.strikes(SnapshotTwice) {
			u.send(s.to, wire.TypeChunk, &c, u.n.c.chance.skewed(time.Millisecond, lateMax))
		}
	}
}

// send sends a frame over a bulk connection, which keeps the order and loses nothing while
// it lasts: of the faults of single messages only lateness applies.
func (u *courier) send(to raft.NodeID, t wire.Type, b wire.Body, late time.Duration) {
	w := &u.n.c.net
	if !u.n.where.reaches(int(to)) || u.n.c.nodes[to-1].dead {
		return
	}
	v := u.n.c.queue.get(evFrame)
	v.node, v.from, v.wtype = int32(to), int32(u.n.index), t
	v.body = b.Append(v.body[:0])
	at := max(u.n.c.now, u.n.outAt) + w.latency() + late
	if late == 0 {
		at = max(at, w.bulk[u.n.index][to])
		w.bulk[u.n.index][to] = at
	}
	u.n.c.queue.push(at, v)
}

// chunkAnswered is the arrival of an answer to a chunk.
func (u *courier) chunkAnswered(from int32, body []byte) {
	var a wire.ChunkAnswer
	if err := a.Read(body); err != nil {
		u.n.c.fail("n%d can't read the answer of n%d to a chunk: %v", u.n.index, from, err)
	}
	s := u.streamOf(a.Number)
	if s == nil || s.sender == nil {
		return
	}
	s.heard = u.n.c.now
	s.sender.Answered(&a)
	if u.n.c.series.active && s.sender.Waits() {
		u.rest(s)
		return
	}
	u.push(s)
}

// rest lets a stream wait until the other side has the block files that its snapshot lists, and others go first.
func (u *courier) rest(s *stream) {
	err := s.sender.Close()
	if s.sender = nil; err != nil {
		u.end(s, err)
		return
	}
	u.lookAt(s.of.Number, repl.BlockFilesPause)
	u.goOn(s)
}

// goOn lets the next stream to the node of one that leaves it room begin.
func (u *courier) goOn(s *stream) {
	for _, o := range u.streams {
		if o != s && o.to == s.to && o.sender == nil {
			u.lookAt(o.of.Number, 0)
			break
		}
	}
}

// reset ends the connections over which snapshots are under way, as faults end. Of those
// over which something was lost the sender would learn only once they have been silent for
// long, where a real one learns of it, or has it sent again, as soon as the link is back.
func (u *courier) reset() {
	for _, s := range slices.Clone(u.streams) {
		if s.sender != nil && u.streamOf(s.of.Number) == s {
			u.end(s, errReset)
		}
	}
}

func (u *courier) end(s *stream, err error) {
	u.streams = slices.DeleteFunc(u.streams, func(o *stream) bool { return o == s })
	if s.sender != nil {
		err = errors.Join(err, s.sender.Close())
		s.sender = nil
	}
	if err == nil {
		u.n.c.result.Streamed++
	}
	u.n.host.SnapshotSent(s.of, err)
	u.goOn(s)
}
