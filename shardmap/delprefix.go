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
)

// Bugs that are planted to show that tests find them.
const (
	bugPrefixShort  = "del prefix leaves its last key"
	bugPrefixSilent = "del prefix without events"
	bugPrefixAgain  = "del prefix deletes again on a retry"
	bugPrefixSealed = "del prefix in a sealed slot"
)

// DelPrefix is what a [CommandDelPrefix] says. The body, which is its only item, is a msgpack
// array:
//
//	[prefix, limit]
//
// The command deletes the first keys of its slot that begin with the prefix, in the order of
// keys: limit of them, or fewer if their names come to [DelPrefixBytesMax] before. It says how
// many it deleted and whether more are left. A slot without such a key is no error.
type DelPrefix struct {
	Prefix []byte // empty: all keys; aliases the command
	Limit  uint32 // 1 to [DelPrefixMax]
}

const delPrefixFields = 2

// DelPrefixCommand returns the command that deletes keys of a slot that begin with a prefix, up
// to limit of them.
func DelPrefixCommand(slot Slot, prefix []byte, limit uint32) Command {
	b := pack.AppendArray(nil, delPrefixFields)
	b = pack.AppendBytes(b, prefix)
	b = pack.AppendUint(b, uint64(limit))
	return Command{Kind: CommandDelPrefix, Slot: slot, Items: [][]byte{b}}
}

// ReadDelPrefix reads the body of a [CommandDelPrefix].
func ReadDelPrefix(c *Command) (d DelPrefix, err error) {
	if c.Kind != CommandDelPrefix || len(c.Items) != 1 {
		return d, fmt.Errorf("%w: %s with %d items deletes no prefix", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("del prefix", delPrefixFields)
	d.Prefix, d.Limit = r.Bytes(), uint32(r.UintMax(math.MaxUint32))
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
	return fmt.Sprintf("%s in slot %d, up to %d keys", ShowKey(d.Prefix), c.Slot, d.Limit), nil
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
	deleted, size, more := uint32(0), 0, false
	for at := s.records.seek(d.Prefix); ; {
		rec := at.record()
		if rec == nil {
			break
		}
		key := rec.key() // of the record's bytes, which stay until it is removed
		if !bytes.HasPrefix(key, d.Prefix) {
			told(m, rec) // this key says that there are no others
			break
		}
		if more = deleted >= d.Limit || size >= DelPrefixBytesMax; more {
			break
		}
		switch {
		case bug(bugPrefixShort) && deleted+1 == d.Limit:
			deleted++
			at.next()
		case s.remove(m, key, hashKey(key), s.last, EventDel):
			deleted, size = deleted+1, size+len(key)
			at = s.records.seek(d.Prefix) // the removal may have joined leaves
		default:
			m.noteFault(m.turn.slot, "key %s, which is in the order of keys, can't be found", ShowKey(key))
			at.next()
		}
	}
	m.turn.detail = appendDelPrefixDetail(m.turn.detail[:0], deleted, more)
	return Result{Status: StatusApplied, ID: id, Version: s.last, Detail: m.turn.detail}
}
