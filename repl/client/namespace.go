package client

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"time"

	"muster/shardmap"
)

// Namespace is a client for the keys that begin with a prefix, under names without it: it puts the
// prefix before each key that it is given, and takes it off each that it returns. Its methods do what
// those of [Client] do, and any number of goroutines may call them.
//
// The prefix counts among the 4,096 bytes that a key may have. Errors are
// those of the client: their texts name whole keys, as the nodes and the command line do, while the
// fields of a [PartlyError] have keys without the prefix. The key that is the prefix alone is not in
// the namespace, for nothing would be left of its name.
//
// A {tag} in the prefix puts all keys of the namespace into one slot, so that a transaction may be of
// any of them; otherwise the tags of the keys count, as ever.
//
// A namespace keeps names apart, and protects nothing: whoever may use the client may use all keys
// that its user may. For calls that have no method here, use the client and [Namespace.Key].
type Namespace struct {
	client *Client
	prefix []byte
}

// In returns the namespace of the keys that begin with prefix, such as "app/". With an empty prefix it
// has all keys. With one of 4,096 bytes or more no key fits: calls end with
// [ErrTooLarge].
func In(c *Client, prefix string) *Namespace {
	return &Namespace{client: c, prefix: []byte(prefix)}
}

// In returns a namespace in n: of the keys that begin with n's prefix and then this one.
func (n *Namespace) In(prefix string) *Namespace {
	return In(n.client, string(n.prefix)+prefix)
}

// Key returns the whole key of one of n: what the client and other programs call it.
func (n *Namespace) Key(key []byte) []byte {
	return append(append(make([]byte, 0, len(n.prefix)+len(key)), n.prefix...), key...)
}

// prefixed returns key with the prefix before it, in a buffer that is used again; key itself where there is no prefix, or
// where it has no bytes, so that it is refused.
func prefixed(buf *[]byte, before, key []byte) []byte {
	if len(before) == 0 || len(key) == 0 {
		return key
	}
	*buf = append(append((*buf)[:0], before...), key...)
	return *buf
}

// whole is Key for a request. A key of no bytes stays one, so that the client refuses it.
func (n *Namespace) whole(key []byte) []byte {
	if len(key) == 0 {
		return key
	}
	return n.Key(key)
}

func (n *Namespace) wholes(keys [][]byte) [][]byte {
	out := make([][]byte, len(keys))
	for i, key := range keys {
		out[i] = n.whole(key)
	}
	return out
}

// bare takes the prefix off a key that has it.
func (n *Namespace) bare(key []byte) []byte { return key[min(len(n.prefix), len(key)):] }

// partly takes the prefix off the keys of a [PartlyError] in err, which is of this call alone.
func (n *Namespace) partly(err error) error {
	var p *PartlyError
	if errors.As(err, &p) {
		p.before = n.prefix
		for i := range p.Items {
			p.Items[i].Key = n.bare(p.Items[i].Key)
		}
	}
	return err
}

// Get is [Client.Get].
func (n *Namespace) Get(ctx context.Context, keys [][]byte, o ReadOptions) (items []Item, missing [][]byte, err error) {
	items, missing, err = n.client.Get(ctx, n.wholes(keys), o)
	for i := range items {
		items[i].Key = n.bare(items[i].Key)
	}
	for i := range missing {
		missing[i] = n.bare(missing[i])
	}
	return items, missing, n.partly(err)
}

// GetOne is [Client.GetOne].
func (n *Namespace) GetOne(ctx context.Context, key, dst []byte, o ReadOptions) (value []byte, version uint64, ok bool, err error) {
	return n.client.GetOne(ctx, n.whole(key), dst, o)
}

// Set is [Client.Set].
func (n *Namespace) Set(ctx context.Context, key, value []byte, o WriteOptions) (Written, error) {
	return n.client.Set(ctx, n.whole(key), value, o)
}

// SetMany is [Client.SetMany].
func (n *Namespace) SetMany(ctx context.Context, pairs []Pair) ([]Written, error) {
	pairs = slices.Clone(pairs)
	for i := range pairs {
		pairs[i].Key = n.whole(pairs[i].Key)
	}
	written, err := n.client.SetMany(ctx, pairs)
	return written, n.partly(err)
}

// Delete is [Client.Delete].
func (n *Namespace) Delete(ctx context.Context, keys ...[]byte) ([]Deleted, error) {
	all, err := n.client.Delete(ctx, n.wholes(keys)...)
	for _, d := range all {
		for i := range d.Keys {
			d.Keys[i] = n.bare(d.Keys[i])
		}
	}
	return all, n.partly(err)
}

// DeleteIf is [Client.DeleteIf].
func (n *Namespace) DeleteIf(ctx context.Context, key []byte, version uint64) (Deleted, error) {
	d, err := n.client.DeleteIf(ctx, n.whole(key), version)
	for i := range d.Keys {
		d.Keys[i] = n.bare(d.Keys[i])
	}
	return d, err
}

