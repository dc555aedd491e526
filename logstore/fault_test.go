package logstore

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
)

// Every call of every story to the disk fails once, in each way in which that
// call can. The error comes out, and from then on nothing is written, synced,
// renamed, or acknowledged: a disk that said no is not asked again, because it
// may have dropped what it could not write and would say that all is well. What
// was acknowledged before is there when the log is opened again, whether the
// power stays or goes.
//
// Only lack of room may pass: then the story continues, or the log refuses and can
// be asked again.
func TestFaultAtEveryCall(t *testing.T) {
	enumerates(t)
	fired := map[vfs.Fault]int{}
	for i := range stories {
		s := &stories[i]
		if s.long {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for _, fault := range []vfs.Fault{vfs.Error, vfs.ShortWrite, vfs.FailedSync, vfs.Full} {
				for n := 1; s.fault(t, vfs.Rule{Fault: fault, At: n}); n++ {
					fired[fault]++
				}
			}
		})
	}
	t.Logf("faults: %v", fired)
	for _, fault := range []vfs.Fault{vfs.Error, vfs.ShortWrite, vfs.FailedSync, vfs.Full} {
		if fired[fault] < 20 {
			t.Errorf("%s fired %d times: it shows nothing", fault, fired[fault])
		}
	}
}

// fault tells a story with a fault and looks at what follows. It says false if
// the fault met no call.
func (s *story) fault(t testing.TB, rule vfs.Rule) bool {
	t.Helper()
	var disk *vfs.Faulty
	r := s.begin(t, 1, func(under vfs.FS) vfs.FS {
		disk = vfs.NewFaulty(under)
		return disk
	})
	armed := disk.Add(rule)
	var after []string // what was done to the disk since it said no
	hit := ""
	disk.Trace(func(op, name string) {
		switch {
		case armed.Fired() == 0:
		case hit == "":
			hit = op + " " + name
		default:
			after = append(after, op+" "+name)
		}
	})
	err := s.act(r)
	if armed.Fired() == 0 {
		must(t, err)
		return false
	}
	where := fmt.Sprintf("%s at call %d, %s", rule.Fault, rule.At, hit)
	switch {
	case asks(hit):
		if err != nil { // it was asked again: see refused_test.go
			t.Errorf("%s: got %v", where, err)
		}
	case passes(hit):
		if err != nil && !errors.Is(err, vfs.ErrFault) {
			t.Errorf("%s: got %v", where, err)
		}
	case rule.Fault == vfs.Full:
		if err != nil && !strings.Contains(err.Error(), vfs.ErrFull.Error()) {
			t.Errorf("%s: got %v", where, err)
		}
	default:
		if !errors.Is(err, vfs.ErrFault) {
			t.Errorf("%s: got %v", where, err)
		}
		if r.store != nil {
			s.stopped(t, r, where)
		}
		for _, op := range after {
			if !harmless(op) {
				t.Errorf("%s: then %s", where, op)
			}
		}
	}
	disk.Clear()
	mode := []vfs.CrashMode{vfs.DropUnsynced, vfs.KeepUnsynced}[rule.At%2]
	r.mem.Crash(mode, 0)
	if err := r.fork(r.mem).survive(); err != nil {
		t.Errorf("%s, then %s: %v", where, mode, err)
	}
	return true
}

// passes says what may fail without an end to the log: to ask how much room
// there is, to end the reading of what was read whole, and to clear away a snapshot or a
// state that was kept aside, which is done again at the next start.
func passes(op string) bool {
	what, name, _ := strings.Cut(op, " ")
	if strings.HasSuffix(name, fenceSuffix) {
		return what == "close"
	}
	return what == "free" || what == "close" && (path.Base(name) == identityName || path.Base(name) == stoppedName || path.Base(name) == witnessName) || (what == "remove" || what == "close") && (path.Dir(name) == path.Join("d", SnapshotDir) || path.Dir(name) == path.Join("d", AsideDir))
}

// asks reports whether an operation changes nothing.
func asks(op string) bool {
	what, _, _ := strings.Cut(op, " ")
	return slices.Contains(questions, what)
}

// harmless says what may still be done to a disk that said no: nothing that is
// relied on depends on it.
func harmless(op string) bool {
	what, name, _ := strings.Cut(op, " ")
	return what == "close" || what == "read" || path.Base(name) == headroomName && what != "sync"
}

// stopped: the log takes no more, and says why.
func (s *story) stopped(t testing.TB, r *lifeRun, where string) {
	t.Helper()
	for _, call := range []struct {
		name string
		err  error
	}{
		{"append", r.store.Append([]Write{r.more(one, 1, 50)})},
		{"append of nothing", r.store.Append(nil)},
		{"idle", r.store.Idle()},
		{"snapshot", func() error { _, err := r.store.ReceiveSnapshot(one); return err }()},
	} {
		if !errors.Is(call.err, ErrStopped) || !errors.Is(call.err, vfs.ErrFault) {
			t.Errorf("%s: then %s: got %v, want ErrStopped with the disk's error", where, call.name, call.err)
		}
	}
	if err := r.store.Close(); err != nil && !errors.Is(err, vfs.ErrFault) {
		t.Errorf("%s: then close: got %v", where, err)
	}
}

