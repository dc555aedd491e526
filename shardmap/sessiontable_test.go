package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"muster/raft"
)

// checkSessions says what is wrong with a table, if anything is.
func checkSessions(t *sessions) error {
	count, outcomes, sum, before := 0, 0, uint64(0), sessionKey{}
	uses := map[sessionKey]raft.GroupTime{}
	if len(t.firsts) != len(t.blocks) {
		return fmt.Errorf("%d blocks, %d first ids", len(t.blocks), len(t.firsts))
	}
	for i, b := range t.blocks {
		if len(b.list) == 0 || len(b.list) > sessionBlockMax {
			return fmt.Errorf("block %d has %d sessions", i, len(b.list))
		}
		if first := b.list[0].sessionKey; i > 0 && (first.below(t.firsts[i]) || !before.below(t.firsts[i])) {
			return fmt.Errorf("block %d begins at %v, its sessions at %v, those before end at %v", i, t.firsts[i], first, before)
		}
		for j := range b.list {
			s := &b.list[j]
			if !before.below(s.sessionKey) {
				return fmt.Errorf("session %v after %v", s.sessionKey, before)
			}
			if !t.ordered {
				if s.used < t.oldest {
					return fmt.Errorf("session %d was used at %d, before the oldest at %d", s.id, s.used, t.oldest)
				}
			} else if n := t.order.nodes[s.order]; n.of != s.sessionKey || n.used != s.used {
				return fmt.Errorf("session %v, used at %d, has the node of %v, used at %d", s.sessionKey, s.used, n.of, n.used)
			}
			before = s.sessionKey
			uses[s.sessionKey] = s.used
			count++
			outcomes += len(s.kept())
			sum += s.hash()
			for _, o := range s.kept() {
				sum += o.hash(s.sessionKey, s.detail(&o))
			}
		}
	}
	if count != t.count || outcomes != t.outcomes || sum != t.sum {
		return fmt.Errorf("%d sessions, %d outcomes, sum %x; kept are %d, %d, %x", count, outcomes, sum, t.count, t.outcomes, t.sum)
	}
	if !t.ordered {
		if count > sessionsOrdered {
			return fmt.Errorf("%d sessions without an order of use", count)
		}
		return nil
	}
	last := raft.GroupTime(0)
	for at := uint32(0); len(t.order.nodes) > 0; {
		if at = t.order.nodes[at].next; at == 0 {
			break
		}
		x := t.order.nodes[at]
		if used, ok := uses[x.of]; !ok || used != x.used || used < last {
			return fmt.Errorf("in the order of use session %v, used at %d, comes after %d", x.of, x.used, last)
		}
		last = x.used
		delete(uses, x.of)
	}
	if len(uses) > 0 {
		return fmt.Errorf("%d sessions are missing in the order of use", len(uses))
	}
	return nil
}

// Sessions come, are used, and are forgotten, in any order, under copies that
// must go on to show what they showed, and a replica that begins with a snapshot
// must remember and forget the same from there on. One would doubt the last: the
// order of use is not in a snapshot, and many are used at one time.
func TestSessionTable(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 23))
		s := newSessionSlot()
		table := &s.m.slot(s.slot).sessions
		var twin *Map
		now := raft.GroupTime(0)
		type frozen struct {
			copy *SlotCopy
			want []byte
		}
		var copies []frozen
		ids := 1 + r.Uint64N(2000)
		for step := range 6000 {
			if r.IntN(4) == 0 { // else at the same time
				now += raft.GroupTime(r.Int64N(int64(SessionKeep) / 200))
			}
			s.index++
			id := raft.LogID{Term: 1, Index: s.index}
			c := Command{
				Kind: CommandSet, Principal: Principal(r.IntN(2)), Session: 1 + r.Uint64N(ids)*0x9e3779b97f4a7c15, Sequence: r.Uint64N(8), Floor: r.Uint64N(6),
				Slot: s.slot, Items: items("{s}k", "v"),
			}
			got, err := s.m.Apply(id, now, &c)
			if err != nil {
				t.Fatal(err)
			}
			if twin != nil {
				if same, err := twin.Apply(id, now, &c); err != nil || !sameResult(same, got) || digestOf(twin, s.slot) != digestOf(s.m, s.slot) {
					t.Fatalf("seed %d, step %d: %+v here, %+v on a replica that began with a snapshot (%v)", seed, step, got, same, err)
				}
			}
			switch r.IntN(200) {
			case 0:
				f := frozen{copy: copyOf(s.m, s.slot)}
				var b bytes.Buffer
				if _, err := f.copy.WriteTo(&b); err != nil {
					t.Fatal(err)
				}
				f.want = b.Bytes()
				copies = append(copies, f)
			case 1:
				if len(copies) == 0 {
					break
				}
				i := r.IntN(len(copies))
				f := copies[i]
				copies = append(copies[:i], copies[i+1:]...)
				var b bytes.Buffer
				if _, err := f.copy.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), f.want) {
					t.Fatalf("seed %d, step %d: a copy has changed: %v", seed, step, err)
				}
				f.copy.Release()
			case 2:
				var b bytes.Buffer
				all := s.m.CopyAll()
				if _, err := all.WriteTo(&b); err != nil {
					t.Fatal(err)
				}
				all.Release()
				twin = NewMap(testGroup)
				if err := twin.Load(&b, id, now); err != nil {
					t.Fatal(err)
				}
				if got, want := twin.quota, s.m.quota; got.sessions != want.sessions || got.outcomes != want.outcomes {
					t.Fatalf("seed %d, step %d: loaded are %+v, written were %+v", seed, step, got, want)
				}
			case 3:
				if err := checkSessions(table); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
				if q := s.m.quota; q.sessions != table.count || q.outcomes != table.outcomes {
					t.Fatalf("seed %d, step %d: %+v of all slots, the only one has %d and %d", seed, step, q, table.count, table.outcomes)
				}
			}
		}
	}
}

