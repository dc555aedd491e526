package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"muster/raft"
	"muster/repl/memtest"
	"muster/shardmap/pack"
)

func at(term, index uint64) raft.LogID { return raft.LogID{Term: term, Index: index} }

// A step comes back from its bytes as it was.
func TestStepsThroughBytes(t *testing.T) {
	for k, steps := range map[CommandKind][]Step{
		CommandSeal:     {{Slot: 3, Number: 7, Peer: 2}, {Slot: 4, Number: 7, Peer: 2}, {Slot: 4095, Number: 9, Peer: raft.GroupMax, Empty: true}},
		CommandTakeover: {{Slot: 0, Number: 1 << 60, Peer: 1, At: at(3, 900), Time: 5e9, Chunks: 12, Digest: 1<<64 - 1}},
		CommandRefuse:   {{Slot: 9, Number: 7, Peer: 1}},
		CommandCancel:   {{Slot: 9, Number: 7}},
		CommandUnseal:   {{Slot: 9, Number: 7}, {Slot: 11, Number: 8}},
		CommandDrop:     {{Slot: 9, Number: 7}},
		CommandForget:   {{Slot: 9, Number: 7}},
	} {
		c := StepCommand(k, steps)
		back := c
		if got, err := ReadSteps(&back); err != nil || !reflect.DeepEqual(got, steps) || back.Home() != steps[0].Slot {
			t.Errorf("%s: %+v, %v of slot %d, want %+v", k, got, err, back.Home(), steps)
		}
		if _, err := ReadPieces(&back); !errors.Is(err, ErrCommand) {
			t.Errorf("%s is read as a chunk: %v", k, err)
		}
	}
}

// So does a piece.
func TestPiecesThroughBytes(t *testing.T) {
	pieces := []Piece{
		{Slot: 3, Number: 7, Source: 1, Attempt: Attempt{4, 2}, To: at(4, 99), More: true, Content: []byte("content")},
		{Slot: 5, Number: 7, Source: 1, Attempt: Attempt{4, 3}, Index: 12, From: at(4, 99), To: at(5, 120), Content: bytes.Repeat([]byte{9}, 70000)},
	}
	c := ChunkCommand(pieces)
	back := c
	if got, err := ReadPieces(&back); err != nil || !reflect.DeepEqual(got, pieces) || back.Home() != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ReadSteps(&back); !errors.Is(err, ErrCommand) {
		t.Errorf("a chunk is read as steps: %v", err)
	}
}

