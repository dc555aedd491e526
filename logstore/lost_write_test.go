package logstore

import (
	"errors"
	"testing"

	"muster/logstore/vfs"
)

// The disk loses one write of a story, each in turn, and says that all is well.
// So does every sync after it. Nobody can know at once; but once the log has
// continued after it, the next opening must notice: it reports what is missing as
// lost, and serves nothing else in its place.
func TestLostWriteIsNoticed(t *testing.T) {
	var sum verdict
	refused := 0
	for i := range stories {
		s := &stories[i]
		if s.long {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for n := 1; s.loseWrite(t, n, &sum, &refused); n++ {
			}
		})
	}
	t.Logf("%d writes lost: %d noticed at once, %d harmless, entries lost %d times, promises %d, it is not known what %d",
		sum.cases+refused, refused, sum.unhurt, sum.lost, sum.promises, sum.unknown)
	if sum.lost < 5 {
		t.Errorf("entries were lost %d times: it shows nothing", sum.lost)
	}
}

// loseWrite tells a story whose n-th write is lost. It says false if there are
// not so many.
func (s *story) loseWrite(t *testing.T, n int, sum *verdict, refused *int) bool {
	var disk *vfs.Faulty
	r := s.begin(t, 1, func(under vfs.FS) vfs.FS {
		disk = vfs.NewFaulty(under)
		return disk
	})
	armed := disk.Add(vfs.Rule{Fault: vfs.LostWrite, At: n})
	err := s.act(r)
	if armed.Fired() == 0 {
		return false
	}
	if err == nil && r.store == nil && r.identity == nil {
		err = r.open() // the story ends with Close
	}
	if err == nil && r.store != nil {
		r.mem.Limit(0)
		if r.doing != nil {
			err = r.check() // takes over what was torn before
		}
		if _, ok := r.done[one]; err == nil && !ok {
			err = r.append(founding(one))
		}
		// What proves that the last batch was durable, and that it was itself.
		for range 2 {
			if err == nil {
				err = r.append(r.more(one, 1, 50))
			}
			if err == nil {
				err = r.idle()
			}
		}
		if err == nil {
			err = r.checkSnapshots()
		}
		if err == nil {
			err = r.store.closeFiles()
		}
	}
	if err == nil && r.identity != nil {
		_, err = r.readIdentity()
	}
	if err != nil {
		*refused++
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrIdentity) {
			t.Errorf("write %d lost: got %v, want damage", n, err)
		}
		return true
	}
	if r.store != nil {
		l := rotten{want: r.done, written: r.written, removed: r.removed}
		v, err := l.judge(r.mem, false)
		if err != nil {
			t.Errorf("write %d lost: %v", n, err)
		}
		sum.add(v)
	}
	return true
}
