package wire

import "strings"

// Sender is what the other side of a connection has proven to be. It is
// decided once, when the connection is admitted; nothing that a frame says later
// changes it. A set of them is their sum.
type Sender uint8

const (
	SenderClient  Sender = 1 << iota // a program that uses the cluster: it knows the secret, if there is one
	SenderFounder                    // a host that looks for others to found a cluster with: it knows the secret, and is no member
	SenderMember                     // a node on the peer list
	SenderBulk                       // a node on the peer list, over a connection for snapshots
	SenderInviter                    // a host that asks this one to join its cluster: it knows the secret
	SenderJoiner                     // a host that asks to become a member: it knows the secret, and is none yet
	SenderGuest                      // whoever has no certificate of a cluster that wants one: it may ask for one
	SenderRenewer                    // a member whose certificate has ended, or got lost: it may ask for the next one

	SenderNobody Sender = 0 // of a type that nobody may send
)

// Sender returns what the dialler of an admitted connection is. The node's list of
// peers has the last word on who is admitted, so a member here is one of them. What it has
// set, [Greeting.Standing], overrides purpose and role.
func (g *Greeting) Sender() Sender {
	switch {
	case g.Standing != SenderNobody:
		return g.Standing
	case g.Purpose == PurposeBulk:
		return SenderBulk
	case g.Purpose == PurposePeer && g.Hello.Role == RolePeer:
		return SenderMember
	case g.Purpose == PurposePeer && g.Hello.Role == RoleFounding:
		return SenderFounder
	case g.Purpose == PurposePeer && g.Hello.Role == RoleInviting:
		return SenderInviter
	case g.Purpose == PurposePeer && g.Hello.Role == RoleJoining:
		return SenderJoiner
	}
	return SenderClient
}

func (s Sender) String() string {
	var parts []string
	for _, p := range []struct {
		s    Sender
		name string
	}{
		{SenderClient, "a client"}, {SenderFounder, "a founding host"}, {SenderMember, "a member"}, {SenderBulk, "a member's connection for snapshots"},
		{SenderInviter, "a member that invites"}, {SenderJoiner, "a host that joins"},
		{SenderGuest, "a guest"}, {SenderRenewer, "a member that renews"},
	} {
		if s&p.s != 0 {
			parts = append(parts, p.name)
		}
	}
	if len(parts) == 0 {
		return "nobody"
	}
	return strings.Join(parts, " or ")
}
