package rows

import "muster/shardmap/points"

// The bounds of a chunk.
const (
	// ChunkRows is how many rows a chunk has if the request names no number; InfluxDB's default.
	ChunkRows = 10_000
	// ChunkValuesMax bounds the values of a chunk, whatever number of rows was asked for: some 10 MB in memory. A
	// chunk has at least one row.
	ChunkValuesMax = 1 << 18
)

// Chunks cuts the series of one statement into results, as InfluxDB does: each result has rows of one series, at most
// as many as were asked for, and all but the last one are [Result.Partial].
//
// It holds one chunk back, for the flags of a chunk tell what follows it.
type Chunks struct {
	statement int
	rows      int
	emit      func(Result) error

	held Series
	some bool // held is one
	goes bool // the series that was added last goes on
}

// NewChunks returns a cutter for the statement of a number. A rows below 1 is [ChunkRows]. The results that emit gets
// are its own to keep.
func NewChunks(statement, rows int, emit func(Result) error) *Chunks {
	if rows < 1 {
		rows = ChunkRows
	}
	return &Chunks{statement: statement, rows: rows, emit: emit}
}

// Add takes a series, or a part of one if [Series.Partial] is set. Its values are copied. The error is that of emit.
func (c *Chunks) Add(s Series) error {
	if c.goes && !s.continues(&c.held) {
		panic("rows: a series is added while another one goes on")
	}
	from := 0
	if !c.goes {
		if err := c.give(false); err != nil {
			return err
		}
		c.begin(&s)
	}
	most := c.most(&s)
	for from < s.Len() {
		if c.held.Len() == most {
			if err := c.give(true); err != nil {
				return err
			}
			c.begin(&s)
		}
		to := min(s.Len(), from+most-c.held.Len())
		n := len(s.Columns)
		c.held.Values = append(c.held.Values, s.Values[from*n:to*n]...)
		from = to
	}
	c.goes = s.Partial
	return nil
}

// End gives what is held, and with it the messages of the statement or why it ended early. A statement that has
// answered nothing has one empty result.
func (c *Chunks) End(messages []Message, err error) error {
	if err != nil {
		if c.some {
			if err := c.give(c.goes); err != nil {
				return err
			}
		}
		return c.emit(Result{Statement: c.statement, Messages: messages, Err: err})
	}
	last := Result{Statement: c.statement, Messages: messages}
	if c.some {
		c.held.Partial = false
		last.Series = []Series{c.held}
	}
	c.some, c.held = false, Series{}
	return c.emit(last)
}

// most returns how many rows a chunk of the series may have.
func (c *Chunks) most(s *Series) int {
	return max(1, min(c.rows, ChunkValuesMax/max(1, len(s.Columns))))
}

// begin starts a chunk of a series.
func (c *Chunks) begin(s *Series) {
	room := min(len(s.Values), c.most(s)*len(s.Columns))
	c.held, c.some = *s, true
	c.held.Values = make([]points.Value, 0, room)
}

// give emits the chunk that is held; more reports whether the series goes on behind it.
func (c *Chunks) give(more bool) error {
	if !c.some {
		return nil
	}
	c.held.Partial = more
	r := Result{Statement: c.statement, Series: []Series{c.held}, Partial: true}
	c.some = false
	return c.emit(r)
}
