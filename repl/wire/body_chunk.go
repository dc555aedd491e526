package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// ChunkBytesMax bounds the bytes of a snapshot in one frame: a block of its file.
const ChunkBytesMax = 256 << 10

// ChunkFrameMax is the largest body of a [Chunk], in bytes: nothing larger arrives
// over a bulk connection.
const ChunkFrameMax = ChunkBytesMax + 256

// Chunk carries a piece of a snapshot's file, over a bulk connection:
//
//	[number, group, incarnation, from, to, term, [base term, base index], size, offset, bin]
//
// The first of a stream has an empty bin: it asks whether the snapshot is
// wanted, and from which offset on.
type Chunk struct {
	Number      uint64 // of the stream; the answer repeats it
	Group       raft.GroupID
	Incarnation raft.Incarnation
	From, To    raft.ReplicaID
	// Term is the term in which From leads; 0 if To has asked for the snapshot
	// itself, and From need not lead.
	Term   uint64
	Base   raft.LogID // the last entry that the snapshot covers
	Size   uint64     // of the whole file
	Offset uint64     // of Data in it
	Data   []byte     // aliases the body that was read
}

const chunkFields = 10

// Append appends the body.
func (c *Chunk) Append(b []byte) []byte {
	b = pack.AppendArray(b, chunkFields)
	b = pack.AppendUint(b, c.Number)
	b = pack.AppendUint(b, uint64(c.Group))
	b = pack.AppendUint(b, uint64(c.Incarnation))
	b = pack.AppendUint(b, uint64(c.From))
	b = pack.AppendUint(b, uint64(c.To))
	b = pack.AppendUint(b, c.Term)
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, c.Base.Term)
	b = pack.AppendUint(b, c.Base.Index)
	b = pack.AppendUint(b, c.Size)
	b = pack.AppendUint(b, c.Offset)
	return pack.AppendBytes(b, c.Data)
}

// Read reads the body. Data aliases it.
func (c *Chunk) Read(body []byte) error {
	r := pack.NewReader(body)
	r.ArrayLen(chunkFields)
	c.Number = r.Uint()
	c.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	c.Incarnation = raft.Incarnation(r.Uint())
	c.From, c.To = raft.ReplicaID(r.Uint()), raft.ReplicaID(r.Uint())
	c.Term = r.Uint()
	r.ArrayLen(2)
	c.Base = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	c.Size, c.Offset = r.Uint(), r.Uint()
	c.Data = r.Bytes()
	if err := r.Done(); err != nil {
		return err
	}
	switch {
	case len(c.Data) > ChunkBytesMax:
		return fmt.Errorf("%d bytes of a snapshot, the limit is %d", len(c.Data), ChunkBytesMax)
	case c.Offset > c.Size || uint64(len(c.Data)) > c.Size-c.Offset:
		return fmt.Errorf("%d bytes at offset %d of a snapshot of %d", len(c.Data), c.Offset, c.Size)
	case c.Base.Index == 0:
		return fmt.Errorf("a snapshot of no entry")
	}
	return nil
}

// ChunkState says what became of a stream of chunks.
type ChunkState uint8

const (
	ChunkTaken   ChunkState = 1 // go on at the offset
	ChunkDone    ChunkState = 2 // the state is there: send what follows its base
	ChunkRefused ChunkState = 3 // end the stream; another one may do better later
)

func (s ChunkState) String() string {
	switch s {
	case ChunkTaken:
		return "taken"
	case ChunkDone:
		return "done"
	case ChunkRefused:
		return "refused"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// ChunkAnswer answers a [Chunk]:
//
//	[number, offset, state, why]
type ChunkAnswer struct {
	Number uint64 // of the stream
	Offset uint64 // of the next chunk: everything before it is kept
	State  ChunkState
	Why    string // it is refused
}

func (a *ChunkAnswer) fields(f *fields) {
	f.atLeast(4, func() {
		number(f, "number", &a.Number)
		number(f, "offset", &a.Offset)
		number(f, "state", &a.State)
		f.text("why", &a.Why)
	})
}

// Append appends the body.
func (a *ChunkAnswer) Append(b []byte) []byte { return appendFields(b, a) }

// Read reads the body.
func (a *ChunkAnswer) Read(body []byte) error {
	if err := readFields(body, a); err != nil {
		return err
	}
	if a.State < ChunkTaken || a.State > ChunkRefused {
		return fmt.Errorf("a chunk is answered with %s", a.State)
	}
	return nil
}
