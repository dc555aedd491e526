package shardmap

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"muster/raft"
)

// History has the newest events of a map, as the entries of its log made them, so that a watch
// is a place in it and no queue. Every replica makes the same one: it is part of the map's
// state, and of its snapshots (docs/decisions/0021-history.md).
//
// Events lie one behind the other in blocks. Only the last block is appended to, by the
// goroutine that applies, and no byte changes that a reader may see. How far readers may
// read is one number, which is stored at the end of each entry that made events: so they
// take no lock, and see all events of an entry or none.
//
//	blocks   [ 7 ]──[ 8 ]──[ 9 ]──[ 10      ]     ring.blocks; ring.first is 7
//	           └ before: g1/3.91+2            └ end: readers stop here
//
// # The bound
//
// An event that does not fit into the rest of the last block begins another one, of
// [historyBlockSize], or of its own size if it is larger. Then the oldest blocks go, as
// long as all together are larger than [HistoryMax] and the oldest holds no event of the
// entry that is being applied. So what stays follows from the events alone, wherever a
// replica began: a snapshot has the newest blocks as they are, [HistoryKept] of them. So what a
// replica that began with a snapshot has in memory may begin later than elsewhere; the
// newest blocks, and with them its own snapshots, are those of all. The floor is the newest
// entry of which an event has gone.
//
// A history to which no event came for [SessionKeep] goes down to what a snapshot has of it, at
// the next time entry: a node with many groups would else keep the memory of a busy hour for
// good. The sessions of those who wrote end with such an entry.
type History struct {
	m          *Map // whose applied entry is the head; set once
	max, block int  // bytes of all blocks, and of one, as said above; set before the first entry
	kept       int  // of max, what a snapshot has; set with it
	prevMax    int  // EntryPrevMax; set once

	// Of the goroutine that applies. raised is the level that entries have raised the group to
	// (raise.go); 0: none has, and there is no history. buf is the bytes of tail, the last block,
	// and used how many of them are events; both are nil before the map keeps a history.
	raised uint32
	// raisedInverted is ^raised, for [Walk].
	raisedInverted uint32
	buf            []byte
	used           int
	tail           *historyBlock
	size           int        // Invariant: the sum of the lengths of the ring's blocks
	id             raft.LogID // the entry that is being applied
	n              uint32     // of its events so far
	prev           int        // bytes of previous values that it may still keep; -1: not even an empty one
	// prevs is the tail's [historyBlock.prevs] so far.
	prevs  uint64
	last   Position       // behind the last event of the entries before
	lastAt raft.GroupTime // of the entry with it, or of the state that was loaded
	// unused is the number of the next block.
	unused uint64
	// spare is a block that went while nobody read.
	spare []byte

	// ring is what readers see; nil before the map keeps a history.
	ring atomic.Pointer[historyRing]
	// readers counts cursors and copies. While there are none, a block that goes is filled
	// anew: allocating and clearing one costs as much as writing its events.
	readers atomic.Int64
}

func newHistory(m *Map) *History {
	return &History{m: m, raisedInverted: ^uint32(0), max: HistoryMax, block: historyBlockSize, kept: HistoryKept, prevMax: EntryPrevMax, unused: 1}
}

const (
	// HistoryMax bounds the blocks of a history, in bytes, unless the events of one entry
	// alone are more.
	HistoryMax = 8 << 20
	// HistoryKept bounds the blocks that a snapshot has, the newest of them, in bytes, unless the
	// last alone is larger. A group that is small and busy has its state written for each 8 MiB
	// of its log: with all of its history, nine times as much would be written for one of 1 MiB.
	// A replica that starts anew has the entries since the snapshot, too.
	HistoryKept = 1 << 20
	// EntryPrevMax bounds the bytes of previous values that the events of one entry keep: a
	// command of some kilobytes can remove keys of any size.
	EntryPrevMax = 2 << 20

	// historyBlockSize is the size of a block: some 200 events of small keys share the
	// cost of a block, and a group that is written to now and then has one.
	historyBlockSize = 64 << 10
)

// Bound gives the history, and what a snapshot has of it, other bounds than [HistoryMax] and
// [HistoryKept], and blocks of another size. It is for tests, of few events; all replicas of
// a group must have the same. It is called before the first entry.
func (h *History) Bound(max, kept, block int) { h.max, h.kept, h.block = max, kept, block }

// historyRing is the blocks of a history. It never changes but for end: another one takes
// its place when a block comes.
type historyRing struct {
	first  uint64 // the number of the first block; numbers are not used again
	blocks []*historyBlock
	// end is how far the last block, or the one before it, may be read: the number of the
	// block and an offset in it.
	end atomic.Uint64
}

// newest is the number of the last block.
func (r *historyRing) newest() uint64 { return r.first + uint64(len(r.blocks)) - 1 }

