package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"muster/raft"
)

// endsWorld is a map of one slot, its twin that began anew with a snapshot now and then, and
// where both stand.
type endsWorld struct {
	t     *testing.T
	m     *Map
	index uint64
	now   raft.GroupTime
}

func newEndsWorld(t *testing.T) *endsWorld {
	return &endsWorld{t: t, m: owning([]Slot{txnSlot})}
}

func (w *endsWorld) apply(c Command) Result {
	w.t.Helper()
	w.index++
	if err := c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
		w.t.Fatal(err)
	}
	r := apply(w.t, w.m, w.index, w.now, &c)
	r.Detail = bytes.Clone(r.Detail)
	return r
}

// set sets a key that ends after ttl ms, or with a lease, or never.
func (w *endsWorld) set(name string, ttl uint64, lease LeaseID) Result {
	w.t.Helper()
	return w.apply(TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpSet, Key: key(name), Value: key("v"), TTL: ttl, Lease: lease}}}))
}

func (w *endsWorld) grant(ttl uint64) LeaseID {
	w.t.Helper()
	r := w.apply(LeaseCommand(txnSlot, LeaseGrant, 0, ttl))
	id, lasts, err := ReadLeaseDetail(&r)
	if r.Status != StatusApplied || err != nil || lasts != ttl || id.Slot() != txnSlot || id.Number() != r.Version {
		w.t.Fatalf("granted is %s for %d ms, %+v, %v", id, lasts, r, err)
	}
	return id
}

// expire applies a time entry at now.
func (w *endsWorld) expire(now raft.GroupTime) {
	w.t.Helper()
	w.index++
	w.now = now
	if err := w.m.Expire(raft.LogID{Term: 1, Index: w.index}, now); err != nil {
		w.t.Fatal(err)
	}
}

// there reports which of the names are keys.
func (w *endsWorld) there(names ...string) (there []string) {
	for _, n := range names {
		if _, _, is := w.m.Get(key(n), nil); is == Present {
			there = append(there, n)
		}
	}
	return there
}

func (w *endsWorld) want(names string, all ...string) {
	w.t.Helper()
	if got := strings.Join(w.there(all...), " "); got != names {
		w.t.Fatalf("at %d there are %q, want %q", w.now, got, names)
	}
}

const ms = raft.GroupTime(millisecond)

// A key is there until the entry that ends it: not a nanosecond before its time, and not by a
// read, a write or an entry of another kind that comes after it.
func TestKeyEndsAtItsEntry(t *testing.T) {
	w := newEndsWorld(t)
	w.set("{t}a", 1000, 0)
	if at, waits := w.m.NextDue(); !waits || at != 1000*ms+endGather {
		t.Fatalf("the next look is at %d, %t", at, waits)
	}
	w.now = 2000 * ms
	w.set("{t}b", 0, 0)
	w.want("{t}a {t}b", "{t}a", "{t}b")
	w = newEndsWorld(t)
	w.set("{t}a", 1000, 0)
	w.expire(1000*ms - 1)
	w.want("{t}a", "{t}a")
	last := w.m.slot(txnSlot).last
	w.expire(1000 * ms)
	w.want("", "{t}a")
	if st := w.m.slot(txnSlot); st.last <= last || !st.empty() || st.format() != slotFormatBare {
		t.Errorf("the slot's last version was %d and is %d; it is empty: %t, and needs format %d", last, st.last, st.empty(), st.format())
	}
	if at, waits := w.m.NextDue(); waits {
		t.Errorf("nothing is left, and the next look is at %d", at)
	}
}

// A plain set or a del takes a key's end away, and so does another set of a transaction; a count
// keeps it.
func TestWhatEndsAKey(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(w *endsWorld)
		want string
	}{
		{"nothing", func(w *endsWorld) {}, ""},
		{"a set", func(w *endsWorld) {
			w.apply(Command{Kind: CommandSet, Slot: txnSlot, Items: items("{t}timed", "1", "{t}leased", "1")})
		}, "{t}timed {t}leased"},
		{"a set in a transaction", func(w *endsWorld) { w.set("{t}timed", 0, 0); w.set("{t}leased", 0, 0) }, "{t}timed {t}leased"},
		{"a longer time", func(w *endsWorld) { w.set("{t}timed", 5000, 0); w.set("{t}leased", 5000, 0) }, "{t}timed {t}leased"},
		{"a count", func(w *endsWorld) {
			w.apply(TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpIncr, Key: key("{t}timed"), By: 1}, {Kind: OpIncr, Key: key("{t}leased"), By: 1}}}))
		}, ""},
		{"made anew", func(w *endsWorld) {
			w.apply(Command{Kind: CommandDel, Slot: txnSlot, Items: [][]byte{key("{t}timed"), key("{t}leased")}})
			w.set("{t}timed", 0, 0)
		}, "{t}timed"},
	} {
		w := newEndsWorld(t)
		lease := w.grant(1000)
		for name, op := range map[string]Op{"{t}timed": {TTL: 1000}, "{t}leased": {Lease: lease}} {
			op.Kind, op.Key, op.Value = OpSet, key(name), key("0")
			w.apply(TxnCommand(txnSlot, &Txn{Then: []Op{op}}))
		}
		c.do(w)
		w.expire(1000 * ms)
		if got := strings.Join(w.there("{t}timed", "{t}leased"), " "); got != c.want {
			t.Errorf("after %s there are %q, want %q", c.what, got, c.want)
		}
		if st := w.m.slot(txnSlot); st.endings.attached.count != 0 || len(st.endings.keys) != 0 {
			t.Errorf("after %s %d keys still end with the lease, of leases %v", c.what, st.endings.attached.count, st.endings.keys)
		}
	}
}

