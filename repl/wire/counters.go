package wire

import "sync/atomic"

// Counters counts frames per type and direction, header included in the bytes, and which
// requests were refused. It may be used by many goroutines.
type Counters struct {
	rows    [typeEnd]counterRow // the first is for types that this version does not have
	refused [typeEnd]refusedRow // the first is for what was no whole request
}

// refusedRow has, for each code, how many requests were refused with it; the first is for codes
// that this version does not have.
type refusedRow [codeEnd]atomic.Uint64

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

// Refused counts requests of type t that were refused with a code.
func (c *Counters) Refused(t Type, code Code, requests int) {
	if !t.Known() {
		t = 0
	}
	if !code.Known() {
		code = 0
	}
	c.refused[t][code].Add(uint64(requests))
}

// EachRefused calls f for each type of request and each code with which some were refused, in
// their order. Type and code are 0 where this version does not have them.
func (c *Counters) EachRefused(f func(t Type, code Code, requests uint64)) {
	for t := range c.refused {
		for code := range c.refused[t] {
			if n := c.refused[t][code].Load(); n > 0 {
				f(Type(t), Code(code), n)
			}
		}
	}
}

// Each calls f for each type of which frames were seen, in their order. The type is 0 for all
// that this version does not have.
func (c *Counters) Each(f func(t Type, row CounterRow)) {
	for t := range c.rows {
		if row := c.rows[t].read(Type(t)); row.In+row.Out > 0 {
			f(Type(t), row)
		}
	}
}

func (r *counterRow) read(t Type) CounterRow {
	row := CounterRow{Name: t.String(), In: r.in.Load(), Out: r.out.Load(), BytesIn: r.bytesIn.Load(), BytesOut: r.bytesOut.Load()}
	if t == 0 {
		row.Name = "unknown"
	}
	return row
}

// Rows returns a row for each type that was seen, in the order of types.
func (c *Counters) Rows() []CounterRow {
	var rows []CounterRow
	c.Each(func(_ Type, row CounterRow) { rows = append(rows, row) })
	return rows
}
