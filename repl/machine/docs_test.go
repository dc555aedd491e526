package machine_test

import (
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/shardmap"
)

// docs/storage.md walks through the bytes of a snapshot. They must be the bytes
// that are written, or the page teaches another format. It is here because the
// file is logstore's and the state in it shardmap's.
func TestStorageDocument(t *testing.T) {
	key := []byte("hello")
	m := owning(3, []shardmap.Slot{shardmap.SlotOf(key)})
	c := shardmap.Command{Kind: shardmap.CommandSet, Session: 9, Sequence: 1, Floor: 1, Slot: shardmap.SlotOf(key), Items: [][]byte{key, []byte("world")}}
	id := raft.LogID{Term: 1, Index: 2}
	if _, err := m.State.Apply(id, 1000, &c); err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewMem()
	store, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", SegmentBytes: logstore.SegmentBytesMin})
	if err != nil {
		t.Fatal(err)
	}
	r := logstore.Replica{Group: 3, Incarnation: 2, ID: 5}
	base := logstore.Base{ID: id, Time: 1000, Membership: raft.Membership{Voters: []raft.Member{{Replica: 5, Node: 0x1122334455667788, Goal: raft.GoalVoter}}, Next: 6}}
	if err := store.Append([]logstore.Write{{Replica: r, Base: &base}}); err != nil {
		t.Fatal(err)
	}
	w, err := store.CreateSnapshot(r, base)
	if err != nil {
		t.Fatal(err)
	}
	copied := m.Copy()
	defer copied.Release()
	if _, err := copied.WriteTo(w); err != nil {
		t.Fatal(err)
	}
	sn, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	rd, err := store.OpenSnapshot(sn)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, rd.Size())
	if _, err := rd.RawAt(b, 0); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	if got := hexDump(b); !strings.Contains(string(page), "```\n"+got+"```\n") {
		t.Errorf("docs/storage.md does not hold the bytes that are written:\n%s", got)
	}
	if name := path.Base(sn.File); !strings.Contains(string(page), "`"+name+"`") {
		t.Errorf("docs/storage.md does not name %s", name)
	}
}

func hexDump(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 16 {
		fmt.Fprintf(&out, "%04x ", at)
		for i := at; i < min(at+16, len(b)); i++ {
			if i == at+8 {
				out.WriteString(" ")
			}
			fmt.Fprintf(&out, " %02x", b[i])
		}
		out.WriteString("\n")
	}
	return out.String()
}
