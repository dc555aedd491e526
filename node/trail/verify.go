package trail

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"muster/logstore/vfs"
)

// problemsMax is how many problems are told one by one.
const problemsMax = 100

// Problem is something that is wrong with a trail.
type Problem struct {
	File   string // "": it is not about one
	Line   uint64 // the number of the line that should stand there; 0: it is about none
	Offset int64  // where in the file
	What   string
}

// Report is what was found in a trail.
type Report struct {
	Files, Lines uint64
	First        uint64 // number of the first line; 0: there is none
	Last         Head   // the last line
	Lost         uint64 // what the lines themselves say is missing: for want of room, or because files were taken away
	Torn         int64  // bytes behind the last line that are no whole one: it is being written, or a crash has torn it
	Problems     []Problem
	More         uint64 // problems that are not told
	Passed       int    // heads through which the chain passes
	Unchecked    int    // heads that are older than the first line
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Verifier looks at the lines of a trail, in order, file by file.
type Verifier struct {
	report Report
	heads  []Head

	file    string
	began   bool
	broken  bool // the line before is not known: it was bad
	pending []byte
	at      int64 // offset of pending in file
}

// NewVerifier returns a verifier that has seen nothing. The chain must pass through the heads.
func NewVerifier(heads []Head) *Verifier { return &Verifier{heads: heads} }

func (v *Verifier) problem(line uint64, format string, args ...any) {
	if len(v.report.Problems) >= problemsMax {
		v.report.More++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{File: v.file, Line: line, Offset: v.at, What: fmt.Sprintf(format, args...)})
}

// File says that what follows stands in another file, whose first line has this number by
// its name.
func (v *Verifier) File(first uint64) {
	v.unended()
	v.file, v.at = fileName(first), 0
	v.report.Files++
	next := v.report.Last.Lines + 1
	switch {
	case !v.began:
		v.report.Last.Lines = first - 1
	case first > next:
		v.problem(next, "lines %d to %d are missing: there is no file that holds them", next, first-1)
		v.report.Last.Lines, v.broken = first-1, true
	case first < next:
		v.problem(next, "the file begins with line %d by its name, and the one before it ends with line %d", first, next-1)
		v.report.Last.Lines, v.broken = first-1, true
	}
}

// unended takes what has no newline behind it as a bad line: it is not at the end of all.
func (v *Verifier) unended() {
	if len(v.pending) > 0 {
		v.line(v.pending)
		v.pending = nil
	}
}

// Take looks at more bytes of the file.
func (v *Verifier) Take(b []byte) {
	b = append(v.pending, b...)
	for len(b) > 0 {
		raw := cutLine(b)
		if raw[len(raw)-1] != '\n' && len(raw) < LineMax {
			break
		}
		v.line(raw)
		b = b[len(raw):]
	}
	v.pending = append([]byte(nil), b...)
}

func (v *Verifier) line(raw []byte) {
	r := &v.report
	want := r.Last.Lines + 1
	l, err := ReadLine(raw)
	switch {
	case err != nil:
		v.problem(want, "line %d was changed: %v", want, err)
		r.Last, v.broken = Head{Lines: want}, true
	case l.Seq > want:
		v.problem(want, "lines %d to %d are missing: line %d stands where line %d should", want, l.Seq-1, l.Seq, want)
	case l.Seq < want:
		v.problem(want, "line %d stands where line %d should: it was moved, or put in", l.Seq, want)
	case !v.broken && v.began && l.Prev != r.Last.Hash || want == 1 && l.Prev != (Hash{}):
		v.problem(want, "line %d does not follow the line before it: one of them was changed, with its hash", want)
	}
	if err == nil {
		r.Lost += l.Lost
		v.checkHeads(&l)
		r.Last, v.broken = Head{l.Seq, l.Hash}, false
	}
	if !v.began {
		v.began, r.First = true, want
	}
	r.Lines++
	v.at += int64(len(raw))
}

func (v *Verifier) checkHeads(l *Line) {
	for _, h := range v.heads {
		switch {
		// A head just before the first line that is left is in that one.
		case h.Lines == l.Seq-1 && !v.began && h.Lines > 0:
			v.passed(h, l.Prev)
		case h.Lines == l.Seq:
			v.passed(h, l.Hash)
		case !v.began && h.Lines < l.Seq && h.Lines > 0:
			v.report.Unchecked++
		}
	}
}

func (v *Verifier) passed(h Head, has Hash) {
	if h.Hash == has {
		v.report.Passed++
		return
	}
	v.problem(h.Lines, "line %d has the hash %s, and the cluster knows it with %s: lines up to it were changed, with their hashes", h.Lines, has, h.Hash)
}

// End returns what was found.
func (v *Verifier) End() Report {
	r := &v.report
	r.Torn = int64(len(v.pending))
	for _, h := range v.heads {
		if h.Lines > r.Last.Lines {
			v.problem(r.Last.Lines+1, "the trail ends with line %d, and the cluster knows its line %d: the end was cut off", r.Last.Lines, h.Lines)
		}
	}
	return *r
}

// Verify looks at the trail in a directory. The node may write to it meanwhile. An error says
// why it can't be read; what is wrong with it is in the report.
func Verify(disk vfs.FS, dir string, heads []Head) (Report, error) {
	v := NewVerifier(heads)
	from := Position{}
	for {
		p, err := Read(disk, dir, from, PageMax)
		if err != nil {
			return Report{}, err
		}
		v.Page(from, &p)
		if !p.More {
			return v.End(), nil
		}
		from = p.Next
	}
}

// Page looks at a page, which was read from a position on.
func (v *Verifier) Page(from Position, p *Page) {
	if from.File != 0 && from.File < p.Oldest {
		*v = *NewVerifier(v.heads) // the budget has removed what was looked at
	}
	if p.From.File != 0 && (v.file == "" || p.From.File != from.File) {
		v.File(p.From.File)
	}
	v.Take(p.Bytes)
}

// Position is a place in a trail.
type Position struct {
	File   uint64 // the number of the file's first line; 0: the oldest
	Offset int64
}

// PageMax bounds a page, in bytes.
const PageMax = 256 << 10

// Page is a part of a trail, all of one file.
type Page struct {
	From  Position // where it begins: later than was asked for if that file was removed, or has ended
	Next  Position // where to go on
	Bytes []byte
	More  bool // there is more behind it now
	// Oldest is the number of the first line that is left; 0: there is none.
	Oldest uint64
}

// Read returns what stands at a position and behind it, at most limit bytes of it.
func Read(disk vfs.FS, dir string, from Position, limit int) (Page, error) {
	firsts, err := listFiles(disk, dir)
	if err != nil {
		return Page{}, err
	}
	p := Page{From: from, Next: from}
	if len(firsts) > 0 {
		p.Oldest = firsts[0]
	}
	for i, first := range firsts {
		if first < from.File {
			continue
		}
		at := int64(0)
		if first == from.File {
			at = from.Offset
		}
		b, more, err := readAt(disk, path.Join(dir, fileName(first)), at, limit)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the budget has removed it
		}
		if err != nil {
			return Page{}, err
		}
		if len(b) == 0 && i < len(firsts)-1 {
			continue
		}
		p.From = Position{first, at}
		p.Next = Position{first, at + int64(len(b))}
		p.Bytes, p.More = b, more || i < len(firsts)-1
		return p, nil
	}
	return p, nil
}

