package shardmap

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"muster/raft"
)

// expireSlots are slots with few sessions, slots with so many that their order of
// use is kept, and one between, which may or may not keep it.
var expireSlots = []struct {
	key      string
	sessions int
}{{"{a}k", 1}, {"{b}k", 20}, {"{c}k", sessionsOrdered / 2}, {"{d}k", sessionsOrdered + 1}, {"{e}k", 1000}}

// A time entry forgets sessions that are due in all slots, none before its time, and
// all of them after a few entries more; on a replica that began with a snapshot the
// same ones at the same entry. One would doubt the last: what each replica keeps to
// find the due ones fast differs between the two.
func TestTimeEntriesForgetDueSessions(t *testing.T) {
	type place struct {
		slot    Slot
		session uint64
	}
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 29))
		var slots []Slot
		for _, x := range expireSlots {
			slots = append(slots, SlotOf([]byte(x.key)))
		}
		m := owning(slots)
		var twin *Map
		index, now, last := uint64(0), raft.GroupTime(1), raft.GroupTime(0)
		used := map[place]raft.GroupTime{}
		both := func(do func(on *Map)) {
			index++
			do(m)
			if twin != nil {
				do(twin)
			}
		}
		same := func(what string) {
			if twin == nil {
				return
			}
			for _, x := range expireSlots {
				if s := SlotOf([]byte(x.key)); digestOf(m, s) != digestOf(twin, s) {
					t.Fatalf("seed %d, entry %d, %s: the slot of %s has another digest on a replica that began with a snapshot", seed, index, what, x.key)
				}
			}
		}
		expire := func() {
			both(func(on *Map) {
				if err := on.Expire(raft.LogID{Term: 1, Index: index}, now); err != nil {
					t.Fatal(err)
				}
			})
			same("a time entry")
			alive := 0
			for _, at := range used {
				if now <= at+SessionKeep {
					alive++
				}
			}
			if m.Sessions() < alive {
				t.Fatalf("seed %d, entry %d: %d sessions are left, %d are not due", seed, index, m.Sessions(), alive)
			}
			last = max(last, now)
		}
		for range 4000 {
			if r.IntN(3) == 0 {
				now += raft.GroupTime(r.Int64N(int64(SessionKeep) / 400))
			}
			switch r.IntN(60) {
			case 0:
				expire()
			case 1:
				var b bytes.Buffer
				all := m.CopyAll()
				if _, err := all.WriteTo(&b); err != nil {
					t.Fatal(err)
				}
				twin = NewMap(testGroup)
				if err := twin.Load(&b, m.Applied(), now); err != nil {
					t.Fatal(err)
				}
			default:
				x := expireSlots[r.IntN(len(expireSlots))]
				slot := SlotOf([]byte(x.key))
				session := 1 + r.Uint64N(uint64(x.sessions))
				both(func(on *Map) {
					apply(t, on, index, now, &Command{Kind: CommandSet, Session: session, Sequence: index, Floor: index, Slot: slot, Items: items(x.key, "v")})
				})
				used[place{slot, session}] = now
				same("a set")
			}
		}
		now = max(now, last) + SessionKeep + 1
		for range len(used)/expireMax + 1 {
			expire()
		}
		if at, waits := m.NextDue(); waits || m.Sessions() != 0 {
			t.Errorf("seed %d: %d sessions are left long after their time, the next is due at %d", seed, m.Sessions(), at)
		}
	}
}

// One entry does a bounded part of much work. What is left is due at once, so that
// the next entry does more of it, and does not wait for a minute. A replica that began
// with a snapshot does the same part, though it knows of most slots that none of
// their sessions is due, and the other one has to look.
func TestOneTimeEntryForgetsABoundedPart(t *testing.T) {
	// So few are left that what is looked at is bounded, and so many that it is what is
	// forgotten.
	for _, left := range []int{4, 20} {
		t.Run(fmt.Sprint(left), func(t *testing.T) { forgetInParts(t, left) })
	}
}

