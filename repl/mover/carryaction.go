package mover

import (
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// CarryKind says what the owner of a [Carrier] is to do.
type CarryKind uint8

const (
	// CarryStep: have the leader of Group propose Command, one of the commands that move
	// slots; for group 0, one to the meta group. It ends with the entry applied.
	CarryStep CarryKind = 1
	// CarryView: ask the leader of Group how the slots stand there, by a linearizable read.
	CarryView CarryKind = 2
	// CarryCopy: take copies of the slots from this node's own replica of Group, which leads,
	// all between the same two entries.
	CarryCopy CarryKind = 3
	// CarryDecisions: say which decisions this node's own replica of Group keeps, which leads.
	CarryDecisions CarryKind = 4
)

func (k CarryKind) String() string {
	switch k {
	case CarryStep:
		return "step"
	case CarryView:
		return "view"
	case CarryCopy:
		return "copy"
	case CarryDecisions:
		return "decisions"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// CarryAction is one thing that the owner of a [Carrier] is to do.
type CarryAction struct {
	Number      uint64 // larger than that of each action before
	Kind        CarryKind
	Group       raft.GroupID // its leader may be the owner's own node
	Incarnation raft.Incarnation
	Command     []byte               // of CarryStep; the carrier keeps no hold on it
	Slots       []shardmap.SlotRange // of CarryView and CarryCopy, in order; at most [CarrySlotsMax] slots
}

// CarrySlotsMax bounds the slots of one view or copy: a view is one request on the wire.
const CarrySlotsMax = wire.SlotViewMax
