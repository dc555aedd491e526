package column

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/repl/memtest"
	"muster/repl/puretest"
)

// Replicas make the same bytes only if nothing but the values decides.
func TestPure(t *testing.T) {
	puretest.Check(t, []string{"encoding/binary", "fmt", "math", "math/bits", "slices"}, nil)
}

// shape is a kind of columns, whatever the type of its values.
type shape struct {
	name  string
	read  func(b []byte, max int) error                                         // drops the values
	again func(b []byte, max int) (again []byte, n int, rest []byte, err error) // appends the values anew
}

func shaped[T any](name string, add func([]byte, []T) []byte, read func([]byte, []T, int) ([]T, []byte, error)) shape {
	return shape{
		name: name,
		read: func(b []byte, max int) error { _, _, err := read(b, nil, max); return err },
		again: func(b []byte, max int) ([]byte, int, []byte, error) {
			v, rest, err := read(b, nil, max)
			return add(nil, v), len(v), rest, err
		},
	}
}

var shapes = []shape{
	shaped("times", AppendTimes, ReadTimes),
	shaped("integers", AppendIntegers, ReadIntegers),
	shaped("unsigned", AppendUnsigned, ReadUnsigned),
	shaped("floats", AppendFloats, ReadFloats),
	shaped("booleans", AppendBooleans, ReadBooleans),
	shaped("strings", AppendStrings, ReadStrings),
}

// back appends values behind some bytes, reads them behind some values, and holds them equal. equal compares bits.
func back[T any](t rapid.TB, name string, values []T, add func([]byte, []T) []byte, read func([]byte, []T, int) ([]T, []byte, error), equal func(a, b T) bool) []byte {
	t.Helper()
	before := []T{values[0]}
	all := add([]byte("before"), values)
	b := all[len("before"):]
	if string(all[:len("before")]) != "before" {
		t.Fatalf("%s: what stood before is %q", name, all[:len("before")])
	}
	got, rest, err := read(append(slices.Clone(b), "behind"...), before, len(values))
	if err != nil || string(rest) != "behind" || len(got) < 1 || !equal(got[0], values[0]) || !slices.EqualFunc(got[1:], values, equal) {
		t.Fatalf("%s: read %v with rest %q: %v\nwant %v with rest %q\nof % x", name, got, rest, err, values, "behind", b)
	}
	if !bytes.Equal(add(nil, values), b) {
		t.Fatalf("%s: appended twice, the bytes differ", name)
	}
	if _, _, err := read(b, nil, len(values)-1); err == nil {
		t.Fatalf("%s: %d values are read where at most %d may be", name, len(values), len(values)-1)
	}
	return b
}

func same[T comparable](a, b T) bool { return a == b }
func sameBits(a, b float64) bool     { return math.Float64bits(a) == math.Float64bits(b) }
func backTimes(t rapid.TB, v []int64) int {
	return len(back(t, "times", v, AppendTimes, ReadTimes, same))
}
func backFloats(t rapid.TB, v []float64) int {
	return len(back(t, "floats", v, AppendFloats, ReadFloats, sameBits))
}
func backIntegers(t rapid.TB, v []int64) int {
	return len(back(t, "integers", v, AppendIntegers, ReadIntegers, same))
}
func backUnsigned(t rapid.TB, v []uint64) int {
	return len(back(t, "unsigned", v, AppendUnsigned, ReadUnsigned, same))
}
func backBooleans(t rapid.TB, v []bool) int {
	return len(back(t, "booleans", v, AppendBooleans, ReadBooleans, same))
}
func backStrings(t rapid.TB, v []string) int {
	return len(back(t, "strings", v, AppendStrings, ReadStrings, same))
}

// drawWhole draws columns that walk, jump, repeat, and go to the ends of the range.
func drawWhole(t *rapid.T) []int64 {
	steps := []*rapid.Generator[int64]{
		rapid.Just(int64(0)), rapid.Int64Range(-1, 1), rapid.Int64Range(0, 100), rapid.Int64Range(-1000, 1000), rapid.Int64(),
		rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 0, 1, -1, 1 << 62}),
	}
	n := rapid.IntRange(1, 200).Draw(t, "values")
	scale := rapid.SampledFrom([]int64{1, 1, 10, 4096, 1e9}).Draw(t, "scale")
	kind := rapid.IntRange(0, len(steps)-1).Draw(t, "kind")
	values := make([]int64, n)
	v := rapid.Int64().Draw(t, "first")
	for i := range values {
		if values[i] = v; rapid.IntRange(0, 40).Draw(t, "turn") == 0 {
			kind = rapid.IntRange(0, len(steps)-1).Draw(t, "kind")
		}
		d := steps[kind].Draw(t, "step") * scale
		if kind == 2 { // random within a range, not a walk
			v = d
		} else {
			v += d
		}
	}
	return values
}

func TestWholeNumbersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := drawWhole(t)
		backIntegers(t, values)
		unsigned := make([]uint64, len(values))
		for i, v := range values {
			unsigned[i] = uint64(v)
		}
		backUnsigned(t, unsigned)
		slices.Sort(values)
		backTimes(t, slices.Compact(values))
	})
}

func TestFloatsComeBack(t *testing.T) {
	odd := []float64{math.NaN(), math.Float64frombits(0x7ff0000000000001), math.Float64frombits(0xfff8dead00000001), math.Inf(1), math.Inf(-1),
		math.Copysign(0, -1), 0, math.SmallestNonzeroFloat64, math.MaxFloat64, 1e15, 1e15 + 1, 1e22, 1 << 53, 0.1, 0.1 + 0.2, 1e-22, 123456789012345.6}
	rapid.Check(t, func(t *rapid.T) {
		values := make([]float64, rapid.IntRange(1, 200).Draw(t, "values"))
		exponent := rapid.IntRange(0, 17).Draw(t, "exponent")
		noise := rapid.SampledFrom([]int{0, 0, 1, 20, 100}).Draw(t, "noise")
		for i := range values {
			switch roll := rapid.IntRange(0, 99).Draw(t, "roll"); {
			case roll < noise/2:
				values[i] = math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
			case roll < noise:
				values[i] = rapid.SampledFrom(odd).Draw(t, "odd")
			case i > 0 && roll < noise+20:
				values[i] = values[i-1]
			default:
				values[i] = float64(rapid.Int64Range(-1e6, 1e6).Draw(t, "m")) / powers[exponent]
			}
		}
		backFloats(t, values)
	})
}

func TestBooleansComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		backBooleans(t, rapid.SliceOfN(rapid.Bool(), 1, 100).Draw(t, "values"))
		var runs []bool
		for i, n := range rapid.SliceOfN(rapid.IntRange(1, 300), 1, 5).Draw(t, "runs") {
			runs = append(runs, slices.Repeat([]bool{i%2 == 0}, n)...)
		}
		backBooleans(t, runs)
	})
}

func TestStringsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringN(-1, 10, 20), 1, 6).Draw(t, "words")
		backStrings(t, rapid.SliceOfN(rapid.SampledFrom(words), 1, 200).Draw(t, "of words"))
		backStrings(t, rapid.SliceOfN(rapid.String(), 1, 20).Draw(t, "any"))
	})
}

// No values are a column too.
func TestEmpty(t *testing.T) {
	for _, c := range shapes {
		again, n, rest, err := c.again([]byte{0, 7}, 0)
		if !bytes.Equal(again, []byte{0}) || n != 0 || !bytes.Equal(rest, []byte{7}) || err != nil {
			t.Errorf("%s: read % x, %d values, rest % x, %v", c.name, again, n, rest, err)
		}
	}
}

// series makes n values of a function.
func series[T any](n int, f func(i int) T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = f(i)
	}
	return all
}

