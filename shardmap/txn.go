package shardmap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"muster/shardmap/pack"
)

// Limits of a transaction: an entry is applied in one go, and what it reads is kept for a
// retry.
const (
	TxnComparesMax = 128
	// TxnOpsMax bounds the operations of each of the two branches.
	TxnOpsMax = 128
	// TxnReadMax bounds the values that one transaction reads, in bytes.
	TxnReadMax = 64 << 10
	// TTLMax bounds the TTL of a key or a lease, in milliseconds: ten years.
	TTLMax = 10 * 365 * 24 * 3600 * 1000
)

// CompareKind is the kind of a compare. Numbers are for ever.
type CompareKind uint8

const (
	CompareVersion CompareKind = 1 // the key is there at Version
	CompareAbsent  CompareKind = 2 // the key is not there
	CompareValue   CompareKind = 3 // the key is there and has Value
)

// OpKind is the kind of an operation of a transaction. Numbers are for ever.
type OpKind uint8

const (
	OpSet  OpKind = 1 // gives the key a value
	OpDel  OpKind = 2 // removes the key
	OpGet  OpKind = 3 // reads the key, as the operations before have left it
	OpIncr OpKind = 4 // adds By to the key's value, a decimal int64 in 20 bytes at most; one that is not there counts as 0
)

func (k OpKind) String() string {
	switch k {
	case OpSet:
		return "set"
	case OpDel:
		return "del"
	case OpGet:
		return "get"
	case OpIncr:
		return "incr"
	}
	return fmt.Sprintf("op %d", uint8(k))
}

// changes reports whether operations of the kind change their key.
func (k OpKind) changes() bool { return k != OpGet }

// Compare is one compare of a transaction.
type Compare struct {
	Kind    CompareKind
	Key     []byte
	Version uint64 // of a CompareVersion
	Value   []byte // of a CompareValue
}

// Op is one operation of a transaction.
type Op struct {
	Kind       OpKind
	Key, Value []byte
	// Of a set: the key ends TTL milliseconds later, or with Lease. At most one is not 0; if
	// both are 0, the key never ends. An incr keeps what the key has.
	TTL   uint64
	Lease LeaseID
	By    int64 // of an incr
}

// Txn is a transaction over keys of one slot. If all compares of If hold, Then is carried out,
// else Else: in order, all of it or nothing. All keys that it writes get one version.
//
// Its bytes, the only item of a [CommandTxn], are a msgpack array of three,
//
//	[[compare, …], [op, …], [op, …]]
//
// for If, Then and Else, where a compare is one of
//
//	[1, key, version]    [2, key, nil]    [3, key, value]
//
// and an op is one of
//
//	[1, key, value, ttl, lease]    [2, key]    [3, key]    [4, key, by]
type Txn struct {
	If         []Compare
	Then, Else []Op
}

// TxnCommand returns the command for a transaction whose keys are in slot.
func TxnCommand(slot Slot, t *Txn) Command {
	return Command{Kind: CommandTxn, Slot: slot, Items: [][]byte{appendTxn(nil, t)}}
}

const (
	txnFields     = 3
	compareFields = 3
	// The least bytes that a compare and an op take.
	compareBytesMin = 1 + compareFields
	opBytesMin      = 1 + 2
)

// opFields has the number of fields of an op of each kind.
var opFields = [...]int{OpSet: 5, OpDel: 2, OpGet: 2, OpIncr: 3}

func appendTxn(b []byte, t *Txn) []byte {
	b = pack.AppendArray(b, txnFields)
	b = pack.AppendArray(b, len(t.If))
	for i := range t.If {
		c := &t.If[i]
		b = pack.AppendArray(b, compareFields)
		b = pack.AppendUint(b, uint64(c.Kind))
		b = pack.AppendBytes(b, c.Key)
		switch c.Kind {
		case CompareVersion:
			b = pack.AppendUint(b, c.Version)
		case CompareValue:
			b = pack.AppendBytes(b, c.Value)
		default:
			b = pack.AppendNil(b)
		}
	}
	return appendOps(appendOps(b, t.Then), t.Else)
}

func appendOps(b []byte, ops []Op) []byte {
	b = pack.AppendArray(b, len(ops))
	for i := range ops {
		o := &ops[i]
		b = pack.AppendArray(b, opFields[o.Kind])
		b = pack.AppendUint(b, uint64(o.Kind))
		b = pack.AppendBytes(b, o.Key)
		switch o.Kind {
		case OpSet:
			b = pack.AppendBytes(b, o.Value)
			b = pack.AppendUint(b, o.TTL)
			b = pack.AppendUint(b, uint64(o.Lease))
		case OpIncr:
			b = pack.AppendInt(b, o.By)
		}
	}
	return b
}

