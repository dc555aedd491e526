package shardmap

import (
	"math"
	"strconv"
)

// Growth is what a command may add to what has one prefix.
type Growth struct {
	Prefix int    // its place among the [Tallies.Prefixes]
	By     Amount // not below 0
	Writes uint32 // keys that the command gives a value
}

// Growth appends what c, a client's command, would add to each prefix that is counted and that one of
// its keys begins with, as the map stands now, without entries that are on their way. A command that only removes, or that
// a slot of another group would get, adds nothing and has no rows. Of a transaction it tells of each prefix the more
// that one of the two branches would add.
//
// When c is applied it may be found to add less, or more where an entry on its way removes one of
// its keys before.
func (t *Tallies) Growth(c *Command, into []Growth) []Growth {
	if len(t.rows) == 0 {
		return into
	}
	st := t.m.slot(c.Home())
	if st == nil {
		return into
	}
	switch c.Kind {
	case CommandSet:
		for items := c.Items; len(items) >= 2; items = items[2:] {
			into = t.sets(st, items[0], len(items[1]), into)
		}
	case CommandTxn:
		var txn Txn
		if readTxn(c, &txn) != nil {
			return into // who checked it before has refused it
		}
		into = t.branches(st, &txn, into)
	}
	n := 0
	for _, g := range into {
		if g.By.Keys, g.By.Bytes = max(g.By.Keys, 0), max(g.By.Bytes, 0); g.Writes > 0 {
			into[n] = g
			n++
		}
	}
	return into[:n]
}

// branches takes of each prefix the more that one of the branches adds.
func (t *Tallies) branches(st *slotState, txn *Txn, into []Growth) []Growth {
	then, other := t.branch(st, txn.Then, into), t.branch(st, txn.Else, nil)
	for _, o := range other {
		i := growthOf(&then, o.Prefix)
		g := &then[i]
		g.By.Keys, g.By.Bytes, g.Writes = max(g.By.Keys, o.By.Keys), max(g.By.Bytes, o.By.Bytes), max(g.Writes, o.Writes)
	}
	return then
}

func (t *Tallies) branch(st *slotState, ops []Op, into []Growth) []Growth {
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case OpSet:
			into = t.sets(st, o.Key, len(o.Value), into)
		case OpIncr:
			into = t.sets(st, o.Key, incremented(st, o), into)
		case OpDel:
			if rec := st.records.get(o.Key, hashKey(o.Key)); rec != nil {
				into = t.grows(o.Key, Amount{-1, -int64(rec.keyLen() + rec.valueLen())}, 0, into)
			}
		}
	}
	return into
}

// incremented returns how long the text of the sum will be.
func incremented(s *slotState, o *Op) int {
	was := int64(0)
	if rec := s.records.get(o.Key, hashKey(o.Key)); rec != nil {
		var ok bool
		if was, ok = number(rec.value()); !ok {
			return rec.valueLen() // it will be refused
		}
	}
	if o.By > 0 && was > math.MaxInt64-o.By || o.By < 0 && was < math.MinInt64-o.By {
		return numberSizeMax
	}
	var text [numberSizeMax]byte
	return len(strconv.AppendInt(text[:0], was+o.By, 10))
}

// sets adds what it takes to give key a value of that size.
func (t *Tallies) sets(st *slotState, key []byte, value int, into []Growth) []Growth {
	by := Amount{1, int64(len(key) + value)}
	if rec := st.records.get(key, hashKey(key)); rec != nil {
		by = Amount{0, int64(value - rec.valueLen())}
	}
	return t.grows(key, by, 1, into)
}

func (t *Tallies) grows(key []byte, by Amount, writes uint32, into []Growth) []Growth {
	for i := t.prefixes.Longest(key); i != noPrefix; i = t.prefixes.Outer(i) {
		g := &into[growthOf(&into, i)]
		g.By.add(by)
		g.Writes += writes
	}
	return into
}

// growthOf returns where the row of a prefix is, which it appends if there is none.
func growthOf(rows *[]Growth, prefix int) int {
	for i := range *rows {
		if (*rows)[i].Prefix == prefix {
			return i
		}
	}
	*rows = append(*rows, Growth{Prefix: prefix})
	return len(*rows) - 1
}
