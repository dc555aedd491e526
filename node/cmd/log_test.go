package cmd

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// madeAdmitted is when the commands of a madeLog were admitted, in ms since 1970.
const madeAdmitted = 1_764_320_000_123

// An entry that founds a group says with what: people look there for whose a slot was.
func TestFoundingInLog(t *testing.T) {
	for _, c := range []struct {
		slots []shardmap.SlotRange
		want  string
	}{
		{[]shardmap.SlotRange{{From: 0, To: 511}, {From: 700, To: 700}}, "own number 7 slots 0-511, 700-700"},
		{nil, "not understood: "},
	} {
		command := shardmap.Command{Kind: shardmap.CommandOwn, Items: [][]byte{{0x92, 7, 0x90}}}
		if c.slots != nil {
			command = shardmap.OwnCommand(&shardmap.Own{Number: 7, Slots: c.slots})
		}
		e := raft.SealedEntry(raft.EntrySeed(1, 1), raft.LogID{Term: 1, Index: 2}, 5, raft.EntryNormal, wire.AppendWrite(new(wire.Origin).Append(nil), &command))
		row := entryRowOf(1, &e)
		if !strings.HasPrefix(row.Command, c.want) || !strings.HasSuffix(row.text(), ": "+row.Command) || row.Slot != nil || row.KeyCount != 0 {
			t.Errorf("got %q, want %q", row.text(), c.want)
		}
	}
}

// madeLog is a data directory made by hand, of a node that need not exist.
type madeLog struct {
	cluster     uint64
	incarnation raft.Incarnation
	base        raft.LogID
	commit      uint64
	entries     []raft.LogID
	snapshot    uint64 // the index of a committed entry that there is a snapshot at, behind which the log is compacted; 0: none
	state       []byte // of the snapshot; nil: something else
	blockFiles  bool   // the identity says that there are some
	other       uint64 // the index of an entry that has another payload; 0: none
}