// A column must come out near its entropy. The bound of each is what its values have in bits, and a header for each
// 64 of them; that some come out far below shows that the forms are there for which they are.
func TestSizes(t *testing.T) {
	const n, second = 1000, int64(1e9)
	random := rand.New(rand.NewPCG(1, 2))
	begin := int64(1_700_000_000_123_456_789)
	walk, counter := int64(0), int64(12345)
	for _, c := range []struct {
		name string
		size int
		most int
	}{
		{"times, regular", backTimes(t, series(n, func(i int) int64 { return begin + int64(i)*10*second })), 24},
		{"times, regular with three gaps", backTimes(t, series(n, func(i int) int64 { return begin + int64(i+i/300*77)*10*second })), 64},
		{"times, the interval changes", backTimes(t, series(n, func(i int) int64 { return begin + int64(i+max(0, i-500)*5)*10*second })), 50},
		{"times, 10 ms of jitter in steps of 1 ms", backTimes(t, series(n, func(i int) int64 { return begin + int64(i)*10*second + random.Int64N(10)*1e6 })), n*5/8 + 40},
		{"times, 1 s of jitter in steps of 1 ns", backTimes(t, series(n, func(i int) int64 { return begin + int64(i)*10*second + random.Int64N(second) })), n*31/8 + 40},
		{"integers, constant", backIntegers(t, series(n, func(int) int64 { return -77 })), 6},
		{"integers, 0 to 100", backIntegers(t, series(n, func(int) int64 { return random.Int64N(101) })), n*7/8 + 24},
		{"integers, 0 to 100 with one far out", backIntegers(t, series(n, func(i int) int64 { return random.Int64N(101) + int64(i/500)*(1<<60-1<<60*int64(i/501)) })), n*7/8 + 40},
		{"integers, a walk of 100 either way", backIntegers(t, series(n, func(int) int64 { walk += random.Int64N(201) - 100; return walk })), n*8/8 + 24},
		{"unsigned, a counter of 0 to 1000", backUnsigned(t, series(n, func(int) uint64 { counter += random.Int64N(1001); return uint64(counter) })), n*10/8 + 24},
		{"unsigned, the same, reset twice", backUnsigned(t, series(n, func(i int) uint64 {
			if counter += random.Int64N(1001); i == 333 || i == 700 {
				counter = 0
			}
			return uint64(counter)
		})), n*10/8 + 50},
		{"unsigned, pages of memory", backUnsigned(t, series(n, func(int) uint64 { return 4096 * (1<<20 + random.Uint64N(256)) })), n*8/8 + 30},
		{"floats, a walk of 1.00 either way", backFloats(t, series(n, func(int) float64 { walk += random.Int64N(201) - 100; return float64(walk) / 100 })), n*8/8 + 30},
		{"floats, the same with gaps of NaN", backFloats(t, series(n, func(i int) float64 {
			if walk += random.Int64N(201) - 100; i%100 == 50 {
				return math.NaN()
			}
			return float64(walk) / 100
		})), n*8/8 + 130},
		{"floats, one of 15 digits among those of 2", backFloats(t, series(n, func(i int) float64 {
			if i == 500 {
				return 1.23456789012345
			}
			return float64(random.Int64N(100)) / 100
		})), n*7/8 + 40},
		{"floats, eighths", backFloats(t, series(n, func(int) float64 { return float64(random.Int64N(1000)) / 8 })), n*10/8 + 30},
		{"floats, of 32 bits", backFloats(t, series(n, func(int) float64 { return float64(random.Float32()) })), n * 36 / 8},
		{"floats, noise of 53 bits", backFloats(t, series(n, func(int) float64 { return random.Float64() })), n * 58 / 8},
		{"floats, noise that changes each 8th time", backFloats(t, noiseInRuns(n, 8)), n*9/8 + n},
		{"booleans, random", backBooleans(t, series(n, func(int) bool { return random.Int64N(2) == 0 })), n/8 + 4},
		{"booleans, two runs", backBooleans(t, series(n, func(i int) bool { return i < 300 })), 8},
		{"strings, eight words", backStrings(t, series(n, func(int) string { return strings.Repeat("state", 1+random.IntN(8)) })), n*3/8 + 220},
		{"strings, each another", backStrings(t, series(n, func(i int) string {
			return "request " + string(rune('a'+i%26)) + hex.EncodeToString([]byte{byte(i), byte(i >> 8)})
		})), n*13 + 20},
	} {
		t.Logf("%-45s %5d bytes, %.3f a value", c.name, c.size, float64(c.size)/n)
		if c.size > c.most {
			t.Errorf("%s: %d bytes, want at most %d", c.name, c.size, c.most)
		}
	}
}

// noiseInRuns is noise, each value of which stays for some.
func noiseInRuns(n, run int) []float64 {
	random := rand.New(rand.NewPCG(3, 4))
	v := 0.0
	return series(n, func(i int) float64 {
		if i%run == 0 {
			v = random.Float64()
		}
		return v
	})
}

