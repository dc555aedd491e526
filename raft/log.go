package raft

import (
	"slices"
	"sort"
)

// log is the part of the log that the core needs: the terms of all entries,
// the newest entries themselves, how far each stage has come.
//
//	base          applied   handed   durable   written      last
//	  |  terms .....|..........|.........|..........|..........|
//	        | tail .......................................... |
//
// Invariant: base <= applied <= handed <= min(commit, durable), and
// durable <= written <= last. Commit may be past durable on a follower.
//
// The arrays behind tail are shared with Readies and messages, so an element
// is written at most once: truncate cuts the capacity with the length, and the
// next append moves to a new array.
type log struct {
	base  LogID
	terms []TermRun // of the entries after base
	last  LogID
	time  GroupTime // of the last entry

	tail []Entry // the entries first to last.Index
	// passed is the time of the entry before tail, or an earlier one where that is not known:
	// if a log that was restored has a tail, that of its entries says no less.
	passed GroupTime
	first  uint64
	bytes  int // of tail
	dead   int // bytes of entries before tail that its array still holds

	commit  uint64
	durable uint64 // synced, as far as it still stands
	written uint64 // handed out to be written
	handed  uint64 // handed out to be applied
	applied uint64

	waiting int // bytes of the entries after applied
}

const (
	// tailPart is which part of [Config.TailBytesMax] a log keeps of entries
	// that no follower lacks: an eighth, 128 KiB. They are for the next leader,
	// whose followers may lack the last of them. As much as for a follower
	// that lags, tried first, was 15 MB with eight busy groups, and as much
	// for the garbage collector to look at.
	tailPart = 8
	// deadTimes is how many times as much may be dead before a short tail is
	// moved.
	deadTimes = 3
	tailShort = 2048 // entries, 112 KiB of them
)

func (l *log) termAt(index uint64) (uint64, bool) {
	switch {
	case index == l.last.Index:
		return l.last.Term, true
	case index == l.base.Index:
		return l.base.Term, true
	case index < l.base.Index || index > l.last.Index:
		return 0, false
	}
	return l.terms[l.run(index)].Term, true
}

// run returns which of terms the entry at index, after base, belongs to.
func (l *log) run(index uint64) int {
	return sort.Search(len(l.terms), func(i int) bool { return l.terms[i].First > index }) - 1
}

// conflict returns the term of the entry at index and the first index of that
// term, as a rejected append answer names it.
func (l *log) conflict(index uint64) LogID {
	run := l.terms[l.run(index)]
	return LogID{Term: run.Term, Index: run.First}
}

// before returns the last index up to limit whose term is at most term: the last
// place where this log may still agree with one that has only such terms up to
// there. It is at least the base.
func (l *log) before(limit, term uint64) uint64 {
	limit = min(limit, l.last.Index)
	if limit <= l.base.Index {
		return l.base.Index
	}
	for i := l.run(limit); i >= 0; i-- {
		if l.terms[i].Term <= term {
			return limit
		}
		limit = l.terms[i].First - 1
	}
	return l.base.Index
}

// common returns the last index up to which the logs may agree, from a
// rejected append. Each answer settles all entries of one term of the
// follower's log, so that a divergence costs a round trip per term at most
// (the paper, end of section 5.3).
func (l *log) common(m *Message) uint64 {
	there := m.Conflict
	if m.Commit < m.Log.Index {
		// Its log ends before, at there.
		if term, ok := l.termAt(there.Index); there.Index < l.base.Index || ok && term == there.Term {
			return there.Index
		}
		return l.below(there.Index, there.Term)
	}
	// It holds there.Term from there.Index to Log.Index. If some of that is of
	// the same term here, the last such entry is in both logs.
	at := l.before(m.Log.Index-1, there.Term)
	if term, _ := l.termAt(at); term == there.Term && at >= there.Index {
		return at
	}
	return l.below(there.Index, there.Term-1)
}

// below returns the last index before limit with a term up to term.
func (l *log) below(limit, term uint64) uint64 {
	if limit <= l.base.Index {
		return max(limit, 1) - 1
	}
	return l.before(limit-1, term)
}

// append adds entries, which follow last.
func (l *log) append(entries []Entry) {
	if len(entries) == 0 {
		return
	}
	n := 0
	for i := range entries {
		e := &entries[i]
		n += len(e.Raw)
		if e.ID.Term != l.last.Term || len(l.terms) == 0 {
			l.terms = append(l.terms, TermRun{First: e.ID.Index, Term: e.ID.Term})
		}
		l.last = e.ID
	}
	if len(l.tail)+len(entries) > cap(l.tail) {
		l.move(len(entries))
	}
	l.tail = append(l.tail, entries...)
	l.time = max(l.time, entries[len(entries)-1].Time)
	l.bytes += n
	l.waiting += n
}

