package machine_test

import (
	"flag"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
)

var benchKeys = flag.Int("keys", 1_000_000, "keys that the benchmarks work on")

const benchGroups = 8

// BenchmarkRestore is what a node does before it serves: it opens the snapshots
// of eight groups with -keys keys of 16 + 128 bytes between them, checks them, and
// builds the states. One goroutine does all of it. The files are in the system's
// memory, as after the restart of a process.
//
// cpu-ms/million is the processor time for a million keys, of the whole process:
// the collector's too.
func BenchmarkRestore(b *testing.B) {
	dir := b.TempDir()
	store, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	var snapshots []logstore.Snapshot
	bytes := int64(0)
	for g := range benchGroups {
		sn := benchSnapshot(b, store, raft.GroupID(g+1))
		snapshots = append(snapshots, sn)
		bytes += sn.Size
	}
	b.SetBytes(bytes)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, n := processorTime(), 0
	var loaded [benchGroups]*machine.Map
	for b.Loop() {
		n++
		clear(loaded[:])
		for _, sn := range snapshots {
			r, err := store.OpenSnapshot(sn)
			if err != nil {
				b.Fatal(err)
			}
			m := machine.NewMap(sn.Replica, noTable)
			if err := m.Restore(r, sn.Base.ID, sn.Base.Time); err != nil {
				b.Fatal(err)
			}
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
			loaded[sn.Replica.Group-1] = m
		}
	}
	b.StopTimer()
	cpu = processorTime() - cpu
	runtime.ReadMemStats(&after)
	million := float64(n) * float64(*benchKeys) / 1e6
	b.ReportMetric(float64(cpu.Milliseconds())/million, "cpu-ms/million")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/million/1e6, "allocated-B/key")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/million/1e6, "allocs/key")
	runtime.GC()
	var kept runtime.MemStats
	runtime.ReadMemStats(&kept)
	b.ReportMetric(float64(kept.HeapAlloc-before.HeapAlloc)/float64(*benchKeys), "kept-B/key")
	runtime.KeepAlive(&loaded)
}

// benchSnapshot makes the snapshot of a group that owns an eighth of the slots,
// and has all keys that belong there.
func benchSnapshot(b *testing.B, store *logstore.Store, g raft.GroupID) logstore.Snapshot {
	var slots []shardmap.Slot
	for s := range shardmap.Slots / benchGroups {
		slots = append(slots, shardmap.Slot((int(g)-1)*shardmap.Slots/benchGroups+s))
	}
	m := owning(g, slots)
	index := uint64(1)
	value := make([]byte, 128)
	for i := range *benchKeys {
		key := fmt.Appendf(nil, "key:%012d", i)
		if slot := shardmap.SlotOf(key); m.State.Owns(slot) {
			index++
			copy(value, key)
			c := shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Items: [][]byte{key, value}}
			if _, err := m.State.Apply(raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), &c); err != nil {
				b.Fatal(err)
			}
		}
	}
	id := logstore.Replica{Group: g, Incarnation: 1, ID: 1}
	members := raft.Membership{Voters: []raft.Member{{Replica: 1, Node: 1, Goal: raft.GoalVoter}}, Next: 2}
	base := logstore.Base{ID: m.State.Applied(), Time: m.State.Time(), Membership: members}
	if err := store.Append([]logstore.Write{{Replica: id, Base: &base, State: raft.HardState{Term: 1}, HasState: true}}); err != nil {
		b.Fatal(err)
	}
	w, err := store.CreateSnapshot(id, base)
	if err != nil {
		b.Fatal(err)
	}
	copied := m.Copy()
	defer copied.Release()
	if _, err := copied.WriteTo(w); err != nil {
		b.Fatal(err)
	}
	sn, err := w.Commit()
	if err != nil {
		b.Fatal(err)
	}
	return sn
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
