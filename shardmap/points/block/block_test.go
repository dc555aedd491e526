package block

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"muster/repl/puretest"
	"muster/shardmap/points/column"
)

// Replicas write equal columns only if nothing but the blocks decides. A lock guards keys that are kept of files that were read.
func TestPure(t *testing.T) {
	puretest.Check(t, []string{
		"bytes", "container/list", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt", "hash", "io", "math", "slices", "strings", "sort", "sync",
		"github.com/cespare/xxhash/v2", "github.com/klauspost/compress/zstd", "muster/shardmap/points/column",
	}, nil)
}

// drawBlocks draws blocks in order: few series with long shared prefixes, some times shared, fields in several blocks.
func drawBlocks(t *rapid.T) (blocks []Block) {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`cpu(,host=[ab]{0,3}){0,2}`), 1, 6, rapid.ID).Draw(t, "series")
	slices.Sort(names)
	for _, series := range names {
		fields := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab]{0,3}`), 1, 4, rapid.ID).Draw(t, "fields")
		slices.Sort(fields)
		shared := drawTimes(t)
		for _, field := range fields {
			times := shared
			switch rapid.IntRange(0, 2).Draw(t, "times") {
			case 0: // of its own
				times = drawTimes(t)
			case 1: // almost those of the others
				times = slices.Clone(times)
				times[len(times)-1]++
			}
			kind := column.Kind(rapid.IntRange(int(column.Float), int(column.String)).Draw(t, "kind"))
			cut := rapid.IntRange(0, len(times)-1).Draw(t, "cut")
			for _, part := range [][]int64{times[:cut], times[cut:]} {
				if len(part) > 0 {
					blocks = append(blocks, Block{[]byte(series), []byte(field), part, drawValues(t, kind, len(part))})
				}
			}
		}
	}
	return blocks
}

func drawTimes(t *rapid.T) []int64 {
	begin := rapid.Int64Range(-1e18, 1e18).Draw(t, "begin")
	var times []int64
	for range rapid.IntRange(1, 100).Draw(t, "points") {
		times = append(times, begin)
		begin += rapid.SampledFrom([]int64{10e9, 10e9, 10e9, 1, 3600e9}).Draw(t, "interval")
	}
	return times
}

func drawValues(t *rapid.T, kind column.Kind, n int) column.Values {
	v := column.Values{Kind: kind}
	for range n {
		switch i := rapid.Int64Range(-100, 100).Draw(t, "value"); kind {
		case column.Float:
			v.Floats = append(v.Floats, float64(i)/4)
		case column.Integer:
			v.Integers = append(v.Integers, i)
		case column.Unsigned:
			v.Unsigned = append(v.Unsigned, uint64(i))
		case column.Boolean:
			v.Booleans = append(v.Booleans, i > 0)
		case column.String:
			v.Strings = append(v.Strings, strings.Repeat("x", int(max(i, 0))))
		}
	}
	return v
}

// Blocks come back as they were written, all of them and each part that a caller can ask for, as a slow filter finds
// it. Pages end after a few rows, so that a part begins and ends anywhere in one.
func TestBlocksComeBack(t *testing.T) {
	if wrong := roundTrips(t); wrong != "" {
		t.Error(wrong)
	}
}

// roundTrips returns what is wrong, if something is.
func roundTrips(t *testing.T) (wrong string) {
	rapid.Check(t, func(t *rapid.T) {
		if wrong != "" {
			return
		}
		blocks := drawBlocks(t)
		var file bytes.Buffer
		w, err := NewWriter(&file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			if err := w.Add(&blocks[i]); err != nil {
				t.Fatal(err)
			}
			if len(w.page) > 0 && rapid.IntRange(0, 3).Draw(t, "end of a page") == 0 {
				w.endPage()
			}
		}
		info, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		r, err := open(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(); err != nil {
			wrong = err.Error()
			return
		}
		if r.Info() != info || info.Size != int64(file.Len()) || info.Blocks != uint64(len(blocks)) {
			t.Fatalf("the reader says %+v, the writer %+v, of %d blocks in %d bytes", r.Info(), info, len(blocks), file.Len())
		}
		asked := func(what string, c *Cursor, keep func(*Block) bool) {
			got, err := read(c)
			if want := filtered(blocks, keep); (err != nil || told(got) != told(want)) && wrong == "" {
				wrong = fmt.Sprintf("%s: got, with error %v:\n%s\nwant:\n%s", what, err, told(got), told(want))
			}
			if c.Next() {
				t.Fatalf("%s: the cursor goes on behind its end", what)
			}
		}
		from := []byte(rapid.StringMatching(`cpu(,host=[ab]{0,3}){0,2}`).Draw(t, "from"))
		to := []byte(rapid.StringMatching(`cpu(,host=[ab]{0,3}){0,2}`).Draw(t, "to"))
		some := &blocks[rapid.IntRange(0, len(blocks)-1).Draw(t, "some")]
		asked("all", r.All(), func(*Block) bool { return true })
		asked("from", r.Range(from, nil), func(b *Block) bool { return bytes.Compare(b.Series, from) >= 0 })
		asked("range", r.Range(from, to), func(b *Block) bool {
			return bytes.Compare(b.Series, from) >= 0 && bytes.Compare(b.Series, to) < 0
		})
		asked("prefix", r.Prefix(from), func(b *Block) bool { return bytes.HasPrefix(b.Series, from) })
		asked("field", r.Field(some.Series, some.Field), func(b *Block) bool {
			return compare(b.Series, b.Field, some.Series, some.Field) == 0
		})
		asked("no field", r.Field(some.Series, []byte("c")), func(*Block) bool { return false })
	})
	return wrong
}

// A file without blocks is one too.
func TestNoBlocks(t *testing.T) {
	file, info := written(t, nil)
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	if blocks, err := read(r.All()); len(blocks) > 0 || err != nil || r.Verify() != nil || info.Blocks != 0 {
		t.Errorf("%d blocks, %v, %v", len(blocks), err, r.Verify())
	}
}

// Fields of a series with the same times have one column of them: ten fields must take the room of one more column,
// not of ten.
func TestTimesAreShared(t *testing.T) {
	jitter := make([]int64, 1000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range jitter {
		jitter[i] = int64(i)*10e9 + random.Int64N(1e9)
	}
	size := func(fields int) int64 {
		var blocks []Block
		for f := range fields {
			blocks = append(blocks, Block{[]byte("s"), fmt.Appendf(nil, "%02d", f), jitter, column.Values{Kind: column.Boolean, Booleans: make([]bool, 1000)}})
		}
		_, info := written(t, blocks)
		return info.Size
	}
	if one, ten := size(1), size(10); one < 3000 || ten > one+9*60 {
		t.Errorf("one field takes %d bytes, ten with the same times %d", one, ten)
	}
}

// Two releases whose zstd makes other bytes must name the file alike: the name is that of the columns.
func TestNameIsThatOfTheColumns(t *testing.T) {
	file, info := written(t, sample())
	better, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	w, err := NewWriter(&other)
	if err != nil {
		t.Fatal(err)
	}
	w.packer = better
	for _, b := range sample() {
		if err := w.Add(&b); err != nil {
			t.Fatal(err)
		}
	}
	otherInfo, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(file, other.Bytes()) || info.Sum != otherInfo.Sum {
		t.Errorf("other packing: files equal %v, sums %v and %v", bytes.Equal(file, other.Bytes()), info.Sum, otherInfo.Sum)
	}
	// These bytes name files: what changes them needs another version of the columns.
	if got, want := info.Sum.Name(), "6457beea14c4727df7258d30b7d4ba24892e683a6848d9d86d09cdeb92b88b1e.points"; got != want {
		t.Errorf("the sample is named %s, want %s", got, want)
	}
	name := info.Sum.Name()
	if sum, ok := ParseName(name); !ok || sum != info.Sum {
		t.Errorf("the name %s is read as %v, %t", name, sum, ok)
	}
	for _, other := range []string{"", ".points", name[1:], name[:64], name + "s", strings.ToUpper(name[:64]) + ".points", "g" + name[1:], name[:62] + ".points", "00" + name} {
		if _, ok := ParseName(other); ok {
			t.Errorf("%q is read as a name", other)
		}
	}
	for i := range sample() {
		blocks := sample()
		blocks[i].Series = append(bytes.Clone(blocks[i].Series), 0)
		for j := range blocks[i+1:] { // those of the same series too, so that the order stays
			if k := i + 1 + j; bytes.Equal(blocks[k].Series, sample()[i].Series) {
				blocks[k].Series = blocks[i].Series
			}
		}
		if _, other := written(t, blocks); other.Sum == info.Sum {
			t.Errorf("block %d is of another series, and the sum is the same", i)
		}
	}
}

// A writer refuses a block that can't be the next one, says what would be right, and takes none after it.
func TestWriterRefuses(t *testing.T) {
	at := func(series, field string, times ...int64) Block {
		return Block{[]byte(series), []byte(field), times, column.Values{Kind: column.Integer, Integers: make([]int64, len(times))}}
	}
	short := at("b", "f", 7, 8)
	short.Values.Integers = short.Values.Integers[1:]
	for _, c := range []struct {
		name string
		b    Block
		want string
	}{
		{"no points", at("b", "f"), "has 0 times and 0 values; want as many of each, 1 to 65536"},
		{"too many", at("b", "f", make([]int64, PointsMax+1)...), "1 to 65536"},
		{"a value is missing", short, "has 2 times and 1 values"},
		{"no kind", Block{Series: []byte("b"), Times: []int64{7}}, "values are of kind 0"},
		{"times that stand still", at("b", "f", 7, 7), "time 7 follows 7; want times that ascend"},
		{"a long key", at("b"+strings.Repeat("x", KeyMax), "f", 7), "want at most 65535 together"},
		{"an earlier series", at("a", "f", 7), `it follows field "f" of series "b"; want blocks by series and field`},
		{"an earlier field", at("b", "e", 7), "want blocks by series and field"},
		{"an overlap", at("b", "f", 5, 6), "it begins at 5, and the block before ends at 5"},
		{"another kind", Block{[]byte("b"), []byte("f"), []int64{9}, column.Values{Kind: column.Boolean, Booleans: []bool{true}}}, "want one kind for a field"},
		{"a long column", Block{[]byte("b"), []byte("g"), []int64{9}, column.Values{Kind: column.String, Strings: []string{strings.Repeat("x", ColumnMax)}}}, "make blocks of fewer points"},
	} {
		w, err := NewWriter(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		first := at("b", "f", 4, 5)
		if err := w.Add(&first); err != nil {
			t.Fatal(err)
		}
		err = w.Add(&c.b)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		next := at("c", "f", 7)
		if again := w.Add(&next); again != err {
			t.Errorf("%s: the next block got %v", c.name, again)
		}
		if _, again := w.Finish(); again != err {
			t.Errorf("%s: the end got %v", c.name, again)
		}
	}
}

// failing fails each write from a byte on.
type failing struct{ left int }

var errFull = errors.New("no space left")

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// A disk may be full at any byte. No call may pass over that.
func TestWriteErrors(t *testing.T) {
	file, _ := written(t, sample())
	for room := range file {
		w, err := NewWriter(&failing{room})
		for _, b := range sample() {
			if err == nil {
				err = w.Add(&b)
			}
		}
		if err == nil {
			_, err = w.Finish()
		}
		if !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes of %d: %v", room, len(file), err)
		}
	}
}

// A writer of millions of blocks must hold little: a page, some times, and a line of the directory for each page.
func TestWriterHoldsLittle(t *testing.T) {
	w, err := NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 20_000
	times, v := []int64{0, 0}, column.Values{Kind: column.Integer, Integers: []int64{1, 2}}
	for i := range blocks {
		times[0], times[1] = int64(2*i), int64(2*i+1)
		if err := w.Add(&Block{[]byte("one series"), fmt.Appendf(nil, "field %08d", i), times, v}); err != nil {
			t.Fatal(err)
		}
		if len(w.page) > pageMax || len(w.times) > sharedMax {
			t.Fatalf("after %d blocks it holds a page of %d bytes and %d columns of times", i+1, len(w.page), len(w.times))
		}
	}
	if most := 60 * blocks / 100; len(w.directory) > most {
		t.Errorf("the directory of %d blocks has %d bytes, want at most %d", blocks, len(w.directory), most)
	}
	// Columns of times of another series are forgotten, and long ones are within their bound.
	random := rand.New(rand.NewPCG(1, 2))
	long := make([]int64, PointsMax)
	for f := range 8 {
		for i := range long {
			long[i] = int64(i)<<20 + random.Int64N(1<<20)
		}
		if err := w.Add(&Block{[]byte("other series"), []byte{byte(f)}, long, column.Values{Kind: column.Boolean, Booleans: make([]bool, len(long))}}); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, s := range w.times {
			total += len(s.column)
		}
		if total > sharedBytes {
			t.Errorf("%d columns of times with %d bytes are held, the limit is %d", len(w.times), total, sharedBytes)
		}
	}
}

// Queries read one file side by side.
func TestManyReadAtOnce(t *testing.T) {
	file, _ := written(t, sample())
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if got, err := read(r.All()); err != nil || told(got) != told(sample()) {
					t.Errorf("%v\n%s", err, told(got))
				}
			}
		})
	}
	all.Wait()
}

// A line of the index has what a query needs to pass over a block.
func TestRows(t *testing.T) {
	file, _ := written(t, sample())
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	c := r.All()
	for _, b := range sample() {
		if !c.Next() {
			t.Fatal(c.Err())
		}
		row, n := c.Row(), len(b.Times)
		if !bytes.Equal(row.Series, b.Series) || !bytes.Equal(row.Field, b.Field) || row.Kind != b.Values.Kind || row.Points != n || row.First != b.Times[0] || row.Last != b.Times[n-1] {
			t.Errorf("got %+v, want %s", row, told([]Block{b}))
		}
	}
}

// The ends of the range are times too.
func TestExtremeTimes(t *testing.T) {
	blocks := []Block{{[]byte("s"), []byte("f"), []int64{math.MinInt64, 0, math.MaxInt64}, column.Values{Kind: column.Integer, Integers: []int64{1, 2, 3}}}}
	file, _ := written(t, blocks)
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(r.All()); err != nil || told(got) != told(blocks) || r.Verify() != nil {
		t.Errorf("%v %v\n%s", err, r.Verify(), told(got))
	}
}
