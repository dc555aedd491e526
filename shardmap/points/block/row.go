package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"muster/shardmap/points/column"
)

// Row is what the index has of a block.
type Row struct {
	Series, Field []byte
	Kind          column.Kind
	Points        int
	First, Last   int64 // times

	times, values part
}

// appendRow appends a row to a page. here is where the columns of the row before end, and before the series of that row.
func (r *Row) appendRow(page []byte, here int64, before []byte) []byte {
	shared := 0
	for shared < min(len(before), len(r.Series)) && before[shared] == r.Series[shared] {
		shared++
	}
	page = binary.AppendUvarint(page, uint64(shared))
	page = appendBytes(page, r.Series[shared:])
	page = appendBytes(page, r.Field)
	page = binary.AppendUvarint(append(page, byte(r.Kind)), uint64(r.Points))
	page = binary.AppendVarint(page, r.First)
	page = binary.AppendUvarint(page, uint64(r.Last)-uint64(r.First))
	page = binary.AppendUvarint(page, uint64(here-r.times.offset))
	page = r.times.appendPart(page)
	return r.values.appendPart(page)
}

// appendPart appends all that describes a part, but for its place.
func (p *part) appendPart(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.stands))
	dst = binary.AppendUvarint(dst, uint64(p.raw))
	return binary.LittleEndian.AppendUint64(dst, p.sum)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// fields reads numbers and bytes one after the other. Its first error stays, and what is read after it is zero.
type fields struct {
	b    []byte // what is left
	what string // the first thing that was wrong; "": nothing
}

func (f *fields) fail(format string, args ...any) {
	if f.what == "" {
		f.what, f.b = fmt.Sprintf(format, args...), nil
	}
}

func (f *fields) uvarint(what string, most uint64) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || v > most {
		f.fail("%s: %d, or no number; want at most %d", what, v, most)
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) varint(what string) int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.fail("%s can't be read", what)
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) take(what string, n int) []byte {
	if n > len(f.b) {
		f.fail("%s has %d bytes, %d are left", what, n, len(f.b))
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

// bytes reads a length, and as many bytes.
func (f *fields) bytes(what string) []byte {
	return f.take(what, int(f.uvarint(what, KeyMax)))
}

// part reads what describes a part that stands somewhere. Both lengths are equal if zstd has not packed it.
func (f *fields) part(what string, offset int64, most int) part {
	p := part{offset: offset, stands: int(f.uvarint(what, uint64(most))), raw: int(f.uvarint(what, uint64(most)))}
	if b := f.take(what, 8); b != nil {
		p.sum = binary.LittleEndian.Uint64(b)
	}
	if f.what == "" && (p.stands == 0 || p.stands > p.raw) {
		f.fail("%s has %d bytes, and %d unpacked", what, p.stands, p.raw)
	}
	return p
}

// page reads the rows of a page.
type page struct {
	fields
	series []byte // of the last row
	here   int64  // where its columns end
}

// next reads the next row. row.Field is part of the page.
func (p *page) next(row *Row) {
	shared := int(p.uvarint("the shared part of the series", uint64(len(p.series))))
	rest := p.bytes("the series")
	p.series = append(p.series[:shared], rest...)
	row.Series, row.Field = p.series, p.bytes("the field")
	if p.what == "" && len(row.Series)+len(row.Field) > KeyMax {
		p.fail("series and field have %d and %d bytes, the limit for both is %d", len(row.Series), len(row.Field), KeyMax)
	}
	if b := p.take("the kind", 1); b != nil {
		row.Kind = column.Kind(b[0])
	}
	row.Points = int(p.uvarint("the number of points", PointsMax))
	row.First = p.varint("the first time")
	row.Last = row.First + int64(p.uvarint("the span of the times", math.MaxUint64))
	back := int64(p.uvarint("the place of the times", uint64(max(p.here-headerSize, 0))))
	row.times = p.part("the column of times", p.here-back, ColumnMax)
	if back == 0 {
		p.here += int64(row.times.stands)
	}
	row.values = p.part("the column of values", p.here, ColumnMax)
	p.here += int64(row.values.stands)
	switch {
	case p.what != "":
	case !row.Kind.Valid():
		p.fail("the block is of %v; known are kinds %d to %d", row.Kind, column.Float, column.String)
	case row.Points == 0 || row.First > row.Last || (row.First == row.Last) != (row.Points == 1):
		p.fail("the block has %d points from %d to %d", row.Points, row.First, row.Last)
	case back != 0 && int64(row.times.stands) > back:
		p.fail("the column of times has %d bytes, and begins %d bytes before the values", row.times.stands, back)
	}
}

// section is a page and the columns before it, as the directory has them.
type section struct {
	columns       int64 // where its columns begin
	page          part
	rows          int
	series, field []byte // of the first row
}

// appendSection appends a line of the directory.
func (s *section) appendSection(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.page.offset-s.columns))
	dst = s.page.appendPart(dst)
	dst = binary.AppendUvarint(dst, uint64(s.rows))
	return appendBytes(appendBytes(dst, s.series), s.field)
}

// sectionMin is the length of the shortest line of a directory: four numbers, a checksum, and two empty strings.
const sectionMin = 4 + 8 + 2

// readDirectory reads a directory, and returns what is wrong with it, if something is. end is where it begins in the
// file, and where the last section must end. The sections keep b.
func readDirectory(b []byte, end int64) (sections []section, what string) {
	f := fields{b: b}
	n := f.uvarint("the number of sections", uint64(len(b)/sectionMin))
	sections = make([]section, n)
	here := int64(headerSize)
	for i := range sections {
		s := &sections[i]
		s.columns = here
		here += int64(f.uvarint("the length of the columns", uint64(max(end-here, 0))))
		s.page = f.part("the page", here, pageMax)
		here += int64(s.page.stands)
		s.rows = int(f.uvarint("the number of rows", pageMax))
		s.series, s.field = f.bytes("the series"), f.bytes("the field")
		switch {
		case f.what != "":
			return nil, f.what
		case s.rows == 0:
			return nil, fmt.Sprintf("section %d has no rows", i)
		case i > 0 && compare(sections[i-1].series, sections[i-1].field, s.series, s.field) > 0:
			return nil, fmt.Sprintf("section %d begins with field %q of series %q, which is before section %d", i, shown(string(s.field)), shown(string(s.series)), i-1)
		}
	}
	switch {
	case f.what != "":
		return nil, f.what
	case len(f.b) > 0:
		return nil, fmt.Sprintf("%d bytes stand behind the last section", len(f.b))
	case here != end:
		return nil, fmt.Sprintf("the sections end at byte %d, the directory begins at byte %d", here, end)
	}
	return sections, ""
}

// compare orders blocks by series, in it by field.
func compare(series1, field1, series2, field2 []byte) int {
	if c := bytes.Compare(series1, series2); c != 0 {
		return c
	}
	return bytes.Compare(field1, field2)
}
