package logstore

import (
	"errors"
	"fmt"
	"log/slog"

	"muster/raft"
)

// The log grows at its head and is freed at its tail, whole segments only.
// Records in the segment at the tail that are still needed are written again at the
// head, a few with each batch, so that this costs no sync of its own and no Append
// waits for long. Once none is needed there, the next batch says so in its header, and
// the one after it again; after that one's sync the file may be used again. So the
// log on disk is always whole: either the old segment is still there, or what counted
// in it is durable elsewhere and the log says that it no longer needs the segment.
//
// Records are freed in the order in which they were written. That is why a
// truncation or a removal, once it is at the tail, has nothing left before it
// that it would have to hide.
const (
	// moveBytesMax bounds what one batch moves, if one record is not larger.
	moveBytesMax = 256 << 10
	// FreeSegmentsDefault and freePart bound the files that wait to be used
	// again: so many, or that part of those in use if it is more. A snapshot
	// of one group may free many at once, and when writing pauses, all groups
	// write one; the log grows by as many until the next. Making new files each
	// time costs the disk up to half as much again as the entries.
	FreeSegmentsDefault = 2
	freePart            = 2
	// freePerBatchMax bounds the files that are removed after one batch.
	freePerBatchMax = 2
	// idleFillBytes is how much of the next segment one Idle prepares.
	idleFillBytes = 1 << 20
	// cheapPart: a segment of which at most this part is needed is moved at
	// once.
	cheapPart = 16
	// wasteTimes is how much waste the log may hold, in multiples of what is
	// needed, before more than a cheap part is moved. Groups that are written to
	// alike take their snapshots in turns: what the last of them needs in an old
	// segment it will soon not need, and until then waste and need are about
	// equal. With 1 (and a cheap part of an eighth), eight such groups moved
	// 0.37 bytes for each byte of entries, with 2 next to none.
	wasteTimes = 2
	// slackSegments are left alone, even if most of the log is waste.
	slackSegments = 2
)

// reclaimer frees the log at its tail: it writes what is still needed there again at
// the head. It does the same with damaged records whose content is in memory. It
// belongs to the goroutine of Append.
type reclaimer struct {
	log     *slog.Logger
	index   *index
	faults  *faults
	room    *room
	writer  *writer
	figures *figures

	repair []piece // to be written again: they are lost on disk, or must be remembered as lost
	moving moving
}

// moving is the work on the segment at the tail.
type moving struct {
	segment uint64 // 0: none
	work    []piece
	// waiting are those that the disk refuses. They are tried again once it has
	// returned them to another reader. Until then the segment stays, unless
	// they are no longer needed there.
	waiting []piece
}

// piece is one record to move. It is looked up again when its turn comes.
type piece struct {
	kind    recordKind
	replica *replica
	first   uint64 // index; of a note, its node
	at      place
}

// Compact drops the entries up to base.ID, which the log holds: they are no longer
// needed. It is an Append of its own; a Write with Base does the same along with
// others.
func (s *Store) Compact(id Replica, base Base) error {
	if err := s.halt.err(); err != nil {
		return err
	}
	p := s.index.replicas[id]
	if p == nil {
		return fmt.Errorf("compact %s up to %s: %w", id, base.ID, ErrUnknown)
	}
	if term, ok := p.term(base.ID.Index); !ok || term != base.ID.Term || base.ID.Index > p.ahead.state.Commit {
		return fmt.Errorf("compact %s up to %s: %w: committed up to %d", id, base.ID, ErrRange, s.writer.commit(p))
	}
	return s.Append([]Write{{Replica: id, Base: &base}})
}

// forward adds some of what is still needed at the tail to the batch, if emptying the
// segment there is worth it. Before that it adds what must be written again because
// its place is damaged. It reports whether it added anything.
func (rc *reclaimer) forward() (bool, error) {
	before := len(rc.writer.records)
	left := moveBytesMax
	// Damaged records come first: until they are written again, they are only in memory.
	if err := rc.drain(&rc.repair, &left); err != nil {
		return false, fmt.Errorf("write again what is damaged: %w", err)
	}
	m := &rc.moving
	if tail := rc.index.tail(); m.segment != tail {
		if !rc.worthEmptying(rc.index.segment(tail)) {
			return len(rc.writer.records) > before, nil
		}
		*m = moving{segment: tail, work: rc.index.neededIn(tail)}
	}
	rc.retry()
	if err := rc.drain(&m.work, &left); err != nil {
		return false, fmt.Errorf("move what is needed out of segment %d: %w", m.segment, err)
	}
	return len(rc.writer.records) > before, nil
}

