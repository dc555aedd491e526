package overview

import (
	"fmt"
	"testing"
	"time"

	"muster/raft"
)

// strainable are the things that are measured, with what sets each in a sample: beyond its limit, between that and the
// limit for its end, well within both.
var strainable = []struct {
	name                  string
	set                   func(s *Sample, v time.Duration)
	beyond, between, well time.Duration
}{
	{"round trip", func(s *Sample, v time.Duration) { s.Answers[1].Doctor.Links[0].RTTMicros = uint64(v.Microseconds()) }, 105 * time.Millisecond, 95 * time.Millisecond, 60 * time.Millisecond},
	{"writes of a disk", func(s *Sample, v time.Duration) { s.Answers[2].Doctor.Syncs.P99 = uint64(v.Microseconds()) }, 105 * time.Millisecond, 95 * time.Millisecond, 60 * time.Millisecond},
	{"room on a disk", func(s *Sample, v time.Duration) { s.Answers[2].Doctor.Disk.Free = uint64(v) << 20 }, 250, 300, 400}, // MiB
	{"clock", func(s *Sample, v time.Duration) {
		for id := raft.NodeID(1); id <= 3; id++ {
			ahead := time.Duration(0)
			if id == 3 {
				ahead = v
			}
			s.Answers[id].Doctor.WallMicros = uint64(s.Answers[id].Asked.Add(ahead).UnixMicro())
		}
	}, 1100 * time.Millisecond, 900 * time.Millisecond, 100 * time.Millisecond},
}

// A verdict on something measured must stand still while that moves about its limit, and change once it has left the limit
// for good. The clock is that of the samples, which come each second.
func TestVerdictStandsStill(t *testing.T) {
	const begins, ends, kept = int(strainBegins / time.Second), int(strainEnds / time.Second), int(strainKept / time.Second)
	for _, m := range strainable {
		b, i, w := m.beyond, m.between, m.well
		run := func(of time.Duration, n int) (list []time.Duration) {
			for range n {
				list = append(list, of)
			}
			return list
		}
		join := func(all ...[]time.Duration) (list []time.Duration) {
			for _, x := range all {
				list = append(list, x...)
			}
			return list
		}
		about := func(n int) (list []time.Duration) { // to and fro over the limit
			for range n {
				list = append(list, i, b)
			}
			return list
		}
		for _, tt := range []struct {
			name    string
			values  []time.Duration // one each second; below 0: no sample
			verdict Verdict         // of the first
			turns   []int           // in which seconds it becomes the other one
		}{
			{"well", run(w, 60), VerdictOK, nil},
			{"to and fro from the first look on, within the limit then", about(60), VerdictOK, nil},
			{"to and fro, beyond the limit then", join(run(b, 1), about(60)), VerdictWarning, nil},
			{"one that is slow", join(run(w, 10), run(b, begins), run(w, 60)), VerdictOK, nil},
			{"beyond for good", join(run(w, 10), run(b, 60)), VerdictOK, []int{10 + begins}},
			{"beyond for good, then to and fro", join(run(w, 10), run(b, 10), about(60)), VerdictOK, []int{10 + begins}},
			{"well for good", join(run(b, 10), run(w, 60)), VerdictWarning, []int{10 + ends}},
			{"never well, though within the limit", join(run(b, 10), run(i, 60)), VerdictWarning, nil},
			{"well, but for a moment", join(run(b, 10), run(w, ends), run(i, 1), run(w, ends)), VerdictWarning, nil},
			{"nobody looked for long", join(run(b, 10), run(-1, kept), run(w, 10)), VerdictWarning, []int{10 + kept}},
		} {
			var last *Overview
			var mark *Mark
			var turns []int
			told := 0
			for second, v := range tt.values {
				if v < 0 {
					continue
				}
				s := sample(second)
				m.set(s, v)
				o := Make(s, Past{Last: last})
				switch {
				case last == nil && o.Verdict != tt.verdict:
					t.Errorf("%s, %s: at first %s: %s", m.name, tt.name, o.Verdict, o.Reason)
				case last != nil && o.Verdict != last.Verdict:
					turns = append(turns, second)
				}
				if mark != nil {
					for _, e := range Changes(mark, o) {
						if e.Kind == EventVerdict {
							told++
						}
					}
				}
				last, mark = o, MarkOf(o, mark)
			}
			if fmt.Sprint(turns) != fmt.Sprint(tt.turns) || told != len(turns) {
				t.Errorf("%s, %s: it changed in the seconds %v, want %v; told %d times", m.name, tt.name, turns, tt.turns, told)
			}
		}
	}
}

// A reason that holds a time or a size is the same one a second later, so no event tells of it again.
func TestReasonIsToldOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(s *Sample, second int)
	}{
		{"a round trip", func(s *Sample, second int) {
			s.Answers[1].Doctor.Links[0].RTTMicros = uint64(150_000 + 1000*second)
		}},
		{"silence", func(s *Sample, second int) { s.Answers[3].Doctor.Links[1].HeardMs = uint64(4000 + 1000*second) }},
		{"a ping that waits", func(s *Sample, second int) { s.Answers[3].Doctor.Links[1].PingMs = uint64(3000 + 1000*second) }},
		{"a stuck disk", func(s *Sample, second int) { s.Answers[1].Doctor.Syncs.UnderWayMs = uint64(700 + 1000*second) }},
		{"a full disk", func(s *Sample, second int) {
			s.Answers[1].Doctor.Disk.Full, s.Answers[1].Doctor.Disk.Free = true, uint64(100-second)<<20
		}},
		{"a clock", func(s *Sample, second int) {
			for id := range s.Answers {
				s.Answers[id].Doctor.WallMicros = uint64(s.Answers[id].Asked.Add(time.Duration(id/3) * time.Duration(3000+second) * time.Millisecond).UnixMicro())
			}
		}},
	} {
		var last *Overview
		var mark *Mark
		for second := range 5 {
			s := sample(second)
			tt.harm(s, second)
			o := Make(s, Past{Last: last})
			if o.Verdict == VerdictOK {
				t.Fatalf("%s: nothing is found", tt.name)
			}
			if last != nil && o.Reason == last.Reason {
				t.Fatalf("%s: the reason has nothing that changes: %s", tt.name, o.Reason)
			}
			if mark != nil {
				for _, e := range Changes(mark, o) {
					t.Errorf("%s: told in second %d: %+v", tt.name, second, e)
				}
			}
			last, mark = o, MarkOf(o, mark)
		}
	}
}
