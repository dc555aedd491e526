package shardmap

import (
	"bytes"
	"math"
	"strconv"

	"muster/shardmap/pack"
)

// A transaction is carried out in two steps, because one operation that can't be carried out
// must leave no trace of the others. The first step checks everything, makes the answer, and
// changes nothing. The second writes, and can't fail.

// numberSizeMax is the most bytes of the text of a number: a sign and 19 digits.
const numberSizeMax = 20

// readTxn reads the body of a transaction, for txn.
func (b *body) readTxn(c *Command) error { return readTxn(c, &b.txn) }

// forget drops what aliases the entry that was read.
func (b *body) forget() {
	clear(b.txn.If)
	clear(b.txn.Then)
	clear(b.txn.Else)
}

// txn is [CommandTxn].
func (s *slotState) txn(m *Map, _ *Command) Result {
	defer m.body.forget()
	t, id := &m.body.txn, m.turn.id
	succeeded := s.holds(m, t.If)
	ops := t.Else
	if succeeded {
		ops = t.Then
	}
	run := txnRun{m: m, s: s, ops: ops}
	for i := range ops {
		if ops[i].Kind.changes() {
			run.version = s.nextVersion(id)
			break
		}
	}
	b := pack.AppendBool(pack.AppendArray(m.turn.detail[:0], 2), succeeded)
	b = pack.AppendArray(b, len(ops))
	for i := range ops {
		o := &ops[i]
		if o.Kind == OpSet && o.Lease != 0 && s.leaseOf(o.Lease.Number()) == nil {
			return m.turn.refusesLease(o.Lease)
		}
		var status Status
		var found []byte
		if b, status, found = run.answer(b, i); status != StatusApplied {
			return m.turn.refuses(status, o.Key, found)
		}
	}
	m.turn.detail = b
	if run.version == 0 {
		return Result{Status: StatusApplied, ID: id, Detail: b}
	}
	s.setLast(run.version)
	for i := range ops {
		run.write(i)
	}
	return Result{Status: StatusApplied, ID: id, Version: run.version, Detail: b}
}

// holds reports whether all compares hold.
func (s *slotState) holds(m *Map, compares []Compare) bool {
	for i := range compares {
		c := &compares[i]
		rec := s.records.get(c.Key, hashKey(c.Key))
		if rec != nil {
			rec = told(m, rec)
		}
		switch {
		case c.Kind == CompareAbsent:
			if rec != nil {
				return false
			}
		case rec == nil,
			c.Kind == CompareVersion && rec.version() != c.Version,
			c.Kind == CompareValue && !bytes.Equal(rec.value(), c.Value):
			return false
		}
	}
	return true
}

// txnRun is a branch of a transaction that is being carried out. A branch changes no key
// twice, so an incr finds in the slot what it is to add to.
type txnRun struct {
	m       *Map
	s       *slotState
	ops     []Op
	version uint64 // of what it writes; 0: it writes nothing
	read    int    // bytes of values
	sums    [TxnOpsMax]int64
}

// answer appends what the i-th operation answers, or returns the status that refuses it, with
// what the key has.
func (t *txnRun) answer(b []byte, i int) (_ []byte, _ Status, found []byte) {
	o := &t.ops[i]
	switch o.Kind {
	case OpDel:
		b = pack.AppendBool(b, t.s.records.get(o.Key, hashKey(o.Key)) != nil)
	case OpIncr:
		rec := t.s.records.get(o.Key, hashKey(o.Key))
		was := int64(0)
		if rec != nil {
			var ok bool
			if was, ok = number(told(t.m, rec).value()); !ok {
				return b, StatusNotNumber, rec.value()
			}
		}
		if o.By > 0 && was > math.MaxInt64-o.By || o.By < 0 && was < math.MinInt64-o.By {
			return b, StatusOverflow, strconv.AppendInt(nil, was, 10)
		}
		t.sums[i] = was + o.By
		b = pack.AppendInt(b, t.sums[i])
	case OpGet:
		value, version := t.get(i)
		if version == 0 {
			return pack.AppendNil(b), StatusApplied, nil
		}
		if t.read += len(value); t.read > TxnReadMax {
			return b, StatusReadTooLarge, nil
		}
		b = pack.AppendBytes(pack.AppendUint(pack.AppendArray(b, 2), version), value)
	default:
		b = pack.AppendNil(b)
	}
	return b, StatusApplied, nil
}

// get returns what the i-th operation reads, as the operations before it leave the key;
// version is 0 if the key is not there.
func (t *txnRun) get(i int) (value []byte, version uint64) {
	key := t.ops[i].Key
	for k := range t.ops[:i] {
		if o := &t.ops[k]; o.Kind.changes() && bytes.Equal(o.Key, key) {
			switch o.Kind {
			case OpDel:
				return nil, 0
			case OpIncr:
				return strconv.AppendInt(nil, t.sums[k], 10), t.version
			}
			return o.Value, t.version
		}
	}
	if rec := t.s.records.get(key, hashKey(key)); rec != nil {
		rec = told(t.m, rec)
		return rec.value(), rec.version()
	}
	return nil, 0
}

// write makes the change of the i-th operation.
func (t *txnRun) write(i int) {
	m, o, hash := t.m, &t.ops[i], uint64(0)
	if o.Kind.changes() {
		hash = hashKey(o.Key)
	}
	switch o.Kind {
	case OpSet:
		var e ending
		switch {
		case o.Lease != 0:
			e = ending{endsWithLease, o.Lease.Number()}
		case o.TTL != 0:
			e = ending{endsAt, uint64(t.s.time(m.turn.now).after(o.TTL * millisecond))}
		}
		t.s.put(m, &newRecord{o.Key, o.Value, hash, t.version, e})
	case OpDel:
		t.s.remove(m, o.Key, hash, t.version, EventDel)
	case OpIncr:
		var e ending // a new key never ends
		if rec := t.s.records.get(o.Key, hash); rec != nil {
			e = rec.ending()
		}
		var text [numberSizeMax]byte
		t.s.put(m, &newRecord{o.Key, strconv.AppendInt(text[:0], t.sums[i], 10), hash, t.version, e})
	}
}

// number reads the text of a decimal int64.
func number(text []byte) (int64, bool) {
	if len(text) > numberSizeMax {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}