// drain moves pieces of a list into the batch, as long as there is room for them and
// left, in bytes, is above zero.
func (rc *reclaimer) drain(work *[]piece, left *int) error {
	for *left > 0 && len(*work) > 0 {
		if room, err := rc.room.roomToMove(moveBytesMax-*left, int((*work)[0].at.size)); !room || err != nil {
			return err
		}
		if rc.awaited((*work)[0]) {
			rc.moving.waiting = append(rc.moving.waiting, (*work)[0])
			*work = (*work)[1:]
			continue
		}
		n, err := rc.move((*work)[0])
		var d *Damage
		if errors.As(err, &d) {
			n, err = rc.moveDamaged((*work)[0], d)
		}
		// A refusal is no loss: the piece waits, and keeps its segment from being
		// freed, because the disk may still return it.
		if errors.Is(err, ErrRefused) {
			rc.unmoved((*work)[0], err)
			rc.moving.waiting = append(rc.moving.waiting, (*work)[0])
			*work = (*work)[1:]
			continue
		}
		if err != nil {
			return err
		}
		*work = (*work)[1:]
		*left -= n
		rc.figures.count(func(c *Stats) { c.Moved += uint64(n) })
	}
	if len(*work) == 0 {
		*work = nil
	}
	return nil
}

// moveDamaged moves entries that can't be read: a record that they are lost takes
// their place, and their segment can be freed like any other.
func (rc *reclaimer) moveDamaged(w piece, d *Damage) (int, error) {
	p := w.replica
	rc.log.Error("damage found", "err", d)
	rc.index.mu.Lock()
	n := &p.runs[p.find(w.first)]
	p.hurt(*d)
	n.lost, n.changes = true, true // a membership may have been among them
	p.lost++
	lost := *n
	rc.index.mu.Unlock()
	return rc.writer.putLost(p, lost.first, lost.term, lost.count)
}

// worthEmptying reports whether the segment at the tail is to be emptied. That is cheap
// if little in it is needed. If much is, it is done only if the waste in the log far
// outweighs what is needed: then each byte moved frees two.
func (rc *reclaimer) worthEmptying(seg *segment) bool {
	if seg == rc.index.active {
		return false
	}
	if seg.file == nil || seg.live <= seg.size/cheapPart || rc.room.lack && seg.live <= seg.size/2 {
		return true // on a full disk the room is worth more
	}
	total := int64(0)
	for _, other := range rc.index.segments {
		if other.number < rc.index.active.number {
			total += other.size
		}
	}
	return total-rc.index.needed > max(wasteTimes*rc.index.needed, slackSegments*rc.room.size)
}

// move puts one piece into the batch, if it is still needed, and returns its
// size. The batch holds nothing yet that would change its replica's log.
func (rc *reclaimer) move(w piece) (int, error) {
	// The work was listed some batches ago. A record that was replaced or moved since is
	// no longer needed there.
	p := w.replica
	switch w.kind {
	case kindRemove:
		if rc.index.graves[p.id.Group].at != w.at {
			return 0, nil
		}
		if _, err := rc.writer.begin(p, kindRemove, recordHeaderSize); err != nil {
			return 0, err
		}
		rc.writer.end(0)
		return recordHeaderSize, nil
	case kindBase:
		if p.baseAt != w.at {
			return 0, nil
		}
		return int(w.at.size), rc.writer.putBaseRecord(p, p.base, p.last().Index)
	case kindState:
		if p.stateAt != w.at {
			return 0, nil
		}
		return int(w.at.size), rc.writer.putState(p)
	case kindLost:
		if p.lostAt != w.at && rc.index.unknown != w.at {
			return 0, nil
		}
		return rc.writer.putLost(p, 0, 0, 0)
	case kindNote:
		n := rc.index.peers.of(raft.NodeID(w.first))
		if n == nil || n.at != w.at {
			return 0, nil
		}
		return int(w.at.size), rc.writer.putNote(&n.Note)
	}
	i := p.find(w.first)
	if i == len(p.runs) || p.runs[i].at != w.at {
		return 0, nil
	}
	if n := p.runs[i]; n.lost {
		return rc.writer.putLost(p, n.first, n.term, n.count)
	}
	l := located{p.runs[i], rc.index.segment(w.at.segment)}
	entries, err := l.read(p.id, p.seed)
	if err != nil {
		return 0, err
	}
	return rc.writer.putMoved(p, entries)
}

