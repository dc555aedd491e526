package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"muster/repl/memtest"
	"muster/shardmap/points/column"
)

// served are the blocks that can be read of a file, whatever is wrong with the others. It returns the first error too.
func served(file []byte) (blocks []Block, first error) {
	r, err := open(file)
	if err != nil {
		return nil, err
	}
	c := r.All()
	for c.Next() {
		var b Block
		if err := c.Read(&b); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		blocks = append(blocks, b)
	}
	if first == nil {
		first = c.Err()
	}
	if err := r.Verify(); (err == nil) != (first == nil) {
		return blocks, fmt.Errorf("verified: %v; read: %v", err, first)
	}
	return blocks, first
}

// damageWrong changes each byte of a file in some ways, and returns what is wrong with what becomes of it: each change
// is refused with its place, and what can still be read is as it was written.
func damageWrong(t *testing.T, blocks []Block, changes []byte) string {
	file, _ := written(t, blocks)
	whole := map[string]bool{}
	for i := range blocks {
		whole[told(blocks[i:i+1])] = true
	}
	for at := range file {
		for _, change := range changes {
			other := slices.Clone(file)
			other[at] ^= change
			got, err := served(other)
			var d *DamageError
			if !errors.As(err, &d) {
				return fmt.Sprintf("byte %d changed by %02x: %v", at, change, err)
			}
			// The place is the beginning of a part: before the byte, and none of the parts is longer than 300 bytes.
			if d.Offset > int64(at) || d.Offset < int64(at)-300 {
				return fmt.Sprintf("byte %d changed by %02x: byte %d is named: %v", at, change, d.Offset, err)
			}
			for i := range got {
				if s := told(got[i : i+1]); !whole[s] {
					return fmt.Sprintf("byte %d changed by %02x: this is read: %s", at, change, s)
				}
			}
		}
	}
	return ""
}

func TestEveryByteOfAFile(t *testing.T) {
	if wrong := damageWrong(t, sample(), []byte{1, 2, 4, 8, 16, 32, 64, 128, 255}); wrong != "" {
		t.Error(wrong)
	}
}

// A cut at any place is found when the file is opened, and so is a byte more.
func TestEveryCutOfAFile(t *testing.T) {
	file, _ := written(t, sample())
	for size := range file {
		_, err := open(file[:size])
		var d *DamageError
		if !errors.As(err, &d) || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
	}
	for _, more := range [][]byte{{0}, file} {
		if _, err := open(append(slices.Clone(file), more...)); err == nil {
			t.Errorf("%d bytes behind its end pass unseen", len(more))
		}
	}
	// The file may also get shorter after its size was asked for.
	for _, size := range []int{0, 10, len(file) - 1} {
		if _, err := Open(bytes.NewReader(file[:size]), int64(len(file))); err == nil || !strings.Contains(err.Error(), "the file ends here") {
			t.Errorf("%d of %d bytes: %v", size, len(file), err)
		}
	}
}

// seal sets the checksums of header and footer right.
func seal(file []byte) []byte {
	binary.LittleEndian.PutUint64(file[24:], xxhash.Sum64(file[:24]))
	foot := file[len(file)-footerSize:]
	binary.LittleEndian.PutUint64(foot[112:], xxhash.Sum64(foot[:112]))
	return file
}

