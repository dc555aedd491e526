package logstore

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// docs/storage.md walks through the bytes of a small log. They must be the
// bytes that are written, or the page teaches another format.
func TestStorageDocument(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{Chance: 1})
	r := Replica{Group: 3, Incarnation: 2, ID: 5}
	must(t, s.Append([]Write{{
		Replica: r,
		Base:    &Base{Membership: raft.Membership{Voters: []raft.Member{{Replica: 5, Node: 0x1122334455667788, Goal: raft.GoalVoter}}, Next: 6}},
		State:   raft.HardState{Term: 1, Vote: 5}, HasState: true,
		Entries: []raft.Entry{sealed(r, raft.LogID{Term: 1, Index: 1}, raft.EntryNormal, []byte("hello"))},
	}}))
	must(t, s.Idle())
	b, _, err := s.index.active.read(nil)
	must(t, err)
	got := dump(b[:s.index.active.end])
	page, err := os.ReadFile("../docs/storage.md")
	must(t, err)
	if !strings.Contains(string(page), "```\n"+got+"```\n") {
		t.Errorf("docs/storage.md does not hold the bytes that are written:\n%s", got)
	}
	text := string(testIdentityOfDocument.append(nil, IdentityFormat))
	if !strings.Contains(string(page), "```\n"+text+"```\n") {
		t.Errorf("docs/storage.md does not hold the identity that is written:\n%s", text)
	}
	text = string(Reached{4805, testIdentityOfDocument.Life().Mark}.append(
		appendWitness(nil, testIdentityOfDocument.Node, testIdentityOfDocument.NextWitness.Mark)))
	if !strings.Contains(string(page), "```\n"+text+"```\n") {
		t.Errorf("docs/storage.md does not hold the witness that is written:\n%s", text)
	}
	fence := Fence{Replica: r, At: raft.LogID{Term: 7, Index: 10432}, Found: FenceByComparison, Parts: []uint32{12, 311},
		What: "other replicas have another state"}
	text = string(fence.append(nil))
	if !strings.Contains(string(page), "```\n"+text+"```\n") {
		t.Errorf("docs/storage.md does not hold the fence that is written:\n%s", text)
	}
	for _, name := range []string{fenceName(r), asideName(1, r, raft.LogID{Term: 7, Index: 10432})} {
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/storage.md does not name a file %s", name)
		}
	}
}

var testIdentityOfDocument = Identity{
	Stage: StageMember, BlockFiles: true, Cluster: "shop", ClusterID: 0xc0ffee00c0ffee, Node: 0x1122334455667788,
	Chain:   []Link{{Life{6, 0x4bf92f3577b34da6}, 3071}, {Life{7, 0xa3ce929d0e0e4736}, 4711}},
	Witness: Witness{0x1f83d9abfb41bd6b, 131, 1700000000123456789}, NextWitness: Witness{0x5be0cd19137e2179, 132, 1700000000223456789},
	Segments: []SegmentFile{{12, 140, 1700000000123456000}, {13, 141, 1700000000223456000}},
	Members:  []IdentityMember{{0x1122334455667788, "127.0.0.1:4166"}},
}

// dump writes bytes as hexadecimal, 16 to a line; "*" stands for lines of
// zeros.
func dump(b []byte) string {
	var out strings.Builder
	zeros := false
	for at := 0; at < len(b); at += 16 {
		line := b[at : at+16]
		if strings.Trim(string(line), "\x00") == "" {
			if !zeros {
				out.WriteString("*\n")
			}
			zeros = true
			continue
		}
		zeros = false
		fmt.Fprintf(&out, "%04x  % x  % x\n", at, line[:8], line[8:])
	}
	return out.String()
}

// The table of formats says what this build reads and writes.
func TestFormatsInDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/storage.md")
	must(t, err)
	for what, f := range map[string]formats{
		"identity": identityFormats, "segment": segmentFormats, "snapshot": snapshotFormats, "stopped": stoppedFormats, "witness": witnessFormats, "fence": fenceFormats,
	} {
		if row := fmt.Sprintf("| %s | %d | %d | ", what, f.newest, f.oldest); !strings.Contains(string(page), row) {
			t.Errorf("docs/storage.md has no row %q", row)
		}
	}
}
