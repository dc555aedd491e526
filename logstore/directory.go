package logstore

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"

	"muster/raft"
)

// A directory says what batches before its own left behind. So if they are lost, it is
// known which entries are gone, and small records are not lost at all. It is part of the
// log and costs no sync of its own.
//
// Each batch ends with one. In the first batch of a segment it covers the whole segment
// before. Any other covers the batch before, and those that no directory covers yet on a
// later page than their last: so one damaged page never takes both a batch and every
// directory that covers it.
//
// It holds the state of the log before its own batch, for the replicas concerned. So
// applying it where nothing was lost changes nothing. A directory is a record without a
// replica, whose number of entries is that of its rows:
//
//	 0  u64  the batches from this segment
//	 8  u64  and offset on are covered: where the batch before the first ends
//	16       rows
//
// A row is a sequence of varints (encoding/binary, unsigned):
//
//	flags: 1 base, 2 state, 4 removal, 8 what it promised is lost, 16 note
//	node, life and trusted life: number and mark, last batch      a note, which is nothing else
//	group, incarnation, replica id      a removal ends here
//	commit, last index of the log
//	state: term, vote
//	base: term, index, group time, length of the membership in three bytes,
//	      membership
//	runs: count, first index, term; what stands in the batches covered
//	0
const (
	directorySize = 16 // without rows
	rowBase       = 1
	rowState      = 2
	rowRemoval    = 4
	rowLost       = 8
	rowNote       = 16
	// directoryPart bounds a directory to this part of a segment. One that leaves
	// out rows covers nothing: if it is needed, it stays unknown what is lost.
	directoryPart = 4
	// coverPages is how many pages after a batch the last directory that covers it
	// begins. Two, because a stray write hurts two pages.
	coverPages = 2
)

// item is one record of a batch that directories still have to cover.
type item struct {
	replica     *replica
	kind        recordKind
	next        int32 // of the same replica, while a directory is made
	first, last uint64
	at          place
}

// recent is a batch that directories still have to cover.
type recent struct {
	durable position // where the batch before ends
	end     position
	items   int
}

// directory is what the store remembers to make the next one.
type directory struct {
	batches []recent
	items   []item // of batches, in their order
	rows    []*replica
	round   uint64 // counts the directories that were made
	// since is the first segment that no later segment's first batch covers yet,
	// sinceAt where the batch before its first one ends.
	since   uint64
	sinceAt position
}

// nowhere is where a directory that had to leave out rows begins: it covers nothing.
var nowhere = position{math.MaxUint64, 0}

// remember records a batch that is on disk. It forgets the batches that needed no later
// directory than this one's.
func (d *directory) remember(start, end, durable position, records []record) {
	// A directory on a batch's last page, or on the next, may be damaged with it. So a
	// batch stays in the list until one begins on a later page, or in a later segment.
	keep, items := 0, 0
	for ; keep < len(d.batches); keep++ {
		b := d.batches[keep]
		if b.end.segment == start.segment && start.offset/pageSize < (b.end.offset-1)/pageSize+coverPages {
			break
		}
		items += b.items
	}
	d.batches = slices.Delete(d.batches, 0, keep)
	d.items = slices.Delete(d.items, 0, items)
	before := len(d.items)
	for i := range records {
		if r := &records[i]; r.kind != kindDirectory && r.replica.id != (Replica{}) {
			it := item{replica: r.replica, kind: r.kind, at: place{start.segment, uint32(start.offset + int64(r.at)), uint32(r.size)}}
			if r.count > 0 {
				it.first, it.last = r.first, r.last()
			}
			d.items = append(d.items, it)
		}
	}
	d.batches = append(d.batches, recent{durable, end, len(d.items) - before})
}

// tells records what the directory of a batch that is on disk covers. That of the first
// batch in a segment should cover all segments before.
func (d *directory) tells(start, durable, from position) {
	if start.offset == segmentHeader && !from.after(d.sinceAt) {
		d.since, d.sinceAt = start.segment, durable
	}
}

// directoryFrom returns where the batches begin that the directory of a batch covers.
func directoryFrom(b []byte, records []record) position {
	if n := len(records); n > 0 && records[n-1].kind == kindDirectory {
		body := b[records[n-1].at+recordHeaderSize:]
		return position{binary.LittleEndian.Uint64(body), int64(binary.LittleEndian.Uint64(body[8:]))}
	}
	return nowhere
}

// putDirectory adds a directory to b, of at most some bytes, and returns its
// number of rows. The batch begins at offset of the active segment.
func (wr *writer) putDirectory(b []byte, most int) ([]byte, int) {
	at := len(b)
	b = extend(b, recordHeaderSize+directorySize)
	// The first batch of a segment covers all segments that no other does, if that fits.
	if wr.index.active.end == segmentHeader && wr.directory.since < wr.index.active.number {
		if with, rows, whole := wr.putSegments(b, at, at+most); whole {
			return with, rows
		}
	}
	from := wr.synced
	if len(wr.directory.batches) > 0 {
		from = wr.directory.batches[0].durable
	}
	with, rows, whole := wr.putRecent(b, at, at+most)
	if !whole || wr.index.unknown.size > 0 {
		// It must not be taken for one that covers everything.
		from = nowhere
	}
	return endDirectory(with, at, from, rows), rows
}

