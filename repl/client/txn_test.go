package client

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// newFakeOfLevel5 returns a cluster that has transactions.
func newFakeOfLevel5(t testing.TB, nodes, groups int) *fakeCluster {
	f := newFake(t, nodes, groups)
	f.raise()
	return f
}

// A transaction carries out one of its branches, in order, and answers what each of its
// operations did.
func TestTxn(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	a, b := []byte("{cart}/a"), []byte("{cart}/b")
	txn := &Txn{
		If:   []Compare{IfAbsent(a)},
		Then: []Op{OpSet(a, []byte("1"), SetOptions{}), OpIncr(b, -7), OpGet(a), OpDel([]byte("{cart}/none"))},
		Else: []Op{OpGet(a), OpDel(b), OpGet(b)},
	}
	first, err := c.Txn(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	if w := first.Written; !first.Succeeded || w.Version == 0 || int(w.Group) != f.groupOf(shardmap.SlotOf(a)) || w.ID.Index == 0 {
		t.Errorf("got %+v", first)
	}
	want := []OpResult{{}, {Number: -7, number: true}, {Found: true, Value: []byte("1"), Version: first.Version}, {}}
	if fmt.Sprint(first.Results) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", first.Results, want)
	}
	second, err := c.Txn(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	want = []OpResult{{Found: true, Value: []byte("1"), Version: first.Version}, {Deleted: true}, {}}
	if second.Succeeded || fmt.Sprint(second.Results) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", second, want)
	}
	third, err := c.Txn(ctx, &Txn{If: []Compare{IfVersion(a, first.Version), IfValue(a, []byte("1"))}})
	if err != nil || !third.Succeeded || len(third.Results) != 0 {
		t.Errorf("only conditions: got %+v, %v", third, err)
	}
}

// A counter is exact though connections end with requests on them, leaders change, and its
// slot moves: each increment is sent again and again, and counts once.
func TestIncrCountsOnce(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 4)
	c := f.open(Options{})
	var writes, faults atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeWrite && writes.Add(1)%17 == 3 {
				faults.Add(1)
				return fakeOrder{hangUp: true}
			}
			return fakeOrder{}
		})
	}
	f.moveAround(t, shardmap.SlotOf([]byte("hits")))
	const callers, each = 8, 40
	ctx := within(t, busyMax+10*time.Second)
	var wg sync.WaitGroup
	var sum atomic.Int64
	for i := range callers {
		wg.Go(func() {
			for n := range each {
				by := int64(i - n%3)
				if _, _, err := c.Incr(ctx, []byte("hits"), by); err != nil {
					t.Errorf("incr: %v", err)
					return
				}
				sum.Add(by)
			}
		})
	}
	wg.Wait()
	got, w, err := c.Incr(ctx, []byte("hits"), 0)
	if err != nil || got != sum.Load() || w.Version == 0 {
		t.Errorf("got %d at %+v (%v), want %d", got, w, err, sum.Load())
	}
	if faults.Load() < 5 {
		t.Errorf("only %d faults", faults.Load())
	}
}

