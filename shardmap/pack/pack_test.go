package pack_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"muster/shardmap/pack"
)

// Anybody with a msgpack library must be able to talk to a muster, and a body
// that a library wrote must be readable here: the bytes are the library's own.
// A table of edges could forget one, so the numbers are drawn.
func TestSameBytesAsTheLibrary(t *testing.T) {
	library := func(t *rapid.T, v any) []byte {
		var out bytes.Buffer
		e := msgpack.NewEncoder(&out)
		e.UseCompactInts(true)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	edge := func(t *rapid.T) uint64 { // numbers of all widths, and those beside a power of two
		v := rapid.Uint64().Draw(t, "number") >> rapid.IntRange(0, 63).Draw(t, "shift")
		if rapid.Bool().Draw(t, "edge") {
			v = 1<<rapid.IntRange(0, 63).Draw(t, "power") + uint64(rapid.IntRange(-1, 1).Draw(t, "beside"))
		}
		return v
	}
	size := func(t *rapid.T) int {
		return rapid.SampledFrom([]int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536}).Draw(t, "size")
	}
	rapid.Check(t, func(t *rapid.T) {
		u := edge(t)
		i := int64(edge(t))
		yes := rapid.Bool().Draw(t, "bool")
		blob := bytes.Repeat([]byte{byte(u)}, size(t))
		text := strings.Repeat("x", size(t))
		list := make([]int8, size(t))

		var mine, theirs []byte
		add := func(b []byte, v any) {
			mine = append(mine, b...)
			theirs = append(theirs, library(t, v)...)
			if !bytes.Equal(mine, theirs) {
				t.Fatalf("%T %.40v: got % x, the library writes % x", v, v, tail(mine), tail(theirs))
			}
		}
		add(pack.AppendUint(nil, u), u)
		add(pack.AppendInt(nil, i), i)
		add(pack.AppendBool(nil, yes), yes)
		add(pack.AppendNil(nil), nil)
		add(pack.AppendBytes(nil, blob), blob)
		add(pack.AppendString(nil, text), text)
		add(append(pack.AppendArray(nil, len(list)), make([]byte, len(list))...), list)

		r := pack.NewReader(theirs)
		if got := r.Uint(); got != u {
			t.Fatalf("uint: got %d, want %d", got, u)
		}
		if got := r.Int(); got != i {
			t.Fatalf("int: got %d, want %d", got, i)
		}
		if got := r.Bool(); got != yes {
			t.Fatalf("bool: got %t, want %t", got, yes)
		}
		if !r.Nil() {
			t.Fatal("nil: not found")
		}
		if got := r.Bytes(); !bytes.Equal(got, blob) {
			t.Fatalf("bytes: got %d of them, want %d", len(got), len(blob))
		}
		if got := r.String(); got != text {
			t.Fatalf("string: got %d bytes, want %d", len(got), len(text))
		}
		n := r.Array()
		if n != len(list) {
			t.Fatalf("array: got %d, want %d", n, len(list))
		}
		for range n {
			r.Uint()
		}
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}

		skip := pack.NewReader(theirs)
		for range 7 {
			skip.Skip()
		}
		if err := skip.Done(); err != nil {
			t.Fatalf("skip: %v", err)
		}
	})
}

func tail(b []byte) []byte { return b[max(0, len(b)-12):] }

