package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Txn is a transaction over keys of one slot: if all compares of If hold, it carries out the
// operations of Then, else those of Else, in order, all of them or none. Keys with the same
// {tag} live in one slot.
//
// It has at most [shardmap.TxnComparesMax] compares, at most [shardmap.TxnOpsMax] operations
// in each branch, and at least one of either. No branch changes a key twice. A transaction
// that would read more than [shardmap.TxnReadMax] bytes of values changes nothing and ends
// with code too-large.
type Txn struct {
	If         []Compare
	Then, Else []Op
}

// Compare is one compare of a [Txn].
type Compare struct{ compare shardmap.Compare }

// IfVersion holds if key is there at version, which is never 0.
func IfVersion(key []byte, version uint64) Compare {
	return Compare{shardmap.Compare{Kind: shardmap.CompareVersion, Key: key, Version: version}}
}

// IfAbsent holds if key is not there.
func IfAbsent(key []byte) Compare {
	return Compare{shardmap.Compare{Kind: shardmap.CompareAbsent, Key: key}}
}

// IfValue holds if key is there and has this value.
func IfValue(key, value []byte) Compare {
	return Compare{shardmap.Compare{Kind: shardmap.CompareValue, Key: key, Value: value}}
}

// Op is one operation of a [Txn].
type Op struct {
	op  shardmap.Op
	ttl ttl
}

// OpSet sets key to value, as [Client.Set] does.
func OpSet(key, value []byte, o SetOptions) Op {
	return Op{op: shardmap.Op{Kind: shardmap.OpSet, Key: key, Value: value, Lease: o.Lease}, ttl: ttl{o.TTL, o.HasTTL || o.TTL != 0}}
}

// OpDel deletes key. A key that is not there is no error: see [OpResult.Deleted].
func OpDel(key []byte) Op { return Op{op: shardmap.Op{Kind: shardmap.OpDel, Key: key}} }

// OpGet reads key as the operations before it leave it.
func OpGet(key []byte) Op { return Op{op: shardmap.Op{Kind: shardmap.OpGet, Key: key}} }

// OpIncr adds by, which may be negative, to key, as [Client.Incr] does.
func OpIncr(key []byte, by int64) Op {
	return Op{op: shardmap.Op{Kind: shardmap.OpIncr, Key: key, By: by}}
}

// SetOptions say how long a key lasts: at most one of TTL and Lease. A set without either
// removes the TTL or lease that the key had.
type SetOptions struct {
	// TTL is the time after which the cluster removes the key: 1 ms to [shardmap.TTLMax] ms,
	// rounded up to whole milliseconds. Time counts while the key's group has a leader: a key
	// never ends early, and ends late by as long as there was no leader.
	TTL time.Duration
	// HasTTL: TTL is meant even if it is 0, which is refused.
	HasTTL bool
	// Lease is a lease of the key's own slot, see [Client.Grant]; the key ends with it. 0:
	// none.
	Lease shardmap.LeaseID
}

func (o SetOptions) plain() bool { return o == SetOptions{} }

// ttl is a TTL as a caller gave it.
type ttl struct {
	is    time.Duration
	given bool
}

// ms returns the TTL in milliseconds, 0 where none was given.
func (t ttl) ms() (uint64, error) {
	if !t.given {
		return 0, nil
	}
	most := time.Duration(shardmap.TTLMax) * time.Millisecond
	switch {
	case t.is <= 0:
		return 0, wire.BadRequest("ttl", fmt.Sprintf("%s, want 1ms to %s", t.is, most), "give a longer one, or none")
	case t.is > most:
		return 0, wire.TooLarge("ttl", fmt.Sprintf("%s, the limit is %s", t.is, most), "give a shorter one, or none")
	}
	return uint64((t.is + time.Millisecond - 1) / time.Millisecond), nil // never early
}

// TxnResult says what a transaction did.
type TxnResult struct {
	Written
	Succeeded bool       // all compares held: Then was carried out, else Else
	Results   []OpResult // one for each operation that was carried out, in order
}

// OpResult says what one operation did.
type OpResult struct {
	Found   bool   // of a get: the key was there
	Value   []byte // of a get
	Version uint64 // of a get
	Deleted bool   // of a del: the key was there
	Number  int64  // of an incr: what the key has now
	number  bool   // there is one
}

