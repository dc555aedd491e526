// Package wire is the message protocol of muster.
//
// It holds what stands on the wire, byte by byte: the frame, the types, the
// bodies, the error codes, the hello. It has no queue, no retry and no idea of
// who leads; apart from [ClientHello], [ServerHello] and [WriteFrame] it does
// not touch a connection either.
//
// # A connection
//
// The dialler sends 8 bytes, the preamble:
//
//	0  0xed 'm' 'u' 's'   no TLS, HTTP or RESP begins so: they can share the port
//	4  u8   lowest version that the dialler speaks
//	5  u8   highest
//	6  u8   purpose, see [Purpose]
//	7  u8   zero
//
// From then on both sides send frames (frame.go): first the four of the hello
// (hello.go), then requests and their answers, in any order, matched by the
// number that the requester gave them.
//
// # Where to look
//
// The rows below are the protocol. Frequent bodies are written by hand
// (body_raft.go, body_write.go, body_txn.go, body_read.go, body_stream.go, body_watch.go, body_move.go); the others list their fields once
// (fields.go). frame.go and decoder.go have the frame, hello.go and
// hello_check.go the hello, sender.go what it proves, needs.go what a user needs for
// each request, code.go, error.go and refuse.go refusals and their texts. docs/protocol.md tells the same to authors
// of clients, with the bytes of an example of each, which a test of this package
// checks.
package wire

import (
	"fmt"

	"muster/raft"
)

// Version of the protocol: of the frames, the hello and the bodies.
const (
	VersionMin = 3 // lowest that this binary speaks
	VersionMax = 3 // highest
)

// Type says what a frame asks or answers. Numbers are for ever: a type that is
// no longer used keeps its line. [rows] has everything else about each.
type Type uint16