func readAt(disk vfs.FS, name string, at int64, limit int) (b []byte, more bool, err error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || at >= size {
		return nil, false, err
	}
	b = make([]byte, min(size-at, int64(limit)))
	if n, err := f.ReadAt(b, at); err != nil && n < len(b) {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return b, at+int64(len(b)) < size, nil
}

// Last returns the position of the last lines, at most n of them and those of two files, and
// their number.
func Last(disk vfs.FS, dir string, n int) (Position, error) {
	firsts, err := listFiles(disk, dir)
	if err != nil {
		return Position{}, err
	}
	at := Position{}
	for i := len(firsts) - 1; i >= 0 && i >= len(firsts)-2; i-- {
		b, err := readFile(disk, path.Join(dir, fileName(firsts[i])), recoverMax)
		if errors.Is(err, fs.ErrNotExist) {
			return at, nil
		}
		if err != nil {
			return Position{}, err
		}
		at = Position{File: firsts[i], Offset: int64(len(b))}
		for end := len(b); end > 0 && n > 0; n-- {
			end--
			for end > 0 && b[end-1] != '\n' {
				end--
			}
			at.Offset = int64(end)
		}
		if n == 0 {
			return at, nil
		}
	}
	return at, nil
}

// LineAt returns the hash of a line; false if it is not there.
func LineAt(disk vfs.FS, dir string, seq uint64) (Hash, bool, error) {
	firsts, err := listFiles(disk, dir)
	if err != nil {
		return Hash{}, false, err
	}
	for i := len(firsts) - 1; i >= 0; i-- {
		if firsts[i] > seq {
			continue
		}
		b, err := readFile(disk, path.Join(dir, fileName(firsts[i])), recoverMax)
		if err != nil {
			return Hash{}, false, err
		}
		for len(b) > 0 {
			raw := cutLine(b)
			if l, err := ReadLine(raw); err == nil && l.Seq == seq {
				return l.Hash, true, nil
			}
			b = b[len(raw):]
		}
		break
	}
	return Hash{}, false, nil
}