type historyBlock struct {
	before Position // behind the last event before this block; at first, behind the entry with which the history began
	buf    []byte
	used   int // bytes of events; set when the next block comes
	// prevs is the sum of the hashes that the records had whose values the events keep as those of
	// before, as if none had an end; set when the next block comes. Events before byte loaded are not in it.
	prevs  uint64
	loaded int // bytes of events that came with a snapshot; set once
	// What a [Walk] has seen of the block: the bytes from its beginning, and their sum, with
	// before. Of the goroutine that applies.
	seen      int
	sum       uint64
	seenPrevs uint64 // of prevs, that of the bytes seen
}

// A place in a history is the number of a block and an offset in it.
const historyOffsetBits = 26 // more than eventSizeMax

func historyPlace(block uint64, offset int) uint64 {
	return block<<historyOffsetBits | uint64(offset)
}

func splitPlace(p uint64) (block uint64, offset int) {
	return p >> historyOffsetBits, int(p & (1<<historyOffsetBits - 1))
}

// set records that a key gets a value. old is its record so far, nil if there is none: call
// set before that is overwritten.
func (h *History) set(s Slot, key, value []byte, version uint64, old record) {
	if h.tail != nil {
		h.add(EventSet, s, key, value, version, old)
	}
}

// del records that a command removes the key of a record, which is still there.
func (h *History) del(s Slot, version uint64, old record) {
	if h.tail != nil {
		h.add(EventDel, s, old.key(), nil, version, old)
	}
}

// expired records that a key is removed because its time has come, or its lease's. The
// record is still there.
func (h *History) expired(s Slot, version uint64, old record) {
	if h.tail != nil {
		h.add(EventExpired, s, old.key(), nil, version, old)
	}
}

// service and serviceGone record that a service has changed, and that it was removed. What it was
// before is not kept: nobody asks for that.
func (h *History) service(s Slot, name, value []byte, version uint64) {
	if h.tail != nil {
		h.add(EventService, s, name, value, version, nil)
	}
}

func (h *History) serviceGone(s Slot, name []byte, version uint64) {
	if h.tail != nil {
		h.add(EventServiceGone, s, name, nil, version, nil)
	}
}

// left, came and back record what moves do to a slot.
func (h *History) left(s *Step) {
	if h.tail != nil {
		h.addMove(EventLeft, s.Slot, s.Peer, s.Number, nil)
	}
}

func (h *History) came(s *Step) {
	if h.tail != nil {
		h.addMove(EventCame, s.Slot, s.Peer, s.Number, appendPlace(make([]byte, 0, sealedSize), s.At))
	}
}

func (h *History) back(s *Step, from raft.GroupID) {
	if h.tail != nil {
		h.addMove(EventBack, s.Slot, from, s.Number, nil)
	}
}

// begin begins an entry. It is not known yet whether it makes events.
func (h *History) begin(id raft.LogID) { h.id, h.prev = id, h.prevMax }

// hide leaves the values out that the following events of the entry would keep.
func (h *History) hide() { h.prev = -1 }

// end shows readers the events of the entry, at its group time. The map calls it before it says
// that the entry is applied.
func (h *History) end(now raft.GroupTime) {
	if h.n == 0 {
		return
	}
	h.last, h.lastAt, h.n = Position{ID: h.id, N: h.n}, now, 0
	r := h.ring.Load()
	r.end.Store(historyPlace(r.newest(), h.used))
}

// add appends an event of a key. It is on the path of every write: the one slice of the block
// checks all bounds.
func (h *History) add(k EventKind, s Slot, key, value []byte, version uint64, old record) {
	var prev []byte
	prevVersion, flags, hash := uint64(0), uint64(0), uint64(0)
	if old != nil {
		prevVersion, flags = old.version(), eventHadPrev
		if n := old.valueLen(); n <= h.prev {
			h.prev -= n
			prev, flags = old.value(), eventHadPrev|eventHasPrev
			if hash = old.hash(); old.ends() != endsNever {
				hash = prevHash(old.key(), prev, prevVersion) // what calls has compared the whole
			}
		}
	}
	parts := eventHead + len(key) + len(value) + len(prev)
	size := aligned(parts)
	if size > len(h.buf)-h.used {
		h.grow(size)
	}
	h.n++
	h.prevs += hash
	b := h.buf[h.used : h.used+size]
	h.used += size
	head := (*[eventHead]byte)(b)
	binary.LittleEndian.PutUint64(head[0:], uint64(size)|uint64(k)<<32|flags<<40|uint64(s)<<48)
	binary.LittleEndian.PutUint64(head[8:], h.id.Term)
	binary.LittleEndian.PutUint64(head[16:], h.id.Index)
	binary.LittleEndian.PutUint64(head[24:], version)
	binary.LittleEndian.PutUint64(head[32:], uint64(h.n)|uint64(len(value))<<32)
	binary.LittleEndian.PutUint64(head[40:], uint64(len(prev))|uint64(len(key))<<32)
	binary.LittleEndian.PutUint64(head[48:], prevVersion)
	b = b[eventHead:]
	b = b[copy(b, key):]
	b = b[copy(b, value):]
	b = b[copy(b, prev):]
	if size != parts {
		clear(b) // the filling: a block may have been used before
	}
}

