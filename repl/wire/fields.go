package wire

import (
	"fmt"
	"strconv"

	"muster/shardmap/pack"
)

// fields walks the fields of a body in their order: it appends them, or reads
// them, or reads and shows them. A rare body lists its fields
// once, and can then do all three.
//
// The msgpack library would do the first two from the struct alone. It is not
// used because it can't be held to what a hostile body may cost: it reads
// a nil as a whole struct, so that a list of 1,000 nils for nodes costs 213,136
// bytes (v5.4.1), where 20,144 are allowed. The bytes are the library's own,
// for structs as arrays; a test compares them.
type fields struct {
	reading bool
	b       []byte      // appended to
	r       pack.Reader // read from
	show    *[]string   // lines, one per field, if wanted
	path    string      // of the field that is being shown
}

// walked is a body that lists its fields.
type walked interface{ fields(f *fields) }

func appendFields(b []byte, v walked) []byte {
	f := fields{b: b}
	v.fields(&f)
	return f.b
}

func readFields(body []byte, v walked) error {
	f := fields{reading: true, r: pack.NewReader(body)}
	v.fields(&f)
	return f.r.Done()
}

func showFields(body []byte, v walked) ([]string, error) {
	var lines []string
	f := fields{reading: true, r: pack.NewReader(body), show: &lines}
	v.fields(&f)
	return lines, f.r.Done()
}

// exactly opens a record of n fields. It is for requests: one with a further field
// asks for something that this version does not know, and must not be
// half understood.
func (f *fields) exactly(n int, walk func()) {
	if !f.reading {
		f.b = pack.AppendArray(f.b, n)
	} else {
		f.r.ArrayLen(n)
	}
	walk()
}

// atLeast opens a record of n fields. It is for answers and hellos: what a
// newer version has added at the end is skipped.
func (f *fields) atLeast(n int, walk func()) {
	if !f.reading {
		f.b = pack.AppendArray(f.b, n)
		walk()
		return
	}
	found := f.r.Array()
	walk()
	f.r.Trailing(found, n)
}

// grown is atLeast of a record that has grown since it was first sent: an older version
// sends n fields, this one also the added ones, which stay as they are where they were not
// sent.
func (f *fields) grown(n int, walk func(), added int, more func()) {
	if !f.reading {
		f.b = pack.AppendArray(f.b, n+added)
		walk()
		more()
		return
	}
	found := f.r.Array()
	walk()
	if found < n+added {
		f.r.Trailing(found, n)
		return
	}
	more()
	f.r.Trailing(found, n+added)
}

// grownTwice is grown of a record that has grown at two times: a version in between sends
// the fields that were added first.
func (f *fields) grownTwice(n int, walk func(), added int, more func(), again int, last func()) {
	if !f.reading {
		f.b = pack.AppendArray(f.b, n+added+again)
		walk()
		more()
		last()
		return
	}
	found := f.r.Array()
	walk()
	if found >= n+added {
		n += added
		more()
		if found >= n+again {
			n += again
			last()
		}
	}
	f.r.Trailing(found, n)
}

// shown notes a field that has been read.
func (f *fields) shown(name, value string) {
	if f.show != nil && f.r.Err() == nil {
		*f.show = append(*f.show, f.path+name+" "+value)
	}
}

// number is a field of any unsigned type; what does not fit is refused.
func number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](f *fields, name string, v *T) {
	if !f.reading {
		f.b = pack.AppendUint(f.b, uint64(*v))
		return
	}
	*v = T(f.r.UintMax(uint64(^T(0))))
	if f.show != nil {
		f.shown(name, fmt.Sprint(*v))
	}
}

// integer is a number that may be below zero.
func integer(f *fields, name string, v *int64) {
	if !f.reading {
		f.b = pack.AppendInt(f.b, *v)
		return
	}
	*v = f.r.Int()
	if f.show != nil {
		f.shown(name, fmt.Sprint(*v))
	}
}

