package sim

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// What a write means, in the slowest and most obvious code. The model of the logs
// (model.go) and that of what clients were told (linear.go) both go by it; it shares
// nothing with package shardmap but the bytes of commands.

// write is what a command asks for.
type write struct {
	keys      []string // that it names, each once
	plain     bool     // it is no transaction: if its comparisons fail, that is a conflict
	guards    []guard
	then, els []act
	most      int // of a delete of a prefix: the keys that it removes at most; 0: it is none
}

type guardKind uint8

const (
	guardVersion guardKind = iota
	guardAbsent
	guardValue
)

// guard is one comparison: of the version or the value of a key, or whether it is absent.
type guard struct {
	kind guardKind
	key  int // of the write's keys
	want uint64
}

type actKind uint8

const (
	actSet actKind = iota
	actDel
	actGet
	actIncr
)

// act is one operation of a write.
type act struct {
	kind   actKind
	key    int    // of the write's keys
	number uint64 // of the value that it sets
	size   int
	by     int64
	ttl    raft.GroupTime // 0: the key never ends, or ends with a lease
	lease  uint64         // 0: none
}

// state is what a key is.
type state struct {
	there   bool
	version uint64
	number  uint64         // of its value
	size    int            // of it
	due     raft.GroupTime // in the time of its slot; 0: it never ends, or ends with a lease
	lease   uint64         // 0: none
}

// found is what one operation of a write answers: what a key was, whether a del found it,
// or, as number, what an incr made.
type found struct {
	there           bool
	version, number uint64
}

// actsMax bounds the operations of a transaction that clients send.
const actsMax = 8

// effect is what a write does.
type effect struct {
	status    shardmap.Status
	succeeded bool // its comparisons held
	results   [actsMax]found
	count     int // of results
	deleted   uint32
	more      bool // of a delete of a prefix: keys are left
}

// readWrite reads what a command asks for. under returns the keys that there may be with a
// prefix, in order: a delete of a prefix names none.
func readWrite(x *shardmap.Command, under func(prefix []byte) []string) (w write, err error) {
	if x.Kind == shardmap.CommandTxn {
		t, err := shardmap.ReadTxn(x)
		if err != nil {
			return w, err
		}
		w.transaction(t)
		return w, nil
	}
	w.plain = true
	if x.Kind == shardmap.CommandDelPrefix {
		d, err := shardmap.ReadDelPrefix(x)
		if err != nil {
			return w, err
		}
		if d.UpTo != 0 || len(d.After) > 0 {
			return w, fmt.Errorf("a delete of a prefix up to version %d after %q: this model knows no bounds", d.UpTo, d.After)
		}
		w.most = int(d.Limit)
		for i, k := range under(d.Prefix) {
			w.keys = append(w.keys, k)
			w.then = append(w.then, act{kind: actDel, key: i})
		}
		return w, nil
	}
	for i := range x.Keys() {
		a := act{kind: actDel, key: w.key(x.Key(i))}
		if x.Kind == shardmap.CommandSet {
			a.kind, a.number, a.size = actSet, valueNumber(x.Value(i)), len(x.Value(i))
		}
		if x.Kind != shardmap.CommandCheck {
			w.then = append(w.then, a)
		}
	}
	switch x.Condition {
	case shardmap.ConditionAbsent:
		w.guards = []guard{{kind: guardAbsent}}
	case shardmap.ConditionVersion:
		w.guards = []guard{{kind: guardVersion, want: x.Version}}
	}
	return w, nil
}

// transaction makes w what a transaction asks for.
func (w *write) transaction(t *shardmap.Txn) {
	for i := range t.If {
		c := &t.If[i]
		g := guard{kind: guardVersion, key: w.key(c.Key), want: c.Version}
		switch c.Kind {
		case shardmap.CompareAbsent:
			g.kind = guardAbsent
		case shardmap.CompareValue:
			g.kind, g.want = guardValue, valueNumber(c.Value)
		}
		w.guards = append(w.guards, g)
	}
	for i := range t.Then {
		w.then = append(w.then, w.act(&t.Then[i]))
	}
	for i := range t.Else {
		w.els = append(w.els, w.act(&t.Else[i]))
	}
}