// At the limit of a slot a command may touch some dozens of sessions, not all:
// a client that uses up a slot must not slow down all groups of the node. What
// is counted is work, not time: what blocks hold, what a write forgets, and the
// memory that the first write after a snapshot takes.
func TestFullSlotIsNotSlow(t *testing.T) {
	s := newSessionSlot()
	st := s.m.slot(s.slot)
	table := &st.sessions
	r := rand.New(rand.NewPCG(1, 23))
	now := raft.GroupTime(1)
	var some uint64
	for range SlotSessionsMax {
		now += 10
		some = r.Uint64() | 1
		if res := s.set(t, now, some, 1, 1); res.Status != StatusApplied {
			t.Fatalf("%+v", res)
		}
	}
	if n := len(table.blocks); n > 2*SlotSessionsMax/sessionBlockMax {
		t.Errorf("%d sessions lie in %d blocks", table.count, n)
	}
	// All are due, and new ones come: each takes the place of a few.
	now += SessionKeep + 10*SlotSessionsMax
	for range SlotSessionsMax / 8 {
		now++
		before := table.count
		if res := s.set(t, now, r.Uint64()|1, 1, 1); res.Status != StatusApplied {
			t.Fatalf("%+v", res)
		}
		if gone := before + 1 - table.count; gone > forgetMax {
			t.Fatalf("one write forgets %d sessions, want %d at most", gone, forgetMax)
		}
	}
	if err := checkSessions(table); err != nil {
		t.Error(err)
	}
	// The first write after a copy was taken copies a block and the list of them.
	last := table.blocks[len(table.blocks)/2].list[0].id
	for range 3 {
		copied := copyOf(s.m, s.slot)
		var was, is runtime.MemStats
		runtime.ReadMemStats(&was)
		s.set(t, now, last, 1, 1)
		runtime.ReadMemStats(&is)
		if n := is.TotalAlloc - was.TotalAlloc; n > 128<<10 {
			t.Errorf("a write under a copy takes %d bytes", n)
		}
		copied.Release()
	}
}

