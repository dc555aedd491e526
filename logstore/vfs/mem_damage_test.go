package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// pattern is a file of n sectors, each full of its own letter.
func pattern(first byte, n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, bytes.Repeat([]byte{first + byte(i)}, SectorSize)...)
	}
	return b
}

// letters is what a file of whole sectors holds: the letter of each, a dot for
// zeros, a question mark for a mixture.
func letters(b []byte) string {
	s := ""
	for ; len(b) >= SectorSize; b = b[SectorSize:] {
		switch {
		case bytes.Count(b[:SectorSize], b[:1]) != SectorSize:
			s += "?"
		case b[0] == 0:
			s += "."
		default:
			s += string(b[:1])
		}
	}
	return s
}

// rotTests say what each fault does to a file of 12 sectors that were written
// over once: its sectors were a to l and are A to L.
var rotTests = []struct {
	fault Fault
	off   int64
	want  string
}{
	{BitFlip, 3*SectorSize + 7, "ABC?EFGHIJKL"},
	{ZeroSector, 3*SectorSize + 7, "ABC.EFGHIJKL"},
	{ZeroPage, 3*SectorSize + 7, "........IJKL"},
	{ZeroPage, 9 * SectorSize, "ABCDEFGH...."},
	{StaleSector, 3*SectorSize + 7, "ABCdEFGHIJKL"},
	{Misdirected, 1 * SectorSize, "AbCDEFGHIBKL"},
	{Misdirected, 9 * SectorSize, "AJCDEFGHIjKL"},
	{Truncated, 3 * SectorSize, "ABC"},
}

// Each fault changes what it says and nothing else, and a crash does not mend
// it.
func TestDamage(t *testing.T) {
	for _, test := range rotTests {
		m := NewMem()
		f, err := m.Create("x")
		must(t, err)
		must(t, m.SyncDir("."))
		for _, first := range []byte("aA") {
			_, err = f.WriteAt(pattern(first, 12), 0)
			must(t, err)
			must(t, f.Sync())
		}
		changed, err := m.Damage("x", test.off, test.fault)
		if !changed || err != nil {
			t.Errorf("%s: got %v, %v", test.fault, changed, err)
		}
		for range 2 {
			if got := letters(m.Bytes("x")); got != test.want {
				t.Errorf("%s at %d: got %s, want %s", test.fault, test.off, got, test.want)
			}
			m.Crash(DropUnsynced, 0)
		}
	}
}

// A test that does damage at random must know whether there was any.
func TestDamageThatIsNone(t *testing.T) {
	m := NewMem()
	f, err := m.Create("x")
	must(t, err)
	_, err = f.WriteAt(make([]byte, 3*SectorSize), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("."))
	for _, fault := range []Fault{ZeroSector, ZeroPage, StaleSector, Misdirected} {
		if changed, err := m.Damage("x", SectorSize, fault); changed || err != nil {
			t.Errorf("%s over zeros: got %v, %v", fault, changed, err)
		}
	}
	for _, test := range []struct {
		name  string
		off   int64
		fault Fault
		want  string
	}{
		{"y", 0, BitFlip, "damage y"},
		{"x", 3 * SectorSize, BitFlip, "1536 bytes"},
		{"x", -1, BitFlip, "1536 bytes"},
		{"x", 0, LostWrite, "lost write is not rot"},
	} {
		if _, err := m.Damage(test.name, test.off, test.fault); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s of %s at %d: got %v, want %q", test.fault, test.name, test.off, err, test.want)
		}
	}
	if changed, err := m.Damage("x", 0, Missing); !changed || err != nil {
		t.Errorf("missing: got %v, %v", changed, err)
	}
	m.Crash(DropUnsynced, 0)
	if _, err := m.Open("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that went missing: got %v", err)
	}
}