// A keepalive counts until the entry that ends the lease is applied, however late that is; and
// then there is no lease, and none of its keys.
func TestLeaseIsKeptAlive(t *testing.T) {
	w := newEndsWorld(t)
	lease := w.grant(1000)
	w.set("{t}a", 0, lease)
	w.now = 1500 * ms // it is over, and no entry has said so
	if r := w.apply(LeaseCommand(txnSlot, LeaseKeepalive, lease, 0)); r.Status != StatusApplied {
		t.Fatalf("kept alive: %+v", r)
	}
	w.expire(2500*ms - 1)
	w.want("{t}a", "{t}a")
	if rows, _ := w.m.Leases(w.m.Time(), []SlotRange{{0, Slots - 1}}, 0, 10); len(rows) != 1 || rows[0] != (LeaseRow{ID: lease, TTL: 1000, Keys: 1}) {
		t.Errorf("leases are %+v", rows)
	}
	w.expire(2500 * ms)
	w.want("", "{t}a")
	for _, op := range []LeaseOp{LeaseKeepalive, LeaseRevoke} {
		r := w.apply(LeaseCommand(txnSlot, op, lease, 0))
		if id, _, err := ReadLeaseDetail(&r); r.Status != StatusNoLease || id != lease || err != nil {
			t.Errorf("%s of a lease that is gone: %+v, %v", op, r, err)
		}
	}
	if r := w.set("{t}a", 0, lease); r.Status != StatusNoLease {
		t.Errorf("a key with a lease that is gone: %+v", r)
	}
	w.want("", "{t}a")

	revoked := w.grant(1000)
	w.set("{t}a", 0, revoked)
	w.set("{t}b", 0, 0)
	w.apply(LeaseCommand(txnSlot, LeaseRevoke, revoked, 0))
	w.want("{t}b", "{t}a", "{t}b")
}

// leaseOfAnother has users do things to each other's leases. It returns what was allowed, or refused,
// against what should be, or "".
func leaseOfAnother(t *testing.T) string {
	w := newEndsWorld(t)
	by := func(p Principal, c Command) Result {
		c.Principal = p
		return w.apply(c)
	}
	granted := by(7, LeaseCommand(txnSlot, LeaseGrant, 0, 1000))
	lease, _, err := ReadLeaseDetail(&granted)
	if err != nil {
		t.Fatal(err)
	}
	w.set("{t}a", 0, lease)
	// A replica that began with a snapshot in between does the same.
	for range 2 {
		for _, c := range []struct {
			by   Principal
			want Status
		}{{8, StatusNoLease}, {7, StatusApplied}, {0, StatusApplied}} {
			if r := by(c.by, LeaseCommand(txnSlot, LeaseKeepalive, lease, 0)); r.Status != c.want {
				return fmt.Sprintf("kept alive by %d: %+v", c.by, r)
			}
		}
		if r := by(8, LeaseCommand(txnSlot, LeaseRevoke, lease, 0)); r.Status != StatusNoLease {
			return fmt.Sprintf("revoked by another: %+v", r)
		}
		w.want("{t}a", "{t}a")
		twin := NewMap(testGroup)
		if err := twin.Load(bytes.NewReader(mapBytes(t, w.m)), w.m.Applied(), w.m.Time()); err != nil {
			t.Fatal(err)
		}
		if w.m = twin; digestOf(twin, txnSlot) == 0 {
			return "a snapshot brings nothing"
		}
	}
	if r := by(7, LeaseCommand(txnSlot, LeaseRevoke, lease, 0)); r.Status != StatusApplied {
		return fmt.Sprintf("revoked by its own user: %+v", r)
	}
	w.want("", "{t}a")
	return ""
}

// Numbers of leases can be guessed, and with a lease go its keys: so it is for whoever was granted
// it alone, for as long as it lasts, and through snapshots.
func TestLeaseBelongsToItsUser(t *testing.T) {
	if wrong := leaseOfAnother(t); wrong != "" {
		t.Error(wrong)
	}
}