// DeletePrefix is [DeletePrefix]. With an empty prefix it deletes all keys of the namespace, and also the key that is the
// namespace's prefix alone, if there is one.
func (n *Namespace) DeletePrefix(ctx context.Context, prefix []byte, o PrefixOptions) (PrefixDeleted, error) {
	return DeletePrefix(ctx, n.client, n.Key(prefix), o)
}

// Bulk is [Client.Bulk], whose keys get the prefix.
func (n *Namespace) Bulk(ctx context.Context, bytesMax int, done func(tag uint64, w Written, err error)) *Bulk {
	b := n.client.Bulk(ctx, bytesMax, done)
	b.before = n.prefix
	return b
}

// Pipe is [Client.Pipe], whose keys get the prefix.
func (n *Namespace) Pipe(ctx context.Context, inFlight int, done func(*Outcome)) *Pipe {
	p := n.client.Pipe(ctx, inFlight, done)
	p.before = n.prefix
	return p
}

// Incr is [Client.Incr].
func (n *Namespace) Incr(ctx context.Context, key []byte, by int64) (int64, Written, error) {
	return n.client.Incr(ctx, n.whole(key), by)
}

// Txn is [Client.Txn].
func (n *Namespace) Txn(ctx context.Context, t *Txn) (TxnResult, error) {
	whole := Txn{If: slices.Clone(t.If), Then: slices.Clone(t.Then), Else: slices.Clone(t.Else)}
	for i := range whole.If {
		whole.If[i].compare.Key = n.whole(whole.If[i].compare.Key)
	}
	for _, ops := range [...][]Op{whole.Then, whole.Else} {
		for i := range ops {
			ops[i].op.Key = n.whole(ops[i].op.Key)
		}
	}
	return n.client.Txn(ctx, &whole)
}

// Grant is [Client.Grant]. The lease is kept alive and revoked by the client, which knows it by its id.
func (n *Namespace) Grant(ctx context.Context, forKey []byte, d time.Duration) (Lease, error) {
	return n.client.Grant(ctx, n.whole(forKey), d)
}

// List is [Client.List].
func (n *Namespace) List(ctx context.Context, prefix []byte, o ListOptions) iter.Seq2[ListItem, error] {
	limit := o.Limit
	if limit > 0 && limit < math.MaxInt {
		o.Limit++ // for the key that is the prefix alone, which is passed over
	}
	o = n.between(o)
	return func(yield func(ListItem, error) bool) {
		given := 0
		for item, err := range n.client.List(ctx, n.Key(prefix), o) {
			if err == nil && len(item.Key) == len(n.prefix) {
				continue
			}
			item.Key = n.bare(item.Key)
			if given++; !yield(item, err) || given == limit {
				return
			}
		}
	}
}

// Locate is [Client.Locate].
func (n *Namespace) Locate(ctx context.Context, key []byte) (Location, error) {
	return n.client.Locate(ctx, n.whole(key))
}

// Count is [Count].
func (n *Namespace) Count(ctx context.Context, prefix []byte, o ListOptions) (uint64, error) {
	if o = n.between(o); len(prefix) == 0 && len(o.From) == 0 && len(n.prefix) > 0 {
		o.From = shardmap.KeyAfter(n.prefix) // without the key that is the prefix alone
	}
	return Count(ctx, n.client, n.Key(prefix), o)
}

// between puts the prefix before the keys in o. One without bytes stays so, and bounds nothing.
func (n *Namespace) between(o ListOptions) ListOptions {
	o.After, o.From, o.To = n.whole(o.After), n.whole(o.From), n.whole(o.To)
	return o
}

// History is [History].
func (n *Namespace) History(ctx context.Context, key []byte, o HistoryOptions) iter.Seq2[Version, error] {
	return History(ctx, n.client, n.whole(key), o)
}

// Watch is [Client.Watch]. A query that is of all keys is of all in the namespace.
func (n *Namespace) Watch(ctx context.Context, q WatchQuery) *Watch {
	switch {
	case q.Services: // which have names of their own
	case q.Key != nil:
		q.Key = n.whole(q.Key)
	case q.From != nil || q.To != nil:
		if q.From = n.Key(q.From); q.To != nil {
			q.To = n.Key(q.To)
		} else {
			q.To = shardmap.EndOfPrefix(n.prefix)
		}
		if len(q.Prefix) > 0 { // which the client refuses beside a range
			q.Prefix = n.Key(q.Prefix)
		}
	default:
		q.Prefix = n.Key(q.Prefix)
	}
	w := n.client.Watch(ctx, q)
	if !q.Services {
		w.before = n.prefix
	}
	return w
}
