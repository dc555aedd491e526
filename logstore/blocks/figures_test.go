package blocks

import (
	"testing"

	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// figuresPoints is how many points the file of the figures has: some 16 MB.
const figuresPoints = 2_000_000

// BenchmarkCommit writes a file to a real disk, with its syncs, and gives it its name.
func BenchmarkCommit(b *testing.B) { figure(b, put) }

// BenchmarkReceive is the same for a file that another replica sends, which is read back and verified.
func BenchmarkReceive(b *testing.B) { figure(b, fetch) }

func figure(b *testing.B, make func(*Store, Group, []byte, block.Sum) (File, error)) {
	file, sum := made(b, 1, figuresPoints)
	s, err := Open(Options{FS: vfs.OS{}, Dir: b.TempDir()})
	must(b, err)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		_, err := make(s, g3, file, sum)
		must(b, err)
		must(b, s.Remove(g3, sum))
	}
	must(b, s.Close())
}

// BenchmarkScrub reads a file of noise from the system's memory, checks it and decodes it.
func BenchmarkScrub(b *testing.B) {
	file, sum := made(b, 1, figuresPoints)
	s, err := Open(Options{FS: vfs.OS{}, Dir: b.TempDir()})
	must(b, err)
	_, err = put(s, g3, file, sum)
	must(b, err)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		for !s.Scrub(1 << 30) {
		}
	}
	must(b, s.Close())
}

// BenchmarkOpen opens a file that others have open, as each shard of a query does.
func BenchmarkOpen(b *testing.B) {
	file, sum := made(b, 1, figuresPoints)
	s, err := Open(Options{FS: vfs.OS{}, Dir: b.TempDir()})
	must(b, err)
	_, err = put(s, g3, file, sum)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.Open(g3, sum)
		must(b, err)
		must(b, r.Close())
	}
	must(b, s.Close())
}