func endDirectory(b []byte, at int, from position, rows int) []byte {
	putRecordHeader(b[at:], kindDirectory, Replica{}, uint32(rows), 0)
	binary.LittleEndian.PutUint64(b[at+recordHeaderSize:], from.segment)
	binary.LittleEndian.PutUint64(b[at+recordHeaderSize+8:], uint64(from.offset))
	return b
}

// putSegments adds the rows of all that is in the segments that no directory covers
// yet. It looks at every run of every replica, once per segment.
func (wr *writer) putSegments(b []byte, at, most int) ([]byte, int, bool) {
	with, rows := wr.index.putTold(b, most, func(p place) bool {
		return p.size > 0 && p.segment >= wr.directory.since && p.segment < wr.index.active.number
	})
	if len(with) > most {
		return b, 0, false
	}
	from := wr.directory.sinceAt
	if wr.index.unknown.size > 0 {
		from = nowhere
	}
	return endDirectory(with, at, from, rows), rows, true
}

// putRecent adds the rows of the batches that are remembered.
func (wr *writer) putRecent(b []byte, at, most int) ([]byte, int, bool) {
	// The items of one replica are linked, so that it gets one row. round tells the links
	// of an earlier directory from those of this one, without clearing them.
	d := &wr.directory
	d.round++
	d.rows = d.rows[:0]
	for i := range d.items {
		it := &d.items[i]
		it.next = -1
		p := it.replica
		if p.row.round != d.round {
			p.row.round, p.row.first = d.round, int32(i)
			d.rows = append(d.rows, p)
		} else {
			d.items[p.row.last].next = int32(i)
		}
		p.row.last = int32(i)
	}
	rows := 0
	for i := range wr.index.peers.all {
		n := &wr.index.peers.all[i]
		if len(d.batches) > 0 && !d.batches[0].durable.after(position{n.at.segment, int64(n.at.offset)}) {
			b = putNoteRow(b, &n.Note)
			rows++
		}
	}
	for _, p := range d.rows {
		b = wr.putRecentRow(b, p)
		if rows++; len(b) > most {
			return b[:at+recordHeaderSize+directorySize], 0, false
		}
	}
	clear(d.rows)
	return b, rows, true
}

func (wr *writer) putRecentRow(b []byte, p *replica) []byte {
	if wr.index.replicas[p.id] != p {
		return putReplica(b, rowRemoval, p.id)
	}
	d := &wr.directory
	var flags uint64
	for i := p.row.first; i >= 0; i = d.items[i].next {
		switch d.items[i].kind {
		case kindBase:
			flags |= rowBase
		case kindState:
			flags |= rowState
		case kindLost:
			if p.lostAt.size > 0 {
				flags |= rowLost
			}
		}
	}
	b = putRow(b, flags, p)
	var w runWriter
	k := len(p.runs)
	for i := p.row.first; i >= 0; i = d.items[i].next {
		it := &d.items[i]
		if it.last == 0 {
			continue
		}
		// Mostly one item begins where the one before it ended: a search for each
		// took a tenth of what one set alone costs a node.
		if k == len(p.runs) || p.runs[k].first != it.first {
			k = p.find(it.first)
		}
		for ; k < len(p.runs) && p.runs[k].first <= it.last; k++ {
			// Entries that were truncated or moved since are no longer where the item says.
			if p.runs[k].at == it.at {
				b = w.put(b, p.runs[k])
			}
		}
	}
	return w.end(b)
}

func putReplica(b []byte, flags uint64, id Replica) []byte {
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, uint64(id.Group))
	b = binary.AppendUvarint(b, uint64(id.Incarnation))
	return binary.AppendUvarint(b, uint64(id.ID))
}

func putRow(b []byte, flags uint64, p *replica) []byte {
	b = putReplica(b, flags, p.id)
	b = binary.AppendUvarint(b, p.state.Commit)
	b = binary.AppendUvarint(b, p.last().Index)
	if flags&rowState != 0 {
		b = binary.AppendUvarint(b, p.state.Term)
		b = binary.AppendUvarint(b, uint64(p.state.Vote))
	}
	if flags&rowBase != 0 {
		b = binary.AppendUvarint(b, p.base.ID.Term)
		b = binary.AppendUvarint(b, p.base.ID.Index)
		b = binary.AppendUvarint(b, uint64(p.base.Time))
		// Three bytes for a varint whose value is known only after the membership.
		b = append(b, 0, 0, 0)
		at := len(b)
		b = p.base.Membership.Append(b)
		n := len(b) - at
		b[at-3], b[at-2], b[at-1] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)
	}
	return b
}

// runWriter joins runs that follow each other.
type runWriter struct{ first, term, count uint64 }

func (w *runWriter) put(b []byte, n run) []byte {
	if w.count > 0 && n.first == w.first+w.count && n.term == w.term && w.count+uint64(n.count) <= math.MaxUint32 {
		w.count += uint64(n.count)
		return b
	}
	b = w.flush(b)
	w.first, w.term, w.count = n.first, n.term, uint64(n.count)
	return b
}

