package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

var every = flag.Bool("every", false, "change each byte of a backup into each other one")

// keyRow is a row of a key.
func keyRow(key, value string) shardmap.BackupRow {
	return shardmap.BackupRow{Kind: shardmap.KindKey, Name: []byte(key), Value: []byte(value), Version: 7}
}

// rowsOf makes the array of some rows, in the order in which a group sends them.
func rowsOf(rows ...shardmap.BackupRow) []byte {
	slices.SortFunc(rows, func(a, b shardmap.BackupRow) int {
		switch {
		case after(b.Slot(), b.Kind, b.Name, a.Slot(), a.Kind, a.Name):
			return 1
		case after(a.Slot(), a.Kind, a.Name, b.Slot(), b.Kind, b.Name):
			return -1
		}
		return 0
	})
	return arrayOf(rows...)
}

func arrayOf(rows ...shardmap.BackupRow) []byte {
	b := pack.AppendArray(nil, len(rows))
	for i := range rows {
		b = rows[i].Append(b)
	}
	return b
}

// sample is a small backup, and where its blocks begin.
type sample struct {
	bytes.Buffer
	manifest Manifest
	begins   []int          // of blocks, the manifest's too
	groups   []raft.GroupID // whose they are
	keys     map[string]string
}

// newSample makes a backup of three groups, of which one was begun twice, and one has nothing.
func newSample(t testing.TB) *sample {
	t.Helper()
	s := &sample{keys: map[string]string{}}
	w, err := NewWriter(s)
	if err != nil {
		t.Fatal(err)
	}
	s.manifest = Manifest{Cluster: "prod", ClusterID: "c1c2c3c4c5c6c7c8", MadeAt: time.Unix(1_764_000_000, 0).UTC(), Version: "0.1.0"}
	groups := []Group{
		{ID: 1, Term: 2, Index: 30, Incarnation: 1, Attempt: 1, Slots: []Run{{0, 1999}}},
		{ID: 2, Term: 3, Index: 40, Incarnation: 1, Slots: []Run{{2000, 2999}, {3500, 4095}}},
		{ID: 5, Term: 1, Index: 2, Incarnation: 9, Slots: []Run{{3000, 3499}}},
	}
	random := rand.New(rand.NewPCG(1, 1))
	rows := make([][]shardmap.BackupRow, len(groups))
	for i := range 60 {
		row := keyRow(fmt.Sprintf("k%d", i), strings.Repeat("value", i%5))
		switch i % 10 {
		case 3:
			row.Ends, row.Remaining = true, uint64(1+i)
		case 5:
			row.Kind = shardmap.KindService
		case 7:
			value := make([]byte, 60)
			for j := range value {
				value[j] = byte(random.Uint32())
			}
			row.Value = value
		}
		g := 0
		if slot := row.Slot(); slot >= 3000 && slot < 3500 {
			continue // group 5 has nothing
		} else if slot >= 2000 {
			g = 1
		}
		rows[g] = append(rows[g], row)
		groups[g].Add(&row)
		s.keys[fmt.Sprint(row.Kind, string(row.Name))] = string(row.Value)
	}
	block := func(g raft.GroupID, attempt uint32, b []byte) {
		s.begins, s.groups = append(s.begins, s.Len()), append(s.groups, g)
		if err := w.Rows(g, attempt, b); err != nil {
			t.Fatal(err)
		}
	}
	// The first attempt at group 1 was lost behind some rows, which differ by now.
	block(1, 0, rowsOf(keyRow("void", "x"), rows[0][0]))
	for g := range groups[:2] {
		all := rows[g]
		sorted := make([]shardmap.BackupRow, len(all))
		copy(sorted, all)
		rowsOf(sorted...)
		for part := range slices.Chunk(sorted, 1+len(sorted)/3) {
			block(groups[g].ID, groups[g].Attempt, arrayOf(part...))
			groups[g].Blocks++
		}
	}
	s.manifest.Groups = groups
	s.begins, s.groups = append(s.begins, s.Len()), append(s.groups, 0)
	if err := w.Finish(&s.manifest); err != nil {
		t.Fatal(err)
	}
	return s
}

