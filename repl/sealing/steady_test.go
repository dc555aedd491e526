package sealing

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/shardmap"
	"muster/shardmap/points/block"
)

// Memory of a value in a head, and its size in a file, in bytes.
const (
	steadyHead = 16
	steadyFile = 1.5
)

// steady is a node that has one shard and makes each file at once.
type steady struct {
	core *Core
	view ShardView
	now  Now

	files   uint64 // that were made
	written uint64 // values in them
	most    int    // files of the shard at one time
}

func newSteady() *steady {
	s := &steady{core: New(1, DefaultLimits), now: time.Second}
	s.view.Ref.ShardID.Window = 1
	s.core.Disk(1, nil)
	s.core.Snapshots(1, nil)
	s.core.Shards(1, nil)
	s.core.Group(1, GroupView{Term: 1, Current: true})
	return s
}

// takes has so many values come.
func (s *steady) takes(values int64) {
	if s.view.HeadValues == 0 {
		s.view.HeadSince = s.now
	}
	s.view.HeadValues += values
	s.view.HeadBytes += values * steadyHead
}

// goOn does what the core asks for until it asks for nothing. It returns when it wants to be called again.
func (s *steady) goOn(t *testing.T) (next Now) {
	for {
		s.core.Shard(1, s.view)
		actions, next := s.core.Turn(s.now)
		if len(actions) == 0 {
			return next
		}
		for _, a := range actions {
			switch a.Kind {
			case Make:
				s.make(&a)
			case Remove:
				s.core.Ended(a.Task, s.now, Outcome{})
			case Release:
				s.view.Frozen = s.view.Frozen[1:]
			case Propose:
				s.commits(t, a.Command)
			default:
				t.Fatalf("%s is asked for", a.Kind)
			}
		}
	}
}

// make makes a file of the frozen head. Its values are in it already.
func (s *steady) make(a *Action) {
	s.files++
	f := shardmap.PointsSealed{Values: uint64(s.view.Frozen[0].Bytes / steadyHead)}
	for i := range s.view.Files {
		if i >= len(s.view.Files)-len(a.Older) {
			f.Values += s.view.Files[i].Values
		}
	}
	f.Size = int64(float64(f.Values) * steadyFile)
	binary.BigEndian.PutUint64(f.Sum[:], s.files)
	s.written += f.Values
	s.core.Ended(a.Task, s.now, Outcome{File: f})
}

// commits applies a command.
func (s *steady) commits(t *testing.T, command shardmap.Command) {
	if seal, err := shardmap.ReadPointsSeal(&command); err == nil {
		f := FrozenView{Number: seal.Number, Bytes: s.view.HeadBytes}
		for _, older := range s.view.Files[len(s.view.Files)-int(seal.Merge):] {
			f.Older = append(f.Older, older.Sum)
		}
		s.view.Seals, s.view.HeadBytes, s.view.HeadValues = seal.Number, 0, 0
		s.view.Frozen = append(s.view.Frozen, f)
		return
	}
	sealed, err := shardmap.ReadPointsSealed(&command)
	if err != nil {
		t.Fatal(err)
	}
	f := &s.view.Frozen[0]
	s.view.Files = append(append([]shardmap.PointsSealed{}, s.view.Files[:len(s.view.Files)-len(f.Older)]...), sealed)
	s.view.Frozen = []FrozenView{{Number: f.Number, Older: f.Older, Bytes: f.Bytes, Confirmed: &sealed}}
	s.most = max(s.most, len(s.view.Files))
}

// runs has so many values come each second for the length of a window, and waits until nothing is to be done.
func (s *steady) runs(t *testing.T, rate int64, window time.Duration) {
	step := time.Duration(float64(time.Second) * headMax / steadyHead / 8 / float64(rate)).Round(time.Second)
	step = min(max(step, time.Second), time.Minute)
	for end := s.now + window; s.now < end; s.now += step {
		step = min(step, end-s.now)
		s.takes(rate * int64(step/time.Second))
		s.goOn(t)
	}
	s.ends(t)
}

// ends has the window end.
func (s *steady) ends(t *testing.T) {
	s.view.Over = true
	for {
		next := s.goOn(t)
		if next == never {
			return
		}
		s.now = max(s.now+time.Second, next)
	}
}

func count(n int64) string {
	if n >= 1000 {
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprint(n)
}

// The costs of merges under steady load stand in docs/points.md: the rules lead to them, and nobody would see by reading these that a
// change of one has doubled what is written.
func TestSteadyLoad(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "points.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rate   int64
		days   int
		factor float64 // that the values may be written at most
	}{{1, 7, 5}, {100, 1, 5}, {100, 7, 5}, {1000, 1, 5}, {1000, 7, 6}, {10_000, 1, 6}, {10_000, 7, 7}, {100_000, 1, 7}} {
		s := newSteady()
		window := time.Duration(c.days) * 24 * time.Hour
		s.runs(t, c.rate, window)
		values := uint64(c.rate) * uint64(window/time.Second)
		factor := float64(s.written) / float64(values)
		size := float64(values) * steadyFile
		row := fmt.Sprintf("| %s | %d | %s | %s | %.1f | %d | %d |", count(c.rate), c.days, megabytes(size), count(int64(s.files)), factor, s.most, len(s.view.Files))
		if !strings.Contains(string(page), row+"\n") {
			t.Errorf("docs/points.md has no row %s", row)
		}
		if factor > c.factor {
			t.Errorf("%s", row)
		}
		if end := int(size/(mergeMax/2)) + 1; len(s.view.Files) > end {
			t.Errorf("%s: in the end there are %d files, want %d at most", row, len(s.view.Files), end)
		}
		all := uint64(0)
		for _, f := range s.view.Files {
			all += f.Values
		}
		if all != values {
			t.Errorf("%s: in the end there are %d values, want %d", row, all, values)
		}
	}
}

func megabytes(bytes float64) string {
	if bytes >= 1e9 {
		return fmt.Sprintf("%.1f GB", bytes/1e9)
	}
	return fmt.Sprintf("%.0f MB", bytes/1e6)
}

// Points that come late again and again, a few in two hours, must not have a gigabyte written anew each time.
func TestLatePoints(t *testing.T) {
	s := newSteady()
	big := shardmap.PointsSealed{Sum: block.Sum{0xff}, Values: 600_000_000, Size: 900_000_000}
	s.view.Files, s.view.Over = []shardmap.PointsSealed{big}, true
	s.core.Disk(1, []block.Sum{big.Sum})
	const days = 10
	for range days * 12 {
		s.takes(1000)
		s.goOn(t)
		for end := s.now + 2*time.Hour; s.now < end; {
			s.now = min(max(s.now+time.Second, s.goOn(t)), end)
		}
	}
	if s.written > big.Values {
		t.Errorf("%d days of %d late values each two hours have %d values written anew", days, 1000, s.written)
	}
	// Once none come any more the file becomes one with them.
	s.ends(t)
	if len(s.view.Files) != 1 || s.view.Files[0].Values != big.Values+days*12*1000 {
		t.Errorf("in the end the files are %v", s.view.Files)
	}
}
