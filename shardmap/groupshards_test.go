package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/shardmap/pack"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
	lines "muster/shardmap/points/line"
)

// testShards is how many shards the windows of tests have, each of a thousand nanoseconds.
const testShards = 2

// pointsBodies returns what brings lines to the shards of a window, whose first time is its id times 1000.
func pointsBodies(t rapid.TB, window WindowID, text string) (bodies []PointsBody) {
	t.Helper()
	batch, report, err := lines.NewParser().Parse([]byte(text), lines.Nanosecond, 0)
	if err != nil || report.Refused > 0 {
		t.Fatalf("%s: %v, %v", text, err, report.Err())
	}
	span := points.Window{First: int64(window) * 1000, Last: int64(window)*1000 + 999}
	shares := points.Split(batch, func(int64) (points.Window, uint32) { return span, testShards })
	for i := range shares {
		for p := range shares[i].Pieces(PointsSizeMax, PointsValuesMax) {
			ref := ShardRef{ShardID{window, shares[i].Shard}, testShards, 5, 6, span}
			bodies = append(bodies, PointsBody{Shard: ref, Name: "metrics", Mode: PointsWrite, Share: p.Bytes})
		}
	}
	return bodies
}

// pointsCommand returns the command that brings lines of one shard.
func pointsCommand(t rapid.TB, window WindowID, text string) Command {
	t.Helper()
	bodies := pointsBodies(t, window, text)
	if len(bodies) != 1 {
		t.Fatalf("%s: for %d shards, want one", text, len(bodies))
	}
	return bodies[0].Command()
}

// pointsWorld is a replica that applies entries, another one that begins with its snapshot now and then, and what must
// be there.
type pointsWorld struct {
	t     *rapid.T
	a, b  *Map
	index uint64
	files map[block.Sum][]byte
	want  map[ShardID]map[string]string // by series, field and time
	gone  map[WindowID]bool
	// deletes are all that were carried out, by their entries.
	deletes []drawnDelete
}

// drawnDelete is a delete that was carried out.
type drawnDelete struct {
	PointsDelete
	index uint64
}

// deleted reports whether a delete behind an entry took a point of a shard.
func (w *pointsWorld) deleted(id ShardID, key string, at int64, since uint64) bool {
	return slices.ContainsFunc(w.deletes, func(d drawnDelete) bool {
		return d.index > since && d.takes(id, key, at)
	})
}

// takes reports whether a delete is of a point.
func (d *PointsDelete) takes(id ShardID, key string, at int64) bool {
	return d.First <= at && at <= d.Last && slices.ContainsFunc(d.Shards, func(s ShardRef) bool { return s.ShardID == id }) &&
		(len(d.Series) == 0 || slices.ContainsFunc(d.Series, func(k []byte) bool { return string(k) == key }))
}

func (w *pointsWorld) open(sum block.Sum) (*block.Reader, error) {
	b := w.files[sum]
	return block.Open(bytes.NewReader(b), int64(len(b)))
}

// do applies a command to both replicas, which must have the same to say of it.
func (w *pointsWorld) do(c Command) Result {
	w.index++
	id := raft.LogID{Term: 1, Index: w.index}
	r, err := w.a.Apply(id, 0, &c)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Detail = bytes.Clone(r.Detail)
	other, err := w.b.Apply(id, 0, &c)
	if err != nil || other.Status != r.Status || !bytes.Equal(other.Detail, r.Detail) {
		w.t.Fatalf("%s: one replica says %s % x, the other %s % x, %v", c.Kind, r.Status, r.Detail, other.Status, other.Detail, err)
	}
	if a, b := w.a.Digests(nil), w.b.Digests(nil); !slices.Equal(a, b) {
		w.t.Fatalf("%s: the replicas have digests\n%v\n%v", c.Kind, a, b)
	}
	return r
}