// ReadTxn reads the body of a [CommandTxn]. What it returns aliases the command.
func ReadTxn(c *Command) (*Txn, error) {
	t := new(Txn)
	if err := readTxn(c, t); err != nil {
		return nil, err
	}
	return t, nil
}

// readTxn is [ReadTxn] into the slices of t, which it uses again.
func readTxn(c *Command, t *Txn) error {
	if c.Kind != CommandTxn || len(c.Items) != 1 {
		return fmt.Errorf("%w: %s with %d items is no transaction", ErrCommand, c.Kind, len(c.Items))
	}
	t.If, t.Then, t.Else = t.If[:0], t.Then[:0], t.Else[:0]
	r := txnReader{tableReader{Reader: pack.NewReader(c.Items[0])}}
	r.fields("txn", txnFields)
	n := r.count("compares", compareBytesMin, TxnComparesMax)
	for t.If = slices.Grow(t.If, n); n > 0; n-- {
		t.If = append(t.If, r.compare())
	}
	t.Then = r.ops(t.Then)
	t.Else = r.ops(t.Else)
	return r.err()
}

// txnReader reads the parts of a transaction.
type txnReader struct{ tableReader }

// newer records that what was read last is of a newer level.
func (r *txnReader) newer(what string) {
	if r.level == nil {
		r.level = fmt.Errorf("%s: %w", what, ErrLevel)
	}
	r.Fail(what + " is unknown")
}

// count reads the head of an array whose elements have at least size bytes each.
func (r *txnReader) count(what string, size, limit int) int {
	n := r.Array()
	if left := len(r.Rest()); r.Err() == nil && (n > limit || n > left/size) {
		r.Fail(fmt.Sprintf("%d %s in %d bytes; want %d at most", n, what, left, limit))
	}
	if r.Err() != nil {
		return 0
	}
	return n
}

func (r *txnReader) compare() (c Compare) {
	r.fields("compare", compareFields)
	c.Kind, c.Key = CompareKind(r.UintMax(255)), r.Bytes()
	switch {
	case c.Kind == CompareVersion:
		c.Version = r.Uint()
	case c.Kind == CompareValue:
		c.Value = r.Bytes()
	case r.Err() == nil && c.Kind != CompareAbsent:
		r.newer(fmt.Sprintf("compare of kind %d", c.Kind))
	case !r.Nil() && r.Err() == nil:
		r.Fail("want nil behind the key that is to be absent")
	}
	return c
}

func (r *txnReader) ops(ops []Op) []Op {
	n := r.count("operations", opBytesMin, TxnOpsMax)
	for ops = slices.Grow(ops, n); n > 0; n-- {
		ops = append(ops, r.op())
	}
	return ops
}

func (r *txnReader) op() (o Op) {
	n := r.Array()
	o.Kind = OpKind(r.UintMax(255))
	switch {
	case r.Err() != nil:
		return o
	case o.Kind == 0 || int(o.Kind) >= len(opFields):
		r.newer(fmt.Sprintf("operation of kind %d", o.Kind))
		return o
	case n != opFields[o.Kind]:
		r.Fail(fmt.Sprintf("%s of %d fields; want %d", o.Kind, n, opFields[o.Kind]))
	}
	o.Key = r.Bytes()
	switch o.Kind {
	case OpSet:
		o.Value, o.TTL, o.Lease = r.Bytes(), r.Uint(), LeaseID(r.Uint())
	case OpIncr:
		o.By = r.Int()
	}
	return o
}

// validateTxn checks a transaction of a client.
func (c *Command) validateTxn(l Limits) error {
	t, err := ReadTxn(c)
	if err != nil {
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	}
	if len(t.If)+len(t.Then)+len(t.Else) == 0 {
		return fmt.Errorf("%w: field then: a transaction of nothing; want a compare or an operation", ErrRequest)
	}
	for i := range t.If {
		x := &t.If[i]
		if err := c.validateKey("if", i, x.Key); err != nil {
			return err
		}
		switch {
		case x.Kind == CompareVersion && x.Version == 0:
			return fmt.Errorf("%w: field if[%d].version: 0 is no key's version; for a key that is not there compare with absent", ErrRequest, i)
		case len(x.Value) > l.ValueMax:
			return fmt.Errorf("%w: field if[%d].value: %d bytes for key %s; the limit is %d", ErrValueTooLarge, i, len(x.Value), ShowKey(x.Key), l.ValueMax)
		}
	}
	if err := c.validateOps("then", t.Then, l); err != nil {
		return err
	}
	return c.validateOps("else", t.Else, l)
}