func (m madeLog) write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	m.incarnation = max(m.incarnation, 1)
	r := logstore.Replica{Group: 1, Incarnation: m.incarnation, ID: 1}
	w := logstore.Write{Replica: r, Base: &logstore.Base{ID: m.base, Membership: raft.Membership{
		Voters: []raft.Member{{Replica: 1, Node: 7, Goal: raft.GoalVoter}}, Next: 2}},
		State: raft.HardState{Term: 9, Vote: 1, Commit: m.commit}, HasState: true, Commit: m.commit}
	// A record each, so that damage to one leaves the others.
	if err := s.Append([]logstore.Write{w}); err != nil {
		t.Fatal(err)
	}
	for _, id := range m.entries {
		command := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{fmt.Appendf(nil, "key%d", id.Index), []byte("v")}}
		if id.Index == m.other {
			command.Items[1] = []byte("w")
		}
		e := raft.SealedEntry(raft.EntrySeed(1, m.incarnation), id, raft.GroupTime(id.Index), raft.EntryNormal, wire.AppendWrite((&wire.Origin{Time: madeAdmitted}).Append(nil), &command))
		if err := s.Append([]logstore.Write{{Replica: r, Entries: []raft.Entry{e}, Commit: min(m.commit, id.Index)}}); err != nil {
			t.Fatal(err)
		}
	}
	if m.snapshot > 0 {
		i := slices.IndexFunc(m.entries, func(id raft.LogID) bool { return id.Index == m.snapshot })
		base := logstore.Base{ID: m.entries[i], Membership: w.Base.Membership}
		sn, err := s.CreateSnapshot(r, base)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sn.Write([]byte(cmp.Or(string(m.state), "state"))); err != nil {
			t.Fatal(err)
		}
		if _, err := sn.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := s.Append([]logstore.Write{{Replica: r, Base: &base}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	id := logstore.Identity{Stage: logstore.StageMember, Cluster: "made", ClusterID: max(m.cluster, 1), Node: 7, BlockFiles: m.blockFiles, Chain: []logstore.Link{{Life: logstore.Life{Number: 1, Mark: 1}}},
		Members: []logstore.IdentityMember{{Node: 7, Addr: "127.0.0.1:1"}}}
	if err := logstore.WriteIdentity(vfs.OS{}, dir, id); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ids(term, first, last uint64) (all []raft.LogID) {
	for i := first; i <= last; i++ {
		all = append(all, raft.LogID{Term: term, Index: i})
	}
	return all
}

// place is a byte of a file.
type place struct {
	file   string
	offset int64
	begin  int64 // of the record that it is in, where it is in one
}

// recordOf is the last byte of the record of an entry of group 1, as log show
// tells where that is. A made log has a record for each entry.
func recordOf(t *testing.T, dir string, index uint64) place {
	t.Helper()
	at := fmt.Sprint(index)
	for line := range strings.Lines(muster(t, "log", "show", dir, "-o", "json", "--group", "1", "--from", at, "--to", at).done(t)) {
		var row logRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row.First == index && row.Last == index { // and no damage
			return place{filepath.Join(dir, "log", fmt.Sprintf("%016d.log", row.Segment)), *row.Offset + row.Bytes - 1, *row.Offset}
		}
	}
	t.Fatalf("entry %d is not in %s, or not alone in its record", index, dir)
	return place{}
}

// flip turns over a bit, or turns it back.
func (p place) flip(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	b[p.offset] ^= 1
	if err := os.WriteFile(p.file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// filesOf are the names and sizes of the files of a directory.
func filesOf(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, " ", info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Two logs are held against each other when something is believed to be wrong
// with one. What is called a divergence must be one, what is none must not, and
// the last common id must be right: who repairs by hand goes by it.
func TestLogDiff(t *testing.T) {
	ten := append(ids(1, 1, 5), ids(2, 6, 10)...)
	for _, tt := range []struct {
		name        string
		left, right madeLog
		status      exitStatus
		common      string
		ids         [2]string // of what each has after it
	}{
		{"the same", madeLog{entries: ten, commit: 10}, madeLog{entries: ten, commit: 4}, 0, "g1/2.10", [2]string{}},
		{"one is behind", madeLog{entries: ten, commit: 10}, madeLog{entries: ten[:8], commit: 8}, 0, "g1/2.8", [2]string{"2.9 2.10", ""}},
		{"one is empty", madeLog{}, madeLog{entries: ten[:2], commit: 2}, 0, "g1/0.0", [2]string{"", "1.1 1.2"}},
		{"tails that are not committed", madeLog{entries: append(ids(1, 1, 5), ids(2, 6, 7)...), commit: 5}, madeLog{entries: append(ids(1, 1, 5), ids(3, 6, 6)...), commit: 5}, 0, "g1/1.5", [2]string{"2.6 2.7", "3.6"}},
		{"one tail is committed", madeLog{entries: ten, commit: 10}, madeLog{entries: append(ids(1, 1, 5), ids(3, 6, 6)...), commit: 5}, 0, "g1/1.5", [2]string{"2.6 2.7 2.8 2.9 2.10", "3.6"}},
		{"both are committed", madeLog{entries: ten, commit: 6}, madeLog{entries: append(ids(1, 1, 5), ids(3, 6, 6)...), commit: 6}, 1, "g1/1.5", [2]string{"2.6 2.7 2.8 2.9 2.10", "3.6"}},
		{"one id, two entries", madeLog{entries: ten, commit: 2}, madeLog{entries: ten, commit: 2, other: 7}, 1, "g1/2.6", [2]string{"2.7 2.8 2.9 2.10", "2.7 2.8 2.9 2.10"}},
		{"one is compacted", madeLog{entries: ten, commit: 10}, madeLog{base: raft.LogID{Term: 2, Index: 7}, entries: ten[7:9], commit: 9}, 0, "g1/2.9", [2]string{"2.10", ""}},
		{"compacted further than the other goes", madeLog{entries: ten[:4], commit: 2}, madeLog{base: raft.LogID{Term: 2, Index: 7}, entries: ten[7:9], commit: 9}, 0, "g1/1.2", [2]string{"1.3 1.4", "2.8 2.9"}},
		{"the base is another", madeLog{entries: ten, commit: 10}, madeLog{base: raft.LogID{Term: 3, Index: 7}, entries: ids(3, 8, 8), commit: 8}, 1, "g1/2.6", [2]string{"2.7 2.8 2.9 2.10", "3.8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, r := tt.left.write(t), tt.right.write(t)
			for _, swapped := range []bool{false, true} {
				if swapped {
					l, r = r, l
					tt.ids[0], tt.ids[1] = tt.ids[1], tt.ids[0]
				}
				got := muster(t, "log", "diff", l, r, "-o", "json")
				var row diffRow
				if err := json.Unmarshal([]byte(got.stdout), &row); err != nil || got.stderr != "" {
					t.Fatalf("%v, standard error %q", err, got.stderr)
				}
				if got.status != tt.status || row.Common != tt.common || row.Diverged != (tt.status == 1) || idsOf(row.Left) != tt.ids[0] || idsOf(row.Right) != tt.ids[1] {
					t.Errorf("status %d, want %d; got %s\nwant common %s, %q", got.status, tt.status, got.stdout, tt.common, tt.ids)
				}
				table := muster(t, "log", "diff", l, r, "--group", "1")
				if table.status != tt.status || !strings.Contains(table.stdout, "common up to "+tt.common) {
					t.Errorf("status %d\n%s", table.status, table.stdout)
				}
			}
		})
	}
}

func idsOf(entries []diffEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, strings.TrimPrefix(e.LogID, "g1/"))
	}
	return strings.Join(all, " ")
}

// Whatever cannot be compared is refused with the reason.
func TestLogDiffRefuses(t *testing.T) {
	one := madeLog{entries: ids(1, 1, 3), commit: 3}.write(t)
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status exitStatus
		want   string
	}{
		{"no such directory", []string{one, "./nowhere"}, exitNotFound, "./nowhere: there is no such directory"},
		{"no directory", []string{file, one}, exitRefused, "not a directory"},
		{"no log", []string{one, empty}, exitNotFound, "there is no log in it"},
		{"nothing listens", []string{one, addrs[0], "--timeout", "1s"}, exitNoEndpoint, addrs[0]},
		{"no such group in a directory", []string{one, one, "--group", "7"}, exitNotFound, "has no replica of it"},
		{"another cluster's directory", []string{one, madeLog{cluster: 5, entries: ids(1, 1, 3)}.write(t)}, exitRefused, "their logs have nothing in common"},
		{"another incarnation", []string{one, madeLog{incarnation: 2, entries: ids(1, 1, 3)}.write(t)}, exitRefused, "incarnation 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			muster(t, append([]string{"log", "diff", "-o", "json"}, tt.args...)...).refused(t, tt.status, tt.want)
		})
	}
}

// The damage that verify finds offline is what an operator acts upon: the file,
// the place, what is lost, and what to do must be there, and a directory that is
// whole must not be called damaged.
func TestLogVerify(t *testing.T) {
	dir := madeLog{entries: append(ids(1, 1, 5), ids(2, 6, 10)...), commit: 8, snapshot: 6}.write(t)
	before := filesOf(t, dir)
	var whole verifyRow
	if err := json.Unmarshal([]byte(muster(t, "log", "verify", dir, "-o", "json").done(t)), &whole); err != nil {
		t.Fatal(err)
	}
	if !whole.OK || whole.Torn || whole.Entries != 10 || whole.Snapshots != 1 || whole.SnapshotBytes == 0 || whole.Segments == 0 || len(whole.Damages) != 0 ||
		len(whole.Replicas) != 1 || whole.Replicas[0].Base != "g1/2.6" || whole.Replicas[0].Last != "g1/2.10" || whole.Replicas[0].Commit != 8 {
		t.Errorf("got %+v", whole)
	}
	if out := muster(t, "log", "verify", dir).done(t); !strings.HasSuffix(out, "no damage\n") {
		t.Errorf("got %s", out)
	}
	record := recordOf(t, dir, 8)
	segment := record.file
	record.flip(t)
	r := muster(t, "log", "verify", dir, "-o", "json")
	var bad verifyRow
	if err := json.Unmarshal([]byte(r.stdout), &bad); err != nil || r.status != exitRefused || r.stderr != "" {
		t.Fatalf("%v, status %d, standard error %q", err, r.status, r.stderr)
	}
	if d := bad.Damages; bad.OK || len(d) != 1 || d[0].File != segment || d[0].Offset != record.begin || d[0].Reason == "" ||
		!strings.Contains(d[0].Lost, "entries 8 to 8") || !strings.Contains(d[0].Remedy, "put the file back") {
		t.Errorf("got %+v", bad.Damages)
	}
	if out := muster(t, "log", "verify", dir); out.status != exitRefused || !strings.Contains(out.stdout, "damage: "+segment+" at offset ") || !strings.HasSuffix(out.stdout, "DAMAGED\n") {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
	// Behind it all is shown.
	shown := muster(t, "log", "show", dir, "--entries").done(t)
	for _, want := range []string{"damage", `set slot`, "key3", "key5", "g1/2.10"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show does not say %q\n%s", want, shown)
		}
	}
	record.flip(t)
	identity := place{file: filepath.Join(dir, "identity"), offset: 20}
	identity.flip(t)
	out := muster(t, "log", "verify", dir)
	if out.status != exitRefused || !strings.Contains(out.stdout, identity.file) {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
	identity.flip(t)
	var snapshot logRow
	if err := json.Unmarshal([]byte(muster(t, "log", "show", dir, "-o", "json", "--kind", "snapshot").done(t)), &snapshot); err != nil ||
		snapshot.Base != "g1/2.6" || snapshot.Replica != "1" || snapshot.Bytes != whole.SnapshotBytes || len(snapshot.Members) != 1 {
		t.Errorf("%v, got %+v", err, snapshot)
	}
	// Of what is behind the snapshot nothing is needed any more.
	old := recordOf(t, dir, 4)
	old.flip(t)
	if out := muster(t, "log", "verify", dir); out.status != exitDone || !strings.Contains(out.stdout, "lost: nothing that is needed\nremedy: none is needed") || !strings.HasSuffix(out.stdout, "costs nothing\n") {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
	old.flip(t)
	// Nor of a snapshot where there is one that is as good.
	spare := filepath.Join(filepath.Dir(snapshot.File), "g1-i1-r1-2.7.snap")
	if err := os.WriteFile(spare, []byte("not a snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := muster(t, "log", "verify", dir); out.status != exitDone || !strings.Contains(out.stdout, "damage: "+spare) {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
	if err := os.Remove(spare); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, snapshot.Bytes / 2, snapshot.Bytes - 1} {
		hit := place{file: snapshot.File, offset: at}
		hit.flip(t)
		out := muster(t, "log", "verify", dir)
		if out.status != exitRefused || strings.Count(out.stdout, "damage: ") != 1 || !strings.Contains(out.stdout, "damage: "+snapshot.File) {
			t.Errorf("byte %d of the snapshot: status %d\n%s", at, out.status, out.stdout)
		}
		hit.flip(t)
	}
	if out := muster(t, "log", "verify", dir); out.status != exitDone {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
	if !slices.Equal(before, filesOf(t, dir)) {
		t.Error("files have come or gone")
	}
	muster(t, "log", "verify", t.TempDir()).refused(t, exitNotFound, "there is no log in it")
	muster(t, "log", "verify", filepath.Join(dir, "nowhere")).refused(t, exitNotFound, "no such directory")
	muster(t, "log", "verify", identity.file).refused(t, exitRefused, "not a directory")
}

// One place on disk holds what many replicas had: verify has to name all of them,
// and to say so where nothing is lost at all. A comparison with such a directory
// names what can't be read, and goes on behind it.
func TestDamagedDirectory(t *testing.T) {
	made := madeLog{entries: append(ids(1, 1, 5), ids(2, 6, 60)...), commit: 60}
	dir, whole := made.write(t), madeLog{entries: append(ids(1, 1, 5), ids(2, 6, 62)...), commit: 62}.write(t)
	s, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	member := raft.Membership{Voters: []raft.Member{{Replica: 1, Node: 7, Goal: raft.GoalVoter}}, Next: 2}
	var both []logstore.Write // in one batch
	for g := raft.GroupID(2); g <= 3; g++ {
		r := logstore.Replica{Group: g, Incarnation: 1, ID: 1}
		e := raft.SealedEntry(raft.EntrySeed(g, 1), raft.LogID{Term: 1, Index: 1}, 1, raft.EntryNormal, []byte("payload"))
		if err := s.Append([]logstore.Write{{Replica: r, Base: &logstore.Base{Membership: member}, State: raft.HardState{Term: 1, Vote: 1}, HasState: true}}); err != nil {
			t.Fatal(err)
		}
		both = append(both, logstore.Write{Replica: r, Entries: []raft.Entry{e}})
	}
	if err := s.Append(both); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	verify := func() verifyRow {
		t.Helper()
		var row verifyRow
		if err := json.Unmarshal([]byte(muster(t, "log", "verify", dir, "-o", "json").stdout), &row); err != nil {
			t.Fatal(err)
		}
		return row
	}

	// The batch with entries of two groups goes, to the end of its page.
	batch := int64(0)
	err = logstore.Walk(localDisk, dir, func(w *logstore.Walked) error {
		if w.Replica.Group == 3 && w.First == 1 {
			batch = w.Begin
		}
		return nil
	})
	at := place{file: filepath.Join(dir, "log", "0000000000000001.log"), offset: batch}
	if err != nil || batch == 0 {
		t.Fatalf("the batch is not found: %v", err)
	}
	before, err := os.ReadFile(at.file)
	if err != nil {
		t.Fatal(err)
	}
	after := bytes.Clone(before)
	clear(after[batch : (batch|4095)+1])
	if err := os.WriteFile(at.file, after, 0o600); err != nil {
		t.Fatal(err)
	}
	row := verify()
	if len(row.Damages) != 1 || !strings.Contains(row.Damages[0].Lost, "g2 incarnation 1 replica 1: entries 1 to 1") || !strings.Contains(row.Damages[0].Lost, "g3 incarnation 1 replica 1: entries 1 to 1") {
		t.Errorf("got %+v", row.Damages)
	}
	if err := os.WriteFile(at.file, before, 0o600); err != nil {
		t.Fatal(err)
	}

	// A header that its copy stands for.
	at.offset = 20
	at.flip(t)
	if row = verify(); !row.OK || len(row.Damages) != 1 || row.Damages[0].Lost != lostNothing || row.Damages[0].Remedy != remedyNone {
		t.Errorf("got %+v", row.Damages)
	}
	at.flip(t)
	if row = verify(); !row.OK || len(row.Damages) > 0 {
		t.Fatalf("got %+v", row.Damages)
	}

	// Entries in the middle, and near the end.
	for _, index := range []uint64{20, 58} {
		recordOf(t, dir, index).flip(t)
	}
	want := []spanRow{{20, 20}, {58, 58}}
	for _, swapped := range []bool{false, true} {
		l, r := dir, whole
		if swapped {
			l, r = r, l
		}
		got := muster(t, "log", "diff", l, r, "--group", "1", "-o", "json")
		var d diffRow
		if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || got.status != exitDone || got.stderr != "" {
			t.Fatalf("%v, status %d, standard error %q", err, got.status, got.stderr)
		}
		lost, other, more, none := d.LeftLost, d.RightLost, d.Right, d.Left
		if swapped {
			lost, other, more, none = other, lost, none, more
		}
		if !slices.Equal(lost, want) || len(other) > 0 || d.Common != "g1/2.60" || d.Diverged || idsOf(more) != "2.61 2.62" || len(none) > 0 {
			t.Errorf("swapped %t: got %s", swapped, got.stdout)
		}
		side := map[bool]string{false: "left", true: "right"}[swapped]
		if table := muster(t, "log", "diff", l, r, "--group", "1").done(t); !strings.Contains(table, side+" can't read entries 20 to 20") || !strings.Contains(table, side+" can't read entries 58 to 58") {
			t.Errorf("swapped %t: got %s", swapped, table)
		}
	}
}
