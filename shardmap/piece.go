package shardmap

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

const (
	// ChunkSize is how many bytes of content a chunk should have, over all its pieces. One
	// record may be larger.
	ChunkSize = 256 << 10
	// pieceFields is how many fields a piece has.
	pieceFields = 12
	// pieceBytesMin is what a piece takes at least: the head of its content has two bytes.
	pieceBytesMin = 1 + pieceFields + 1
)

// Piece is one slot's part of a chunk. A slot is sent in passes: the first brings all that
// it has, each later one what changed since. Its bytes are a msgpack array:
//
//	[slot, number, source, attempt term, attempt number, index,
//	 from term, from index, to term, to index, more, content]
//
// with more as true or false, and content, which content.go draws, as a bin. A command's
// only item is an array of them, by slot, no slot twice.
type Piece struct {
	Slot    Slot
	Number  uint64       // of the move
	Source  raft.GroupID // that the slot comes from
	Attempt Attempt
	Index   uint64 // how many pieces of this attempt came before
	// From and To are log ids of the source: the slot as of From is what the import holds
	// before this pass, nothing if From is zero, and as of To what it holds after it.
	From, To raft.LogID
	More     bool // further pieces of this pass follow
	Content  []byte
}

// ChunkCommand returns the command for these pieces, at most [StepsMax], which are in the
// order of their slots.
func ChunkCommand(pieces []Piece) Command {
	const headMax = 1 + 9*(pieceFields-2) + 1 + 5 // of a piece, before its content
	size := 5
	for i := range pieces {
		size += headMax + len(pieces[i].Content)
	}
	b := pack.AppendArray(make([]byte, 0, size), len(pieces))
	for i := range pieces {
		p := &pieces[i]
		b = pack.AppendArray(b, pieceFields)
		b = pack.AppendUint(b, uint64(p.Slot))
		b = pack.AppendUint(b, p.Number)
		b = pack.AppendUint(b, uint64(p.Source))
		b = pack.AppendUint(b, p.Attempt.Term)
		b = pack.AppendUint(b, p.Attempt.Number)
		b = pack.AppendUint(b, p.Index)
		b = pack.AppendUint(b, p.From.Term)
		b = pack.AppendUint(b, p.From.Index)
		b = pack.AppendUint(b, p.To.Term)
		b = pack.AppendUint(b, p.To.Index)
		b = pack.AppendBool(b, p.More)
		b = pack.AppendBytes(b, p.Content)
	}
	return Command{Kind: CommandChunk, Slot: pieces[0].Slot, Items: [][]byte{b}}
}

// ReadPieces reads the pieces of a chunk. Their content aliases the command; it is not
// looked at.
func ReadPieces(c *Command) ([]Piece, error) {
	r, err := c.moveBody()
	if err != nil {
		return nil, err
	}
	if c.Kind != CommandChunk {
		return nil, fmt.Errorf("%w: %s has steps, not pieces", ErrCommand, c.Kind)
	}
	pieces := list(r, pieceBytesMin, func() (p Piece) {
		r.fields("piece", pieceFields)
		p.Slot, p.Number, p.Source = Slot(r.UintMax(Slots-1)), r.Uint(), raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
		p.Attempt, p.Index = Attempt{r.Uint(), r.Uint()}, r.Uint()
		p.From, p.To = raft.LogID{Term: r.Uint(), Index: r.Uint()}, raft.LogID{Term: r.Uint(), Index: r.Uint()}
		p.More, p.Content = r.Bool(), r.Bytes()
		return p
	})
	if err := r.err(); err != nil {
		return nil, err
	}
	if len(pieces) == 0 || len(pieces) > StepsMax {
		return nil, fmt.Errorf("%w: chunk of %d slots, want 1 to %d", ErrCommand, len(pieces), StepsMax)
	}
	for i := range pieces {
		if i > 0 && pieces[i-1].Slot >= pieces[i].Slot {
			return nil, fmt.Errorf("%w: chunk: slot %d after slot %d", ErrCommand, pieces[i].Slot, pieces[i-1].Slot)
		}
		if err := pieces[i].check(); err != nil {
			return nil, fmt.Errorf("%w: piece of slot %d: %w", ErrCommand, pieces[i].Slot, err)
		}
	}
	return pieces, nil
}

// check says what of a piece no sender can have meant.
func (p *Piece) check() error {
	switch {
	case p.Number == 0:
		return fmt.Errorf("a move has the number 0")
	case p.Source == 0:
		return fmt.Errorf("the source is group 0, want 1 to %d", raft.GroupMax)
	case p.To.Index == 0 || !p.To.NewerOrEqual(p.From):
		return fmt.Errorf("it goes from %s to %s", p.From, p.To)
	case p.Index == 0 && p.From != raft.LogID{}:
		return fmt.Errorf("the first begins at %s, where nothing is known", p.From)
	}
	return nil
}

func describeChunk(c *Command) (string, error) {
	pieces, err := ReadPieces(c)
	if err != nil {
		return "", err
	}
	var parts []string
	for i := range pieces {
		if i == describedMax {
			parts = append(parts, "…")
			break
		}
		p := &pieces[i]
		part := fmt.Sprintf("%d number %d piece %d of attempt %s from %s to %s %d bytes", p.Slot, p.Number, p.Index, p.Attempt, p.From, raft.FormatLogID(p.Source, p.To), len(p.Content))
		if p.More {
			part += " and more"
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("slots %d: %s", len(pieces), strings.Join(parts, ", ")), nil
}
