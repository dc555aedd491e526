package wire_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

// A listing with a range or an order must be read as it was meant, whether it names slots or not, and one
// without must be the bytes that it was before there were any: an older node reads it.
func TestSpan(t *testing.T) {
	runs := []shardmap.SlotRange{{From: 3, To: 5}}
	for _, tt := range []struct {
		name string
		span wire.Span
	}{
		{"from", wire.Span{From: []byte("cart/a")}},
		{"to", wire.Span{To: []byte("cart/b")}},
		{"descending", wire.Span{Descending: true}},
		{"all", wire.Span{From: []byte("cart/a"), To: []byte("cart/b"), Descending: true}},
		{"counting", wire.Span{Counting: true}},
	} {
		for _, slots := range [][]shardmap.SlotRange{nil, runs} {
			list := &wire.List{Group: 3, Prefix: []byte("cart/"), Limit: 9, MaxBytes: 9, Slots: slots, Span: tt.span}
			back := new(wire.List)
			if err := back.Read(list.Append(nil)); err != nil || !same(list.Span, back.Span) || !reflect.DeepEqual(list.Slots, back.Slots) || back.Level() != shardmap.RangesLevel {
				t.Errorf("%s: got %+v of level %d, %v; want %+v", tt.name, back, back.Level(), err, list)
			}
			scan := &wire.Scan{Group: 3, Prefix: []byte("cart/"), PieceBytes: wire.StreamPieceMin, Slots: slots, Span: tt.span}
			again := new(wire.Scan)
			err := again.Read(scan.Append(nil))
			if tt.span.Counting {
				if err == nil || !strings.Contains(err.Error(), "field counting") {
					t.Errorf("a scan that counts is read: %v", err)
				}
				continue
			}
			if err != nil || !same(scan.Span, again.Span) || !reflect.DeepEqual(scan.Slots, again.Slots) || again.Level() != shardmap.RangesLevel {
				t.Errorf("%s: got %+v, %v; want %+v", tt.name, again, err, scan)
			}
		}
	}
	plain := &wire.List{Group: 3, Prefix: []byte("cart/"), Limit: 9, MaxBytes: 9}
	if body := plain.Append(nil); body[0] != 0x9a || plain.Level() != 0 {
		t.Errorf("a list without a span begins with %x and is of level %d, want ten fields and any level", body[0], plain.Level())
	}
	// A node of a lower level passes on the body as it is: there is one form of a list without a span.
	said := append(plain.Append(nil), 0xc0, 0xc4, 0, 0xc4, 0, 0xc2, 0xc2)
	said[0] += 5
	if err := new(wire.List).Read(said); err == nil || !strings.Contains(err.Error(), "span") {
		t.Errorf("a span that says nothing is read: %v", err)
	}
}

func same(a, b wire.Span) bool {
	return bytes.Equal(a.From, b.From) && bytes.Equal(a.To, b.To) && a.Descending == b.Descending && a.Counting == b.Counting
}

// A range in which no key can be is refused, with the field named; bounds that merely bound nothing are not.
func TestSpanRefused(t *testing.T) {
	for _, c := range []struct {
		prefix string
		span   wire.Span
		says   string // "": it is taken
	}{
		{"", wire.Span{From: []byte("b"), To: []byte("a")}, `field to: "a"`},
		{"", wire.Span{From: []byte("a"), To: []byte("a")}, `field to: "a"`},
		{"", wire.Span{From: []byte("a"), To: []byte("a\x00")}, ""},
		{"p/", wire.Span{From: []byte("p0")}, `field from: "p0"`},
		{"p/", wire.Span{From: []byte("q"), To: []byte("r")}, `field from: "q"`},
		{"p/", wire.Span{To: []byte("p/")}, `field to: "p/"`},
		{"p/", wire.Span{To: []byte("a")}, `field to: "a"`},
		{"p/", wire.Span{From: []byte("a"), To: []byte("z")}, ""},
		{"p/", wire.Span{From: []byte("p/x"), To: []byte("p/y")}, ""},
		{"\xff", wire.Span{From: []byte("\xff\xff")}, ""},
		{"", wire.Span{From: make([]byte, shardmap.KeyMax+1)}, ""},
		{"", wire.Span{From: make([]byte, shardmap.KeyMax+2)}, "field from of 4098 bytes"},
		{"", wire.Span{To: make([]byte, shardmap.KeyMax+2)}, "to of 4098"},
		{"", wire.Span{Descending: true, Counting: true}, "field descending"},
	} {
		list := &wire.List{Group: 1, Prefix: []byte(c.prefix), Span: c.span}
		err := new(wire.List).Read(list.Append(nil))
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q from %.10q to %.10q: %v, want %q", c.prefix, c.span.From, c.span.To, err, c.says)
		}
	}
}

// The answer to a count has two fields behind its rows, which older builds skip; other answers end before them.
func TestCountAnswer(t *testing.T) {
	for _, a := range []*wire.ListAnswer{
		{Group: 3, Counted: 7, More: true, Last: []byte("k")},
		{Group: 3, Counted: 1 << 40},
		{Group: 3},
		{Group: 3, Count: 1, Rows: wire.AppendListRow(nil, []byte("k"), 9, nil)},
	} {
		var back wire.ListAnswer
		body := a.Append(nil)
		if err := back.Read(body); err != nil || back.Counted != a.Counted || !bytes.Equal(back.Last, a.Last) || back.Count != a.Count || back.More != a.More {
			t.Errorf("got %+v, %v; want %+v", back, err, a)
		}
		if want := byte(0x95); a.Counted == 0 && body[0] != want {
			t.Errorf("%+v begins with %x, want %x", a, body[0], want)
		}
		framed := a.Frame(append(make([]byte, wire.ListRoom), a.Rows...), wire.TypeListAnswer, 0, 1)
		if !bytes.Equal(framed[wire.HeaderSize:], body) {
			t.Errorf("in a frame it is %x, want %x", framed[wire.HeaderSize:], body)
		}
	}
}
