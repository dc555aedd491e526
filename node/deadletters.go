package node

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore/vfs"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

const (
	// lettersDir is the directory of the dead letters, in the data directory.
	lettersDir = "deadletters"
	// letterFileBytes is how large a file of them gets before the next one begins, and lettersMax what all have together. Beyond
	// it hints that are refused wait: nothing is thrown away before a person has looked.
	letterFileBytes = 8 << 20
	lettersMax      = 128 << 20
	letterSuffix    = ".lp"
)

// deadLetters are the hints that were refused for good, as line protocol in files that a person may read, write again, and remove.
type deadLetters struct {
	// Set once.
	disk  vfs.FS
	dir   string
	leave func() int64 // how many bytes of the disk are the log's; nil: none

	mu    sync.Mutex
	own   uint64       // guarded by mu: the file that this process has begun last; 0: none
	named bool         // guarded by mu: its name is durable
	bytes atomic.Int64 // of all files, as of the last look
}

// letter is a hint that goes to the dead letters.
type letter struct {
	number uint64
	group  string
	taken  time.Time
	why    string
	points *shardmap.PointsBody // nil: it can't be read
}

// numberOfLetters returns the number in the name of a file; false: it has another name, which a person has given it.
func numberOfLetters(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, letterSuffix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil && name == letterName(n)
}

func letterName(n uint64) string { return fmt.Sprintf("%016d%s", n, letterSuffix) }

// look reads how much there is, and returns the number of the last file, or 0, and its size. The directory may be absent.
func (d *deadLetters) look() (last uint64, size int64, err error) {
	names, err := d.disk.List(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	total := int64(0)
	for _, name := range names {
		if !strings.HasSuffix(name, letterSuffix) {
			continue
		}
		f, err := d.disk.OpenRead(path.Join(d.dir, name))
		if err != nil {
			return 0, 0, err
		}
		bytes, err := f.Size()
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, 0, err
		}
		total += bytes
		// Files that a person has renamed count, and are not written to; nor does their place in the order say which number is next.
		if n, ok := numberOfLetters(name); ok && n > last {
			last, size = n, bytes
		}
	}
	d.bytes.Store(total)
	return last, size, err
}

// bury writes a letter. It is durable when bury returns nil; it may be there twice if a crash comes between.
func (d *deadLetters) bury(l *letter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := l.append(nil)
	if err != nil {
		return err
	}
	if err := d.disk.MkdirAll(d.dir); err != nil {
		return err
	}
	last, size, err := d.look() // each time: a person may have removed some
	if err != nil {
		return err
	}
	if have := d.bytes.Load(); have+int64(len(text)) > lettersMax {
		return fmt.Errorf("the dead letters in %s take %d bytes; the limit is %d: look at them, and remove files", d.dir, have, lettersMax)
	}
	if err := d.room(int64(len(text))); err != nil {
		return err
	}
	// The end of a file that another process has written may be torn, within a string: nothing may stand behind it.
	fresh := last == 0 || last != d.own || size >= letterFileBytes
	if fresh {
		last, size = last+1, 0
	}
	name := path.Join(d.dir, letterName(last))
	var f vfs.File
	if fresh {
		f, err = d.disk.Create(name)
	} else {
		f, err = d.disk.Open(name)
	}
	if err != nil {
		return err
	}
	if fresh {
		d.own, d.named = last, false
	}
	if _, err = f.WriteAt(text, size); err == nil {
		err = f.Sync()
	}
	if err != nil {
		// A part of it may be there, and the whole letter follows.
		if cut := f.Truncate(size); cut != nil {
			d.own, err = 0, errors.Join(err, cut)
		}
	}
	if err = errors.Join(err, f.Close()); err == nil && !d.named { // nor is it where an earlier letter failed
		err = d.disk.SyncDir(d.dir)
		d.named = err == nil
	}
	if err == nil {
		d.bytes.Add(int64(len(text)))
	}
	return err
}

// room returns an error unless the disk has so many bytes besides what the log needs to go on, and to stop.
func (d *deadLetters) room(bytes int64) error {
	if d.leave == nil {
		return nil
	}
	return vfs.Room(d.disk, d.dir, "dead letters", bytes, d.leave())
}

// append appends the letter as text: a comment that says what it is, and a line for each point.
func (l *letter) append(b []byte) ([]byte, error) {
	what := ""
	if l.points != nil {
		what = fmt.Sprintf(", database %s, %s, %d values", oneLine(l.points.Name), l.points.Shard, points.ShareValues(l.points.Share))
	}
	b = fmt.Appendf(b, "# hint %d, for %s, taken %s%s: %s\n", l.number, l.group, l.taken.UTC().Format(time.RFC3339), what, oneLine(l.why))
	if l.points == nil {
		return b, nil
	}
	var r points.ShareReader
	batch, err := r.Read(l.points.Share, l.points.Shard.Span)
	if err != nil {
		return fmt.Appendf(b, "# its points can't be read: %s\n", oneLine(err.Error())), nil
	}
	for s := range batch.Series() {
		b = appendSeries(b, s)
	}
	return b, nil
}

// oneLine has a text keep to its comment.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }

// appendSeries appends the points of a series, each as a line of line protocol with its time in nanoseconds.
func appendSeries(b []byte, s points.SeriesColumns) []byte {
	var columns []points.Column
	var times []int64
	for c := range s.Columns() {
		columns = append(columns, c)
		times = append(times, c.Times...)
	}
	slices.Sort(times)
	next := make([]int, len(columns))
	for _, t := range slices.Compact(times) {
		b = append(b, s.Key()...)
		separator := byte(' ')
		for i, c := range columns {
			if next[i] == len(c.Times) || c.Times[next[i]] != t {
				continue
			}
			b = append(b, separator)
			b = append(append(b, c.Name...), '=')
			b = appendFieldValue(b, c, next[i])
			separator = ','
			next[i]++
		}
		b = append(strconv.AppendInt(append(b, ' '), t, 10), '\n')
	}
	return b
}

func appendFieldValue(b []byte, c points.Column, i int) []byte {
	bits := c.Bits()[i]
	switch c.Kind {
	case column.Float:
		return strconv.AppendFloat(b, math.Float64frombits(bits), 'g', -1, 64)
	case column.Integer:
		return append(strconv.AppendInt(b, int64(bits), 10), 'i')
	case column.Unsigned:
		return append(strconv.AppendUint(b, bits, 10), 'u')
	case column.Boolean:
		return strconv.AppendBool(b, bits != 0)
	}
	b = append(b, '"')
	for _, x := range c.Text(bits) {
		if x == '"' || x == '\\' {
			b = append(b, '\\')
		}
		b = append(b, x)
	}
	return append(b, '"')
}
