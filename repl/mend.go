package repl

import (
	"muster/raft"
	"muster/repl/wire"
)

// ReceiveRepair hands in another node's question for entries that its log lost.
// It is answered through [Transport.AnswerRepair], if a replica of the group is
// here.
func (h *Host) ReceiveRepair(from raft.NodeID, q *wire.Repair) {}

// ReceiveRepairAnswer hands in the answer to a question of this host.
func (h *Host) ReceiveRepairAnswer(from raft.NodeID, a *wire.RepairAnswer) {}

// ReceiveSnapshotRequest hands in another node's wish for a snapshot, which it
// has because its log lost entries that the log here has compacted.
func (h *Host) ReceiveSnapshotRequest(from raft.NodeID, q *wire.SnapshotRequest) {}

// DamageFound hands in that a read of the log met damage: by whoever read for a
// follower, or by the scrub.
func (h *Host) DamageFound() {}
