package shardmap

// lookup finds a record by its key: a flat table with open addressing, one
// cache line for most questions. It belongs to the writer and to readers under
// the slot's lock; copies do without it.
//
// An entry is tag << 32 | ref + 1; 0 is an empty one. The tag is 32
// bits of the key's hash from which its slot does not follow. It gives the
// entry's home = tag * len / 2^32, so the table can have any length and grows
// without reading a key. An entry whose home is taken goes to the next free
// position, round the end.
//
// Growing moves all entries, 10 ms for a slot of a million keys by estimate. It
// limits the keys that one slot should have; at ten million, a table that grows
// piece by piece would be due.
type lookup struct {
	entries []uint64
	count   int
}

const (
	lookupMin = 8
	// At 7/8 a search for a missing key visits some 32 entries, 4 consecutive
	// cache lines; after growing to 3/2 it visits 4.
	lookupFull = 7.0 / 8
	// A table of which less than a quarter is taken shrinks: 32 bytes an entry, where a
	// full one has 9.
	lookupSparse = 4
)

func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

func (l *lookup) home(tag uint32) int { return int(uint64(tag) * uint64(len(l.entries)) >> 32) }

func refOf(entry uint64) ref { return ref(uint32(entry) - 1) }

func entryOf(tag uint32, r ref) uint64 { return uint64(tag)<<32 | uint64(r+1) }

// position returns where the entry with this tag and ref is, if there is one. It
// reads no record.
func (l *lookup) position(tag uint32, r ref) (int, bool) {
	if l.count == 0 {
		return 0, false
	}
	want := entryOf(tag, r)
	for i := l.home(tag); ; i = l.after(i) {
		switch l.entries[i] {
		case want:
			return i, true
		case 0:
			return 0, false
		}
	}
}

func (l *lookup) after(i int) int {
	if i++; i == len(l.entries) {
		return 0
	}
	return i
}

func (l *lookup) add(tag uint32, r ref) {
	if float64(l.count+1) > lookupFull*float64(len(l.entries)) {
		l.resize(max(lookupMin, len(l.entries)*3/2))
	}
	l.insert(entryOf(tag, r))
	l.count++
}

func (l *lookup) insert(entry uint64) {
	i := l.home(uint32(entry >> 32))
	for l.entries[i] != 0 {
		i = l.after(i)
	}
	l.entries[i] = entry
}

func (l *lookup) resize(n int) {
	old := l.entries
	l.entries = make([]uint64, n)
	for _, e := range old {
		if e != 0 {
			l.insert(e)
		}
	}
}

// remove empties position i and moves up the entries that it had displaced. A
// mark in its place would be simpler, but searches would pass it for ever.
func (l *lookup) remove(i int) {
	n := len(l.entries)
	for j := l.after(i); l.entries[j] != 0; j = l.after(j) {
		// The entry at j may move to i unless its home lies between them: a
		// search begins at the home and would stop before it came back to i.
		home := l.home(uint32(l.entries[j] >> 32))
		if (j-home+n)%n >= (j-i+n)%n {
			l.entries[i] = l.entries[j]
			i = j
		}
	}
	l.entries[i] = 0
	// Half as long it is half full at most, and a third of its entries has to come before
	// it grows, half of them to go before it shrinks again.
	if l.count--; n > lookupMin && l.count < n/lookupSparse {
		l.resize(max(lookupMin, n/2))
	}
}