func (w *write) act(o *shardmap.Op) act {
	a := act{key: w.key(o.Key), by: o.By, ttl: raft.GroupTime(o.TTL) * raft.GroupTime(time.Millisecond), lease: o.Lease.Number()}
	switch o.Kind {
	case shardmap.OpSet:
		a.kind, a.number, a.size = actSet, valueNumber(o.Value), len(o.Value)
	case shardmap.OpDel:
		a.kind = actDel
	case shardmap.OpGet:
		a.kind = actGet
	case shardmap.OpIncr:
		a.kind = actIncr
	}
	return a
}

// branch returns the operations that are carried out if the comparisons hold, or don't.
func (w *write) branch(succeeded bool) []act {
	if succeeded {
		return w.then
	}
	return w.els
}

// key returns the place of a key among those that the write names.
func (w *write) key(k []byte) int {
	i := slices.Index(w.keys, string(k))
	if i < 0 {
		i = len(w.keys)
		w.keys = append(w.keys, string(k))
	}
	return i
}

// carryOut carries out a write on the states of its keys, which it changes if the write
// takes effect. version is that of what it writes, now the time of its slot; alive reports
// whether there is a lease.
func (w *write) carryOut(keys []state, version uint64, now raft.GroupTime, alive func(lease uint64) bool) (e effect) {
	e.status, e.succeeded = shardmap.StatusApplied, true
	for i := range w.guards {
		e.succeeded = e.succeeded && w.guards[i].holds(&keys[w.guards[i].key])
	}
	if !e.succeeded && w.plain {
		e.status = shardmap.StatusConflict
		return e
	}
	// All or nothing: what fails at its end has changed copies only.
	var room [actsMax]state
	after := append(room[:0], keys...)
	acts, read := w.branch(e.succeeded), 0
	for i := range acts {
		a := &acts[i]
		k, r := &after[a.key], found{}
		switch a.kind {
		case actSet:
			if a.lease != 0 && !alive(a.lease) {
				return effect{status: shardmap.StatusNoLease}
			}
			*k = state{there: true, version: version, number: a.number, size: a.size, lease: a.lease}
			if a.ttl > 0 {
				k.due = now + a.ttl
			}
		case actDel:
			if w.most > 0 && int(e.deleted) == w.most {
				e.more = e.more || k.there
				continue
			}
			if r.there = k.there; k.there && w.plain {
				e.deleted++
			}
			*k = state{}
		case actGet:
			if k.there {
				r = found{true, k.version, k.number}
				if read += k.size; read > shardmap.TxnReadMax {
					return effect{status: shardmap.StatusReadTooLarge}
				}
			}
		case actIncr: // when the key ends does not change
			was := int64(0)
			if k.there {
				var ok bool
				if was, ok = counted(k.number); !ok {
					return effect{status: shardmap.StatusNotNumber}
				}
			}
			if a.by > 0 && was > math.MaxInt64-a.by || a.by < 0 && was < math.MinInt64-a.by {
				return effect{status: shardmap.StatusOverflow}
			}
			r.number = countNumber(was + a.by)
			k.there, k.version, k.number, k.size = true, version, r.number, len(strconv.FormatInt(was+a.by, 10))
		}
		if e.count < actsMax {
			e.results[e.count] = r
			e.count++
		}
	}
	copy(keys, after)
	return e
}

func (g *guard) holds(k *state) bool {
	switch g.kind {
	case guardAbsent:
		return !k.there
	case guardVersion:
		return k.there && k.version == g.want
	}
	return k.there && k.number == g.want
}

// A value stands for one number, by which it is compared: that of the operation that wrote
// it, with which it begins, or what a counter has got to.

const (
	// countMark sets the numbers of counters apart from those of operations, which are
	// below countLeast.
	countMark  = 1 << 63
	countLeast = 1 << 48
	countBytes = 20 // of the longest decimal number
)

// countNumber is the number of a counter's value.
func countNumber(n int64) uint64 { return uint64(n) ^ countMark }

// counted returns what a counter has got to; false if the number is that of no counter.
func counted(number uint64) (int64, bool) { return int64(number ^ countMark), number >= countLeast }

// bytes returns the value of a key.
func (s *state) bytes() []byte {
	if n, ok := counted(s.number); ok {
		return strconv.AppendInt(nil, n, 10)
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, max(8, s.size)), s.number)
	return b[:cap(b)]
}

// valueNumber returns the number of a value.
func valueNumber(b []byte) uint64 {
	if len(b) <= countBytes {
		if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return countNumber(n)
		}
	}
	if len(b) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}