// A file of a later build is refused by name, and not called damaged.
func TestNewerFormat(t *testing.T) {
	file, _ := written(t, sample())
	for at, want := range map[int]string{
		8:  "the block file has format 2, this build knows format 1: use a newer build",
		10: "the block file has columns of version 2, this build knows columns of version 1: use a newer build",
	} {
		other := slices.Clone(file)
		other[at] = 2
		_, err := open(seal(other))
		var f *FormatError
		if !errors.As(err, &f) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A reader refuses what no writer makes though its checksums are right, before it spends memory.
func TestRefusedThoughChecksumsAreRight(t *testing.T) {
	good, _ := written(t, sample())
	in := func(change func(foot []byte)) []byte {
		file := slices.Clone(good)
		change(file[len(file)-footerSize:])
		return seal(file)
	}
	by := func(change func(*Writer)) []byte {
		file, _ := writtenBy(t, sample(), change)
		return file
	}
	one := func() *Block {
		return &Block{[]byte("z"), []byte("f"), []int64{1, 2}, column.Values{Kind: column.Integer, Integers: []int64{3, 4}}}
	}
	// put has a row of the writer's block changed before it gets into the page.
	put := func(change func(w *Writer, r *Row)) []byte {
		return by(func(w *Writer) {
			b := one()
			here := w.size
			r := Row{Series: b.Series, Field: b.Field, Kind: b.Values.Kind, Points: 2, First: 1, Last: 2}
			r.times = w.part(column.AppendTimes(nil, b.Times))
			r.values = w.part(b.Values.Append(nil))
			change(w, &r)
			w.row(&r, here)
		})
	}
	put64 := binary.LittleEndian.PutUint64
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"zeros of the header", func() []byte { f := slices.Clone(good); f[13] = 1; return seal(f) }(), "where zeros are due"},
		{"directory before the header", in(func(f []byte) { put64(f[8:], 5) }), "does not end at byte"},
		{"directory far away", in(func(f []byte) { put64(f[8:], 1<<63) }), "does not end at byte"},
		{"directory of 4 GiB", in(func(f []byte) { binary.LittleEndian.PutUint32(f[20:], 1<<32-1) }), "the limit is 67108864"},
		{"directory of another length", in(func(f []byte) { f[20]++ }), "does not unpack"},
		{"blocks without sections", func() []byte {
			f, _ := writtenBy(t, nil, func(w *Writer) { w.content.info.Blocks = 3 })
			return f
		}(), "0 sections, and the footer tells of 3 blocks"},
		{"one block more", by(func(w *Writer) { w.content.info.Blocks++ }), "the footer tells of"},
		{"one series more", by(func(w *Writer) { w.content.info.Series++ }), "the footer tells of"},
		{"one value more", by(func(w *Writer) { w.content.info.Values++ }), "the footer tells of"},
		{"another last time", by(func(w *Writer) { w.content.info.Last++ }), "the footer tells of"},
		{"another sum", by(func(w *Writer) { w.content.sum.Write([]byte{1}) }), "the footer tells of"},
		{"bytes of nobody", by(func(w *Writer) { w.write([]byte("nobody's")) }), "its columns end at byte"},
		{"bytes behind the page", by(func(w *Writer) { w.endPage(); w.write([]byte("nobody's")) }), "the sections end at byte"},
		{"a page longer than its rows", by(func(w *Writer) { w.page = append(w.page, 0) }), "1 bytes stand behind its last row"},
		{"a row more than the page has", by(func(w *Writer) { w.section.rows++ }), "row 7 of the page"},
		{"a section of another row", by(func(w *Writer) { w.section.field[0]-- }), "does not begin with the row"},
		{"an earlier series", by(func(w *Writer) {
			w.series = nil
			w.content.info.Blocks = 0
			b := one()
			b.Series = []byte("a")
			w.Add(b)
		}), "not behind the row before"},
		{"the same block twice", by(func(w *Writer) { b := one(); w.Add(b); w.last = 0; w.Add(b) }), "not behind the row before"},
		{"sections out of order", by(func(w *Writer) {
			w.endPage()
			w.series, w.content.info.Blocks = nil, 0
			b := one()
			b.Series = []byte("a")
			w.Add(b)
		}), "which is before section 0"},
		{"a column of kind 9", put(func(_ *Writer, r *Row) { r.Kind = 9 }), "of kind 9; known are kinds 1 to 5"},
		{"a column of another kind", put(func(_ *Writer, r *Row) { r.Kind = column.Boolean }), `in the block of field "f" of series "z": 2 values are due`},
		{"a point more", put(func(_ *Writer, r *Row) { r.Points = 3 }), "the index tells of 3 times"},
		{"no points", put(func(_ *Writer, r *Row) { r.Points = 0 }), "has 0 points"},
		{"points without end", put(func(_ *Writer, r *Row) { r.Points = PointsMax + 1 }), "want at most 65536"},
		{"one point with two times", put(func(_ *Writer, r *Row) { r.Points = 1 }), "has 1 points from 1 to 2"},
		{"a later first time", put(func(_ *Writer, r *Row) { r.First = 0 }), "the index tells of 2 times from 0 to 2"},
		{"a column of 1 GiB", put(func(_ *Writer, r *Row) { r.values.raw = 1 << 30 }), "want at most 16777216"},
		{"a column without bytes", put(func(_ *Writer, r *Row) { r.values.stands = 0 }), "has 0 bytes"},
		{"a column that reaches behind the page", put(func(_ *Writer, r *Row) { r.values.stands, r.values.raw = 5000, 5000 }), "behind the page"},
		{"times before the header", put(func(_ *Writer, r *Row) { r.times.offset = 3 }), "the place of the times"},
		{"times that reach behind here", put(func(w *Writer, r *Row) { r.times.offset, r.times.stands, r.times.raw = r.times.offset-1, 9, 9 }), "begins 1 bytes before the values"},
		{"shared bytes of no row before", put(func(w *Writer, _ *Row) { w.page = append(w.page, 77, 0, 0); w.section.rows++ }), "the shared part of the series: 77"},
	} {
		_, err := served(c.file)
		var d *DamageError
		if !errors.As(err, &d) && !strings.HasPrefix(fmt.Sprint(err), "verified: ") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if n := memtest.Allocated(func() { served(c.file) }); n > 2<<20 {
			t.Errorf("%s: %d bytes of a file cost %d", c.name, len(c.file), n)
		}
	}
}

