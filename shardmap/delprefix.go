package shardmap

import (
	"bytes"
	"fmt"
	"math"

	"muster/shardmap/pack"
)

// Limits of one delete of a prefix. An entry is applied in one go: whoever reads or writes the
// slot waits for it, and its events stay together in the history.
const (
	// DelPrefixMax bounds the keys that one command deletes: 0.7 ms with values of 128 bytes
	// (BenchmarkDelPrefix), two or three times as long where keys end.
	DelPrefixMax = 1024
	// DelPrefixBytesMax bounds the names of those keys together, in bytes. The last key may
	// exceed it. So the events of one entry are 2.5 MiB at most, of which [EntryPrevMax] are
	// previous values.
	DelPrefixBytesMax = 256 << 10
	// DelPrefixLookMax bounds the keys that one command looks at: those that it deletes, and those
	// that are newer than its bound and stay. Without it a command would pass by all that was
	// written to a full slot since.
	DelPrefixLookMax = 16 * DelPrefixMax
)

// Bugs that are planted to show that tests find them.
const (
	bugPrefixShort  = "del prefix leaves its last key"
	bugPrefixSilent = "del prefix without events"
	bugPrefixAgain  = "del prefix deletes again on a retry"
	bugPrefixSealed = "del prefix in a sealed slot"
	bugPrefixNewer  = "del prefix deletes what is newer than its bound"
	bugPrefixStuck  = "del prefix looks at newer keys without end"
)

// DelPrefix is what a [CommandDelPrefix] says. The body, which is its only item, is a msgpack
// array:
//
//	[prefix, limit, up to, after]
//
// The command goes through the keys of its slot that begin with the prefix, in the order of keys,
// from the first behind After. It deletes those whose version is UpTo at most, and passes by the
// others: limit of them, or fewer if their names come to [DelPrefixBytesMax] before, or if it has
// looked at [DelPrefixLookMax] keys. It says how many it deleted, and, if it has not come to the
// last key with the prefix, which one it looked at last: the next command goes on behind that. A
// slot without such a key is no error.
//
// Versions of a slot rise with each change, also when it moves to another group. A bound that was
// the slot's last version at some moment therefore spares whatever is written after it, however
// late the command comes.
type DelPrefix struct {
	Prefix []byte // empty: all keys; aliases the command, as After does
	Limit  uint32 // 1 to [DelPrefixMax]
	UpTo   uint64 // keys with a greater version stay; 0: none does
	After  []byte // keys up to this one are not looked at, and it; it has the prefix, or is empty: begin with the first
}

const delPrefixFields = 4

// Command returns the command that does this in a slot.
func (d *DelPrefix) Command(slot Slot) Command {
	b := pack.AppendArray(nil, delPrefixFields)
	b = pack.AppendBytes(b, d.Prefix)
	b = pack.AppendUint(b, uint64(d.Limit))
	b = pack.AppendUint(b, d.UpTo)
	b = pack.AppendBytes(b, d.After)
	return Command{Kind: CommandDelPrefix, Slot: slot, Items: [][]byte{b}}
}

// DelPrefixCommand returns the command that deletes the first keys of a slot that begin with a
// prefix, up to limit of them, whatever their versions are.
func DelPrefixCommand(slot Slot, prefix []byte, limit uint32) Command {
	return (&DelPrefix{Prefix: prefix, Limit: limit}).Command(slot)
}

