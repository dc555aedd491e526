package repl

import "muster/raft"

// SnapshotPolicy says when a replica's state is written to a snapshot, so that the
// log before it can go. A zero field stands for its default.
type SnapshotPolicy struct {
	// BytesMin: a group is due once this many bytes of entries were applied
	// since its last snapshot, or as many as that snapshot has, if that is
	// more. So a snapshot costs no more than the entries that it spares.
	BytesMin int64
	// RestBytes and RestTicks: a group is also due once nothing was applied
	// for RestTicks and a start would have to apply RestBytes.
	RestBytes int64
	RestTicks int
	// LogBytesMax: while the entries of all groups together are more, and more
	// than their snapshots, the group with most of them is due, if it has
	// OverBytesMin at least. That is for many groups that each stay below
	// BytesMin.
	LogBytesMax, OverBytesMin int64
	// RetryTicks is how long a group waits after a snapshot that could not be
	// written, for example for want of space.
	RetryTicks int
	// HoldTicks is how long no other snapshot is made after one was sent to a
	// follower, so that it finds the following entries in the log; unless
	// the entries are holdTimes as many as make a group due.
	HoldTicks int
}

const (
	// snapshotBytesMin keeps the snapshots of small groups rare. A start applies
	// that much in less than a tenth of a second.
	snapshotBytesMin = 8 << 20
	// snapshotRestBytes is worth a file of its own.
	snapshotRestBytes = 1 << 20
	// snapshotRestTicks is 3 s: a client that loads data in pieces does not let the
	// group rest between two of them.
	snapshotRestTicks = 60
	// snapshotLogBytesMax is how much of a disk the tails of all groups may take.
	snapshotLogBytesMax = 128 << 20
	// snapshotOverBytesMin: it takes 4,096 groups of less to be over that.
	snapshotOverBytesMin = 32 << 10
	// snapshotRetryTicks is 10 s.
	snapshotRetryTicks = 200
	// settleTicks is how long a group waits whose state names files that are not here yet, 1 s.
	settleTicks = 20
	// snapshotHoldTicks is 10 s.
	snapshotHoldTicks = 200
	// holdTimes bounds what a slow follower can pin.
	holdTimes = 2
	// forcedTimes: a group that is due this many times over is written without a pace.
	// Either the disk is slower than the writes, or the pace is.
	forcedTimes = 4
	// lookTicks lie between two looks at which group is due: each looks at
	// all groups.
	lookTicks = 4
	// shortPart: on a disk that has no room to prepare more log, a group is
	// due when its part of the log is this part of its last snapshot: the log then
	// gets back enough to be worth writing that snapshot once more.
	shortPart = 4
	// staggerParts and staggerOver: the replicas of a group are due at
	// different sizes, each staggerParts-th of the limit apart, so that no
	// majority of them is busy with a snapshot at the same time.
	staggerParts, staggerOver = 8, 3
)

func (p SnapshotPolicy) withDefaults() SnapshotPolicy {
	or := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	orTicks := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&p.BytesMin, snapshotBytesMin)
	or(&p.RestBytes, snapshotRestBytes)
	or(&p.LogBytesMax, snapshotLogBytesMax)
	or(&p.OverBytesMin, snapshotOverBytesMin)
	orTicks(&p.RestTicks, snapshotRestTicks)
	orTicks(&p.RetryTicks, snapshotRetryTicks)
	orTicks(&p.HoldTicks, snapshotHoldTicks)
	return p
}

// dueBytes is how many bytes of entries make a group due.
func (k *snapshots) dueBytes() int64 {
	limit := max(k.group.host.cfg.Snapshots.BytesMin, k.size)
	return limit + limit/staggerParts*int64(k.group.replica.ID%staggerOver)
}

// may reports whether a snapshot of the group can be made, and makes
// sense.
func (k *snapshots) may() bool {
	switch {
	case k.group.stopped != nil || k.group.removed || k.group.gone || k.group.fence != nil:
		return false
	case k.group.appliedMembers.Blank():
		return false // a log that does not know its members yet can't say them
	case k.group.applied.Index <= k.base.Index && !k.lacksState():
		return false
	case k.group.host.ticks < k.retryAt:
		return false
	}
	return true
}

// lacksState reports whether there is no snapshot where the log begins: the disk
// has damaged it. Only who was told asks: it looks at the store.
func (k *snapshots) lacksState() bool {
	if !k.asked || k.base.Index == 0 {
		return false
	}
	_, have := k.newest()
	return !have
}

// held reports whether the log must keep what follows a snapshot, for a follower
// that has just received it.
func (k *snapshots) held() bool {
	return (len(k.streams) > 0 || k.group.host.ticks < k.heldUntil) && k.bytes < holdTimes*k.dueBytes()
}

// due returns the group whose state is to be written next, or nil:
// one that was asked for; else the one that is most over its limit; else one
// that rests; else, if the log is too large or its disk has no room for more, the
// one with most of it.
func (c *chores) due() *group {
	p := &c.host.cfg.Snapshots
	var over, rests, most, frees *group
	overBy, total, sizes := 1.0, int64(0), int64(0)
	for _, g := range c.host.order {
		total += g.snap.bytes
		sizes += g.snap.size
		if !g.snap.may() {
			continue
		}
		if g.snap.asked {
			return g
		}
		if g.snap.held() {
			continue
		}
		if by := float64(g.snap.bytes) / float64(g.snap.dueBytes()); by >= overBy {
			over, overBy = g, by
		}
		if g.snap.bytes >= p.RestBytes && c.host.ticks >= g.snap.movedAt+uint64(p.RestTicks) {
			rests = g
		}
		if g.snap.bytes >= p.OverBytesMin && (most == nil || g.snap.bytes > most.snap.bytes) {
			most = g
		}
		if g.snap.bytes >= max(p.OverBytesMin, g.snap.size/shortPart) && (frees == nil || g.snap.bytes > frees.snap.bytes) {
			frees = g
		}
	}
	switch {
	case over != nil:
		return over
	case rests != nil:
		return rests
	case total > max(p.LogBytesMax, sizes):
		return most
	case c.host.full.space.Short:
		return frees
	}
	return nil
}

// AskSnapshot asks for a snapshot of a group's state as it is when its turn
// comes, whatever the policy says.
func (h *Host) AskSnapshot(id raft.GroupID) {
	if g := h.groups[id]; g != nil {
		g.snap.asked = true
		h.chores.lookAt = 0
	}
}