// A key that has no number, or whose number would overflow, is a conflict, and stays as it
// is.
func TestIncrRefused(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	for value, by := range map[string]int64{"blue": 1, fmt.Sprint(math.MaxInt64): 1} {
		if _, err := c.Set(ctx, []byte("k"), []byte(value), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Incr(ctx, []byte("k"), by)
		if codeOf(err) != wire.CodeConflict || !strings.HasPrefix(err.Error(), `incr "k": conflict: key k`) {
			t.Errorf("incr of %s: got %v", value, err)
		}
		if got, _, _, err := c.GetOne(ctx, []byte("k"), nil, ReadOptions{}); err != nil || string(got) != value {
			t.Errorf("got %s (%v), want %s", got, err, value)
		}
	}
}

// A condition beside a TTL is the same to its caller as one without, though it goes as a
// transaction: a conflict, with what was there.
func TestSetWithConditions(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	large := bytes.Repeat([]byte("v"), shardmap.TxnReadMax+1)
	set := func(key, value string) uint64 {
		w, err := c.Set(ctx, []byte(key), []byte(value), WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return w.Version
	}
	there := set("there", "blue")
	set("large", string(large))
	set("empty", "")
	const ttl = 1500*time.Millisecond + time.Nanosecond // 1501 ms: never early
	for _, x := range []struct {
		key  string
		o    WriteOptions
		want string // empty: it is set
	}{
		{"new", WriteOptions{IfAbsent: true, TTL: ttl}, ""},
		{"there", WriteOptions{IfAbsent: true, TTL: ttl}, fmt.Sprintf(`it exists, at version %d, the condition wants it absent`, there)},
		{"there", WriteOptions{HasVersion: true, IfVersion: 999, TTL: ttl}, fmt.Sprintf(`it is at version %d, the condition wants version 999`, there)},
		{"none", WriteOptions{HasVersion: true, IfVersion: 999, TTL: ttl}, `it is absent, the condition wants version 999`},
		{"there", WriteOptions{IfValue: []byte("green")}, fmt.Sprintf(`its value is another one, of 4 bytes at version %d, the condition wants a value of 5 bytes`, there)},
		{"none", WriteOptions{HasValue: true}, `it is absent, the condition wants a value of 0 bytes`},
		{"large", WriteOptions{IfValue: []byte("green")}, `it has a value of more than 65536 bytes, the condition wants a value of 5 bytes`},
		{"large", WriteOptions{IfAbsent: true, TTL: ttl}, `it has a value of more than 65536 bytes, the condition wants it absent`},
		{"empty", WriteOptions{HasValue: true}, ""},
		{"large", WriteOptions{IfValue: large}, ""},
		{"there", WriteOptions{IfValue: []byte("blue"), TTL: ttl}, ""},
		{"plain", WriteOptions{TTL: ttl}, ""},
	} {
		w, err := c.Set(ctx, []byte(x.key), []byte("next"), x.o)
		if x.want == "" {
			got, version, _, rerr := c.GetOne(ctx, []byte(x.key), nil, ReadOptions{})
			if err != nil || rerr != nil || string(got) != "next" || version != w.Version || w.Version == 0 {
				t.Errorf("set %s %+v: got %+v, %v; then %s at %d", x.key, x.o, w, err, got, version)
			}
			continue
		}
		if codeOf(err) != wire.CodeConflict || w != (Written{}) || !strings.Contains(err.Error(), fmt.Sprintf("set %q: conflict: key %q", x.key, x.key)) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("set %s %+v: got %v, want %s", x.key, x.o, err, x.want)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fmt.Sprint(f.ttls) != "[1501 1501 1501]" {
		t.Errorf("got TTLs %v", f.ttls)
	}
}

// What means nothing, or is over a limit, is refused before anything is sent, with the
// field named.
func TestTxnRefused(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	var sent atomic.Int64
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type == wire.TypeWrite {
			sent.Add(1)
		}
		return fakeOrder{}
	})
	k, other := []byte("k"), []byte("another")
	slot, slot2 := shardmap.SlotOf(k), shardmap.SlotOf(other)
	if slot == slot2 {
		t.Fatal("the two keys are in one slot")
	}
	foreign := shardmap.MakeLeaseID(slot2, 17)
	many := make([]Op, shardmap.TxnOpsMax+1)
	compares := make([]Compare, shardmap.TxnComparesMax+1)
	for i := range many {
		many[i] = OpSet(fmt.Appendf(nil, "{k}%d", i), nil, SetOptions{})
	}
	for i := range compares {
		compares[i] = IfAbsent(k)
	}
	year := 365 * 24 * time.Hour
	set := func(o WriteOptions) func() error {
		return func() error { _, err := c.Set(ctx, k, nil, o); return err }
	}
	txn := func(x Txn) func() error {
		return func() error { _, err := c.Txn(ctx, &x); return err }
	}
	setMany := func(o SetOptions) func() error {
		return func() error {
			_, err := c.SetMany(ctx, []Pair{{Key: other}, {Key: k, SetOptions: o}})
			return err
		}
	}
	for _, x := range []struct {
		name string
		call func() error
		code wire.Code
		want []string
	}{
		{"no TTL", set(WriteOptions{HasTTL: true}), wire.CodeBadRequest, []string{"ttl", "0s", "1ms to"}},
		{"negative TTL", set(WriteOptions{TTL: -time.Second}), wire.CodeBadRequest, []string{"ttl", "-1s"}},
		{"long TTL", set(WriteOptions{TTL: 11 * year}), wire.CodeTooLarge, []string{"ttl", "96360h", "87600h"}},
		{"TTL and lease", set(WriteOptions{TTL: time.Second, Lease: shardmap.MakeLeaseID(slot, 1)}), wire.CodeBadRequest, []string{"ttl", "lease"}},
		{"foreign lease", set(WriteOptions{Lease: foreign}), wire.CodeBadRequest, []string{"lease", fmt.Sprint("slot ", slot), fmt.Sprint("slot ", slot2)}},
		{"two conditions", set(WriteOptions{IfAbsent: true, IfValue: k, TTL: time.Second}), wire.CodeBadRequest, []string{"more than one"}},
		{"value and version", set(WriteOptions{HasVersion: true, IfVersion: 7, HasValue: true}), wire.CodeBadRequest, []string{"more than one"}},
		{"version 0", set(WriteOptions{HasVersion: true, TTL: time.Second}), wire.CodeBadRequest, []string{"version"}},
		{"long value", func() error {
			_, err := c.Set(ctx, k, make([]byte, f.valueMax+1), WriteOptions{IfAbsent: true, TTL: time.Second})
			return err
		}, wire.CodeTooLarge, []string{"value", fmt.Sprint(f.valueMax)}},
		{"many with a bad TTL", setMany(SetOptions{HasTTL: true}), wire.CodeBadRequest, []string{`key "k"`, "ttl"}},
		{"many with a foreign lease", setMany(SetOptions{Lease: foreign}), wire.CodeBadRequest, []string{"lease"}},
		{"nothing", txn(Txn{}), wire.CodeBadRequest, []string{"no compare and no operation"}},
		{"no key", txn(Txn{Then: []Op{OpDel(nil)}}), wire.CodeBadRequest, []string{"key"}},
		{"long key", txn(Txn{Then: []Op{OpDel(make([]byte, shardmap.KeyMax+1))}}), wire.CodeTooLarge, []string{"key"}},
		{"two slots", txn(Txn{If: []Compare{IfAbsent(k)}, Else: []Op{OpDel(other)}}), wire.CodeBadRequest, []string{fmt.Sprint("slot ", slot), fmt.Sprint("slot ", slot2)}},
		{"changed twice", txn(Txn{Then: []Op{OpDel(k), OpIncr(k, 1)}}), wire.CodeBadRequest, []string{"then", "twice"}},
		{"many operations", txn(Txn{Then: many}), wire.CodeTooLarge, []string{"then", "129", "128"}},
		{"many compares", txn(Txn{If: compares}), wire.CodeTooLarge, []string{"if", "129", "128"}},
		{"bad TTL", txn(Txn{Else: []Op{OpSet(k, nil, SetOptions{TTL: -1})}}), wire.CodeBadRequest, []string{`key "k"`, "ttl"}},
		{"grant for no time", func() error { _, err := c.Grant(ctx, k, 0); return err }, wire.CodeBadRequest, []string{"ttl", "0s"}},
		{"grant for long", func() error { _, err := c.Grant(ctx, k, 11*year); return err }, wire.CodeTooLarge, []string{"ttl"}},
		{"grant for nobody", func() error { _, err := c.Grant(ctx, nil, time.Second); return err }, wire.CodeBadRequest, []string{"key"}},
		{"no lease", func() error { _, err := c.Keepalive(ctx, 0); return err }, wire.CodeBadRequest, []string{"lease 0.0"}},
		{"lease 0 of a slot", func() error { _, err := c.Revoke(ctx, shardmap.MakeLeaseID(7, 0)); return err }, wire.CodeBadRequest, []string{"lease 7.0"}},
	} {
		err := x.call()
		if codeOf(err) != x.code {
			t.Errorf("%s: got %v, want code %s", x.name, err, x.code)
			continue
		}
		for _, w := range x.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %v, want %q in it", x.name, err, w)
			}
		}
	}
	if n := sent.Load(); n != 0 {
		t.Errorf("%d writes were sent", n)
	}
}

