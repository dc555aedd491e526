package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"muster/shardmap/points/column"
)

// Writer writes a block file. One goroutine at a time may use it. After an error there is no file.
//
// It holds a page, the last block, some columns of times of the last series, and the directory.
type Writer struct {
	w       io.Writer
	err     error // the first one
	size    int64 // of what was written
	content *content
	packer  *zstd.Encoder

	page      []byte
	section   section // of the page
	directory []byte
	sections  int

	series, field []byte // of the last block
	kind          column.Kind
	last          int64       // its last time
	times         []sameTimes // of the last series
	lastTimes     []int64     // of the last block, which timesColumn has

	timesColumn, values, packed []byte // scratch
}

// sameTimes is a column of times that other fields of the series may share.
type sameTimes struct {
	column []byte
	part   part
}

// sharedMax is how many columns of times of a series are remembered, and sharedBytes how long all of them may be
// together; the oldest are forgotten. A field with more blocks than that, or longer ones, has times of its own.
const (
	sharedMax   = 64
	sharedBytes = 1 << 20
)

// NewWriter writes the header of a file.
func NewWriter(w io.Writer) (*Writer, error) {
	x := &Writer{w: w, content: newContent(column.Version)}
	if x.packer, x.err = newPacker(); x.err != nil {
		return nil, x.err
	}
	var b [headerSize]byte
	copy(b[:], fileMagic)
	binary.LittleEndian.PutUint16(b[8:], Format)
	binary.LittleEndian.PutUint16(b[10:], column.Version)
	binary.LittleEndian.PutUint64(b[24:], xxhash.Sum64(b[:24]))
	x.write(b[:])
	x.section.columns = x.size
	return x, x.err
}

func (x *Writer) write(b []byte) {
	if x.err == nil {
		_, x.err = x.w.Write(b)
		x.size += int64(len(b))
	}
}

// check refuses a block that can't be the next one.
func (x *Writer) check(b *Block) error {
	kind, n := b.Values.Kind, b.Values.Len()
	switch {
	case !kind.Valid():
		return fmt.Errorf("the values are of %v; want a kind of package column", kind)
	case len(b.Times) == 0 || len(b.Times) > PointsMax || n != len(b.Times):
		return fmt.Errorf("it has %d times and %d values; want as many of each, 1 to %d", len(b.Times), n, PointsMax)
	case len(b.Series)+len(b.Field) > KeyMax:
		return fmt.Errorf("series and field have %d and %d bytes; want at most %d together", len(b.Series), len(b.Field), KeyMax)
	}
	for i, t := range b.Times[1:] {
		if t <= b.Times[i] {
			return fmt.Errorf("time %d follows %d; want times that ascend", t, b.Times[i])
		}
	}
	if x.content.info.Blocks == 0 {
		return nil
	}
	switch c := compare(b.Series, b.Field, x.series, x.field); {
	case c < 0:
		return fmt.Errorf("it follows field %q of series %q; want blocks by series and field", shown(string(x.field)), shown(string(x.series)))
	case c == 0 && kind != x.kind:
		return fmt.Errorf("its values are of kind %v, those of the block before of kind %v; want one kind for a field", kind, x.kind)
	case c == 0 && b.Times[0] <= x.last:
		return fmt.Errorf("it begins at %d, and the block before ends at %d; want blocks of a field by time, without an overlap", b.Times[0], x.last)
	}
	return nil
}

// Add writes a block. Blocks come by series, in it by field, in it by time; those of a field have one kind.
func (x *Writer) Add(b *Block) error {
	if x.err != nil {
		return x.err
	}
	x.err = x.check(b)
	if x.err == nil {
		if !slices.Equal(b.Times, x.lastTimes) { // most fields have the times of the one before
			x.timesColumn = column.AppendTimes(x.timesColumn[:0], b.Times)
			x.lastTimes = append(x.lastTimes[:0], b.Times...)
		}
		x.values = b.Values.Append(x.values[:0])
		if n := max(len(x.timesColumn), len(x.values)); n > ColumnMax {
			x.err = fmt.Errorf("a column has %d bytes; want at most %d: make blocks of fewer points", n, ColumnMax)
		}
	}
	if x.err != nil {
		x.err = fmt.Errorf("block of field %q of series %q: %w", shown(string(b.Field)), shown(string(b.Series)), x.err)
		return x.err
	}
	row := Row{Series: b.Series, Field: b.Field, Kind: b.Values.Kind, Points: len(b.Times), First: b.Times[0], Last: b.Times[len(b.Times)-1]}
	if x.content.add(&row, x.timesColumn, x.values) {
		x.times = x.times[:0]
	}
	here := x.size
	row.times = x.shared()
	row.values = x.part(x.values)
	x.last = row.Last
	x.row(&row, here)
	return x.err
}