// The types, by who speaks to whom: anybody, raft, between nodes, clients, those who
// move slots, clients again, administration, nodes that come and go.
const (
	TypeHello     Type = 0x01
	TypeChallenge Type = 0x02
	TypeProof     Type = 0x03
	TypeWelcome   Type = 0x04
	TypeError     Type = 0x05
	TypePing      Type = 0x06
	TypePong      Type = 0x07

	// Those of raft are 0x10 + [raft.MessageType]. 0x1d is reserved.
	TypePreVote         Type = 0x11
	TypePreVoteAnswer   Type = 0x12
	TypeVote            Type = 0x13
	TypeVoteAnswer      Type = 0x14
	TypeAppend          Type = 0x15
	TypeAppendAnswer    Type = 0x16
	TypeBeat            Type = 0x17
	TypeBeatAnswer      Type = 0x18
	TypeReadIndex       Type = 0x19
	TypeReadIndexAnswer Type = 0x1a
	TypeTimeoutNow      Type = 0x1b
	TypeSnapshot        Type = 0x1c // reserved, and sent by nobody: snapshots arrive over a bulk connection
	TypeTransferVote    Type = 0x1e
	TypeQuiet           Type = 0x1f
	// TypeTurn is reserved, and sent by nobody: the messages of all groups that one
	// turn has for a node, with what they have in common once. The sender's outbox
	// (repl/outbox.go) is where it would be made.
	TypeTurn Type = 0x20

	TypeChecks       Type = 0x21
	TypeChecksAnswer Type = 0x22

	TypeAuditReport  Type = 0x23
	TypeAuditVerdict Type = 0x24

	TypeFounding        Type = 0x30
	TypeFoundingAnswer  Type = 0x31
	TypeAnnounce        Type = 0x32
	TypeAnnounceAnswer  Type = 0x33
	TypeRepair          Type = 0x34
	TypeRepairAnswer    Type = 0x35
	TypeChunk           Type = 0x36
	TypeChunkAnswer     Type = 0x37
	TypeSnapshotRequest Type = 0x38
	TypeLifeQuestion    Type = 0x39
	TypeLifeAnswer      Type = 0x3a
	TypeAttest          Type = 0x3c
	TypeAttestAnswer    Type = 0x3d
	TypeAddresses       Type = 0x3e
	TypeForward         Type = 0x3f

	TypeWrite          Type = 0x40
	TypeWriteAnswer    Type = 0x41
	TypeGet            Type = 0x42
	TypeGetAnswer      Type = 0x43
	TypeList           Type = 0x44
	TypeListAnswer     Type = 0x45
	TypeTopology       Type = 0x46
	TypeTopologyAnswer Type = 0x47
	TypeScan           Type = 0x48
	TypeScanPiece      Type = 0x49
	TypeStreamGrant    Type = 0x4a
	TypeStreamCancel   Type = 0x4b
	TypeStreamEnd      Type = 0x4c
	TypeWatch          Type = 0x4d
	TypeWatchPiece     Type = 0x4e

	TypeDelPrefixAnswer Type = 0x4f // since level 9

	TypeStep           Type = 0x50
	TypeStepAnswer     Type = 0x51
	TypeSlotView       Type = 0x52
	TypeSlotViewAnswer Type = 0x53

	TypeTableStream  Type = 0x54
	TypeTablePiece   Type = 0x55
	TypeLeases       Type = 0x56
	TypeLeasesAnswer Type = 0x57
	TypeTxnAnswer    Type = 0x58
	TypeLeaseAnswer  Type = 0x59

	TypeServices        Type = 0x5a
	TypeServicesAnswer  Type = 0x5b
	TypeHeartbeat       Type = 0x5c
	TypeHeartbeatAnswer Type = 0x5d
	TypeBackup          Type = 0x5e
	TypeBackupPiece     Type = 0x5f

	TypeStatus         Type = 0x60
	TypeStatusAnswer   Type = 0x61
	TypeCounters       Type = 0x62
	TypeCountersAnswer Type = 0x63
	TypeLogRange       Type = 0x64
	TypeLogRangeAnswer Type = 0x65
	TypeDoctor         Type = 0x66
	TypeDoctorAnswer   Type = 0x67
	TypeCheck          Type = 0x68
	TypeCheckAnswer    Type = 0x69

	TypeHistory       Type = 0x6e // since level 9, of clients
	TypeHistoryAnswer Type = 0x6f

	TypeInvite         Type = 0x70
	TypeInviteAnswer   Type = 0x71
	TypeJoin           Type = 0x72
	TypeJoinAnswer     Type = 0x73
	TypeTable          Type = 0x74
	TypeTableAnswer    Type = 0x75
	TypeReplicas       Type = 0x76
	TypeReplicasAnswer Type = 0x77
	TypeChange         Type = 0x78
	TypeChangeAnswer   Type = 0x79
	TypeOrder          Type = 0x7a
	TypeOrderAnswer    Type = 0x7b
	TypeAddNodes       Type = 0x7c
	TypeAddNodesAnswer Type = 0x7d

	TypeEnrol       Type = 0x80
	TypeEnrolAnswer Type = 0x81
	TypeRenew       Type = 0x82
	TypeRenewAnswer Type = 0x83
	TypeKeep        Type = 0x84
	TypeKeepAnswer  Type = 0x85

	TypeLogin        Type = 0x86
	TypeLoginAnswer  Type = 0x87
	TypeWhoami       Type = 0x88
	TypeWhoamiAnswer Type = 0x89
	TypeCanI         Type = 0x8a
	TypeCanIAnswer   Type = 0x8b
	TypeTrail        Type = 0x8c
	TypeTrailAnswer  Type = 0x8d

	TypeUsage       Type = 0x8e
	TypeUsageAnswer Type = 0x8f

	TypeHolds           Type = 0x90
	TypeHoldsAnswer     Type = 0x91
	TypeAuthority       Type = 0x92
	TypeAuthorityAnswer Type = 0x93
	TypeReset           Type = 0x94
	TypeResetAnswer     Type = 0x95

	TypeBackups       Type = 0x96 // since level 9
	TypeBackupsAnswer Type = 0x97

	// Points, since level 10.
	TypeWindow             Type = 0x98
	TypeWindowAnswer       Type = 0x99
	TypeClock              Type = 0x9a
	TypeClockAnswer        Type = 0x9b
	TypeQueries            Type = 0x9c
	TypeQueriesAnswer      Type = 0x9d
	TypeBlockRange         Type = 0xa0
	TypeBlockRangeAnswer   Type = 0xa1
	TypePointsAnswer       Type = 0xa4
	TypePointsDeleteAnswer Type = 0xa5
	TypePointsQuery        Type = 0xa6
	TypePointsQueryAnswer  Type = 0xa7
	TypeHint               Type = 0xa8
	TypeHintAnswer         Type = 0xa9
	TypeHints              Type = 0xaa
	TypeHintsAnswer        Type = 0xab
	TypeDurable            Type = 0xac
	TypeDurableAnswer      Type = 0xad
)