// One entry ends a bounded part of many keys, in the order of their times, and the next one the
// next part; but a lease goes with all its keys. A replica that began with a snapshot in between
// does the same.
func TestOneTimeEntryEndsABoundedPart(t *testing.T) {
	w := newEndsWorld(t)
	for i := range expireMax + 10 {
		w.set(fmt.Sprintf("{t}%05d", i), uint64(1+i), 0)
	}
	lease := w.grant(expireMax + 100)
	const attached = expireMax + 500
	for i := 0; i < attached; i += TxnOpsMax {
		var x Txn
		for k := i; k < min(i+TxnOpsMax, attached); k++ {
			x.Then = append(x.Then, Op{Kind: OpSet, Key: fmt.Appendf(nil, "{t}with/%05d", k), Lease: lease})
		}
		w.apply(TxnCommand(txnSlot, &x))
	}
	twin := NewMap(testGroup)
	if err := twin.Load(bytes.NewReader(mapBytes(t, w.m)), w.m.Applied(), w.m.Time()); err != nil {
		t.Fatal(err)
	}
	// A copy from before shows all of it throughout.
	before := copyOf(w.m, txnSlot)
	defer before.Release()
	digest := before.Digest()
	for i, want := range []int{attached + 10, 0} {
		w.expire(raft.GroupTime(2*expireMax) * ms)
		if err := twin.Expire(w.m.Applied(), w.now); err != nil {
			t.Fatal(err)
		}
		if got := w.m.Len(); got != want {
			t.Errorf("after entry %d there are %d keys, want %d", i, got, want)
		}
		if digestOf(twin, txnSlot) != digestOf(w.m, txnSlot) {
			t.Errorf("after entry %d a replica that began with a snapshot differs", i)
		}
		if want > 0 {
			w.want("{t}04096", "{t}04095", "{t}04096")
			if at, waits := w.m.NextDue(); !waits || at > w.now {
				t.Errorf("more is due, and the next look is at %d, %t", at, waits)
			}
		}
	}
	if err := before.Check(); err != nil || before.Digest() != digest || before.Len() != expireMax+10+attached {
		t.Errorf("the copy has %d keys, %v", before.Len(), err)
	}
}

// What would end later than there is time for ends never, in whatever group the slot is.
func TestTimesAtTheirLimits(t *testing.T) {
	st := newSlotState()
	st.endings = newEndings()
	for _, c := range []struct {
		ahead int64
		now   raft.GroupTime
		want  slotTime
	}{
		{0, 0, 0}, {0, raft.TimeLimit, slotTime(raft.TimeLimit)},
		{math.MaxInt64, raft.TimeLimit, slotTime(raft.TimeLimit) + math.MaxInt64},
		{-5, 7, 2}, {-7, 5, 0}, {math.MinInt64, raft.TimeLimit, 0},
	} {
		st.endings.ahead = c.ahead
		if got := st.time(c.now); got != c.want {
			t.Errorf("ahead by %d at %d it is %d, want %d", c.ahead, c.now, got, c.want)
		}
		if got := st.groupTime(c.want); c.want > 0 && got != c.now {
			t.Errorf("ahead by %d it is %d when the group's time is %d, want %d", c.ahead, c.want, got, c.now)
		}
		if got := st.groupTime(endless); got != raft.GroupTime(endless) {
			t.Errorf("ahead by %d the end of time is at %d", c.ahead, got)
		}
	}
	if got := slotTime(math.MaxUint64 - 5).after(6); got != endless {
		t.Errorf("6 after 5 before the end is %d", got)
	}
}

// What frees room is taken when disks are full, and what keeps alive; nothing that writes.
func TestWhatIsTakenWhenDisksAreFull(t *testing.T) {
	k := key("{t}k")
	for _, c := range []struct {
		c    Command
		want bool
	}{
		{Command{Kind: CommandSet, Slot: txnSlot, Items: items("{t}k", "v")}, false},
		{Command{Kind: CommandDel, Slot: txnSlot, Items: [][]byte{k}}, true},
		{TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpDel, Key: k}, {Kind: OpGet, Key: k}}}), true},
		{TxnCommand(txnSlot, &Txn{Else: []Op{{Kind: OpDel, Key: k}}}), true},
		{TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpDel, Key: k}}, Else: []Op{{Kind: OpSet, Key: k}}}), false},
		{TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpDel, Key: k}, {Kind: OpIncr, Key: k}}}), false},
		{TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpGet, Key: k}}}), false},
		{LeaseCommand(txnSlot, LeaseGrant, 0, 1), false},
		{LeaseCommand(txnSlot, LeaseKeepalive, MakeLeaseID(txnSlot, 1), 0), true},
		{LeaseCommand(txnSlot, LeaseRevoke, MakeLeaseID(txnSlot, 1), 0), true},
		{Command{Kind: CommandTxn, Slot: txnSlot, Items: items("no transaction")}, false},
	} {
		if got := c.c.Frees(); got != c.want {
			text, _ := c.c.Describe()
			t.Errorf("%s %s is taken when disks are full: %t, want %t", c.c.Kind, text, got, c.want)
		}
	}
}

