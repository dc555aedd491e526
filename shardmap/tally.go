package shardmap

import (
	"fmt"
	"slices"
)

// TalliesMax bounds the prefixes whose keys are counted. Each costs 16 bytes for each slot that has
// any of its keys.
const TalliesMax = 64

// Amount is a number of keys, and the bytes in their names and values.
type Amount struct{ Keys, Bytes int64 }

func (a *Amount) add(b Amount) {
	a.Keys += b.Keys
	a.Bytes += b.Bytes
}

func (a *Amount) sub(b Amount) {
	a.Keys -= b.Keys
	a.Bytes -= b.Bytes
}

// Tallies counts the keys of a map that begin with some prefixes. A key counts for each prefix that
// it begins with.
//
// A tally is knowledge of this replica about its state, and no part of the state: it is in no
// snapshot and no digest, and no entry's effect depends on it. So replicas may count different
// prefixes, and what limits a cluster has decides nothing on apply. Followers count as well: it costs
// them a search for each change of a key, and whoever leads next knows at once what is there, where
// it would have to visit all keys before it could admit another one.
//
// A prefix that is new is counted by a walk, in steps between which entries are applied. The walk
// has a place, a slot and a key in it: what changes before that place is counted as it changes, and
// what lies behind it the walk finds as it is by then. So a tally is exact as soon as the walk ends, and stays it.
//
// Imports are counted apart as their pieces arrive, and sealed slots count until they are dropped.
// So a takeover and a drop are a sum each, however many keys come or go, and while a slot moves it counts at least
// once in the cluster, and twice between the takeover there and the drop here.
//
// All methods are for the goroutine that applies.
type Tallies struct {
	m        *Map
	prefixes Prefixes
	rows     []*tallyRow // of the prefixes, by prefix; at most TalliesMax
	slots    []slotTally // by slot; nil while nothing is counted
}

// tallyRow is the tally of one prefix.
type tallyRow struct {
	column int // its place in slotTally.amounts
	total  Amount
	// The amounts that slots had which were taken over, and dropped, since there is this row.
	came, went Amount

	// The walk's place: keys of lower slots, and those of slot below key, are counted. At the
	// end slot is Slots.
	slot Slot
	key  []byte
}

func (r *tallyRow) counted() bool { return r.slot == Slots }

// covers reports whether the walk has come past a key, so that its changes count.
func (r *tallyRow) covers(s Slot, key []byte) bool {
	return s < r.slot || s == r.slot && string(key) < string(r.key)
}

// slotTally is what a slot has of the prefixes that are counted.
type slotTally struct {
	st      *slotState // whose counts these are: another one, as of another import, begins anew
	amounts []Amount   // by column, as far as there ever was anything
	taken   bool       // it was an import, and was taken over
}

// Tally is what is known of the keys of a prefix.
type Tally struct {
	Amount  // of slots that are served or sealed
	Counted bool
	// The amounts that slots had which were taken over, and dropped, since the prefix is counted here:
	// they came and went without anybody having written them.
	Came, Went Amount
}

// Tallies returns the counts of m, always the same ones.
func (m *Map) Tallies() *Tallies { return &m.tallies }

// Count has the keys of these prefixes counted, and no others. Those that were counted before keep
// their tallies. It is an error of the caller if there are more than [TalliesMax].
func (t *Tallies) Count(p Prefixes) {
	if p.Len() > TalliesMax {
		panic(fmt.Sprintf("shardmap: %d prefixes to count, the limit is %d", p.Len(), TalliesMax))
	}
	rows := make([]*tallyRow, p.Len())
	var taken [TalliesMax]bool
	for i := range rows {
		if was, ok := t.prefixes.Index(p.At(i)); ok {
			rows[i] = t.rows[was]
			taken[rows[i].column] = true
		}
	}
	for i := range rows {
		if rows[i] == nil {
			column := slices.Index(taken[:], false)
			taken[column] = true
			rows[i] = &tallyRow{column: column}
			t.clear(column)
		}
	}
	t.prefixes, t.rows = p, rows
	switch {
	case len(rows) == 0:
		t.slots = nil
	case t.slots == nil:
		t.slots = make([]slotTally, Slots)
	}
}

// Prefixes returns the prefixes that are counted.
func (t *Tallies) Prefixes() *Prefixes { return &t.prefixes }

// At returns the tally of the i-th prefix.
func (t *Tallies) At(i int) Tally {
	r := t.rows[i]
	return Tally{Amount: r.total, Counted: r.counted(), Came: r.came, Went: r.went}
}

// each calls f for each slot of which the map holds anything, imports too.
func (t *Tallies) each(f func(s Slot, st *slotState)) {
	for s := range Slot(Slots) {
		if st := t.any(s); st != nil {
			f(s, st)
		}
	}
}

// any returns a slot that the group serves, has sealed, or imports: it never has two of that.
func (t *Tallies) any(s Slot) *slotState {
	if st := t.m.held(s); st != nil {
		return st
	}
	if i := t.m.imports.of(s); i != nil {
		return i.state
	}
	return nil
}

// clear forgets what a column counted before.
func (t *Tallies) clear(column int) {
	for i := range t.slots {
		if a := t.slots[i].amounts; column < len(a) {
			a[column] = Amount{}
		}
	}
}

