package shard

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// cells are values of one field of one series in one head, in order of time; each time is there once.
type cells struct {
	times []int64
	bits  []uint64
	fill  []bool // whether nothing but fills is there; as long as times, or nil if none is

	turns turns
	all   []uint64 // scratch: the values of all rows
}

func (c *cells) reset() { c.times, c.bits, c.fill = c.times[:0], c.bits[:0], nil }

// ref is where values of a field are in a head: a band, and which of its fields it is.
type ref struct {
	last       uint32
	used       int // rows of the last chunk
	field      int
	disordered bool
	fills      bool
}

// refs appends where the values of a field of a series are. The shard must be locked, for reading at least.
func (h *head) refs(dst []ref, key []byte, field uint32) []ref {
	number := h.find(h.hash(key), key)
	if number == 0 {
		return dst
	}
	return h.refsOf(dst, number, field)
}

// refsOf does what refs does, for the series of a number.
func (h *head) refsOf(dst []ref, number, field uint32) []ref {
	s := h.series.at(number)
	for n := s.first; n != 0; n = h.bands.at(n).next {
		dst = h.ref(dst, h.bands.at(n), field)
	}
	if s.more != 0 {
		fields := []uint32{field}
		if layout := h.byFields.find(hashFields(fields), func(n uint32) bool { return equal(h.fieldsOf(n), fields) }); layout != 0 {
			if n := h.single(number, layout); n != 0 {
				dst = h.ref(dst, h.bands.at(n), field)
			}
		}
	}
	return dst
}

func (h *head) ref(dst []ref, b *band, field uint32) []ref {
	i := slices.Index(h.fieldsOf(b.layout), field)
	if i < 0 || b.last == 0 {
		return dst
	}
	return append(dst, ref{b.last, int(b.used), i, b.flags&disorder != 0, b.flags&fills != 0})
}

// selection is what is wanted of a field of a series in a head.
type selection struct {
	entry    uint64 // rows up to this one
	from, to int64  // times, both included
	spans    []span // what is hidden
}

// resolve appends to c what is selected of the values at some places. It needs no lock: rows do not change.
func (h *head) resolve(c *cells, refs []ref, s selection) {
	var room [32]uint32
	if len(refs) == 1 && !refs[0].disordered && !refs[0].fills {
		h.inOrder(c, refs[0], s, room[:0])
		return
	}
	if !c.turns.are(h, refs, s) {
		h.arrange(&c.turns, refs, s, room[:0])
	}
	c.all = c.all[:0]
	for _, r := range refs {
		for _, k := range h.chunks(room[:0], r) {
			x := h.chunk(k)
			values := x.words[(2+r.field)*x.rows:]
			c.all = append(c.all, values[:h.filled(k, r)]...)
		}
	}
	if c.turns.fill != nil {
		c.fill = append(make([]bool, len(c.times), len(c.times)+len(c.turns.fill)), c.turns.fill...)
	}
	c.times, c.bits = append(c.times, c.turns.times...), slices.Grow(c.bits, len(c.turns.places))
	for _, at := range c.turns.places {
		c.bits = append(c.bits, c.all[at])
	}
}

// turns tell in which order rows count that are out of order, or have fills. They hold for all fields that are in the same
// rows, as those of a series mostly are: rows are sorted once, and not for each field.
type turns struct {
	// These tell of which selection they are:
	generation uint64 // of the head
	refs       []ref  // whose field does not matter
	selection  selection

	times  []int64
	fill   []bool   // as that of cells
	places []uint32 // of the rows, among those of all refs one behind the other

	rows []turn // scratch
}

// turn is a row before it is known whether it counts.
type turn struct {
	time  int64
	mark  uint64
	place uint32
}

// compare orders rows by time, and those of one time by their entries. An entry has a time of a field once, so no two are equal.
func (t turn) compare(o turn) int {
	if by := cmp.Compare(t.time, o.time); by != 0 {
		return by
	}
	return cmp.Compare(t.mark, o.mark)
}

// are reports whether the turns are those of a selection in some rows.
func (t *turns) are(h *head, refs []ref, s selection) bool {
	x := &t.selection
	return t.generation == h.generation && x.entry == s.entry && x.from == s.from && x.to == s.to && slices.Equal(x.spans, s.spans) &&
		slices.EqualFunc(t.refs, refs, func(a, b ref) bool { return a.last == b.last && a.used == b.used || bug(bugTurns) })
}

// bugTurns is planted to show that its test finds it.
const bugTurns = "rows in the order of another series"