// Each field over its limit is refused before the log, by its name; keys and leases of two
// slots with both slots.
func TestBadTransactionsAndLeases(t *testing.T) {
	k, other := key("{t}k"), key("{u}k")
	set := func(o Op) Command {
		o.Kind = OpSet
		if o.Key == nil {
			o.Key = k
		}
		return TxnCommand(txnSlot, &Txn{Then: []Op{o}})
	}
	many := func(n int) (ops []Op) {
		for i := range n {
			ops = append(ops, Op{Kind: OpGet, Key: fmt.Appendf(nil, "{t}%d", i)})
		}
		return ops
	}
	mine, foreign := MakeLeaseID(txnSlot, 1), MakeLeaseID(SlotOf(other), 1)
	for name, c := range map[string]struct {
		c    Command
		want []string
	}{
		"nothing":             {TxnCommand(txnSlot, &Txn{}), []string{"field then"}},
		"too many compares":   {TxnCommand(txnSlot, &Txn{If: make([]Compare, TxnComparesMax+1)}), []string{"field body", "129 compares"}},
		"too many operations": {TxnCommand(txnSlot, &Txn{Else: many(TxnOpsMax + 1)}), []string{"field body", "129 operations"}},
		"no key":              {set(Op{Key: []byte{}}), []string{"field then[0].key", "0 bytes"}},
		"a long key":          {set(Op{Key: append(key("{t}"), make([]byte, KeyMax)...)}), []string{"field then[0].key", "4096"}},
		"a long value":        {set(Op{Value: make([]byte, 101)}), []string{"field then[0].value", "101", "100"}},
		"two slots":           {set(Op{Key: other}), []string{fmt.Sprint(txnSlot), fmt.Sprint(SlotOf(other)), "field then[0].key"}},
		"a compare elsewhere": {TxnCommand(txnSlot, &Txn{If: []Compare{{Kind: CompareAbsent, Key: other}}}), []string{"field if[0].key", fmt.Sprint(SlotOf(other))}},
		"version 0":           {TxnCommand(txnSlot, &Txn{If: []Compare{{Kind: CompareVersion, Key: k}}}), []string{"field if[0].version"}},
		"a long compare":      {TxnCommand(txnSlot, &Txn{If: []Compare{{Kind: CompareValue, Key: k, Value: make([]byte, 101)}}}), []string{"field if[0].value"}},
		"changed twice":       {TxnCommand(txnSlot, &Txn{Else: []Op{{Kind: OpDel, Key: k}, {Kind: OpIncr, Key: k}}}), []string{"field else", "{t}k", "twice"}},
		"a TTL too long":      {set(Op{TTL: TTLMax + 1}), []string{"field then[0].ttl", fmt.Sprint(uint64(TTLMax))}},
		"a TTL and a lease":   {set(Op{TTL: 1, Lease: mine}), []string{"field then[0].ttl", mine.String()}},
		"a lease elsewhere":   {set(Op{Lease: foreign}), []string{"field then[0].lease", fmt.Sprint(SlotOf(other)), fmt.Sprint(txnSlot)}},
		"lease 0":             {set(Op{Lease: MakeLeaseID(txnSlot, 0)}), []string{"field then[0].lease"}},
		"a grant with an id":  {LeaseCommand(txnSlot, LeaseGrant, mine, 1), []string{"field lease"}},
		"a grant for nothing": {LeaseCommand(txnSlot, LeaseGrant, 0, 0), []string{"field ttl"}},
		"a grant too long":    {LeaseCommand(txnSlot, LeaseGrant, 0, TTLMax+1), []string{"field ttl"}},
		"a keepalive for":     {LeaseCommand(txnSlot, LeaseKeepalive, mine, 5), []string{"field ttl"}},
		"a revoke elsewhere":  {LeaseCommand(txnSlot, LeaseRevoke, foreign, 0), []string{"field slot", foreign.String()}},
		"a revoke of none":    {LeaseCommand(txnSlot, LeaseRevoke, MakeLeaseID(txnSlot, 0), 0), []string{"field lease"}},
		"no slot":             {TxnCommand(SlotByServer, &Txn{Then: many(1)}), []string{"field slot", "65535"}},
	} {
		err := c.c.Validate(Limits{ValueMax: 100, Level: Level})
		if !errors.Is(err, ErrRequest) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
}
