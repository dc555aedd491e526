package shard

import (
	"bytes"
	"iter"
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// View is a shard as it was at one moment, whatever is applied meanwhile. Making one costs next to nothing, and any
// number of goroutines may use it. It keeps the heads of that moment in memory, and needs the files of that moment.
type View struct {
	shard      *Shard
	entry      uint64 // the last one that is in it
	heads      []*head
	files      []File
	tombstones []buried
	forgotten  uint64
	census     *censusCopy // of [Shard.Copy]; else nil
}

// View returns the shard as it is now.
func (s *Shard) View() *View {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := len(s.tombstones)
	return &View{shard: s, entry: s.entry, heads: s.heads(), files: s.files, tombstones: s.tombstones[:n:n], forgotten: s.forgotten}
}

// Files returns the files of the view, the oldest first. They are not to be changed.
func (v *View) Files() []File { return v.files }

// Opener opens the block file of a sum. The reader is used until the [Reader] that asked for it is no longer.
type Opener func(block.Sum) (*block.Reader, error)

// Reader reads the points of a view: heads and files as one. It is for one goroutine. The lists that it gives out are its
// own, and good until its next call. Errors are those of the opener and of block files.
type Reader struct {
	v      *View
	open   Opener
	files  []*block.Reader // as those of the view; nil: not opened yet
	merger merger
	name   []byte
	heads  []*headSource // of the last column; their memory is used again
}

// Read returns a reader of the view.
func (v *View) Read(open Opener) *Reader {
	return &Reader{v: v, open: open, files: make([]*block.Reader, len(v.files))}
}

// file returns the reader of a file of the view.
func (r *Reader) file(i int) (*block.Reader, error) {
	if r.files[i] == nil {
		x, err := r.open(r.v.files[i].Sum)
		if err != nil {
			return nil, err
		}
		r.files[i] = x
	}
	return r.files[i], nil
}

// Field is a field of a measurement, by its name as it is.
type Field struct {
	Name string
	Kind column.Kind
}

// Measurements returns the names of all measurements, as they are and in order.
func (r *Reader) Measurements() (names []string, err error) {
	s := r.v.shard
	s.mu.RLock()
	defer s.mu.RUnlock()
	for m := 1; m < len(s.schema.measurements); m++ {
		if r.v.anyField(uint32(m)) {
			names = append(names, points.ParseMeasurement(s.schema.measurementName(uint32(m))))
		}
	}
	slices.Sort(names)
	return names, nil
}

// anyField reports whether a measurement has a field. The shard is locked.
func (v *View) anyField(m uint32) bool {
	x := v.shard.schema
	for f := x.measurements[m].fields; f != 0; f = x.fields[f].next {
		if x.fields[f].alive(v.entry) {
			return true
		}
	}
	return false
}

// Fields returns the fields of a measurement, in order of their names. Points of some may all be deleted.
func (r *Reader) Fields(measurement string) (fields []Field, err error) {
	s := r.v.shard
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.schema.measurement(points.AppendMeasurement(nil, []byte(measurement)))
	if m == 0 {
		return nil, nil
	}
	for f := s.schema.measurements[m].fields; f != 0; f = s.schema.fields[f].next {
		if x := &s.schema.fields[f]; x.alive(r.v.entry) {
			fields = append(fields, Field{points.ParseName(s.schema.fieldName(f)), x.kind})
		}
	}
	slices.SortFunc(fields, func(a, b Field) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return fields, nil
}

// Columns goes through the values of a field of a series from one time to another, both included, in order of time.
// Each time is there once.
func (r *Reader) Columns(key []byte, name string, from, to int64) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		if err := r.begin(key, name, from, to); err != nil {
			yield(Piece{}, err)
			return
		}
		for {
			p, err := r.merger.next()
			if err != nil {
				yield(Piece{}, err)
				return
			}
			if p == nil || !yield(Piece{Times: p.Times, Values: p.Values}, nil) {
				return
			}
		}
	}
}

