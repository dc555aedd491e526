package machine_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/line"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/points/shard"
	"muster/shardmap/points/statement"
)

// pointsCatalog is database metrics, 5, with policy 6 and window 7 from 0 to 999 ns, whose two shards are in group 1.
func pointsCatalog() shardmap.Catalog {
	return shardmap.Catalog{
		Databases: []shardmap.Database{{ID: 5, Name: "metrics", Default: 6}},
		Policies:  []shardmap.Policy{{ID: 6, Database: 5, Name: "autogen"}},
		Windows:   []shardmap.Window{{ID: 7, Policy: 6, Start: 0, End: 1000, Truncated: 1000, Shards: []raft.GroupID{1, 1}}},
	}
}

// pointsOf returns what brings lines to the shards of that window.
func pointsOf(t testing.TB, text string) (bodies []shardmap.PointsBody) {
	t.Helper()
	batch, report, err := line.NewParser().Parse([]byte(text), line.Nanosecond, 0)
	if err != nil || report.Refused > 0 {
		t.Fatal(err, report.Err())
	}
	span := points.Window{First: 0, Last: 999}
	shares := points.Split(batch, func(int64) (points.Window, uint32) { return span, 2 })
	for i := range shares {
		for p := range shares[i].Pieces(shardmap.PointsSizeMax, shardmap.PointsValuesMax) {
			ref := shardmap.ShardRef{ShardID: shardmap.ShardID{Window: 7, Shard: shares[i].Shard}, Shards: 2, Database: 5, Policy: 6, Span: span}
			bodies = append(bodies, shardmap.PointsBody{Shard: ref, Name: "metrics", Mode: shardmap.PointsWrite, Share: p.Bytes})
		}
	}
	return bodies
}

// newPoints is a client of a cluster with that catalog, whose group was raised.
func newPoints(t *testing.T) *requests {
	q := newRequests(t)
	q.table.Catalog, q.table.Index = pointsCatalog(), 9
	q.apply(t, shardmap.RaiseCommand(shardmap.Level))
	return q
}

// written has points proposed and applied, and returns the answer.
func written(q *requests, t *testing.T, p shardmap.PointsBody) (wire.Type, []byte) {
	t.Helper()
	c := p.Command()
	q.take(wire.TypeWrite, wire.AppendWrite(nil, &c))
	if len(q.Proposals()) == 1 && !q.Proposals()[0].Limited {
		t.Fatal("points are not held to the bound of memory")
	}
	q.Clear()
	return writtenCommand(q, t, c)
}

// writtenCommand has a command about points proposed and applied, and returns the answer.
func writtenCommand(q *requests, t *testing.T, c shardmap.Command) (wire.Type, []byte) {
	t.Helper()
	q.take(wire.TypeWrite, wire.AppendWrite(nil, &c))
	if len(q.Proposals()) != 1 || q.Proposals()[0].Group != 1 {
		t.Fatalf("%d proposals, %+v", len(q.Proposals()), q.asker)
	}
	q.index++
	e := q.Proposals()[0].Entry
	e.ID = raft.LogID{Term: 1, Index: q.index}
	typ, body, err := q.state.Apply(e, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Clear()
	return typ, body
}

// Points go to the group that the table gives their shard, and come back from there; what they came to is told, a field of
// another kind by name.
func TestPointsAreStoredAndRead(t *testing.T) {
	q := newPoints(t)
	stored := uint64(0)
	for _, p := range pointsOf(t, "cpu,host=a v=1 1\ncpu,host=b v=2 2\ncpu,host=c v=3 3\ncpu,host=a v=4 4") {
		typ, body := written(q, t, p)
		var a wire.PointsAnswer
		if err := a.Read(body); typ != wire.TypePointsAnswer || err != nil {
			t.Fatalf("%s, %v", typ, err)
		}
		stored += a.Outcome.Stored
	}
	if stored != 4 {
		t.Errorf("%d points are stored, want 4", stored)
	}
	conflict := pointsOf(t, `cpu,host=a v="text" 5`)[0]
	var a wire.PointsAnswer
	if _, body := written(q, t, conflict); a.Read(body) != nil || a.Outcome.Dropped != 1 || len(a.Outcome.Refused) != 1 || a.Outcome.Refused[0].String() != `input field "v" on measurement "cpu" is type string, already exists as type float` {
		t.Errorf("of another kind: %+v", a.Outcome)
	}
	counts := int64(0)
	for shard := range points.Shard(2) {
		ask := wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Shard: shard, Ask: wire.PointsOutline, Body: (&query.Sources{Names: []string{"cpu"}}).Append(nil)}
		var answer wire.PointsQueryAnswer
		if err := answer.Read(askedLater(q, t, ask)); err != nil {
			t.Fatal(err)
		}
		outline, err := query.ReadOutline(answer.Answer, 1<<20)
		if err != nil || len(outline.Measurements) != 1 || len(outline.Measurements[0].Fields) != 1 || outline.Measurements[0].Tags[0] != "host" {
			t.Fatalf("the outline of shard %d is %+v, %v", shard, outline, err)
		}
		counts += counted(q, t, ask)
	}
	if counts != 4 {
		t.Errorf("both shards count %d points, want 4", counts)
	}
	q.passesOn(t, wire.TypePointsQuery, (&wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Ask: wire.PointsScan, Body: []byte{1}}).Append(nil))
}

