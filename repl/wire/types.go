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
// (hello.go), then requests and their answers, in any order, told apart by the
// number that the requester gave them.
//
// # Where to look
//
// The const block below is the protocol. Bodies that are frequent are written
// by hand (body_raft.go, body_write.go, body_read.go); the others say their
// fields once (fields.go). frame.go and decoder.go have the frame, hello.go and
// hello_check.go the hello, code.go, error.go and refuse.go what is refused and
// how. docs/protocol.md tells the same to people who write a client, with the
// bytes of an example of each, which are checked by a test of this package.
package wire

import (
	"fmt"

	"muster/raft"
)

// Version of the protocol: of the frames, the hello and the bodies.
const (
	VersionMin = 2 // lowest that this binary speaks
	VersionMax = 2 // highest
)

// Type says what a frame asks or answers. Numbers are for ever: a type that is
// no longer used keeps its line.
type Type uint16

// The hello, between the side that dialled and the one that accepted.
const (
	TypeHello     Type = 0x01 // dialler → acceptor  Hello: who I am
	TypeChallenge Type = 0x02 // acceptor → dialler  Challenge: who I am, prove yourself
	TypeProof     Type = 0x03 // dialler → acceptor  Proof: that I have the secret
	TypeWelcome   Type = 0x04 // acceptor → dialler  Welcome: that I have it too, my limits
	TypeError     Type = 0x05 // answers any request  Error
	TypePing      Type = 0x06 // either → other       Empty: are you there?
	TypePong      Type = 0x07 // answers Ping         Empty
)

// Raft, between replicas of one group on two nodes: 0x10 + [raft.MessageType].
// Nothing answers by request number here; raft knows what belongs together.
// 0x1d is kept.
const (
	TypePreVote       Type = 0x11 // candidate → voter   Envelope
	TypePreVoteAnswer Type = 0x12 // voter → candidate   Envelope
	TypeVote          Type = 0x13 // candidate → voter   Envelope
	TypeVoteAnswer    Type = 0x14 // voter → candidate   Envelope
	TypeAppend        Type = 0x15 // leader → follower   Envelope
	TypeAppendAnswer  Type = 0x16 // follower → leader   Envelope
	TypeBeat          Type = 0x17 // node → node         Beat: the heartbeats of all groups that the one leads
	TypeBeatAnswer    Type = 0x18 // node → node         BeatAnswer

	TypeReadIndex       Type = 0x19 // follower → leader    Envelope
	TypeReadIndexAnswer Type = 0x1a // leader → follower    Envelope
	TypeTimeoutNow      Type = 0x1b // leader → successor   Envelope
	TypeSnapshot        Type = 0x1c // leader → follower    kept: the snapshot comes over a bulk connection
	TypeTransferVote    Type = 0x1e // successor → voter    Envelope
	TypeQuiet           Type = 0x1f // leader → follower    Envelope
)

// Replication, between nodes.
const (
	TypeFounding       Type = 0x30 // host → host          Founding: let us found a cluster
	TypeFoundingAnswer Type = 0x31 // answers Founding       FoundingAnswer
	TypeAnnounce       Type = 0x32 // node → meta leader     Announce: I am back, under this address
	TypeAnnounceAnswer Type = 0x33 // answers Announce       AnnounceAnswer

	TypeRepair          Type = 0x34 // node → node            Repair: what of this does your log hold? Mine lost it
	TypeRepairAnswer    Type = 0x35 // answers Repair         RepairAnswer, over the other connection of the two
	TypeChunk           Type = 0x36 // node → node, bulk      Chunk: a piece of a snapshot
	TypeChunkAnswer     Type = 0x37 // answers Chunk          ChunkAnswer
	TypeSnapshotRequest Type = 0x38 // node → node            SnapshotRequest: your log has it no more, so give me a snapshot
	TypeLifeQuestion    Type = 0x39 // node → node            LifeQuestion: I was started anew; what do you know of me and my groups?
	TypeLifeAnswer      Type = 0x3a // answers LifeQuestion   LifeAnswer, over the other connection of the two

	TypeAttest       Type = 0x3c // node → node            Attest: is this connection, which came in your name, your own?
	TypeAttestAnswer Type = 0x3d // answers Attest          AttestAnswer
	TypeAddresses    Type = 0x3e // node → node            Addresses: where I have found others
)

