package clients

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/influxdata/influxql"

	"muster/node/influx"
	"muster/repl/client/pointwriter"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/line"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/points/rows"
)

// Store is databases in memory, each of one shard. It carries out SELECT, CREATE DATABASE, SHOW DATABASES and SHOW
// MEASUREMENTS. The times of a series must grow from write to write.
type Store struct {
	mu        sync.Mutex
	databases map[string]*database
	refusals  []error // of the next writes
	now       int64
}

// database is the points of one database.
type database struct {
	shard *querytest.Shard
	kinds map[string]column.Kind // by measurement and field
}

// NewStore returns a store without databases, at a time in nanoseconds since 1970 UTC.
func NewStore(now int64) *Store { return &Store{databases: map[string]*database{}, now: now} }

// Create makes a database.
func (s *Store) Create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(name)
}

func (s *Store) create(name string) {
	if s.databases[name] == nil {
		s.databases[name] = &database{querytest.New(), map[string]column.Kind{}}
	}
}

// Drop takes a database away.
func (s *Store) Drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.databases, name)
}

// Refuse has the next writes refused, each with one of the errors.
func (s *Store) Refuse(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, errs...)
}

// Write implements [influx.Store].
func (s *Store) Write(_ context.Context, q *influx.WriteRequest) (influx.Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refusals) > 0 {
		err := s.refusals[0]
		s.refusals = s.refusals[1:]
		return influx.Written{}, err
	}
	db := s.databases[q.Database]
	switch {
	case db == nil:
		return influx.Written{}, influx.DatabaseNotFound(q.Database)
	case q.Policy != "" && q.Policy != "autogen":
		return influx.Written{}, influx.PolicyNotFound(q.Policy)
	}
	batch, report, err := line.NewParser().Parse(q.Text, q.Precision, q.Now)
	if err != nil {
		return influx.Written{}, &influx.Error{Reason: influx.OverLimit, Text: err.Error()}
	}
	got := influx.Written{Lines: report}
	dropped := 0
	for of := range batch.Series() {
		series, err := points.ParseKey(of.Key())
		if err != nil {
			return influx.Written{}, err
		}
		for c := range of.Columns() {
			name := points.ParseName(c.Name)
			had, known := db.kinds[series.Measurement+" "+name]
			if known && had != c.Kind {
				dropped += len(c.Times)
				got.Dropped = []influx.Dropped{{Reason: pointwriter.FieldConflict, Points: dropped,
					Example: fmt.Sprintf("input field %q on measurement %q is type %s, already exists as type %s", name, series.Measurement, c.Kind, had)}}
				continue
			}
			db.kinds[series.Measurement+" "+name] = c.Kind
			for i, t := range c.Times {
				db.shard.Add(string(of.Key()), name, t, c.Value(i))
			}
		}
	}
	got.Stored = report.Points - dropped
	return got, nil
}

// Query implements [influx.Store].
func (s *Store) Query(ctx context.Context, q *influx.QueryRequest, yield func(rows.Result) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	statements, err := query.Parse(q.Text, q.Params)
	if err != nil {
		return &influx.Error{Reason: influx.BadRequest, Text: "error parsing query: " + strings.TrimPrefix(err.Error(), "error parsing query: ")}
	}
	for i, statement := range statements {
		gone := false
		cut := rows.NewChunks(i, q.ChunkRows, func(r rows.Result) error {
			gone = gone || !yield(r)
			return nil
		})
		all, err := s.carryOut(statement, q)
		for _, series := range all {
			_ = cut.Add(series) // it has no error of its own
		}
		_ = cut.End(nil, err)
		if gone {
			return ctx.Err()
		}
	}
	return nil
}

// carryOut carries out a statement.
func (s *Store) carryOut(statement influxql.Statement, q *influx.QueryRequest) ([]rows.Series, error) {
	switch statement := statement.(type) {
	case *influxql.CreateDatabaseStatement:
		if q.ReadOnly {
			return nil, fmt.Errorf("%s: it changes something, and comes by GET; send it by POST", statement)
		}
		s.create(statement.Name)
		return nil, nil
	case *influxql.ShowDatabasesStatement:
		return []rows.Series{names("databases", slices.Sorted(maps.Keys(s.databases)))}, nil
	}
	db := s.databases[q.Database]
	if db == nil {
		return nil, fmt.Errorf("database not found: %s", q.Database)
	}
	switch statement := statement.(type) {
	case *influxql.ShowMeasurementsStatement:
		all, err := db.shard.Measurements()
		return []rows.Series{names("measurements", all)}, err
	case *influxql.SelectStatement:
		return querytest.Run(statement.String(), s.now, []query.Shard{db.shard})
	}
	return nil, fmt.Errorf("%s: not known here", statement)
}

// names is a series of names.
func names(series string, all []string) rows.Series {
	s := rows.Series{Name: series, Columns: []string{"name"}}
	for _, name := range all {
		s.Values = append(s.Values, points.StringValue(name))
	}
	return s
}