// forgetInParts has so many sessions of each fourth slot not used again, and forgets
// them.
func forgetInParts(t *testing.T, left int) {
	const clients = 40                 // with a session in each slot: more than one entry looks at
	keys, filled := [Slots]string{}, 0 // of each slot one
	for i := 0; filled < Slots; i++ {
		key := fmt.Sprint(i)
		if slot := SlotOf([]byte(key)); keys[slot] == "" {
			keys[slot] = key
			filled++
		}
	}
	m := owning(allSlots())
	index := uint64(0)
	use := func(slot Slot, sessions int, now raft.GroupTime) {
		for session := range uint64(sessions) {
			index++
			apply(t, m, index, now, &Command{Kind: CommandSet, Session: session + 1, Sequence: index, Floor: index, Slot: slot, Items: items(keys[slot], "v")})
		}
	}
	const early, late = 1, raft.GroupTime(1000e9)
	for slot := range Slot(Slots) {
		use(slot, clients, early)
	}
	for slot := range Slot(Slots) {
		again := clients
		if slot%4 == 0 {
			again -= left
		}
		use(slot, again, late)
	}
	var b bytes.Buffer
	all := m.CopyAll()
	if _, err := all.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	all.Release()
	twin := NewMap(testGroup)
	if err := twin.Load(&b, m.Applied(), late); err != nil {
		t.Fatal(err)
	}
	young := Slots*clients - Slots/4*left
	entries := 0
	for before := m.Sessions(); before > young; before = m.Sessions() {
		for _, on := range []*Map{m, twin} {
			if at, waits := on.NextDue(); !waits || at > late {
				t.Fatalf("%d sessions are left, and the next is due at %d, which is after %d", before, at, late)
			}
		}
		index++
		entries++
		for _, on := range []*Map{m, twin} {
			if err := on.Expire(raft.LogID{Term: 1, Index: index}, late); err != nil {
				t.Fatal(err)
			}
		}
		if gone := before - m.Sessions(); gone > expireMax+clients || entries > 100 {
			t.Fatalf("entry %d forgets %d of %d sessions, the bound is %d and those of a slot", entries, gone, before, expireMax)
		}
		for slot := range Slot(Slots) {
			if digestOf(m, slot) != digestOf(twin, slot) {
				t.Fatalf("after entry %d slot %d has another digest on a replica that began with a snapshot", entries, slot)
			}
		}
	}
	if least := max(2, Slots/4*left/expireMax); entries < least || entries > 2*least+2 {
		t.Errorf("it takes %d entries, want %d or a few more", entries, least)
	}
	if at, _ := m.NextDue(); at <= late {
		t.Errorf("nothing more is due at %d, and the next is due at %d", late, at)
	}
}

// When the next session is due, a map with many slots must not search: the host
// asks after each run of entries. The bound may be too early, never too late.
func TestNextDueIsNeverTooLate(t *testing.T) {
	m := owning(allSlots())
	if _, waits := m.NextDue(); waits {
		t.Error("a map without sessions waits for something")
	}
	set := func(index uint64, at raft.GroupTime, key string, session uint64) {
		apply(t, m, index, at, &Command{Kind: CommandSet, Session: session, Sequence: index, Floor: index, Slot: SlotOf([]byte(key)), Items: items(key, "v")})
	}
	due := func(what string, want raft.GroupTime) {
		t.Helper()
		if at, waits := m.NextDue(); !waits || at != want+SessionKeep+sessionGather {
			t.Errorf("%s: due at %d (%v), want %d", what, at, waits, want+SessionKeep+sessionGather)
		}
	}
	set(1, 100, "a", 1)
	due("after the first", 100)
	set(2, 200, "b", 2)
	due("after the second", 100)
	set(3, 300, "a", 1)
	due("the first is used again, which nobody looked at", 100)
	if err := m.Expire(raft.LogID{Term: 1, Index: 4}, 100+SessionKeep+1); err != nil || m.Sessions() != 2 {
		t.Fatalf("%v, %d sessions are left, want 2", err, m.Sessions())
	}
	due("after an entry that found none due", 200)
	for i, want := range []int{1, 0} {
		if err := m.Expire(raft.LogID{Term: 1, Index: uint64(5 + i)}, raft.GroupTime(201+100*i)+SessionKeep); err != nil || m.Sessions() != want {
			t.Fatalf("%v, %d sessions are left, want %d", err, m.Sessions(), want)
		}
	}
	if _, waits := m.NextDue(); waits {
		t.Error("a map that has forgotten all sessions waits for something")
	}
}

