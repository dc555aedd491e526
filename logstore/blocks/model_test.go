package blocks

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// A Store does what a plain map does, whatever the order of calls: files are made, fetched, rot, are scrubbed and
// removed, groups go, the node is closed or its power goes. A crash may bring back what was removed, and nothing else.
func TestAgainstMap(t *testing.T) {
	const files = 5
	var bytes [files][]byte
	var sums [files]block.Sum
	for i := range files {
		bytes[i], sums[i] = made(t, i, 20)
	}
	rapid.Check(t, func(rt *rapid.T) {
		type key struct {
			g Group
			i int
		}
		type state int
		const (
			absent state = iota
			here
			rotten  // and not found yet
			damaged // and put aside
			removed // a crash may bring it back
		)
		disk := vfs.NewMem()
		s, err := Open(Options{FS: disk, Dir: "d"})
		must(t, err)
		is := map[key]state{}
		draw := func() key {
			return key{rapid.SampledFrom([]Group{g3, g4}).Draw(rt, "group"), rapid.IntRange(0, files-1).Draw(rt, "file")}
		}
		reopen := func(state func(key, state) state) {
			s, err = Open(Options{FS: disk, Dir: "d"})
			if err != nil {
				rt.Fatal(err)
			}
			for k, was := range is {
				is[k] = state(k, was)
			}
		}
		make := func(make func(*Store, Group, []byte, block.Sum) (File, error)) func(*rapid.T) {
			return func(*rapid.T) {
				k := draw()
				if _, err := make(s, k.g, bytes[k.i], sums[k.i]); err != nil {
					rt.Fatal(err)
				}
				if is[k] != rotten { // the one that is there stays, as long as nobody knows
					is[k] = here
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put":   make(put),
			"fetch": make(fetch),
			"rot": func(*rapid.T) {
				if k := draw(); is[k] == here {
					disk.Corrupt(s.tree.file(&File{Group: k.g, Sum: sums[k.i]}), int64(rapid.IntRange(0, len(bytes[k.i])-1).Draw(rt, "byte")), 1)
					is[k] = rotten
					s.Close() // what is open has its ends in memory
					reopen(func(_ key, was state) state { return was })
				}
			},
			"scrub": func(*rapid.T) {
				scrubbed(t, s)
				for k, was := range is {
					if was == rotten {
						is[k] = damaged
					}
				}
			},
			"verify": func(*rapid.T) {
				k := draw()
				err := s.Verify(k.g, sums[k.i])
				switch is[k] {
				case here:
					if err != nil {
						rt.Fatal(err)
					}
				case rotten:
					is[k] = damaged
					fallthrough
				case damaged:
					if !errors.Is(err, logstore.ErrDamaged) && !errors.Is(err, ErrUnknown) { // after a start it is unknown
						rt.Fatalf("damaged: %v", err)
					}
				default:
					if !errors.Is(err, ErrUnknown) {
						rt.Fatalf("not there: %v", err)
					}
				}
			},
			"remove": func(*rapid.T) {
				k := draw()
				if err := s.Remove(k.g, sums[k.i]); err != nil {
					rt.Fatal(err)
				}
				if is[k] != absent {
					is[k] = removed
				}
			},
			"remove group": func(*rapid.T) {
				g := draw().g
				if err := s.RemoveGroup(g); err != nil {
					rt.Fatal(err)
				}
				for k := range is {
					if k.g == g {
						is[k] = absent
					}
				}
			},
			"close": func(*rapid.T) {
				s.Close()
				reopen(func(_ key, was state) state {
					return was
				})
			},
			"crash": func(*rapid.T) {
				disk.Crash(rapid.SampledFrom(vfs.CrashModes()).Draw(rt, "mode"), rapid.Uint64().Draw(rt, "chance"))
				reopen(func(k key, was state) state {
					switch back := len(s.Missing(k.g, []block.Sum{sums[k.i]})) == 0; {
					case was == removed && back:
						if s.Verify(k.g, sums[k.i]) != nil {
							return damaged // it was removed when it was rotten
						}
						return here
					case was == damaged && back:
						return rotten // its name came back too
					}
					return was
				})
			},
			"": func(*rapid.T) {
				for k, want := range is {
					there := len(s.Missing(k.g, []block.Sum{sums[k.i]})) == 0
					if there != (want == here || want == rotten) {
						rt.Fatalf("%v: there is %t, and it should be %d", k, there, want)
					}
					if want == here {
						if wrong := holds(s, k.g, sums[k.i], bytes[k.i]); wrong != "" {
							rt.Fatal(fmt.Sprint(k, wrong))
						}
					}
				}
			},
		})
	})
}