// askedLater asks a shard, which is read beside the goroutine that applies, and returns the answer.
func askedLater(q *requests, t *testing.T, ask wire.PointsQuery) []byte {
	t.Helper()
	q.take(wire.TypePointsQuery, ask.Append(nil))
	q.run()
	if len(q.asker.later) != 1 {
		t.Fatalf("%d reads beside the goroutine that applies, want one", len(q.asker.later))
	}
	q.asker.later[0]()
	q.asker.later = nil
	typ, body, e := q.asker.answer(t)
	if e != nil || typ != wire.TypePointsQueryAnswer {
		t.Fatalf("answered with %s, %v", typ, e)
	}
	return body
}

// counted counts the values of cpu v in a shard.
func counted(q *requests, t *testing.T, ask wire.PointsQuery) int64 {
	t.Helper()
	request := querytest.CountRequest("cpu", "v")
	ask.Ask, ask.Body = wire.PointsScan, request.Append(nil)
	var answer wire.PointsQueryAnswer
	if err := answer.Read(askedLater(q, t, ask)); err != nil {
		t.Fatal(err)
	}
	n, err := querytest.Counted(answer.Answer, request)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A replica that has not made a file yet, which its group has named, answers from what the file is made of, and once that is gone
// too it says that it is not ready. Only a leader has the files that are named.
func TestPointsOfAFileThatIsNotHere(t *testing.T) {
	q := newPoints(t)
	q.state.State.KeepHeads()
	absent := errors.New("it is not here")
	q.state.Points.Read = func(read func(shard.Opener) error) error {
		err := read(func(block.Sum) (*block.Reader, error) { return nil, absent })
		if errors.Is(err, absent) {
			return wire.NotReady("points", err.Error(), "try again", wire.BusyRetry)
		}
		return err
	}
	p := pointsOf(t, "cpu,host=a v=1 1\ncpu,host=a v=2 2")[0]
	written(q, t, p)
	id := p.Shard.ShardID
	q.apply(t, (&shardmap.PointsSeal{Shard: id, Number: 1}).Command())
	q.apply(t, (&shardmap.PointsSealed{Shard: id, Number: 1, Sum: block.Sum{1}, Values: 2, First: 1, Last: 2, Size: 100}).Command())
	written(q, t, pointsOf(t, "cpu,host=a v=3 3")[0])
	ask := wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Shard: id.Shard}
	if n := counted(q, t, ask); n != 3 {
		t.Errorf("%d points are there, want 3", n)
	}
	q.state.State.ReleaseHead(id, 1)
	request := querytest.CountRequest("cpu", "v")
	ask.Ask, ask.Body = wire.PointsScan, request.Append(nil)
	q.take(wire.TypePointsQuery, ask.Append(nil))
	q.run()
	q.asker.later[0]()
	if typ, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeNotReady {
		t.Errorf("without the head it is answered with %s, %v", typ, e)
	}
}

