package block

import (
	"fmt"
	"math"

	"muster/shardmap/points/column"
)

// Cursor goes through blocks in their order. One goroutine at a time may use it.
//
//	c := r.Prefix(prefix)
//	for c.Next() {
//		row := c.Row()            // what the index has: no column was read
//		err := c.Read(&block)     // where the row is wanted
//	}
//	return c.Err()
type Cursor struct {
	x             *Reader
	series, field []byte // where it begins
	behind        func(*Row) bool
	err           error
	done          bool

	section int // the next one to read
	page    page
	rows    int // of the page that are still to come
	row     Row
	begun   bool
	last    Row // the row before; its keys are copies

	timesOf      part // which column is in times; the zero part: none
	times        []int64
	timesColumn  []byte // the columns of the block that was read last, before zstd
	valuesColumn []byte

	stands, raw, pageRaw []byte // scratch
}

// Next goes to the next block and reports whether there is one. It reads at most a page.
func (c *Cursor) Next() bool {
	for !c.done {
		if c.rows == 0 && !c.nextPage() {
			break
		}
		if !c.nextRow() {
			break
		}
		if compare(c.row.Series, c.row.Field, c.series, c.field) < 0 {
			continue
		}
		if c.behind(&c.row) {
			break
		}
		return true
	}
	c.done = true
	return false
}

// Row is what the index has of the block, good until the next call of Next.
func (c *Cursor) Row() *Row { return &c.row }

// Err is what ended the cursor before its end, if something did: a [DamageError], or an error of the file.
func (c *Cursor) Err() error { return c.err }

// damaged ends the cursor.
func (c *Cursor) damaged(offset int64, format string, args ...any) bool {
	c.err = &DamageError{Offset: offset, What: fmt.Sprintf(format, args...)}
	return false
}

func (c *Cursor) nextPage() bool {
	if c.section == len(c.x.sections) {
		return false
	}
	s := &c.x.sections[c.section]
	b, stands, err := c.x.part(&s.page, c.stands, c.pageRaw, "the page")
	if c.stands = stands; err != nil {
		c.err = err
		return false
	}
	c.pageRaw = append(c.pageRaw[:0], b...) // the scratch is needed for columns
	c.page = page{fields: fields{b: c.pageRaw}, series: c.page.series[:0], here: s.columns}
	c.rows = s.rows
	c.section++
	return true
}

// nextRow reads the next row of the page, and holds it to the one before.
func (c *Cursor) nextRow() bool {
	s := &c.x.sections[c.section-1]
	first := c.rows == s.rows
	c.rows--
	c.page.next(&c.row)
	number := s.rows - c.rows - 1
	switch {
	case c.page.what != "":
		return c.damaged(s.page.offset, "row %d of the page: %s", number, c.page.what)
	case first && compare(c.row.Series, c.row.Field, s.series, s.field) != 0:
		return c.damaged(s.page.offset, "the page does not begin with the row of which the directory tells")
	case c.page.here > s.page.offset:
		return c.damaged(s.page.offset, "row %d of the page: its columns reach to byte %d, behind the page", number, c.page.here)
	case c.rows == 0 && (c.page.here != s.page.offset || len(c.page.b) > 0):
		return c.damaged(s.page.offset, "its columns end at byte %d and not at the page, or %d bytes stand behind its last row", c.page.here, len(c.page.b))
	}
	if c.begun {
		order := compare(c.last.Series, c.last.Field, c.row.Series, c.row.Field)
		if order > 0 || order == 0 && (c.row.First <= c.last.Last || c.row.Kind != c.last.Kind) {
			return c.damaged(s.page.offset, "row %d of the page is not behind the row before, or of another kind in its field", number)
		}
	}
	c.begun = true
	// The keys of the row are part of the page, which the next one may take the room of.
	c.last.Series, c.last.Field = append(c.last.Series[:0], c.row.Series...), append(c.last.Field[:0], c.row.Field...)
	c.last.Kind, c.last.Last = c.row.Kind, c.row.Last
	return true
}

// Read reads the block of the row into b, whose memory it uses. Its errors are those of [Cursor.Err]; the cursor goes
// on behind them.
func (c *Cursor) Read(b *Block) error {
	if err := c.readTimes(); err != nil {
		return c.ofBlock(err)
	}
	values, err := c.part(&c.row.values, "the column of values")
	if c.valuesColumn = values; err != nil {
		return c.ofBlock(err)
	}
	rest, err := b.Values.Read(values, c.row.Kind, c.row.Points)
	if err != nil || len(rest) > 0 || b.Values.Len() != c.row.Points {
		return c.ofBlock(&DamageError{Offset: c.row.values.offset, What: fmt.Sprintf("%d values are due, %d are there, and %d bytes behind them: %v", c.row.Points, b.Values.Len(), len(rest), err)})
	}
	b.Series, b.Field = append(b.Series[:0], c.row.Series...), append(b.Field[:0], c.row.Field...)
	b.Times = append(b.Times[:0], c.times...)
	return nil
}

// part reads a part into the scratch of columns.
func (c *Cursor) part(p *part, what string) ([]byte, error) {
	b, stands, err := c.x.part(p, c.stands, c.raw, what)
	if c.stands = stands; err == nil && p.stands != p.raw {
		c.raw = b
	}
	return b, err
}

// readTimes has the times of the row in c.times. If the block before has the same ones, they are there already.
func (c *Cursor) readTimes() error {
	row := &c.row
	if c.timesOf != row.times {
		c.timesOf = part{}
		b, err := c.part(&row.times, "the column of times")
		if err != nil {
			return err
		}
		var rest []byte
		if c.times, rest, err = column.ReadTimes(b, c.times[:0], PointsMax); err != nil || len(rest) > 0 {
			return &DamageError{Offset: row.times.offset, What: fmt.Sprintf("the column of times can't be read, or %d bytes stand behind it: %v", len(rest), err)}
		}
		c.timesColumn, c.timesOf = append(c.timesColumn[:0], b...), row.times
	}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	if n := len(c.times); n > 0 {
		first, last = c.times[0], c.times[n-1]
	}
	if len(c.times) != row.Points || first != row.First || last != row.Last {
		return &DamageError{Offset: row.times.offset, What: fmt.Sprintf("the index tells of %d times from %d to %d, the column has %d from %d to %d", row.Points, row.First, row.Last, len(c.times), first, last)}
	}
	return nil
}

// ofBlock says of an error to which block it belongs.
func (c *Cursor) ofBlock(err error) error {
	if d, ok := err.(*DamageError); ok {
		d.Series, d.Field = string(c.row.Series), string(c.row.Field)
	}
	return err
}
