package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"

	"muster/repl/memtest"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

func floats(key, field string, at ...int64) (all []value) {
	for _, t := range at {
		all = append(all, value{key, field, t, points.FloatValue(float64(t))})
	}
	return all
}

// A client is told how many points were stored, dropped and superseded, and of which fields the kinds differ.
func TestResultsOfEntries(t *testing.T) {
	r := newReplica()
	apply := func(mode Mode, all ...value) Result { return r.apply(t, share(t, all), mode) }
	conflict := points.Error{Reason: points.FieldTypeConflict, Name: `u\ u`, Kind: column.String, Had: column.Float}
	long := strings.Repeat("k", points.KeyMax-len("m,a=")-20)
	for _, c := range []struct {
		name string
		got  Result
		want string
	}{
		{"two points", apply(Write, append(floats("m,a=1", `u\ u`, 1, 2), floats("m,a=1", "v", 1)...)...), fmt.Sprintf("%+v", Result{Stored: 2})},
		{"a point of two fields, of which one is refused", apply(Write, value{"m,a=2", `u\ u`, 1, points.StringValue("x")}, value{"m,a=2", "new", 1, points.IntegerValue(1)}, value{"m,a=2", "v", 2, points.FloatValue(1)}),
			fmt.Sprintf("%+v", Result{Stored: 1, Dropped: 1, Refused: []Refused{{Measurement: "m", Field: "u u", Reason: conflict}}})},
		{"the new field of the refused point has no kind", apply(Write, value{"m,a=2", "new", 1, points.StringValue("s")}), fmt.Sprintf("%+v", Result{Stored: 1})},
		{"a fill of what is there, and of what is not", apply(Fill, append(floats("m,a=1", `u\ u`, 2, 3), floats("m,a=1", "v", 1)...)...), fmt.Sprintf("%+v", Result{Stored: 1, Superseded: 2})},
		{"a fill of one field that is there and one that is not", apply(Fill, append(floats("m,a=1", `u\ u`, 2), floats("m,a=1", "v", 2)...)...), fmt.Sprintf("%+v", Result{Stored: 1})},
		{"a key that leaves no room for the field", apply(Write, append(floats("m,a="+long, strings.Repeat("f", 30), 1), floats("m,a="+long, "v", 2)...)...),
			fmt.Sprintf("%+v", Result{Stored: 1, Dropped: 1, Refused: []Refused{{Measurement: "m", Field: strings.Repeat("f", 30), Reason: points.Error{Reason: points.KeyTooLong}}}})},
	} {
		if got := fmt.Sprintf("%+v", c.got); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	// Some of many refused fields are named.
	var many []value
	for i := range 2 * RefusedListed {
		many = append(many, floats("m", fmt.Sprint("x", i), 1)...)
	}
	apply(Write, many...)
	for i := range many {
		many[i].value = points.BooleanValue(true)
	}
	if got := apply(Write, many...); len(got.Refused) != RefusedListed || got.Dropped != 1 || got.Stored != 0 {
		t.Errorf("%+v, want 1 point dropped, %d fields named", got, RefusedListed)
	}
}

// A delete beyond the limits is refused with what is to be done, and changes nothing.
func TestDeletesHaveLimits(t *testing.T) {
	s := New(always)
	var limit *LimitError
	many := make([][]byte, TombstoneSeriesMax+1)
	if err := s.Delete(Tombstone{Measurement: []byte("m"), Series: many}, 1); !errors.As(err, &limit) || !strings.Contains(err.Error(), "series of a delete: 65537, at most 65536: delete them in parts") {
		t.Errorf("got %v", err)
	}
	if err := s.Delete(Tombstone{Measurement: []byte("m"), Series: [][]byte{make([]byte, TombstoneBytesMax)}}, 1); !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
	large := Tombstone{Measurement: []byte("m"), Series: [][]byte{make([]byte, TombstoneBytesMax-1)}}
	full := New(always)
	for i := range TombstonesBytesMax / TombstoneBytesMax {
		if err := full.Delete(large, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := full.Delete(large, 100); !errors.As(err, &limit) || !strings.Contains(err.Error(), "since the last seal: 17825792, at most 16777216") {
		t.Errorf("got %v", err)
	}
	for i := range TombstonesMax {
		if err := s.Delete(Tombstone{Measurement: []byte("m")}, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Digest()
	if err := s.Delete(Tombstone{Measurement: []byte("m")}, 5000); !errors.As(err, &limit) || !strings.Contains(err.Error(), "after the next seal") {
		t.Errorf("got %v", err)
	}
	if s.Digest() != before {
		t.Error("a refused delete has changed the shard")
	}
	r := &replica{s, map[block.Sum][]byte{}, nil}
	g := s.Freeze()
	f, _ := r.sealed(t, s.View(), g, 0, BlockPoints)
	if _, err := s.Confirm(g, f, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Tombstone{Measurement: []byte("m")}, 5000); err != nil {
		t.Errorf("after a seal: %v", err)
	}
}

// A seal of another generation, of more files than there are, or of a file that is missing, is an error and no file.
func TestSealsThatAreRefused(t *testing.T) {
	r := newReplica()
	r.apply(t, share(t, floats("m", "v", 1)), Write)
	try := func(generation uint64, merged int) error {
		w, err := block.NewWriter(&bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.shard.View().Seal(w, generation, merged, r.open)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{try(1, 0), "none of its heads is frozen"},
		{func() error { r.shard.Freeze(); r.shard.Freeze(); return try(2, 0) }(), "generation 1 is frozen and older"},
		{try(1, 1), "merge 1 files of a shard: it has 0"},
		{func() error { _, err := r.shard.Confirm(2, File{}, 0); return err }(), "want it first"},
		{func() error {
			if _, err := r.shard.Confirm(1, File{Values: 1, Sum: block.Sum{1}}, 0); err != nil {
				t.Fatal(err)
			}
			return try(2, 1)
		}(), "there is no file 01"},
		{func() error {
			for _, err := range r.shard.View().Read(r.open).Columns([]byte("m"), "v", math.MinInt64, math.MaxInt64) {
				return err
			}
			return nil
		}(), "there is no file 01"},
		{func() error {
			for _, err := range r.shard.View().Read(r.open).Series("m") {
				return err
			}
			return nil
		}(), "there is no file 01"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v, want %q", c.err, c.want)
		}
	}
}

// Tags that are kept must go with the first series that is new, with each seal and delete, and stay while points of
// the same series come: an older view must not see what is newer, nor a newer one what was.
func TestKnownTags(t *testing.T) {
	r := newReplica()
	known := func(v *View, what string, want bool) {
		t.Helper()
		names, series, known := v.Read(r.open).KnownTags("m")
		if known != want || known && (!slices.Equal(names, []string{"a", "b"}) || series != 2) {
			t.Errorf("%s: known %v, tags %q of %d series; want %v", what, known, names, series, want)
		}
	}
	keep := func() { r.shard.View().Read(r.open).KeepTags("m", []string{"a", "b"}, 2) }
	r.apply(t, share(t, slices.Concat(floats("m,b=1", "v", 1), floats(`m,a=1,b=2`, "v", 1), floats("m2,c=1", "v", 1))), Write)
	known(r.shard.View(), "nothing is kept", false)
	keep()
	first := r.shard.View()
	known(first, "kept", true)
	r.apply(t, share(t, slices.Concat(floats("m,b=1", "v", 2), floats("m2,c=2", "v", 1))), Write)
	known(r.shard.View(), "another point, and a series of another measurement", true)
	r.apply(t, share(t, floats("m,c=1", "v", 2)), Write)
	known(r.shard.View(), "another series", false)
	known(first, "the view before it", true)
	r.shard.View().Read(r.open).KeepTags("m", []string{"a", "b", "c"}, 3)
	known(first, "what a newer view has", false)
	r.shard.Freeze()
	known(r.shard.View(), "another head", false)
	keep()
	known(r.shard.View(), "kept anew", true)
	before := r.shard.Bytes()
	r.shard.View().Read(r.open).KeepTags("m", []string{"a", strings.Repeat("b", 1000)}, 2)
	if got := r.shard.Bytes() - before; got < 900 || got > 1000 {
		t.Errorf("a thousand bytes more take %d", got)
	}
	for i := range 500 {
		r.shard.View().Read(r.open).KeepTags(fmt.Sprint(i), []string{"a", strings.Repeat("b", 1000)}, 2)
	}
	if got := r.shard.tags.bytes.Load(); got > knownTagsMax {
		t.Errorf("%d bytes are kept, want at most %d", got, knownTagsMax)
	}
}

// A reader that is told which tags a series must have leaves none out that has them, however their text is written, in
// heads and files, whether keys are kept or not.
func TestSeriesWithTags(t *testing.T) {
	r := newReplica()
	all := []string{"m", `m,a=1,b=2`, `m,a=1,b=3`, `m,a=2,b=2`, `m,a\ a=1\,b\=2,b=1`, `m,b=2`}
	var both []value
	for _, k := range all {
		both = append(both, floats(k, "v", 1)...)
	}
	r.apply(t, share(t, both), Write)
	check := func(what string, open Opener) {
		t.Helper()
		for _, c := range []struct {
			tags []points.Tag
			want []string
		}{
			{nil, all},
			{[]points.Tag{{Name: "a", Value: "1"}}, []string{all[1], all[2]}},
			{[]points.Tag{{Name: "b", Value: "2"}}, []string{all[1], all[3], all[5]}},
			{[]points.Tag{{Name: "b", Value: "2"}, {Name: "a", Value: "1"}}, []string{all[1]}},
			{[]points.Tag{{Name: "a a", Value: "1,b=2"}}, []string{all[4]}},
			{[]points.Tag{{Name: "c", Value: "2"}}, nil},
		} {
			var got []string
			for key, err := range r.shard.View().Read(open).Series("m", c.tags...) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(key))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: series with %v: got %q, want %q", what, c.tags, got, c.want)
			}
		}
	}
	check("head", r.open)
	generation := r.shard.Freeze()
	f, _ := r.sealed(t, r.shard.View(), generation, 0, BlockPoints)
	if _, err := r.shard.Confirm(generation, f, 0); err != nil {
		t.Fatal(err)
	}
	keys := r.keys
	r.keys = nil
	check("file", r.open)
	r.keys = keys
	check("file whose keys are kept now", r.open)
	check("file whose keys were kept", r.open)
	if keys.Bytes() == 0 {
		t.Error("no keys are kept")
	}
}

// A series that is written with ever other fields must not cost more with each of them.
func TestManyLayouts(t *testing.T) {
	w := newWorld(BlockPoints)
	for i := range int64(300) {
		w.write(slices.Concat(floats("m", fmt.Sprint("x", i%17), i), floats("m", fmt.Sprint("y", i%31), i), floats("m", "z", i)), Write)
	}
	if n := w.a.shard.head.series.at(w.a.shard.head.find(w.a.shard.head.hash([]byte("m")), []byte("m"))).many; n != bandsChained {
		t.Errorf("%d bands are in the first chain, want %d", n, bandsChained)
	}
	w.b.reload(w)
	w.check(math.MinInt64, math.MaxInt64)
	w.freeze()
	w.seal(0)
	w.check(math.MinInt64, math.MaxInt64)
	if w.wrong != "" {
		t.Error(w.wrong)
	}
}

// Long columns fill many chunks and blocks, wide rows whole chunks; strings end blocks early.
func TestLongAndWide(t *testing.T) {
	w := newWorld(BlockPoints)
	var long, wide, text []value
	for i := range int64(5000) {
		long = append(long, floats("long", "v", i*7)...)
	}
	for i := range 2 * bandFields {
		wide = append(wide, floats("wide", fmt.Sprintf("f%04d", i), 1, 2, 3)...)
	}
	for i := range int64(50) {
		text = append(text, value{"text", "s", i, points.StringValue(strings.Repeat(fmt.Sprint(i%10), 60_000))})
	}
	for _, all := range [][]value{wide, long, text} { // the first row is longer than the first piece of its list
		for part := range slices.Chunk(all, 1999) {
			w.write(part, Write)
		}
	}
	w.check(7, 3000)
	w.b.reload(w)
	w.freeze()
	w.seal(0)
	w.check(7, 3000)
	w.check(math.MinInt64, math.MaxInt64)
	if w.wrong != "" {
		t.Fatal(w.wrong[:min(len(w.wrong), 300)])
	}
	r, err := w.a.open(w.a.shard.Files()[0].Sum)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string][]int{}
	c := r.All()
	for c.Next() {
		key := string(c.Row().Series)
		blocks[key] = append(blocks[key], c.Row().Points)
	}
	if got := fmt.Sprint(blocks["long"], blocks["text"]); got != "[1000 1000 1000 1000 1000] [18 18 14]" {
		t.Errorf("blocks of %s points", got)
	}
}

// Readers on other goroutines see a moment: in each entry here all columns get one more value, and the first of them another
// one. (With -race this shows that a reader touches nothing that changes.)
func TestReadersBesideWrites(t *testing.T) {
	const entries, series = 60, 40
	r := newReplica()
	var shares [][]byte
	for n := range int64(entries) {
		var all []value
		for i := range series {
			for _, f := range []string{"u", "v", fmt.Sprint("w", n%12)} {
				key := fmt.Sprintf("m,a=%d", i)
				all = append(all, value{key, f, 0, points.IntegerValue(n)}, value{key, f, n + 1, points.IntegerValue(n)})
			}
		}
		shares = append(shares, share(t, all))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	look := func() error {
		v := r.shard.View()
		entries := int64(v.entry)
		x := v.Read(r.open)
		n := 0
		for key, err := range x.Series("m") {
			if err != nil {
				return err
			}
			for _, f := range []string{"u", "v"} {
				for p, err := range x.Columns(key, f, math.MinInt64, math.MaxInt64) {
					if err != nil {
						return err
					}
					if int64(len(p.Times)) != entries+1 || p.Values.Integers[0] != entries-1 || p.Values.Integers[entries] != entries-1 {
						return fmt.Errorf("after entry %d, %s %s has times %v: %v", entries, key, f, p.Times, p.Values.Integers)
					}
				}
			}
			n++
		}
		if entries > 0 && n != series {
			return fmt.Errorf("after entry %d there are %d series", entries, n)
		}
		v.Digest()
		_, err := v.WriteTo(io.Discard)
		return err
	}
	errs := make(chan error, 2)
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				if err := look(); err != nil {
					errs <- err
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	for _, s := range shares {
		r.apply(t, s, Write)
	}
	close(stop)
	readers.Wait()
	select {
	case err := <-errs:
		t.Error(err)
	default:
	}
	if err := look(); err != nil {
		t.Error(err)
	}
}

// sampleSnapshot has a frame of each kind.
func sampleSnapshot(t fatal) []byte {
	w := newWorld(BlockPoints)
	w.write(floats("m,a=1", "v", 1, 2), Write)
	w.freeze()
	w.seal(0)
	w.write(slices.Concat(floats("m,a=1", "v", 3), []value{{"m,a=2", "s", 3, points.StringValue("x")}}), Write)
	w.delete(Tombstone{Measurement: []byte("m"), Series: [][]byte{[]byte("m,a=1")}, First: 2, Last: 2})
	w.freeze()
	w.write(floats("n", "v", 4), Fill)
	var b bytes.Buffer
	if _, err := w.a.shard.Copy().WriteTo(&b); err != nil || w.wrong != "" {
		t.Fatalf("%v %s", err, w.wrong)
	}
	return b.Bytes()
}

// Whichever byte of a snapshot is changed, and wherever it is cut, it is refused.
func TestEveryByteOfASnapshot(t *testing.T) {
	whole := sampleSnapshot(t)
	refused := func(b []byte, what string) {
		_, err := Load(bytes.NewReader(b))
		var damage *DamageError
		var version *VersionError
		if !errors.As(err, &damage) && !errors.As(err, &version) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if _, err := Load(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		refused(whole[:i], fmt.Sprintf("cut at %d", i))
		for _, change := range []byte{1, 0x80, 0xff} {
			changed := slices.Clone(whole)
			changed[i] ^= change
			refused(changed, fmt.Sprintf("byte %d changed", i))
		}
	}
	all := framesOf(whole)
	for i := range all {
		refused(chained(slices.Delete(slices.Clone(all), i, i+1)), fmt.Sprintf("frame %d left out", i+1))
	}
}

// frame is a frame of a snapshot.
type frame struct {
	kind byte
	body []byte
}

func framesOf(b []byte) (all []frame) {
	for len(b) >= 13 {
		n := int(binary.LittleEndian.Uint32(b[1:]))
		if n > len(b)-13 {
			break
		}
		all = append(all, frame{b[0], b[5 : 5+n]})
		b = b[13+n:]
	}
	return all
}

// chained gives frames the checksums that they need; the last one keeps what it says.
func chained(all []frame) (b []byte) {
	sum := uint64(0)
	for _, f := range all {
		from := len(b)
		b = append(binary.LittleEndian.AppendUint32(append(b, f.kind), uint32(len(f.body))), f.body...)
		sum = xxhash.Sum64(append(binary.LittleEndian.AppendUint64(nil, sum), b[from:]...))
		b = binary.LittleEndian.AppendUint64(b, sum)
	}
	return b
}

// A snapshot with right checksums that nobody writes is refused with the reason.
func TestSnapshotsThatNobodyWrites(t *testing.T) {
	good := framesOf(sampleSnapshot(t))
	index := func(kind byte) int {
		return slices.IndexFunc(good, func(f frame) bool { return f.kind == kind })
	}
	with := func(kind byte, body ...byte) []frame {
		all := slices.Clone(good)
		all[index(kind)].body = body
		return all
	}
	twice := func(kind byte) []frame { return slices.Insert(slices.Clone(good), index(kind), good[index(kind)]) }
	u := func(n ...uint64) (b []byte) {
		for _, n := range n {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	large := points.Collector{}
	large.Reset()
	times := make([]int64, shareValues+1)
	for i := range times {
		times[i] = int64(i)
	}
	large.Add([]byte("m"), []byte("v"), column.Integer, times, make([]uint64, len(times)), nil)
	tooLarge := large.Share()
	for what, c := range map[string]struct {
		frames []frame
		want   string
	}{
		"another magic":           {with(frameBegin, []byte("mustshrx\x01\x00\x00")...), "no snapshot of a shard"},
		"another version":         {with(frameBegin, []byte("mustshrd\x02\x00\x00")...), "use a newer build"},
		"a window backwards":      {with(frameBegin, []byte("mustshrd\x01\x02\x00\x00")...), "the window is from 1 to 0"},
		"begin twice":             {twice(frameBegin), "a frame of kind 1 stands behind one of kind 1"},
		"a file twice":            {twice(frameFile), "a file of generation 1 follows one of 1"},
		"a head twice":            {twice(frameHead), "a head of generation 2 follows one of 2"},
		"a field twice":           {twice(frameField), "fields are not in order"},
		"a field of no kind":      {with(frameField, append(appendText(appendText(nil, []byte("m")), []byte("v")), 9)...), "is of kind 9"},
		"a head of no generation": {with(frameHead, u(0)...), "a head has generation 0"},
		"a head before its file":  {with(frameHead, u(1)...), "a head has generation 1"},
		"a long number":           {with(frameHead, 0x82, 0), "more bytes than it needs"},
		"bytes behind":            {with(frameHead, u(2, 0)...), "1 bytes stand behind"},
		"no share":                {with(frameWrite, u(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)...), "the bytes of the share are damaged"},
		"a large share":           {with(frameWrite, tooLarge.Append(nil)...), "65537 values, at most 65536"},
		"a wrong count":           {with(frameEnd, u(3)...), "it tells of 3 frames"},
		"series in disorder":      {with(frameTombstone, append(append(append(u(9, 2), appendText(nil, []byte("m"))...), 0, 0), append(u(2), append(appendText(nil, []byte("b")), appendText(nil, []byte("a"))...)...)...)...), "series of a tombstone are not in order"},
		"an unknown kind":         {slices.Insert(slices.Clone(good), 1, frame{77, nil}), "a frame of kind 77"},
	} {
		if _, err := Load(bytes.NewReader(chained(c.frames))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

// No bytes make the reader panic, or spend much more memory than they are long and tell of values; what it takes makes the
// same bytes again.
func FuzzSnapshot(f *testing.F) {
	whole := sampleSnapshot(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		all := framesOf(b)
		b = chained(all)
		values := 0
		for _, x := range all {
			values += min(points.ShareValues(x.body), shareValues)
		}
		if values > 1<<16 {
			return
		}
		var s *Shard
		spent := memtest.Allocated(func() { s, _ = Load(bytes.NewReader(b)) })
		if most := 1024*values + 64*len(b) + len(all)<<10 + 1<<18; s == nil && spent > most+1<<20 {
			t.Errorf("%d bytes are allocated for %d with %d values, want at most %d", spent, len(b), values, most)
		}
		if s == nil {
			return
		}
		var first, again bytes.Buffer
		if _, err := s.Copy().WriteTo(&first); err != nil {
			t.Fatal(err)
		}
		x, err := Load(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		x.Copy().WriteTo(&again)
		if !bytes.Equal(first.Bytes(), again.Bytes()) || s.Digest() != x.Digest() {
			t.Error("what was read and written comes back as something else")
		}
	})
}
