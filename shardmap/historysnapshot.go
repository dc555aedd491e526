package shardmap

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// A state of format 4 ends with the history, behind the snapshots of the slots,
// little-endian:
//
//	 0  8    "mustpast"
//	 8  u32  level that the group was raised to
//	12  u32  number of blocks
//	16  u64  term of the floor: all events of the entries after it are here
//	24  u64  index of the floor
//	32  u32  events of the floor that are not here, those before the first that is; or all: 4294967295
//	36  u32  zero
//	40       the blocks, each:
//	           0  u32  length of its events
//	           4  u32  zero
//	           8       its events (event.go), in their order
//	 …  u64  the xxhash64 of all that comes before, from byte 8 on
//
// The blocks are the newest in memory, since they decide what goes next. An event begins another
// block only if it did not fit into the one before.
const (
	historyMagic     = "mustpast"
	historyHeader    = 40
	historyBlockHead = 8
	historyDigest    = 8
)

// historyCopy is a history as it was at one entry. It keeps the blocks alive.
type historyCopy struct {
	of     *History // nil once released, or if the map keeps none
	raised uint32
	blocks []*historyBlock
	used   int      // bytes of events in the last block
	prevs  uint64   // of the last block
	last   Position // behind its last event
	block  int      // size of a block that has more than one event
}

// copy returns what a snapshot has of the history as it is now, without a look at the events.
// The goroutine that applies calls it, between two entries.
func (h *History) copy() historyCopy {
	r := h.ring.Load()
	if r == nil {
		return historyCopy{}
	}
	h.readers.Add(1)
	return historyCopy{of: h, raised: h.raised, blocks: r.blocks[r.keptFrom(h.kept):], used: h.used, prevs: h.prevs, last: h.last, block: h.block}
}

// goesOn reports whether the block begins with an event of the entry that the one before it
// ends with.
func (k *historyBlock) goesOn() bool {
	if len(k.buf) < eventHead {
		return false
	}
	var e Event
	readEvent(k.buf, &e)
	return e.ID == k.before.ID
}

// trim leaves out all that the map can do without. It needs the last block if another event
// may go there: else the blocks that come would end elsewhere than on other replicas.
func (c *historyCopy) trim() {
	if n := len(c.blocks); n > 0 {
		c.blocks = c.blocks[n-1:]
		if len(c.blocks[0].buf) > c.block || bug("half a block of the history left out") { // one event fills it
			c.blocks, c.used = []*historyBlock{{before: c.last}}, 0
		}
	}
}

func (c *historyCopy) release() {
	if c.of != nil {
		c.of.readers.Add(-1)
		*c = historyCopy{raised: c.raised}
	}
}

// write writes the copy, which is of a map that keeps a history. left is as in [SlotCopy.write].
func (c *historyCopy) write(s *streamWriter, left *LeftOut) error {
	blocks := c.blocks
	if len(blocks) == 1 && c.used == 0 {
		blocks = nil
	}
	floor := c.blocks[0].before
	b := append(make([]byte, 0, historyHeader), historyMagic...)
	b = binary.LittleEndian.AppendUint32(b, c.raised)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(blocks)))
	b = appendPlace(b, floor.ID)
	b = binary.LittleEndian.AppendUint32(b, floor.N)
	b = binary.LittleEndian.AppendUint32(b, 0)
	d := xxhash.New()
	put := func(b []byte) error {
		_, _ = d.Write(b) // a hash takes everything
		err := s.room(len(b))
		s.b = append(s.b, b...)
		return err
	}
	if err := s.room(len(b)); err != nil {
		return err
	}
	s.b = append(s.b, b...)
	_, _ = d.Write(b[len(historyMagic):])
	for i, k := range blocks {
		used, prevs := c.used, c.prevs
		if i < len(blocks)-1 { // else these are not k's any more: k may be appended to
			used, prevs = k.used, k.prevs
		}
		switch {
		case left != nil && (used < 0 || used > len(k.buf)):
			left.Blocks++
			used = 0
		case left != nil:
		case used < 0 || used > len(k.buf):
			return fmt.Errorf("%w: block %d has %d bytes of events of %d", ErrInvariant, i+1, used, len(k.buf))
		default:
			if what := k.checkEvents(used, k.loaded, prevs); what != "" {
				return fmt.Errorf("%w: block %d of the history: %s", ErrInvariant, i+1, what)
			}
		}
		var head [historyBlockHead]byte
		binary.LittleEndian.PutUint32(head[:], uint32(used))
		if err := errors.Join(put(head[:]), put(k.buf[:used])); err != nil {
			return err
		}
	}
	if err := s.room(historyDigest); err != nil {
		return err
	}
	s.b = binary.LittleEndian.AppendUint64(s.b, d.Sum64())
	return nil
}

// loadedHistory is a history that was read, and is no map's yet.
type loadedHistory struct {
	max, block int // as of the map's
	raised     uint32
	floor      Position
	blocks     []*historyBlock
	last       Position
}