// restart has everything counted anew: the map holds another state.
func (t *Tallies) restart() {
	for i := range t.rows {
		t.rows[i] = &tallyRow{column: t.rows[i].column}
	}
	clear(t.slots)
}

// of returns what slot s, which is st, has of one prefix.
func (t *Tallies) of(s Slot, st *slotState, column int) Amount {
	if k := &t.slots[s]; k.st == st && column < len(k.amounts) {
		return k.amounts[column]
	}
	return Amount{}
}

// count adds to what a slot has of the prefix of r.
func (t *Tallies) count(s Slot, st *slotState, r *tallyRow, by Amount) {
	k := &t.slots[s]
	if k.st != st {
		k.st = st
		clear(k.amounts)
	}
	if n := len(k.amounts); r.column >= n {
		made := make([]Amount, r.column+1)
		copy(made, k.amounts)
		k.amounts = made
	}
	k.amounts[r.column].add(by)
	if t.m.held(s) == st { // what is imported counts once it is taken over
		r.total.add(by)
	}
}

// changed counts that a key of slot s, which is st, came, went, or has another value.
func (t *Tallies) changed(st *slotState, s Slot, key []byte, by Amount) {
	for i := t.prefixes.Longest(key); i != noPrefix; i = t.prefixes.Outer(i) {
		if r := t.rows[i]; r.covers(s, key) {
			t.count(s, st, r, by)
		}
	}
}

// came counts a slot that was taken over, and from now on is the map's.
func (t *Tallies) came(s Slot, st *slotState) {
	if len(t.rows) == 0 {
		return
	}
	t.slots[s].taken = true
	if bug("imported slot not counted") {
		return
	}
	t.moved(s, st, func(r *tallyRow, a Amount) {
		r.total.add(a)
		r.came.add(a)
	})
}

// went counts a slot no more that was dropped.
func (t *Tallies) went(s Slot, st *slotState) {
	t.moved(s, st, func(r *tallyRow, a Amount) {
		r.total.sub(a)
		r.went.add(a)
	})
	t.forget(s)
}

// discarded is told that there is no import of a slot any more.
func (t *Tallies) discarded(s Slot) {
	if t.slots != nil && !t.slots[s].taken && t.m.held(s) == nil {
		t.forget(s)
	}
}

// forget lets go of a slot's state, which would stay in memory else.
func (t *Tallies) forget(s Slot) {
	if t.slots != nil {
		t.slots[s] = slotTally{}
	}
}

func (t *Tallies) moved(s Slot, st *slotState, f func(r *tallyRow, a Amount)) {
	for _, r := range t.rows {
		f(r, t.of(s, st, r.column))
	}
}

const (
	tallySlotCost = 8  // what a look at a slot counts as, in keys
	tallyJumpCost = 16 // and one for the first key of a prefix in it
)

// Step counts about so many keys more, and reports whether everything is counted.
func (t *Tallies) Step(keys int) (done bool) {
	for i, r := range t.rows {
		for !r.counted() {
			if keys <= 0 {
				return false
			}
			keys -= t.walk(r, t.prefixes.At(i), keys)
		}
	}
	return true
}

// walk counts up to so many keys of the slot that r has come to, and returns what that cost.
func (t *Tallies) walk(r *tallyRow, prefix string, most int) (cost int) {
	st := t.any(r.slot)
	if st == nil {
		r.slot++
		return 1
	}
	if st.records.count == 0 {
		r.slot, r.key = r.slot+1, nil
		return tallySlotCost
	}
	from := r.key
	if from == nil {
		from = []byte(prefix)
	}
	st.mu.Lock() // those who take copies write epochs
	defer st.mu.Unlock()
	slot, sum := r.slot, Amount{}
	cost = tallySlotCost + tallyJumpCost
	for at := st.records.seek(from); ; at.next() {
		rec := at.record()
		if rec == nil || !begins(rec.key(), prefix) {
			r.slot, r.key = r.slot+1, nil
			break
		}
		if cost >= most+tallySlotCost+tallyJumpCost {
			r.key = slices.Clone(rec.key())
			break
		}
		sum.add(Amount{1, int64(rec.keyLen() + rec.valueLen())})
		cost++
	}
	if sum.Keys > 0 {
		t.count(slot, st, r, sum)
	}
	return cost
}

// Check compares the tally of each prefix that is counted with its keys, one by one. It is slow, and
// for tests.
func (t *Tallies) Check() error {
	for i, r := range t.rows {
		if !r.counted() {
			continue
		}
		var total Amount
		var err error
		t.each(func(s Slot, st *slotState) {
			var sum Amount
			for at := st.records.seek([]byte(t.prefixes.At(i))); ; at.next() {
				rec := at.record()
				if rec == nil || !begins(rec.key(), t.prefixes.At(i)) {
					break
				}
				sum.add(Amount{1, int64(rec.keyLen() + rec.valueLen())})
			}
			if got := t.of(s, st, r.column); got != sum && err == nil {
				err = fmt.Errorf("%w: prefix %q in slot %d: counted were %v, there are %v", ErrInvariant, t.prefixes.At(i), s, got, sum)
			}
			if t.m.held(s) == st {
				total.add(sum)
			}
		})
		if err == nil && r.total != total {
			err = fmt.Errorf("%w: prefix %q: counted were %v, there are %v", ErrInvariant, t.prefixes.At(i), r.total, total)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