// samples are short columns that have each form in them, with their kind.
func samples() map[string][]byte {
	random := rand.New(rand.NewPCG(5, 6))
	jitter := series(70, func(i int) int64 { return int64(i)*1e9 + random.Int64N(100) })
	reset := series(70, func(i int) uint64 { return uint64((i%50)*10) + random.Uint64N(9) })
	return map[string][]byte{
		"times/regular":      AppendTimes(nil, []int64{10, 20, 30, 40}),
		"times/jitter":       AppendTimes(nil, jitter),
		"times/deltas":       AppendTimes(nil, []int64{1, 2, 4, 7, 11, 16, 22, 1000, 1001}),
		"integers/constant":  AppendIntegers(nil, []int64{-5, -5, -5}),
		"integers/one":       AppendIntegers(nil, []int64{math.MinInt64}),
		"integers/ends":      AppendIntegers(nil, []int64{math.MinInt64, math.MaxInt64, 0, -1}),
		"integers/plain":     AppendIntegers(nil, []int64{3, 60, 9, 44, 3, 90}),
		"integers/zigzag":    AppendIntegers(nil, []int64{1000, 1003, 998, 999, 1004, 1011, 1006, 1013, 1019}),
		"unsigned/reset":     AppendUnsigned(nil, reset),
		"unsigned/steps":     AppendUnsigned(nil, []uint64{1 << 63, 1<<63 + 4096, 1<<63 + 3*4096}),
		"floats/decimal":     AppendFloats(nil, []float64{1.25, 1.5, math.NaN(), 1.75, math.Copysign(0, -1), 2}),
		"floats/zeros":       AppendFloats(nil, []float64{0, 0, 0}),
		"floats/xor":         AppendFloats(nil, []float64{math.Pi, math.E, math.E, math.Sqrt2, math.Ln2, math.Phi}),
		"booleans/bits":      AppendBooleans(nil, []bool{true, false, true, true, false, true, false, false, true}),
		"booleans/runs":      AppendBooleans(nil, series(40, func(i int) bool { return i > 20 })),
		"strings/plain":      AppendStrings(nil, []string{"", "a", "bc", "a"}),
		"strings/dictionary": AppendStrings(nil, []string{"up", "down", "up", "up", "down", "up", "up", "up", "down"}),
	}
}

func shapeOf(sample string) shape {
	name, _, _ := strings.Cut(sample, "/")
	for _, c := range shapes {
		if c.name == name {
			return c
		}
	}
	panic(sample)
}

// Any change of a byte, and any cut, must give an error or other values: never a panic, nor the same values.
func TestEveryByteMatters(t *testing.T) {
	for name, b := range samples() {
		c := shapeOf(name)
		again, n, rest, err := c.again(b, 1000)
		if err != nil || len(rest) != 0 || !bytes.Equal(again, b) {
			t.Fatalf("%s: %v, rest % x; % x was read and appended as % x", name, err, rest, b, again)
		}
		for at := range b {
			if c.read(b[:at], 1000) == nil {
				t.Errorf("%s: cut before byte %d of %d it is read", name, at, len(b))
			}
			for change := 1; change < 256; change++ {
				other := slices.Clone(b)
				other[at] ^= byte(change)
				got, m, rest, err := c.again(other, 1000)
				if err == nil && m == n && bytes.Equal(got, b) && len(rest) == 0 {
					t.Errorf("%s: byte %d of % x changed by %02x, and the values are the same", name, at, b, change)
				}
			}
		}
	}
}

// flip changes some bytes of a column, one at a time, and holds what is read then to what was read before.
func flip[T any](t *testing.T, name string, values []T, add func([]byte, []T) []byte, read func([]byte, []T, int) ([]T, []byte, error), equal func(a, b T) bool) {
	random := rand.New(rand.NewPCG(7, uint64(len(values))))
	for range 5 {
		b := add(nil, values)
		at := random.IntN(len(b))
		b[at] ^= byte(1 + random.IntN(255))
		got, rest, err := read(b, nil, 1000)
		if err == nil && len(rest) == 0 && slices.EqualFunc(got, values, equal) {
			t.Errorf("%s: byte %d of % x was changed, and the values are the same", name, at, b)
		}
		if got, _, err := read(b[:at], nil, 1000); err == nil {
			t.Errorf("%s: cut before byte %d, %v is read", name, at, got)
		}
	}
}

