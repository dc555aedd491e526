package plan

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// ZoneLabel is the key of the label by which replicas are spread. Nodes without
// it stand in one zone together.
const ZoneLabel = shardmap.ZoneLabel

// Health says what is known of a node's process.
type Health uint8

const (
	// Alive: it was heard of lately.
	Alive Health = 0
	// Silent: it is not heard of, but not for long enough to be dead. Its replicas
	// are left alone and count in no majority. Left by a word of it, or by time.
	Silent Health = 1
	// Dead: it was not heard of for longer than the cluster's limit. It is replaced.
	// Left by a word of it.
	Dead Health = 2
	// Joining: it is in the table and can't hold replicas yet. Left when it can.
	Joining Health = 3
	// Gone: a person has said that it is dead for good, and is to leave the table. What it
	// holds is given up even where no other node can take its place: a voter that never
	// answers again spares its group no loss. Left with its line in the table.
	Gone Health = 4
)

// Node is what is known of a node beyond its line in the table.
type Node struct {
	Health   Health
	Draining bool // by command: its leaders and replicas are to go elsewhere
}

// ReplicaState says what is known of a replica, on a node that is alive.
type ReplicaState uint8

const (
	// Intact: a voter that counts, or a copy that has caught up.
	Intact ReplicaState = 0
	// Learning: a learner that has not caught up.
	Learning ReplicaState = 1
	// Learned: a learner that was added to become a voter, and has caught up.
	Learned ReplicaState = 2
	// Damaged: it gets back what its disk lost, and does not count until then.
	Damaged ReplicaState = 3
	// Doubtful: it waits for the other voters' word on its directory's life.
	Doubtful ReplicaState = 4
	// Lost: its promises are lost. It never counts again and has to be replaced.
	Lost ReplicaState = 5
)

// Group is what is known of a group beyond its line in the table.
type Group struct {
	Bytes  uint64      // of its state: what a new replica has to be sent
	Leader raft.NodeID // 0: none is known
	// Pinned: a person chose the preferred leader; it stays while its node can lead.
	Pinned bool
	// Voters is how many voters the group is to have, if a person chose its replicas:
	// then neither the settings nor the number of nodes decide. 0: they do.
	Voters int
	// Replicas has the state of each; one that it does not name is intact.
	Replicas map[raft.ReplicaID]ReplicaState
}

// Known is what is known at one moment. A node that it does not name is alive. A group
// that it does not name is left alone: the table says what replicas are meant to be,
// and only the group's own log what they are. So name a group when its leader has said
// which of its replicas are learners, and not before.
type Known struct {
	Nodes  map[raft.NodeID]Node
	Groups map[raft.GroupID]Group
}

// Balance reports whether healthy groups are moved to make nodes even.
type Balance uint8

const (
	BalanceOn  Balance = 0 // they are
	BalanceOff Balance = 1 // only what is broken, drained or too few is mended
)

// VotersMax is the most voters that a setting may ask for.
const VotersMax = 5

// Settings are what an operator decides.
type Settings struct {
	Replicas   int // voters of each data group: 1, 3 or 5
	MetaVoters int // voters of the meta group: 1, 3 or 5
	Balance    Balance
}

// Defaults are the settings of a cluster where nobody changed any.
var Defaults = Settings{Replicas: shardmap.GroupVoters, MetaVoters: shardmap.GroupVoters}

// Check returns what is wrong with s, naming the field.
func (s Settings) Check() error {
	for _, f := range [...]struct {
		name string
		n    int
	}{{"replicas", s.Replicas}, {"meta voters", s.MetaVoters}} {
		if f.n < 1 || f.n > VotersMax || f.n%2 == 0 {
			return fmt.Errorf("setting %s: %d; want 1, 3 or 5", f.name, f.n)
		}
	}
	if s.Balance > BalanceOff {
		return fmt.Errorf("setting balance: %d is unknown; want on or off", s.Balance)
	}
	return nil
}
