package logstore

import (
	"fmt"
	"maps"
	"slices"

	"muster/raft"
)

// hole is a place in the log where batches are damaged, as long as no directory after
// it has told what they held.
type hole struct {
	from    position // where the batch before ends
	at      place    // counts as needed for what is lost there
	refused bool     // by the disk, as far as is known: what is lost there may come back
	damage  Damage
}

// salvaged are entries that can be read in a batch that is not whole. Their own
// checksums fit, and so does that of their record for its place. They may be from an
// older batch that was never finished at this place. So they count only where a
// directory names the same ids: there is only one entry of one index and term.
type salvaged struct {
	replica Replica
	run     run
}

// rescue reads the entries of a batch that is not whole, or whose header can't
// be read.
func (r *recovery) rescue(seg *segment, b []byte, at int64) {
	for pos := batchHeaderSize; pos < len(b); {
		head, body, err := readRecord(b[pos:], seg.at(at+int64(pos)))
		if err == nil && (head.kind == kindEntries || head.kind == kindMoved) {
			if rec, err := r.s.index.decode(head, body); err == nil {
				r.salvage = append(r.salvage, salvaged{head.replica, run{
					first: rec.first, term: rec.term, count: rec.count, changes: rec.changes,
					at: place{seg.number, uint32(at + int64(pos)), uint32(head.size)},
				}})
			}
		}
		if head.size == 0 || err != nil && head.kind == 0 {
			return
		}
		pos += head.size // if the size is right, the next record's checksum fits
	}
}

// openHole records that the batch that is due is damaged.
func (r *recovery) openHole(format string, args ...any) {
	d := r.due()
	d.Reason += ", but " + fmt.Sprintf(format, args...)
	t, refused := r.refusedAfter(r.end)
	if refused {
		d = r.refusal(t)
	}
	if len(r.damages) == 0 || r.damages[len(r.damages)-1].File != d.File || r.damages[len(r.damages)-1].Offset != d.Offset {
		r.damages = append(r.damages, d)
	}
	// A hole may take in several batches. What is lost in any of them counts as lost at
	// its first place.
	if r.hole != nil {
		r.hole.refused = r.hole.refused || refused
		return
	}
	segment := r.end.segment
	if r.next > 0 && r.s.index.segment(r.next) != nil {
		segment = r.next
	}
	r.hole = &hole{from: r.end, at: place{segment, uint32(d.Offset), recordHeaderSize}, refused: refused, damage: d}
}

// applyDirectory brings the log to the state that the directory describes. Entries that
// are there already stay; those that are not are lost.
func (r *recovery) applyDirectory() {
	d, err := readDirectory(r.directory, r.rows)
	if err != nil {
		return
	}
	covers := !d.from.after(r.hole.from)
	for d.rows > 0 {
		row, err := d.row()
		if err != nil {
			return
		}
		if row.flags == rowRemoval {
			r.bury(row.replica)
			continue
		}
		if row.flags == rowNote {
			r.applyNote(row.note)
			continue
		}
		p := r.applyRow(&row)
		for {
			n, err := d.run()
			if err != nil {
				return
			}
			if n.count == 0 {
				break
			}
			r.applyRun(p, n)
		}
	}
	// A directory that begins after the hole tells only of a part of it: what else was
	// lost stays unknown.
	if covers {
		r.hole, r.salvage = nil, r.salvage[:0]
	}
}

// bury removes a replica, and the older ones of its group.
func (r *recovery) bury(id Replica) {
	g := r.s.index.graves[id.Group]
	if !g.covers(id) {
		p := r.s.index.replicas[id]
		if p == nil {
			p = &replica{id: id}
		}
		r.s.index.take(&record{kind: kindRemove, replica: p}, r.hole.at)
		r.again(kindRemove, p)
		g = r.s.index.graves[id.Group]
	}
	// Records of older replicas may stand before the hole that took their removals.
	for _, have := range slices.SortedFunc(maps.Keys(r.s.index.replicas), compareReplicas) {
		if have.Group == id.Group && g.covers(have) {
			r.s.index.drop(r.s.index.replicas[have])
		}
	}
}

// again has a record that was lost, and whose content is known, written again with the
// next batch.
func (r *recovery) again(kind recordKind, p *replica) {
	r.s.reclaimer.again(piece{kind: kind, replica: p, at: r.hole.at})
}