// bugTimesShared is planted to show that its test finds it: times of which there are as many as of others are taken for
// them.
const bugTimesShared = "times of another field shared"

// shared writes the column of times, unless a field of the series before this one has the same.
func (x *Writer) shared() part {
	total := len(x.timesColumn)
	for i := range x.times {
		s := &x.times[i]
		if bytes.Equal(s.column, x.timesColumn) || bug(bugTimesShared) && s.column[0] == x.timesColumn[0] {
			return s.part
		}
		total += len(s.column)
	}
	p := x.part(x.timesColumn)
	for len(x.times) > 0 && (len(x.times) == sharedMax || total > sharedBytes) {
		total -= len(x.times[0].column)
		x.times = append(x.times[:0], x.times[1:]...)
	}
	x.times = append(x.times, sameTimes{bytes.Clone(x.timesColumn), p})
	return p
}

// part writes bytes, packed if that pays.
func (x *Writer) part(b []byte) part {
	p := part{offset: x.size, raw: len(b)}
	x.packed = x.packer.EncodeAll(b, x.packed[:0])
	if len(x.packed) < len(b)-len(b)/pays {
		b = x.packed
	}
	p.stands, p.sum = len(b), xxhash.Sum64(b)
	x.write(b)
	return p
}

// row adds a row to the page, and ends the page if it is long. here is where the columns of the row begin.
func (x *Writer) row(row *Row, here int64) {
	if len(x.page) == 0 {
		x.section.series, x.section.field = bytes.Clone(row.Series), bytes.Clone(row.Field)
		x.series = x.series[:0] // so that the first row has its series whole
	}
	x.page = row.appendRow(x.page, here, x.series)
	x.section.rows++
	x.series, x.field, x.kind = append(x.series[:0], row.Series...), append(x.field[:0], row.Field...), row.Kind
	if len(x.page) >= pageSize {
		x.endPage()
	}
}

func (x *Writer) endPage() {
	x.section.page = x.part(x.page)
	x.page = x.page[:0]
	x.directory = x.section.appendSection(x.directory)
	x.sections++
	x.section = section{columns: x.size}
	if len(x.directory) > DirectoryMax-binary.MaxVarintLen64 && x.err == nil {
		x.err = fmt.Errorf("the directory of the file has reached %d bytes: begin another file", DirectoryMax)
	}
}

// Finish writes the end of the file. Its Sum is the name of the file. No block can be added any more.
func (x *Writer) Finish() (Info, error) {
	if len(x.page) > 0 {
		x.endPage()
	}
	directory := x.part(append(binary.AppendUvarint(nil, uint64(x.sections)), x.directory...))
	info := x.content.end(x.size + footerSize)
	var b [footerSize]byte
	copy(b[:], footerMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(directory.offset))
	binary.LittleEndian.PutUint32(b[16:], uint32(directory.stands))
	binary.LittleEndian.PutUint32(b[20:], uint32(directory.raw))
	binary.LittleEndian.PutUint64(b[24:], directory.sum)
	binary.LittleEndian.PutUint64(b[32:], info.Blocks)
	binary.LittleEndian.PutUint64(b[40:], info.Series)
	binary.LittleEndian.PutUint64(b[48:], info.Values)
	binary.LittleEndian.PutUint64(b[56:], uint64(info.First))
	binary.LittleEndian.PutUint64(b[64:], uint64(info.Last))
	binary.LittleEndian.PutUint64(b[72:], uint64(info.Size))
	copy(b[80:], info.Sum[:])
	binary.LittleEndian.PutUint64(b[112:], xxhash.Sum64(b[:112]))
	x.write(b[:])
	if x.err != nil {
		return Info{}, x.err
	}
	x.err = errors.New("the block file is finished: begin another one")
	return info, nil
}