// Txn runs a transaction once, however often it has to be sent. It returns when a majority
// has kept it; its keys and values are the caller's again then. Compares that do not hold
// are no error: see [TxnResult.Succeeded].
//
// Errors have these codes: bad-request or too-large for a transaction that means nothing or
// exceeds a limit; conflict for an incr of a value that is not a number, or whose sum would
// overflow; not-found for a lease that is gone; level in a cluster below level 5;
// maybe-applied if nobody knows whether it was carried out. With any but the last, nothing
// changed.
func (c *Client) Txn(ctx context.Context, t *Txn) (TxnResult, error) {
	r, err := t.run(ctx, c)
	if err != nil {
		return TxnResult{}, fmt.Errorf("txn: %w", err)
	}
	return r, nil
}

// run is [Client.Txn] without its name in errors.
func (t *Txn) run(ctx context.Context, c *Client) (TxnResult, error) {
	cmd, err := t.command()
	if err != nil {
		return TxnResult{}, err
	}
	x := newCall(wire.TypeWrite)
	defer x.release()
	if err := c.write(ctx, x, &cmd); err != nil {
		return TxnResult{}, err
	}
	r, err := readTxn(x.answer)
	if err == nil && !t.fits(&r) {
		err = errOddAnswer
	}
	return r, err
}

// fits reports whether r can be what t did. A caller that gave the operations may rely on
// results of their kinds.
func (t *Txn) fits(r *TxnResult) bool {
	ops := t.Then
	if !r.Succeeded {
		ops = t.Else
	}
	if len(r.Results) != len(ops) {
		return false
	}
	for i := range ops {
		x, kind := &r.Results[i], ops[i].op.Kind
		if x.Found && kind != shardmap.OpGet || x.number != (kind == shardmap.OpIncr) || x.Deleted && kind != shardmap.OpDel {
			return false
		}
	}
	return true
}

// command returns t as the cluster takes it.
func (t *Txn) command() (shardmap.Command, error) {
	for _, x := range [...]struct {
		object     string
		has, limit int
	}{
		{"if of a transaction", len(t.If), shardmap.TxnComparesMax},
		{"then of a transaction", len(t.Then), shardmap.TxnOpsMax},
		{"else of a transaction", len(t.Else), shardmap.TxnOpsMax},
	} {
		if x.has > x.limit {
			return shardmap.Command{}, overLimit(x.object, x.has, x.limit, "elements", "make several transactions of it")
		}
	}
	s := shardmap.Txn{If: make([]shardmap.Compare, 0, len(t.If))}
	for _, c := range t.If {
		s.If = append(s.If, c.compare)
	}
	var err error
	if s.Then, err = opsOf(t.Then); err != nil {
		return shardmap.Command{}, err
	}
	if s.Else, err = opsOf(t.Else); err != nil {
		return shardmap.Command{}, err
	}
	key, ok := t.key()
	if !ok {
		return shardmap.Command{}, wire.BadRequest("transaction", "it has no compare and no operation", "give it one")
	}
	if err := checkKey(key); err != nil {
		return shardmap.Command{}, err
	}
	return shardmap.TxnCommand(shardmap.SlotOf(key), &s), nil
}

// key returns the first key that t names.
func (t *Txn) key() (key []byte, ok bool) {
	switch {
	case len(t.If) > 0:
		return t.If[0].compare.Key, true
	case len(t.Then) > 0:
		return t.Then[0].op.Key, true
	case len(t.Else) > 0:
		return t.Else[0].op.Key, true
	}
	return nil, false
}