// truncate removes the entries from index on. Those are not committed, thus
// not applied, thus in the tail.
func (l *log) truncate(index uint64) {
	keep := index - l.first
	for _, e := range l.tail[keep:] {
		l.bytes -= len(e.Raw)
		l.waiting -= len(e.Raw)
	}
	// Their time goes with them. A leader that was overtaken while its host did not run, or
	// that nobody heard, went on to measure; the group did not, as long as it had no leader.
	// If this replica led next and began there, what waits for a time would end early.
	l.time = l.passed
	if keep > 0 {
		l.time = max(l.time, l.tail[keep-1].Time)
	}
	// Readies and messages share the array, so the capacity goes with the length: the
	// next append must not write where they still read.
	l.tail = l.tail[:keep:keep]
	for len(l.terms) > 0 && l.terms[len(l.terms)-1].First >= index {
		l.terms = l.terms[:len(l.terms)-1]
	}
	l.last = LogID{Index: index - 1, Term: l.base.Term}
	if n := len(l.terms); n > 0 {
		l.last.Term = l.terms[n-1].Term
	}
	l.durable = min(l.durable, index-1)
	l.written = min(l.written, index-1)
}

// slice returns the entries lo to hi of the tail, to be read only.
func (l *log) slice(lo, hi uint64) []Entry {
	if lo > hi {
		return nil
	}
	return l.tail[lo-l.first : hi-l.first+1 : hi-l.first+1]
}

// cut returns the entries from lo on, at least one and at most bytesMax bytes,
// with the bytes that it returns.
func (l *log) cut(lo uint64, bytesMax int) ([]Entry, int) {
	rest := l.tail[lo-l.first:]
	bytes := 0
	for i := range rest {
		n := len(rest[i].Raw)
		if i > 0 && bytes+n > bytesMax {
			return rest[:i:i], bytes
		}
		bytes += n
	}
	return rest[:len(rest):len(rest)], bytes
}

// apply records that the state machine has all up to index.
func (l *log) apply(index uint64) {
	for _, e := range l.slice(l.applied+1, index) {
		l.waiting -= len(e.Raw)
	}
	l.applied = index
}

// crowded reports whether the log in memory waits for the state machine and is
// larger than bytesMax. It is false while entries wait only for the leader to commit
// them: the leader bounds those, and refusing them could stop the group.
func (l *log) crowded(bytesMax int) bool {
	return l.applied < min(l.commit, l.durable) && l.waiting >= bytesMax
}

// trim forgets entries that are applied and durable, oldest first, until the rest
// fits into bytesMax. Entries up to known, which no follower fed from memory lacks,
// go until it fits into a [tailPart] of that.
func (l *log) trim(known uint64, bytesMax int) {
	end := min(l.applied, l.durable)
	few := bytesMax / tailPart
	n := 0
	for l.first <= end && (l.bytes > bytesMax || l.bytes > few && l.first <= known) {
		size := len(l.tail[n].Raw)
		l.passed = max(l.passed, l.tail[n].Time)
		l.bytes -= size
		l.dead += size
		l.first++
		n++
	}
	l.tail = l.tail[n:]
	// The array keeps trimmed entries alive. It is left behind once they outweigh
	// those that are kept, so that each byte moved is paid for by a byte trimmed.
	if l.dead > max(l.bytes, deadTimes*few) {
		l.move(0)
	}
}

// compact forgets what is up to base, which is applied.
func (l *log) compact(base LogID) {
	// The run that holds base goes on after it, unless the next one begins there.
	terms := l.terms[l.run(base.Index):]
	if len(terms) > 1 && terms[1].First == base.Index+1 {
		terms = terms[1:]
	}
	if base.Index == l.last.Index {
		terms = nil
	}
	l.terms = slices.Clone(terms)
	if len(l.terms) > 0 {
		l.terms[0].First = base.Index + 1
	}
	l.base = base
	n := 0
	for l.first <= base.Index {
		size := len(l.tail[n].Raw)
		l.passed = max(l.passed, l.tail[n].Time)
		l.bytes -= size
		l.dead += size
		l.first++
		n++
	}
	l.tail = l.tail[n:]
}

// reset begins an empty log after base, which a snapshot brought. Nothing of it
// is durable before the snapshot is.
func (l *log) reset(base LogID, time GroupTime) {
	*l = log{
		base: base, last: base, time: time, passed: time, first: base.Index + 1,
		commit: base.Index, written: base.Index, handed: base.Index, applied: base.Index,
	}
}

// move copies the tail to a new array with room for more entries and for as many as
// there are now, so that each entry is moved few times; a short tail gets room
// for [deadTimes] as many, which trim fills before it moves again. (With the growth of
// the built-in append, by a quarter at this size, BenchmarkLeader took 360 to
// 400 ns and 260 bytes per entry; with twice as many always, 115 to 160 ns and
// 110 bytes.)
func (l *log) move(more int) {
	room := len(l.tail)
	if room <= tailShort {
		room *= deadTimes
	}
	tail := make([]Entry, len(l.tail), len(l.tail)+room+more)
	copy(tail, l.tail)
	l.tail = tail
	l.dead = 0
}
