package wire

import (
	"fmt"

	"muster/raft"
)

// TrailBytesMax bounds the lines of one [TrailAnswer], in bytes.
const TrailBytesMax = 256 << 10

// TrailLastMax bounds from how many lines before the end a [Trail] may begin.
const TrailLastMax = 10_000

// Trail asks a node for a page of its trail: [file, offset, last]. Where to begin is a file, by
// the number of its first line, and an offset in it; or some lines before the end.
type Trail struct {
	File   uint64 // 0: the oldest that is left
	Offset uint64 // in bytes
	Last   uint32 // instead of both: so many lines before the end; 0: not so
}

func (m *Trail) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "file", &m.File)
		number(f, "offset", &m.Offset)
		number(f, "last", &m.Last)
	})
}

// TrailAnswer is a page of a node's trail, all of one file.
type TrailAnswer struct {
	Node raft.NodeID // whose trail it is
	Name string
	// File and Offset are where Lines begins. If that file is no longer there, or has ended, it is
	// the next.
	File, Offset uint64
	NextFile     uint64 // where to go on
	NextOffset   uint64
	Oldest       uint64 // number of the first line that is left
	More         bool   // there is more behind it now
	Lines        []byte // as they are in the file, at most TrailBytesMax; the last may be cut
	Synced       uint64 // number of the last line that is on the disk
	Missing      uint64 // events that no line tells of, for want of room
}

func (m *TrailAnswer) fields(f *fields) {
	f.atLeast(11, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		number(f, "file", &m.File)
		number(f, "offset", &m.Offset)
		number(f, "next_file", &m.NextFile)
		number(f, "next_offset", &m.NextOffset)
		number(f, "oldest", &m.Oldest)
		f.flag("more", &m.More)
		f.bin("lines", &m.Lines)
		number(f, "synced", &m.Synced)
		number(f, "missing", &m.Missing)
	})
}

// Append appends the body.
func (m *Trail) Append(b []byte) []byte { return appendFields(b, m) }

// Append appends the body.
func (m *TrailAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Trail) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Last > TrailLastMax:
		return fmt.Errorf("field last: %d; want %d at most", m.Last, TrailLastMax)
	case m.Last > 0 && (m.File > 0 || m.Offset > 0):
		return fmt.Errorf("field last: %d, with a file or an offset; want one of them", m.Last)
	case m.Offset > 1<<62:
		return fmt.Errorf("field offset: %d; want %d at most", m.Offset, uint64(1)<<62)
	}
	return nil
}

// Read reads the body.
func (m *TrailAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Lines) > TrailBytesMax {
		return fmt.Errorf("field lines: %d bytes; want %d at most", len(m.Lines), TrailBytesMax)
	}
	return nil
}