// arrange finds out the turns of a selection in some rows.
func (h *head) arrange(t *turns, refs []ref, s selection, room []uint32) {
	t.generation, t.refs = h.generation, append(t.refs[:0], refs...)
	t.selection = selection{s.entry, s.from, s.to, append(t.selection.spans[:0], s.spans...)}
	t.rows = t.rows[:0]
	before := uint32(0)
	for _, r := range refs {
		for _, k := range h.chunks(room, r) {
			x, n := h.chunk(k), h.filled(k, r)
			for i := range n {
				row := turn{int64(x.words[i]), x.words[x.rows+i], before + uint32(i)}
				if row.mark>>1 > s.entry {
					break
				}
				if s.from <= row.time && row.time <= s.to && !hidden(s.spans, row.time, row.mark>>1) {
					t.rows = append(t.rows, row)
				}
			}
			before += uint32(n)
		}
	}
	// Writers that send side by side bring rows nearly in order. To insert them at their places took as long, since this is done
	// once for all fields.
	slices.SortFunc(t.rows, turn.compare)
	t.take()
}

// take takes of the rows of each time the last that is no fill, or the first that is one.
func (t *turns) take() {
	t.times, t.fill, t.places = t.times[:0], nil, t.places[:0]
	for from := 0; from < len(t.rows); {
		to := from + 1
		best := t.rows[from]
		for ; to < len(t.rows) && t.rows[to].time == best.time; to++ {
			if r := t.rows[to]; r.mark&1 == 0 || bug(bugFill) {
				best = r
			}
		}
		t.times, t.places = append(t.times, best.time), append(t.places, best.place)
		if best.mark&1 != 0 && t.fill == nil {
			t.fill = make([]bool, len(t.times)-1, len(t.rows))
		}
		if t.fill != nil {
			t.fill = append(t.fill, best.mark&1 != 0)
		}
		from = to
	}
}

// bugFill is planted to show that its test finds it.
const bugFill = "fill replaces a point"

// chunks appends the chunks of a place, the first one first.
func (h *head) chunks(dst []uint32, r ref) []uint32 {
	for at := r.last; at != 0; at = h.chunk(at).before {
		dst = append(dst, at)
	}
	slices.Reverse(dst)
	return dst
}

// filled returns how many rows a chunk has.
func (h *head) filled(at uint32, r ref) int {
	if at == r.last {
		return r.used
	}
	return h.chunk(at).rows
}

// inOrder appends values whose rows stand in order of time, without fills.
func (h *head) inOrder(c *cells, r ref, s selection, room []uint32) {
	for _, k := range h.chunks(room, r) {
		x := h.chunk(k)
		n := h.filled(k, r)
		marks := x.words[x.rows : x.rows+n]
		if n > 0 && marks[n-1]>>1 > s.entry { // marks ascend
			n = sort.Search(n, func(i int) bool { return marks[i]>>1 > s.entry })
		}
		times, values := x.words[:n], x.words[(2+r.field)*x.rows:]
		from := sort.Search(n, func(i int) bool { return int64(times[i]) >= s.from })
		to := from + sort.Search(n-from, func(i int) bool { return int64(times[from+i]) > s.to })
		c.times, c.bits = slices.Grow(c.times, to-from), slices.Grow(c.bits, to-from)
		if s.spans == nil {
			for _, t := range times[from:to] {
				c.times = append(c.times, int64(t))
			}
			c.bits = append(c.bits, values[from:to]...)
			continue
		}
		for i := from; i < to; i++ {
			if !hidden(s.spans, int64(times[i]), marks[i]>>1) {
				c.times, c.bits = append(c.times, int64(times[i])), append(c.bits, values[i])
			}
		}
	}
}

// seriesUntil returns the series that are there after an entry, in any order. The shard must be locked, for reading at
// least.
func (h *head) seriesUntil(entry uint64) (numbers []uint32) {
	for _, last := range h.chains {
		for n := last; n != 0; n = h.series.at(n).next {
			if h.series.at(n).born <= entry {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
}

// fieldsOfSeries appends the numbers of the fields that a series has rows of, each once. The shard must be locked, for
// reading at least.
func (h *head) fieldsOfSeries(dst []uint32, number uint32) []uint32 {
	s := h.series.at(number)
	for _, first := range [...]uint32{s.first, s.more} {
		for n := first; n != 0; n = h.bands.at(n).next {
			dst = append(dst, h.fieldsOf(h.bands.at(n).layout)...)
		}
	}
	slices.Sort(dst)
	return slices.Compact(dst)
}

// all selects all that a frozen head has.
func (h *head) all(spans []span) selection {
	return selection{entry: h.frozenAt, from: math.MinInt64, to: math.MaxInt64, spans: spans}
}
