package wire

import "sync/atomic"

// Counters counts frames per type and direction, header included in the bytes.
// It may be used by many goroutines.
type Counters struct {
	rows [typeEnd]counterRow // the first is for types that this version does not have
}

type counterRow struct{ in, out, bytesIn, bytesOut atomic.Uint64 }

func (c *Counters) row(t Type) *counterRow {
	if !t.Known() {
		t = 0
	}
	return &c.rows[t]
}

// In counts a frame that arrived with a body of so many bytes.
func (c *Counters) In(t Type, body int) {
	r := c.row(t)
	r.in.Add(1)
	r.bytesIn.Add(HeaderSize + uint64(body))
}

// Out counts a frame that was sent with a body of so many bytes.
func (c *Counters) Out(t Type, body int) {
	r := c.row(t)
	r.out.Add(1)
	r.bytesOut.Add(HeaderSize + uint64(body))
}

// OutAll counts frames that were sent, of size bytes together, with their headers.
func (c *Counters) OutAll(t Type, frames, size int) {
	r := c.row(t)
	r.out.Add(uint64(frames))
	r.bytesOut.Add(uint64(size))
}

// Rows returns a row for each type that was seen, in the order of types.
func (c *Counters) Rows() []CounterRow {
	var rows []CounterRow
	for t := range c.rows {
		r := &c.rows[t]
		row := CounterRow{Name: Type(t).String(), In: r.in.Load(), Out: r.out.Load(),
			BytesIn: r.bytesIn.Load(), BytesOut: r.bytesOut.Load()}
		if t == 0 {
			row.Name = "unknown"
		}
		if row.In+row.Out > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}