// addMove appends an event of a slot.
func (h *History) addMove(k EventKind, s Slot, g raft.GroupID, number uint64, value []byte) {
	h.add(k, s, nil, value, number, nil)
	binary.LittleEndian.PutUint16(h.buf[h.used-eventSize(0, len(value), 0)+eventGroup:], uint16(g))
}

// Raised returns the level that entries have raised the group to; 0: none has. The
// goroutine that applies calls it.
func (h *History) Raised() uint32 { return h.raised }

// raise records that the entry id raises the group to a level; false if it is at that level.
// The first raise begins the history.
func (h *History) raise(level uint32, id raft.LogID) bool {
	if level <= h.raised {
		return false
	}
	h.setRaised(level)
	if h.tail == nil {
		h.start(id)
	}
	return true
}

func (h *History) setRaised(level uint32) { h.raised, h.raisedInverted = level, ^level }

// start has the map keep a history from behind the entry id on.
func (h *History) start(id raft.LogID) {
	h.last = After(id)
	h.tail = &historyBlock{before: h.last}
	h.show(&historyRing{first: h.unused, blocks: []*historyBlock{h.tail}})
}

// show makes r what readers see: nothing of the entry that is being applied.
func (h *History) show(r *historyRing) {
	r.end.Store(max(r.end.Load(), historyPlace(r.first, 0)))
	h.unused = r.first + uint64(len(r.blocks))
	h.ring.Store(r)
}

// grow begins another block, for an event of size bytes, and drops the oldest blocks that are
// over the bound.
func (h *History) grow(size int) {
	r := h.ring.Load()
	last := h.last
	if h.n > 0 {
		last = Position{ID: h.id, N: h.n}
	}
	h.tail.used, h.tail.prevs = h.used, h.prevs
	size = max(size, h.block)
	h.size += size
	gone := 0
	if len(r.blocks) == 1 && len(h.tail.buf) == 0 {
		gone = 1 // as start left it
	}
	for gone < len(r.blocks) && h.size > h.max {
		behind := last // where the block's events end
		if gone+1 < len(r.blocks) {
			behind = r.blocks[gone+1].before
		}
		if behind.ID == h.id {
			break
		}
		h.size -= len(r.blocks[gone].buf)
		gone++
	}
	h.tail = &historyBlock{before: last}
	next := &historyRing{first: r.first + uint64(gone), blocks: make([]*historyBlock, len(r.blocks)-gone+1)}
	next.blocks[copy(next.blocks, r.blocks[gone:])] = h.tail
	next.end.Store(r.end.Load())
	h.tail.buf = h.makeBlock(size)
	h.buf, h.used, h.prevs = h.tail.buf, 0, 0
	h.show(next)
	// Whoever begins to read now finds the ring without the blocks that are gone.
	if gone > 0 && h.readers.Load() == 0 && len(r.blocks[gone-1].buf) == h.block {
		h.spare = r.blocks[gone-1].buf
	}
}

// rest drops all blocks but those that a snapshot has, if no event has come for [SessionKeep].
// A time entry calls it, before its own events.
func (h *History) rest(now raft.GroupTime) {
	r := h.ring.Load()
	if r == nil || !due(h.lastAt, now) {
		return
	}
	gone := r.keptFrom(h.kept)
	if gone == 0 {
		return
	}
	for _, b := range r.blocks[:gone] {
		h.size -= len(b.buf)
	}
	h.spare = nil
	next := &historyRing{first: r.first + uint64(gone), blocks: slices.Clone(r.blocks[gone:])}
	next.end.Store(r.end.Load())
	h.show(next)
}

// keptFrom returns the first of the blocks that a snapshot has, which are of kept bytes.
func (r *historyRing) keptFrom(kept int) int {
	first := len(r.blocks) - 1
	for size := len(r.blocks[first].buf); first > 0; first-- {
		// Of one entry all events are kept, as in memory.
		if size += len(r.blocks[first-1].buf); size > kept && !r.blocks[first].goesOn() {
			break
		}
	}
	return first
}

// makeBlock returns the bytes of a block, of any content.
func (h *History) makeBlock(size int) []byte {
	if size == h.block && h.spare != nil {
		b := h.spare
		h.spare = nil
		return b
	}
	return make([]byte, size)
}
