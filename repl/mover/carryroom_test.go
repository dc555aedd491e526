package mover

import (
	"testing"
	"time"

	"muster/shardmap"
)

// roomyWorld is a calm world in which few slots may move at once, and slots of group 1.
func roomyWorld(t *testing.T, slots, size int) (*carryWorld, []shardmap.Slot) {
	w := newCarryWorld(t, 1, 3, 20)
	w.calm = true
	w.run(2 * time.Second)
	if err := w.tell(append1(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "slot-parallel", Value: "8"}))); err != nil {
		t.Fatal(err)
	}
	return w, w.fill(w.groups[1], slots, 2, size)
}

// jobDone has a job end as done.
func (w *carryWorld) jobDone(id uint64, within time.Duration) {
	w.t.Helper()
	w.until("the other job is done", within, func() bool { j, _ := w.table.Job(id); return j.State == shardmap.JobDone })
}

// The moves of a job that is paused take no room from those of another: slot-parallel
// bounds what is on its way, and they are not.
func TestPausedMovesLeaveRoom(t *testing.T) {
	w, some := roomyWorld(t, 24, 50_000)
	first := w.order(shardmap.JobMove, 2, some[:16]...)
	w.until("slots move", time.Second, func() bool { return len(w.table.Moves) > 0 })
	w.state(first, shardmap.JobPaused)
	if len(w.table.Moves) == 0 {
		t.Fatal("no move is open that was paused")
	}
	w.jobDone(w.order(shardmap.JobMove, 3, some[16:]...), time.Minute)
	w.state(first, shardmap.JobRunning)
	w.quiet = true
	w.until("all slots are moved", time.Minute, w.over)
	w.whole()
}

// Nor do moves to a group that has no leader.
func TestStuckMovesLeaveRoom(t *testing.T) {
	w, some := roomyWorld(t, 24, 50_000)
	w.depose(w.groups[2])
	w.groups[2].electAt = w.now + 2*time.Minute
	w.order(shardmap.JobMove, 2, some[:16]...)
	w.run(5 * time.Second)
	if len(w.table.Moves) == 0 {
		t.Fatal("no move is stuck")
	}
	w.jobDone(w.order(shardmap.JobMove, 3, some[16:]...), time.Minute)
	w.quiet = true
	w.until("the group has a leader and the slots", 5*time.Minute, w.over)
	w.whole()
}

// A target whose disk is full answers, and takes nothing: it holds up the slots that go
// there, and no others, however large they are.
func TestTargetWithoutRoom(t *testing.T) {
	w, some := roomyWorld(t, 12, 500_000)
	large := w.fill(w.groups[1], 1, 40, 1<<20) // some[0]
	some = some[1:]
	w.groups[2].full = true
	w.order(shardmap.JobMove, 2, large...)
	w.run(time.Second)
	w.jobDone(w.order(shardmap.JobMove, 3, some...), time.Minute)
	before := w.acts
	w.run(time.Minute)
	if n := w.acts - before; n > 400 {
		t.Errorf("%d actions in a minute in which nothing could be done", n)
	}
	w.groups[2].full = false
	w.quiet = true
	w.until("the disk has room again and the slot", 2*time.Minute, w.over)
	w.whole()
}