// The cost of a query at a shard is bounded in memory, series and time, for each of the things that can be asked, and the
// refusal tells what would be less. One would doubt it of outlines and lists, which go over the keys of all series.
func TestPointsQueryBounded(t *testing.T) {
	q := newPoints(t)
	for _, p := range pointsOf(t, "cpu,host=a v=1 1\ncpu,host=b v=2 2\ncpu,host=c v=2 2\ncpu,host=d v=2 2\ncpu,host=e v=2 2\ncpu,host=f v=2 2") {
		written(q, t, p)
	}
	request := querytest.CountRequest("cpu", "v")
	list := statement.Request{What: statement.SeriesKeys}
	var bombs statement.Request
	bombs.What = statement.Measurements
	for range 100 {
		bombs.Expressions = append(bombs.Expressions, "x{1000}")
	}
	ended := &wire.Error{Code: wire.CodeConflict, Object: "query", Text: "it was ended"}
	for _, c := range []struct {
		what string
		ask  wire.PointsQuery
		over *wire.Error
		want string
	}{
		{"series of an outline", wire.PointsQuery{Ask: wire.PointsOutline, Body: (&query.Sources{Names: []string{"cpu"}}).Append(nil), Series: 1}, nil, "more series than it was given at one shard"},
		{"series of a scan", wire.PointsQuery{Ask: wire.PointsScan, Body: request.Append(nil), Series: 1}, nil, "more series than it was given at one shard"},
		{"series of a list", wire.PointsQuery{Ask: wire.PointsList, Body: list.Append(nil), Series: 1}, nil, "more series than it was given at one shard"},
		{"memory of an outline", wire.PointsQuery{Ask: wire.PointsOutline, Body: (&query.Sources{Names: []string{"cpu"}}).Append(nil), Memory: 1}, nil, "more bytes of memory than it was given at one shard"},
		{"memory of a scan", wire.PointsQuery{Ask: wire.PointsScan, Body: request.Append(nil), Memory: 1}, nil, "more bytes of memory than it was given at one shard"},
		{"memory of a list", wire.PointsQuery{Ask: wire.PointsList, Body: list.Append(nil), Memory: 1}, nil, "more bytes of memory than it was given at one shard"},
		{"expressions", wire.PointsQuery{Ask: wire.PointsList, Body: bombs.Append(nil)}, nil, "bytes of regular expressions with repetitions"},
		{"time", wire.PointsQuery{Ask: wire.PointsScan, Body: request.Append(nil)}, ended, "it was ended"},
	} {
		c.ask.Group, c.ask.Database, c.ask.Window, c.ask.Shard = 1, "metrics", 7, shardWith(q, t, 2)
		q.asker.over = c.over
		q.take(wire.TypePointsQuery, c.ask.Append(nil))
		q.run()
		q.asker.later[0]()
		q.asker.later = nil
		if e := refusal(q, t); e == nil || !strings.Contains(e.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, e, c.want)
		}
	}
	for _, bad := range []wire.PointsQuery{{Ask: 4}, {Ask: 0}, {Ask: wire.PointsScan, Time: wire.PointsQueryTimeMax + 1}, {Ask: wire.PointsScan, Query: wire.PointsQueryIDMax + 1}} {
		bad.Group, bad.Database, bad.Window = 1, "metrics", 7
		if err := new(wire.PointsQuery).Read(bad.Append(nil)); err == nil || !strings.Contains(err.Error(), "want ") {
			t.Errorf("%+v: %v, want an error that names the field", bad, err)
		}
	}
}

// shardWith returns a shard of two with so many values at least.
func shardWith(q *requests, t *testing.T, n int64) points.Shard {
	t.Helper()
	q.asker.over = nil
	for shard := range points.Shard(2) {
		if counted(q, t, wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Shard: shard}) >= n {
			return shard
		}
	}
	t.Fatalf("no shard has %d values", n)
	return 0
}

// refusesWrite has a write refused before it comes to a log, in words that have want in them.
func refusesWrite(q *requests, t *testing.T, what string, c *shardmap.Command, want string) {
	t.Helper()
	q.take(wire.TypeWrite, wire.AppendWrite(nil, c))
	if len(q.Proposals()) > 0 {
		t.Errorf("%s: proposed", what)
	}
	q.Clear()
	if e := refusal(q, t); e == nil || !strings.Contains(e.Error(), want) {
		t.Errorf("%s: %v; want %q", what, e, want)
	}
}

// refusal is the error of the only answer.
func refusal(q *requests, t *testing.T) *wire.Error {
	t.Helper()
	_, _, e := q.asker.answer(t)
	return e
}