// write writes lines, or fills with them.
func (w *pointsWorld) write() {
	window := WindowID(rapid.IntRange(1, 3).Draw(w.t, "window"))
	mode := rapid.SampledFrom([]PointsMode{PointsWrite, PointsWrite, PointsFill}).Draw(w.t, "mode")
	var text strings.Builder
	for range rapid.IntRange(1, 5).Draw(w.t, "lines") {
		fmt.Fprintf(&text, "cpu,host=%d v=%d,w=%d %d\n", rapid.IntRange(0, 3).Draw(w.t, "host"), w.index, rapid.IntRange(0, 2).Draw(w.t, "w"), int64(window)*1000+rapid.Int64Range(0, 20).Draw(w.t, "time"))
	}
	for _, body := range pointsBodies(w.t, window, text.String()) {
		body.Mode = mode
		if mode == PointsFill {
			body.Taken = w.index - min(w.index, rapid.Uint64Range(0, 8).Draw(w.t, "waited"))
		}
		r := w.do(body.Command())
		if w.gone[window] {
			if r.Status != StatusNoShard {
				w.t.Fatalf("points for a window that was dropped: %s", r.Status)
			}
			continue
		}
		if r.Status == StatusForgotten && slices.ContainsFunc(w.deletes, func(d drawnDelete) bool { return d.index > body.Taken }) && mode == PointsFill {
			continue // w.want has the shard: a delete made it
		}
		var o drawnOutcome
		o.read(w.t, r)
		if w.want[body.Shard.ShardID] == nil {
			w.want[body.Shard.ShardID] = map[string]string{}
		}
		all := w.want[body.Shard.ShardID]
		var reader points.ShareReader
		batch, err := reader.Read(body.Share, body.Shard.Span)
		if err != nil {
			w.t.Fatal(err)
		}
		for s := range batch.Series() {
			for c := range s.Columns() {
				for i, at := range c.Times {
					key := fmt.Sprintf("%s %s %d", s.Key(), c.Name, at)
					if mode == PointsFill && w.deleted(body.Shard.ShardID, string(s.Key()), at, body.Taken) {
						continue
					}
					if _, there := all[key]; !there || mode == PointsWrite {
						all[key] = fmt.Sprint(c.Value(i))
					}
				}
			}
		}
	}
}

// drawnOutcome is what the points that a test has drawn came to: they conflict with nothing.
type drawnOutcome struct{ PointsOutcome }

func (o *drawnOutcome) read(t *rapid.T, r Result) {
	if r.Status != StatusApplied {
		t.Fatalf("points: %s", r.Status)
	}
	b := pack.NewReader(r.Detail)
	if err := o.Read(&b); err != nil || b.Done() != nil || len(o.Refused) > 0 || o.Stored+o.Superseded+o.Deleted == 0 {
		t.Fatalf("the outcome is %+v, %v", o, err)
	}
}

// one draws a shard that is there; nil if there is none.
func (w *pointsWorld) one() *GroupShard {
	if len(w.a.Shards()) == 0 {
		return nil
	}
	return rapid.SampledFrom(w.a.Shards()).Draw(w.t, "shard")
}

// seal seals a head, sometimes with a number or files that can't be.
func (w *pointsWorld) seal() {
	s := w.one()
	if s == nil {
		return
	}
	p := PointsSeal{Shard: s.ShardID, Number: s.Points.Generation() + uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(w.t, "ahead")), Merge: uint32(rapid.IntRange(0, len(s.Points.Files())+1).Draw(w.t, "merge"))}
	takes := p.Number == s.Points.Generation() && !s.Sealing && int(p.Merge) <= len(s.Points.Files()) && (s.Since != 0 || p.Merge > 1 || p.Merge == 1 && s.Points.Tombstones() > 0)
	if r := w.do(p.Command()); (r.Status == StatusApplied) != takes {
		w.t.Fatalf("seal %+v of %+v: %s", p, s, r.Status)
	}
	if again := w.do(p.Command()); takes && again.Status != StatusMarked {
		w.t.Fatalf("seal %+v once more: %s", p, again.Status)
	}
}

// make makes the file of a head at one of the replicas; the other one must make the same.
func (w *pointsWorld) make() {
	s := w.one()
	if s == nil || !s.Sealing {
		return
	}
	number := s.Points.Frozen()[0]
	sealed := w.file(s, number)
	if other := w.file(w.b.Shard(s.ShardID), number); other != sealed {
		w.t.Fatalf("the replicas make %+v and %+v", sealed, other)
	}
	if r := w.do(sealed.Command()); r.Status != StatusApplied {
		w.t.Fatalf("file %+v: %s", sealed, r.Status)
	}
	if r := w.do(sealed.Command()); r.Status != StatusMarked {
		w.t.Fatalf("file %+v once more: %s", sealed, r.Status)
	}
}

