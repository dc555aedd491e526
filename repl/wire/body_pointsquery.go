package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// PointsAsk is what a [PointsQuery] asks for. Numbers are for ever.
type PointsAsk uint8

const (
	PointsOutline PointsAsk = 1 // which fields and tags the measurements have; the body is query.Sources
	PointsScan    PointsAsk = 2 // what a query wants of the points; the body is a query.Request
	PointsList    PointsAsk = 3 // which measurements, series, tags or fields there are; the body is a statement.Request
)

func (a PointsAsk) String() string {
	switch a {
	case PointsOutline:
		return "outline"
	case PointsScan:
		return "scan"
	case PointsList:
		return "list"
	}
	return fmt.Sprintf("ask %d", uint8(a))
}

// Limits of a [PointsQuery].
const (
	// PointsQueryBodyMax bounds the bytes of its body: a query has 64 KiB of text, and names of measurements.
	PointsQueryBodyMax = 8 << 20
	// PointsQueryMemoryMax bounds what one shard may spend on it, in bytes, and PointsQueryAnswerMax its answer.
	PointsQueryMemoryMax = 256 << 20
	PointsQueryAnswerMax = 12 << 20
	// PointsQuerySeriesMax bounds the series that a shard looks at.
	PointsQuerySeriesMax = 1 << 24
	// PointsQueryTimeMax bounds the time that a shard works on it, in ms.
	PointsQueryTimeMax = 600_000
	// PointsQueryIDMax bounds [PointsQuery.Query]: a float of JSON holds it.
	PointsQueryIDMax = 1<<53 - 1
)

// PointsQuery asks a group about the points of one shard:
//
//	[mode, group, database, window, shard, ask, body, memory, series, time, query]
type PointsQuery struct {
	Mode     ReadMode // linearizable, local or follower
	Group    raft.GroupID
	Database string // its name, by which the right to read goes
	Window   shardmap.WindowID
	Shard    points.Shard
	Ask      PointsAsk
	Body     []byte
	Memory   uint64 // bytes that the shard may spend; 0: PointsQueryMemoryMax
	Series   uint64 // that it may look at; 0: PointsQuerySeriesMax
	Time     uint64 // ms that it may take from its arrival; 0: PointsQueryTimeMax
	Query    uint64 // the number of the query that it is a part of, by which it can be ended; 0: none
}

func (m *PointsQuery) fields(f *fields) {
	f.exactly(11, func() {
		number(f, "mode", &m.Mode)
		number(f, "group", &m.Group)
		f.text("database", &m.Database)
		number(f, "window", &m.Window)
		number(f, "shard", &m.Shard)
		number(f, "ask", &m.Ask)
		f.bin("body", &m.Body)
		number(f, "memory", &m.Memory)
		number(f, "series", &m.Series)
		number(f, "time", &m.Time)
		number(f, "query", &m.Query)
	})
}

// Append appends the body.
func (m *PointsQuery) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body. Limits of 0 are filled in.
func (m *PointsQuery) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Mode > ReadFollower:
		return fmt.Errorf("field mode: %d; want %d, %d or %d", m.Mode, ReadLinearizable, ReadLocal, ReadFollower)
	case m.Group > raft.GroupMax:
		return fmt.Errorf("field group: %d; want %d at most", m.Group, raft.GroupMax)
	case m.Database == "" || len(m.Database) > shardmap.CatalogNameMax:
		return fmt.Errorf("field database: %d bytes; want 1 to %d", len(m.Database), shardmap.CatalogNameMax)
	case m.Window == 0:
		return fmt.Errorf("field window: 0; want the id of a window, as the table has it")
	case m.Shard >= shardmap.WindowShardsMax:
		return fmt.Errorf("field shard: %d; want less than %d", m.Shard, shardmap.WindowShardsMax)
	case m.Ask < PointsOutline || m.Ask > PointsList:
		return fmt.Errorf("field ask: %d; want %d, %d or %d", m.Ask, PointsOutline, PointsScan, PointsList)
	case len(m.Body) > PointsQueryBodyMax:
		return fmt.Errorf("field body: %d bytes; want %d at most", len(m.Body), PointsQueryBodyMax)
	case m.Memory > PointsQueryMemoryMax:
		return fmt.Errorf("field memory: %d; want %d at most", m.Memory, PointsQueryMemoryMax)
	case m.Series > PointsQuerySeriesMax:
		return fmt.Errorf("field series: %d; want %d at most", m.Series, PointsQuerySeriesMax)
	case m.Time > PointsQueryTimeMax:
		return fmt.Errorf("field time: %d ms; want %d at most", m.Time, PointsQueryTimeMax)
	case m.Query > PointsQueryIDMax:
		return fmt.Errorf("field query: %d; want %d at most", m.Query, uint64(PointsQueryIDMax))
	}
	if m.Memory == 0 {
		m.Memory = PointsQueryMemoryMax
	}
	if m.Series == 0 {
		m.Series = PointsQuerySeriesMax
	}
	if m.Time == 0 {
		m.Time = PointsQueryTimeMax
	}
	return nil
}

// PointsQueryAnswer answers a [PointsQuery]: [group, term, index, answer].
type PointsQueryAnswer struct {
	Group  raft.GroupID
	At     raft.LogID // the points are as of here
	Answer []byte     // a query.Outline, a query.Answer or a statement.Answer, by what was asked; it aliases what was read
}

const pointsQueryAnswerFields = 4

// Append appends the body.
func (m *PointsQueryAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsQueryAnswerFields)
	b = appendLogID(b, m.Group, m.At)
	return pack.AppendBytes(b, m.Answer)
}

// Read reads the body.
func (m *PointsQueryAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	m.Group, m.At = readLogID(&r)
	m.Answer = r.Bytes()
	r.Trailing(n, pointsQueryAnswerFields)
	if err := r.Done(); err != nil {
		return err
	}
	if len(m.Answer) > PointsQueryAnswerMax {
		return fmt.Errorf("field answer: %d bytes; want %d at most", len(m.Answer), PointsQueryAnswerMax)
	}
	return nil
}

func (m *PointsQueryAnswer) lines() []string {
	return []string{"at " + raft.FormatLogID(m.Group, m.At), fmt.Sprintf("answer of %d bytes", len(m.Answer))}
}