// What all slots of a group remember is bounded, too, with an error of its own;
// and sessions of slots to which nobody writes any more must not keep others out
// for ever. All of it alike on a replica that began with a snapshot.
func TestGroupSessionsAreBounded(t *testing.T) {
	m := owning(allSlots())
	m.quota.sessionsMax, m.quota.outcomesMax = 400, 500
	index, now := uint64(0), raft.GroupTime(1)
	write := func(on *Map, slot Slot, session, sequence uint64) Result {
		return apply(t, on, index, now, &Command{Kind: CommandSet, Session: session, Sequence: sequence, Floor: 1, Slot: slot, Items: items("k", "v")})
	}
	set := func(slot Slot, session, sequence uint64) Result {
		index++
		return write(m, slot, session, sequence)
	}
	key := []byte("k")
	slot := SlotOf(key)
	// Slots that nobody writes to any more: filled by hand, as a key would.
	fill := func(n int) {
		for i := range n {
			index++
			now++
			k := fmt.Appendf(nil, "fill-%d", i)
			apply(t, m, index, now, &Command{Kind: CommandSet, Session: uint64(i) + 1000, Sequence: 1, Floor: 1, Slot: SlotOf(k), Items: [][]byte{k, nil}})
		}
	}
	fill(400)
	if res := set(slot, 1, 1); res.Status != StatusGroupTooManySessions {
		t.Fatalf("a session too many in the group: %+v", res)
	}
	k := []byte("fill-7")
	again := Command{Kind: CommandSet, Session: 1007, Sequence: 1, Floor: 1, Slot: SlotOf(k), Items: [][]byte{k, nil}}
	index++
	if res := apply(t, m, index, now, &again); res.Status != StatusApplied || res.ID.Index != 8 {
		t.Errorf("what is known is answered: %+v", res)
	}
	for q := uint64(2); q <= 101; q++ {
		again.Sequence = q
		index++
		if res := apply(t, m, index, now, &again); res.Status != StatusApplied {
			t.Fatalf("outcome %d: %+v", q, res)
		}
	}
	again.Sequence++
	index++
	if res := apply(t, m, index, now, &again); res.Status != StatusGroupTooManySessions {
		t.Errorf("an outcome too many in the group: %+v", res)
	}
	var b bytes.Buffer
	all := m.CopyAll()
	if _, err := all.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	all.Release()
	twin := NewMap(testGroup)
	if err := twin.Load(&b, m.Applied(), now); err != nil {
		t.Fatal(err)
	}
	twin.quota.sessionsMax, twin.quota.outcomesMax = m.quota.sessionsMax, m.quota.outcomesMax
	now += SessionKeep + 1000
	index++
	for _, on := range []*Map{m, twin} {
		if err := on.Expire(raft.LogID{Term: 1, Index: index}, now); err != nil {
			t.Fatal(err)
		}
	}
	res := set(slot, 2, 1)
	if same := write(twin, slot, 2, 1); !sameResult(same, res) {
		t.Fatalf("%+v, on a replica that began with a snapshot %+v", res, same)
	}
	for s := range Slot(Slots) {
		if digestOf(m, s) != digestOf(twin, s) {
			t.Fatalf("slot %d has another digest on a replica that began with a snapshot", s)
		}
	}
	if res.Status != StatusApplied {
		t.Errorf("there is no room after a time entry, though all sessions were due: %+v, %+v", res, m.quota)
	}
	n := 0
	m.each(func(st *slotState) { n += st.sessions.count })
	if m.quota.sessions != n || n > 400 {
		t.Errorf("%d sessions are counted, %d are there", m.quota.sessions, n)
	}
}

// BenchmarkFullSlot is a write with a new session in a slot that remembers as
// many as it may, each of which takes the place of one that is due; and a write
// with a known one, there and under a copy.
func BenchmarkFullSlot(b *testing.B) {
	for _, kind := range []string{"new", "known", "known-after-copy"} {
		b.Run(kind, func(b *testing.B) {
			s := newSessionSlot()
			r := rand.New(rand.NewPCG(1, 23))
			now, step := raft.GroupTime(1), SessionKeep/SlotSessionsMax+1
			ids := make([]uint64, SlotSessionsMax)
			for i := range ids {
				ids[i] = r.Uint64() | 1
				now += step
				s.set(b, now, ids[i], 1, 1)
			}
			n := 0
			for b.Loop() {
				n++
				now += step
				switch kind {
				case "new":
					s.set(b, now, r.Uint64()|1, 1, 1)
				case "known":
					s.set(b, now, ids[n%len(ids)], uint64(n), uint64(n))
				default:
					c := copyOf(s.m, s.slot)
					s.set(b, now, ids[n%len(ids)], uint64(n), uint64(n))
					c.Release()
				}
			}
		})
	}
}

// A person is to know of a full group or slot before it refuses a client: of the limit that
// is nearest, and of the slot that is fullest.
func TestSessionRooms(t *testing.T) {
	m := owning(allSlots())
	m.quota.sessionsMax, m.quota.outcomesMax, m.quota.detailsMax = 1000, 300, 1000
	if group, slot, _ := SessionRooms(m); group.Used != 0 || slot.Used != 0 || group.Max == 0 || slot.Max != SlotSessionsMax {
		t.Errorf("of nothing: %+v, %+v", group, slot)
	}
	index := uint64(0)
	write := func(key string, session, sequence uint64) {
		t.Helper()
		index++
		k := []byte(key)
		if r := apply(t, m, index, 1, &Command{Kind: CommandSet, Session: session, Sequence: sequence, Floor: 1, Slot: SlotOf(k), Items: [][]byte{k, nil}}); r.Status != StatusApplied {
			t.Fatalf("%+v", r)
		}
	}
	for i := range uint64(40) {
		write(fmt.Sprint("k", i), 1, i+1)
	}
	for i := range uint64(50) {
		write("{busy}", 100+i, 1)
	}
	group, slot, of := SessionRooms(m)
	if want := (Room{"outcomes of writes", 90, 300}); group != want {
		t.Errorf("of the group: %+v, want %+v", group, want)
	}
	if busy := SlotOf([]byte("{busy}")); of != busy || slot.Max != SlotSessionsMax || slot.Used != m.slot(busy).sessions.count {
		t.Errorf("of the slots: %+v in slot %d, want %d in slot %d", slot, of, m.slot(busy).sessions.count, busy)
	}
}
