package points

import "muster/shardmap/points/column"

// Collector makes a share of columns that are there already, as a snapshot has them. It is for one goroutine, and can
// be used again. Unlike a [Builder] it checks nothing.
type Collector struct {
	batch Batch
	names map[string]uint32 // measurement as it is written, 0, and name
	name  []byte            // scratch
}

// Reset takes out all columns. A share that the collector made is no longer valid.
func (c *Collector) Reset() {
	x := &c.batch
	*x = Batch{text: x.text[:0], keys: x.keys[:0], names: x.names[:0], rows: x.rows[:0], extents: x.extents[:0], times: x.times[:0], bits: x.bits[:0]}
	if c.names == nil {
		c.names = map[string]uint32{}
	}
	clear(c.names)
}

// Values returns how many values were collected.
func (c *Collector) Values() int { return len(c.batch.bits) }

// Text returns how many bytes of keys, names and strings were collected.
func (c *Collector) Text() int { return len(c.batch.text) }

// Add adds a column. Columns of a series follow each other; name is as it is written, text is of a column of kind
// [column.String] and returns a string of which bits are given.
func (c *Collector) Add(key, name []byte, k column.Kind, times []int64, bits []uint64, text func(uint64) []byte) {
	x := &c.batch
	if n := len(x.keys); n == 0 || string(x.keys[n-1].in(x.text)) != string(key) {
		x.keys = append(x.keys, entry{from: uint32(len(x.text)), length: uint16(len(key))})
		x.text = append(x.text, key...)
		x.rows = append(x.rows, row{key: uint32(n)})
	}
	c.name = append(append(append(c.name[:0], MeasurementOf(key)...), 0), name...)
	n, ok := c.names[string(c.name)]
	if !ok {
		n = uint32(len(x.names))
		c.names[string(c.name)] = n
		x.names = append(x.names, entry{from: uint32(len(x.text)), length: uint16(len(name)), kind: k})
		x.text = append(x.text, name...)
	}
	from := uint32(len(x.bits))
	x.extents = append(x.extents, extent{name: n, from: from, to: from + uint32(len(times)), times: uint32(len(x.times))})
	x.times = append(x.times, times...)
	if k == column.String {
		for _, v := range bits {
			s := text(v)
			x.bits = append(x.bits, uint64(len(x.text))<<32|uint64(len(s)))
			x.text = append(x.text, s...)
		}
	} else {
		x.bits = append(x.bits, bits...)
	}
	x.rows[len(x.rows)-1].end = uint32(len(x.extents))
}

// Share returns a share of what was collected; its points count one for each series.
func (c *Collector) Share() Share {
	c.batch.points = len(c.batch.rows)
	return Share{Batch: c.batch}
}