func (w *pointsWorld) file(s *GroupShard, number uint64) PointsSealed {
	var b bytes.Buffer
	x, err := block.NewWriter(&b)
	if err == nil {
		_, err = s.Points.View().Seal(x, number, int(s.Merge), w.open)
	}
	var info block.Info
	if err == nil {
		info, err = x.Finish()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.files[info.Sum] = b.Bytes()
	return PointsSealed{Shard: s.ShardID, Number: number, Sum: info.Sum, Values: info.Values, First: info.First, Last: info.Last, Size: info.Size}
}

func (w *pointsWorld) drop() {
	window := WindowID(rapid.IntRange(1, 3).Draw(w.t, "window"))
	if rapid.IntRange(0, 5).Draw(w.t, "really") > 0 {
		return
	}
	w.do((&DropShards{Windows: []WindowID{window}}).Command())
	w.gone[window] = true
	maps.DeleteFunc(w.want, func(id ShardID, _ map[string]string) bool { return id.Window == window })
}

// delete takes away what some shards have of a measurement or of some of its series.
func (w *pointsWorld) delete() {
	d := PointsDelete{Name: "metrics", Measurement: []byte("cpu"), First: math.MinInt64, Last: math.MaxInt64}
	for window := WindowID(1); window <= 3; window++ {
		for n := range points.Shard(testShards) {
			if rapid.Bool().Draw(w.t, "names the shard") {
				d.Shards = append(d.Shards, ShardRef{ShardID{window, n}, testShards, 5, 6, points.Window{First: int64(window) * 1000, Last: int64(window)*1000 + 999}})
			}
		}
	}
	if len(d.Shards) == 0 {
		return
	}
	for host := range 4 {
		if rapid.IntRange(0, 3).Draw(w.t, "names the series") == 0 {
			d.Series = append(d.Series, fmt.Appendf(nil, "cpu,host=%d", host))
		}
	}
	if rapid.Bool().Draw(w.t, "a span") {
		d.First = rapid.Int64Range(1000, 3020).Draw(w.t, "first")
		d.Last = d.First + rapid.Int64Range(0, 1020).Draw(w.t, "length")
	}
	want := PointsDeleteOutcome{}
	for _, s := range d.Shards {
		own := slices.ContainsFunc(d.Series, func(k []byte) bool { return points.HashOf(k).Shard(testShards) == s.Shard })
		switch {
		case w.gone[s.Window]:
			want.Dropped++
		case d.Last < s.Span.First || d.First > s.Span.Last || len(d.Series) > 0 && !own:
			want.Passed++
		default:
			want.Deleted++
			if w.want[s.ShardID] == nil {
				w.want[s.ShardID] = map[string]string{}
			}
			maps.DeleteFunc(w.want[s.ShardID], func(value, _ string) bool {
				var key, field string
				var at int64
				if _, err := fmt.Sscan(value, &key, &field, &at); err != nil {
					w.t.Fatal(err)
				}
				return d.takes(s.ShardID, key, at)
			})
		}
	}
	r := w.do(d.Command())
	w.deletes = append(w.deletes, drawnDelete{d, w.index})
	var got PointsDeleteOutcome
	b := pack.NewReader(r.Detail)
	if err := got.Read(&b); r.Status != StatusApplied || err != nil || b.Done() != nil || got != want {
		w.t.Fatalf("delete %+v: %s, %+v, %v, want %+v", d, r.Status, got, err, want)
	}
}

// restore has the second replica begin with a snapshot of the first one, which must be that of the second one, too.
func (w *pointsWorld) restore() {
	state := mapBytes(w.t, w.a)
	if other := mapBytes(w.t, w.b); !bytes.Equal(state, other) {
		w.t.Fatalf("equal states as %d and %d bytes", len(state), len(other))
	}
	m := NewMap(testGroup)
	if err := m.Load(bytes.NewReader(state), raft.LogID{Term: 1, Index: w.index}, 0); err != nil {
		w.t.Fatal(err)
	}
	if !slices.Equal(m.Digests(nil), w.a.Digests(nil)) {
		w.t.Fatal("what was loaded has other digests")
	}
	w.b = m
}

// check compares what both replicas have of all shards with what must be there.
func (w *pointsWorld) check() {
	for _, m := range []*Map{w.a, w.b} {
		if len(m.Shards()) != len(w.want) {
			w.t.Fatalf("%d shards, want %d", len(m.Shards()), len(w.want))
		}
		for _, s := range m.Shards() {
			got := map[string]string{}
			r := s.Points.View().Read(w.open)
			for key, err := range r.Series("cpu") {
				if err != nil {
					w.t.Fatal(err)
				}
				key = bytes.Clone(key)
				for _, field := range []string{"v", "w"} {
					for p, err := range s.Points.View().Read(w.open).Columns(key, field, math.MinInt64, math.MaxInt64) {
						if err != nil {
							w.t.Fatal(err)
						}
						for i, at := range p.Times {
							got[fmt.Sprintf("%s %s %d", key, field, at)] = fmt.Sprint(points.FloatValue(p.Values.Floats[i]))
						}
					}
				}
			}
			if want := w.want[s.ShardID]; !maps.Equal(got, want) {
				w.t.Fatalf("%s has\n%v\nwant\n%v", s.ShardID, got, want)
			}
		}
	}
}

// All replicas have what entries bring to shards, in the same bytes, whether a replica has applied them or began with
// a snapshot: before a seal, while its file is made, after it, merged or not. Seals and files count once; what was dropped
// does not come back, nor does what was deleted, with fills that were taken before: they come long after, and may be the
// first that the shard gets.
func TestShardsOfAGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &pointsWorld{t: t, a: NewMap(testGroup), b: NewMap(testGroup), files: map[block.Sum][]byte{}, want: map[ShardID]map[string]string{}, gone: map[WindowID]bool{}}
		early := pointsCommand(t, 1, "cpu v=1 1000")
		if r := w.do(early); r.Status != StatusNotRaised {
			t.Fatalf("points for a group that was not raised: %s", r.Status)
		}
		w.do(RaiseCommand(Level))
		t.Repeat(map[string]func(*rapid.T){
			"write":   func(*rapid.T) { w.write() },
			"seal":    func(*rapid.T) { w.seal() },
			"make":    func(*rapid.T) { w.make() },
			"drop":    func(*rapid.T) { w.drop() },
			"delete":  func(*rapid.T) { w.delete() },
			"restore": func(*rapid.T) { w.restore() },
			"":        func(*rapid.T) { w.check() },
		})
	})
}

