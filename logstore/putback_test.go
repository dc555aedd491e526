package logstore

import (
	"fmt"
	"testing"

	"muster/logstore/vfs"
)

// Where no other replica has a copy, a person puts the file back that is damaged
// or gone, from a copy of it, while the node is down. The log must take it, though
// it was opened without it in between, and wrote down then what it had lost.
func TestFileIsPutBack(t *testing.T) {
	for _, gone := range []bool{true, false} {
		for segment := uint64(1); segment <= 3; segment++ {
			t.Run(fmt.Sprintf("missing %t, segment %d", gone, segment), func(t *testing.T) {
				fs := vfs.NewMem()
				s := mustOpen(t, fs, Options{})
				a := testReplica(1)
				must(t, s.Append([]Write{founding(a)}))
				last := uint64(0)
				for s.index.active.number < 4 {
					last++
					must(t, s.Append([]Write{{Replica: a, Commit: last, Entries: span(a, 1, last, last, 3000)}}))
				}
				must(t, s.Close())
				name := s.index.segmentPath(segment)
				file, err := fs.Open(name)
				must(t, err)
				size, err := file.Size()
				must(t, err)
				whole := make([]byte, size)
				_, err = file.ReadAt(whole, 0)
				must(t, err)
				if gone {
					must(t, fs.Remove(name))
				} else {
					zeros := make([]byte, size)
					_, err := file.WriteAt(zeros, 0)
					must(t, err)
				}
				must(t, file.Close())

				for range 4 { // as a supervisor does, that starts it again and again
					s = mustOpen(t, fs, Options{})
					if d, ok := s.DamageOf(a); !ok || len(d.Lost) == 0 || d.Promises {
						t.Fatalf("without it: %+v", d)
					}
					must(t, s.Close())
				}

				file, err = fs.Create(name)
				must(t, err)
				_, err = file.WriteAt(whole, 0)
				must(t, err)
				must(t, file.Sync())
				must(t, file.Close())
				must(t, fs.SyncDir("d/log"))
				s = mustOpen(t, fs, Options{})
				if d, ok := s.DamageOf(a); ok {
					t.Errorf("with the file put back: %v", d.Err())
				} else if got, err := s.Read(a, 1, last, 1<<30); err != nil || len(got) != int(last) {
					t.Errorf("with the file put back: %d entries of %d, %v", len(got), last, err)
				}
				must(t, s.Close())
			})
		}
	}
}