// The same must hold for columns of any values.
func TestFlipsOfRandomColumns(t *testing.T) {
	columns := rapid.Custom(drawWhole)
	for seed := range 200 {
		values := columns.Example(seed)
		flip(t, "integers", values, AppendIntegers, ReadIntegers, same)
		floats := series(len(values), func(i int) float64 { return float64(values[i]%1e6) / 100 })
		flip(t, "decimals", floats, AppendFloats, ReadFloats, sameBits)
		noise := series(len(values), func(i int) float64 { return math.Float64frombits(uint64(values[i]) * 0x9e3779b97f4a7c15) })
		flip(t, "noise", noise, AppendFloats, ReadFloats, sameBits)
		flip(t, "booleans", series(len(values), func(i int) bool { return values[i]%7 < 3 }), AppendBooleans, ReadBooleans, same)
		flip(t, "strings", series(len(values), func(i int) string { return strings.Repeat("ab", int(uint64(values[i])%5)) }), AppendStrings, ReadStrings, same)
		slices.Sort(values)
		flip(t, "times", slices.Compact(values), AppendTimes, ReadTimes, same)
	}
}

// An encoder asks for little memory beside what it appends.
func TestEncodersAllocateLittle(t *testing.T) {
	const n = 5000
	whole, floats := series(n, func(i int) int64 { return int64(i * i) }), series(n, func(i int) float64 { return float64(i*i%1000) / 100 })
	half, bools := series(n, func(i int) string { return "a word, " + strconv.Itoa(i%(n/2)) }), make([]bool, n)
	room := make([]byte, 0, 1<<20)
	for name, c := range map[string]struct {
		f    func()
		most int
	}{
		"times":    {func() { AppendTimes(room, whole) }, 1024},
		"integers": {func() { AppendIntegers(room, whole) }, 1024},
		"floats":   {func() { AppendFloats(room, floats) }, 9*n + 1024},
		"few":      {func() { AppendFloats(room, floats[:1024]) }, 1024},
		"booleans": {func() { AppendBooleans(room, bools) }, 1024},
		"strings":  {func() { AppendStrings(room, half) }, 128*n + 1024},
	} {
		if got := memtest.Allocated(c.f); got > c.most {
			t.Errorf("%s: %d bytes were allocated, want at most %d", name, got, c.most)
		}
	}
}

// Decoders refuse what no encoder writes, and say what is wrong.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ kind, hex, want string }{
		{"integers", "", "a uvarint is due"},
		{"integers", "8000", "more than it needs"},
		{"integers", "ffffffffffffffffffff01", "a uvarint is due"},
		{"integers", "8008", "at most 1000 were announced"},
		{"integers", "02020000", ""},
		{"integers", "02020104", "have form 4"},
		{"integers", "020201010100", "no value of a group has the 1 bits"},
		{"integers", "0202010100", "has the header 0"},
		{"integers", "0202010142", "1 groups of zeros stand behind"},
		{"integers", "020201010105", "bits are set behind"},
		{"integers", "02020101ff01", "has width 127 with 1 exceptions"},
		{"integers", "020201018000", "with 0 exceptions"},
		{"integers", "0202010180010201", "an exception of a group of 2 values"},
		{"times", "0302000000", "times must ascend"},
		{"times", "0300010402" + "41", "equal differences have form 4"},
		{"floats", "0103", "floats have form 3"},
		{"floats", "01011700", "the exponent is 23"},
		{"floats", "010102140000", "no value needs the exponent 2"},
		{"floats", "01010000000101" + "0000000000000000", "an exception is 1 places behind place 0 of 1"},
		{"floats", "0101000200" + "01" + "00" + "000000000000f87f", "in the place of an exception is 1, want 0"},
		{"floats", "e80702" + "0000000000000000", "1000 values are due"},
		{"floats", "0202" + "0000000000000000" + "05", "a window that there is not"},
		{"booleans", "010103", "bits are set behind"},
		{"booleans", "010202", "the first value is 2"},
		{"booleans", "01020102", "a run has 2 values"},
		{"booleans", "01020100", "a run has 0 values"},
		{"booleans", "0103", "booleans have form 3"},
		{"strings", "0103", "strings have form 3"},
		{"strings", "010100", "a uvarint is due"},
		{"strings", "0101040061", "a string of 2 bytes is due"},
		{"strings", "01010100", "a string of"},
		{"strings", "010200", "the dictionary has no words"},
		{"strings", "020202" + "0200" + "6162" + "0000", "1 of 2 words are in no string"},
		{"strings", "020202" + "0200" + "6162" + "0200", "and 0 have come before"},
		{"integers", "020002" + "01" + "40" + "0000000000000000" + "000000000000008000", "steps of 2"},
		{"strings", "01020102006104" + "00", "a string is word 2 of 1"},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		err = shapeOf(c.kind).read(b, 1000)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s % x: got %v, want %q", c.kind, b, err, c.want)
		}
	}
	var v Values
	if _, err := v.Read([]byte{0}, 6, 10); err == nil || !strings.Contains(err.Error(), "known are kinds 1 to 5") {
		t.Errorf("a column of kind 6: %v", err)
	}
}

