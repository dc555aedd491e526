//go:build plantedbugs

package logstore

import (
	"fmt"
	"testing"

	"muster/logstore/vfs"
)

// The stories must find what they are for: a bug that is planted among the
// syncs and renames shows in at least one of them.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func(testing.TB, *story){
		"no directory sync":  func(t testing.TB, s *story) { s.crash(t, crashTable{}) },
		"rename before sync": func(t testing.TB, s *story) { s.crash(t, crashTable{}) },
		"sync retried":       func(t testing.TB, s *story) { s.failSyncs(t, map[string]int{}) },
	} {
		SetBug(bug)
		found := ""
		for i := range stories {
			if s := &stories[i]; !s.long && found == "" {
				f := &finder{TB: t}
				f.run(func() { find(f, s) })
				found = f.what
			}
		}
		if found == "" {
			t.Errorf("%s: no story finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
}

// What is told at a start, and by no story, must be told by its own test.
func TestPlantedBugsAtStart(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func(testing.TB){
		"older life accepted": func(t testing.TB) {
			n := newLifeNode(t).start()
			from := n.disk.Copy()
			n.write(one, 50)
			must(t, n.store.Close())
			n.disk.PutBack("d", from, vfs.InPlace)
			n.start()
			n.doubts("not the one|is a copy")
		},
		"older log accepted": func(t testing.TB) {
			n := newLifeNode(t).start()
			n.write(one, 50)
			from := n.disk.Copy()
			n.write(one, 50)
			must(t, n.store.Idle())
			n.kill()
			n.disk.PutBack("d/log", from, vfs.InPlace)
			n.start()
			n.doubts("ends with batch")
		},
		"unreadable fence passed over": func(t testing.TB) {
			disk := vfs.NewMem()
			s := snapshotStore(t, disk, one)
			must(t, s.WriteFence(fenced(one)))
			must(t, s.Close())
			name := "d/fences/" + fenceName(one)
			put(t, disk, name, raw(t, disk, name)[:100])
			if s = mustOpen(t, disk, Options{}); len(s.Fences()) == 0 {
				t.Error("a replica whose fence can't be read is not fenced")
			}
		},
		"zeroed tail accepted": func(t testing.TB) {
			n := newLifeNode(t).start()
			n.write(one, 50)
			was := n.held(one)
			must(t, n.store.Close())
			n.zeroPages(1, n.store.index.active.end, 2)
			n.start()
			n.lacks(one, was)
		},
		"earlier life taken for live": longLife,
	} {
		for _, planted := range []bool{false, true} {
			if SetBug(""); planted {
				SetBug(bug)
			}
			f := &finder{TB: t}
			f.run(func() { find(f) })
			if (f.what != "") != planted {
				t.Errorf("%s, planted %t: found %q", bug, planted, f.what)
			}
		}
	}
}

// finder is a test that notes its first failure, and ends there.
type finder struct {
	testing.TB
	what string
}

type stop struct{}

func (f *finder) run(what func()) {
	defer func() {
		if r := recover(); r != nil && r != (stop{}) {
			panic(r)
		}
	}()
	what()
}

func (f *finder) fail(what string) {
	f.what = what
	panic(stop{})
}

func (f *finder) Helper()                           {}
func (f *finder) Error(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (f *finder) Errorf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
func (f *finder) Fatal(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (f *finder) Fatalf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
