package shardmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// The state of a map is kept as a stream of bytes, equal for equal states,
// little-endian:
//
//	 0  8    "mustkeys"
//	 8  u16  format: 2; 3 with seals, imports or decisions about moves; 4 with a history; 5 with
//	         rules for versions, too; 6 with shards of points
//	10  u16  number of slots that the group owns and has not sealed
//	12  u16  number of runs of slots with a mark (own.go)
//	14  u16  with format 5, and with 6 if there are any, the length of the rules, else zero
//	16  u64  the number of the group's founding; 0: it was not founded
//	24  u64  the xxhash64 of bytes 8 to 23, and of all that stands before the snapshots
//	32       from format 3 on what there is of moves (movesnapshot.go), with 3 at least one
//	         of them:
//	           0  u16  number of sealed slots
//	           2  u16  number of imports
//	           4  u32  number of decisions
//	         the runs, by slot, each as long as it can be:
//	           0  u16  the first slot
//	           2  u16  the last slot
//	           4  u64  the mark of all of them, which is not 0
//	         the numbers of the slots, u16 each, ascending, all of them with a mark
//	         from format 3 on the seals, the imports, the decisions
//	         the rules, as the command versions has them (versionrules.go)
//	         the snapshot of each slot (snapshot.go), in that order; then those of sealed
//	         slots, then those of imports
//	         from format 4 on the history (historysnapshot.go)
//	         with format 6 the shards (shardsnapshot.go)
//
// The holder of the stream knows where the state stands (log id, group time), and
// has checksums. Each slot's digest covers its contents.
const (
	mapMagic  = "mustkeys"
	mapHeader = 32
	mapDigest = 24 // where the digest stands
	mapRun    = 12

	mapFormatBare    = 2 // without seals, imports and decisions
	mapFormatMoves   = 3
	mapFormatHistory = 4
	mapFormatRules   = 5
	mapFormatShards  = 6
)

// MapCopy is a map as it was at one entry. One goroutine at a time may use it.
type MapCopy struct {
	slots   []*SlotCopy // as they are written: served ones, sealed ones, imports
	served  int         // how many are served
	founded uint64
	marks   marks
	moves   movesCopy
	rules   VersionRules
	history historyCopy
	shards  shardsCopy
	written bool
	wrong   string   // as in SlotCopy, beside the slots
	left    *LeftOut // nil: what memory no longer holds as it was written is an error
}

// CopyAll returns all slots as they are now. The goroutine that applies calls it,
// between two entries. It costs some 0.2 µs for each slot.
func (m *Map) CopyAll() *MapCopy {
	c := &MapCopy{founded: m.founded, marks: m.marks, rules: m.keeping.rules}
	headFaults(m, func(f PartFault) { c.wrong = f.String() })
	for s := range Slot(Slots) {
		if copied, owned := m.Copy(s); owned {
			c.slots = append(c.slots, copied)
		}
	}
	c.served = len(c.slots)
	c.copyMoves(m)
	c.history = m.history.copy()
	c.shards = m.groupShards.copy()
	return c
}

// Trim implements [repl.Trimmer]: it leaves out the history, but for less than a block of it.
// A replica that begins with the rest has no events from before to show to watches.
func (c *MapCopy) Trim() { c.history.trim() }

// Release gives the copy up. A second Release does nothing.
func (c *MapCopy) Release() {
	for _, s := range c.slots {
		s.Release()
	}
	c.history.release()
	c.slots, c.shards, c.written = nil, shardsCopy{}, true
}

// WriteTo writes the state to w, once. Each slot is released as soon as it is
// written, so that writes to it copy nothing from then on. After an error the
// caller must still call Release.
func (c *MapCopy) WriteTo(w io.Writer) (int64, error) {
	if c.written {
		return 0, fmt.Errorf("%w: write a copy that was written or released before", ErrInvariant)
	}
	c.written = true
	if c.left == nil && c.wrong != "" {
		return 0, fmt.Errorf("%w: write the state: %s", ErrInvariant, c.wrong)
	}
	s := streamWriter{w: w}
	head := c.head()
	err := s.room(len(head))
	s.b = append(s.b, head...)
	for _, slot := range c.slots {
		if err == nil {
			err = slot.write(&s, c.left)
		}
		if err != nil {
			return s.total, fmt.Errorf("write slot %d: %w", slot.Slot(), err)
		}
		slot.Release()
	}
	if c.history.raised != 0 && err == nil {
		err = c.history.write(&s, c.left)
		c.history.release()
	}
	if err != nil {
		return s.total, fmt.Errorf("write the history: %w", err)
	}
	if c.shards.any() {
		if err := c.shards.write(&s); err != nil {
			return s.total, fmt.Errorf("write the shards: %w", err)
		}
	}
	if err := s.flush(); err != nil {
		return s.total, fmt.Errorf("write slots: %w", err)
	}
	return s.total, nil
}

