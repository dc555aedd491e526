package wire

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// Envelope carries one message of raft between two nodes:
//
//	[group, incarnation, from, to, term, log term, log index, commit, reject,
//	 conflict term, conflict index, round, mark, batch, count, bin]
//
// The bin holds count entries back to back, in the form in which their leader
// made them (raft/entry.go) and in which they stand in the log file.
type Envelope struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Mark        uint64 // of the life of the sender's node
	Batch       uint64 // the last of the sender's log that is synced
	Message     raft.Message
}

const envelopeFields = 16

// ErrUnknownGroup is wrapped by [ReadEnvelope] if nobody has a seed for the
// group and incarnation: the message is for a group that is not here, or no
// longer is, and is to be dropped.
var ErrUnknownGroup = errors.New("group is not here")

// AppendEnvelope appends the body of e. Its type is [TypeOf] the message's; for
// heartbeats see [Beat].
func AppendEnvelope(b []byte, e *Envelope) []byte {
	m := &e.Message
	b = pack.AppendArray(b, envelopeFields)
	b = pack.AppendUint(b, uint64(e.Group))
	b = pack.AppendUint(b, uint64(e.Incarnation))
	b = pack.AppendUint(b, uint64(m.From))
	b = pack.AppendUint(b, uint64(m.To))
	b = pack.AppendUint(b, m.Term)
	b = pack.AppendUint(b, m.Log.Term)
	b = pack.AppendUint(b, m.Log.Index)
	b = pack.AppendUint(b, m.Commit)
	b = pack.AppendBool(b, m.Reject)
	b = pack.AppendUint(b, m.Conflict.Term)
	b = pack.AppendUint(b, m.Conflict.Index)
	b = pack.AppendUint(b, m.Round)
	b = pack.AppendUint(b, e.Mark)
	b = pack.AppendUint(b, e.Batch)
	b = pack.AppendUint(b, uint64(len(m.Entries)))
	size := 0
	for i := range m.Entries {
		size += len(m.Entries[i].Raw)
	}
	b = pack.AppendBytesHead(b, size)
	for i := range m.Entries {
		b = append(b, m.Entries[i].Raw...)
	}
	return b
}

// ReadEnvelope reads the body of a frame of type t and verifies each entry
// with the seed of the group. The entries alias body.
func ReadEnvelope(t Type, body []byte, seed func(raft.GroupID, raft.Incarnation) (raft.Seed, bool)) (Envelope, error) {
	if !t.envelope() {
		return Envelope{}, fmt.Errorf("a frame of type %s carries no single raft message", t)
	}
	r := pack.NewReader(body)
	r.ArrayLen(envelopeFields)
	var e Envelope
	m := &e.Message
	m.Type = raft.MessageType(t - TypePreVote + Type(raft.MsgPreVote))
	e.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	e.Incarnation = raft.Incarnation(r.Uint())
	m.From, m.To = raft.ReplicaID(r.Uint()), raft.ReplicaID(r.Uint())
	m.Term = r.Uint()
	m.Log = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	m.Commit = r.Uint()
	m.Reject = r.Bool()
	m.Conflict = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	m.Round = r.Uint()
	e.Mark, e.Batch = r.Uint(), r.Uint()
	count := r.Uint()
	raw := r.Bytes()
	if err := r.Done(); err != nil {
		return Envelope{}, err
	}
	s, ok := seed(e.Group, e.Incarnation)
	if !ok {
		return Envelope{}, fmt.Errorf("%w: %s, incarnation %d", ErrUnknownGroup, e.Group, e.Incarnation)
	}
	var err error
	m.Entries, err = readEntries(s, raw, count)
	if err != nil {
		return Envelope{}, fmt.Errorf("%s of %s: %w", t, e.Group, err)
	}
	return e, nil
}

// readEntries reads the entries that are all of raw.
func readEntries(seed raft.Seed, raw []byte, count uint64) ([]raft.Entry, error) {
	if count > uint64(len(raw)/raft.EntryHeaderSize) || count == 0 && len(raw) > 0 {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", raft.ErrEntry, count, len(raw))
	}
	if count == 0 {
		return nil, nil
	}
	entries := make([]raft.Entry, count)
	for i := range entries {
		entry, err := raft.ReadEntry(seed, raw)
		if err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i, count, err)
		}
		entries[i] = entry
		raw = raw[len(entry.Raw):]
	}
	if len(raw) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after %d entries", raft.ErrEntry, len(raw), count)
	}
	return entries, nil
}

