package wire

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// BlockSum names a block file of points: it is a block.Sum of package muster/shardmap/points/block.
type BlockSum [32]byte

func (s BlockSum) String() string { return fmt.Sprintf("%x", s[:]) }

// BlockRange asks for bytes of a block file of points, over a bulk connection, since level 10:
//
//	[group, incarnation, sum, offset, most]
//
// The answers come in order, and up to [BlockRangesMax] questions may be under way.
type BlockRange struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Sum         BlockSum
	Offset      uint64
	Most        uint32 // bytes that are wanted, 1 to [ChunkBytesMax]
}

// BlockRangesMax is how many questions for a block file may be under way on a connection, so that the disk and the network
// work at the same time.
const BlockRangesMax = 4

const blockRangeFields = 5

// Append appends the body.
func (q *BlockRange) Append(b []byte) []byte {
	b = pack.AppendArray(b, blockRangeFields)
	b = pack.AppendUint(b, uint64(q.Group))
	b = pack.AppendUint(b, uint64(q.Incarnation))
	b = pack.AppendBytes(b, q.Sum[:])
	b = pack.AppendUint(b, q.Offset)
	return pack.AppendUint(b, uint64(q.Most))
}

// Read reads the body.
func (q *BlockRange) Read(body []byte) error {
	r := pack.NewReader(body)
	r.ArrayLen(blockRangeFields)
	q.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	q.Incarnation = raft.Incarnation(r.Uint())
	sum := r.Bytes()
	q.Offset = r.Uint()
	q.Most = uint32(r.UintMax(1<<32 - 1))
	if err := r.Done(); err != nil {
		return err
	}
	switch {
	case len(sum) != len(q.Sum):
		return fmt.Errorf("the sum of a block file has %d bytes, want %d", len(sum), len(q.Sum))
	case q.Most == 0 || q.Most > ChunkBytesMax:
		return fmt.Errorf("%d bytes of a block file are wanted, want 1 to %d", q.Most, ChunkBytesMax)
	}
	copy(q.Sum[:], sum)
	return nil
}

func (q *BlockRange) lines() []string {
	return []string{
		fmt.Sprintf("group %s incarnation %d", q.Group, q.Incarnation),
		fmt.Sprintf("sum %s", q.Sum),
		fmt.Sprintf("offset %d most %d", q.Offset, q.Most),
	}
}

// BlockState reports whether a node has a block file.
type BlockState uint8

const (
	BlockHere   BlockState = 1 // these are its bytes
	BlockAbsent BlockState = 2 // the node does not have it whole: ask another one
	BlockBusy   BlockState = 3 // the node can't read it now: ask again later
)

func (s BlockState) String() string {
	switch s {
	case BlockHere:
		return "here"
	case BlockAbsent:
		return "absent"
	case BlockBusy:
		return "busy"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// BlockRangeAnswer answers a [BlockRange]:
//
//	[state, size, offset, why, bin]
//
// It brings as many bytes as were wanted, and fewer only where the file ends.
type BlockRangeAnswer struct {
	State  BlockState
	Size   uint64 // of the file; 0 unless it is here
	Offset uint64 // of Data in it
	Why    string // it is not here
	Data   []byte // aliases the body that was read
}

const blockRangeAnswerFields = 5

// Append appends the body.
func (a *BlockRangeAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, blockRangeAnswerFields)
	b = pack.AppendUint(b, uint64(a.State))
	b = pack.AppendUint(b, a.Size)
	b = pack.AppendUint(b, a.Offset)
	b = pack.AppendString(b, a.Why)
	return pack.AppendBytes(b, a.Data)
}

// Read reads the body. Data aliases it. It passes over what a newer version has added behind these fields.
func (a *BlockRangeAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	a.State = BlockState(r.UintMax(1<<8 - 1))
	a.Size, a.Offset = r.Uint(), r.Uint()
	a.Why = r.String()
	a.Data = r.Bytes()
	r.Trailing(found, blockRangeAnswerFields)
	if err := r.Done(); err != nil {
		return err
	}
	switch {
	case a.State < BlockHere || a.State > BlockBusy:
		return fmt.Errorf("a question for a block file is answered with %s", a.State)
	case len(a.Data) > ChunkBytesMax:
		return fmt.Errorf("%d bytes of a block file, the limit is %d", len(a.Data), ChunkBytesMax)
	case a.Offset > a.Size || uint64(len(a.Data)) > a.Size-a.Offset:
		return fmt.Errorf("%d bytes at offset %d of a block file of %d", len(a.Data), a.Offset, a.Size)
	case a.State != BlockHere && a.Size > 0:
		return errors.New("a block file that is not here has a size")
	}
	return nil
}

func (a *BlockRangeAnswer) lines() []string {
	return []string{
		fmt.Sprintf("state %s", a.State),
		fmt.Sprintf("size %d offset %d", a.Size, a.Offset),
		fmt.Sprintf("why %s", quoted([]byte(a.Why))),
		fmt.Sprintf("data %d bytes % x", len(a.Data), short(a.Data)),
	}
}
