package logstore

import (
	"errors"
	"fmt"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// story is one operation on the data directory, with what comes before it. All
// that has to hold whatever the disk does is tried on the same stories: the
// power goes at each of their steps (crash_test.go), each call to the disk
// fails (fault_test.go), and the order of their steps stands in a file
// (order_test.go). A new operation becomes a story here, and is tried in all
// three ways.
type story struct {
	name   string // also that of its file in testdata/order
	size   int64  // of a segment; 0: the smallest
	before func(*lifeRun)
	act    func(*lifeRun) error
	// long has too many steps to crash at each of them in every run.
	long bool
}

var one, two, three = testReplica(1), testReplica(2), testReplica(3)

// fenced is a fence of a replica.
func fenced(r Replica) Fence {
	return Fence{Replica: r, At: raft.LogID{Term: 1, Index: 3}, Found: FenceByComparison, Parts: []uint32{12, 4097}, What: "slot 12 differs from that of two others"}
}

// rolling is an entry for which there is no room after fill.
const rolling = 12000

var stories = []story{
	{name: "identity", before: settle, act: func(r *lifeRun) error {
		next, err := r.identity.Begin(0, 1, 0)
		must(r.t, err)
		return r.identify(next)
	}},
	{name: "open-new", before: settle, act: (*lifeRun).open},
	{name: "note", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(Write{Note: &Note{Node: 2, Life: Life{3, 4}, Trusted: Life{2, 9}, Batch: 5}}))
	}, act: func(r *lifeRun) error {
		return r.append(Write{Note: &Note{Node: 2, Life: Life{7, 8}, Batch: 9}}, r.more(one, 1, 50), Write{Note: &Note{Node: 3, Life: Life{1, 1}}})
	}},
	{name: "change-identity", before: begin, act: func(r *lifeRun) error {
		_, err := ChangeIdentity(r.store, func(id *Identity) { id.Stage = StageMember })
		return err
	}},
	{name: "found", before: begin, act: func(r *lifeRun) error { return r.append(founding(three)) }},
	{name: "append", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 2, 100), Write{
			Replica: two, State: raft.HardState{Term: 3, Vote: 9}, HasState: true, Entries: span(two, 2, 1, 3, 50),
		})
	}},
	{name: "append-two-batches", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 3, 2300), r.more(two, 3, 2300))
	}},
	{name: "append-many-batches", before: begin, act: func(r *lifeRun) error {
		// Of each kind, a record for which the batch has no room.
		full := func() Write { return r.more(one, 1, SegmentBytesMin/batchPart) }
		if err := r.append(full(), Write{Replica: two, State: raft.HardState{Term: 3, Vote: 9}, HasState: true}); err != nil {
			return err
		}
		if err := r.append(full(), founding(three)); err != nil {
			return err
		}
		if err := r.append(full(), Write{Replica: three, Remove: true}); err != nil {
			return err
		}
		// A base for which the log must first know what is in the batch.
		last := r.more(one, 1, 50)
		return r.append(last, Write{Replica: one, Base: &Base{ID: last.Entries[0].ID, Membership: voters(one.ID)}})
	}},
	{name: "append-larger-than-segment", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 1, 2*SegmentBytesMin))
	}},
	{name: "truncate", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(Write{Replica: one, Commit: 3, Entries: span(one, 1, 1, 9, 50)}))
	}, act: func(r *lifeRun) error {
		return r.append(Write{Replica: one, State: raft.HardState{Term: 2, Vote: 9}, HasState: true, Entries: span(one, 2, 5, 6, 70)})
	}},
	{name: "idle", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 3, 50)))
	}, act: func(r *lifeRun) error {
		if err := r.append(Write{Replica: one, Commit: 2}); err != nil {
			return err
		}
		return errors.Join(r.idle(), r.idle())
	}},
	{name: "prepare-in-pieces", size: 512 << 10, before: begin, act: func(r *lifeRun) error {
		for range 3 {
			if err := r.append(r.more(one, 1, 60_000)); err != nil {
				return err
			}
		}
		return r.idle()
	}},
	{name: "roll", before: func(r *lifeRun) {
		begin(r)
		r.fill(1)
	}, act: func(r *lifeRun) error { return r.append(r.more(one, 1, rolling)) }},
	{name: "compact", before: func(r *lifeRun) {
		begin(r)
		r.fill(3)
	}, act: func(r *lifeRun) error { return r.compact(one) }},
	{name: "copy-forward", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(founding(three), r.more(two, 4, 3000)))
		must(r.t, r.append(Write{Replica: three, Remove: true}))
		r.fill(5)
		must(r.t, r.compact(one))
	}, act: func(r *lifeRun) error {
		for range 5 {
			if err := r.append(r.more(one, 1, 3000)); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "recycle", before: func(r *lifeRun) {
		begin(r)
		r.fill(3)
		must(r.t, r.compact(one))
		r.fill(4)
	}, act: func(r *lifeRun) error {
		return r.append(r.more(one, 1, rolling))
	}},
	{name: "install", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 9, 50)))
	}, act: func(r *lifeRun) error {
		at := Base{ID: raft.LogID{Term: 2, Index: 40}, Time: 40_000, Membership: voters(one.ID, 77)}
		return r.append(Write{Replica: one, Base: &at, State: raft.HardState{Term: 2}, HasState: true, Commit: 40, Entries: span(one, 2, 41, 43, 50)})
	}},
	{name: "snapshot-write", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.snapshot(one, 1000))
		must(r.t, r.compact(one))
		must(r.t, r.append(r.more(one, 5, 50)))
	}, act: func(r *lifeRun) error {
		if err := r.snapshot(one, snapshotPieceBytes+1); err != nil {
			return err
		}
		if err := r.compact(one); err != nil {
			return err
		}
		return r.dropSnapshots(one)
	}},
	{name: "snapshot-receive", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.snapshot(one, 1000))
		must(r.t, r.compact(one))
	}, act: func(r *lifeRun) error {
		at := Base{ID: raft.LogID{Term: 1, Index: 40}, Time: 40_000, Membership: voters(one.ID, 77)}
		if err := r.receive(one, at, snapshotPieceBytes/4); err != nil {
			return err
		}
		if err := r.append(Write{Replica: one, Base: &at, Commit: 40, Entries: span(one, 1, 41, 43, 50)}); err != nil {
			return err
		}
		return r.dropSnapshots(one)
	}},
	{name: "snapshot-again", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.snapshot(one, 1000))
		must(r.t, r.compact(one))
	}, act: func(r *lifeRun) error {
		// The log depends on the first one until the second has its name.
		w, err := r.store.CreateSnapshot(one, r.done[one].base)
		if err != nil {
			return err
		}
		if _, err := w.Write(stream(1000)); err != nil {
			return err
		}
		_, err = w.Commit()
		return err
	}},
	{name: "snapshot-give-up", before: begin, act: func(r *lifeRun) error {
		if err := r.append(r.more(one, 5, 50)); err != nil {
			return err
		}
		w, err := r.store.CreateSnapshot(one, r.baseOf(one))
		if err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, snapshotPieceBytes+1)); err != nil {
			return err
		}
		return w.Abort()
	}},
	{name: "full-reserve", before: func(r *lifeRun) {
		begin(r)
		r.mem.Limit(r.mem.Used())
		r.fill(2)
	}, act: func(r *lifeRun) error { return r.append(r.more(one, 1, rolling)) }},
	{name: "full-identity", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.close())
		r.mem.Limit(r.mem.Used())
	}, act: func(r *lifeRun) error {
		id, err := r.readIdentity()
		if err != nil {
			return err
		}
		next, err := id.Begin(0, 1, 0)
		must(r.t, err)
		return r.identify(next)
	}},
	{name: "full-snapshot", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.idle()) // it sees to the headroom
		r.mem.Limit(r.mem.Used())
	}, act: func(r *lifeRun) error {
		if err := r.snapshot(one, 1000); err != nil {
			return err
		}
		if err := r.compact(one); err != nil {
			return err
		}
		return r.store.MakeRoom()
	}},
	{name: "fence", before: begin, act: func(r *lifeRun) error { return r.fence(fenced(one)) }},
	{name: "fence-again", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.fence(fenced(one)))
		must(r.t, r.fence(fenced(two)))
	}, act: func(r *lifeRun) error {
		f := fenced(one)
		f.Rebuilt = true
		return r.fence(f)
	}},
	{name: "fence-remove", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.fence(fenced(one)))
		must(r.t, r.fence(fenced(two)))
	}, act: func(r *lifeRun) error { return r.fence(Fence{Replica: one}) }},
	{name: "fence-replica-removed", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.fence(fenced(one)))
		must(r.t, r.fence(fenced(two)))
	}, act: func(r *lifeRun) error {
		if err := r.append(Write{Replica: two, Remove: true}); err != nil {
			return err
		}
		return r.idle()
	}},
	{name: "full-fence", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.idle()) // it sees to the headroom
		r.mem.Limit(r.mem.Used())
	}, act: func(r *lifeRun) error { return r.fence(fenced(one)) }},
	{name: "open-fenced", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.fence(fenced(one)))
		must(r.t, r.keepAside(one, 100))
		r.kill()
	}, act: (*lifeRun).open},
	{name: "keep-aside", before: func(r *lifeRun) {
		begin(r)
		for n := range AsideMax {
			must(r.t, r.keepAside(one, 100+n))
		}
	}, act: func(r *lifeRun) error {
		if err := r.keepAside(two, snapshotPieceBytes+1); err != nil {
			return err
		}
		return r.append(r.more(one, 1, 50)) // the removal of the oldest file reports no error
	}},
	{name: "full-keep-aside", before: func(r *lifeRun) {
		begin(r)
		r.mem.Limit(r.mem.Used() + asideLeaves*SegmentBytesMin + snapshotPieceBytes + blockBytes)
	}, act: func(r *lifeRun) error {
		if err := r.keepAside(one, 2*snapshotPieceBytes); !errors.Is(err, ErrFull) {
			return fmt.Errorf("where there is no room: %w", err)
		}
		return r.append(r.more(one, 1, 3000))
	}},
	{name: "remove", before: begin, act: func(r *lifeRun) error { return r.append(Write{Replica: two, Remove: true}) }},
	{name: "close", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 3, 50)))
		must(r.t, r.append(Write{Replica: one, Commit: 2}))
	}, act: (*lifeRun).close},
	{name: "open", before: func(r *lifeRun) {
		begin(r)
		r.fill(2)
		must(r.t, r.close())
	}, act: (*lifeRun).open},
	{name: "recover-torn", before: func(r *lifeRun) {
		begin(r)
		r.mem.StopAt(2) // written, not synced
		if err := r.append(r.more(one, 3, 500)); !errors.Is(err, vfs.ErrPower) {
			r.t.Fatalf("an append without power: %v", err)
		}
		r.kill()
	}, act: (*lifeRun).open},
	{name: "recover-half-prepared", size: 512 << 10, before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 2, 60_000)))
		r.kill()
	}, act: (*lifeRun).open},
	{name: "recover-reclaimed", before: func(r *lifeRun) {
		begin(r)
		r.fill(4)
		must(r.t, r.compact(one))
		must(r.t, r.append(r.more(one, 1, 3000)))
		must(r.t, r.append(r.more(one, 1, 3000)))
		r.kill()
	}, act: func(r *lifeRun) error {
		if err := r.open(); err != nil {
			return err
		}
		return r.append(r.more(one, 1, 3000))
	}},
	{name: "life", long: true, before: func(r *lifeRun) {
		settle(r)
		must(r.t, r.open())
	}, act: func(r *lifeRun) error {
		for range 160 {
			if err := r.step(); err != nil {
				return err
			}
		}
		return r.close()
	}},
}

// begin returns a run on an empty disk in memory, which is reached through
// through if that is not nil.
func (s *story) begin(t testing.TB, seed uint64, through func(vfs.FS) vfs.FS) *lifeRun {
	mem := vfs.NewMem()
	r := newRun(seed, nil)
	r.t, r.mem, r.fs, r.size = t, mem, mem, s.size
	if through != nil {
		r.fs = through(mem)
	}
	s.before(r)
	return r
}
