package shard

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

var always = points.WindowOf(0, math.MaxInt64)

// value is one value that was written.
type value struct {
	key, field string
	time       int64
	value      points.Value
}

// place is where a value is.
type place struct {
	key, field string
	time       int64
}

// model is what entries come to, kept the slow and obvious way.
type model struct {
	values map[place]points.Value
	kinds  map[[2]string]column.Kind // by measurement and field
}

func newModel() *model {
	return &model{map[place]points.Value{}, map[[2]string]column.Kind{}}
}

func (m *model) clone() *model { return &model{maps.Clone(m.values), maps.Clone(m.kinds)} }

func measurementOf(key string) string { return string(points.MeasurementOf([]byte(key))) }

// refused returns the points of an entry that have a value of another kind. Values of one series and time are a point.
func (m *model) refused(all []value) map[place]bool {
	bad := map[place]bool{}
	for _, v := range all {
		if k := m.kinds[[2]string{measurementOf(v.key), v.field}]; k != 0 && k != v.value.Kind {
			bad[place{key: v.key, time: v.time}] = true
		}
	}
	return bad
}

// apply takes the points of an entry of which none is refused.
func (m *model) apply(all []value, mode Mode) {
	for _, v := range all {
		m.kinds[[2]string{measurementOf(v.key), v.field}] = v.value.Kind
		p := place{v.key, v.field, v.time}
		if _, there := m.values[p]; there && mode == Fill {
			continue
		}
		m.values[p] = v.value
	}
}

// gone reports whether a tombstone takes a point away.
func gone(t *Tombstone, key string, time int64) bool {
	if measurementOf(key) != string(t.Measurement) || time < t.First || time > t.Last {
		return false
	}
	return len(t.Series) == 0 || slices.ContainsFunc(t.Series, func(k []byte) bool { return string(k) == key })
}

func (m *model) delete(t Tombstone) {
	maps.DeleteFunc(m.values, func(p place, _ points.Value) bool { return gone(&t, p.key, p.time) })
	if t.whole() {
		maps.DeleteFunc(m.kinds, func(k [2]string, _ column.Kind) bool { return k[0] == string(t.Measurement) })
	}
}

// fatal is what a check is failed by.
type fatal interface{ Fatalf(string, ...any) }

// share returns the bytes of the share that values make. Those of one series and time are a point.
func share(t fatal, all []value) []byte {
	b := points.NewBuilder()
	done := map[place]bool{}
	for i, v := range all {
		p := place{key: v.key, time: v.time}
		if done[p] {
			continue
		}
		done[p] = true
		bad := b.Begin([]byte(v.key))
		for _, v := range all[i:] {
			if v.key == p.key && v.time == p.time && bad.None() {
				bad = put(b, v)
			}
		}
		if bad.None() {
			bad = b.Commit(v.time)
		}
		if !bad.None() {
			t.Fatalf("%v: %v", v, bad)
		}
	}
	s := points.Split(b.Batch(), points.Every(math.MaxInt64, 1))
	return s[len(s)-1].Append(nil)
}

// put gives the point that is being built a value.
func put(b *points.Builder, v value) points.Error {
	f, bad := b.Field([]byte(v.field))
	if !bad.None() {
		return bad
	}
	switch v.value.Kind {
	case column.Float:
		return b.Float(f, v.value.Float())
	case column.Integer:
		return b.Integer(f, v.value.Integer())
	case column.Unsigned:
		return b.Unsigned(f, v.value.Unsigned())
	case column.Boolean:
		return b.Boolean(f, v.value.Boolean())
	}
	return b.String(f, []byte(v.value.Text()))
}

// replica is a shard with its files.
type replica struct {
	shard *Shard
	files map[block.Sum][]byte
	keys  *block.Keys
}

// keysKept is so little that keys make room for each other.
const keysKept = 8 << 10

func newReplica() *replica {
	return &replica{New(always), map[block.Sum][]byte{}, block.NewKeys(keysKept)}
}