// Beat carries the heartbeats of all groups between two nodes, and the answers
// to them:
//
//	Beat        [mark, batch, sequence, fullness, [[group, incarnation, from, to, term, commit, round, time] …], [[group, incarnation, from, term, time] …]]
//	BeatAnswer  [mark, batch, sequence, fullness, [[group, incarnation, from, to, term, round, reject] …]]
//
// Even without rows it says that the node is alive. While the disk stands still,
// beatStalled is added to the fullness.
type Beat struct {
	Mark     uint64   // of the present life of the sender's node
	Batch    uint64   // the last of the sender's log that is synced
	Sequence uint64   // of the sender's Beats in that life, also in an answer
	Fullness Fullness // of the sender's disk, also in an answer
	Stalled  bool     // the sender's disk stands still, also in an answer
	Messages []BeatMessage
	Rests    []Rest // never in an answer
}

// Rest says that a group rests which a replica of the sender leads: followers that
// rest on its word may continue to.
type Rest struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Leader      raft.ReplicaID
	Term        uint64
	Time        raft.GroupTime // as in a [BeatMessage]
}

// Fullness says what the disk of a node still has room for.
type Fullness uint8

const (
	FullNot  Fullness = 0 // anything
	FullNear Fullness = 1 // what its groups can't continue without
	FullAll  Fullness = 2 // terms, votes, memberships and no-ops
)

// beatStalled is added to the fullness of a disk that stands still.
const beatStalled = 4

func (f Fullness) String() string {
	switch f {
	case FullNot:
		return "not full"
	case FullNear:
		return "full"
	case FullAll:
		return "full, reserve used up"
	}
	return fmt.Sprintf("fullness %d", uint8(f))
}

// BeatMessage is one heartbeat, or the answer to one. It is not an [Envelope],
// because that is 17 times as large as the shortest row on the wire.
type BeatMessage struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	From, To    raft.ReplicaID
	Term        uint64
	Commit      uint64 // of a heartbeat; 0 in an answer
	Round       uint64
	Time        raft.GroupTime // of a heartbeat: the group's, or 0 while nothing waits for one; 0 in an answer
	Reject      bool           // of an answer: the replica follows and does not lead, see [raft.Group.Fence]
}

// BeatMessageOf keeps of e what a heartbeat or its answer consists of.
func BeatMessageOf(e *Envelope) BeatMessage {
	return BeatMessage{Group: e.Group, Incarnation: e.Incarnation, From: e.Message.From, To: e.Message.To,
		Term: e.Message.Term, Commit: e.Message.Commit, Round: e.Message.Round, Time: e.Message.Time, Reject: e.Message.Reject}
}

// Envelope returns m as the message that raft takes: t is [raft.MsgHeartbeat]
// or [raft.MsgHeartbeatAnswer].
func (m *BeatMessage) Envelope(t raft.MessageType) Envelope {
	return Envelope{Group: m.Group, Incarnation: m.Incarnation, Message: raft.Message{
		Type: t, From: m.From, To: m.To, Term: m.Term, Commit: m.Commit, Round: m.Round, Time: m.Time, Reject: m.Reject}}
}

const (
	beatParts        = 6
	beatAnswerParts  = 5
	beatFields       = 8 // of a row
	beatAnswerFields = 7
	restFields       = 5
)

// AppendBeat appends the body of a Beat.
func AppendBeat(b []byte, beat *Beat) []byte {
	b = appendBeat(b, beat, beatParts)
	b = pack.AppendArray(b, len(beat.Rests))
	for i := range beat.Rests {
		r := &beat.Rests[i]
		b = pack.AppendArray(b, restFields)
		b = pack.AppendUint(b, uint64(r.Group))
		b = pack.AppendUint(b, uint64(r.Incarnation))
		b = pack.AppendUint(b, uint64(r.Leader))
		b = pack.AppendUint(b, r.Term)
		b = pack.AppendUint(b, uint64(r.Time))
	}
	return b
}

// AppendBeatAnswer appends the body of the answer to a Beat.
func AppendBeatAnswer(b []byte, beat *Beat) []byte {
	return appendBeat(b, beat, beatAnswerParts)
}

