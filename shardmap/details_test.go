package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"muster/raft"
)

// readBack is a transaction of a session that reads a key.
func readBack(session, sequence, floor uint64, name string) Command {
	c := TxnCommand(txnSlot, &Txn{Then: []Op{{Kind: OpGet, Key: key(name)}}})
	c.Session, c.Sequence, c.Floor = session, sequence, floor
	return c
}

// checkDetails recomputes what is counted of details.
func checkDetails(t *testing.T, m *Map) {
	t.Helper()
	all := 0
	m.each(func(st *slotState) {
		n := 0
		_ = st.sessions.each(func(s *session) error {
			live, count := 0, 0
			for i := range s.kept() {
				if o := &s.kept()[i]; o.detailed {
					live += len(s.detail(o))
					count++
				}
			}
			if d := s.details; d != nil && (d.live != live || d.count != count) || d == nil && live > 0 {
				t.Errorf("session %d has %d details of %d bytes; counted is %+v", s.id, count, live, d)
			}
			n += live
			return nil
		})
		if st.sessions.details != n {
			t.Errorf("a slot has %d bytes of details, counted are %d", n, st.sessions.details)
		}
		all += n
	})
	if m.quota.details != all {
		t.Errorf("the slots have %d bytes of details, counted are %d", all, m.quota.details)
	}
}

// Answers are kept within a bound. Beyond it, what would have one is refused, and a set, which
// has none, is not; what was refused before is taken once its session has let go of some.
func TestDetailsHaveABound(t *testing.T) {
	for _, group := range []bool{false, true} {
		w := newEndsWorld(t)
		full, most := StatusTooManySessions, SlotDetailsMax
		if group {
			full, most = StatusGroupTooManySessions, 1<<20
			w.m.quota.detailsMax = most
		}
		w.apply(Command{Kind: CommandSet, Slot: txnSlot, Items: items("{t}large", string(make([]byte, TxnReadMax)))})
		sequence := uint64(0)
		for w.m.quota.details < most {
			sequence++
			if r := w.apply(readBack(7, sequence, 1, "{t}large")); r.Status != StatusApplied || len(r.Detail) <= TxnReadMax || len(r.Detail) > DetailMax {
				t.Fatalf("transaction %d: %s, a detail of %d bytes", sequence, r.Status, len(r.Detail))
			}
		}
		if over := w.m.quota.details - most; over > DetailMax {
			t.Errorf("there are %d bytes too many", over)
		}
		if r := w.apply(readBack(7, sequence+1, 1, "{t}large")); r.Status != full || len(r.Detail) > 0 {
			t.Errorf("beyond the bound: %s", r.Status)
		}
		if r := w.apply(Command{Kind: CommandSet, Session: 7, Sequence: sequence + 2, Floor: 1, Slot: txnSlot, Items: items("{t}a", "1")}); r.Status != StatusApplied {
			t.Errorf("a set beyond the bound: %s", r.Status)
		}
		// Whoever is alive keeps a lease alive, whatever others read.
		grant := LeaseCommand(txnSlot, LeaseGrant, 0, TTLMax)
		grant.Session, grant.Sequence = 8, 1
		granted := w.apply(grant)
		id, _, err := ReadLeaseDetail(&granted)
		if granted.Status != StatusApplied || err != nil {
			t.Fatalf("a grant beyond the bound: %s, %v", granted.Status, err)
		}
		for i, op := range []LeaseOp{LeaseKeepalive, LeaseRevoke} {
			c := LeaseCommand(txnSlot, op, id, 0)
			c.Session, c.Sequence = 8, uint64(i)+2
			if r := w.apply(c); r.Status != StatusApplied || len(r.Detail) > leaseDetailMax {
				t.Errorf("%s beyond the bound: %s, a detail of %d bytes", op, r.Status, len(r.Detail))
			}
		}
		// It can be read again from a snapshot.
		loaded := NewMap(testGroup)
		if err := loaded.Load(bytes.NewReader(mapBytes(t, w.m)), w.m.Applied(), w.m.Time()); err != nil {
			t.Fatal(err)
		}
		checkDetails(t, loaded)
		first := w.apply(readBack(7, 1, 1, "{t}large"))
		if r := apply(t, loaded, w.index+1, 0, &[]Command{readBack(7, 1, 1, "{t}large")}[0]); !sameResult(r, first) {
			t.Error("a retry after a snapshot is answered otherwise")
		}
		if r := w.apply(readBack(7, sequence+1, 3, "{t}large")); r.Status != StatusApplied {
			t.Errorf("after two outcomes were let go: %s", r.Status)
		}
		checkDetails(t, w.m)
	}
}

// A copy shows details as they were, whatever the sessions answer and let go of meanwhile, in
// whatever order their sequences come; and retries are answered alike throughout.
func TestDetailsUnderCopies(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		w := newEndsWorld(t)
		for i := range 5 {
			w.apply(Command{Kind: CommandSet, Slot: txnSlot, Items: items(fmt.Sprintf("{t}%d", i), string(make([]byte, r.IntN(3000))))})
		}
		type sent struct {
			c Command
			r Result
		}
		var kept [3][]sent // of each session, of sequences from its floor on
		var copies []*SlotCopy
		var digests []uint64
		floors := [3]uint64{1, 1, 1}
		for range 400 {
			k := r.IntN(3)
			switch r.IntN(8) {
			case 0:
				copies, digests = append(copies, copyOf(w.m, txnSlot)), append(digests, digestOf(w.m, txnSlot))
			case 1:
				if len(copies) > 0 {
					i := r.IntN(len(copies))
					if err := copies[i].Check(); err != nil || copies[i].Digest() != digests[i] {
						t.Fatalf("seed %d: %v, digest %x, want %x", seed, err, copies[i].Digest(), digests[i])
					}
					copies[i].Release()
					copies, digests = append(copies[:i], copies[i+1:]...), append(digests[:i], digests[i+1:]...)
				}
			case 2:
				floors[k] += uint64(r.IntN(4))
			case 3:
				for _, s := range kept[k] {
					if s.c.Sequence >= floors[k] {
						s.c.Floor = floors[k]
						if got := w.apply(s.c); !sameResult(got, s.r) {
							t.Fatalf("seed %d: a retry of sequence %d is answered %+v, first %+v", seed, s.c.Sequence, got, s.r)
						}
					}
				}
			default:
				c := readBack(uint64(k+1), floors[k]+uint64(r.IntN(30)), floors[k], fmt.Sprintf("{t}%d", r.IntN(6)))
				if r.IntN(3) == 0 {
					c.Kind, c.Items = CommandSet, items("{t}5", "v")
				}
				known := false
				for _, s := range kept[k] {
					known = known || s.c.Sequence == c.Sequence
				}
				if got := w.apply(c); !known {
					kept[k] = append(kept[k], sent{c, got})
				}
			}
			checkDetails(t, w.m)
		}
		for _, c := range copies {
			if err := c.Check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			c.Release()
		}
		w.expire(raft.GroupTime(2 * SessionKeep))
		if checkDetails(t, w.m); w.m.quota.details != 0 {
			t.Errorf("seed %d: %d bytes of details are left of no session", seed, w.m.quota.details)
		}
	}
}