// Points for a shard that is not in the table as they name it reach no log: they would stop the group, or make a shard that no
// window has.
func TestPointsForNoShardOfTheTable(t *testing.T) {
	q := newPoints(t)
	good := pointsOf(t, "cpu v=1 1")[0]
	for _, tt := range []struct {
		what   string
		change func(p *shardmap.PointsBody)
		want   string
	}{
		{"a window that is gone", func(p *shardmap.PointsBody) { p.Shard.Window = 8 }, "knows of no such window"},
		{"a window that is newer than the table", func(p *shardmap.PointsBody) { p.Shard.Window = 10 }, "the table here is of index 9"},
		{"another database", func(p *shardmap.PointsBody) { p.Shard.Database = 6 }, "knows of no such window"},
		{"another name", func(p *shardmap.PointsBody) { p.Name = "other" }, "knows of no such window"},
		{"another policy", func(p *shardmap.PointsBody) { p.Shard.Policy = 9 }, "take the shard from the table"},
		{"a longer window", func(p *shardmap.PointsBody) { p.Shard.Span.Last = 1999 }, "take the shard from the table"},
	} {
		p := good
		tt.change(&p)
		c := p.Command()
		refusesWrite(q, t, tt.what, &c, tt.want)
	}
	for _, ask := range []wire.PointsQuery{
		{Group: 1, Database: "metrics", Window: 9, Ask: wire.PointsOutline},
		{Group: 1, Database: "other", Window: 7, Ask: wire.PointsOutline},
		{Group: 1, Database: "metrics", Window: 7, Shard: 2, Ask: wire.PointsOutline},
		{Group: 2, Database: "metrics", Window: 7, Ask: wire.PointsOutline},
	} {
		q.take(wire.TypePointsQuery, ask.Append(nil))
		if len(q.Reads()) > 0 {
			t.Errorf("%+v is read", ask)
		}
		q.Clear()
		if e := refusal(q, t); e == nil || e.Code != wire.CodeMoved {
			t.Errorf("%+v: %v", ask, e)
		}
	}
}

// deleteOf returns the delete of a measurement from the shards of that window.
func deleteOf(measurement string) *shardmap.PointsDelete {
	d := &shardmap.PointsDelete{Name: "metrics", Measurement: []byte(measurement), First: math.MinInt64, Last: math.MaxInt64}
	for n := range points.Shard(2) {
		d.Shards = append(d.Shards, shardmap.ShardRef{ShardID: shardmap.ShardID{Window: 7, Shard: n}, Shards: 2, Database: 5, Policy: 6, Span: points.Window{First: 0, Last: 999}})
	}
	return d
}

// A delete goes to the group that the table gives all of its shards; what was there is gone, and what comes later stays. A
// shard that has no room for another delete is told.
func TestPointsAreDeleted(t *testing.T) {
	q := newPoints(t)
	const text = "cpu,host=a v=1 1\ncpu,host=b v=2 2\ncpu,host=c v=3 3"
	write := func() {
		for _, p := range pointsOf(t, text) {
			written(q, t, p)
		}
	}
	count := func() (n int64) {
		for shard := range points.Shard(2) {
			n += counted(q, t, wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Shard: shard})
		}
		return n
	}
	write()
	var a wire.PointsDeleteAnswer
	if typ, body := writtenCommand(q, t, deleteOf("cpu").Command()); typ != wire.TypePointsDeleteAnswer || a.Read(body) != nil || a.Outcome != (shardmap.PointsDeleteOutcome{Deleted: 2}) {
		t.Errorf("a delete is answered with %s, %+v", typ, a)
	}
	if n := count(); n != 0 {
		t.Errorf("%d points are there after it", n)
	}
	if write(); count() != 3 {
		t.Errorf("%d points were written after it, want 3", count())
	}
	for range shard.TombstonesMax - 1 {
		writtenCommand(q, t, deleteOf("mem").Command())
	}
	var e wire.Error
	if typ, body := writtenCommand(q, t, deleteOf("mem").Command()); typ != wire.TypeError || e.Read(body) != nil || e.Code != wire.CodeBusy {
		t.Errorf("one more than a shard keeps is answered with %s, %v", typ, &e)
	}
}

