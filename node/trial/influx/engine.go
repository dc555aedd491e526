package influx

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxdb/tsdb"
	_ "github.com/influxdata/influxdb/tsdb/engine" // registers tsm1
	_ "github.com/influxdata/influxdb/tsdb/index"  // registers tsi1 and inmem
	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// The only database and policy of an engine.
const (
	Database = "db"
	Policy   = "rp"
)

// Engine is InfluxDB's storage and its engine for InfluxQL, in a directory, without a server. A window has as many
// shards as one wants; the server has one.
type Engine struct {
	store  *tsdb.Store
	window time.Duration
	shards uint32
	groups []meta.ShardGroupInfo // one for each window, in order of time
}

// Open opens an engine in an empty directory, with windows of a length, each in some shards.
func Open(dir string, window time.Duration, shards uint32) (*Engine, error) {
	models.EnableUintSupport()
	e := &Engine{store: tsdb.NewStore(filepath.Join(dir, "data")), window: window, shards: shards}
	e.store.EngineOptions.Config.Dir = filepath.Join(dir, "data")
	e.store.EngineOptions.Config.Index = "tsi1"
	e.store.EngineOptions.IndexVersion = "tsi1" // as of a shard; inmem, which a server has by default, knows names of tags of all windows
	e.store.EngineOptions.WALEnabled = false    // what is written is looked at while the process lives
	return e, e.store.Open()
}

// Close closes the engine. It leaves its files.
func (e *Engine) Close() error { return e.store.Close() }

// load writes all data; into windows that are longer than those of the data without the measurement whose field changes its
// kind from one to the next.
func (e *Engine) load(d *Data) error {
	for _, w := range d.Writes {
		if e.window > Window {
			w = slices.DeleteFunc(slices.Clone(w), func(p points.Point) bool { return p.Series.Measurement == "mix" })
		}
		text, err := Lines(w)
		if err != nil {
			return err
		}
		if err := e.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// Write writes points of line protocol, with times in nanoseconds.
func (e *Engine) Write(text []byte) error {
	parsed, err := models.ParsePoints(text)
	if err != nil {
		return err
	}
	shards := map[uint64][]models.Point{}
	for _, p := range parsed {
		id, err := e.shard(p)
		if err != nil {
			return err
		}
		shards[id] = append(shards[id], p)
	}
	for id, points := range shards {
		if err := e.store.WriteToShard(tsdb.WriteContext{}, id, points); err != nil {
			return err
		}
	}
	return nil
}

// shard returns the shard of a point, and makes the window if there is none yet.
func (e *Engine) shard(p models.Point) (uint64, error) {
	number := uint64(points.HashOf(p.Key()).Shard(e.shards))
	for _, g := range e.groups {
		if !p.Time().Before(g.StartTime) && p.Time().Before(g.EndTime) {
			return g.Shards[number].ID, nil
		}
	}
	w := points.WindowOf(p.UnixNano(), e.window)
	g := meta.ShardGroupInfo{
		ID: uint64(len(e.groups) + 1), StartTime: time.Unix(0, w.First).UTC(), EndTime: time.Unix(0, w.Last+1).UTC(),
	}
	for n := range uint64(e.shards) {
		id := (g.ID-1)*uint64(e.shards) + n + 1
		if err := e.store.CreateShard(Database, Policy, id, true); err != nil {
			return 0, err
		}
		g.Shards = append(g.Shards, meta.ShardInfo{ID: id})
	}
	e.groups = append(e.groups, g)
	slices.SortFunc(e.groups, func(a, b meta.ShardGroupInfo) int { return a.StartTime.Compare(b.StartTime) })
	return g.Shards[number].ID, nil
}

// ShardGroupsByTimeRange returns the windows that have times from min to max; it is what InfluxDB asks of its metadata.
func (e *Engine) ShardGroupsByTimeRange(_, _ string, min, max time.Time) (found []meta.ShardGroupInfo, _ error) {
	for _, g := range e.groups {
		if g.Overlaps(min, max) {
			found = append(found, g)
		}
	}
	return found, nil
}

// answerMax is how many rows an answer may have. InfluxDB fills some groups from 1677 on.
const answerMax = 100_000

// Query runs one SELECT at the moment now. An error is one that InfluxDB's parser, planner or engine has.
func (e *Engine) Query(text string, now time.Time) (found []rows.Series, err error) {
	err = e.each(text, now, func(row *models.Row) { found = append(found, seriesOf(row)) })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// each runs one SELECT, and calls f with each group of rows.
func (e *Engine) each(text string, now time.Time, f func(*models.Row)) (err error) {
	parsed, err := influxql.ParseStatement(text)
	if err != nil {
		return err
	}
	stmt, ok := parsed.(*influxql.SelectStatement)
	if !ok {
		return fmt.Errorf("%q is no SELECT", text)
	}
	influxql.WalkFunc(stmt, func(n influxql.Node) {
		if m, ok := n.(*influxql.Measurement); ok {
			m.Database, m.RetentionPolicy = Database, Policy
		}
	})
	// The executor, which is left out here, catches the panics of the planner and the engine.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	compiled, err := query.Compile(stmt, query.CompileOptions{Now: now})
	if err != nil {
		return err
	}
	prepared, err := compiled.Prepare(&coordinator.LocalShardMapper{MetaClient: e, TSDBStore: e.store}, query.SelectOptions{})
	if err != nil {
		return err
	}
	defer prepared.Close()
	cursor, err := prepared.Select(context.Background())
	if err != nil {
		return err
	}
	emitter := query.NewEmitter(cursor, answerMax)
	defer emitter.Close()
	for n := 0; n < answerMax; {
		row, _, err := emitter.Emit()
		if err != nil || row == nil {
			return err
		}
		n += len(row.Values)
		f(row)
	}
	return fmt.Errorf("an answer of more than %d rows", answerMax)
}

// seriesOf returns the series that a row of InfluxDB is.
func seriesOf(row *models.Row) rows.Series {
	s := rows.Series{Name: row.Name, Columns: row.Columns, Timed: true}
	for _, t := range models.NewTags(row.Tags) {
		s.Tags = append(s.Tags, points.Tag{Name: string(t.Key), Value: string(t.Value)})
	}
	for _, r := range row.Values {
		for _, v := range r {
			s.Values = append(s.Values, valueOf(v, &s))
		}
	}
	return s
}

func valueOf(v any, s *rows.Series) points.Value {
	switch v := v.(type) {
	case nil:
		return points.Value{}
	case time.Time:
		s.Location = v.Location()
		return points.IntegerValue(v.UnixNano())
	case float64:
		return points.FloatValue(v)
	case int64:
		return points.IntegerValue(v)
	case uint64:
		return points.UnsignedValue(v)
	case string:
		return points.StringValue(v)
	case bool:
		return points.BooleanValue(v)
	case *float64, *int64, *uint64, *string, *bool: // a null that has a type
		return points.Value{}
	}
	panic(fmt.Sprintf("influx: a value of type %T", v))
}