// What no runner can have meant is refused: a group that guessed would differ from others
// of its replicas, of another build.
func TestReadStepsRefuses(t *testing.T) {
	takeover := Step{Slot: 9, Number: 7, Peer: 1, At: at(3, 900), Chunks: 1}
	with := func(change func(s *Step)) Step { s := takeover; change(&s); return s }
	many := make([]Step, StepsMax+1)
	for i := range many {
		many[i] = Step{Slot: Slot(i), Number: 1}
	}
	for what, c := range map[string]Command{
		"no number":             StepCommand(CommandDrop, []Step{{Slot: 9}}),
		"no target":             StepCommand(CommandSeal, []Step{{Slot: 9, Number: 7}}),
		"a target above all":    StepCommand(CommandSeal, []Step{{Slot: 9, Number: 7, Peer: raft.GroupMax + 1}}),
		"a slot above all":      StepCommand(CommandDrop, []Step{{Slot: Slots, Number: 7}}),
		"a slot twice":          StepCommand(CommandDrop, []Step{{Slot: 9, Number: 7}, {Slot: 9, Number: 8}}),
		"out of order":          StepCommand(CommandDrop, []Step{{Slot: 9, Number: 7}, {Slot: 8, Number: 7}}),
		"too many":              StepCommand(CommandDrop, many),
		"none":                  {Kind: CommandDrop, Items: [][]byte{pack.AppendArray(nil, 0)}},
		"no item":               {Kind: CommandDrop},
		"two items":             {Kind: CommandDrop, Items: [][]byte{pack.AppendArray(nil, 0), pack.AppendArray(nil, 0)}},
		"no seal":               StepCommand(CommandTakeover, []Step{with(func(s *Step) { s.At = raft.LogID{} })}),
		"no chunk":              StepCommand(CommandTakeover, []Step{with(func(s *Step) { s.Chunks = 0 })}),
		"no source":             StepCommand(CommandTakeover, []Step{with(func(s *Step) { s.Peer = 0 })}),
		"a drop with a peer":    StepCommand(CommandDrop, []Step{{Slot: 9, Number: 7, Peer: 1}}),
		"a refusal if empty":    StepCommand(CommandRefuse, []Step{{Slot: 9, Number: 7, Peer: 1, Empty: true}}),
		"a seal with a digest":  StepCommand(CommandSeal, []Step{{Slot: 9, Number: 7, Peer: 1, Digest: 1}}),
		"another kind":          {Kind: CommandSet, Items: [][]byte{pack.AppendArray(nil, 0)}},
		"a claim of gigabytes":  {Kind: CommandDrop, Items: [][]byte{{0xdd, 0xff, 0xff, 0xff, 0xff}}},
		"an older, shorter one": {Kind: CommandDrop, Items: [][]byte{append(pack.AppendArray(nil, 1), 0x98, 9, 7, 0, 0xc2, 0, 0, 0, 0)}},
	} {
		if s, err := ReadSteps(&c); !errors.Is(err, ErrCommand) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
	longer := Command{Kind: CommandDrop, Items: [][]byte{append(pack.AppendArray(nil, 1), 0x9a, 9, 7, 0, 0xc2, 0, 0, 0, 0, 0, 0)}}
	if s, err := ReadSteps(&longer); !errors.Is(err, ErrLevel) {
		t.Errorf("with a field more: %+v, %v", s, err)
	}
}

func TestReadPiecesRefuses(t *testing.T) {
	good := Piece{Slot: 3, Number: 7, Source: 1, Attempt: Attempt{4, 2}, Index: 2, From: at(4, 50), To: at(4, 99)}
	with := func(change func(p *Piece)) Command { p := good; change(&p); return ChunkCommand([]Piece{p}) }
	if c := ChunkCommand([]Piece{good}); true {
		if _, err := ReadPieces(&c); err != nil {
			t.Fatal(err)
		}
	}
	many := make([]Piece, StepsMax+1)
	for i := range many {
		many[i] = good
		many[i].Slot = Slot(i)
	}
	for what, c := range map[string]Command{
		"no number":               with(func(p *Piece) { p.Number = 0 }),
		"no source":               with(func(p *Piece) { p.Source = 0 }),
		"no end":                  with(func(p *Piece) { p.From, p.To = raft.LogID{}, raft.LogID{} }),
		"an end before the begin": with(func(p *Piece) { p.To = at(4, 49) }),
		"a first with a begin":    with(func(p *Piece) { p.Index = 0 }),
		"a slot above all":        with(func(p *Piece) { p.Slot = Slots }),
		"a slot twice":            ChunkCommand([]Piece{good, good}),
		"too many":                ChunkCommand(many),
		"a text for a flag":       {Kind: CommandChunk, Items: [][]byte{{0x91, 0x9c, 3, 7, 1, 4, 2, 2, 4, 50, 4, 99, 0xa0, 0xc4, 0}}},
	} {
		if p, err := ReadPieces(&c); !errors.Is(err, ErrCommand) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
}

// testView returns a view of random fields.
func testView(chance *rand.Rand) SlotView {
	v := SlotView{
		Slot: Slot(chance.IntN(Slots)), Holding: Holding(chance.IntN(3)), Number: chance.Uint64(), Target: raft.GroupID(chance.IntN(int(raft.GroupMax))),
		Sealed: at(chance.Uint64(), chance.Uint64()), SealTime: raft.GroupTime(chance.Uint64()), Digest: chance.Uint64(), Mark: chance.Uint64N(300),
		Keys: chance.Uint64(), Bytes: chance.Uint64(), Last: chance.Uint64(),
	}
	if chance.IntN(2) == 0 {
		v.Import = ImportView{Number: 1 + chance.Uint64N(300), Source: 9, Attempt: Attempt{chance.Uint64(), 3}, Chunks: chance.Uint64(), At: at(1, chance.Uint64()), Digest: chance.Uint64(), Partial: chance.IntN(2) == 0}
	}
	for range chance.IntN(4) {
		v.Decisions = append(v.Decisions, Decision{chance.Uint64(), chance.IntN(2) == 0, 77})
	}
	return v
}

// A view comes back from its bytes as it was, also from those of a newer version, which
// may have further fields. Cut anywhere, it is none.
func TestViewsThroughBytes(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		v := testView(chance)
		b := AppendView(nil, &v)
		r := pack.NewReader(b)
		if back := ReadView(&r); r.Done() != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("%+v came back as %+v, %v", v, back, r.Err())
		}
		older := v // of a node below [RangesLevel]
		older.Last = 0
		r = pack.NewReader(append([]byte{b[0] - 1}, b[1:len(b)-len(pack.AppendUint(nil, v.Last))]...))
		if back := ReadView(&r); r.Done() != nil || !reflect.DeepEqual(back, older) {
			t.Fatalf("without its last version %+v came back as %+v, %v", v, back, r.Err())
		}
		newer := append(append([]byte{b[0] + 1}, b[1:]...), 0xa1, 'x')
		r = pack.NewReader(newer)
		if back := ReadView(&r); r.Done() != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("with a field more %+v came back as %+v, %v", v, back, r.Err())
		}
		for n := range b {
			if r = pack.NewReader(b[:n]); true {
				if ReadView(&r); r.Done() == nil {
					t.Fatalf("%d bytes of %d are read as a view", n, len(b))
				}
			}
		}
	}
}