func opsOf(ops []Op) ([]shardmap.Op, error) {
	out := make([]shardmap.Op, len(ops))
	for i := range ops {
		var err error
		if out[i], err = ops[i].plain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plain returns o as the cluster takes it.
func (o *Op) plain() (op shardmap.Op, err error) {
	op = o.op
	if op.TTL, err = o.ttl.ms(); err != nil {
		return op, fmt.Errorf("key %s: %w", shardmap.ShowKey(op.Key), err)
	}
	return op, nil
}

// readTxn reads what answers a transaction.
func readTxn(body []byte) (r TxnResult, err error) {
	var a wire.TxnAnswer
	if err := a.Read(body); err != nil {
		return r, fmt.Errorf("answer to a transaction: %w", err)
	}
	r.Written = Written{Group: a.Group, ID: a.ID, Version: a.Version}
	r.Succeeded = a.Succeeded
	r.Results = make([]OpResult, 0, a.Count)
	for x, ok := a.Next(); ok; x, ok = a.Next() {
		r.Results = append(r.Results, OpResult{
			Found: x.Kind == wire.ResultValue, Value: bytes.Clone(x.Value), Version: x.Version,
			Deleted: x.Deleted, Number: x.Number, number: x.Kind == wire.ResultNumber,
		})
	}
	return r, nil
}

// Incr adds by, which may be negative, to the value of key and returns the sum. The value is
// a decimal int64; an absent key counts as 0. The key keeps its TTL or lease. An error of
// code conflict says that the value is no such number, or that the sum would overflow;
// nothing changed then. The other codes are those of [Client.Txn].
func (c *Client) Incr(ctx context.Context, key []byte, by int64) (int64, Written, error) {
	t := Txn{Then: []Op{OpIncr(key, by)}}
	r, err := t.run(ctx, c)
	if err != nil {
		return 0, Written{}, fmt.Errorf("incr %s: %w", shardmap.ShowKey(key), err)
	}
	return r.Results[0].Number, r.Written, nil
}

var errOddAnswer = errors.New("node answered another transaction")

// set sets a key if o asks for more than a plain set can do, or contradicts itself.
func (o *WriteOptions) set(ctx context.Context, c *Client, key, value []byte) (Written, error) {
	if err := o.check(); err != nil {
		return Written{}, badRequest(fmt.Sprintf("set %s", shardmap.ShowKey(key)), err)
	}
	w, err := o.setByTxn(ctx, c, key, value)
	if err != nil {
		return Written{}, fmt.Errorf("set %s: %w", shardmap.ShowKey(key), err)
	}
	return w, nil
}

// setByTxn sets a key by a transaction, which alone can compare a value, or set a TTL or a
// lease. A condition that does not hold is the same error as for a plain set: Else reads
// what is there instead.
func (o *WriteOptions) setByTxn(ctx context.Context, c *Client, key, value []byte) (Written, error) {
	t := o.txn(key, value)
	if len(t.If) > 0 {
		t.Else = []Op{OpGet(key)}
	}
	cmd, err := t.command()
	if err == nil {
		err = c.admitAll(ctx, []shardmap.Command{cmd})
	}
	if err != nil {
		return Written{}, err
	}
	x := newCall(wire.TypeWrite)
	defer x.release()
	err = c.write(ctx, x, &cmd)
	if len(t.If) > 0 && isCode(err, wire.CodeTooLarge) {
		// The transaction itself was admitted, so it is Else that read too much: the
		// condition did not hold.
		return Written{}, wire.Conflict(keyObject(key), fmt.Sprintf("it has a value of more than %d bytes, %s", shardmap.TxnReadMax, o.wants()))
	}
	if err != nil {
		return Written{}, err
	}
	r, err := readTxn(x.answer)
	switch {
	case err != nil:
		return Written{}, err
	case !t.fits(&r):
		return Written{}, errOddAnswer
	case r.Succeeded:
		return r.Written, nil
	}
	return Written{}, o.conflict(key, r.Results[0])
}

// txn returns the transaction that sets a key as o says.
func (o *WriteOptions) txn(key, value []byte) Txn {
	t := Txn{Then: []Op{OpSet(key, value, o.keeping())}}
	switch {
	case o.IfAbsent:
		t.If = []Compare{IfAbsent(key)}
	case o.HasVersion:
		t.If = []Compare{IfVersion(key, o.IfVersion)}
	case o.hasValue():
		t.If = []Compare{IfValue(key, o.IfValue)}
	}
	return t
}

// conflict is the error of a condition that did not hold, with what was there.
func (o *WriteOptions) conflict(key []byte, found OpResult) error {
	switch {
	case !found.Found:
		return wire.Conflict(keyObject(key), "it is absent, "+o.wants())
	case o.IfAbsent:
		return wire.Conflict(keyObject(key), fmt.Sprintf("it exists, at version %d, %s", found.Version, o.wants()))
	case o.HasVersion:
		return wire.Conflict(keyObject(key), fmt.Sprintf("it is at version %d, %s", found.Version, o.wants()))
	}
	return wire.Conflict(keyObject(key), fmt.Sprintf("its value is another one, of %s at version %d, %s", bytesText(len(found.Value)), found.Version, o.wants()))
}

// wants says what the condition of o asks for.
func (o *WriteOptions) wants() string {
	switch {
	case o.IfAbsent:
		return "the condition wants it absent"
	case o.HasVersion:
		return fmt.Sprintf("the condition wants version %d", o.IfVersion)
	}
	return "the condition wants a value of " + bytesText(len(o.IfValue))
}

func bytesText(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// keyObject names a key as the object of a refusal, as nodes do.
func keyObject(key []byte) string { return fmt.Sprintf("key %q", key) }