func (r *replica) open(s block.Sum) (*block.Reader, error) {
	b, ok := r.files[s]
	if !ok {
		return nil, fmt.Errorf("there is no file %s", s)
	}
	x, err := block.Open(bytes.NewReader(b), int64(len(b)))
	if err == nil && r.keys != nil {
		x.KeepKeys(r.keys)
	}
	return x, err
}

func (r *replica) apply(t fatal, share []byte, mode Mode) Result {
	b, err := new(points.ShareReader).Read(share, always)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r.shard.Apply(b, mode)
}

// sealed is the file of a seal.
func (r *replica) sealed(t fatal, v *View, generation uint64, merged, most int) (File, Sealed) {
	var file bytes.Buffer
	w, err := block.NewWriter(&file)
	if err != nil {
		t.Fatalf("%v", err)
	}
	done, err := v.seal(w, generation, merged, r.open, most)
	if err != nil {
		t.Fatalf("%v", err)
	}
	info, err := w.Finish()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if int64(info.Values) != done.Values {
		t.Fatalf("the seal tells of %d values, the file of %d", done.Values, info.Values)
	}
	r.files[info.Sum] = file.Bytes()
	return File{Sum: info.Sum, Size: info.Size, Values: info.Values, First: info.First, Last: info.Last}, done
}

// reload puts a shard in the place of this one that is loaded from its snapshot.
func (r *replica) reload(t fatal) {
	var b bytes.Buffer
	if _, err := r.shard.Copy().WriteTo(&b); err != nil {
		t.Fatalf("%v", err)
	}
	s, err := Load(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	r.shard = s
}

// valueAt returns the i-th value of a column.
func valueAt(v *column.Values, i int) points.Value {
	switch v.Kind {
	case column.Float:
		return points.FloatValue(v.Floats[i])
	case column.Integer:
		return points.IntegerValue(v.Integers[i])
	case column.Unsigned:
		return points.UnsignedValue(v.Unsigned[i])
	case column.Boolean:
		return points.BooleanValue(v.Booleans[i])
	}
	return points.StringValue(v.Strings[i])
}

// differs says in what a view differs from a model, between two times; "": in nothing.
func differs(v *View, open Opener, m *model, from, to int64) string {
	r := v.Read(open)
	got := map[place]points.Value{}
	names, err := r.Measurements()
	if err != nil {
		return err.Error()
	}
	var wantNames []string
	wantFields := map[string][]Field{}
	for k, kind := range m.kinds {
		name := points.ParseMeasurement([]byte(k[0]))
		wantNames = append(wantNames, name)
		wantFields[name] = append(wantFields[name], Field{points.ParseName([]byte(k[1])), kind})
	}
	slices.Sort(wantNames)
	if wantNames = slices.Compact(wantNames); !slices.Equal(names, wantNames) {
		return fmt.Sprintf("measurements are %q, want %q", names, wantNames)
	}
	series := map[string]bool{}
	for _, name := range names {
		fields, err := r.Fields(name)
		if err != nil {
			return err.Error()
		}
		slices.SortFunc(wantFields[name], func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
		if !slices.Equal(fields, wantFields[name]) {
			return fmt.Sprintf("fields of %q are %v, want %v", name, fields, wantFields[name])
		}
		var keys []string
		for key, err := range r.Series(name) {
			if err != nil {
				return err.Error()
			}
			keys = append(keys, string(key))
			series[string(key)] = true
		}
		if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
			return fmt.Sprintf("series of %q are %q: not in order", name, keys)
		}
		if wrong := checkTags(r, name, keys); wrong != "" {
			return wrong
		}
		for _, key := range keys {
			for _, f := range fields {
				before := int64(math.MinInt64)
				for p, err := range r.Columns([]byte(key), f.Name, from, to) {
					if err != nil {
						return err.Error()
					}
					if p.Values.Kind != f.Kind || len(p.Times) == 0 || p.Values.Len() != len(p.Times) {
						return fmt.Sprintf("a piece of %s %s: %v", key, f.Name, p)
					}
					for i, at := range p.Times {
						if at <= before || at < from || at > to {
							return fmt.Sprintf("%s %s: time %d follows %d", key, f.Name, at, before)
						}
						before = at
						written, _ := points.AppendName(nil, f.Name)
						got[place{key, string(written), at}] = valueAt(&p.Values, i)
					}
				}
			}
		}
	}
	want := maps.Clone(m.values)
	for p := range want {
		if !series[p.key] {
			return fmt.Sprintf("series %q is missing", p.key)
		}
		delete(series, p.key)
		series[p.key] = true
	}
	maps.DeleteFunc(want, func(p place, _ points.Value) bool { return p.time < from || p.time > to })
	if !maps.Equal(got, want) {
		return fmt.Sprintf("got %v\nwant %v", got, want)
	}
	for key := range series {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(m.values)), func(p place) bool { return p.key == key }) {
			return fmt.Sprintf("series %q has no points", key)
		}
	}
	return ""
}