// row is what is said of one type.
type row struct {
	name string
	// way is from whom to whom it goes. It is empty where answers says that.
	way string
	// answers is the type of the question; 0 where there is none, or any.
	answers Type
	// from is whose frames of the type a node takes once the hello is over. An
	// answer that comes back over its question's connection is taken there, by
	// whoever asked, and from nobody else.
	from Sender
	// body makes an empty body: [bodyOf] one that says its fields, [shownOf]
	// one that is frequent, and is read by hand.
	body func(Type) content
}

// rows is the protocol. A type is added by its constant, a row here, its body,
// and a handler in the node's table (node/handlers.go); tests say what is missing.
var rows = [...]row{
	// The hello, between the side that dialled and the one that accepted. It is
	// over before anybody has a standing.
	TypeHello:     {"Hello", "dialler → acceptor", 0, SenderNobody, bodyOf[Hello]},         // who I am
	TypeChallenge: {"Challenge", "acceptor → dialler", 0, SenderNobody, bodyOf[Challenge]}, // who I am, prove yourself
	TypeProof:     {"Proof", "dialler → acceptor", 0, SenderNobody, bodyOf[Proof]},         // that I have the secret
	TypeWelcome:   {"Welcome", "acceptor → dialler", 0, SenderNobody, bodyOf[Welcome]},     // that I have it too, my limits

	// Any time.
	TypeError: {"Error", "answers any request", 0, SenderNobody, bodyOf[Error]},
	TypePing:  {"Ping", "either way", 0, SenderClient | SenderFounder | SenderMember | SenderGuest, bodyOf[Empty]}, // are you there?
	TypePong:  {"Pong", "", TypePing, SenderNobody, bodyOf[Empty]},

	// Raft, between replicas of one group on two nodes. Nothing answers by request
	// number here; raft knows what belongs together.
	TypePreVote:         {"PreVote", "candidate → voter", 0, SenderMember, envelopeOf},
	TypePreVoteAnswer:   {"PreVoteAnswer", "voter → candidate", 0, SenderMember, envelopeOf},
	TypeVote:            {"Vote", "candidate → voter", 0, SenderMember, envelopeOf},
	TypeVoteAnswer:      {"VoteAnswer", "voter → candidate", 0, SenderMember, envelopeOf},
	TypeAppend:          {"Append", "leader → follower", 0, SenderMember, envelopeOf},
	TypeAppendAnswer:    {"AppendAnswer", "follower → leader", 0, SenderMember, envelopeOf},
	TypeBeat:            {"Beat", "node → node", 0, SenderMember, shownOf[beatBody]},         // the heartbeats of all groups that the one leads
	TypeBeatAnswer:      {"BeatAnswer", "", TypeBeat, SenderMember, shownOf[beatAnswerBody]}, // over the other connection of the two
	TypeReadIndex:       {"ReadIndex", "follower → leader", 0, SenderMember, envelopeOf},     // from where on may I read?
	TypeReadIndexAnswer: {"ReadIndexAnswer", "leader → follower", 0, SenderMember, envelopeOf},
	TypeTimeoutNow:      {"TimeoutNow", "leader → successor", 0, SenderMember, envelopeOf},  // stand for election at once
	TypeTransferVote:    {"TransferVote", "successor → voter", 0, SenderMember, envelopeOf}, // a Vote by the leader's own wish
	TypeQuiet:           {"Quiet", "leader → follower", 0, SenderMember, envelopeOf},        // rest until something happens

	// Checks of services, between nodes.
	TypeChecks:       {"Checks", "the groups' leader → node", 0, SenderMember, bodyOf[Checks]}, // check these, and what have you found?
	TypeChecksAnswer: {"ChecksAnswer", "", TypeChecks, SenderNobody, bodyOf[ChecksAnswer]},

	// The state of groups, between replicas of one group on two nodes, since level 7.
	TypeAuditReport:  {"AuditReport", "replica → leader", 0, SenderMember, bodyOf[AuditReport]},   // what I have as the state at an audit entry
	TypeAuditVerdict: {"AuditVerdict", "leader → replica", 0, SenderMember, bodyOf[AuditVerdict]}, // what became of your report

	// Replication, between nodes.
	TypeFounding:        {"Founding", "host → host", 0, SenderFounder, bodyOf[Founding]}, // let us found a cluster
	TypeFoundingAnswer:  {"FoundingAnswer", "", TypeFounding, SenderNobody, bodyOf[FoundingAnswer]},
	TypeAnnounce:        {"Announce", "node → the meta group's leader", 0, SenderMember, bodyOf[Announce]}, // I am back, under this address
	TypeAnnounceAnswer:  {"AnnounceAnswer", "", TypeAnnounce, SenderNobody, bodyOf[AnnounceAnswer]},
	TypeRepair:          {"Repair", "node → node", 0, SenderMember, bodyOf[Repair]},            // what of this does your log hold? Mine lost it
	TypeRepairAnswer:    {"RepairAnswer", "", TypeRepair, SenderMember, shownOf[RepairAnswer]}, // over the other connection of the two
	TypeChunk:           {"Chunk", "node → node", 0, SenderBulk, shownOf[Chunk]},               // a piece of a snapshot
	TypeChunkAnswer:     {"ChunkAnswer", "", TypeChunk, SenderNobody, bodyOf[ChunkAnswer]},
	TypeSnapshotRequest: {"SnapshotRequest", "node → node", 0, SenderMember, bodyOf[SnapshotRequest]}, // your log begins after it, so give me a snapshot
	TypeLifeQuestion:    {"LifeQuestion", "node → node", 0, SenderMember, bodyOf[LifeQuestion]},       // I was started anew; what do you know of me and my groups?
	TypeLifeAnswer:      {"LifeAnswer", "", TypeLifeQuestion, SenderMember, bodyOf[LifeAnswer]},       // over the other connection of the two
	TypeAttest:          {"Attest", "node → node", 0, SenderMember, bodyOf[Attest]},                   // is this connection, which came in your name, your own?
	TypeAttestAnswer:    {"AttestAnswer", "", TypeAttest, SenderNobody, bodyOf[AttestAnswer]},
	TypeAddresses:       {"Addresses", "node → node", 0, SenderMember, bodyOf[Addresses]},            // where I have found others
	TypeForward:         {"Forward", "node → the group's leader", 0, SenderMember, shownOf[Forward]}, // a client's request; answered as that is

	// API, between a client and a node.
	TypeWrite:          {"Write", "client → leader", 0, SenderClient, shownOf[writeBody]}, // one command
	TypeWriteAnswer:    {"WriteAnswer", "", TypeWrite, SenderNobody, shownOf[WriteAnswer]},
	TypeGet:            {"Get", "client → node", 0, SenderClient, shownOf[Get]}, // values of keys of one group
	TypeGetAnswer:      {"GetAnswer", "", TypeGet, SenderNobody, shownOf[GetAnswer]},
	TypeList:           {"List", "client → node", 0, SenderClient, shownOf[List]}, // one page of one group
	TypeListAnswer:     {"ListAnswer", "", TypeList, SenderNobody, shownOf[ListAnswer]},
	TypeTopology:       {"Topology", "client → node", 0, SenderClient, shownOf[Topology]}, // who owns which slot, by a table of this index or later?
	TypeTopologyAnswer: {"TopologyAnswer", "", TypeTopology, SenderNobody, bodyOf[TopologyAnswer]},

	// Streams, of any kind, and a kind: see body_stream.go.
	TypeScan:         {"Scan", "client → node", 0, SenderClient, shownOf[Scan]},              // opens a stream: keys of one group
	TypeScanPiece:    {"ScanPiece", "", TypeScan, SenderNobody, shownOf[ListAnswer]},         // some of them; many answer one Scan
	TypeStreamGrant:  {"StreamGrant", "client → node", 0, SenderClient, bodyOf[StreamGrant]}, // so much may you have sent
	TypeStreamCancel: {"StreamCancel", "client → node", 0, SenderClient, bodyOf[Empty]},      // I want no more of it
	TypeStreamEnd:    {"StreamEnd", "ends any stream", 0, SenderNobody, bodyOf[StreamEnd]},   // why, and where to go on
	TypeWatch:        {"Watch", "client → node", 0, SenderClient, shownOf[Watch]},            // opens a stream: what happens to keys of one group
	TypeWatchPiece:   {"WatchPiece", "", TypeWatch, SenderNobody, shownOf[WatchPiece]},       // some of it, and how far it goes; many answer one Watch

	TypeDelPrefixAnswer: {"DelPrefixAnswer", "", TypeWrite, SenderNobody, shownOf[DelPrefixAnswer]}, // of a delete of a prefix, since level 9

	// Slots that move, between nodes; clients may look on.
	TypeStep:           {"Step", "node → the group's leader", 0, SenderMember, shownOf[Step]}, // put this step of a move into its log
	TypeStepAnswer:     {"StepAnswer", "", TypeStep, SenderNobody, shownOf[StepAnswer]},
	TypeSlotView:       {"SlotView", "client or node → the group's leader", 0, SenderClient | SenderMember, bodyOf[SlotView]}, // what does the group have of these slots?
	TypeSlotViewAnswer: {"SlotViewAnswer", "", TypeSlotView, SenderNobody, shownOf[SlotViewAnswer]},

	// API, since level 5.
	TypeTableStream:  {"TableStream", "client → node", 0, SenderClient, bodyOf[TableStream]},    // opens a stream: the table, whenever it changes
	TypeTablePiece:   {"TablePiece", "", TypeTableStream, SenderNobody, bodyOf[TopologyAnswer]}, // the topology as it is now; many answer one TableStream
	TypeLeases:       {"Leases", "client → leader", 0, SenderClient, bodyOf[Leases]},            // which leases live in these slots?
	TypeLeasesAnswer: {"LeasesAnswer", "", TypeLeases, SenderNobody, shownOf[LeasesAnswer]},
	TypeTxnAnswer:    {"TxnAnswer", "", TypeWrite, SenderNobody, shownOf[TxnAnswer]},     // of a transaction
	TypeLeaseAnswer:  {"LeaseAnswer", "", TypeWrite, SenderNobody, shownOf[LeaseAnswer]}, // of a command about a lease

	// API, since level 6.
	TypeServices:        {"Services", "client → leader", 0, SenderClient, bodyOf[Services]}, // which services live in these slots?
	TypeServicesAnswer:  {"ServicesAnswer", "", TypeServices, SenderNobody, shownOf[ServicesAnswer]},
	TypeHeartbeat:       {"Heartbeat", "client → leader", 0, SenderClient, bodyOf[Heartbeat]}, // this instance is up, or down
	TypeHeartbeatAnswer: {"HeartbeatAnswer", "", TypeHeartbeat, SenderNobody, bodyOf[Empty]},

	// API, since level 9.
	TypeBackup:      {"Backup", "client → leader", 0, SenderClient, bodyOf[Backup]},      // opens a stream: all that one group serves, at one entry
	TypeBackupPiece: {"BackupPiece", "", TypeBackup, SenderNobody, shownOf[BackupPiece]}, // some of it; many answer one Backup

	TypeHistory:       {"History", "client → leader", 0, SenderClient, bodyOf[History]}, // which versions has this key, and had?
	TypeHistoryAnswer: {"HistoryAnswer", "", TypeHistory, SenderNobody, shownOf[HistoryAnswer]},

	// Administration, between the command line and a node.
	TypeStatus:         {"Status", "client → node", 0, SenderClient, bodyOf[Empty]}, // how is the cluster?
	TypeStatusAnswer:   {"StatusAnswer", "", TypeStatus, SenderNobody, bodyOf[StatusAnswer]},
	TypeCounters:       {"Counters", "client → node", 0, SenderClient, bodyOf[Empty]}, // how many frames of which type?
	TypeCountersAnswer: {"CountersAnswer", "", TypeCounters, SenderNobody, bodyOf[CountersAnswer]},
	TypeLogRange:       {"LogRange", "client → node", 0, SenderClient, bodyOf[LogRange]}, // which entries do you hold?
	TypeLogRangeAnswer: {"LogRangeAnswer", "", TypeLogRange, SenderNobody, bodyOf[LogRangeAnswer]},
	TypeDoctor:         {"Doctor", "client → node", 0, SenderClient, bodyOf[Empty]}, // what do you measure?
	TypeDoctorAnswer:   {"DoctorAnswer", "", TypeDoctor, SenderNobody, bodyOf[DoctorAnswer]},
	TypeCheck:          {"Check", "client → node", 0, SenderClient, bodyOf[Check]}, // do the replicas of the groups that you lead agree?
	TypeCheckAnswer:    {"CheckAnswer", "", TypeCheck, SenderNobody, bodyOf[CheckAnswer]},

	// Nodes that come and go: hosts that join, what the meta group's leader asks of the
	// others, and what people order.
	TypeInvite:         {"Invite", "member → host", 0, SenderInviter, bodyOf[Invite]}, // become a member of my cluster
	TypeInviteAnswer:   {"InviteAnswer", "", TypeInvite, SenderNobody, bodyOf[InviteAnswer]},
	TypeJoin:           {"Join", "host → the meta group's leader", 0, SenderJoiner, bodyOf[Join]}, // take me in
	TypeJoinAnswer:     {"JoinAnswer", "", TypeJoin, SenderNobody, bodyOf[JoinAnswer]},
	TypeTable:          {"Table", "client or node → node", 0, SenderClient | SenderMember, bodyOf[Empty]}, // what does the cluster know?
	TypeTableAnswer:    {"TableAnswer", "", TypeTable, SenderNobody, bodyOf[TableAnswer]},
	TypeReplicas:       {"Replicas", "the meta group's leader → node", 0, SenderMember, bodyOf[Empty]}, // how are the groups that you lead?
	TypeReplicasAnswer: {"ReplicasAnswer", "", TypeReplicas, SenderNobody, bodyOf[ReplicasAnswer]},
	TypeChange:         {"Change", "the meta group's leader → the group's leader", 0, SenderMember, bodyOf[Change]}, // change its membership
	TypeChangeAnswer:   {"ChangeAnswer", "", TypeChange, SenderNobody, bodyOf[ChangeAnswer]},
	TypeOrder:          {"Order", "client → the meta group's leader", 0, SenderClient, bodyOf[Order]}, // do this, or show the plan
	TypeOrderAnswer:    {"OrderAnswer", "", TypeOrder, SenderNobody, bodyOf[OrderAnswer]},
	TypeAddNodes:       {"AddNodes", "client → node", 0, SenderClient, bodyOf[AddNodes]}, // invite these hosts
	TypeAddNodesAnswer: {"AddNodesAnswer", "", TypeAddNodes, SenderNobody, bodyOf[AddNodesAnswer]},

	// Certificates, since level 8: of the meta group's leader, who makes them, and between the
	// nodes that can.
	TypeEnrol:           {"Enrol", "host → the meta group's leader", 0, SenderGuest | SenderJoiner, bodyOf[Enrol]}, // a certificate for a host that has a token
	TypeEnrolAnswer:     {"EnrolAnswer", "", TypeEnrol, SenderNobody, bodyOf[EnrolAnswer]},
	TypeRenew:           {"Renew", "node or client → the meta group's leader", 0, SenderClient | SenderMember | SenderRenewer, bodyOf[Renew]}, // a certificate, or the next one
	TypeRenewAnswer:     {"RenewAnswer", "", TypeRenew, SenderNobody, bodyOf[RenewAnswer]},
	TypeKeep:            {"Keep", "node → a voter of the meta group", 0, SenderMember, bodyOf[Keep]}, // the key that wraps the roots'
	TypeKeepAnswer:      {"KeepAnswer", "", TypeKeep, SenderNobody, bodyOf[KeepAnswer]},
	TypeLogin:           {"Login", "client → the meta group's leader", 0, SenderGuest, bodyOf[Login]}, // a certificate for a user that has a password
	TypeLoginAnswer:     {"LoginAnswer", "", TypeLogin, SenderNobody, bodyOf[LoginAnswer]},
	TypeWhoami:          {"Whoami", "client → node", 0, SenderClient, bodyOf[Empty]}, // who am I to you?
	TypeWhoamiAnswer:    {"WhoamiAnswer", "", TypeWhoami, SenderNobody, bodyOf[WhoamiAnswer]},
	TypeCanI:            {"CanI", "client → node", 0, SenderClient, bodyOf[CanI]}, // would this be allowed?
	TypeCanIAnswer:      {"CanIAnswer", "", TypeCanI, SenderNobody, bodyOf[CanIAnswer]},
	TypeTrail:           {"Trail", "client → node", 0, SenderClient, bodyOf[Trail]}, // what was refused, and who changed what?
	TypeTrailAnswer:     {"TrailAnswer", "", TypeTrail, SenderNobody, bodyOf[TrailAnswer]},
	TypeUsage:           {"Usage", "the meta group's leader or client → node", 0, SenderClient | SenderMember, bodyOf[Usage]}, // what have your groups of these prefixes, and what they may add
	TypeUsageAnswer:     {"UsageAnswer", "", TypeUsage, SenderNobody, bodyOf[UsageAnswer]},
	TypeHolds:           {"Holds", "node → the meta group's leader", 0, SenderMember, bodyOf[Holds]}, // which certificate I have
	TypeHoldsAnswer:     {"HoldsAnswer", "", TypeHolds, SenderNobody, bodyOf[HoldsAnswer]},
	TypeAuthority:       {"Authority", "client → the meta group's leader", 0, SenderClient, bodyOf[Authority]}, // make a root, or retire one
	TypeAuthorityAnswer: {"AuthorityAnswer", "", TypeAuthority, SenderNobody, bodyOf[AuthorityAnswer]},
	TypeReset:           {"Reset", "a voter of the meta group → its leader", 0, SenderMember, bodyOf[Reset]}, // an administrator for whoever owns my directory
	TypeResetAnswer:     {"ResetAnswer", "", TypeReset, SenderNobody, bodyOf[ResetAnswer]},

	TypeBackups:       {"Backups", "client or the meta group's leader → node", 0, SenderClient | SenderMember, bodyOf[Backups]}, // which backups have you, and remove these
	TypeBackupsAnswer: {"BackupsAnswer", "", TypeBackups, SenderNobody, bodyOf[BackupsAnswer]},

	// Time series, since level 10.
	TypeWindow:        {"Window", "client → node, or node → the meta group's leader", 0, SenderClient | SenderMember, bodyOf[Window]}, // where do points of this time go? Make a place if there is none
	TypeWindowAnswer:  {"WindowAnswer", "", TypeWindow, SenderNobody, bodyOf[WindowAnswer]},
	TypeClock:         {"Clock", "the meta group's leader → node", 0, SenderMember, bodyOf[Empty]}, // how late is it?
	TypeClockAnswer:   {"ClockAnswer", "", TypeClock, SenderNobody, bodyOf[ClockAnswer]},
	TypeQueries:       {"Queries", "client → node", 0, SenderClient, bodyOf[Queries]}, // which queries run on you? Note this one, or end that one
	TypeQueriesAnswer: {"QueriesAnswer", "", TypeQueries, SenderNobody, bodyOf[QueriesAnswer]},

	TypeBlockRange:       {"BlockRange", "node → node", 0, SenderBulk, shownOf[BlockRange]}, // these bytes of a block file
	TypeBlockRangeAnswer: {"BlockRangeAnswer", "", TypeBlockRange, SenderNobody, shownOf[BlockRangeAnswer]},

	// Time series, of clients, since level 10.
	TypePointsAnswer:       {"PointsAnswer", "", TypeWrite, SenderNobody, shownOf[PointsAnswer]},             // of points for a shard
	TypePointsDeleteAnswer: {"PointsDeleteAnswer", "", TypeWrite, SenderNobody, shownOf[PointsDeleteAnswer]}, // of a delete of points

	TypePointsQuery:       {"PointsQuery", "client → leader", 0, SenderClient, bodyOf[PointsQuery]}, // what has this shard for a query?
	TypePointsQueryAnswer: {"PointsQueryAnswer", "", TypePointsQuery, SenderNobody, shownOf[PointsQueryAnswer]},

	TypeHint:          {"Hint", "client or node → node", 0, SenderClient | SenderMember, bodyOf[Hint]}, // keep these points until their group can take them
	TypeHintAnswer:    {"HintAnswer", "", TypeHint, SenderNobody, bodyOf[HintAnswer]},
	TypeHints:         {"Hints", "client → node", 0, SenderClient, bodyOf[Hints]}, // what do you keep? Try it, or give it up
	TypeHintsAnswer:   {"HintsAnswer", "", TypeHints, SenderNobody, bodyOf[HintsAnswer]},
	TypeDurable:       {"Durable", "client → leader", 0, SenderClient, bodyOf[Durable]}, // which voters have this entry on disk? Wait for all
	TypeDurableAnswer: {"DurableAnswer", "", TypeDurable, SenderNobody, bodyOf[DurableAnswer]},
}