// applyNote takes over a note that can't be read in its own place.
func (r *recovery) applyNote(n Note) {
	if have := r.s.index.peers.of(n.Node); have != nil && have.Note == n {
		return
	}
	nobody := &r.s.index.peers.nobody
	r.s.index.take(&record{kind: kindNote, replica: nobody, note: n}, r.hole.at)
	r.s.reclaimer.again(piece{kind: kindNote, replica: nobody, first: uint64(n.Node), at: r.hole.at})
}

func (r *recovery) applyRow(row *row) *replica {
	s := r.s
	p := s.index.replicas[row.replica]
	if p == nil {
		p = &replica{id: row.replica, seed: raft.EntrySeed(row.replica.Group, row.replica.Incarnation)}
		s.index.replicas[p.id] = p
	}
	if row.base != nil && (p.base == nil || p.base.ID != row.base.ID || p.baseAt.size == 0) {
		s.index.take(&record{kind: kindBase, replica: p, base: row.base, end: row.last}, r.hole.at)
		r.again(kindBase, p)
	}
	if row.flags&rowState != 0 && (p.state.Term != row.state.Term || p.state.Vote != row.state.Vote || p.stateAt.size == 0) {
		s.index.take(&record{kind: kindState, replica: p, state: row.state}, r.hole.at)
		r.again(kindState, p)
	}
	if row.flags&rowLost != 0 && p.lostAt.size == 0 {
		p.hurt(r.hole.damage)
		s.index.occupy(&p.lostAt, r.hole.at)
		r.again(kindLost, p)
	}
	p.state.Commit = max(p.state.Commit, row.state.Commit)
	// The directory says where the log ended, so entries after that were truncated by a
	// batch that is lost.
	s.index.cut(p, row.last+1, lastIndex)
	return p
}

// applyRun makes sure that the log has the entries of n, if only as lost ones.
func (r *recovery) applyRun(p *replica, n run) {
	for next := n.first; next <= n.last(); {
		i := p.find(next)
		if i < len(p.runs) && p.runs[i].first <= next && p.runs[i].term == n.term && !p.runs[i].lost {
			next = p.runs[i].last() + 1
			continue
		}
		// Up to the next that the log has.
		gap := run{first: next, term: n.term, count: uint32(n.last() - next + 1)}
		for ; i < len(p.runs) && p.runs[i].first <= gap.last(); i++ {
			if m := p.runs[i]; m.term == n.term && !m.lost && m.first > next {
				gap.count = uint32(m.first - next)
				break
			}
		}
		r.fill(p, gap)
		next = gap.last() + 1
	}
}

// fill puts what was salvaged of a gap into the log, and the rest as lost.
func (r *recovery) fill(p *replica, gap run) {
	for next := gap.first; next <= gap.last(); {
		part := run{first: next, term: gap.term, count: uint32(gap.last() - next + 1), at: r.hole.at, lost: true, refused: r.hole.refused, changes: true}
		for i := range r.salvage {
			m := r.salvage[i].run
			if r.salvage[i].replica != p.id || m.term != gap.term || m.last() < next || m.first > part.last() {
				continue
			}
			if m.first > next {
				// Something was salvaged further on: up to there the entries are lost.
				part.count = uint32(m.first - next)
				continue
			}
			last := min(m.last(), gap.last())
			part = m
			part.first, part.count = next, uint32(last-next+1)
			break
		}
		if part.lost {
			p.hurt(r.hole.damage)
		}
		r.s.index.cut(p, part.first, part.last())
		r.s.index.hold(part.at)
		r.s.index.insertRun(p, part)
		next = part.last() + 1
	}
}

