package node

import (
	"fmt"

	"muster/repl/wire"
)

// bugClientAnnounces is planted to show that its test finds it: an announcement is taken
// from any connection, for any node that it names.
const bugClientAnnounces = "announcement by a client"

// sendersOf returns the senders from which this node takes frames of type t.
func sendersOf(t wire.Type) wire.Sender {
	if t == wire.TypeAnnounce && bug(bugClientAnnounces) {
		return wire.SenderClient | wire.SenderMember
	}
	return t.Senders()
}

// mayNotSend is the refusal of a frame of type t from a sender of standing s.
func mayNotSend(s wire.Sender, t wire.Type) *wire.Error {
	object, who := "frame of type "+t.String(), sendersOf(t)
	if who == wire.SenderNobody {
		return wire.BadRequest(object, "nobody sends this type here", "send one of the types of docs/protocol.md")
	}
	return wire.Unauthorized(object, fmt.Sprintf("%s sent it, and only %s may", s, who), "send it over a connection of that purpose and role, or not at all")
}
