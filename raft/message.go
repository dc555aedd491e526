package raft

import "fmt"

// MessageType says what a [Message] asks or answers.
type MessageType uint8

// Candidate and electorate.
const (
	MsgPreVote       MessageType = 1 // would you vote for me? Log: my last id. Term: the one I would take. Reject: my log may lack entries, see fence.go
	MsgPreVoteAnswer MessageType = 2 // Reject, or not
	MsgVote          MessageType = 3 // vote for me. Log: my last id. Sent after the sync of my own vote
	MsgVoteAnswer    MessageType = 4 // Reject, or not. Sent after the sync
)

// Leader and followers.
const (
	MsgAppend          MessageType = 5 // Log: the id before Entries. Commit
	MsgAppendAnswer    MessageType = 6 // Log.Index: all up to there is the leader's and is durable; or Reject: see Message. Sent after the sync
	MsgHeartbeat       MessageType = 7 // Commit: min(commit, what the follower is known to hold). Round. Time
	MsgHeartbeatAnswer MessageType = 8 // Round, as it was sent. Reject: I follow, and do not lead, see [Group.Fence]
)

// Followers that read, and leaders that leave or rest.
const (
	MsgReadIndex       MessageType = 9  // follower to leader: from which index on may I read? Round: the follower's own number
	MsgReadIndexAnswer MessageType = 10 // Round, as it was sent. Log.Index: from there on; or Reject: not the leader, or busy
	MsgTimeoutNow      MessageType = 11 // leader to its successor: stand for election now
	MsgSnapshot        MessageType = 12 // leader to follower: Log: the last id that the snapshot covers. See Message.Install
	// 13 is kept for the progress of a snapshot.
	MsgTransferVote MessageType = 14 // a Vote that the leader itself asked for, so that loyalty to it stops nobody. Answered by VoteAnswer
	MsgQuiet        MessageType = 15 // leader to follower: Log: my last id, and all is committed. Rest, if you hold exactly that
)

var messageNames = [...]string{1: "PreVote", "PreVoteAnswer", "Vote", "VoteAnswer",
	"Append", "AppendAnswer", "Heartbeat", "HeartbeatAnswer",
	"ReadIndex", "ReadIndexAnswer", "TimeoutNow", "Snapshot", 14: "TransferVote", "Quiet"}

// known reports whether this version knows messages of type t.
func (t MessageType) known() bool { return int(t) < len(messageNames) && messageNames[t] != "" }

func (t MessageType) String() string {
	if !t.known() {
		return fmt.Sprintf("message %d", uint8(t))
	}
	return messageNames[t]
}

// Message travels between two replicas of one group. Fields that are not named for
// its type are zero.
type Message struct {
	Type     MessageType
	From, To ReplicaID
	Term     uint64
	// Log is a log id that Type gives its meaning. In a rejected
	// AppendAnswer it is the id that the append named and that the follower
	// does not hold.
	Log LogID
	// Commit is the leader's; in a rejected AppendAnswer it is the last index
	// of the follower's log, which tells the two forms of Conflict apart.
	Commit uint64
	Reject bool
	// Conflict, in a rejected AppendAnswer, is the term that the follower
	// holds at Log.Index with the first index that it has of that term; or,
	// if its log ends before, its last id.
	Conflict LogID
	// Round numbers the leader's confirmations of its leadership; an answer
	// to round n confirms every read that waited when n was sent.
	Round uint64
	// Time, of a Heartbeat, is the group's, if its owner filled it in; see
	// [Group.Heard].
	Time GroupTime
	// Entries follow Log without a gap. They are nil where Fetch is set.
	Entries []Entry
	// Fetch, if not zero, asks the owner to fill Entries from its log: those
	// from Log.Index+1 to Fetch, or as many of these, beginning with the
	// first, as it wants to send at once. It never travels. The owner drops
	// the message if, after the read, the Group no longer leads in Term (see
	// [Group.LeadsIn]): what it read may be another leader's.
	Fetch uint64
	// Install goes with a Snapshot. It never travels: the receiver's owner
	// fills it from the snapshot, once it has all of it and has verified it,
	// and hands the message in. Install.Base is Log.
	Install *Install
}
