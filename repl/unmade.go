package repl

import (
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

const (
	// unmadePause lies between two calls of [HostConfig.Unmade] about one replica: its
	// leader sends several messages a second until it answers.
	unmadePause = time.Second
	// unmadeMax bounds the replicas that are remembered as told of, and so how many are
	// told of in one pause: 256 KiB for a member that makes them up.
	unmadeMax = 4096
)

// unmade is which replicas other nodes have spoken to that are not here. A node learns
// from its replica of group 0 what it is to hold. If it has none, or one that nobody
// feeds any more, it learns of a new one by this alone: that somebody speaks to it.
type unmade struct {
	host  *Host
	heard []unmadeReplica // since the last turn
	told  map[logstore.Replica]time.Duration
}

type unmadeReplica struct {
	from    raft.NodeID
	replica logstore.Replica
}

// note takes notice of a message for a replica that is not here, if that is newer than
// what is or was: to an older one nobody speaks who knows better.
func (u *unmade) note(from raft.NodeID, e *wire.Envelope) {
	h := u.host
	r := logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: e.Message.To}
	if h.cfg.Unmade == nil || h.beats.of[from] == nil || r.ID == 0 || h.placing.buried(r) {
		return
	}
	if g := h.groups[r.Group]; g != nil && !newer(r, g.replica) {
		return
	}
	if m := h.mending.of(r.Group); m != nil && !newer(r, m.replica) {
		return
	}
	if at, ok := u.told[r]; ok && h.now-at < unmadePause {
		return
	}
	if len(u.told) >= unmadeMax {
		u.forget()
	}
	if len(u.told) < unmadeMax {
		u.told[r] = h.now
		u.heard = append(u.heard, unmadeReplica{from: from, replica: r})
	}
}

// forget forgets those that are due to be told of again.
func (u *unmade) forget() {
	for r, at := range u.told {
		if u.host.now-at >= unmadePause {
			delete(u.told, r)
		}
	}
}

// tell calls the owner about what was heard since the last turn.
func (u *unmade) tell() {
	heard := u.heard
	u.heard = nil
	for _, o := range heard {
		u.host.cfg.Unmade(o.from, o.replica)
	}
}
