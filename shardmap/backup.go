package shardmap

import (
	"fmt"

	"muster/raft"
)

// Backup is what a map serves as it was between two entries, for one reader that takes its keys and
// services a piece at a time while further entries are applied. Taking it costs the goroutine that
// applies some 0.2 µs for each slot that the group serves, as a snapshot does.
//
// It costs the memory of what is changed until its slot was read: of a slot that has not been
// read, a writer copies the leaf and leaves the old record. So it is at most as much again as the
// slots have, if all of them are written anew meanwhile. A slot that was read costs nothing more.
type Backup struct {
	m    *Map           // for the planted bug alone
	now  raft.GroupTime // by which it is told how long a key lasts
	runs []SlotRange

	slots []*SlotCopy // those that were not read to their end; owned by the reader
	kind  int         // of the first one, the kind that is read, and the place in it
	at    cursor
	begun bool
	sum   uint64 // of the hashes of the slot's records that were read
	count int    // of the kind's
}

// bugBackupOfMoments is planted to show that its tests find it: each slot is shown as it is when
// it is read.
const bugBackupOfMoments = "backup of several moments"

// BackupOf returns what m serves now. now is the time of its group. The goroutine that applies
// calls it, between two entries. The reader must call [Backup.Release], on any goroutine.
func BackupOf(m *Map, now raft.GroupTime) *Backup {
	b := &Backup{m: m, now: now}
	var served []Slot
	for s := range Slot(Slots) {
		if c, owned := m.Copy(s); owned {
			b.slots, served = append(b.slots, c), append(served, s)
		}
	}
	b.runs = SlotRanges(served)
	return b
}

// Slots returns the slots that the backup shows, as [SlotRanges] makes them: those that the group
// served at its moment, so none that was sealed.
func (b *Backup) Slots() []SlotRange { return b.runs }

// Release gives up what was not read. A second Release does nothing.
func (b *Backup) Release() {
	for _, c := range b.slots {
		c.Release()
	}
	b.slots, b.begun = nil, false
}

// Next calls f for the next rows, by slot, then kind, then name. It stops before a row by which
// they would have more than limit bytes, as [BackupRow.Append] makes them, or there would be more
// than most; one row is always passed on, whatever its size. It reports whether there is more. A
// record that is no longer as it was written is an error: a backup with wrong bytes in it is worse than none.
//
// The row that f is given is good until f returns.
func (b *Backup) Next(limit, most int, f func(row *BackupRow)) (more bool, err error) {
	used := 0
	for n := 0; len(b.slots) > 0; {
		rec, err := b.record()
		if err != nil {
			return false, err
		}
		if rec == nil {
			continue // the slot was read
		}
		if k := &b.slots[0].kinds[b.kind]; k.kind != KindLease && k.kind != KindVersion {
			size := BackupRowHead + rec.keyLen() + rec.valueLen()
			if n > 0 && (used+size > limit || n == most) {
				return true, nil
			}
			row := BackupRow{Kind: k.kind, Name: rec.key(), Value: rec.value(), Version: rec.version()}
			if rec.ends() != endsNever {
				end := endOfKey(b.slots[0].slot, rec, b.slots[0].ahead, b.slots[0].leaseOf)
				row.Ends, row.Remaining = true, max(end.Remaining(b.now), 1)
			}
			f(&row)
			used, n = used+size, n+1
		}
		b.sum, b.count = b.sum+rec.hash(), b.count+1
		b.at.next()
	}
	return false, nil
}

// record returns the record that is next in the first slot, whose bytes are as they were written. After the last it
// returns nil, and the slot is released.
func (b *Backup) record() (record, error) {
	c := b.slots[0]
	if !b.begun {
		if bug(bugBackupOfMoments) {
			c = b.newer(c)
		}
		if c.wrong != "" {
			return nil, fmt.Errorf("%w: slot %d: %s", ErrInvariant, c.slot, c.wrong)
		}
		b.begun, b.kind, b.sum, b.count = true, 0, 0, 0
		b.at = c.kinds[0].view.seek(nil)
	}
	for {
		k := &c.kinds[b.kind]
		if rec := b.at.record(); rec != nil {
			if h := rec.computeHash(); h != rec.hash() || rec.kind() != k.kind {
				return nil, rec.rotten(c.slot, h)
			}
			return rec, nil
		}
		if b.count != k.count {
			return nil, fmt.Errorf("%w: slot %d: %d records of kind %d were reached, %d were counted", ErrInvariant, c.slot, b.count, k.kind, k.count)
		}
		if b.kind+1 == len(c.kinds) {
			break
		}
		b.kind, b.count = b.kind+1, 0
		b.at = c.kinds[b.kind].view.seek(nil)
	}
	if b.sum != c.recordSum {
		return nil, fmt.Errorf("%w: slot %d: its records sum up to %016x, kept was %016x", ErrInvariant, c.slot, b.sum, c.recordSum)
	}
	c.Release()
	b.slots, b.begun = b.slots[1:], false
	return nil, nil
}

// newer puts the slot as it is now in the place of a copy.
func (b *Backup) newer(c *SlotCopy) *SlotCopy {
	if now, owned := b.m.Copy(c.slot); owned {
		c.Release()
		b.slots[0] = now
	}
	return b.slots[0]
}