// A client's command that is no points of the shard that it names is refused before the log.
func TestPointsRefused(t *testing.T) {
	good := pointsBodies(t, 1, "cpu v=1 1000")[0]
	with := func(f func(p *PointsBody)) Command {
		p := good
		f(&p)
		return p.Command()
	}
	other := 1 - good.Shard.Shard
	for _, tt := range []struct {
		what    string
		command Command
		want    string
	}{
		{"a session", func() Command { c := good.Command(); c.Session, c.Sequence = 7, 1; return c }(), "field session: 7; want 0"},
		{"a mode of a newer level", with(func(p *PointsBody) { p.Mode = 9 }), "points with mode 9"},
		{"an index", with(func(p *PointsBody) { p.Taken = 9 }), "field taken: 9; want 0"},
		{"no share", with(func(p *PointsBody) { p.Share = nil }), "field share"},
		{"a byte that flipped", with(func(p *PointsBody) { p.Share = bytes.Clone(p.Share); p.Share[5] ^= 1 }), "field share"},
		{"another shard", with(func(p *PointsBody) { p.Shard.Shard = other }), "field shard: "},
		{"a shard that the window does not have", with(func(p *PointsBody) { p.Shard.Shard = testShards }), "want 0 to one less"},
		{"another window", with(func(p *PointsBody) { p.Shard.Span = points.Window{First: 0, Last: 999} }), "field share"},
		{"a window that ends before it begins", with(func(p *PointsBody) { p.Shard.Span = points.Window{First: 999, Last: 0} }), "does not end before it begins"},
		{"no database", with(func(p *PointsBody) { p.Shard.Database = 0 }), "ids begin with 1"},
		{"too many bytes", with(func(p *PointsBody) { p.Share = make([]byte, PointsSizeMax+1) }), "the limit is 1048576"},
	} {
		err := tt.command.Validate(Limits{ValueMax: 10, Level: Level})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.what, err, tt.want)
		}
	}
	if c := good.Command(); c.Validate(Limits{ValueMax: 10, Level: Level}) != nil {
		t.Errorf("good points: %v", c.Validate(Limits{ValueMax: 10, Level: Level}))
	}
}