// syncPlaces are all that is ever synced. A new one is to be added here.
var syncPlaces = []string{
	"segment, filled", "segment, its header", "batch", "batch, on opening", "directory log",
	"snapshot, a piece", "directory snap", "identity", "witness", "how the log stands at a stop",
	"headroom", "data directory", "fence", "directory fences", "state aside, a piece", "directory aside",
}

// syncPlace says what is synced, by the operation after it in a story.
func syncPlace(s *story, op, next string) string {
	name := op[strings.Index(op, " ")+1:]
	switch base := path.Base(name); {
	case strings.HasPrefix(op, "syncdir "):
		if name == "d" {
			return "data directory"
		}
		return "directory " + base
	case base == preparedName || base == reserveName:
		if strings.HasPrefix(next, "rename ") {
			return "segment, its header"
		}
		return "segment, filled"
	case strings.HasSuffix(base, segmentSuffix):
		if strings.HasPrefix(s.name, "open") || strings.HasPrefix(s.name, "recover") {
			return "batch, on opening"
		}
		return "batch"
	case base == stoppedTemp:
		return "how the log stands at a stop"
	case base == witnessTemp:
		return "witness"
	case base == identityTemp:
		return "identity"
	case base == headroomName:
		return "headroom"
	case base == fenceTemp:
		return "fence"
	case base == asideTemp:
		return "state aside, a piece"
	case strings.HasSuffix(base, snapshotTempSuffix):
		return "snapshot, a piece"
	}
	return "unknown: " + name
}

// Every sync of every story fails once, as it does on Linux: what could not be
// written is still to be read, but no later sync writes it, and the next one
// says that all is well. So the file is not synced again by this process, and
// what it had is not relied on by the next.
func TestFailedSyncIsFinal(t *testing.T) {
	enumerates(t)
	places := map[string]int{}
	for i := range stories {
		s := &stories[i]
		if s.long {
			continue
		}
		t.Run(s.name, func(t *testing.T) { s.failSyncs(t, places) })
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		t.Logf("%s: %d", place, places[place])
		if !slices.Contains(syncPlaces, place) {
			t.Errorf("%s is not among the places that are known to be synced", place)
		}
	}
	for _, place := range syncPlaces {
		if places[place] == 0 {
			t.Errorf("%s was never synced", place)
		}
	}
}

// failSyncs tells a story once for each of its syncs, and counts them by place.
func (s *story) failSyncs(t testing.TB, places map[string]int) {
	var ops []string
	r := s.begin(t, 1, nil)
	r.mem.Trace(func(op string) { ops = append(ops, op) })
	must(t, s.act(r))
	for n, op := range ops {
		if strings.HasPrefix(op, "sync") {
			next := ops[min(n+1, len(ops)-1)]
			places[syncPlace(s, op, next)]++
			s.failSync(t, n, op)
		}
	}
}

// failSync tells a story in which the sync that is its n-th operation fails.
func (s *story) failSync(t testing.TB, n int, want string) {
	t.Helper()
	r := s.begin(t, 1, nil)
	broken := errors.New("broken")
	syncs := -1 // of any file, after the one that failed
	r.mem.Fail(func(op string) error {
		switch {
		case n == 0 && op != want:
			t.Fatalf("got %s, want %s", op, want)
		case n == 0:
			syncs = 0
			n = -1
			return broken
		case n < 0 && (strings.HasPrefix(op, "sync") || strings.HasPrefix(op, "write ")):
			syncs++
		default:
			n--
		}
		return nil
	})
	if err := s.act(r); !errors.Is(err, broken) {
		t.Errorf("%s: got %v, want the disk's error", want, err)
	}
	if r.store != nil {
		for range 3 {
			if err := r.store.Append([]Write{r.more(one, 1, 50)}); !errors.Is(err, ErrStopped) || !errors.Is(err, broken) {
				t.Errorf("%s: then append: got %v, want ErrStopped with the disk's error", want, err)
			}
		}
		must(t, r.store.Close())
	}
	if syncs != 0 {
		t.Errorf("%s: then %d writes and syncs, want none", want, syncs)
	}
	r.mem.Fail(nil)
	for _, mode := range vfs.CrashModes() {
		left := r.mem.Copy()
		left.Crash(mode, uint64(n))
		if err := r.fork(left).survive(); err != nil {
			t.Errorf("%s, then %s: %v", want, mode, err)
		}
	}
}
