package pack_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"muster/repl/memtest"
	"muster/shardmap/pack"
)

func nested(n int, open string) []byte { return append(bytes.Repeat([]byte(open), n), 0xc0) }

// Check is what stands between a stranger's bytes and a library that believes
// them. What it refuses must be refused at once, what it lets pass must be one
// value and nothing else.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		want  string // "" passes
	}{
		{"nil", "\xc0", ""},
		{"empty array", "\x90", ""},
		{"empty map", "\x80", ""},
		{"empty array32", "\xdd\x00\x00\x00\x00", ""},
		{"all scalars", "\x9a\x7f\xe0\xc0\xc2\xc3\xca\x00\x00\x00\x00\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xcc\x01\xd0\x01\xa0", ""},
		{"map of a pair", "\x81\xa1k\x91\xc4\x01v", ""},
		{"empty arrays at the end", "\x92\x90\x91\x90", ""},
		{"32 arrays", string(nested(32, "\x91")), ""},
		{"32 containers, mixed", strings.Repeat("\x91\x81\xc0", 16) + "\xc0", ""},

		{"nothing", "", "ends too early"},
		{"33 arrays", string(nested(33, "\x91")), "more than 32 arrays in each other"},
		{"20 MB of arrays", string(nested(20<<20, "\x91")), "more than 32 arrays in each other"},
		{"33 maps", strings.Repeat("\x81\xc0", 33) + "\xc0", "more than 32 arrays"},
		{"bin32 of 4 GiB", "\xc6\xff\xff\xff\xff", "claims 4294967295 bytes"},
		{"str32 of 4 GiB", "\xdb\xff\xff\xff\xff", "claims 4294967295 bytes"},
		{"array32 of 4 G", "\xdd\xff\xff\xff\xff", "4294967295 elements, 0 bytes are left"},
		{"map32 of 4 G", "\xdf\xff\xff\xff\xff", "8589934590 elements"},
		{"map16 of one value", "\xde\x00\x01\x01", "2 elements, 1 bytes are left"},
		{"bin one byte short", "\xc4\x03ab", "claims 3 bytes"},
		{"string one byte short", "\xa3ab", "claims 3 bytes"},
		{"half a number", "\xcd\x01", "ends too early"},
		{"half a length", "\xc5\x01", "ends too early"},
		{"bin8 without its length", "\xc4", "ends too early"},
		{"array that ends inside", "\x92\x01", "2 elements, 1 bytes are left"},
		{"inner array that takes the outer's", "\x92\x92\x01\x02", "ends too early"},
		{"ext32", "\xc9\xff\xff\xff\xff\x01", "extension"},
		{"fixext1", "\xd4\x01\x00", "extension"},
		{"ext8 of nothing", "\xc7\x00\x01", "extension"},
		{"0xc1", "\xc1", "0xc1"},
		{"two values", "\xc0\xc0", "1 bytes after the value"},
	} {
		err := pack.Check([]byte(c.bytes), math.MaxInt)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Elements cost those who read them more than bytes do, so they have a limit of
// their own; the array that holds them is one of them.
func TestCheckCountsElements(t *testing.T) {
	ten := append([]byte{0x99}, "\x01\x02\x03\x04\x05\x06\x07\x08\x09"...)
	if err := pack.Check(ten, 10); err != nil {
		t.Errorf("ten: %v", err)
	}
	if err := pack.Check(ten, 9); err == nil || !strings.Contains(err.Error(), "more than 9 elements") {
		t.Errorf("one too many: got %v", err)
	}
}

// Checking is on the way of every frame, so a good one costs no memory at all,
// and the worst of 20 MB no more than its error.
func TestCheckAllocatesNothing(t *testing.T) {
	good := pack.AppendArray(nil, 3)
	good = pack.AppendBytes(good, make([]byte, 1<<20))
	good = pack.AppendUint(good, 1<<40)
	good = pack.AppendString(good, "x")
	if n := testing.AllocsPerRun(100, func() {
		if err := pack.Check(good, 10); err != nil {
			t.Fatal(err)
		}
		r := pack.NewReader(good)
		r.ArrayLen(3)
		r.Bytes()
		r.Uint()
		r.Skip()
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	var b []byte
	if n := testing.AllocsPerRun(100, func() {
		b = pack.AppendArray(b[:0], 3)
		b = pack.AppendBytes(b, good[:100])
		b = pack.AppendUint(b, 1<<40)
		b = pack.AppendFixed32(b, 7)
	}); n != 0 {
		t.Errorf("got %v allocations while appending, want none", n)
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{"", "\xc0", "\x92\x01\xa1x", "\xc6\xff\xff\xff\xff", "\xdb\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff",
		"\xc9\xff\xff\xff\xff", "\x81\xa1k\xc4\x01v", string(nested(40, "\x91")), "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"} {
		f.Add([]byte(s))
	}
}

// FuzzCheck looks for bytes that cost more than they weigh, or that pass though
// the library can't read them as one value.
func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		if got := memtest.Allocated(func() { err = pack.Check(b, 1<<16) }); got > 16*len(b)+4096 {
			t.Errorf("%d bytes cost %d", len(b), got)
		}
		var bad *pack.Error
		if err != nil {
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(b) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q", err)
			}
			return
		}
		d := msgpack.NewDecoder(bytes.NewReader(b))
		if err := d.Skip(); err != nil {
			t.Errorf("it passes, and the library says %v", err)
		}
		if _, err := d.PeekCode(); err == nil {
			t.Error("it passes, and the library finds bytes behind the value")
		}
		r := pack.NewReader(b)
		r.Skip()
		if err := r.Done(); err != nil {
			t.Errorf("it passes, and Skip says %v", err)
		}
	})
}