func (f *fields) flag(name string, v *bool) {
	if !f.reading {
		f.b = pack.AppendBool(f.b, *v)
		return
	}
	*v = f.r.Bool()
	f.shown(name, strconv.FormatBool(*v))
}

func (f *fields) text(name string, v *string) {
	if !f.reading {
		f.b = pack.AppendString(f.b, *v)
		return
	}
	*v = f.r.String()
	if f.show != nil {
		f.shown(name, strconv.Quote(*v))
	}
}

// bin is bytes of any length, a key or a part of one.
func (f *fields) bin(name string, v *[]byte) {
	if !f.reading {
		f.b = pack.AppendBytes(f.b, *v)
		return
	}
	*v = append([]byte(nil), f.r.Bytes()...)
	if f.show != nil {
		f.shown(name, quoted(*v))
	}
}

// record is a body within a body.
func (f *fields) record(name string, v walked) {
	outer := f.path
	f.path = outer + name + "."
	v.fields(f)
	f.path = outer
}

// proof is a bin that has one of two lengths: none, or that of a proof.
func (f *fields) proof(name string, v *[]byte) {
	if !f.reading {
		f.b = pack.AppendBytes(f.b, *v)
		return
	}
	b := f.r.Bytes()
	if len(b) != 0 && len(b) != ProofSize {
		f.r.Fail(fmt.Sprintf("%s of %d bytes, want none or %d", name, len(b), ProofSize))
		return
	}
	*v = append([]byte(nil), b...)
	if f.show != nil {
		f.shown(name, fmt.Sprintf("%x", b))
	}
}

func (f *fields) nonce(name string, v *Nonce) {
	if !f.reading {
		f.b = pack.AppendBytes(f.b, v[:])
		return
	}
	b := f.r.Bytes()
	if len(b) != len(v) {
		f.r.Fail(fmt.Sprintf("%s of %d bytes, want %d", name, len(b), len(v)))
		return
	}
	copy(v[:], b)
	if f.show != nil {
		f.shown(name, fmt.Sprintf("%x", b))
	}
}

// fixed is a bin of the length of v.
func fixed(f *fields, name string, v []byte) {
	if !f.reading {
		f.b = pack.AppendBytes(f.b, v)
		return
	}
	b := f.r.Bytes()
	if len(b) != len(v) {
		f.r.Fail(fmt.Sprintf("%s of %d bytes, want %d", name, len(b), len(v)))
		return
	}
	copy(v, b)
	if f.show != nil {
		f.shown(name, fmt.Sprintf("%x", b))
	}
}

// sealed is a bin of which only the length is shown: a key, or what proves one.
func sealed(f *fields, name string, v *[]byte) {
	show := f.show
	f.show = nil
	f.bin(name, v)
	if f.show = show; f.reading && show != nil {
		f.shown(name, fmt.Sprintf("%d bytes", len(*v)))
	}
}

// list is a field of many. sizeMin is the number of bytes that each takes at
// least on the wire, so that the room made for them can't be many times what
// has arrived.
func list[T any](f *fields, name string, v *[]T, sizeMin int, walk func(f *fields, v *T)) {
	if !f.reading {
		f.b = pack.AppendArray(f.b, len(*v))
		for i := range *v {
			walk(f, &(*v)[i])
		}
		return
	}
	*v = nil
	n := f.r.Array()
	if n == 0 {
		f.shown(name, "none")
		return
	}
	if room := len(f.r.Rest()); n > room/sizeMin {
		f.r.Fail(fmt.Sprintf("%d %s in %d bytes, each has %d at least", n, name, room, sizeMin))
		return
	}
	*v = make([]T, n)
	outer := f.path
	for i := range *v {
		if f.show != nil {
			f.path = fmt.Sprintf("%s%s[%d].", outer, name, i)
		}
		if walk(f, &(*v)[i]); f.r.Err() != nil {
			break
		}
	}
	f.path = outer
}