// Hostile bytes must cost no more than they are worth, and what can be read is what was
// meant: written again it is the same.
func FuzzReadSteps(f *testing.F) {
	steps := StepCommand(CommandTakeover, []Step{{Slot: 9, Number: 7, Peer: 1, At: at(3, 900), Chunks: 1}, {Slot: 10, Number: 7, Peer: 1, At: at(3, 900), Chunks: 2}})
	pieces := ChunkCommand([]Piece{{Slot: 3, Number: 7, Source: 1, To: at(4, 99), Content: []byte("content")}})
	f.Add(uint8(CommandTakeover), steps.Items[0])
	f.Add(uint8(CommandChunk), pieces.Items[0])
	f.Add(uint8(CommandDrop), []byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint8(CommandDrop), append([]byte{0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0x1000)...))
	f.Add(uint8(CommandChunk), append([]byte{0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc4, 0}, 0x1000)...))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		c := Command{Kind: CommandKind(kind), Items: [][]byte{b}}
		var steps []Step
		var pieces []Piece
		var err error
		used := memtest.Allocated(func() {
			if c.Kind == CommandChunk {
				pieces, err = ReadPieces(&c)
			} else {
				steps, err = ReadSteps(&c)
			}
		})
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		if err != nil {
			if !errors.Is(err, ErrCommand) && !errors.Is(err, ErrLevel) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if c.Kind == CommandChunk {
			again := ChunkCommand(pieces)
			if back, err := ReadPieces(&again); err != nil || fmt.Sprint(back) != fmt.Sprint(pieces) {
				t.Fatalf("%+v came back as %+v, %v", pieces, back, err)
			}
			return
		}
		again := StepCommand(c.Kind, steps)
		if back, err := ReadSteps(&again); err != nil || !reflect.DeepEqual(back, steps) {
			t.Fatalf("%+v came back as %+v, %v", steps, back, err)
		}
	})
}

func FuzzReadView(f *testing.F) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		v := testView(chance)
		f.Add(AppendView(nil, &v))
	}
	empty := AppendView(nil, &SlotView{})
	f.Add(append(append(bytes.Clone(empty[:len(empty)-3]), 0xdc, 0x10, 0x00), bytes.Repeat([]byte{0x93, 1, 0xc2, 1}, 0x1000)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v SlotView
		r := pack.NewReader(b)
		used := memtest.Allocated(func() { v = ReadView(&r) })
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		if r.Err() != nil {
			return
		}
		again := pack.NewReader(AppendView(nil, &v))
		if back := ReadView(&again); v.Import.Number != 0 && fmt.Sprint(back) != fmt.Sprint(v) {
			t.Fatalf("%+v came back as %+v, %v", v, back, again.Err())
		}
	})
}