// Each byte of a state with shards is under a checksum, and a state that is cut is refused.
func TestStateOfShardsDamaged(t *testing.T) {
	m := NewMap(testGroup)
	raise, drop := RaiseCommand(Level), (&DropShards{Windows: []WindowID{9}}).Command()
	apply(t, m, 1, 0, &raise)
	apply(t, m, 2, 0, &drop)
	command := pointsCommand(t, 1, "cpu v=1,s=\"text\" 1000\ncpu v=2 1001")
	apply(t, m, 3, 0, &command)
	seal := (&PointsSeal{Shard: m.Shards()[0].ShardID, Number: 1}).Command()
	apply(t, m, 4, 0, &seal)
	command = pointsCommand(t, 1, "cpu v=3 1002")
	apply(t, m, 5, 0, &command)
	d := testDelete(1, "cpu")
	d.Series = items("cpu")
	command = d.Command()
	apply(t, m, 6, 0, &command)
	state := mapBytes(t, m)
	load := func(b []byte) error {
		return NewMap(testGroup).Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 6}, 0)
	}
	if err := load(state); err != nil {
		t.Fatal(err)
	}
	from := bytes.Index(state, []byte(shardsMagic))
	for i := from; i < len(state); i++ {
		b := bytes.Clone(state)
		b[i] ^= 0x10
		if err := load(b); err == nil {
			t.Errorf("byte %d of the shards flipped: no error", i-from)
		}
		if err := load(state[:i]); err == nil {
			t.Errorf("cut after byte %d of the shards: no error", i-from)
		}
	}
	if err := load(append(bytes.Clone(state), 0)); err == nil {
		t.Error("a byte more: no error")
	}
}

// An entry that no admission lets through stops the group, and changes nothing.
func TestPointsThatBreakInvariants(t *testing.T) {
	m := NewMap(testGroup)
	raise := RaiseCommand(Level)
	apply(t, m, 1, 0, &raise)
	first := pointsBodies(t, 1, "cpu v=1 1000")[0]
	command := first.Command()
	apply(t, m, 2, 0, &command)
	digests := m.Digests(nil)
	first.Shard.Policy++
	another := first.Command()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 3}, 0, &another); !errors.Is(err, ErrInvariant) {
		t.Errorf("points of another policy: %v", err)
	}
	first.Shard.Policy--
	first.Share = []byte("no share")
	broken := first.Command()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 3}, 0, &broken); !errors.Is(err, ErrCommand) {
		t.Errorf("bytes that are no share: %v", err)
	}
	if !slices.Equal(digests, m.Digests(nil)) || m.Applied().Index != 2 {
		t.Error("they have changed something")
	}
}

// droppedShardAgain says what is wrong with a group to which points come after their window was dropped; "": nothing.
func droppedShardAgain(t testing.TB) string {
	m := NewMap(testGroup)
	raise, drop, late := RaiseCommand(Level), (&DropShards{Windows: []WindowID{1}}).Command(), pointsCommand(t, 1, "cpu v=1 1000")
	apply(t, m, 1, 0, &raise)
	apply(t, m, 2, 0, &drop)
	if r := apply(t, m, 3, 0, &late); r.Status != StatusNoShard || len(m.Shards()) > 0 {
		return fmt.Sprintf("%s, and it has %d shards", r.Status, len(m.Shards()))
	}
	return ""
}

// sealedTwice says what is wrong with a group to which one seal comes twice, as from two leaders; "": nothing.
func sealedTwice(t testing.TB) string {
	m := NewMap(testGroup)
	raise, first := RaiseCommand(Level), pointsCommand(t, 1, "cpu v=1 1000")
	apply(t, m, 1, 0, &raise)
	apply(t, m, 2, 0, &first)
	seal := (&PointsSeal{Shard: m.Shards()[0].ShardID, Number: 1}).Command()
	apply(t, m, 3, 0, &seal)
	more := pointsCommand(t, 1, "cpu v=2 1001")
	apply(t, m, 4, 0, &more)
	if r := apply(t, m, 5, 0, &seal); r.Status != StatusMarked || len(m.Shards()[0].Points.Frozen()) != 1 {
		return fmt.Sprintf("%s, and %d heads are frozen", r.Status, len(m.Shards()[0].Points.Frozen()))
	}
	return ""
}

