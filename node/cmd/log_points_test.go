package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
	"muster/shardmap/points/query/querytest"
)

// pointsIn puts a block file of two fields into a data directory, and returns its name.
func pointsIn(t *testing.T, dir string, g blocks.Group) string {
	t.Helper()
	s, err := blocks.Open(blocks.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(g)
	if err != nil {
		t.Fatal(err)
	}
	b, err := block.NewWriter(w)
	if err != nil {
		t.Fatal(err)
	}
	times := []int64{1_700_000_000e9, 1_700_000_010e9, 1_700_000_020e9}
	for field, v := range []column.Values{{Kind: column.Float, Floats: []float64{1.5, 2.5, 0.1}}, {Kind: column.Integer, Integers: []int64{8, 8, 9}}} {
		if err := b.Add(&block.Block{Series: []byte("cpu,host=\x1b[31ma"), Field: []byte{'a' + byte(field)}, Times: times, Values: v}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Commit(info.Sum)
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, blocks.Dir, "g1-i1", f.Sum.Name())
}

// A person sees which block files a directory has and what is in one, without a node; damage is shown in its place, with
// what can still be read.
func TestLogShowsBlockFiles(t *testing.T) {
	dir := madeLog{entries: ids(1, 1, 8), commit: 8}.write(t)
	file := pointsIn(t, dir, blocks.Group{ID: 1, Incarnation: 1})
	line := "block file: group 1 incarnation 1: 2 blocks of 1 series, 6 values, 2023-11-14T22:13:20Z to 2023-11-14T22:13:40Z, columns of version 1, "
	if got := muster(t, "log", "show", dir).done(t); !strings.Contains(got, line) || !strings.Contains(got, file) {
		t.Errorf("the directory shows\n%s", got)
	}
	if got := muster(t, "log", "show", dir, "--kind", kindBlockFile, "-o", "json").done(t); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"sum":"`+strings.TrimSuffix(filepath.Base(file), ".points")) || !strings.Contains(got, `"values":6,"first_ns":1700000000000000000`) {
		t.Errorf("of that kind: %s", got)
	}
	if got := muster(t, "log", "show", dir, "--kind", kindBlockFile, "--group", "2").done(t); strings.Contains(got, "block file") {
		t.Errorf("of another group: %s", got)
	}
	block := `block: "cpu,host=\x1b[31ma" "b": integer, 3 values, 2023-11-14T22:13:20Z to 2023-11-14T22:13:40Z`
	if got := muster(t, "log", "show", file).done(t); !strings.Contains(got, line) || !strings.Contains(got, block) || strings.Count(got, "\n") != 3 || strings.Contains(got, "\x1b") {
		t.Errorf("the file shows\n%s", got)
	}
	out := muster(t, "log", "verify", dir, "-o", "json")
	var row verifyRow
	if err := json.Unmarshal([]byte(out.stdout), &row); err != nil || out.status != 0 || !row.OK || row.BlockFiles != 1 || row.BlockFileBytes == 0 {
		t.Errorf("%v, status %d, got %+v", err, out.status, row)
	}

	place{file: file, offset: 60}.flip(t) // in the values of the first block
	out = muster(t, "log", "show", file)
	if out.status != exitRefused || strings.Count(out.stdout, "damage") != 1 || !strings.Contains(out.stdout, "the column of values") || !strings.Contains(out.stdout, block) {
		t.Errorf("damaged: status %d\n%s%s", out.status, out.stdout, out.stderr)
	}
	out = muster(t, "log", "verify", dir)
	for _, want := range []string{file, "  lost: points of group 1 incarnation 1, on this node", "remedy: start the node: it puts the file aside", "DAMAGED", "0 block files"} {
		if out.status != exitRefused || !strings.Contains(out.stdout, want) {
			t.Errorf("verify, status %d, does not say %q\n%s", out.status, want, out.stdout)
		}
	}
	s, err := blocks.Open(blocks.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for !s.Scrub(1 << 20) {
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(filepath.Dir(file), "0000000000000001-"+strings.TrimSuffix(filepath.Base(file), ".points")+".damaged")
	if got := muster(t, "log", "show", dir).done(t); !strings.Contains(got, "put aside: a damaged block file of group 1 incarnation 1 in "+aside) {
		t.Errorf("put aside: %s", got)
	}
	if out := muster(t, "log", "verify", dir); out.status != exitRefused || !strings.Contains(out.stdout, "kept aside: "+aside) || !strings.Contains(out.stdout, "no whole file has its name yet\n  lost: points of group 1 incarnation 1") {
		t.Errorf("put aside: status %d\n%s", out.status, out.stdout)
	}
	if out := muster(t, "log", "show", aside); out.status != exitRefused || !strings.Contains(out.stdout, block) {
		t.Errorf("put aside: status %d\n%s", out.status, out.stdout)
	}
	pointsIn(t, dir, blocks.Group{ID: 1, Incarnation: 1})
	if out := muster(t, "log", "verify", dir); out.status != 0 || !strings.Contains(out.stdout, "kept aside: "+aside) || !strings.Contains(out.stdout, "no damage") {
		t.Errorf("replaced: status %d\n%s", out.status, out.stdout)
	}
}

// namingState is the state of group 1 as of entry 8, which names files.
func namingState(t *testing.T, sums ...block.Sum) []byte {
	t.Helper()
	m := machine.NewMap(logstore.Replica{Group: 1, Incarnation: 1, ID: 1}, func() *shardmap.Table { return nil })
	index := uint64(0)
	apply := func(c shardmap.Command) {
		t.Helper()
		index++
		id := raft.LogID{Term: 1, Index: index}
		e := raft.SealedEntry(raft.EntrySeed(1, 1), id, raft.GroupTime(index), raft.EntryNormal, wire.AppendWrite((&wire.Origin{Time: madeAdmitted}).Append(nil), &c))
		if _, _, err := m.Apply(e, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	apply(shardmap.RaiseCommand(shardmap.Level))
	for i, sum := range sums {
		batch, err := querytest.Parse("cpu v=1 5")
		if err != nil {
			t.Fatal(err)
		}
		span := points.Window{First: 0, Last: 999}
		shares := points.Split(batch, func(int64) (points.Window, uint32) { return span, 1 })
		ref := shardmap.ShardRef{ShardID: shardmap.ShardID{Window: 7}, Shards: 1, Database: 5, Policy: 6, Span: span}
		for p := range shares[0].Pieces(shardmap.PointsSizeMax, shardmap.PointsValuesMax) {
			apply((&shardmap.PointsBody{Shard: ref, Name: "metrics", Mode: shardmap.PointsWrite, Share: p.Bytes}).Command())
		}
		apply((&shardmap.PointsSeal{Shard: ref.ShardID, Number: uint64(i + 1)}).Command())
		apply((&shardmap.PointsSealed{Shard: ref.ShardID, Number: uint64(i + 1), Sum: sum, Size: 100, Values: 1, First: 5, Last: 5}).Command())
	}
	if index > 8 {
		t.Fatalf("the state is of entry %d, want 8 at most", index)
	}
	for index < 8 {
		apply(shardmap.RaiseCommand(shardmap.Level))
	}
	var b bytes.Buffer
	if _, err := m.Copy().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A block file that the state names is lost if it is damaged or gone; damage of one that no state names costs nothing: a start
// removes it. Without the state nobody knows, and it counts.
func TestLogVerifyKnowsWhichBlockFilesCount(t *testing.T) {
	there := pointsIn(t, filepath.Join(t.TempDir(), "data"), blocks.Group{ID: 1, Incarnation: 1})
	sum, _ := block.ParseName(filepath.Base(there))
	gone := block.Sum{1}
	ofAll := func(sums ...block.Sum) madeLog {
		return madeLog{entries: ids(1, 1, 12), commit: 12, snapshot: 8, blockFiles: true, state: namingState(t, sums...)}
	}
	const lost, costsNothing = "  lost: points of group 1 incarnation 1, on this node", "  lost: " + lostNothing
	for _, c := range []struct {
		what   string
		log    madeLog
		damage bool
		status exitStatus
		want   []string
	}{
		{"all are there", ofAll(sum), false, 0, []string{"no damage", "1 block files"}},
		{"one is damaged", ofAll(sum), true, exitRefused, []string{lost, "remedy: start the node: it puts the file aside", "DAMAGED"}},
		{"one is gone", ofAll(sum, gone), false, exitRefused, []string{"g1-i1/" + gone.Name() + " at offset 0: block file: the state names it, and it is not there", lost, "remedy: start the node: it fetches the file"}},
		{"one that is not named is damaged", ofAll(), true, 0, []string{costsNothing, "damaged where it costs nothing"}},
		{"one is damaged, and the log has all", madeLog{entries: ids(1, 1, 8), commit: 8, blockFiles: true}, true, 0, []string{costsNothing}},
		{"one is damaged, and the state can't be read", madeLog{entries: ids(1, 1, 12), commit: 12, snapshot: 8, blockFiles: true}, true, exitRefused, []string{lost}},
	} {
		dir := c.log.write(t)
		file := pointsIn(t, dir, blocks.Group{ID: 1, Incarnation: 1})
		if c.damage {
			place{file: file, offset: 60}.flip(t)
		}
		out := muster(t, "log", "verify", dir)
		for _, want := range c.want {
			if out.status != c.status || !strings.Contains(out.stdout, want) {
				t.Errorf("%s: status %d, want %d and %q\n%s%s", c.what, out.status, c.status, want, out.stdout, out.stderr)
			}
		}
	}
}

// A file that is no block file is refused by name, and so are options that select records of a log.
func TestLogShowOfOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("no points"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := muster(t, "log", "show", file); out.status != exitRefused || !strings.Contains(out.stdout, "it is no block file") {
		t.Errorf("status %d\n%s%s", out.status, out.stdout, out.stderr)
	}
	if out := muster(t, "log", "show", file, "--group", "1"); out.status != exitUsage || !strings.Contains(out.stderr, "want a data directory, or no --group") {
		t.Errorf("status %d\n%s", out.status, out.stderr)
	}
}