// refusing is a disk that refuses a read that touches a byte.
type refusing struct {
	*bytes.Reader
	at int64
}

var errRefused = errors.New("input/output error")

func (r refusing) ReadAt(b []byte, offset int64) (int, error) {
	if offset <= r.at && r.at < offset+int64(len(b)) {
		return 0, errRefused
	}
	return r.Reader.ReadAt(b, offset)
}

// A read that the disk refuses is no damage: the next one may succeed.
func TestRefusedReads(t *testing.T) {
	file, _ := written(t, sample())
	for at := range file {
		err := func() error {
			r, err := Open(refusing{bytes.NewReader(file), int64(at)}, int64(len(file)))
			if err != nil {
				return err
			}
			return r.Verify()
		}()
		var d *DamageError
		if !errors.Is(err, errRefused) || errors.As(err, &d) || !strings.HasPrefix(err.Error(), "read the ") {
			t.Errorf("byte %d can't be read: %v", at, err)
		}
	}
}

// FuzzFile reads files of strangers, whose checksums are set right as far as that is easy.
func FuzzFile(f *testing.F) {
	file, _ := written(f, sample())
	empty, _ := written(f, nil)
	for _, b := range [][]byte{file, empty, file[:100], bytes.Repeat([]byte("mustpnts"), 40)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize+footerSize {
			b = seal(slices.Clone(b))
		}
		var err error
		// The unpacker takes some memory for itself, whatever is read.
		if got, bound := memtest.Allocated(func() { _, err = served(b) }), 32*len(b)+1<<20; got > bound {
			t.Errorf("%d bytes of a file cost %d bytes, the bound is %d", len(b), got, bound)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("the error is %d bytes long", len(err.Error()))
		}
	})
}

// FuzzPage reads rows of strangers: nothing stands before them but a checksum, which anybody can make.
func FuzzPage(f *testing.F) {
	var last []byte
	_, _ = writtenBy(f, sample(), func(w *Writer) { last = bytes.Clone(w.page) })
	f.Add(last, int64(1000))
	f.Add([]byte{0, 0xff, 0xff, 3}, int64(headerSize))
	f.Fuzz(func(t *testing.T, b []byte, here int64) {
		p := page{fields: fields{b: b}, here: max(here, headerSize)}
		var row Row
		got := memtest.Allocated(func() {
			p = page{fields: fields{b: b}, here: max(here, headerSize)}
			for len(p.b) > 0 && p.what == "" {
				p.next(&row)
				if p.what == "" && (row.times.offset < headerSize || row.times.raw > ColumnMax || row.values.raw > ColumnMax || row.Points > PointsMax) {
					t.Errorf("% x: the row %+v is let pass", b, row)
				}
			}
		})
		if bound := 16*len(b) + 4096; got > bound {
			t.Errorf("%d bytes of a page cost %d bytes, the bound is %d", len(b), got, bound)
		}
	})
}

// FuzzDirectory reads directories of strangers.
func FuzzDirectory(f *testing.F) {
	var last []byte
	var end int64
	writtenBy(f, sample(), func(w *Writer) {
		w.endPage()
		end, last = w.size, append([]byte{1}, w.directory...)
	})
	f.Add(last, end)
	f.Add([]byte{0}, int64(headerSize))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, int64(1)<<40)
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		var sections []section
		var what string
		if got, bound := memtest.Allocated(func() { sections, what = readDirectory(b, end) }), 16*len(b)+4096; got > bound {
			t.Errorf("%d bytes of a directory cost %d bytes, the bound is %d", len(b), got, bound)
		}
		here := int64(headerSize)
		for _, s := range sections {
			if s.columns != here || s.page.offset < here || s.page.raw > pageMax {
				t.Fatalf("% x: the section %+v is let pass at byte %d", b, s, here)
			}
			here = s.page.offset + int64(s.page.stands)
		}
		if what == "" && here != end {
			t.Errorf("% x: the sections end at %d, not at %d", b, here, end)
		}
	})
}

var _ io.ReaderAt = refusing{}
