package health

import (
	"errors"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Times of the polls. Once a node is silent, its checks are with others within SilentMax and two
// polls: 3 s. If its process was killed, they are with others at once: the poll that it holds
// ends with its connection, and nobody takes the next one.
const (
	// PollEvery is how often a node that has checks of groups led here is asked.
	PollEvery = 500 * time.Millisecond
	// HoldMax is for how long a checker holds the answer to a poll if it has nothing to say. So
	// there is always a poll that it can answer with what it finds.
	HoldMax = PollEvery
	// pollPause is the shortest time between two polls of a node, while there is more to
	// say than one holds. It is also the pause after the first poll that fails, and doubles with
	// each.
	pollPause = 20 * time.Millisecond
	// pollsHurried is how many polls of a node may be under way while another one still
	// hurries: one may be held.
	pollsHurried = 1
	// pollLate is when a poll without an answer is forgotten.
	pollLate = 5 * time.Second
	// SilentMax is for how long a node may leave polls without an answer until its checks
	// go to others.
	SilentMax = 2 * time.Second
	// refusedMax is the same for one whose polls end with errors. One that ends with [ErrNobody]
	// is enough by itself.
	refusedMax = time.Second
	// settleMax is for how long a new leader waits for the first answers of the nodes that it
	// takes for alive before it assigns checks. A node that does not answer gets none: it may
	// be the former leader, whose death is not noticed yet.
	settleMax = 300 * time.Millisecond
	// silentEvery is how often a silent node is asked whether it is back.
	silentEvery = time.Second
	// AssignmentTTL is when a checker drops the assignments of a leader that no longer asks.
	AssignmentTTL = 5 * time.Second
	// cutOffAfter is after how long without a poll a checker takes itself for cut off: what it
	// has found and not handed over counts for nothing. So does what an answer says that comes so
	// long after its poll: the checker may have said it before it could know.
	cutOffAfter = 3 * PollEvery
	// carryMax is for how long the results in a row of one checker count towards the threshold
	// of the next one: a takeover takes no longer.
	carryMax = SilentMax + 2*PollEvery
)

// ErrNobody says that at a node's address no process takes connections. The one that ran its
// checks has ended, and with it all that it knew.
var ErrNobody = errors.New("no process takes connections there")

// Bounds.
const (
	// ChecksMax bounds the checks of one node.
	ChecksMax = 65_536
	// ProbesMax bounds the probes of a node that run at once. What is due beyond that waits. No
	// service takes the last places: it has at most as many as it leaves free.
	ProbesMax = 512
	// ReportsMax bounds the reports of a node that are under way at once, one for each service.
	ReportsMax = 256
	// HooksMax bounds the webhooks of a node that are under way at once, one for each service.
	HooksMax = 64
)

// When an instance flaps.
const (
	// FlapChanges within FlapWindow are too many: the status becomes flapping.
	FlapChanges = 5
	FlapWindow  = 60 * time.Second
	// FlapQuiet is for how long the findings must stay the same until the status follows
	// them again.
	FlapQuiet = 60 * time.Second
)

// Row is one service of a group, between two entries.
type Row struct {
	Name     string
	Slot     shardmap.Slot
	Version  uint64            // of the record
	Service  *registry.Service // not changed afterwards
	SlotTime uint64            // of the slot, ms
}

// Kind says what the owner of an [Assigner] is to do.
type Kind uint8

const (
	// ActPoll: send Poll to the node To, which may be the owner's own; ends with
	// [Assigner.Polled].
	ActPoll Kind = 1
	// ActPropose: propose Report to Group, if it is led here in Term; ends with
	// [Assigner.Proposed] once it is applied, or can't be.
	ActPropose Kind = 2
	// ActHook: tell the service's webhook of a change; ends with [Assigner.Hooked].
	ActHook Kind = 3
	// ActLost: note for people that the webhook is not told of the change Hook. It has no end.
	// It comes for the first such change of an instance since one was told; AssignerCounts has
	// all of them.
	ActLost Kind = 4
)

func (k Kind) String() string {
	switch k {
	case ActPoll:
		return "poll"
	case ActPropose:
		return "propose"
	case ActHook:
		return "hook"
	case ActLost:
		return "lost"
	}
	return "no kind"
}

// Action is one thing that the owner of an [Assigner] is to do.
type Action struct {
	Number uint64 // larger than that of each action before
	Kind   Kind

	To   raft.NodeID  // of ActPoll
	Poll *wire.Checks // the assigner does not keep it

	Group  raft.GroupID // of ActPropose
	Term   uint64
	Slot   shardmap.Slot
	Report *shardmap.Report // not changed afterwards

	Hook *Hook // of ActHook, and of ActLost, where only Service, Version, Instance and Count are given
}

// Hook is a change that a service's webhook is to be told of. A change that it was told of may
// come again, with the same Instance and Count.
type Hook struct {
	Service  *registry.Service // its settings say where, and how it is signed; not to be changed
	Version  uint64            // of the record that this was read from
	Instance string
	From, To registry.Status
	NoFrom   bool // From is not known: the record no longer holds the change before
	Reason   string
	At       int64  // ms since 1970
	Count    uint64 // which change of the instance this is, from 1

	slot uint64 // when it was, by the time of the slot, ms
}

// Probe is one look at an instance. Its result is handed to [Checker.Done].
type Probe struct {
	Number         uint64 // larger than that of each probe before
	Name, Instance string // of the service, and in it
	Spec           registry.Spec
	Deadline       time.Duration // by the owner's clock; then it has failed
}

// Answer is the answer to a poll that was held.
type Answer struct {
	Ticket uint64 // as [Checker.Poll] returned it
	Checks *wire.ChecksAnswer
}

// Result is what a [Probe] found.
type Result struct {
	Up         bool
	NotAllowed bool   // it was not made: its target or program is none that this node allows
	Reason     string // why, at most registry.ReasonMax bytes; more is cut off
}

// AssignerCounts are what an assigner has done and has, for people to read.
type AssignerCounts struct {
	Services  uint64 // in groups that are led here
	Checks    uint64 // assigned now
	Homeless  uint64 // checks that no node can run now
	Polls     uint64 // sent, since it was made
	Reports   uint64 // proposed
	Void      uint64 // states that were dropped, as their assignments were not in force
	Hooks     uint64 // sent
	HooksLost uint64 // changes that webhooks are not told of: too old, or no longer in the record
}

// CheckerCounts are what a checker has done and has, for people to read.
type CheckerCounts struct {
	Checks  uint64 // assigned to it now
	Running uint64 // probes under way now
	Probes  uint64 // made, since it was made
	Failed  uint64 // of these, without success
	Void    uint64 // results that were dropped: late, or of checks that it no longer has
	Late    uint64 // probes that had to wait until others had ended
	Refused uint64 // assignments that it had no room for
}