// finish decides about the end of the log, which no batch follows, and checks that the
// log is complete.
func (r *recovery) finish() {
	s := r.s
	now := r.end.segment
	if r.next > 0 {
		now = r.next
	}
	seg := s.index.segment(now)
	switch {
	case bug("truncate at the first bad checksum"):
	case r.newest > r.number+1:
		// A batch is begun only after the sync of the one before it. So even the
		// beginning of one proves that its predecessor was durable.
		r.openHole("batch %d was begun after it", r.newest)
	case seg == nil:
		// The last batch says that the log continues there, so the file existed.
		s.index.segments = append(s.index.segments, &segment{number: now, name: s.index.segmentPath(now), mend: -1})
		seg = s.index.segment(now)
		seg.spoil("segment", "the file is missing")
		r.damages = append(r.damages, *seg.spoilt)
		r.openHole("the log went on there")
	case seg.file == nil, seg.spoilt != nil && seg.mend < 0:
		r.openHole("it can't be known what it held")
	case r.number == 0 && s.index.segments[0].number > 1:
		r.openHole("the log began before")
	}
	// The identity knows of a later batch than the last one that is here.
	if end := uint64(r.known.batch); end > r.number && !bug("zeroed tail accepted") {
		r.newest = max(r.newest, end)
		r.openHole("%s", r.known.reason)
	}
	if r.hole != nil && r.known.stop != nil {
		r.directory, r.rows = r.known.stop.directory()
		r.applyDirectory()
		r.cut = r.hole == nil
	}
	if r.doubt = r.doubts(); r.doubt != nil {
		return // nothing of this may be recorded
	}
	if r.hole != nil {
		// No directory told what was lost. Any replica may have promised something
		// there, so the loss counts for all of them.
		s.index.unknownIs = r.hole.damage
		s.index.occupy(&s.index.unknown, r.hole.at)
		s.reclaimer.again(piece{kind: kindLost, replica: &replica{}, at: s.index.unknown})
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.index.replicas), compareReplicas) {
		r.check(s.index.replicas[id])
	}
}

// check records a loss if the index lacks something of a replica that is not known as
// lost. It should find nothing: this is damage that the reading did not notice.
func (r *recovery) check(p *replica) {
	why := ""
	switch {
	case p.base == nil:
		why = "its base is in no segment"
	default:
		due := p.base.ID.Index + 1
		for _, n := range p.runs {
			if n.first != due && why == "" {
				why = fmt.Sprintf("entries %d to %d are in no segment", due, n.first-1)
			}
			if n.lost && !n.refused && n.at.size == recordHeaderSize { // it stands in no record yet
				r.s.reclaimer.again(piece{kind: kindMoved, replica: p, first: n.first, at: n.at})
			}
			due = n.last() + 1
		}
		if p.state.Commit >= due && why == "" {
			why = fmt.Sprintf("entries %d to %d were committed and are in no segment", due, p.state.Commit)
		}
	}
	if why == "" || p.lostAt.size > 0 {
		return
	}
	s := r.s
	d := Damage{File: s.dir, Record: "log of " + p.id.String(), Reason: why}
	at := place{s.index.segments[0].number, segmentHeader, recordHeaderSize}
	if s.index.unknown.size > 0 {
		d, at = s.index.unknownIs, s.index.unknown
	} else {
		r.damages = append(r.damages, d)
	}
	p.hurt(d)
	s.index.occupy(&p.lostAt, at)
	s.reclaimer.again(piece{kind: kindLost, replica: p, at: at})
}

// goOn decides where the next batch goes.
func (r *recovery) goOn() error {
	s := r.s
	now := r.end.segment
	if r.next > 0 {
		now = r.next
	}
	s.writer.synced, s.writer.batch, s.writer.promised = r.end, r.number, r.number > 0
	if r.hole == nil && !r.cut {
		// Prepared segments were never used, so those that can't be read are dropped.
		for i, seg := range s.index.segments {
			if seg.number > now && seg.spoilt != nil && seg.mend < 0 {
				for _, drop := range s.index.segments[i:] {
					if err := r.forget(drop); err != nil {
						return err
					}
				}
				s.index.segments = s.index.segments[:i]
				break
			}
		}
		s.index.goTo(s.index.segment(now))
		if now == r.end.segment {
			s.index.active.end = r.end.offset
		}
		return nil
	}
	// The end is lost. The log continues in a new segment and skips a batch number, so
	// that the next start finds the hole again.
	s.writer.batch = max(r.newest, r.number+1)
	s.index.goTo(s.index.segments[len(s.index.segments)-1])
	s.index.active.close()
	return nil
}

// forget removes a segment that was never used.
func (r *recovery) forget(seg *segment) error {
	if seg.file != nil {
		if err := seg.file.Close(); err != nil {
			return err
		}
	}
	return r.s.room.removeLost(seg)
}