// validateKey checks a key of a transaction, in the i-th element of a field.
func (c *Command) validateKey(field string, i int, key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("%w: field %s[%d].key: 0 bytes; want 1 to %d", ErrRequest, field, i, KeyMax)
	case len(key) > KeyMax:
		return fmt.Errorf("%w: field %s[%d].key: %s; the limit is %d", ErrTooLarge, field, i, ShowKey(key), KeyMax)
	}
	if slot := SlotOf(key); slot != c.Slot {
		return fmt.Errorf("%w: field %s[%d].key: %s is in slot %d, the transaction in slot %d; want one slot (keys with the same {tag} share one)",
			ErrRequest, field, i, ShowKey(key), slot, c.Slot)
	}
	return nil
}

func (c *Command) validateOps(field string, ops []Op, l Limits) error {
	for i := range ops {
		o := &ops[i]
		if err := c.validateKey(field, i, o.Key); err != nil {
			return err
		}
		switch {
		case len(o.Value) > l.ValueMax:
			return fmt.Errorf("%w: field %s[%d].value: %d bytes for key %s; the limit is %d", ErrValueTooLarge, field, i, len(o.Value), ShowKey(o.Key), l.ValueMax)
		case o.TTL != 0 && o.Lease != 0:
			return fmt.Errorf("%w: field %s[%d].ttl: %d ms, and lease %s; want one of them", ErrRequest, field, i, o.TTL, o.Lease)
		case o.TTL > TTLMax:
			return fmt.Errorf("%w: field %s[%d].ttl: %d ms; want 1 to %d", ErrRequest, field, i, o.TTL, uint64(TTLMax))
		case o.Lease != 0 && o.Lease.Slot() != c.Slot:
			return fmt.Errorf("%w: field %s[%d].lease: %s is in slot %d, key %s in slot %d; want one slot: a lease is granted for a key",
				ErrRequest, field, i, o.Lease, o.Lease.Slot(), ShowKey(o.Key), c.Slot)
		case o.Lease != 0 && o.Lease.Number() == 0:
			return fmt.Errorf("%w: field %s[%d].lease: %s; no lease has the number 0", ErrRequest, field, i, o.Lease)
		}
	}
	changed := make([][]byte, 0, len(ops))
	for i := range ops {
		if ops[i].Kind.changes() {
			changed = append(changed, ops[i].Key)
		}
	}
	slices.SortFunc(changed, bytes.Compare)
	for i := 1; i < len(changed); i++ {
		if bytes.Equal(changed[i-1], changed[i]) {
			return fmt.Errorf("%w: field %s: key %s is changed twice; want once", ErrRequest, field, ShowKey(changed[i]))
		}
	}
	return nil
}

// txnFrees reports whether a transaction is carried out while disks are full: if all it can do
// is delete and read. What it answers takes room, as the outcome of a del does.
func (c *Command) txnFrees() bool {
	t, err := ReadTxn(c)
	if err != nil {
		return false
	}
	dels := 0
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			switch ops[i].Kind {
			case OpDel:
				dels++
			case OpGet:
			default:
				return false
			}
		}
	}
	return dels > 0
}

func describeTxn(c *Command) (string, error) {
	t, err := ReadTxn(c)
	if err != nil {
		return "", err
	}
	text := "slot " + fmt.Sprint(c.Slot)
	if len(t.If) > 0 {
		var parts []string
		for i := range t.If {
			x := &t.If[i]
			switch x.Kind {
			case CompareVersion:
				parts = append(parts, fmt.Sprintf("%s at version %d", ShowKey(x.Key), x.Version))
			case CompareAbsent:
				parts = append(parts, ShowKey(x.Key)+" absent")
			default:
				parts = append(parts, fmt.Sprintf("%s of value %s", ShowKey(x.Key), ShowKey(x.Value)))
			}
		}
		text += " if " + shortened(parts)
	}
	for _, branch := range []struct {
		name string
		ops  []Op
	}{{"then", t.Then}, {"else", t.Else}} {
		if len(branch.ops) > 0 {
			text += " " + branch.name + " " + describeOps(branch.ops)
		}
	}
	return text, nil
}

func describeOps(ops []Op) string {
	var parts []string
	for i := range ops {
		o := &ops[i]
		part := o.Kind.String() + " " + ShowKey(o.Key)
		switch {
		case o.Kind == OpIncr:
			part += fmt.Sprintf(" by %d", o.By)
		case o.TTL != 0:
			part += fmt.Sprintf(" for %d ms", o.TTL)
		case o.Lease != 0:
			part += " with lease " + o.Lease.String()
		}
		parts = append(parts, part)
	}
	return shortened(parts)
}

// shortened joins parts of a description, of which it shows describedMax.
func shortened(parts []string) string {
	if len(parts) > describedMax {
		parts = append(parts[:describedMax:describedMax], "…")
	}
	return strings.Join(parts, ", ")
}