// ReadDelPrefix reads the body of a [CommandDelPrefix].
func ReadDelPrefix(c *Command) (d DelPrefix, err error) {
	if c.Kind != CommandDelPrefix || len(c.Items) != 1 {
		return d, fmt.Errorf("%w: %s with %d items deletes no prefix", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("del prefix", delPrefixFields)
	d.Prefix, d.Limit = r.Bytes(), uint32(r.UintMax(math.MaxUint32))
	d.UpTo, d.After = r.Uint(), r.Bytes()
	return d, r.err()
}

// validateDelPrefix checks a client's delete of a prefix.
func (c *Command) validateDelPrefix(Limits) error {
	d, err := ReadDelPrefix(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	case len(d.Prefix) > KeyMax:
		return fmt.Errorf("%w: field prefix: %s; the limit is %d", ErrTooLarge, ShowKey(d.Prefix), KeyMax)
	case d.Limit == 0 || d.Limit > DelPrefixMax:
		return fmt.Errorf("%w: field limit: %d keys; want 1 to %d", ErrRequest, d.Limit, DelPrefixMax)
	case len(d.After) > KeyMax:
		return fmt.Errorf("%w: field after: %s; the limit is %d", ErrTooLarge, ShowKey(d.After), KeyMax)
	case len(d.After) > 0 && !bytes.HasPrefix(d.After, d.Prefix):
		return fmt.Errorf("%w: field after: %s; want a key that begins with %s, as the last answer names it, or none", ErrRequest, ShowKey(d.After), ShowKey(d.Prefix))
	}
	if slot, one := SlotOfPrefix(d.Prefix); one && slot != c.Slot {
		return fmt.Errorf("%w: field slot: %d; all keys that begin with %s are in slot %d", ErrRequest, c.Slot, ShowKey(d.Prefix), slot)
	}
	return nil
}

func describeDelPrefix(c *Command) (string, error) {
	d, err := ReadDelPrefix(c)
	if err != nil {
		return "", err
	}
	s := fmt.Sprintf("%s in slot %d, up to %d keys", ShowKey(d.Prefix), c.Slot, d.Limit)
	if d.UpTo > 0 {
		s += fmt.Sprintf(", up to version %d", d.UpTo)
	}
	if len(d.After) > 0 {
		s += " after " + ShowKey(d.After)
	}
	return s, nil
}

// readDelPrefix reads the body of a delete of a prefix, for deletePrefix.
func (b *body) readDelPrefix(c *Command) (err error) {
	b.prefix, err = ReadDelPrefix(c)
	return err
}

// deletePrefix is [CommandDelPrefix]. Like a del it takes a version even if it finds no key.
func deletePrefix(s *slotState, m *Map, _ *Command) Result {
	d, id := m.body.prefix, m.turn.id
	m.body.prefix = DelPrefix{} // it aliases the entry, which does not stay
	s.setLast(s.nextVersion(id))
	if bug(bugPrefixSilent) {
		defer func(tail *historyBlock) { m.history.tail = tail }(m.history.tail)
		m.history.tail = nil
	}
	var last []byte // the key that was looked at last; a copy, for what is removed does not stay
	deleted, looked, size, more := uint32(0), 0, 0, false
	for at := s.records.seek(d.first()); ; {
		rec := at.record()
		if rec == nil {
			break
		}
		key := rec.key() // of the record's bytes, which stay until it is removed
		if len(d.After) > 0 && looked == 0 && bytes.Equal(key, d.After) {
			at.next()
			continue
		}
		if !bytes.HasPrefix(key, d.Prefix) {
			told(m, rec) // this key says that there are no others
			break
		}
		if more = deleted >= d.Limit || size >= DelPrefixBytesMax || looked >= DelPrefixLookMax && !bug(bugPrefixStuck); more {
			break
		}
		looked++
		last = append(last[:0], key...)
		if d.UpTo > 0 && rec.version() > d.UpTo && !bug(bugPrefixNewer) {
			// The record is checked only where it stays. One that goes is not read beyond its key: its value is in no
			// cache, and to check a million took a tenth of the time of their delete. A record whose version memory has
			// made lower goes here alone, as by a del; the digests of the replicas tell.
			told(m, rec)
			at.next()
			continue
		}
		switch {
		case bug(bugPrefixShort) && deleted+1 == d.Limit:
			deleted++
			at.next()
		case s.remove(m, key, hashKey(key), s.last, EventDel):
			deleted, size = deleted+1, size+len(last)
			at = s.records.seek(last) // the removal may have joined leaves
		default:
			m.noteFault(m.turn.slot, "key %s, which is in the order of keys, can't be found", ShowKey(key))
			at.next()
		}
	}
	if !more {
		last = nil
	}
	m.turn.detail = appendDelPrefixDetail(m.turn.detail[:0], deleted, more, last)
	return Result{Status: StatusApplied, ID: id, Version: s.last, Detail: m.turn.detail}
}

// first is the key from which a delete of a prefix looks at keys, if there is one of that name.
func (d *DelPrefix) first() []byte {
	if len(d.After) > 0 {
		return d.After
	}
	return d.Prefix
}