// These bytes are in files: what makes others needs another [Version].
func TestBytesOfVersion1(t *testing.T) {
	if Version != 1 {
		t.Fatal("the bytes below are those of version 1")
	}
	all := samples()
	for name, want := range map[string]string{
		"times/regular":      "04000a020241",
		"times/deltas":       "0900010202830140343600077a",
		"integers/constant":  "030900",
		"integers/ends":      "04ffffffffffffffffff01010381010e02feffffffffffffff7f",
		"integers/plain":     "0606010107809c2105b802",
		"integers/zigzag":    "09d00f0103046029eae90c",
		"unsigned/steps":     "03ffffffffffffffffff018020010234",
		"floats/decimal":     "060102fa01190102940e0202010000000000f87f010000000000000080",
		"floats/xor":         "0602182d4454fb21094033739c1ed477bc273be053b6b576ca8ff9ffcb1c1128c4e476842ff451735b594df307",
		"booleans/bits":      "09012d01",
		"booleans/runs":      "2802001513",
		"strings/plain":      "0401000101026461626361",
		"strings/dictionary": "09020200020202417570646f776e000101011201",
	} {
		if got := hex.EncodeToString(all[name]); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Values of any kind come back through the one type, into the memory that was there.
func TestValues(t *testing.T) {
	for _, v := range []Values{
		{Kind: Float, Floats: []float64{1.5, 2}}, {Kind: Integer, Integers: []int64{-1, 5}}, {Kind: Unsigned, Unsigned: []uint64{7}},
		{Kind: Boolean, Booleans: []bool{true, false, true}}, {Kind: String, Strings: []string{"a", ""}},
	} {
		b := v.Append(nil)
		var got Values
		for range 2 {
			if rest, err := got.Read(b, v.Kind, v.Len()); err != nil || len(rest) > 0 || got.Len() != v.Len() || !bytes.Equal(got.Append(nil), b) {
				t.Errorf("%v: got %+v, rest % x, %v", v.Kind, got, rest, err)
			}
		}
		if !v.Kind.Valid() || (&Values{Kind: v.Kind + 5}).Len() != 0 {
			t.Errorf("%v", v.Kind)
		}
	}
}

// fuzz holds the decoder of a kind to its bound, and to what it reads: appended anew, that is read again as the same.
// each is what a value may take; classes of sizes round it up by an eighth.
func fuzz(f *testing.F, name string, each int) {
	const most = 3000
	c := shapeOf(name)
	for sample, b := range samples() {
		if shapeOf(sample).name == name {
			f.Add(b)
			f.Add(b[:len(b)/2])
		}
	}
	f.Add([]byte{0xb8, 0x17, 0x00, 0x00})                                           // 3,000 equal values in four bytes
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01}) // 2^64-1 of them
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		if got, bound := memtest.Allocated(func() { err = c.read(b, most) }), most*each*9/8+len(b)*9/8+4096; got > bound {
			t.Errorf("% x: %d bytes of input cost %d bytes, the bound is %d", b, len(b), got, bound)
		}
		again, n, _, err2 := c.again(b, most)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("read twice: %v, then %v", err, err2)
		}
		if err != nil {
			return
		}
		third, m, rest, err := c.again(again, most)
		if err != nil || m != n || len(rest) > 0 || !bytes.Equal(third, again) {
			t.Errorf("% x was read, and appended as % x, of which % x is read: %v", b, again, third, err)
		}
	})
}

func FuzzTimes(f *testing.F)    { fuzz(f, "times", 8) }
func FuzzIntegers(f *testing.F) { fuzz(f, "integers", 8) }
func FuzzUnsigned(f *testing.F) { fuzz(f, "unsigned", 8) }
func FuzzFloats(f *testing.F)   { fuzz(f, "floats", 8) }
func FuzzBooleans(f *testing.F) { fuzz(f, "booleans", 1) }
func FuzzStrings(f *testing.F)  { fuzz(f, "strings", 32) }