func (w *runWriter) flush(b []byte) []byte {
	if w.count == 0 {
		return b
	}
	b = binary.AppendUvarint(b, w.count)
	b = binary.AppendUvarint(b, w.first)
	return binary.AppendUvarint(b, w.term)
}

func (w *runWriter) end(b []byte) []byte { return append(w.flush(b), 0) }

// row is one row of a directory that was read.
type row struct {
	flags   uint64
	replica Replica
	state   raft.HardState // Term and Vote only if flags says so
	last    uint64
	base    *Base
	note    Note // of rowNote, which has nothing else
}

// bare reports whether the row has no runs.
func (r *row) bare() bool { return r.flags == rowRemoval || r.flags == rowNote }

// directoryReader reads a directory's body. It takes no memory but for a base.
type directoryReader struct {
	b    []byte
	from position
	rows uint32
}

var errDirectory = errors.New("it is no directory")

func readDirectory(b []byte, rows uint32) (directoryReader, error) {
	if len(b) < directorySize {
		return directoryReader{}, errDirectory
	}
	return directoryReader{
		b: b[directorySize:], rows: rows,
		from: position{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))},
	}, nil
}

// check reads all rows for their form.
func (d directoryReader) check() error {
	for d.rows > 0 {
		r, err := d.row()
		if err != nil {
			return err
		}
		for !r.bare() {
			n, err := d.run()
			if err != nil {
				return err
			}
			if n.count == 0 {
				break
			}
		}
	}
	if len(d.b) > 0 {
		return errDirectory
	}
	return nil
}

func (d *directoryReader) number(err *error) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		*err = errDirectory
		return 0
	}
	d.b = d.b[n:]
	return v
}

// row reads the next row up to its runs.
func (d *directoryReader) row() (r row, err error) {
	d.rows--
	r.flags = d.number(&err)
	if r.flags == rowNote {
		r.note.Node = raft.NodeID(d.number(&err))
		r.note.Life = Life{d.number(&err), d.number(&err)}
		r.note.Trusted = Life{d.number(&err), d.number(&err)}
		r.note.Batch = Batch(d.number(&err))
		return r, err
	}
	group := d.number(&err)
	r.replica = Replica{raft.GroupID(group), raft.Incarnation(d.number(&err)), raft.ReplicaID(d.number(&err))}
	if r.flags&^(rowBase|rowState|rowLost) != 0 && r.flags != rowRemoval || group > math.MaxUint16 {
		err = errDirectory
	}
	if err != nil || r.flags == rowRemoval {
		return r, err
	}
	r.state.Commit, r.last = d.number(&err), d.number(&err)
	if r.flags&rowState != 0 {
		r.state.Term, r.state.Vote = d.number(&err), raft.ReplicaID(d.number(&err))
	}
	if r.flags&rowBase != 0 {
		base := Base{ID: raft.LogID{Term: d.number(&err), Index: d.number(&err)}, Time: raft.GroupTime(d.number(&err))}
		n := d.number(&err)
		if err != nil || n > uint64(len(d.b)) {
			return r, errDirectory
		}
		if base.Membership, err = raft.ReadMembership(d.b[:n]); err != nil {
			return r, err
		}
		d.b = d.b[n:]
		r.base = &base
	}
	return r, err
}

// run reads the next run of the row; one without entries is the end.
func (d *directoryReader) run() (n run, err error) {
	count := d.number(&err)
	if err != nil || count == 0 {
		return run{}, err
	}
	n.first, n.term = d.number(&err), d.number(&err)
	if n.count = uint32(count); err != nil || count > math.MaxUint32 || n.first == 0 || n.first+count < n.first {
		return run{}, errDirectory
	}
	return n, nil
}

// putTold adds the rows of all that is in certain places, and returns their number. It
// stops once b has more than most bytes.
func (x *index) putTold(b []byte, most int, within func(place) bool) ([]byte, int) {
	rows := 0
	for _, g := range slices.Sorted(maps.Keys(x.graves)) {
		if within(x.graves[g].at) {
			b = putReplica(b, rowRemoval, x.graves[g].replica)
			rows++
		}
	}
	for i := range x.peers.all {
		if n := &x.peers.all[i]; within(n.at) {
			b = putNoteRow(b, &n.Note)
			rows++
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(x.replicas), compareReplicas) {
		p := x.replicas[id]
		row := len(b)
		var flags uint64
		if p.base != nil && within(p.baseAt) {
			flags |= rowBase
		}
		if within(p.stateAt) {
			flags |= rowState
		}
		if within(p.lostAt) {
			flags |= rowLost
		}
		b = putRow(b, flags, p)
		runs := len(b)
		var w runWriter
		for _, n := range p.runs {
			if within(n.at) {
				b = w.put(b, n)
			}
		}
		b = w.end(b)
		if flags == 0 && len(b) == runs+1 {
			b = b[:row]
			continue
		}
		if rows++; len(b) > most {
			break
		}
	}
	return b, rows
}
