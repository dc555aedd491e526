package rows

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// CSV writes an answer as comma-separated values: a head of the columns name, tags and those of the series, then the
// rows. Where the statement or the columns change, an empty line and a new head come. The tags of a group stand in
// one column as in the key of a series, host=a,region=eu. Times are numbers, in nanoseconds if no epoch is asked
// for. Null is an empty column.
//
// A statement without rows leaves nothing, and messages are left out. A statement that ends with an error has a head
// of the one column error, with the error below; InfluxDB leaves that out, too, so that its client can't tell it from
// an empty answer.
type CSV struct {
	text    text
	w       *csv.Writer
	epoch   Epoch
	order   order
	begun   bool     // a head was written
	fresh   bool     // the next series needs a head
	columns []string // of the last head
	record  []string
}

// NewCSV returns a writer of one answer.
func NewCSV(w io.Writer, epoch Epoch) *CSV {
	c := &CSV{text: text{w: w}, epoch: max(epoch, Nanoseconds)}
	c.w = csv.NewWriter(&c.text)
	return c
}

// Write writes a result. An error is that of the writer below, and comes again with each call.
func (c *CSV) Write(r Result) error {
	if !c.order.next(&r) {
		c.fresh = true
	}
	for i := range r.Series {
		s := &r.Series[i]
		c.order.series(s)
		c.series(s)
	}
	if r.Err != nil {
		c.head("error")
		c.w.Write([]string{r.Err.Error()})
		c.columns = nil
	}
	return c.text.err
}

// Close hands on what has gathered.
func (c *CSV) Close() error {
	c.w.Flush()
	c.text.flush()
	return c.text.err
}

func (c *CSV) series(s *Series) {
	if c.fresh || !slices.Equal(c.columns, s.Columns) {
		c.head(append([]string{"name", "tags"}, s.Columns...)...)
		c.columns, c.fresh = s.Columns, false
	}
	c.record = append(c.record[:0], s.Name, tagsOf(s.Tags))
	for i := range s.Len() {
		c.record = c.record[:2]
		for at, v := range s.Row(i) {
			c.record = append(c.record, c.field(v, at == 0 && s.Timed))
		}
		c.w.Write(c.record)
	}
}

// head writes the names of columns, behind an empty line if it is not the first one.
func (c *CSV) head(names ...string) {
	if c.begun {
		c.w.Flush()
		c.text.Write([]byte{'\n'})
	}
	c.begun = true
	c.w.Write(names)
}

func (c *CSV) field(v points.Value, timed bool) string {
	switch v.Kind {
	case column.Float:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case column.Integer:
		if timed {
			return strconv.FormatInt(v.Integer()/int64(c.epoch), 10)
		}
		return strconv.FormatInt(v.Integer(), 10)
	case column.Unsigned:
		return strconv.FormatUint(v.Unsigned(), 10)
	case column.Boolean:
		return strconv.FormatBool(v.Boolean())
	case column.String:
		return v.Text()
	}
	return ""
}

// tagsOf returns the tags of a group as they stand in the key of a series; those without a value are left out.
func tagsOf(tags []points.Tag) string {
	var key []byte
	for _, t := range tags {
		if t.Value != "" {
			key = points.AppendTag(key, []byte(t.Name), []byte(t.Value))
		}
	}
	return strings.TrimPrefix(string(key), ",")
}