// head is what stands before the slots.
func (c *MapCopy) head() []byte {
	format := uint16(mapFormatBare)
	var rules []byte
	if len(c.rules) > 0 {
		rules = c.rules.append(nil)
	}
	switch {
	case c.shards.any(): // a group that has some was raised, and so was one that has rules
		format = mapFormatShards
	case len(rules) > 0:
		format = mapFormatRules
	case c.history.raised != 0:
		format = mapFormatHistory
	case c.moves.any():
		format = mapFormatMoves
	}
	b := append(make([]byte, 0, mapHeader+mapRun*len(c.marks)+2*c.served+c.moves.size()+len(rules)), mapMagic...)
	b = binary.LittleEndian.AppendUint16(b, format)
	b = binary.LittleEndian.AppendUint16(b, uint16(c.served))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.marks)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(rules)))
	b = binary.LittleEndian.AppendUint64(b, c.founded)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = c.moves.counts().append(b, format)
	for _, run := range c.marks {
		b = binary.LittleEndian.AppendUint16(b, uint16(run.From))
		b = binary.LittleEndian.AppendUint16(b, uint16(run.To))
		b = binary.LittleEndian.AppendUint64(b, run.mark)
	}
	for _, slot := range c.slots[:c.served] {
		b = binary.LittleEndian.AppendUint16(b, uint16(slot.Slot()))
	}
	b = append(c.moves.append(b), rules...)
	binary.LittleEndian.PutUint64(b[mapDigest:], headDigest(b[:mapHeader], b[mapHeader:]))
	return b
}

// headDigest is the digest of a head and of what stands between it and the snapshots.
func headDigest(head []byte, rest ...[]byte) uint64 {
	d := xxhash.New()
	_, _ = d.Write(head[len(mapMagic):mapDigest]) // a hash takes everything
	for _, b := range rest {
		_, _ = d.Write(b)
	}
	return d.Sum64()
}

// Load makes m the state that a [MapCopy] wrote, which must be all of r. m owns
// the slots in it, and stands at the entry at, at group time t. Load trusts
// nothing, like [ReadSnapshot]. After an error m is unchanged.
//
// Nobody else may use m yet. What it held before stays in memory
// until Load is done.
func (m *Map) Load(r io.Reader, at raft.LogID, t raft.GroupTime) error {
	d := snapshotReader{streamReader: streamReader{r: r}}
	loaded := loadedMap{slots: new(slotPages), quota: newSessionQuota()}
	if err := d.whole(&loaded, m.history); err != nil {
		return d.fail(err)
	}
	if h := loaded.history; h != nil && h.last.ID.Index > at.Index {
		return fmt.Errorf("%w: its history ends with entry %s, the state stands at %s", ErrSnapshot, h.last.ID, at)
	}
	loaded.quota.sessionsMax, loaded.quota.outcomesMax, loaded.quota.detailsMax = m.quota.sessionsMax, m.quota.outcomesMax, m.quota.detailsMax
	m.slots.Store(loaded.slots)
	m.hold(loaded.founded, loaded.marks)
	m.decide(loaded.decisions)
	m.quota, m.imports, m.results, m.noted = loaded.quota, loaded.imports, nil, noted{}
	loaded.shards.keeps = m.groupShards.keeps
	m.groupShards = loaded.shards
	m.keeping = keeping{some: versionsIn(m)}
	m.keeping.follow(loaded.rules)
	m.due = raft.GroupTime(endless)
	m.each(func(st *slotState) { st.noteDue(m) })
	m.history.load(loaded.history, t)
	m.services.changes++
	m.tallies.restart()
	m.advance(at, t)
	return nil
}

// loadedMap is a state that was read, and is no map's yet.
type loadedMap struct {
	slots     *slotPages
	founded   uint64
	marks     marks
	imports   imports
	decisions decisions
	quota     sessionQuota
	rules     VersionRules
	history   *loadedHistory // nil: the map keeps none
	shards    groupShards
}