// A delete of shards that are not in the table as it names them, or are of several groups, reaches no log.
func TestDeletesOfNoShardsOfTheTable(t *testing.T) {
	q := newPoints(t)
	q.table.Catalog.Windows = append(q.table.Catalog.Windows, shardmap.Window{ID: 8, Policy: 6, Start: 1000, End: 2000, Truncated: 2000, Shards: []raft.GroupID{1, 2}})
	for _, tt := range []struct {
		what   string
		change func(d *shardmap.PointsDelete)
		want   string
	}{
		{"a window that is gone", func(d *shardmap.PointsDelete) { d.Shards[0].Window = 3 }, "knows of no such window"},
		{"a window that is newer than the table", func(d *shardmap.PointsDelete) { d.Shards[1].Window = 10 }, "the table here is of index 9"},
		{"another name", func(d *shardmap.PointsDelete) { d.Name = "other" }, "knows of no such window"},
		{"another policy", func(d *shardmap.PointsDelete) { d.Shards[1].Policy = 9 }, "take the shard from the table"},
		{"shards of two groups", func(d *shardmap.PointsDelete) {
			for i := range d.Shards {
				d.Shards[i].Window, d.Shards[i].Span = 8, points.Window{First: 1000, Last: 1999}
			}
		}, "another group has it than the shards before it"},
		{"no shards", func(d *shardmap.PointsDelete) { d.Shards = nil }, "of 0 shards"},
	} {
		d := deleteOf("cpu")
		tt.change(d)
		c := d.Command()
		refusesWrite(q, t, tt.what, &c, tt.want)
	}
}

// A group of a window that was dropped says so, and one that was not raised yet that it will be.
func TestPointsThatComeTooLateOrTooEarly(t *testing.T) {
	q := newRequests(t)
	q.table.Catalog, q.table.Index = pointsCatalog(), 9
	p := pointsOf(t, "cpu v=1 1")[0]
	refused := func() (e wire.Error) {
		t.Helper()
		if typ, body := written(q, t, p); typ != wire.TypeError || e.Read(body) != nil {
			t.Fatalf("the answer is a %s", typ)
		}
		return e
	}
	if e := refused(); e.Code != wire.CodeNotReady {
		t.Errorf("before the group is raised: %v", &e)
	}
	q.apply(t, shardmap.RaiseCommand(shardmap.Level))
	q.apply(t, (&shardmap.DropShards{Windows: []shardmap.WindowID{7}}).Command())
	if e := refused(); e.Code != wire.CodeNotFound {
		t.Errorf("of a window that was dropped: %v", &e)
	}
}

// A seal, or the name of a file, may come behind the entry that dropped the shard: to its leader, which makes an answer that nobody waits for,
// that is no contradiction in the state, by which the replica would stop.
func TestSealsOfNoShard(t *testing.T) {
	q := newPoints(t)
	id := shardmap.ShardID{Window: 7}
	q.apply(t, (&shardmap.DropShards{Windows: []shardmap.WindowID{7}}).Command())
	for _, c := range []shardmap.Command{(&shardmap.PointsSeal{Shard: id, Number: 1}).Command(), (&shardmap.PointsSealed{Shard: id, Number: 1, Size: 1, Values: 1}).Command()} {
		q.index++
		typ, body, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, payloadOf(&c)), true, nil)
		var e wire.Error
		if err != nil || typ != wire.TypeError || e.Read(body) != nil || e.Code != wire.CodeNotFound {
			t.Errorf("%s behind the drop of its window is answered with %s, %v: %v", c.Kind, typ, &e, err)
		}
	}
}

// A node without room in memory refuses points where it leads a group, and nothing else.
func TestPointsRefusedAsBusy(t *testing.T) {
	g := newLimitedGroup(t)
	g.at.now.Catalog = pointsCatalog()
	busy := wire.Busy("points", "they take too much memory", time.Second)
	g.m.Points.Busy = func() *wire.Error { return busy }
	if refused := g.write(shardmap.RaiseCommand(shardmap.Level)); refused != nil {
		t.Fatal(refused)
	}
	write := func() *wire.Error { return g.write(pointsOf(t, "cpu v=1 1")[0].Command()) }
	if refused := write(); refused != busy {
		t.Errorf("points are answered with %v, want %v", refused, busy)
	}
	if refused := g.write(setOf("k", "v")); refused != nil {
		t.Errorf("a set: %v", refused)
	}
	busy = nil
	if refused := write(); refused != nil {
		t.Errorf("points after that: %v", refused)
	}
}

