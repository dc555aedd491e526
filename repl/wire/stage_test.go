package wire_test

import (
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// stageEntries are how many entries a batch of the stages has: what a node with
// a thousand requests under way sees.
const stageEntries = 64

// BenchmarkStageAnswer is the last stage of a write: results into frames.
func BenchmarkStageAnswer(b *testing.B) {
	answer := answerStage()
	b.ReportAllocs()
	for b.Loop() {
		answer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/stageEntries, "ns/answer")
}

func answerStage() func() {
	var out []byte
	return func() {
		out = out[:0]
		for i := range uint64(stageEntries) {
			var start int
			out, start = wire.BeginFrame(out, wire.TypeWriteAnswer, 0, 0, 1<<32|i)
			a := wire.WriteAnswer{Group: 3, ID: raft.LogID{Term: 9, Index: 1 << 30}, Version: 1<<30 + i}
			out = wire.EndFrame(a.Append(out), start)
		}
	}
}

// BenchmarkStageReplicateFrame is an append on its way to a follower: into bytes,
// and out of them with the checksum of each entry.
func BenchmarkStageReplicateFrame(b *testing.B) {
	replicate := replicateStage(b)
	b.ReportAllocs()
	for b.Loop() {
		replicate()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/stageEntries, "ns/entry")
}

func replicateStage(t testing.TB) func() {
	seed := func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) { return raft.EntrySeed(g, i), true }
	e := wire.Envelope{Group: 3, Incarnation: 1, Message: raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Term: 9}}
	command := shardmap.Command{
		Kind: shardmap.CommandSet, Session: 1 << 60, Sequence: 900, Floor: 890, Slot: 77,
		Items: [][]byte{make([]byte, 16), make([]byte, 128)},
	}
	for i := range uint64(stageEntries) {
		e.Message.Entries = append(e.Message.Entries, raft.SealedEntry(raft.EntrySeed(3, 1), raft.LogID{Term: 9, Index: i + 1}, raft.GroupTime(i+1),
			raft.EntryNormal, wire.AppendWrite(nil, &command)))
	}
	var out []byte
	return func() {
		out = wire.AppendEnvelope(out[:0], &e)
		got, err := wire.ReadEnvelope(wire.TypeAppend, out, seed)
		if err != nil || len(got.Message.Entries) != stageEntries {
			t.Fatalf("got %d entries, %v", len(got.Message.Entries), err)
		}
	}
}

// Answers must not allocate, and an append twice at most, however many entries it
// has: at a hundred thousand writes a second the collector would cost more than the stage.
func TestStagesAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, answerStage()); n != 0 {
		t.Errorf("%d answers: %v allocations, want none", stageEntries, n)
	}
	if n := testing.AllocsPerRun(100, replicateStage(t)); n > 2 {
		t.Errorf("an append of %d entries: %v allocations, want 2 at most", stageEntries, n)
	}
}
