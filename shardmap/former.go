package shardmap

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// FormersMax bounds the former owners that a slot remembers. Each group counts once, so
// only a slot that has been in more groups forgets one.
const FormersMax = 16

// Former is a group that owned a slot, and the log id of the seal with which it last gave
// the slot up.
type Former struct {
	Group  raft.GroupID
	Sealed raft.LogID
}

// formers are those of one slot. They never change: a takeover puts others in their place.
// A slot without any has no formers.
type formers struct {
	list []Former // in the order of their seals; each group once
	more bool     // there were others before, which are forgotten
}

// with returns f and a further one, the newest. f may be nil.
func (f *formers) with(n Former) *formers {
	made := new(formers)
	if f != nil {
		made.list, made.more = slices.Clone(f.list), f.more
	}
	// What an earlier seal of the same group has met, the later one has too.
	made.list = slices.DeleteFunc(made.list, func(o Former) bool { return o.Group == n.Group })
	made.list = append(made.list, n)
	if over := len(made.list) - FormersMax; over > 0 {
		made.list, made.more = slices.Delete(made.list, 0, over), true
	}
	return made
}

// sum is the formers' part of the slot's digest: nothing if there are none, so that a slot
// that never moved has the digest that it always had.
func (f *formers) sum() uint64 {
	if f == nil {
		return 0
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+formersMaxBytes), 5) // as in slotDigest
	return xxhash.Sum64(f.append(b))
}

// Formers are written as their number, whether there were more (0 or 1), and for each,
// oldest first, group, term and index, little-endian.
const (
	formersHead = 2
	formerBytes = 18
	// formersMaxBytes is the most that they take.
	formersMaxBytes = formersHead + FormersMax*formerBytes
)

func (f *formers) append(b []byte) []byte {
	if f == nil {
		return append(b, 0, 0)
	}
	more := byte(0)
	if f.more {
		more = 1
	}
	b = append(b, byte(len(f.list)), more)
	for _, o := range f.list {
		b = binary.LittleEndian.AppendUint16(b, uint16(o.Group))
		b = binary.LittleEndian.AppendUint64(b, o.Sealed.Term)
		b = binary.LittleEndian.AppendUint64(b, o.Sealed.Index)
	}
	return b
}

// formersLen returns how long formers are, from their head; false if they are too many, or
// none that are said to be more.
func formersLen(head []byte) (n int, ok bool) {
	count, more := int(head[0]), head[1]
	return formersHead + count*formerBytes, count <= FormersMax && more <= 1 && (count == FormersMax || more == 0)
}

// readFormers reads what append wrote, all of b, whose length is right. ok is false if it
// can't have been written.
func readFormers(b []byte) (f *formers, ok bool) {
	if b[0] == 0 {
		return nil, true
	}
	f = &formers{list: make([]Former, b[0]), more: b[1] == 1}
	for i := range f.list {
		at := b[formersHead+i*formerBytes:]
		o := Former{raft.GroupID(binary.LittleEndian.Uint16(at)), raft.LogID{Term: binary.LittleEndian.Uint64(at[2:]), Index: binary.LittleEndian.Uint64(at[10:])}}
		if o.Group == 0 || o.Group > raft.GroupMax || o.Sealed.Index == 0 || slices.ContainsFunc(f.list[:i], func(x Former) bool { return x.Group == o.Group }) {
			return nil, false
		}
		f.list[i] = o
	}
	return f, true
}

// Met reports whether this copy of a slot has all that was in it at a log id of another
// group, which owned it: that group gave it up at the log id or later, and it has come
// here since. A slot that has forgotten a former owner can't tell, and says that it has.
// The goroutine that applies calls it.
func (m *Map) Met(s Slot, g raft.GroupID, id raft.LogID) bool {
	st := m.slot(s)
	if st == nil || st.formers == nil {
		return false
	}
	for _, o := range st.formers.list {
		if o.Group == g {
			return o.Sealed.NewerOrEqual(id)
		}
	}
	return st.formers.more
}

// Origin says how a slot came to a group, for whoever reads its events in their order.
type Origin struct {
	Held   bool // the group serves it, or has sealed it
	Coming bool // the group has some of it, and may take it over
	Moved  bool // some move of it was decided about here
	// Formers are those that the slot remembers, in the order of their seals; More: there
	// were others before. A slot that is not held has none. Nobody changes them.
	Formers []Former
	More    bool
}

// Origin returns how a slot came here. The goroutine that applies calls it.
func (m *Map) Origin(s Slot) Origin {
	o := Origin{Moved: m.marks.of(s) != 0}
	st := m.held(s)
	if st == nil {
		o.Coming = m.imports.of(s) != nil
		return o
	}
	o.Held = true
	if st.formers != nil {
		o.Formers, o.More = st.formers.list, st.formers.more
	}
	return o
}
