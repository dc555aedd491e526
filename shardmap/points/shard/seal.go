package shard

import (
	"bytes"
	"math"

	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// How a seal cuts the points of a field into blocks, the same way on every replica.
const (
	// BlockPoints is how many points a block has, but for the last one of its field. A reader of one value reads a block.
	BlockPoints = 1000
	// BlockText ends a block of strings earlier, when they have that many bytes: a column has a limit.
	BlockText = 1 << 20
)

// Sealed says what a seal has written.
type Sealed struct {
	Values     int64
	Superseded int64 // values of fills that were there in an older file, and are dropped
}

// Seal writes the blocks of the file that takes the place of the oldest frozen head, whose generation is given, and of
// the newest merged files: all that is not replaced or deleted. It may run on any goroutine, while entries are applied.
// w is to be finished by the caller. Every replica that has applied the freeze writes the same blocks, whatever came
// after it, as long as the head is the oldest frozen one and the files are the same.
//
// It opens the merged files, and the others too if the head has fills.
func (v *View) Seal(w *block.Writer, generation uint64, merged int, open Opener) (Sealed, error) {
	return v.seal(w, generation, merged, open, BlockPoints)
}

// bugOther is planted to show that the simulator finds it: a file lacks what was deleted behind the freeze, as far as a replica knows
// of that when it makes the file.
const bugOther = "seal with other points on one replica"

// seal is Seal with another number of points for a block.
func (v *View) seal(w *block.Writer, generation uint64, merged int, open Opener, most int) (Sealed, error) {
	var frozen []*head
	v.shard.mu.RLock()
	for _, h := range v.heads {
		if h.frozenAt <= v.entry {
			frozen = append(frozen, h)
		}
	}
	v.shard.mu.RUnlock()
	if err := checkSeal(frozen, v.files, generation, merged); err != nil {
		return Sealed{}, err
	}
	x := sealing{r: v.Read(open), h: frozen[0], w: w, older: len(v.files) - merged, most: most}
	// Only what was deleted before the freeze: what came later is hidden from the file by its tombstone.
	for _, t := range v.tombstones {
		if t.generation <= generation || bug(bugOther) {
			x.tombstones = append(x.tombstones, t)
		}
	}
	for i := x.older; i < len(v.files); i++ {
		r, err := x.r.file(i)
		if err != nil {
			return Sealed{}, err
		}
		f := &mergedFile{c: r.All(), generation: v.files[i].Generation}
		if err := f.advance(); err != nil {
			return Sealed{}, err
		}
		x.files = append(x.files, f)
	}
	x.head = frozen[0].columns(v.shard, frozen[0].frozenAt)
	err := x.run()
	return x.done, err
}

// sealing is a seal under way.
type sealing struct {
	r          *Reader
	h          *head
	w          *block.Writer
	older      int // files that are not merged
	most       int // points of a block
	tombstones []buried
	files      []*mergedFile
	head       *columns
	done       Sealed

	cells  cells // of the column of the head, and its piece
	piece  Piece
	merger merger
	block  block.Block
	text   int // bytes of the strings in the block
}

// mergedFile is a file that a seal goes through from its beginning to its end.
type mergedFile struct {
	c          *block.Cursor
	generation uint64
	at         bool // the cursor is at a row
	block      block.Block
	piece      Piece

	// The column that is being merged:
	series, field []byte
	kind          column.Kind
	spans         []span
}

func (f *mergedFile) advance() error {
	f.at = f.c.Next()
	return f.c.Err()
}

// is reports whether the next block is one of a column.
func (f *mergedFile) is(series, field []byte) bool {
	return f.at && bytes.Equal(f.c.Row().Series, series) && bytes.Equal(f.c.Row().Field, field)
}

func (f *mergedFile) next() (*Piece, error) {
	for f.is(f.series, f.field) {
		row := f.c.Row()
		if covered(f.spans, row.First, row.Last) {
			if err := f.advance(); err != nil {
				return nil, err
			}
			continue
		}
		if f.kind == 0 {
			f.kind = row.Kind
		}
		if err := checkKind(row, f.kind); err != nil {
			return nil, err
		}
		if err := f.c.Read(&f.block); err != nil {
			return nil, err
		}
		if err := f.advance(); err != nil {
			return nil, err
		}
		if f.piece = visible(&f.block, math.MinInt64, math.MaxInt64, f.spans); len(f.piece.Times) > 0 {
			return &f.piece, nil
		}
	}
	return nil, nil
}

// run goes through the columns of all sources in order.
func (x *sealing) run() error {
	var series, field []byte
	var sources []source
	for {
		// The least of what comes next.
		next := x.head.next()
		found := next != nil
		if found {
			series, field = append(series[:0], next.series...), append(field[:0], next.field...)
		}
		for _, f := range x.files {
			if f.at && (!found || compareKeys(f.c.Row().Series, f.c.Row().Field, series, field) < 0) {
				series, field, found = append(series[:0], f.c.Row().Series...), append(field[:0], f.c.Row().Field...), true
			}
		}
		if !found {
			return nil
		}
		sources = sources[:0]
		here := next != nil && compareKeys(next.series, next.field, series, field) == 0
		kind := column.Kind(0)
		if here {
			kind = next.kind
		}
		for _, f := range x.files {
			if f.is(series, field) {
				f.series, f.field, f.kind = series, field, kind
				f.spans = hides(f.spans[:0], x.tombstones, series, f.generation, ofFile)
				sources = append(sources, f)
			}
		}
		if here {
			s, err := x.headSource(next)
			if err != nil {
				return err
			}
			sources = append(sources, s)
			x.head.pass()
		}
		if err := x.column(series, field, sources); err != nil {
			return err
		}
	}
}

func compareKeys(series1, field1, series2, field2 []byte) int {
	if o := bytes.Compare(series1, series2); o != 0 {
		return o
	}
	return bytes.Compare(field1, field2)
}

// headSource returns what the head has of a column. Fills of what is in a file that is not merged are taken out: a block
// file doesn't tell fills from others, and a reader takes the newest.
func (x *sealing) headSource(c *headColumn) (source, error) {
	k := &x.cells
	k.reset()
	x.h.resolve(k, c.refs, x.h.all(hides(nil, x.tombstones, c.series, x.h.generation, ofHead)))
	if k.fill != nil && x.older > 0 {
		there, err := x.inOlder(c, k.times[0], k.times[len(k.times)-1])
		if err != nil {
			return nil, err
		}
		kept := 0
		for i, t := range k.times {
			if k.fill[i] && there[t] {
				x.done.Superseded++
				continue
			}
			k.times[kept], k.bits[kept], k.fill[kept] = t, k.bits[i], k.fill[i]
			kept++
		}
		k.times, k.bits, k.fill = k.times[:kept], k.bits[:kept], k.fill[:kept]
	}
	x.piece.Times, x.piece.fill = k.times, k.fill
	x.h.typed(&x.piece.Values, c.kind, k.bits)
	return &onePiece{x.piece}, nil
}

// inOlder returns the times that a column has in the files that are not merged.
func (x *sealing) inOlder(c *headColumn, from, to int64) (map[int64]bool, error) {
	there := map[int64]bool{}
	for i := range x.older {
		r, err := x.r.file(i)
		if err != nil {
			return nil, err
		}
		f := fileSource{c: r.Field(c.series, c.field), kind: c.kind, from: from, to: to, spans: hides(nil, x.tombstones, c.series, x.r.v.files[i].Generation, ofFile)}
		for {
			p, err := f.next()
			if err != nil {
				return nil, err
			}
			if p == nil {
				break
			}
			for _, t := range p.Times {
				there[t] = true
			}
		}
	}
	return there, nil
}

// onePiece is a source of one piece, which may be empty.
type onePiece struct{ piece Piece }

func (x *onePiece) next() (*Piece, error) {
	p := x.piece
	x.piece = Piece{}
	if len(p.Times) == 0 {
		return nil, nil
	}
	return &p, nil
}

// column writes the blocks of a column.
func (x *sealing) column(series, field []byte, sources []source) error {
	x.block.Series, x.block.Field = series, field
	x.merger.begin(sources...)
	for {
		p, err := x.merger.next()
		if err != nil {
			return err
		}
		if p == nil {
			return x.flush()
		}
		if err := x.add(p); err != nil {
			return err
		}
		if bug(bugCut) {
			if err := x.flush(); err != nil {
				return err
			}
		}
	}
}

// bugCut is planted to show that its test finds it: blocks end where those of a file did that was merged.
const bugCut = "seal cuts other points"

// add adds values to the block, and writes those that are full.
func (x *sealing) add(p *Piece) error {
	b := Piece{Times: x.block.Times, Values: x.block.Values}
	for from := 0; from < len(p.Times); {
		to := min(len(p.Times), from+x.most-len(b.Times))
		if p.Values.Kind == column.String {
			for to = from; to < len(p.Times) && len(b.Times)+to-from < x.most && x.text < BlockText; to++ {
				x.text += len(p.Values.Strings[to])
			}
		}
		b.append(p, from, to)
		from = to
		x.block.Times, x.block.Values = b.Times, b.Values
		if len(b.Times) == x.most || x.text >= BlockText {
			if err := x.flush(); err != nil {
				return err
			}
			b.Times, b.Values = x.block.Times, x.block.Values
		}
	}
	return nil
}

// flush writes the block.
func (x *sealing) flush() error {
	if len(x.block.Times) == 0 {
		return nil
	}
	x.done.Values += int64(len(x.block.Times))
	err := x.w.Add(&x.block)
	b := Piece{Times: x.block.Times, Values: x.block.Values}
	b.reset()
	x.block.Times, x.block.Values, x.text = b.Times, b.Values, 0
	return err
}
