package rows

import (
	"fmt"
	"io"
	"strconv"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// JSON writes an answer as JSON:
//
//	{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[0,1]]}]}]}
//
// Parts of a statement become one result, parts of a series one series; [ChunkedJSON] keeps them apart. A series or
// a result that was announced to go on, and did not, has "partial":true.
//
// JSON has no number for infinity, nor for what is not a number. Such a value is written as null, and a message of the
// statement counts them; InfluxDB answers nothing but an error instead.
type JSON struct {
	jsonText
	epoch Epoch
	order order

	begun  bool // a result was there
	result bool // one is open
	list   bool // its list of series is open
	series bool // the last of them is open
	rows   bool // its list of rows is open
	goes   bool // it was announced to go on

	messages []Message // of the open result
	lost     int       // values of it that JSON has no number for
	err      error     // of it
}

// NewJSON returns a writer of one answer.
func NewJSON(w io.Writer, layout Layout, epoch Epoch) *JSON {
	return &JSON{jsonText: jsonText{text: text{w: w}, layout: layout}, epoch: epoch}
}

// Write writes a result. An error is that of the writer below, and comes again with each call.
func (j *JSON) Write(r Result) error {
	if !j.order.next(&r) {
		j.endResult(false)
		j.beginResult(r.Statement)
	}
	for i := range r.Series {
		j.write(&r.Series[i])
	}
	j.messages = append(j.messages, r.Messages...)
	if r.Err != nil {
		j.err = r.Err
	}
	return j.text.err
}

// Close ends the answer with a newline. An answer without a result is an empty object.
func (j *JSON) Close() error {
	j.endResult(j.order.open)
	if j.begun {
		j.close(']')
	} else {
		j.open('{')
	}
	j.close('}')
	j.buf = append(j.buf, '\n')
	j.flush()
	return j.text.err
}

func (j *JSON) beginResult(statement int) {
	if !j.begun {
		j.open('{')
		j.key("results")
		j.open('[')
	}
	j.begun, j.result = true, true
	j.open('{')
	j.key("statement_id")
	j.integer(int64(statement))
}

// endResult closes the open result, if there is one. If it is partial, more of it should have come.
func (j *JSON) endResult(partial bool) {
	if !j.result {
		return
	}
	j.endSeries()
	if j.list {
		j.close(']')
	}
	if j.lost > 0 {
		j.messages = append(j.messages, Message{Warning, fmt.Sprintf(
			"values written as null because JSON has no number for them (infinite, or not a number): %d; CSV has words for them", j.lost)})
	}
	if len(j.messages) > 0 {
		j.key("messages")
		j.open('[')
		for _, m := range j.messages {
			j.open('{')
			j.key("level")
			j.string(m.Level)
			j.key("text")
			j.string(m.Text)
			j.close('}')
		}
		j.close(']')
	}
	if partial {
		j.key("partial")
		j.raw("true")
	}
	if j.err != nil {
		j.key("error")
		j.string(j.err.Error())
	}
	j.close('}')
	j.result, j.list, j.messages, j.lost, j.err = false, false, nil, 0, nil
}

// write writes a series, or goes on with the open one.
func (j *JSON) write(s *Series) {
	if !j.order.series(s) {
		j.endSeries()
		j.beginSeries(s)
	}
	j.goes = s.Partial
	if s.Len() > 0 && !j.rows {
		j.key("values")
		j.open('[')
		j.rows = true
	}
	for i := range s.Len() {
		j.open('[')
		for at, v := range s.Row(i) {
			if at == 0 && s.Timed {
				j.time(v, s)
			} else {
				j.value(v)
			}
		}
		j.close(']')
		j.spill()
	}
}

// beginSeries writes what stands before the rows of a series.
func (j *JSON) beginSeries(s *Series) {
	if !j.list {
		j.key("series")
		j.open('[')
		j.list = true
	}
	j.open('{')
	j.series = true
	if s.Name != "" {
		j.key("name")
		j.string(s.Name)
	}
	if len(s.Tags) > 0 {
		j.key("tags")
		j.open('{')
		for _, t := range s.Tags {
			j.key(t.Name)
			j.string(t.Value)
		}
		j.close('}')
	}
	if len(s.Columns) > 0 {
		j.key("columns")
		j.open('[')
		for _, c := range s.Columns {
			j.string(c)
		}
		j.close(']')
	}
}

// endSeries closes the open series, if there is one.
func (j *JSON) endSeries() {
	if !j.series {
		return
	}
	if j.rows {
		j.close(']')
	}
	if j.goes {
		j.key("partial")
		j.raw("true")
	}
	j.close('}')
	j.series, j.rows, j.goes = false, false, false
}

// time writes the time of a row.
func (j *JSON) time(v points.Value, s *Series) {
	if v.Kind != column.Integer {
		j.value(v)
		return
	}
	if j.epoch != RFC3339 {
		j.integer(v.Integer() / int64(j.epoch))
		return
	}
	j.before()
	j.buf = append(appendTime(append(j.buf, '"'), v.Integer(), s.Location), '"')
}

func (j *JSON) value(v points.Value) {
	switch v.Kind {
	case column.Float:
		f := v.Float()
		if !finite(f) {
			j.lost++
			j.raw("null")
			return
		}
		j.before()
		j.buf = appendFloat(j.buf, f)
	case column.Integer:
		j.integer(v.Integer())
	case column.Unsigned:
		j.before()
		j.buf = strconv.AppendUint(j.buf, v.Unsigned(), 10)
	case column.Boolean:
		j.raw(strconv.FormatBool(v.Boolean()))
	case column.String:
		j.string(v.Text())
	default:
		j.raw("null")
	}
}

// ChunkedJSON writes each result as an answer of its own, in a line of its own unless the layout is [Pretty], and
// hands it on at once.
type ChunkedJSON struct {
	text   text
	layout Layout
	epoch  Epoch
	order  order
}

// NewChunkedJSON returns a writer of one answer.
func NewChunkedJSON(w io.Writer, layout Layout, epoch Epoch) *ChunkedJSON {
	return &ChunkedJSON{text: text{w: w}, layout: layout, epoch: epoch}
}

// Write writes a result. An error is that of the writer below, and comes again with each call.
func (c *ChunkedJSON) Write(r Result) error {
	c.order.next(&r)
	for i := range r.Series {
		c.order.series(&r.Series[i])
	}
	j := JSON{jsonText: jsonText{text: c.text, layout: c.layout}, epoch: c.epoch}
	j.Write(r)
	j.Close()
	c.text = j.text
	return c.text.err
}

// Close returns the error of the writer below, if there was one. Each result is a whole answer, so nothing is missing.
func (c *ChunkedJSON) Close() error { return c.text.err }