// BenchmarkTimeEntry is an entry that finds nothing due, one that has to look and
// finds nothing, and one that forgets as much as it may.
func BenchmarkTimeEntry(b *testing.B) {
	full := func(b *testing.B, sessions int) (*Map, uint64) {
		m := owning(allSlots())
		index := uint64(0)
		for i := range sessions {
			index++
			apply(b, m, index, 1, &Command{Kind: CommandSet, Session: uint64(i) + 1, Sequence: 1, Floor: 1, Slot: Slot(i % Slots), Items: items("k", "v")})
		}
		return m, index
	}
	for _, n := range []int{1, 1 << 12, 1 << 17, 1 << 20} {
		b.Run(fmt.Sprintf("nothing-due/%d", n), func(b *testing.B) {
			m, index := full(b, n)
			for b.Loop() {
				index++
				if err := m.Expire(raft.LogID{Term: 1, Index: index}, 2); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("look/%d", n), func(b *testing.B) {
			m, index := full(b, n)
			for b.Loop() {
				index++
				m.each(func(st *slotState) { st.sessions.oldest = 0 }) // what a replica may know
				m.quota.oldest = 0
				if err := m.Expire(raft.LogID{Term: 1, Index: index}, SessionKeep+1); err != nil {
					b.Fatal(err)
				}
			}
			if m.Sessions() != n {
				b.Fatalf("%d sessions are left of %d", m.Sessions(), n)
			}
		})
		b.Run(fmt.Sprintf("forget/%d", n), func(b *testing.B) {
			var m *Map
			var index uint64
			for b.Loop() {
				if m == nil || m.Sessions() == 0 {
					b.StopTimer()
					m, index = full(b, n)
					b.StartTimer()
				}
				index++
				if err := m.Expire(raft.LogID{Term: 1, Index: index}, SessionKeep+2); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A slot may be so far ahead of its group that its time is endless: no honest member gets there,
// but a forged group time does. What ends at endless never ends, so a time entry must leave the
// slot as it is, whether this replica looks at it or knows that nothing is due.
func TestNothingEndsAtEndless(t *testing.T) {
	slot, other := SlotOf([]byte("{a}")), SlotOf([]byte("{b}"))
	m := owning([]Slot{slot, other})
	m.slot(slot).setAhead(math.MaxInt64)
	now := raft.GroupTime(endless) - 20e9
	set := func(index uint64, slot Slot, key string, ttl uint64) {
		c := TxnCommand(slot, &Txn{Then: []Op{{Kind: OpSet, Key: []byte(key), TTL: ttl}}})
		apply(t, m, index, now, &c)
	}
	set(1, slot, "{a}k", TTLMax)
	set(2, other, "{b}k", 1) // this replica looks when that would have been due
	set(3, other, "{b}k", 0)
	twin := NewMap(testGroup)
	if err := twin.Load(bytes.NewReader(mapBytes(t, m)), m.Applied(), now); err != nil {
		t.Fatal(err)
	}
	for _, on := range []*Map{m, twin} {
		before := digestOf(on, slot)
		if err := on.Expire(raft.LogID{Term: 1, Index: 9}, now+10e9); err != nil {
			t.Fatal(err)
		}
		if digestOf(on, slot) != before {
			t.Errorf("a time entry changes a slot in which nothing ends; on the replica that began with a snapshot: %t", on == twin)
		}
	}
}