// typeEnd is above every type.
const typeEnd = Type(len(rows))

// Known reports whether this version has the type.
func (t Type) Known() bool { return t < typeEnd && rows[t].name != "" }

func (t Type) String() string {
	if t.Known() {
		return rows[t].name
	}
	return fmt.Sprintf("type 0x%02x", uint16(t))
}

// Raft reports whether a frame of this type is for the cores of package raft.
func (t Type) Raft() bool { return t >= TypePreVote && t <= TypeQuiet }

// envelope reports whether the body is an [Envelope].
func (t Type) envelope() bool {
	return t.Raft() && t.Known() && t != TypeBeat && t != TypeBeatAnswer
}

// Way is from whom to whom a frame of this type goes, or what it answers.
func (t Type) Way() string {
	switch {
	case !t.Known():
		return ""
	case rows[t].way != "":
		return rows[t].way
	}
	return "answers " + rows[t].answers.String()
}

// Question returns the type that t answers; 0 where there is none, or any.
func (t Type) Question() Type {
	if !t.Known() {
		return 0
	}
	return rows[t].answers
}

// Senders returns whose frames of this type a node takes once the hello is over.
func (t Type) Senders() Sender {
	if !t.Known() {
		return SenderNobody
	}
	return rows[t].from
}

// TypeOf returns the type of the frame that carries one message of raft. The
// heartbeats do not travel alone: theirs is the type of the [Beat].
func TypeOf(m raft.MessageType) Type { return 0x10 + Type(m) }

