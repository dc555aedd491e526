package node

import (
	"fmt"
	"strings"

	"muster/repl/wire"
)

// standing is what the other side of a connection has proven to be. It is
// decided once, when the connection is admitted, and by nothing that a frame
// says later. A set of them is their sum.
type standing uint8

const (
	standingClient  standing = 1 << iota // a program that uses the cluster: it knows the secret, if there is one
	standingFounder                      // a host that looks for others to found a cluster: the same, and no member
	standingMember                       // a node on the peer list
	standingSender                       // a node on the peer list, over a connection for snapshots

	standingNobody standing = 0
)

// standingOf is the standing of a connection that was admitted.
func standingOf(g *wire.Greeting) standing {
	switch {
	case g.Purpose == wire.PurposeBulk:
		return standingSender
	case g.Purpose == wire.PurposePeer && g.Hello.Role == wire.RolePeer:
		return standingMember
	case g.Purpose == wire.PurposePeer && g.Hello.Role == wire.RoleFounding:
		return standingFounder
	}
	return standingClient
}

// senders has, for each type, whose frames of it this node takes. A type that is
// not here is taken from nobody: the hello is over, and answers come over the
// connection of the one that asked.
var senders = [...]standing{
	wire.TypePing: standingClient | standingFounder | standingMember,

	wire.TypePreVote: standingMember, wire.TypePreVoteAnswer: standingMember,
	wire.TypeVote: standingMember, wire.TypeVoteAnswer: standingMember,
	wire.TypeAppend: standingMember, wire.TypeAppendAnswer: standingMember,
	wire.TypeBeat: standingMember, wire.TypeBeatAnswer: standingMember,
	wire.TypeReadIndex: standingMember, wire.TypeReadIndexAnswer: standingMember,
	wire.TypeTimeoutNow: standingMember, wire.TypeTransferVote: standingMember, wire.TypeQuiet: standingMember,

	wire.TypeFounding: standingFounder,
	wire.TypeAnnounce: standingMember,
	wire.TypeRepair:   standingMember, wire.TypeRepairAnswer: standingMember, wire.TypeSnapshotRequest: standingMember,
	wire.TypeAttest: standingMember, wire.TypeAddresses: standingMember,
	wire.TypeLifeQuestion: standingMember, wire.TypeLifeAnswer: standingMember,
	wire.TypeChunk: standingSender,

	wire.TypeWrite: standingClient, wire.TypeGet: standingClient, wire.TypeList: standingClient, wire.TypeTopology: standingClient,
	wire.TypeStatus: standingClient, wire.TypeCounters: standingClient, wire.TypeDoctor: standingClient, wire.TypeLogRange: standingClient,
}

// bugClientAnnounces is planted to show that its test finds it: an announcement
// is taken from whoever is connected, for whichever node it names.
const bugClientAnnounces = "announcement by a client"

// sendersOf returns whose frames of type t this node takes.
func sendersOf(t wire.Type) standing {
	if t == wire.TypeAnnounce && bug(bugClientAnnounces) {
		return standingClient | standingMember
	}
	if int(t) >= len(senders) {
		return standingNobody
	}
	return senders[t]
}

// mayNotSend refuses a frame of type t from who has standing s.
func mayNotSend(s standing, t wire.Type) *wire.Error {
	object, who := "frame of type "+t.String(), sendersOf(t)
	if who == standingNobody {
		return wire.BadRequest(object, "nobody sends this type here", "send one of the types of docs/protocol.md")
	}
	return wire.Unauthorized(object, fmt.Sprintf("%s sent it, and only %s may", s, who), "send it over a connection of that purpose and role, or not at all")
}

func (s standing) String() string {
	var parts []string
	for _, p := range []struct {
		s    standing
		name string
	}{
		{standingClient, "a client"}, {standingFounder, "a host that founds"}, {standingMember, "a member"}, {standingSender, "a member's connection for snapshots"},
	} {
		if s&p.s != 0 {
			parts = append(parts, p.name)
		}
	}
	return strings.Join(parts, " or ")
}