// A cluster of a lower level refuses what it does not have, by a typed error, and nothing
// of it took place, be it of many keys.
func TestBelowTheLevel(t *testing.T) {
	f := newFake(t, 3, 8)
	f.move(0, 1) // of level 4
	f.record()
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	k := []byte("k")
	for name, call := range map[string]func() error{
		"txn":       func() error { _, err := c.Txn(ctx, &Txn{Then: []Op{OpDel(k)}}); return err },
		"incr":      func() error { _, _, err := c.Incr(ctx, k, 1); return err },
		"ttl":       func() error { _, err := c.Set(ctx, k, nil, WriteOptions{TTL: time.Second}); return err },
		"if-value":  func() error { _, err := c.Set(ctx, k, nil, WriteOptions{HasValue: true}); return err },
		"grant":     func() error { _, err := c.Grant(ctx, k, time.Second); return err },
		"keepalive": func() error { _, err := c.Keepalive(ctx, shardmap.MakeLeaseID(1, 1)); return err },
		"leases": func() (err error) {
			for _, err = range c.Leases(ctx) {
				return err
			}
			return nil
		},
		"many": func() error {
			pairs := make([]Pair, 50)
			for i := range pairs {
				pairs[i] = Pair{Key: fmt.Append(nil, i), SetOptions: SetOptions{TTL: time.Second}}
			}
			_, err := c.SetMany(ctx, pairs)
			var p *PartlyError
			if !errors.As(err, &p) || len(p.Items) != len(pairs) {
				t.Errorf("set of many: got %v", err)
			}
			return err
		},
	} {
		if err := call(); codeOf(err) != wire.CodeLevel || !strings.Contains(err.Error(), "needs level 5, the cluster is at 4") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied != 0 || len(f.data) != 0 {
		t.Errorf("%d writes were applied", f.applied)
	}
}

// Of many keys some may have TTLs, and others not; each is as it was asked for.
func TestSetManyWithTTL(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	pairs := make([]Pair, 60)
	for i := range pairs {
		pairs[i] = Pair{Key: fmt.Appendf(nil, "{%d}/%d", i/3, i), Value: fmt.Append(nil, i)}
		if i%4 == 0 {
			pairs[i].TTL = time.Duration(i+1) * time.Second
		}
	}
	written, err := c.SetMany(within(t, 10*time.Second), pairs)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		if v := f.data[string(p.Key)]; string(v.value) != fmt.Sprint(i) || v.version != written[i].Version || v.version == 0 {
			t.Errorf("%s: got %s at %d, want version %d", p.Key, v.value, v.version, written[i].Version)
		}
	}
	if len(f.ttls) != len(pairs)/4 {
		t.Errorf("%d TTLs", len(f.ttls))
	}
}