// appendBeat appends what a Beat and its answer have in common: all but the last part
// of the first.
func appendBeat(b []byte, beat *Beat, parts int) []byte {
	b = pack.AppendArray(b, parts)
	b = pack.AppendUint(b, beat.Mark)
	b = pack.AppendUint(b, beat.Batch)
	b = pack.AppendUint(b, beat.Sequence)
	disk := uint64(beat.Fullness)
	if beat.Stalled {
		disk += beatStalled
	}
	b = pack.AppendUint(b, disk)
	b = pack.AppendArray(b, len(beat.Messages))
	row := beatRow(parts)
	for i := range beat.Messages {
		m := &beat.Messages[i]
		b = pack.AppendArray(b, row)
		b = pack.AppendUint(b, uint64(m.Group))
		b = pack.AppendUint(b, uint64(m.Incarnation))
		b = pack.AppendUint(b, uint64(m.From))
		b = pack.AppendUint(b, uint64(m.To))
		b = pack.AppendUint(b, m.Term)
		if parts == beatParts {
			b = pack.AppendUint(b, m.Commit)
			b = pack.AppendUint(b, m.Round)
			b = pack.AppendUint(b, uint64(m.Time))
		} else {
			b = pack.AppendUint(b, m.Round)
			b = pack.AppendBool(b, m.Reject)
		}
	}
	return b
}

// beatRow is how many fields a row has, of a Beat or of its answer.
func beatRow(parts int) int {
	if parts == beatParts {
		return beatFields
	}
	return beatAnswerFields
}

// ReadBeat reads the body of a Beat. Its slices are used again.
func ReadBeat(body []byte, beat *Beat) error {
	r := pack.NewReader(body)
	r.ArrayLen(beatParts)
	if err := readBeat(&r, beat, beatParts); err != nil {
		return err
	}
	if err := readRests(&r, beat); err != nil {
		return err
	}
	return r.Done()
}

// ReadBeatAnswer reads the body of the answer to a Beat. The slice of messages
// is used again.
func ReadBeatAnswer(body []byte, beat *Beat) error {
	r := pack.NewReader(body)
	r.ArrayLen(beatAnswerParts)
	beat.Rests = beat.Rests[:0]
	if err := readBeat(&r, beat, beatAnswerParts); err != nil {
		return err
	}
	return r.Done()
}

func readBeat(r *pack.Reader, beat *Beat, parts int) error {
	beat.Mark, beat.Batch, beat.Sequence = r.Uint(), r.Uint(), r.Uint()
	disk := r.UintMax(beatStalled + uint64(FullAll))
	if beat.Stalled = disk >= beatStalled; beat.Stalled {
		disk -= beatStalled
	}
	if disk > uint64(FullAll) {
		return fmt.Errorf("fullness %d, want at most %d, or that and %d", disk, FullAll, beatStalled)
	}
	beat.Fullness = Fullness(disk)
	n := r.Array()
	beat.Messages = beat.Messages[:0]
	row := beatRow(parts)
	if room := len(r.Rest()); n > room/(1+row) {
		return fmt.Errorf("%d heartbeats in %d bytes", n, room)
	}
	if cap(beat.Messages) < n {
		beat.Messages = make([]BeatMessage, 0, n)
	}
	for range n {
		r.ArrayLen(row)
		m := BeatMessage{
			Group:       raft.GroupID(r.UintMax(uint64(raft.GroupMax))),
			Incarnation: raft.Incarnation(r.Uint()),
			From:        raft.ReplicaID(r.Uint()),
			To:          raft.ReplicaID(r.Uint()),
			Term:        r.Uint(),
		}
		if parts == beatParts {
			m.Commit, m.Round, m.Time = r.Uint(), r.Uint(), raft.GroupTime(r.Uint())
		} else {
			m.Round, m.Reject = r.Uint(), r.Bool()
		}
		if r.Err() != nil {
			break
		}
		beat.Messages = append(beat.Messages, m)
	}
	return r.Err()
}

func readRests(r *pack.Reader, beat *Beat) error {
	n := r.Array()
	beat.Rests = beat.Rests[:0]
	if room := len(r.Rest()); n > room/(1+restFields) {
		return fmt.Errorf("%d groups that rest in %d bytes", n, room)
	}
	if cap(beat.Rests) < n {
		beat.Rests = make([]Rest, 0, n)
	}
	for range n {
		r.ArrayLen(restFields)
		v := Rest{
			Group:       raft.GroupID(r.UintMax(uint64(raft.GroupMax))),
			Incarnation: raft.Incarnation(r.Uint()),
			Leader:      raft.ReplicaID(r.Uint()),
			Term:        r.Uint(),
			Time:        raft.GroupTime(r.Uint()),
		}
		if r.Err() != nil {
			break
		}
		beat.Rests = append(beat.Rests, v)
	}
	return r.Err()
}