// adopt takes over the damage that was found beside Append. The next batch says that
// the entries are lost; it writes again what is in memory.
func (rc *reclaimer) adopt() {
	// Under one hold of the lock, so that nobody finds the damage in neither place.
	rc.index.mu.Lock()
	defer rc.index.mu.Unlock()
	found := rc.faults.adopt()
	for i := range found {
		f := &found[i]
		p := rc.index.replicas[f.replica]
		switch f.kind {
		case kindRemove:
			p = &replica{id: f.replica}
		case kindNote:
			p = &rc.index.peers.nobody
		}
		if p == nil {
			continue
		}
		w := piece{kind: f.kind, replica: p, first: uint64(f.node), at: f.at}
		if f.kind == kindEntries {
			// It was found some time ago. Entries that were moved or truncated since
			// are not lost.
			k := p.find(f.run.first)
			if k == len(p.runs) || p.runs[k].at != f.at || p.runs[k].lost {
				continue
			}
			p.hurt(f.damage)
			p.runs[k].lost, p.runs[k].changes = true, true
			p.lost++
			w.kind, w.first = kindMoved, p.runs[k].first
		}
		rc.again(w)
	}
}

// again makes the next batch write a piece again.
func (rc *reclaimer) again(w piece) { rc.repair = append(rc.repair, w) }

// unmoved records that a piece can't be moved now.
func (rc *reclaimer) unmoved(w piece, err error) {
	p := w.replica
	l := located{p.runs[p.find(w.first)], rc.index.segment(w.at.segment)}
	rc.faults.refuse(finding{replica: p.id, kind: kindEntries, run: l.run, at: l.at, damage: l.refusal(p.id, err)})
}

// awaited reports whether a piece is of entries that the disk refuses. It is not
// asked again here: that can take it seconds, and Append would wait.
func (rc *reclaimer) awaited(w piece) bool {
	if w.kind != kindMoved {
		return false
	}
	p := w.replica
	i := p.find(w.first)
	if i == len(p.runs) || p.runs[i].at != w.at {
		return false
	}
	_, refused := rc.faults.hits(p.id, w.at, 1)
	return refused || p.runs[i].refused
}

// retry moves the pieces whose wait is over to the work.
func (rc *reclaimer) retry() {
	m := &rc.moving
	kept := m.waiting[:0]
	for _, w := range m.waiting {
		if rc.awaited(w) {
			kept = append(kept, w)
		} else {
			m.work = append(m.work, w)
		}
	}
	m.waiting = kept
}

// settleRecovery writes what recovery has found out and no batch says yet: the log
// itself must say what is lost before the identity says how far the log has come.
func (rc *reclaimer) settleRecovery() error {
	rc.adopt()
	// forward moves only a part at a time, so this takes as many batches as it needs. It
	// ends when one makes no progress, for lack of room.
	rc.room.admitRest() // whatever room there is: no life begins before this is written
	for before := -1; len(rc.repair) > 0 && len(rc.repair) != before || rc.writer.batch > rc.writer.durable.Load(); {
		before = len(rc.repair)
		if _, err := rc.forward(); err != nil {
			return err
		}
		// If the end of the log is missing, this is the first batch after it. It is
		// written even if it holds nothing: its number proves what is missing.
		if err := rc.writer.flush(promises, freshPage); err != nil {
			return err
		}
	}
	return nil
}