// Purpose is what a connection is dialled for, so that each kind has its own
// limit and none stands in another's way.
type Purpose uint8

const (
	PurposePeer   Purpose = 1 // raft and replication, between nodes
	PurposeClient Purpose = 2 // API and administration
	PurposeBulk   Purpose = 3 // snapshots, between nodes: nothing small waits behind them
)

// Role is what the dialler is to the cluster.
type Role uint8

const (
	RolePeer     Role = 1 // a node with an identity
	RoleClient   Role = 2 // a program that uses the cluster
	RoleFounding Role = 3 // a host without a cluster id, which looks for others to found one
	RoleInviting Role = 4 // a member that asks a host to join its cluster
	RoleJoining  Role = 5 // a host that asks to become a member
)

// Body is what a frame carries.
type Body interface {
	// Append appends the body's bytes to b.
	Append(b []byte) []byte
	// Read reads bytes that went through the check of the frame, into
	// itself. Unless the type says that it aliases them, it keeps none.
	Read(body []byte) error
}

// content is a body that can be read and told in lines: one that says its fields
// ([walked]), or one that was read by hand ([shown]).
type content interface{ Read(body []byte) error }

// bodyOf makes a body that says its fields.
func bodyOf[T any, P interface {
	*T
	walked
	content
}](Type) content {
	return P(new(T))
}

// shownOf makes a body that is read by hand.
func shownOf[T any, P interface {
	*T
	shown
	content
}](Type) content {
	return P(new(T))
}
