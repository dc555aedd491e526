package blocks

import (
	"errors"
	"sync"
	"testing"

	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// While a write, a sync or a rename is stuck, what needs no write of the disk answers: questions, readers, the scrub.
func TestStuckWriteHoldsUpNoReader(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			disk := vfs.NewFaulty(vfs.NewMem())
			s := mustOpen(t, disk)
			b, sum := made(t, 1, 10)
			_, err := put(s, g3, b, sum)
			must(t, err)
			c, other := made(t, 2, 10)
			stuck := disk.Add(vfs.Rule{Fault: vfs.Stuck, Op: op})
			done := make(chan error)
			go func() {
				_, err := put(s, g3, c, other)
				done <- err
			}()
			<-stuck.Held()
			if wrong := holds(s, g3, sum, b); wrong != "" {
				t.Error(wrong)
			}
			scrubbed(t, s)
			if n := s.Stats(); n.Unfinished != 1 || n.Files != 1 || len(s.Missing(g3, []block.Sum{sum, other})) != 1 || s.LookAgain() || len(s.Damaged()) > 0 {
				t.Errorf("figures %+v", n)
			}
			stuck.Release()
			must(t, <-done)
			if wrong := holds(s, g3, other, c); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// Files are made, read, found damaged, fetched and removed by goroutines that know nothing of each other. A reader gets
// the file that it asked for, or hears that it is not here.
func TestConcurrentUse(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem)
	const files, rounds = 4, 30
	type one struct {
		bytes []byte
		sum   block.Sum
	}
	var all []one
	for i := range files {
		b, sum := made(t, i, 5000)
		all = append(all, one{b, sum})
	}
	var wg sync.WaitGroup
	run := func(what func(round int, f *one) error) {
		wg.Go(func() {
			for round := range rounds {
				if err := what(round, &all[round%files]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		run(func(_ int, f *one) error {
			_, err := put(s, g3, f.bytes, f.sum)
			return err
		})
		run(func(_ int, f *one) error {
			_, err := fetch(s, g3, f.bytes, f.sum)
			return err
		})
		run(func(_ int, f *one) error {
			r, err := s.Open(g3, f.sum)
			if errors.Is(err, ErrUnknown) {
				return nil
			}
			if err != nil {
				return err
			}
			return errors.Join(r.Reader.Verify(), r.Close())
		})
	}
	run(func(round int, f *one) error { return s.Remove(g3, all[(round+1)%files].sum) })
	run(func(int, *one) error {
		s.List(g3)
		s.Stats()
		s.Scrub(10_000)
		s.LookAgain()
		return nil
	})
	wg.Wait()
	if d := s.Damaged(); len(d) > 0 {
		t.Errorf("found are %v", d)
	}
	for _, f := range all {
		_, err := put(s, g3, f.bytes, f.sum)
		must(t, err)
		if wrong := holds(s, g3, f.sum, f.bytes); wrong != "" {
			t.Error(wrong)
		}
	}
	must(t, s.Close())
	if n := s.Stats(); n.Open != 0 || n.Unfinished != 0 || n.Files != files {
		t.Errorf("figures %+v", n)
	}
}
