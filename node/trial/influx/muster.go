package influx

import (
	"bytes"
	"fmt"
	"iter"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/points/rows"
	"muster/shardmap/points/shard"
)

// windowShards is how many shards a window has here.
const windowShards = 3

// Muster is muster's executor over shards as groups hold them: each has a block file, a frozen head and a head, one for
// each write of the data. The second file of each second shard has the first one merged into it.
type Muster struct {
	shards []*shard.Shard
	files  map[block.Sum][]byte
}

// Load returns an executor with the points of some data.
func Load(d *Data) (*Muster, error) {
	m := &Muster{files: map[block.Sum][]byte{}}
	for begin := d.Begin; begin < d.Begin+Windows*int64(Window); begin += int64(Window) {
		in := points.WindowOf(begin, Window)
		of := make([]*shard.Shard, windowShards)
		for n := range of {
			of[n] = shard.New(in)
		}
		for i, w := range d.Writes {
			if err := m.write(of, w, in); err != nil {
				return nil, err
			}
			for n, s := range of {
				if err := m.settle(s, i, n%2); err != nil {
					return nil, err
				}
			}
		}
		m.shards = append(m.shards, of...)
	}
	return m, nil
}

// write writes what of a write is in a window, through the bytes that entries carry.
func (m *Muster) write(of []*shard.Shard, write []points.Point, in points.Window) error {
	var some []points.Point
	for _, p := range write {
		if in.Contains(p.Time) {
			some = append(some, p)
		}
	}
	text, err := Lines(some)
	if err != nil {
		return err
	}
	batch, err := querytest.Parse(string(text))
	if err != nil {
		return err
	}
	for _, share := range points.Split(batch, points.Every(Window, windowShards)) {
		entry, err := new(points.ShareReader).Read(share.Append(nil), in)
		if err != nil {
			return err
		}
		if done := of[share.Shard].Apply(entry, shard.Write); done.Dropped > 0 {
			return fmt.Errorf("%d points of a share are dropped: %v", done.Dropped, done.Refused)
		}
	}
	return nil
}

// settle freezes the head of a shard behind all writes but the last one, and makes a file of the first head, and, where
// merged is 1, of the second one with that file.
func (m *Muster) settle(s *shard.Shard, write, merged int) error {
	if write > 1 {
		return nil
	}
	generation := s.Freeze()
	if write > merged {
		return nil
	}
	var file bytes.Buffer
	w, err := block.NewWriter(&file)
	if err != nil {
		return err
	}
	if _, err := s.View().Seal(w, generation, write, m.open); err != nil {
		return err
	}
	info, err := w.Finish()
	if err != nil {
		return err
	}
	m.files[info.Sum] = file.Bytes()
	_, err = s.Confirm(generation, shard.File{Sum: info.Sum, Size: info.Size, Values: info.Values, First: info.First, Last: info.Last}, write)
	return err
}

func (m *Muster) open(sum block.Sum) (*block.Reader, error) {
	file, ok := m.files[sum]
	if !ok {
		return nil, fmt.Errorf("there is no file %v", sum)
	}
	return block.Open(bytes.NewReader(file), int64(len(file)))
}

// Query implements [Answerer].
func (m *Muster) Query(text string, now time.Time) (series []rows.Series, err error) {
	from, to, err := span(text, now)
	if err != nil {
		return nil, err
	}
	var asked []query.Shard
	for _, s := range m.shards {
		if w := s.Window(); w.First <= to && w.Last >= from {
			asked = append(asked, reader{s.View().Read(m.open)})
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

// reader lets a query read a shard.
type reader struct{ *shard.Reader }

// Fields implements [query.Shard].
func (r reader) Fields(measurement string) ([]query.Field, error) {
	list, err := r.Reader.Fields(measurement)
	fields := make([]query.Field, len(list))
	for i, f := range list {
		fields[i] = query.Field{Name: f.Name, Kind: f.Kind}
	}
	return fields, err
}

// Columns implements [query.Shard].
func (r reader) Columns(key []byte, field string, from, to int64) iter.Seq2[query.Piece, error] {
	return func(yield func(query.Piece, error) bool) {
		for p, err := range r.Reader.Columns(key, field, from, to) {
			if !yield(query.Piece{Times: p.Times, Values: p.Values}, err) {
				return
			}
		}
	}
}