// FuzzReader reads anything as anything: it may be wrong, it may not panic, run
// past the end, or cost more than the bytes weigh.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x92\x01\xa1x"), []byte{0, 1, 5})
	f.Add([]byte("\xdd\xff\xff\xff\xff"), []byte{0, 7})
	f.Add([]byte("\xce\x00\x00\x00\x01\xc0\xc3\xff"), []byte{8, 6, 3, 2})
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		if len(ops) > len(b)+1 {
			return
		}
		if got := memtest.Allocated(func() {
			r := pack.NewReader(b)
			for _, op := range ops {
				before := r.Offset()
				switch op % 10 {
				case 0:
					if n := r.Array(); n > len(b) {
						t.Errorf("an array of %d in %d bytes", n, len(b))
					}
				case 1:
					r.Uint()
				case 2:
					r.Int()
				case 3:
					r.Bool()
				case 4:
					if v := r.Bytes(); len(v) > r.Offset()-before {
						t.Errorf("%d bytes out of %d", len(v), r.Offset()-before)
					}
				case 5:
					_ = r.String()
				case 6:
					r.Nil()
				case 7:
					r.Skip()
				case 8:
					r.Fixed32()
				case 9:
					r.Trailing(int(op), 3)
				}
				if r.Offset() < before || r.Offset() > len(b) {
					t.Errorf("read from %d to %d of %d", before, r.Offset(), len(b))
				}
			}
			if r.Err() == nil && r.Offset()+len(r.Rest()) != len(b) {
				t.Errorf("%d read, %d left of %d", r.Offset(), len(r.Rest()), len(b))
			}
		}); got > 16*len(b)+4096 {
			t.Errorf("%d bytes cost %d", len(b), got)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	v := pack.AppendArray(nil, 12)
	for range 10 {
		v = pack.AppendUint(v, 70_000)
	}
	v = pack.AppendBytes(v, make([]byte, 128))
	v = pack.AppendNil(v)
	b.ReportAllocs()
	for b.Loop() {
		if err := pack.Check(v, 100); err != nil {
			b.Fatal(err)
		}
	}
}