// checkTags compares what is kept of the tags of a measurement's series, and what is found by one of them, with all keys, and
// keeps what they are.
func checkTags(r *Reader, measurement string, keys []string) string {
	tags := map[points.Tag][]string{}
	var names []string
	for _, key := range keys {
		s, err := points.ParseKey([]byte(key))
		if err != nil {
			return err.Error()
		}
		for _, t := range s.Tags {
			names = append(names, t.Name)
			tags[t] = append(tags[t], key)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if had, n, known := r.KnownTags(measurement); known && (!slices.Equal(had, names) || n != int64(len(keys))) {
		return fmt.Sprintf("tags %q of %d series of %q are known, want %q of %d", had, n, measurement, names, len(keys))
	}
	r.KeepTags(measurement, names, int64(len(keys)))
	for t, want := range tags {
		var got []string
		for key, err := range r.Series(measurement, t) {
			if err != nil {
				return err.Error()
			}
			got = append(got, string(key))
		}
		got = slices.DeleteFunc(got, func(key string) bool { return !slices.Contains(want, key) && slices.Contains(keys, key) })
		if !slices.Equal(got, want) {
			return fmt.Sprintf("series of %q with %v are %q, want %q", measurement, t, got, want)
		}
	}
	return ""
}

// past is a view of an earlier moment with what it must show.
type past struct {
	view  *View
	model *model
}

// world has two replicas of one shard: one of them is loaded from a snapshot now and then.
type world struct {
	a, b  *replica
	model *model
	pasts []past
	most  int // points of a block
	index uint64
	// deletes are those that were, with their indexes.
	deletes []buried
	kept    []*View // of a, before its last seals were confirmed: their files may not be here
	wrong   string
}

func newWorld(most int) *world {
	return &world{a: newReplica(), b: newReplica(), model: newModel(), most: most}
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// Fatalf makes a world what a check is failed by.
func (w *world) Fatalf(format string, args ...any) { w.fail(format, args...) }

// now is what stands for an entry that was taken when it is applied.
const now = forever

func (w *world) write(all []value, mode Mode) { w.fill(all, mode, now) }

// fill applies an entry of points that were taken at an index of the log.
func (w *world) fill(all []value, mode Mode, taken uint64) {
	if w.index++; len(all) == 0 {
		return
	}
	s := share(w, all)
	var results []string
	var got Result
	for _, r := range []*replica{w.a, w.b} {
		b, err := new(points.ShareReader).Read(s, always)
		if err == nil && taken == now {
			got = r.shard.Apply(b, mode)
		} else if err == nil {
			got, err = r.shard.Fill(b, taken)
		}
		results = append(results, fmt.Sprintf("%+v %v", got, err))
		if _, ok := err.(*ForgottenError); err != nil && !(ok && taken < w.a.shard.forgotten) {
			w.fail("%v", err)
		} else if ok && r == w.b && results[0] == results[1] {
			return // both have refused it
		}
	}
	if results[0] != results[1] {
		w.fail("the replicas answer %s and %s", results[0], results[1])
	}
	points := map[place]bool{}
	for _, v := range all {
		points[place{key: v.key, time: v.time}] = true
	}
	want := w.model.refused(all)
	all = slices.DeleteFunc(slices.Clone(all), func(v value) bool { return want[place{key: v.key, time: v.time}] })
	deleted := map[place]bool{}
	for _, d := range w.deletes {
		for _, v := range all {
			if d.index > taken && gone(&d.Tombstone, v.key, v.time) {
				deleted[place{key: v.key, time: v.time}] = true
			}
		}
	}
	w.model.apply(slices.DeleteFunc(all, func(v value) bool { return deleted[place{key: v.key, time: v.time}] }), mode)
	if got.Dropped != len(want) || (got.Dropped > 0) != (len(got.Refused) > 0) || got.Deleted != len(deleted) || got.Stored+got.Dropped+got.Deleted+got.Superseded != len(points) {
		w.fail("%d points make %+v, want %d dropped and %d deleted", len(points), got, len(want), len(deleted))
	}
}

func (w *world) delete(t Tombstone) {
	w.index++
	w.deletes = append(w.deletes, buried{Tombstone: t, index: w.index})
	w.model.delete(t)
	for _, r := range []*replica{w.a, w.b} {
		if err := r.shard.Delete(t, w.index); err != nil {
			w.fail("%v", err)
		}
	}
}

func (w *world) freeze() {
	if a, b := w.a.shard.Freeze(), w.b.shard.Freeze(); a != b {
		w.fail("generations %d and %d", a, b)
	}
}

// seal seals the oldest frozen head, with views that are as old as they may be.
func (w *world) seal(merged int) {
	frozen := w.a.shard.Frozen()
	if len(frozen) == 0 || w.wrong != "" {
		return
	}
	merged = min(merged, len(w.a.shard.Files()))
	a, _ := w.a.sealed(w, w.a.shard.View(), frozen[0], merged, w.most)
	b, _ := w.b.sealed(w, w.b.shard.View(), frozen[0], merged, w.most)
	if a.Sum != b.Sum {
		w.fail("the replicas have other files of generation %d", frozen[0])
		return
	}
	w.kept = append(w.kept, w.a.shard.View())
	for _, r := range []*replica{w.a, w.b} {
		if _, err := r.shard.Confirm(frozen[0], a, merged); err != nil {
			w.fail("%v", err)
		}
	}
}

// check compares all views with what they must show, and the replicas with each other.
func (w *world) check(from, to int64) {
	if w.wrong != "" {
		return
	}
	if a, b := w.a.shard.Copy().Digest(), w.b.shard.Copy().Digest(); a != b {
		w.fail("the replicas have digests %x and %x", a, b)
	}
	var a, b bytes.Buffer
	w.a.shard.Copy().WriteTo(&a)
	w.b.shard.Copy().WriteTo(&b)
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		w.fail("the replicas have other snapshots")
	}
	for _, r := range []*replica{w.a, w.b} {
		if wrong := differs(r.shard.View(), r.open, w.model, from, to); wrong != "" {
			w.fail("now: %s", wrong)
		}
	}
	if v := w.a.shard.Behind(w.kept); v != nil {
		last := w.kept[len(w.kept)-1].heads[0].generation
		if slices.ContainsFunc(v.Files(), func(f File) bool { return f.Generation == last }) {
			w.fail("the file of generation %d is read, and its head was kept", last)
		}
		if wrong := differs(v, w.a.open, w.model, from, to); wrong != "" {
			w.fail("with %d heads that were kept: %s", len(w.kept), wrong)
		}
	}
	for i, p := range w.pasts {
		if wrong := differs(p.view, w.a.open, p.model, from, to); wrong != "" {
			w.fail("view %d: %s", i, wrong)
		}
	}
}

// drawn draws what meets: few series, fields and times.
func drawn(t *rapid.T) (all []value) {
	type of struct {
		key, field string
		time       int64
	}
	kinds := map[[2]string]column.Kind{}
	for range rapid.IntRange(1, 12).Draw(t, "values") {
		v := value{
			key:   rapid.SampledFrom([]string{"m", "m,a=1", "m,a=2", "m+,a=1", `n\ x,a=1`}).Draw(t, "key"),
			field: rapid.SampledFrom([]string{"u", "v", `w\ w`}).Draw(t, "field"),
			time:  rapid.Int64Range(0, 12).Draw(t, "time"),
		}
		n := rapid.IntRange(0, 99).Draw(t, "value")
		kind := column.Float
		if v.field == "v" {
			kind = column.String
		}
		switch rapid.IntRange(0, 19).Draw(t, "kind") {
		case 0:
			kind = column.Integer
		case 1:
			kind = column.Boolean
		case 2:
			kind = column.Unsigned
		}
		// A builder lets a field have one kind in a text.
		id := [2]string{measurementOf(v.key), v.field}
		if k := kinds[id]; k != 0 {
			kind = k
		}
		kinds[id] = kind
		switch kind {
		case column.Float:
			v.value = points.FloatValue(float64(n))
		case column.Integer:
			v.value = points.IntegerValue(int64(n))
		case column.Boolean:
			v.value = points.BooleanValue(n > 50)
		case column.Unsigned:
			v.value = points.UnsignedValue(uint64(n))
		case column.String:
			v.value = points.StringValue(strings.Repeat("x", n%7))
		}
		all = append(all, v)
	}
	// The last one of a place counts.
	last := map[of]int{}
	for i, v := range all {
		last[of{v.key, v.field, v.time}] = i
	}
	var kept []value
	for i, v := range all {
		if last[of{v.key, v.field, v.time}] == i {
			kept = append(kept, v)
		}
	}
	return kept
}

func drawnTombstone(t *rapid.T) Tombstone {
	x := Tombstone{Measurement: []byte(rapid.SampledFrom([]string{"m", "m+", `n\ x`, "none"}).Draw(t, "measurement")), First: math.MinInt64, Last: math.MaxInt64}
	if rapid.Bool().Draw(t, "span") {
		x.First = rapid.Int64Range(0, 12).Draw(t, "first")
		x.Last = x.First + rapid.Int64Range(0, 6).Draw(t, "length")
	}
	if rapid.Bool().Draw(t, "series") {
		for _, k := range []string{"m", "m,a=1", "m,a=2", "m+,a=1"} {
			if rapid.Bool().Draw(t, k) {
				x.Series = append(x.Series, []byte(k))
			}
		}
		slices.SortFunc(x.Series, func(a, b []byte) int { return -bytes.Compare(a, b) }) // any order will do
	}
	return x
}

// step does one thing to a world.
func (w *world) step(t *rapid.T) {
	switch rapid.IntRange(0, 21).Draw(t, "step") {
	case 0, 1, 2, 3, 4, 5:
		w.write(drawn(t), Write)
	case 6, 7:
		w.write(drawn(t), Fill)
	case 8, 9:
		w.fill(drawn(t), Fill, rapid.Uint64Range(0, w.index).Draw(t, "taken"))
	case 10, 11:
		w.delete(drawnTombstone(t))
	case 12, 13, 14:
		w.freeze()
	case 15, 16, 17:
		w.seal(rapid.IntRange(0, 3).Draw(t, "merged"))
	case 18:
		w.b.reload(w)
	case 21: // the file of one is here
		if n := len(w.kept); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(t, "here")
			w.kept = slices.Delete(w.kept, i, i+1)
		}
	case 20:
		w.check(math.MinInt64, math.MaxInt64) // series that come later are put among those that were listed
	case 19:
		w.pasts = append(w.pasts, past{w.a.shard.View(), w.model.clone()})
	}
}

// A shard is a head that only grows, frozen heads, files and deletes, and all that is read of it is found out then. Held
// against a map: whatever is written, filled, late, replaced, deleted, frozen, sealed and merged, it shows each value
// once, the right one; a view shows what was there when it was made; and a replica that began with a snapshot makes the
// same files, has the same digest and writes the same snapshot.
func TestShardAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 4).Draw(t, "most"))
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			w.step(t)
		}
		from := rapid.Int64Range(-1, 13).Draw(t, "from")
		w.check(from, from+rapid.Int64Range(0, 14).Draw(t, "length"))
		w.check(math.MinInt64, math.MaxInt64)
		if w.wrong != "" {
			t.Fatal(w.wrong)
		}
	})
}
