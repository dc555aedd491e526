package raft

// SnapshotWanted asks the owner to send its newest snapshot to a follower.
type SnapshotWanted struct{ To ReplicaID }

// Install is what the core needs to know of a snapshot: the last entry that it
// covers, the membership in force there and the group time of that entry.
type Install struct {
	Base       LogID
	Membership Membership
	Time       GroupTime
}

// Compact tells that the owner has a snapshot that covers all up to base, with
// membership m in force there, and that the log before is gone. base must be
// applied.
func (g *Group) Compact(base LogID, m Membership) {}

// SnapshotDone ends what [Ready.Snapshots] asked for: the snapshot that covers
// all up to base has arrived, or, if not ok, has not.
func (g *Group) SnapshotDone(to ReplicaID, base LogID, ok bool) {}
