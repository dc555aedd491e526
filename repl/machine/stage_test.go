package machine_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// stageEntries are how many commands a batch of the stages has: what a node
	// with a thousand requests under way sees.
	stageEntries = 64
	stageKeys    = 10000
	stageGroups  = 8
)

// writes makes the bodies of sets as a client sends them: 16-byte keys, 128-byte
// values, in one session whose window holds a batch.
type writes struct {
	random  *rand.Rand
	command shardmap.Command
	body    []byte
}

func newWrites() *writes {
	return &writes{random: rand.New(rand.NewPCG(1, 2)), command: shardmap.Command{
		Kind: shardmap.CommandSet, Session: 77, Floor: 1, Items: [][]byte{make([]byte, 16), make([]byte, 128)},
	}}
}

// next makes the next one, of a key in one of slots, and says which.
func (w *writes) next(within func(shardmap.Slot) bool) (shardmap.Slot, []byte) {
	c := &w.command
	for {
		for n, i := w.random.IntN(stageKeys), len(c.Items[0])-1; i >= 0; n, i = n/10, i-1 {
			c.Items[0][i] = byte('0' + n%10)
		}
		if c.Slot = shardmap.SlotOf(c.Items[0]); within == nil || within(c.Slot) {
			break
		}
	}
	c.Sequence++
	c.Floor = max(c.Sequence, 4*stageEntries*stageGroups) - 4*stageEntries*stageGroups + 1
	w.body = wire.AppendWrite(w.body[:0], c)
	return c.Slot, w.body
}

// applyStage returns what applies a batch of committed entries, and what it has
// taken so far.
func applyStage(t testing.TB) (turn func(), took *time.Duration) {
	slots := slotsOf(1)
	m, w := owning(1, slots), newWrites()
	entries := make([]raft.Entry, stageEntries)
	index, out := uint64(1), []byte(nil)
	took = new(time.Duration)
	raw, origin := make([][]byte, stageEntries), wire.Origin{Time: 1_764_000_000_000}
	return func() {
		for i := range entries {
			_, body := w.next(m.State.Owns)
			index++
			raw[i] = append(origin.Append(append(raw[i][:0], make([]byte, raft.EntryHeaderSize)...)), body...)
			entries[i] = raft.Entry{ID: raft.LogID{Term: 1, Index: index}, Time: raft.GroupTime(index), Kind: raft.EntryNormal, Raw: raw[i]}
		}
		began := time.Now()
		for i, e := range entries {
			if i%m.ExpectMax() == 0 {
				m.Expect(entries[i:])
			}
			kind, answer, err := m.Apply(e, true, out[:0])
			if err != nil || kind != wire.TypeWriteAnswer {
				t.Fatalf("entry %s: %s, %v", e.ID, kind, err)
			}
			out = answer
		}
		*took += time.Since(began)
	}, took
}

func slotsOf(g raft.GroupID) (slots []shardmap.Slot) {
	for s := range shardmap.Slots / stageGroups {
		slots = append(slots, shardmap.Slot((int(g)-1)*shardmap.Slots/stageGroups+s))
	}
	return slots
}

// BenchmarkStageApply is committed commands into the map of their group, and the
// bodies of their answers.
func BenchmarkStageApply(b *testing.B) {
	turn, took := applyStage(b)
	for range 50 {
		turn()
	}
	*took = 0
	for b.Loop() {
		turn()
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/stageEntries, "ns/entry")
	b.ReportMetric(0, "ns/op") // it has the making of the entries in it
}

// To apply a write over one that is there must not allocate.
func TestApplyAllocatesNothing(t *testing.T) {
	turn, _ := applyStage(t)
	for range 100 {
		turn() // most keys are there, and the slots remember the session
	}
	if n := testing.AllocsPerRun(100, turn); n > stageEntries/8 {
		t.Errorf("%d writes: %v allocations, want next to none", stageEntries, n)
	}
}
