package logstore

import (
	"runtime"
	"testing"

	"muster/raft"
)

// The reader of the log gets whatever stands in a file. It must neither panic
// nor let a length that it reads decide how much memory it takes. So that more
// than the checksums is tried, the bytes are also read as a record whose
// checksum fits.
func FuzzReader(f *testing.F) {
	r := testReplica(1)
	for _, e := range [][]raft.Entry{span(r, 1, 1, 1, 0), span(r, 3, 7, 9, 40)} {
		var body []byte
		for i := range e {
			body = append(body, e[i].Raw...)
		}
		f.Add(uint8(kindEntries), uint32(len(e)), body)
		f.Add(uint8(kindMoved), uint32(1<<31), body)
	}
	f.Add(uint8(kindEntries), uint32(1), sealed(r, raft.LogID{Term: 1, Index: 1}, raft.EntryAudit, nil).Raw)
	f.Add(uint8(kindState), uint32(0), make([]byte, stateSize))
	f.Add(uint8(kindBase), uint32(0), voters(1, 2, 3).Append(make([]byte, baseSize)))
	f.Add(uint8(kindBase), uint32(0), append(make([]byte, baseSize), 1, 0, 0xff, 0xff, 0xff, 0xff))
	f.Add(uint8(kindRemove), uint32(0), []byte(nil))
	f.Add(uint8(kindLost), uint32(3), make([]byte, lostSize))
	f.Add(uint8(kindDirectory), uint32(1), append(make([]byte, directorySize), 3, 1, 1, 11, 0, 9, 1, 11, 0, 0, 0, 0xa1, 0x80, 0))
	f.Add(uint8(kindDirectory), uint32(1<<31), append(make([]byte, directorySize), 0, 1, 1, 11, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xf, 1, 1, 0))
	f.Add(uint8(9), uint32(0), []byte("new"))
	f.Fuzz(func(t *testing.T, kind uint8, count uint32, body []byte) {
		b := append(make([]byte, recordHeaderSize), body...)
		putRecordHeader(b, recordKind(kind), r, count, 0)
		sealRecord(b, 5)
		x := &index{}
		read := func() {
			readBatchHeader(body, 5)
			readRecord(body, 5)
			h, got, err := readRecord(b, 5)
			if err != nil || len(got) != len(body) {
				t.Fatalf("a record whose checksum fits: %v", err)
			}
			x.decode(h, got)
			parseIdentity(body, identityFormats)
		}
		read() // what is made once is not counted
		// Other goroutines of the test may allocate meanwhile; the least of a
		// few measurements is this one's.
		least := ^uint64(0)
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			read()
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if most := uint64(16*len(body) + 4096); least > most {
			t.Errorf("%d bytes took %d bytes of memory, want at most %d", len(body), least, most)
		}
	})
}
