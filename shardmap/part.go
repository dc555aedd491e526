package shardmap

import (
	"fmt"
	"strings"
)

// Part is a part of the state of a group that has a digest of its own, so that replicas that
// differ can say in what. Numbers are for ever: they are on the wire.
//
//	   0 to 4095   the slot of that number, in whatever way a data group has it
//	from 4096 on   what else a data group knows
//	from 8192 on   parts of the table, which is the state of the meta group
type Part uint32

const (
	PartMarks     Part = 4096 // the marks of all slots
	PartDecisions Part = 4097 // about moves
	PartFounding  Part = 4098 // the number of the group's founding
	PartTime      Part = 4099 // the group time
	PartSessions  Part = 4100 // how many sessions, outcomes and details all slots have together
	PartHistory   Part = 4101 // the level that entries have raised the group to, where its last event is, and the rules for versions; not its events

	PartShards Part = 4102 // which shards of points there are, and what entries brought to them; there only if there were any, from level 10 on

	PartNodes    Part = 8192 // the peer list
	PartGroups   Part = 8193 // the data groups as they are meant to be
	PartSlots    Part = 8194 // whose each slot is
	PartSettings Part = 8195 // those that were changed
	PartJobs     Part = 8196 // unfinished ones, and the last finished ones
	PartMoves    Part = 8197 // those that are not closed
	PartCluster  Part = 8198 // all else: name, id, level, index, epoch, bound of values, meta group, what was removed

	PartIncidents Part = 8199 // and how many there ever were

	PartTrust  Part = 8200 // mode of TLS, roots, pins, denied certificates and tokens; from level 8 on, as are those below
	PartRules  Part = 8201 // users and roles
	PartLimits Part = 8202 // of prefixes
	PartTrails Part = 8203 // how far each node's trail is

	PartDatabases Part = 8204 // databases and policies, and those that were dropped; from level 10 on, as are windows
	PartWindows   Part = 8205 // of all policies

	partsOfTable = PartWindows + 1 - PartNodes // Invariant: they are numbered without a gap
)

func (p Part) String() string {
	switch p {
	case PartMarks:
		return "marks"
	case PartDecisions:
		return "decisions"
	case PartFounding:
		return "founding"
	case PartTime:
		return "group time"
	case PartSessions:
		return "sessions"
	case PartHistory:
		return "history"
	case PartShards:
		return "shards"
	case PartNodes:
		return "nodes"
	case PartGroups:
		return "groups"
	case PartSlots:
		return "slots"
	case PartSettings:
		return "settings"
	case PartJobs:
		return "jobs"
	case PartMoves:
		return "moves"
	case PartCluster:
		return "cluster"
	case PartIncidents:
		return "incidents"
	case PartTrust:
		return "trust"
	case PartRules:
		return "rules"
	case PartLimits:
		return "limits"
	case PartTrails:
		return "trails"
	case PartDatabases:
		return "databases"
	case PartWindows:
		return "windows"
	}
	if p < Slots {
		return fmt.Sprintf("slot %d", uint32(p))
	}
	return fmt.Sprintf("part %d", uint32(p))
}

// PartNames returns parts as people know them.
func PartNames[P ~uint32](parts []P) []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = Part(p).String()
	}
	return names
}

// partsListedMax is how many parts one line names.
const partsListedMax = 8

// ListParts returns a phrase about parts of which some have names here, and so many more have
// none: "slot 12, slot 77 and 5 more". It names 8 at most, and is empty if there are no parts.
func ListParts(names []string, more uint64) string {
	listed := names[:min(len(names), partsListedMax)]
	text := strings.Join(listed, ", ")
	switch more += uint64(len(names) - len(listed)); {
	case more > 0 && text == "":
		return fmt.Sprintf("%d parts", more)
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// DigestRow is the digest of one part.
type DigestRow struct {
	Part   Part
	Digest uint64
}

// PartFault says what a walk has found to be wrong with a part.
type PartFault struct {
	Part Part
	What string
}

func (f PartFault) String() string { return fmt.Sprintf("%s: %s", f.Part, f.What) }
