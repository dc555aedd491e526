package shard

import (
	"bytes"
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// Mode says what becomes of a value where there is one already.
type Mode uint8

const (
	// Write replaces it: the last entry wins.
	Write Mode = iota + 1
	// Fill leaves it. An entry that was taken as a hint fills, since it may come long after what it was written before.
	Fill
)

func (m Mode) String() string {
	switch m {
	case Write:
		return "write"
	case Fill:
		return "fill"
	}
	return "no mode"
}

// Result says what became of the points of a share. Each of them is stored, dropped, deleted or superseded.
type Result struct {
	Stored int
	// Dropped are points with a field that the shard has with another kind, or whose name is too long beside the
	// series' key, and points over a limit. Nothing of such a point is stored, as in InfluxDB.
	Dropped int
	// Over are those of Dropped that are over a limit.
	Over Over
	// Deleted are points of a fill that were deleted since they were taken.
	Deleted int
	// Superseded are points of a fill of which each value was there, in a head: what files have is found by the seal.
	Superseded int
	// Refused says why points were dropped, the first RefusedListed fields of them.
	Refused []Refused
}

// RefusedListed is how many fields of dropped points a result names.
const RefusedListed = 8

// Over are numbers of points that are over limits of a database.
type Over struct {
	Series int // their series would be one too many
	Values int // a tag of theirs would have too many values
	Fields int // their measurement would have too many fields
}

// Refused is why points were dropped: a field, or a series that is over a limit.
type Refused struct {
	Measurement, Field string // as they are; no field if the series is over a limit
	// Reason is FieldTypeConflict with the kinds, KeyTooLong, TooManyFields, TooManySeries or TooManyValues.
	Reason points.Error
	// Tag is the tag of the series that has the most values, so that it grows, or too many of them; Values is how many. Of TooManyFields
	// Values is how many fields the measurement has. Limit is what the shard may have of what is too many.
	Tag           string
	Values, Limit uint32
}

// applied is what an entry needs while it is applied. Its lists are used again.
type applied struct {
	limits  points.Limits // of the next entries
	result  Result
	mark    uint64
	entry   uint64
	taken   uint64  // the index in the log when the points were taken; forever: now
	spans   []span  // scratch
	fields  []known // by number in the batch
	columns []incoming
	ids     []uint32
	values  [][]uint64
	text    [][]uint64 // rooms for strings, of which values has some
}

// known is what was found out of a field of a batch.
type known struct {
	field   uint32
	refused bool // it has another kind
	full    bool // the measurement has as many as it may
	asked   bool
}

// incoming is a column of a series.
type incoming struct {
	column points.Column
	times  []int64
	bits   []uint64
	field  uint32 // 0: it has no number yet
}

// Apply takes the points of a share. The same shares in the same order make the same state, however they are cut;
// but for what the result lists.
func (s *Shard) Apply(b *points.Batch, mode Mode) Result { return s.apply(b, mode, forever) }

// Fill takes the points of a share that was taken as a hint when the group's log had reached an index. Points that
// were deleted since are left out. The error is a [ForgottenError]; nothing has changed then.
func (s *Shard) Fill(b *points.Batch, taken uint64) (Result, error) {
	if taken < s.forgotten {
		return Result{}, &ForgottenError{taken, s.forgotten}
	}
	return s.apply(b, Fill, taken), nil
}

func (s *Shard) apply(b *points.Batch, mode Mode, taken uint64) Result {
	if mode != Write && mode != Fill {
		panic("shard: apply with " + mode.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entry++
	a := &s.applied
	a.result, a.entry, a.mark, a.taken = Result{}, s.entry, s.entry<<1, taken
	if mode == Fill {
		a.mark |= 1
	}
	a.fields = slices.Grow(a.fields[:0], b.Names())[:b.Names()]
	clear(a.fields)
	for x := range b.Series() {
		s.applySeries(a, x)
	}
	r := &a.result
	r.Stored = max(0, b.Points()-r.Dropped-r.Deleted-r.Superseded)
	return *r
}

func (s *Shard) applySeries(a *applied, x points.SeriesColumns) {
	key := x.Key()
	h := s.head
	hash := h.hash(key)
	number := h.find(hash, key)
	measurement := uint32(0)
	if number != 0 {
		measurement = h.series.at(number).measurement
	} else {
		measurement = s.schema.measurement(points.MeasurementOf(key))
	}
	if !s.collect(a, key, measurement, x) {
		s.dropRefused(a, key, measurement)
	}
	if a.taken != forever {
		if a.spans = s.deletedSince(a.spans[:0], key, a.taken); len(a.spans) > 0 {
			var gone []int64
			for _, c := range a.columns {
				gone = append(gone, slices.DeleteFunc(slices.Clone(c.times), func(t int64) bool { return !hidden(a.spans, t, 0) })...)
			}
			a.result.Deleted += a.without(gone)
		}
	}
	if len(a.columns) == 0 {
		return
	}
	// A series of the head is counted, unless a delete has taken it out since.
	isNew := number == 0 || h.series.at(number).born <= s.census.cut
	if isNew = isNew && !s.census.has(measurement, key); isNew && s.tooMany(a, measurement, key) {
		return
	}
	if a.mark&1 != 0 {
		a.result.Superseded += s.superseded(key, a.columns)
	}
	if measurement == 0 {
		measurement = s.schema.addMeasurement(points.MeasurementOf(key))
	}
	if isNew {
		s.census.add(measurement, key)
	}
	if number == 0 {
		number = h.addSeries(hash, key, measurement, a.entry)
	}
	for i := range a.columns {
		if c := &a.columns[i]; c.field == 0 {
			c.field = s.schema.addField(measurement, c.column.Name, c.column.Kind, a.entry)
			a.fields[c.column.Field].field = c.field
		}
	}
	for from := 0; from < len(a.columns); {
		to := from + 1
		for to < len(a.columns) && to-from < bandFields && sameTimes(a.columns[from].times, a.columns[to].times) {
			to++
		}
		s.appendRows(a, number, a.columns[from:to])
		from = to
	}
}

// tooMany reports whether a new series is over a limit, and drops its points.
func (s *Shard) tooMany(a *applied, measurement uint32, key []byte) bool {
	if a.limits == (points.Limits{}) {
		return false
	}
	r := s.census.over(&a.limits, measurement, key)
	if r.Reason.None() {
		return false
	}
	var gone []int64
	for _, c := range a.columns {
		gone = append(gone, c.times...)
	}
	n := a.without(gone)
	a.result.Dropped += n
	if r.Reason.Reason == points.TooManyValues {
		a.result.Over.Values += n
	} else {
		a.result.Over.Series += n
	}
	a.refuse(r)
	return true
}

// refuse notes why points are dropped.
func (a *applied) refuse(r Refused) {
	if len(a.result.Refused) < RefusedListed && !slices.Contains(a.result.Refused, r) {
		a.result.Refused = append(a.result.Refused, r)
	}
}

// sameTimes reports whether two lists are equal. Those that a reader of shares made are one list then.
func sameTimes(a, b []int64) bool {
	return len(a) == len(b) && (&a[0] == &b[0] || slices.Equal(a, b))
}

// collect finds the fields of a series' columns. It reports whether none is refused.
func (s *Shard) collect(a *applied, key []byte, measurement uint32, x points.SeriesColumns) (ok bool) {
	a.columns, ok = a.columns[:0], true
	more := s.schema.counts(measurement) // fields with those that this series brings
	for c := range x.Columns() {
		k := &a.fields[c.Field]
		if !k.asked || k.field == 0 {
			k.asked = true
			if measurement != 0 {
				k.field = s.schema.aliveField(measurement, c.Name, a.entry)
			}
			k.refused = k.field != 0 && s.schema.fields[k.field].kind != c.Kind
			if k.full = k.field == 0 && a.limits.Fields > 0 && more >= a.limits.Fields; k.field == 0 {
				more++
			}
		}
		if k.refused || k.full || len(key)+len(c.Name) > block.KeyMax {
			ok = false
		}
		a.columns = append(a.columns, incoming{column: c, times: c.Times, bits: c.Bits(), field: k.field})
	}
	return ok
}

// dropRefused takes out of the columns all points that have a value of a refused field.
func (s *Shard) dropRefused(a *applied, key []byte, measurement uint32) {
	var gone, over []int64
	for _, c := range a.columns {
		reason, has, limit := points.Refuse(points.KeyTooLong, nil), uint32(0), uint32(0)
		switch k := a.fields[c.column.Field]; {
		case k.refused:
			reason = points.Refuse(points.FieldTypeConflict, c.column.Name)
			reason.Kind, reason.Had = c.column.Kind, s.schema.fields[k.field].kind
		case len(key)+len(c.column.Name) > block.KeyMax:
		case k.full:
			reason = points.Refuse(points.TooManyFields, nil)
			has, limit = s.schema.counts(measurement), a.limits.Fields
		default:
			continue
		}
		if limit > 0 {
			over = append(over, c.times...)
		} else {
			gone = append(gone, c.times...)
		}
		a.refuse(Refused{Measurement: points.ParseMeasurement(points.MeasurementOf(key)), Field: points.ParseName(c.column.Name), Reason: reason, Values: has, Limit: limit})
	}
	slices.Sort(gone)
	gone = slices.Compact(gone)
	a.result.Dropped += a.without(gone)
	n := a.without(slices.DeleteFunc(over, func(t int64) bool { _, found := slices.BinarySearch(gone, t); return found }))
	a.result.Dropped += n
	a.result.Over.Fields += n
}

// without takes all points of some times out of the columns, and returns how many there are.
func (a *applied) without(gone []int64) int {
	slices.Sort(gone)
	gone = slices.Compact(gone)
	kept := a.columns[:0]
	for _, c := range a.columns {
		var times []int64
		var bits []uint64
		for i, t := range c.times {
			if _, found := slices.BinarySearch(gone, t); !found {
				times, bits = append(times, t), append(bits, c.bits[i])
			}
		}
		if len(times) > 0 {
			c.times, c.bits = times, bits
			kept = append(kept, c)
		}
	}
	a.columns = kept
	return len(gone)
}

// appendRows appends columns with one list of times.
func (s *Shard) appendRows(a *applied, number uint32, columns []incoming) {
	h := s.head
	a.ids = a.ids[:0]
	for i := range columns {
		a.ids = append(a.ids, columns[i].field)
	}
	x := h.series.at(number)
	// Most series of a share have the layout that is the last of their own.
	n, full := x.first, false
	if n == 0 || !equal(h.fieldsOf(h.bands.at(n).layout), a.ids) {
		layout := h.layout(a.ids)
		if n, full = h.chained(x, layout); n == 0 && !full {
			n = h.addBand(x, layout)
		}
	}
	if !full {
		h.append(n, columns[0].times, s.rowValues(a, n, columns), a.mark)
		return
	}
	for i := range columns {
		layout := h.layout(a.ids[i : i+1])
		n := h.single(number, layout)
		if n == 0 {
			n = h.addSingle(number, layout)
		}
		h.append(n, columns[i].times, s.rowValues(a, n, columns[i:i+1]), a.mark)
	}
}

// rowValues returns the values of columns, with their strings in the head.
func (s *Shard) rowValues(a *applied, band uint32, columns []incoming) [][]uint64 {
	a.values = a.values[:0]
	strings := 0
	for i := range columns {
		c := &columns[i]
		if c.column.Kind != column.String {
			a.values = append(a.values, c.bits)
			continue
		}
		if strings == len(a.text) {
			a.text = append(a.text, nil)
		}
		room := a.text[strings][:0]
		before := s.head.lastValue(band, i)
		for _, bits := range c.bits {
			before = s.head.keepString(c.column.Text(bits), before)
			room = append(room, before)
		}
		a.text[strings] = room
		strings++
		a.values = append(a.values, room)
	}
	return a.values
}

// superseded counts the points of a fill of which each value is there in a head.
func (s *Shard) superseded(key []byte, columns []incoming) (n int) {
	isNew := map[int64]bool{} // of each time: whether a value of it is
	var found cells
	for _, c := range columns {
		first, last := c.times[0], c.times[len(c.times)-1]
		there := map[int64]bool{}
		for _, h := range s.heads() {
			found.reset()
			h.resolve(&found, h.refs(nil, key, c.field), selection{entry: s.entry - 1, from: first, to: last, spans: hides(nil, s.tombstones, key, h.generation, ofHead)})
			for _, t := range found.times {
				there[t] = true
			}
		}
		for _, t := range c.times {
			isNew[t] = isNew[t] || !there[t]
		}
	}
	for _, v := range isNew { // counted, so that the order of the map does not matter
		if !v {
			n++
		}
	}
	return n
}

// contains reports whether a key is one of a measurement.
func contains(measurement, key []byte) bool {
	return bytes.HasPrefix(key, measurement) && (len(key) == len(measurement) || key[len(measurement)] == ',')
}
