package logstore

import (
	"errors"
	"io"
)

// scrubGapBytes is how much is searched at once for the next batch.
const scrubGapBytes = 64 << 10

// logScrub is the slow walk of Scrub over the log, and how far it has come.
type logScrub struct {
	index  *index
	faults *faults

	segment uint64
	offset  int64 // of the next batch that is due there
	done    bool  // with the log: the snapshots are left
	buf     []byte
}

// Scrub continues a slow walk over what has not been read for long: the segments
// before the one that is written to, then the snapshots. It reads about maxBytes, and
// at least one batch. It returns done once the walk has come to its end; the next call
// begins anew. Damaged entries and snapshots then show in [Store.Damaged]; other
// damaged records the next batch writes again from memory.
//
// It may run beside Append and Read, but not beside itself. Finding damage is no
// error, nor is what the disk refuses: see [Store.LookAgain]. The system does not ask
// the disk again for what it still has in memory, so rot below that shows later.
func (s *Store) Scrub(maxBytes int64) (done bool, err error) {
	c := &s.walk
	for !c.done && maxBytes > 0 {
		n, more := c.batch()
		maxBytes -= n
		c.done = !more
	}
	if !c.done {
		return false, nil
	}
	done, err = s.snapshots.scrubSome(max(maxBytes, 1))
	if errors.Is(err, ErrDamaged) {
		err = nil
	}
	if done {
		c.segment, c.offset, c.done = 0, 0, false
	}
	return done, err
}

// batch reads the next batch. It reports false when there is none.
func (c *logScrub) batch() (int64, bool) {
	seg := c.under()
	if seg == nil {
		return 0, false
	}
	b, err := c.read(seg, c.offset, sectorSize)
	if err != nil {
		return c.unreadable(seg, sectorSize)
	}
	h, _ := readBatchHeader(b, seg.at(c.offset))
	if h.number == 0 || c.offset+batchSize(h.length) > seg.limit() {
		return c.gap(seg)
	}
	size := batchSize(h.length)
	if b, err = c.read(seg, c.offset, size); err != nil {
		return c.unreadable(seg, size)
	}
	if !whole(seg, b, c.offset, h) {
		c.suspect(seg, c.offset, c.offset+size)
	}
	c.offset += size
	return size, true
}

// gap moves on to the next batch. What is skipped is the gap before a fresh page, the
// rest of the segment, or a batch whose header is damaged.
func (c *logScrub) gap(seg *segment) (int64, bool) {
	b, err := c.read(seg, c.offset, min(scrubGapBytes, seg.limit()-c.offset))
	if err != nil {
		return c.unreadable(seg, sectorSize)
	}
	at := int64(0)
	for ; at < int64(len(b)); at += sectorSize {
		if _, ok := readBatchHeader(b[at:], seg.at(c.offset+at)); ok {
			break
		}
	}
	at = max(at, sectorSize)
	c.suspect(seg, c.offset, c.offset+at)
	c.offset += at
	return int64(len(b)), true
}

// under returns the segment that the walk is in: never the one that is written to, nor
// one that is lost.
func (c *logScrub) under() *segment {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	for {
		if c.segment < c.index.segments[0].number {
			c.segment, c.offset = c.index.segments[0].number, segmentHeader
		}
		seg := c.index.segment(c.segment)
		if seg == nil || c.segment >= c.index.shown {
			return nil
		}
		if seg.file != nil && c.offset < seg.limit() {
			return seg
		}
		c.segment, c.offset = c.segment+1, segmentHeader
	}
}

func (c *logScrub) read(seg *segment, at, n int64) ([]byte, error) {
	if int64(cap(c.buf)) < n {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	got, err := ReadAt(seg.file, b, at)
	if err == io.EOF {
		err = nil
	}
	clear(b[got:])
	return b, err
}

// unreadable continues after bytes that the disk could not read. The segment may have
// been freed meanwhile.
func (c *logScrub) unreadable(seg *segment, n int64) (int64, bool) {
	c.suspect(seg, c.offset, c.offset+n)
	c.offset += n
	return n, true
}

// suspect checks all needed records that begin in a range that is not whole, or that
// the disk refused.
func (c *logScrub) suspect(seg *segment, from, to int64) {
	for _, f := range c.index.neededWithin(seg.number, from, to) {
		switch err := checkRecord(seg, &f); {
		case err == nil:
			c.faults.isBack(f.at)
		case c.index.segmentNow(seg.number) != seg: // it was freed meanwhile: no damage
		case errors.Is(err, ErrRefused):
			c.faults.refuse(f)
		default:
			c.faults.find(f)
		}
	}
}
