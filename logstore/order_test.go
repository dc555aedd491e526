package logstore

import (
	"flag"
	"os"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

var update = flag.Bool("update", false, "write testdata/order.txt anew")

// What is durable when depends on the order of writes, syncs and renames, and
// nothing in the results of a healthy disk shows it. So the order stands in a
// file: a sync that was lost is a line that is missing.
func TestOrderOfOperations(t *testing.T) {
	var out strings.Builder
	fs := vfs.NewMem()
	fs.Trace(func(op string) { out.WriteString(op + "\n") })
	say := func(what string) { out.WriteString("# " + what + "\n") }
	a, b := testReplica(1), testReplica(2)

	say("write the identity")
	must(t, fs.MkdirAll("d"))
	must(t, WriteIdentity(fs, "d", testIdentity))
	say("open a fresh log")
	s := mustOpen(t, fs, Options{})
	say("append for two groups, and the piece of the next segment that is due")
	must(t, s.Append([]Write{founding(a), founding(b)}))
	say("append a commit alone")
	must(t, s.Append([]Write{{Replica: b, Commit: 1}}))
	say("idle")
	must(t, s.Idle())
	say("idle again")
	must(t, s.Idle())
	index := uint64(0)
	one := func() {
		index++
		must(t, s.Append([]Write{{Replica: a, Commit: index, Entries: span(a, 1, index, index, 3000)}}))
	}
	fill := func(segment uint64) {
		out.WriteString("…\n")
		quiet := out.String()
		for s.active.number < segment || s.active.size-s.active.end >= 4096 {
			one()
		}
		out.Reset()
		out.WriteString(quiet)
	}
	fill(1)
	say("append past the end of the segment: roll, prepare the next")
	one()
	fill(3)
	say("compact")
	must(t, s.Compact(a, Base{ID: raft.LogID{Term: 1, Index: index}, Membership: voters(a.ID)}))
	say("append: what is needed at the tail is moved, segments before it become free")
	one()
	say("append: it is durable that the log begins later; two files are kept for later use")
	one()
	say("append: the third is removed")
	one()
	fill(4)
	say("append past the end of the segment: roll, use a file again for the next")
	one()
	say("append more than a batch may have: two batches")
	must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, index+1, index+5, 3000)}}))
	say("make a snapshot, in pieces")
	w, err := s.CreateSnapshot(a, Base{ID: raft.LogID{Term: 1, Index: index + 2}, Membership: voters(a.ID)})
	must(t, err)
	_, err = w.Write(make([]byte, snapshotPieceBytes+1))
	must(t, err)
	made, err := w.Commit()
	must(t, err)
	say("receive a snapshot")
	received, err := s.ReceiveSnapshot(a)
	must(t, err)
	must(t, received.Chunk(0, raw(t, fs, made.File)[:100]))
	say("give it up")
	must(t, received.Abort())
	say("remove the snapshots before a base")
	must(t, s.RemoveSnapshots(a, raft.LogID{Term: 1, Index: index + 3}))
	say("close")
	must(t, s.Close())
	say("open")
	s = mustOpen(t, fs, Options{})
	say("the power goes before the last batch is synced; open again")
	fs.StopAt(2)
	if err := s.Append([]Write{{Replica: b, Entries: span(b, 1, 1, 1, 10)}}); err == nil {
		t.Fatal("an append without power succeeded")
	}
	fs.Crash(vfs.KeepUnsynced, 0)
	s = mustOpen(t, fs, Options{})
	must(t, s.Close())

	const golden = "testdata/order.txt"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got := out.String(); got != string(want) {
		t.Errorf("the order of operations changed; go test -run Order -update ./logstore, and read the diff:\n%s", diff(string(want), got))
	}
}

// diff shows from the first line on that differs.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	return "want:\n" + strings.Join(w[max(i-2, 0):min(i+8, len(w))], "\n") + "\ngot:\n" + strings.Join(g[max(i-2, 0):min(i+8, len(g))], "\n")
}