// begin makes the merger one of the sources that have a field of a series.
func (r *Reader) begin(key []byte, name string, from, to int64) error {
	r.name = points.AppendFieldName(r.name[:0], []byte(name))
	sources, err := r.sources(key, r.name, from, to)
	if err == nil {
		r.merger.begin(sources...)
	}
	return err
}

// sources returns those that have a field of a series. field is its name as it is written.
func (r *Reader) sources(key, field []byte, from, to int64) (sources []source, err error) {
	v, s := r.v, r.v.shard
	s.mu.RLock()
	number := uint32(0)
	if m := s.schema.measurement(points.MeasurementOf(key)); m != 0 {
		number = s.schema.aliveField(m, field, v.entry)
	}
	if number == 0 {
		s.mu.RUnlock()
		return nil, nil
	}
	kind := s.schema.fields[number].kind
	var heads []source
	for _, h := range v.heads {
		if refs := h.refs(nil, key, number); len(refs) > 0 {
			if len(r.heads) == len(heads) {
				r.heads = append(r.heads, &headSource{})
			}
			x := r.heads[len(heads)]
			x.h, x.refs, x.kind, x.done = *h, refs, kind, false
			x.selection = selection{v.entry, from, to, hides(nil, v.tombstones, key, h.generation, ofHead)}
			x.cells.reset()
			heads = append(heads, x)
		}
	}
	s.mu.RUnlock()
	for i := range v.files {
		f := &v.files[i]
		if f.Values == 0 || f.Last < from || f.First > to {
			continue
		}
		x, err := r.file(i)
		if err != nil {
			return nil, err
		}
		sources = append(sources, &fileSource{c: x.Field(key, field), kind: kind, from: from, to: to, spans: hides(nil, v.tombstones, key, f.Generation, ofFile)})
	}
	return append(sources, heads...), nil
}

// headSource is what is selected of a field of a series in a head: one piece.
type headSource struct {
	h         head // as it was when the source was made, though it may grow: its lists only become longer
	refs      []ref
	kind      column.Kind
	selection selection
	cells     cells
	piece     Piece
	done      bool
}

func (x *headSource) next() (*Piece, error) {
	if x.done {
		return nil, nil
	}
	x.done = true
	x.h.resolve(&x.cells, x.refs, x.selection)
	if len(x.cells.times) == 0 {
		return nil, nil
	}
	x.h.typed(&x.piece.Values, x.kind, x.cells.bits)
	x.piece.Times, x.piece.fill = x.cells.times, x.cells.fill
	return &x.piece, nil
}

// fileSource is a field of a series in a block file, a piece for each block.
type fileSource struct {
	c        *block.Cursor
	kind     column.Kind
	from, to int64
	spans    []span
	block    block.Block
	piece    Piece
}

func (x *fileSource) next() (*Piece, error) {
	for x.c.Next() {
		row := x.c.Row()
		if row.Last < x.from || covered(x.spans, row.First, row.Last) {
			continue
		}
		if row.First > x.to {
			return nil, nil
		}
		if err := checkKind(row, x.kind); err != nil {
			return nil, err
		}
		if err := x.c.Read(&x.block); err != nil {
			return nil, err
		}
		if x.piece = visible(&x.block, x.from, x.to, x.spans); len(x.piece.Times) > 0 {
			return &x.piece, nil
		}
	}
	return nil, x.c.Err()
}

// visible returns what is not hidden of a block, with its memory.
func visible(b *block.Block, from, to int64, spans []span) Piece {
	p := Piece{Times: b.Times, Values: b.Values}
	if b.Times[0] < from || b.Times[len(b.Times)-1] > to {
		i, _ := slices.BinarySearch(b.Times, from)
		j, found := slices.BinarySearch(b.Times, to)
		if found {
			j++
		}
		p = p.slice(i, j)
	}
	if len(spans) == 0 || !slices.ContainsFunc(p.Times, func(t int64) bool { return hidden(spans, t, 0) }) {
		return p
	}
	var kept Piece
	for i, t := range p.Times {
		if !hidden(spans, t, 0) {
			kept.append(&p, i, i+1)
		}
	}
	kept.Values.Kind = p.Values.Kind
	return kept
}
