package influx

import (
	"fmt"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/points/rows"
)

// Muster is muster's executor over points in memory.
type Muster struct {
	shards  []query.Shard
	windows []points.Window // of each of them
}

// Load returns an executor with the points of some data, in windows of three shards.
func Load(d *Data) (*Muster, error) {
	m := &Muster{}
	for begin := d.Begin; begin < d.Begin+Windows*int64(Window); begin += int64(Window) {
		in := points.WindowOf(begin, Window)
		var text []byte
		for _, w := range d.Writes {
			var some []points.Point
			for _, p := range w {
				if in.Contains(p.Time) {
					some = append(some, p)
				}
			}
			lines, err := Lines(some)
			if err != nil {
				return nil, err
			}
			text = append(text, lines...)
		}
		batch, err := querytest.Parse(string(text))
		if err != nil {
			return nil, err
		}
		for _, s := range querytest.Shards(batch, Window, 3) {
			m.shards, m.windows = append(m.shards, s), append(m.windows, in)
		}
	}
	return m, nil
}

// Query implements [Answerer].
func (m *Muster) Query(text string, now time.Time) (series []rows.Series, err error) {
	from, to, err := span(text, now)
	if err != nil {
		return nil, err
	}
	var asked []query.Shard
	for i, s := range m.shards {
		if m.windows[i].First <= to && m.windows[i].Last >= from {
			asked = append(asked, s)
		}
	}
	return querytest.Run(text, now.UnixNano(), asked)
}

// span returns the times that a query asks for: shards of other windows are not looked at, as in InfluxDB.
func span(text string, now time.Time) (from, to int64, err error) {
	statements, err := query.Parse(text, nil)
	if err != nil {
		return 0, 0, err
	}
	of, ok := statements[0].(*influxql.SelectStatement)
	if !ok {
		return 0, 0, fmt.Errorf("%q is no SELECT", text)
	}
	q, err := query.Compile(of, now.UnixNano())
	if err != nil {
		return 0, 0, err
	}
	from, to = q.Span()
	return from, to, nil
}