// Libraries of other languages do not all choose the shortest form, and Go's
// own does not either unless told to. Reading takes every width; what would
// lose a bit of the number is refused, never cut.
func TestWidths(t *testing.T) {
	for _, c := range []struct {
		bytes  string
		uint   uint64
		uintOK bool
		int    int64
		intOK  bool
	}{
		{"\x07", 7, true, 7, true},
		{"\xcc\x07", 7, true, 7, true},
		{"\xcf\x00\x00\x00\x00\x00\x00\x00\x07", 7, true, 7, true},
		{"\xd0\x07", 7, true, 7, true},
		{"\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 7, true, 7, true},
		{"\xff", 0, false, -1, true},
		{"\xe0", 0, false, -32, true},
		{"\xd0\x80", 0, false, -128, true},
		{"\xd1\xff\xff", 0, false, -1, true},
		{"\xd2\x80\x00\x00\x00", 0, false, math.MinInt32, true},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 0, false, math.MinInt64, true},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxUint64, true, 0, false},
		{"\xa1x", 0, false, 0, false},
		{"\xc3", 0, false, 0, false},
		{"\xc0", 0, false, 0, false},
		{"\xcd\x07", 0, false, 0, false},
		{"", 0, false, 0, false},
	} {
		r := pack.NewReader([]byte(c.bytes))
		if got := r.Uint(); got != c.uint || (r.Done() == nil) != c.uintOK {
			t.Errorf("% x as uint: got %d, %v; want %d, ok %t", c.bytes, got, r.Err(), c.uint, c.uintOK)
		}
		r = pack.NewReader([]byte(c.bytes))
		if got := r.Int(); got != c.int || (r.Done() == nil) != c.intOK {
			t.Errorf("% x as int: got %d, %v; want %d, ok %t", c.bytes, got, r.Err(), c.int, c.intOK)
		}
	}
}

// The first mistake stays, and it is the first that is told: whoever reads ten
// fields and asks once must not see the echo of it.
func TestFirstMistakeStays(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(r *pack.Reader)
		want string
	}{
		{"string for a number", func(r *pack.Reader) { r.Array(); r.Uint(); r.Uint(); r.Bool(); r.Bytes() },
			"msgpack at byte 2: want a uint, found a string"},
		{"number for an array", func(r *pack.Reader) { r.Array(); r.Array() }, "msgpack at byte 1: want an array, found a uint"},
		{"other length", func(r *pack.Reader) { r.ArrayLen(4) }, "msgpack at byte 0: want an array of 4, found one of 3"},
		{"other bool", func(r *pack.Reader) { r.Array(); r.Bool() }, "msgpack at byte 1: want a bool, found a uint"},
		{"number for a bin", func(r *pack.Reader) { r.Array(); r.Bytes() }, "msgpack at byte 1: want a bin, found a uint"},
		{"short number for a fixed one", func(r *pack.Reader) { r.Array(); r.Fixed32() },
			"msgpack at byte 1: want a uint of 4 bytes, found a uint"},
		{"over the limit", func(r *pack.Reader) { r.Array(); r.UintMax(4) }, "msgpack at byte 1: 5 is over the limit of 4"},
		{"left over", func(r *pack.Reader) { r.Array(); r.Uint() }, "msgpack at byte 2: 3 bytes after the value"},
		{"too few", func(r *pack.Reader) { r.Trailing(r.Array(), 4) }, "msgpack at byte 1: want an array of 4 or more, found one of 3"},
		{"past the end", func(r *pack.Reader) { r.Trailing(r.Array(), 0); r.Skip() }, "msgpack at byte 5: the value ends too early"},
		{"none", func(r *pack.Reader) { n := r.Array(); r.Uint(); r.Trailing(n, 1) }, "<nil>"},
	} {
		r := pack.NewReader([]byte("\x93\x05\xa1x\xc3"))
		c.read(&r)
		got := "<nil>"
		if err := r.Done(); err != nil {
			got = err.Error()
			if r.Uint() != 0 || r.Bytes() != nil || r.Array() != 0 || r.Nil() || r.Rest() != nil {
				t.Errorf("%s: reads on after the mistake", c.name)
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A fixed number is patched in place after what it covers is written, so its
// width must not depend on its value.
func TestFixed32(t *testing.T) {
	for _, v := range []uint32{0, 1, 255, math.MaxUint32} {
		b := pack.AppendFixed32(nil, v)
		r := pack.NewReader(b)
		if got := r.Fixed32(); len(b) != pack.Fixed32Size || got != v || r.Done() != nil {
			t.Errorf("%d: got %d in % x, %v", v, got, b, r.Err())
		}
		var library uint32
		if err := msgpack.Unmarshal(b, &library); err != nil || library != v {
			t.Errorf("%d: the library reads %d, %v", v, library, err)
		}
	}
}

// The package is a leaf: hot paths of every layer stand on it, the pure ones
// too.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	allowed := map[string]bool{"encoding/binary": true, "fmt": true, "math": true}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !allowed[path] {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