// whole reads all of a state into m, which is empty, for a map with the history h.
func (d *snapshotReader) whole(m *loadedMap, h *History) error {
	head, err := d.take(mapHeader)
	if err != nil {
		return err
	}
	if string(head[:8]) != mapMagic {
		return fmt.Errorf("begins with %q, want %q", head[:8], mapMagic)
	}
	format := binary.LittleEndian.Uint16(head[8:])
	if err := mapFormats.check(format); err != nil {
		return err
	}
	n, runs := int(binary.LittleEndian.Uint16(head[10:])), int(binary.LittleEndian.Uint16(head[12:]))
	rules := int(binary.LittleEndian.Uint16(head[14:]))
	switch {
	case (rules != 0) != (format == mapFormatRules) && format < mapFormatShards:
		return fmt.Errorf("state of format %d with %d bytes of rules: %w", format, rules, ErrLevel)
	case n > Slots || runs > Slots:
		return fmt.Errorf("%d slots, %d runs of slots with a mark; there are %d slots", n, runs, Slots)
	}
	head = bytes.Clone(head) // it is good until the next call
	var counts moveCounts
	if format >= mapFormatMoves {
		if counts, err = d.moveCounts(format); err != nil {
			return err
		}
	}
	// The counts of moves were taken, and are part of what the digest covers.
	b, err := d.take(mapRun*runs + 2*n + counts.size() + rules)
	if err != nil {
		return err
	}
	if got, want := headDigest(head, counts.append(nil, format), b), binary.LittleEndian.Uint64(head[mapDigest:]); got != want {
		return fmt.Errorf("what was read of marks and slots has digest %016x, the state says %016x", got, want)
	}
	m.founded = binary.LittleEndian.Uint64(head[16:])
	if m.marks, err = readMarks(b[:mapRun*runs]); err != nil {
		return err
	}
	owned, err := readOwned(b[mapRun*runs:][:2*n], m.marks)
	if err != nil {
		return err
	}
	b = b[mapRun*runs+2*n:]
	if rules > 0 {
		if m.rules, err = readVersionRules(b[counts.size():]); err != nil {
			return err
		}
		if len(m.rules) == 0 {
			return fmt.Errorf("state of format %d without rules", format)
		}
	}
	moves, err := readMoves(b[:counts.size()], counts, m.marks, owned)
	if err != nil {
		return err
	}
	m.quota.oldest = math.MaxUint64
	for _, want := range owned {
		st, err := d.slotAt(want)
		if err != nil {
			return err
		}
		m.slots.put(want, st)
		m.quota.add(&st.sessions)
	}
	if err := d.moved(m, moves); err != nil {
		return err
	}
	if format >= mapFormatHistory {
		if m.history, err = d.history(h); err != nil {
			return err
		}
	}
	if format >= mapFormatShards {
		if m.shards, err = d.shards(); err != nil {
			return err
		}
	}
	return d.end()
}

// slotAt reads the snapshot of a slot, which must be next.
func (d *snapshotReader) slotAt(want Slot) (*slotState, error) {
	s, err := d.slot()
	if err != nil {
		return nil, err
	}
	if s.slot != want {
		return nil, fmt.Errorf("slot %d, due is %d", s.slot, want)
	}
	return s.state, nil
}

// readMarks reads runs of marks, which must be as they are kept.
func readMarks(b []byte) (m marks, err error) {
	for i := range len(b) / mapRun {
		at := b[mapRun*i:]
		r := markRun{SlotRange{Slot(binary.LittleEndian.Uint16(at)), Slot(binary.LittleEndian.Uint16(at[2:]))}, binary.LittleEndian.Uint64(at[4:])}
		switch {
		case r.From > r.To || r.To >= Slots || i > 0 && r.From <= m[i-1].To:
			return nil, fmt.Errorf("marks of slots %s are out of order", r)
		case r.mark == 0 || i > 0 && r.From == m[i-1].To+1 && r.mark == m[i-1].mark:
			return nil, fmt.Errorf("mark %d of slots %s is no run of its own", r.mark, r)
		}
		m = append(m, r)
	}
	return m, nil
}

// readOwned reads the numbers of slots, of which each must have a mark.
func readOwned(b []byte, m marks) ([]Slot, error) {
	var marks allMarks
	marks.fill(m)
	owned := make([]Slot, len(b)/2)
	for i := range owned {
		s := Slot(binary.LittleEndian.Uint16(b[2*i:]))
		switch {
		case s >= Slots || i > 0 && owned[i-1] >= s:
			return nil, fmt.Errorf("slot %d is out of order", s)
		case marks[s] == 0:
			return nil, fmt.Errorf("slot %d is owned, and no entry gave it", s)
		}
		owned[i] = s
	}
	return owned, nil
}