// history reads the history of a state, for a map whose history is bounded as h is.
func (d *snapshotReader) history(h *History) (*loadedHistory, error) {
	head, err := d.take(historyHeader)
	if err != nil {
		return nil, err
	}
	if string(head[:len(historyMagic)]) != historyMagic {
		return nil, fmt.Errorf("the history begins with %q, want %q", head[:len(historyMagic)], historyMagic)
	}
	sum := xxhash.New()
	_, _ = sum.Write(head[len(historyMagic):]) // a hash takes everything
	l := &loadedHistory{
		max: h.max, block: h.block,
		raised: binary.LittleEndian.Uint32(head[8:]),
		floor: Position{
			ID: raft.LogID{Term: binary.LittleEndian.Uint64(head[16:]), Index: binary.LittleEndian.Uint64(head[24:])},
			N:  binary.LittleEndian.Uint32(head[32:]),
		},
	}
	n, zero := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint32(head[36:])
	switch {
	case l.raised < LeasesLevel:
		return nil, fmt.Errorf("the group was raised to level %d, and has a history; the first level that has one is %d", l.raised, LeasesLevel)
	case zero != 0:
		return nil, fmt.Errorf("history with %d: %w", zero, ErrLevel)
	case l.floor.ID.Index == 0 || l.floor.N == 0:
		return nil, fmt.Errorf("the history begins behind event %d of entry %s", l.floor.N, l.floor.ID)
	}
	l.last = l.floor
	for range n {
		if err := d.historyBlock(l, sum); err != nil {
			return nil, err
		}
	}
	if err := l.bounded(); err != nil {
		return nil, err
	}
	tail, err := d.take(historyDigest)
	if err != nil {
		return nil, err
	}
	if got, want := sum.Sum64(), binary.LittleEndian.Uint64(tail); got != want {
		return nil, fmt.Errorf("what was read of the history has digest %016x, the state says %016x", got, want)
	}
	return l, nil
}

// historyBlock reads the next block of a history.
func (d *snapshotReader) historyBlock(l *loadedHistory, sum *xxhash.Digest) error {
	head, err := d.take(historyBlockHead)
	if err != nil {
		return err
	}
	_, _ = sum.Write(head) // a hash takes everything
	used, zero := int(binary.LittleEndian.Uint32(head)), binary.LittleEndian.Uint32(head[4:])
	if zero != 0 {
		return fmt.Errorf("block of the history with %d: %w", zero, ErrLevel)
	}
	if used < eventHead || used > max(eventSizeMax, l.block) {
		return fmt.Errorf("block of the history with %d bytes of events; want %d to %d", used, eventHead, max(eventSizeMax, l.block))
	}
	b, err := d.take(used) // which takes memory as it arrives
	if err != nil {
		return err
	}
	_, _ = sum.Write(b)
	k := &historyBlock{before: l.last, buf: make([]byte, max(used, l.block)), used: used, loaded: used}
	copy(k.buf, b)
	first := 0
	for at := 0; at < used; {
		if used-at < eventHead {
			return fmt.Errorf("%d bytes of the history behind an event, which are none", used-at)
		}
		size, err := checkEvent(b[at:])
		if err != nil {
			return err
		}
		if at+size > used {
			return fmt.Errorf("event of %d bytes, its block has %d left", size, used-at)
		}
		var e Event
		readEvent(b[at:], &e)
		if err := e.follows(l.last); err != nil {
			return err
		}
		if e.Kind == EventService {
			if err := checkService(e.Key, e.Value); err != nil {
				return fmt.Errorf("event %d of entry %s: %w", e.N, e.ID, err)
			}
		}
		if at == 0 {
			first = size
		}
		l.last = e.Position()
		at += size
	}
	// Else this map would drop other blocks than the one that wrote them.
	if first > l.block && used != first {
		return fmt.Errorf("block of the history with %d bytes behind an event that fills it", used-first)
	}
	if i := len(l.blocks) - 1; i >= 0 && first <= len(l.blocks[i].buf)-l.blocks[i].used {
		return fmt.Errorf("event of %d bytes begins a block of the history, and the one before it had room", first)
	}
	l.blocks = append(l.blocks, k)
	return nil
}

// bounded returns an error unless a history within its bound would have exactly these blocks.
func (l *loadedHistory) bounded() error {
	size, n := 0, len(l.blocks)
	for _, k := range l.blocks {
		size += len(k.buf)
	}
	if size <= l.max || n == 1 {
		return nil
	}
	// The oldest block stayed if it has an event of the entry with which the last one began.
	var first Event
	readEvent(l.blocks[n-1].buf, &first)
	if l.blocks[1].before.ID != first.ID {
		return fmt.Errorf("history of %d bytes, the limit is %d", size, l.max)
	}
	return nil
}

// follows returns an error unless e can be the next event behind a position.
func (e *Event) follows(last Position) error {
	same := e.ID == last.ID && last.N != AllEvents && e.N == last.N+1
	next := e.N == 1 && e.ID.Index > last.ID.Index && e.ID.Term >= last.ID.Term
	if !same && !next {
		return fmt.Errorf("event %d of entry %s behind event %d of entry %s", e.N, e.ID, last.N, last.ID)
	}
	return nil
}

// load replaces the history with the one that was read, of a state of a group time; nil: the state
// has none. Readers find it when they next look.
func (h *History) load(l *loadedHistory, now raft.GroupTime) {
	h.buf, h.used, h.prevs, h.tail, h.size, h.n, h.spare = nil, 0, 0, nil, 0, 0, nil
	h.setRaised(0)
	if l == nil {
		h.ring.Store(nil)
		return
	}
	h.setRaised(l.raised)
	h.last, h.lastAt = l.last, now
	blocks := l.blocks
	if len(blocks) == 0 {
		blocks = []*historyBlock{{before: l.floor}}
	}
	for _, k := range blocks {
		h.size += len(k.buf)
	}
	h.tail = blocks[len(blocks)-1]
	h.buf, h.used = h.tail.buf, h.tail.used
	r := &historyRing{first: h.unused, blocks: blocks}
	r.end.Store(historyPlace(r.newest(), h.tail.used))
	h.show(r)
}