// shardsDropped has a group with a shard of window 7 asked what it wants, under tables without that window, and says what
// is wrong; "": nothing.
func shardsDropped(t testing.TB) string {
	table := &shardmap.Table{Groups: []shardmap.TableGroup{{ID: 1, Incarnation: 7}}, Level: shardmap.Level, Catalog: pointsCatalog(), Index: 7}
	m, index := machine.NewMap(replicaOf(1, 7), func() *shardmap.Table { return table }), uint64(0)
	apply := func(payload []byte) {
		index++
		if _, _, err := m.Apply(payloadEntry(index, raft.EntryNormal, payload), true, nil); err != nil {
			t.Fatal(err)
		}
	}
	raise := shardmap.RaiseCommand(shardmap.Level)
	apply(payloadOf(&raise))
	command := pointsOf(t, "cpu v=1 1")[0].Command()
	apply(payloadOf(&command))
	if payload := m.Wants(); payload != nil {
		return "with its window it wants something"
	}
	table = &shardmap.Table{Groups: table.Groups, Level: shardmap.Level, Index: 6}
	if payload := m.Wants(); payload != nil {
		return "under a table from before its window it wants something"
	}
	table = &shardmap.Table{Groups: table.Groups, Level: shardmap.Level, Index: 9}
	payload := m.Wants()
	var c shardmap.Command
	if payload == nil || machine.ReadCommand(payload, &c) != nil || c.Kind != shardmap.CommandDropShards {
		return fmt.Sprintf("without its window it wants %s", c.Kind)
	}
	apply(payload)
	if m.Ran(); m.Ran() {
		return "after entries that made no shard it is to be asked what it wants"
	}
	late := pointsOf(t, "cpu v=1 1")[0]
	late.Shard.Window = 5 // which the table had no more when the points came
	command = late.Command()
	if apply(payloadOf(&command)); !m.Ran() || m.Wants() == nil {
		return "a late entry makes a shard without a window, and nobody is to ask what it wants"
	}
	apply(m.Wants())
	if again := m.Wants(); again != nil || len(m.State.Shards()) > 0 {
		return fmt.Sprintf("after the drop it has %d shards, and wants something: %t", len(m.State.Shards()), again != nil)
	}
	return ""
}

// A window that the table has no more takes its shards with it; one that a leader has not heard of does not.
func TestShardsGoWithTheirWindow(t *testing.T) {
	if wrong := shardsDropped(t); wrong != "" {
		t.Error(wrong)
	}
}

// limitsWrong says in what points that a client sends are not held to the limits of their database, as the table of the node that
// admits them has it; "": in nothing.
func limitsWrong(t *testing.T) string {
	q := newPoints(t)
	limits := points.Limits{Series: 1, Values: 9, Fields: 9}
	for i, c := range []struct {
		limits  points.Limits
		stored  uint64
		dropped uint64
	}{{limits, 1, 0}, {limits, 0, 1}, {points.DefaultLimits, 1, 0}, {points.Limits{Series: 2, Values: 9, Fields: 9}, 0, 1}} {
		q.table.Catalog.Databases[0].Limits = c.limits
		keys := []string{}
		for n := 0; len(keys) <= i; n++ {
			if key := fmt.Sprintf("cpu,host=%d", n); points.HashOf([]byte(key)).Shard(2) == 0 {
				keys = append(keys, key)
			}
		}
		_, body := written(q, t, pointsOf(t, keys[i]+" v=1 1")[0])
		var a wire.PointsAnswer
		if err := a.Read(body); err != nil || a.Outcome.Stored != c.stored || a.Outcome.Dropped != c.dropped || a.Outcome.OverSeries != c.dropped {
			return fmt.Sprintf("point %d with limits %+v: %+v, %v; want %d stored and %d dropped", i, c.limits, a.Outcome, err, c.stored, c.dropped)
		}
	}
	return ""
}

// A limit that was raised must hold for the next point, and all replicas must agree.
func TestLimitsComeWithTheEntry(t *testing.T) {
	if wrong := limitsWrong(t); wrong != "" {
		t.Error(wrong)
	}
}