// Two leaders may propose one seal, and points may be on their way for long.
func TestWhatComesTwiceOrLate(t *testing.T) {
	if wrong := droppedShardAgain(t); wrong != "" {
		t.Errorf("points for a window that was dropped: %s", wrong)
	}
	if wrong := sealedTwice(t); wrong != "" {
		t.Errorf("a seal that comes twice: %s", wrong)
	}
}

// The limits of a database come with the entry: a replica must not ask its own table, which another replica has
// in another state. Good points of an entry are kept.
func TestPointsOverLimits(t *testing.T) {
	m := NewMap(testGroup)
	raise := RaiseCommand(Level)
	apply(t, m, 1, 0, &raise)
	index := uint64(10)
	bring := func(limits points.Limits, text string) (o PointsOutcome) {
		t.Helper()
		index++
		c := pointsCommand(t, 1, text)
		c.Limits = limits
		r, err := m.Apply(raft.LogID{Term: 1, Index: index}, 0, &c)
		if err != nil || r.Status != StatusApplied {
			t.Fatalf("%s: %s, %v", text, r.Status, err)
		}
		reader := pack.NewReader(r.Detail)
		if err := o.Read(&reader); err != nil {
			t.Fatal(err)
		}
		return o
	}
	// Of a window with two shards each takes half of the series and four times the root of it more: 3 and 8, but no more than all.
	keys := keysOfShard(0, 9)
	one := func(i int) string { return keys[i] + " v=1 1000\n" }
	limits := points.Limits{Series: 6, Values: 5, Fields: 2}
	for _, c := range []struct {
		name   string
		limits points.Limits
		text   string
		want   PointsOutcome
	}{
		{"up to the limit of values", limits, one(0) + one(1) + one(2) + one(3) + one(4), PointsOutcome{Stored: 5}},
		{"one more value, beside a series that is there", limits, one(0) + one(5), PointsOutcome{Stored: 1, Dropped: 1, OverValues: 1,
			Refused: []PointsRefusal{{Reason: RefusedValues, Measurement: "m", Tag: "id", Count: 5, Limit: 5}}}},
		{"another limit", points.Limits{Series: 6, Values: 9, Fields: 2}, one(5), PointsOutcome{Stored: 1}},
		{"one more series", points.Limits{Series: 6, Values: 9, Fields: 2}, one(6), PointsOutcome{Dropped: 1, OverSeries: 1,
			Refused: []PointsRefusal{{Reason: RefusedSeries, Measurement: "m", Tag: "id", Count: 6, Limit: 6}}}},
		{"a lower limit", points.Limits{Series: 1, Values: 1, Fields: 1}, one(0) + one(5), PointsOutcome{Stored: 2}},
		{"no limits named", points.Limits{}, one(6) + one(7), PointsOutcome{Stored: 2}},
		{"one more field", limits, keys[0] + " v=2,w=1 1000\n" + keys[1] + " v=3,x=1 1000\n", PointsOutcome{Stored: 1, Dropped: 1, OverFields: 1,
			Refused: []PointsRefusal{{Reason: RefusedFields, Measurement: "m", Field: "x", Count: 2, Limit: 2}}}},
	} {
		if got := bring(c.limits, c.text); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", withRefused(c.want)) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}

	seal := PointsSeal{Shard: ShardID{1, 0}, Number: 1, Over: true}
	c := seal.Command()
	if r, err := m.Apply(raft.LogID{Term: 1, Index: 90}, 0, &c); err != nil || r.Status != StatusApplied {
		t.Fatalf("seal: %s, %v", r.Status, err)
	}
	if got := m.Shard(ShardID{1, 0}).Points.Census(); got.Series != 0 {
		t.Errorf("a shard of a window that is over counts %d series", got.Series)
	}
}

// withRefused gives an outcome the list that a reader makes of none.
func withRefused(o PointsOutcome) PointsOutcome {
	if o.Refused == nil {
		o.Refused = []PointsRefusal{}
	}
	return o
}

// keysOfShard returns keys of series that are in one shard, with a tag that grows.
func keysOfShard(shard points.Shard, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("m,id=%03d", i)
		if points.HashOf([]byte(key)).Shard(testShards) == shard {
			keys = append(keys, key)
		}
	}
	return keys
}