// A backup is read as it was written: what counts of each group, without what is void, and once.
func TestBackupRoundTrip(t *testing.T) {
	s := newSample(t)
	m, err := Verify(bytes.NewReader(s.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", *m) != fmt.Sprintf("%+v", s.manifest) {
		t.Errorf("got %+v, want %+v", *m, s.manifest)
	}
	if n := m.Keys() + m.Services(); n != uint64(len(s.keys)) || m.Services() == 0 || m.Longest() != 60 {
		t.Errorf("%d keys and services, %d services, the longest value of %d; want %d, some and 60", n, m.Services(), m.Longest(), len(s.keys))
	}
	got := map[string]string{}
	err = Read(bytes.NewReader(s.Bytes()), m, func(g *Group, b []byte) error {
		rows, row := shardmap.ReadBackupRows(b), shardmap.BackupRow{}
		for rows.Next(&row) {
			got[fmt.Sprint(row.Kind, string(row.Name))] += string(row.Value) // what came twice differs
		}
		return rows.Err()
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(s.keys) {
		t.Errorf("%v: got %d rows, want %d", err, len(got), len(s.keys))
	}
	if err := Read(bytes.NewReader(s.Bytes()), m, func(*Group, []byte) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("an error of the reader of rows: got %v", err)
	}
	other := *m
	other.SHA256 = "00"
	if err := Read(bytes.NewReader(s.Bytes()), &other, func(*Group, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "has changed since it was verified") {
		t.Errorf("another file: got %v", err)
	}
}

// blockAt returns the block in which a byte stands, and whose it is; -1: in the header or the trailer.
func (s *sample) blockAt(offset int) (block int, of raft.GroupID, inHead bool) {
	if offset >= s.Len()-trailerSize {
		return -1, 0, false
	}
	block = -1
	for i, begin := range s.begins {
		if offset >= begin {
			block, of, inHead = i, s.groups[i], offset < begin+32
		}
	}
	return block, of, inHead
}

// damageWrong changes bytes of a backup, one at a time, and returns which of them was not refused, or by an error that
// names another place; "" if all were.
func damageWrong(s *sample, values func(offset int) []byte) string {
	for offset := range s.Len() {
		for _, x := range values(offset) {
			b := bytes.Clone(s.Bytes())
			b[offset] ^= x
			_, err := Verify(bytes.NewReader(b))
			var e *DamageError
			if !errors.As(err, &e) {
				return fmt.Sprintf("byte %d with %02x changed: got %v, want a damage", offset, x, err)
			}
			block, of, inHead := s.blockAt(offset)
			if inHead {
				of = 0 // nobody can know
			}
			if e.Block != int64(block) || e.Group != of || e.Offset > int64(offset) || e.Offset < int64(offset)-4096 {
				return fmt.Sprintf("byte %d with %02x changed: got %v; want block %d of group %d", offset, x, err, block, of)
			}
		}
	}
	return ""
}

// Every byte of a backup counts: whichever is changed, it is refused, with the place named. One would doubt it of bytes
// that mean nothing, and of those behind the checksums. With -every each byte becomes each other one.
func TestEveryByteOfABackup(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	wrong := damageWrong(newSample(t), func(int) []byte {
		if !*every {
			return []byte{1 << r.IntN(8)}
		}
		var all []byte
		for x := 1; x < 256; x++ {
			all = append(all, byte(x))
		}
		return all
	})
	if wrong != "" {
		t.Error(wrong)
	}
}

// A backup that was cut short at any place is refused, with that place named, and so is one with more behind it.
func TestEveryCutOfABackup(t *testing.T) {
	s := newSample(t)
	for n := range s.Len() {
		_, err := Verify(bytes.NewReader(s.Bytes()[:n]))
		var e *DamageError
		block, _, _ := s.blockAt(n)
		if !errors.As(err, &e) || e.Offset != int64(n) || e.Block != int64(block) && n < s.Len()-trailerSize || !strings.Contains(e.What, "cut short") {
			t.Fatalf("cut at byte %d: got %v; want that it ends there, in block %d", n, err, block)
		}
	}
	var e *DamageError
	if _, err := Verify(io.MultiReader(bytes.NewReader(s.Bytes()), strings.NewReader("x"))); !errors.As(err, &e) || e.Offset != int64(s.Len()) || !strings.Contains(e.What, "more follows") {
		t.Errorf("a byte more: got %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(s.Bytes()[:500]), iotest.ErrReader(io.ErrNoProgress))
	if _, err := Verify(broken); !errors.Is(err, io.ErrNoProgress) || errors.As(err, &e) && e.Offset == 500 {
		t.Errorf("a disk that can't be read: got %v, want its error", err)
	}
}

// A file whose checksums are right is still not believed: it may come from a build that is wrong, or from people.
func TestBackupThatNoBuildWrites(t *testing.T) {
	all := []Run{{0, 4095}}
	one := keyRow("k", "v")
	counted := func(g Group, rows ...shardmap.BackupRow) Group {
		for i := range rows {
			g.Add(&rows[i])
		}
		return g
	}
	good := counted(Group{ID: 1, Slots: all, Blocks: 1}, one)
	for _, c := range []struct {
		what   string
		write  func(w *Writer) error
		groups []Group
		want   string
	}{
		{"nothing is wrong", nil, []Group{good}, ""},
		{"rows that are no msgpack", func(w *Writer) error { return w.Rows(1, 0, []byte{0xc1}) }, nil, "rows can't be read"},
		{"a row of a lease", func(w *Writer) error {
			return w.Rows(1, 0, arrayOf(shardmap.BackupRow{Kind: shardmap.KindLease, Name: []byte("k"), Version: 1}))
		}, nil, "a row of kind 2"},
		{"a row without a name", func(w *Writer) error { return w.Rows(1, 0, arrayOf(keyRow("", "v"))) }, nil, "a name of 0 bytes"},
		{"a key twice", func(w *Writer) error { return w.Rows(1, 0, arrayOf(one, one)) }, nil, "out of order"},
		{"a key twice in two blocks", func(w *Writer) error {
			return errors.Join(w.Rows(1, 0, arrayOf(one)), w.Rows(1, 0, arrayOf(one)))
		}, nil, "out of order"},
		{"a block of no group", func(w *Writer) error { return w.Rows(0, 0, arrayOf(one)) }, nil, "of group 0"},
		{"an attempt that is not there", nil, []Group{{ID: 1, Slots: all, Blocks: 1, Keys: 1, Attempt: 1}}, "has 0 blocks"},
		{"another count", nil, []Group{func() Group { g := good; g.Keys++; return g }()}, "with 1 keys"},
		{"another length", nil, []Group{func() Group { g := good; g.Longest++; return g }()}, "the longest value of 1"},
		{"a slot that no group has", nil, []Group{func() Group { g := good; g.Slots = []Run{{1, 4095}}; return g }()}, "1 runs of slots that no group has"},
		{"a slot that two groups have", nil, []Group{good, {ID: 2, Slots: []Run{{7, 7}}}}, "1 that several have"},
		{"slots out of order", nil, []Group{func() Group { g := good; g.Slots = []Run{{2, 4095}, {0, 1}}; return g }()}, "out of order"},
		{"a group twice", nil, []Group{good, good}, "group 1 in place 1"},
		{"a row of another group's slot", nil, []Group{func() Group { g := good; g.Slots = []Run{{0, one.Slot() - 1}}; return g }(), {ID: 2, Slots: []Run{{one.Slot(), 4095}}}}, "does not give it"},
	} {
		var b bytes.Buffer
		w, err := NewWriter(&b)
		if err == nil && c.write != nil {
			err = c.write(w)
		} else if err == nil {
			err = w.Rows(1, 0, arrayOf(one))
		}
		if err == nil {
			err = w.Finish(&Manifest{Groups: c.groups})
		}
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		_, err = Verify(&b)
		var e *DamageError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &e) || !strings.Contains(e.What, c.want)) {
			t.Errorf("%s: got %v, want a damage with %q", c.what, err, c.want)
		}
	}
	if err := new(Writer).Rows(1, 0, make([]byte, BlockMax+1)); err == nil || !strings.Contains(err.Error(), "the limit is") {
		t.Errorf("a block that is too large: got %v", err)
	}
}

// A backup of a later format says so by an error of its own, whatever stands in it: it must not be taken for damaged.
func TestBackupOfANewerFormat(t *testing.T) {
	b := newSample(t).Bytes()
	binary.LittleEndian.PutUint16(b[8:], Format+1)
	binary.LittleEndian.PutUint64(b[24:], xxhash.Sum64(b[:24]))
	var e *FormatError
	if _, err := Verify(bytes.NewReader(b[:headerSize])); !errors.As(err, &e) || e.Format != Format+1 || !strings.Contains(e.Error(), "use a newer build") {
		t.Errorf("got %v", err)
	}
	for _, file := range []string{strings.Repeat("no backup ", 10), "no backup", "no", fileMagic[:3] + "?"} {
		if _, err := Verify(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), "it is no backup") {
			t.Errorf("file %q: got %v", file, err)
		}
	}
	for _, n := range []int{0, 3, len(fileMagic), headerSize - 1} {
		if _, err := Verify(bytes.NewReader(b[:n])); err == nil || !strings.Contains(err.Error(), "it was cut short") {
			t.Errorf("the first %d bytes of a backup: got %v", n, err)
		}
	}
}

// A later build may say more in the manifest; this one restores such a backup all the same.
func TestManifestMayGrow(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	m := fmt.Sprintf(`{"cluster":"c","later":{"x":[1]},"groups":[{"id":1,"slots":[[0,4095]],"until":"g1/2.9"}],"sha256":"%x"}`, w.sum.Sum(nil))
	at := w.size
	if err := w.block(kindManifest, 0, 0, []byte(m)); err != nil {
		t.Fatal(err)
	}
	var end [trailerSize]byte
	copy(end[:], trailerMagic)
	binary.LittleEndian.PutUint64(end[8:], uint64(at))
	binary.LittleEndian.PutUint64(end[16:], uint64(w.size)+trailerSize)
	binary.LittleEndian.PutUint64(end[24:], xxhash.Sum64(end[:24]))
	b.Write(end[:])
	if got, err := Verify(&b); err != nil || got.Cluster != "c" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Slots that are missing, or there twice, decide which groups are taken again.
func TestCover(t *testing.T) {
	missing, twice := Cover([]Group{{ID: 1, Slots: []Run{{0, 99}, {200, 299}}}, {ID: 2, Slots: []Run{{90, 149}, {299, 4094}}}})
	if want := []shardmap.SlotRange{{From: 150, To: 199}, {From: 4095, To: 4095}}; !slices.Equal(missing, want) {
		t.Errorf("missing are %v, want %v", missing, want)
	}
	if want := []shardmap.SlotRange{{From: 90, To: 99}, {From: 299, To: 299}}; !slices.Equal(twice, want) {
		t.Errorf("twice are %v, want %v", twice, want)
	}
}

// FuzzVerify reads blocks and manifests that anybody wrote, under checksums that are right.
func FuzzVerify(f *testing.F) {
	f.Add(arrayOf(keyRow("k", "v")), []byte(`{"groups":[{"id":1,"slots":[[0,4095]],"blocks":1,"keys":1,"bytes":2,"longest":1}]}`), uint16(1), uint32(0), byte(1))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, []byte(`{"groups":[{"id":70000}]}`), uint16(2), uint32(9), byte(2))
	f.Fuzz(func(t *testing.T, rows, manifest []byte, g uint16, attempt uint32, kind byte) {
		if len(rows)+len(manifest) > 1<<16 {
			return
		}
		var b bytes.Buffer
		w, err := NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{w.block(kind, raft.GroupID(g), attempt, rows), w.block(kindManifest, 0, 0, manifest)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var damage *DamageError
		if _, err := Verify(&b); err == nil || !errors.As(err, &damage) { // there is no trailer
			t.Errorf("got %v, want a damage", err)
		}
	})
}