// A node that answers with what can't be the results of a transaction is found out: its
// caller takes them by the operations that it gave.
func TestTxnAnswerThatDoesNotFit(t *testing.T) {
	k := []byte("k")
	txn := &Txn{Then: []Op{OpIncr(k, 1), OpGet(k)}, Else: []Op{OpDel(k)}}
	value := OpResult{Found: true, Version: 1}
	for _, x := range []struct {
		r    TxnResult
		want bool
	}{
		{TxnResult{Succeeded: true, Results: []OpResult{{number: true}, value}}, true},
		{TxnResult{Succeeded: true, Results: []OpResult{{number: true}, {}}}, true},
		{TxnResult{Results: []OpResult{{Deleted: true}}}, true},
		{TxnResult{Results: []OpResult{{}}}, true},
		{TxnResult{Succeeded: true}, false},
		{TxnResult{Succeeded: true, Results: []OpResult{{number: true}}}, false},
		{TxnResult{Succeeded: true, Results: []OpResult{{}, value}}, false},
		{TxnResult{Succeeded: true, Results: []OpResult{{number: true}, {number: true}}}, false},
		{TxnResult{Succeeded: true, Results: []OpResult{{number: true}, {Deleted: true}}}, false},
		{TxnResult{Results: []OpResult{value}}, false},
		{TxnResult{Results: []OpResult{{}, {}}}, false},
	} {
		if got := txn.fits(&x.r); got != x.want {
			t.Errorf("%+v: got %v", x.r, got)
		}
	}
}

// A transaction whose fate nobody knows says so.
func TestTxnMaybeApplied(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder { return fakeOrder{silent: h.Type == wire.TypeWrite} })
	_, _, err := c.Incr(within(t, 300*time.Millisecond), []byte("k"), 1)
	if codeOf(err) != wire.CodeMaybeApplied {
		t.Errorf("got %v", err)
	}
}