// API, between a client and a node.
const (
	TypeWrite          Type = 0x40 // client → leader       Write: one command
	TypeWriteAnswer    Type = 0x41 // answers Write          WriteAnswer
	TypeGet            Type = 0x42 // client → node          Get: values of keys of one group
	TypeGetAnswer      Type = 0x43 // answers Get            GetAnswer
	TypeList           Type = 0x44 // client → node          List: one page of one group
	TypeListAnswer     Type = 0x45 // answers List           ListAnswer
	TypeTopology       Type = 0x46 // client → node          Empty: who owns which slot?
	TypeTopologyAnswer Type = 0x47 // answers Topology       TopologyAnswer
)

// Administration, between the command line and a node.
const (
	TypeStatus         Type = 0x60 // client → node          Empty: how is the cluster?
	TypeStatusAnswer   Type = 0x61 // answers Status         StatusAnswer
	TypeCounters       Type = 0x62 // client → node          Empty: how many frames of which type?
	TypeCountersAnswer Type = 0x63 // answers Counters       CountersAnswer
	TypeLogRange       Type = 0x64 // client → node          LogRange: which entries do you hold?
	TypeLogRangeAnswer Type = 0x65 // answers LogRange       LogRangeAnswer
	TypeDoctor         Type = 0x66 // client → node          Empty: what do you measure?
	TypeDoctorAnswer   Type = 0x67 // answers Doctor         DoctorAnswer
)

// typeEnd is above every type.
const typeEnd = 0x68

var typeNames = [typeEnd]string{
	TypeHello: "Hello", TypeChallenge: "Challenge", TypeProof: "Proof", TypeWelcome: "Welcome",
	TypeError: "Error", TypePing: "Ping", TypePong: "Pong",
	TypePreVote: "PreVote", TypePreVoteAnswer: "PreVoteAnswer", TypeVote: "Vote", TypeVoteAnswer: "VoteAnswer",
	TypeAppend: "Append", TypeAppendAnswer: "AppendAnswer", TypeBeat: "Beat", TypeBeatAnswer: "BeatAnswer",
	TypeReadIndex: "ReadIndex", TypeReadIndexAnswer: "ReadIndexAnswer", TypeTimeoutNow: "TimeoutNow",
	TypeTransferVote: "TransferVote", TypeQuiet: "Quiet",
	TypeFounding: "Founding", TypeFoundingAnswer: "FoundingAnswer",
	TypeAnnounce: "Announce", TypeAnnounceAnswer: "AnnounceAnswer",
	TypeRepair: "Repair", TypeRepairAnswer: "RepairAnswer", TypeSnapshotRequest: "SnapshotRequest",
	TypeAttest: "Attest", TypeAttestAnswer: "AttestAnswer", TypeAddresses: "Addresses",
	TypeLifeQuestion: "LifeQuestion", TypeLifeAnswer: "LifeAnswer",
	TypeChunk: "Chunk", TypeChunkAnswer: "ChunkAnswer",
	TypeWrite: "Write", TypeWriteAnswer: "WriteAnswer", TypeGet: "Get", TypeGetAnswer: "GetAnswer",
	TypeList: "List", TypeListAnswer: "ListAnswer", TypeTopology: "Topology", TypeTopologyAnswer: "TopologyAnswer",
	TypeStatus: "Status", TypeStatusAnswer: "StatusAnswer",
	TypeCounters: "Counters", TypeCountersAnswer: "CountersAnswer",
	TypeLogRange: "LogRange", TypeLogRangeAnswer: "LogRangeAnswer",
	TypeDoctor: "Doctor", TypeDoctorAnswer: "DoctorAnswer",
}

// Raft says whether a frame of this type is for the cores of package raft.
func (t Type) Raft() bool { return t >= TypePreVote && t <= TypeQuiet }

// envelope says whether the body is an [Envelope].
func (t Type) envelope() bool {
	return t.Raft() && t.Known() && t != TypeBeat && t != TypeBeatAnswer
}

// Known says whether this version has the type.
func (t Type) Known() bool { return t < typeEnd && typeNames[t] != "" }

func (t Type) String() string {
	if t.Known() {
		return typeNames[t]
	}
	return fmt.Sprintf("type 0x%02x", uint16(t))
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
)

// Body is what a frame carries.
type Body interface {
	// Append appends the body's bytes to b.
	Append(b []byte) []byte
	// Read reads bytes that went through the check of the frame, into
	// itself. Unless the type says that it aliases them, it keeps none.
	Read(body []byte) error
}
