package filer

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/logstore/blocks"
	"muster/logstore/blocks/blockstest"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// filerAlone returns a Filer without replicas, whose files are in memory, on a disk that can be told to fail.
func filerAlone(t *testing.T) (f *Filer, disk *vfs.Faulty, files *blocks.Store) {
	t.Helper()
	disk = vfs.NewFaulty(vfs.NewMem())
	files, err := blocks.Open(blocks.Options{FS: disk, Dir: "d"})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Self: 1, Files: files, Rouse: func() {}, Log: slog.New(slog.DiscardHandler)}), disk, files
}

// A snapshot may begin when the core has decided that a file may go, which the state has come to name again. Either the file stays,
// or the snapshot waits.
func TestFilesOfSnapshotsStay(t *testing.T) {
	if wrong := listedRemoved(t); wrong != "" {
		t.Error(wrong)
	}
}

// listedRemoved says what is wrong with files that snapshots list; "": nothing.
func listedRemoved(t *testing.T) string {
	f, disk, files := filerAlone(t)
	g, at := blocks.Group{ID: 1, Incarnation: 1}, func(index uint64) raft.LogID { return raft.LogID{Term: 1, Index: index} }
	if why := f.settle(g, at(1), []block.Sum{{1}}); !strings.Contains(why, "is not here yet") {
		return fmt.Sprintf("a snapshot that lists a file which is not here is answered %q", why)
	}
	sum := blockstest.Put(t, files, g)
	list := []block.Sum{sum}
	if why := f.settle(g, at(2), list); why != "" {
		return "a snapshot of files that are here waits: " + why
	}
	if err := f.remove(g, sum); !errors.Is(err, errListed) || len(files.Missing(g, list)) > 0 {
		return fmt.Sprintf("a file that a snapshot lists is removed: %v", err)
	}
	// The snapshot of entry 2 is kept; then one of entry 9 takes its place, which lists nothing.
	if listed := f.listed(g, []raft.LogID{at(2)}); !slices.Equal(listed, list) {
		return fmt.Sprintf("listed are %v, want %v", listed, list)
	}
	for _, index := range []uint64{5, 6, 7, 8, 8, 8, 9} { // some of them were never finished, and one was read three times
		f.list(g, at(index), nil)
	}
	if listed := f.listed(g, []raft.LogID{at(2)}); !slices.Equal(listed, list) || len(f.lists[g]) != 1+ListsAhead {
		return fmt.Sprintf("listed are %v, in %d lists, want %v in %d", listed, len(f.lists[g]), list, 1+ListsAhead)
	}
	if listed := f.listed(g, []raft.LogID{at(9)}); len(listed) > 0 || len(f.lists[g]) != 1 {
		return fmt.Sprintf("listed are %v, in %d lists, want none in one", listed, len(f.lists[g]))
	}
	held := disk.Add(vfs.Rule{Fault: vfs.Stuck, Op: "remove", Name: "*.points"})
	ended := make(chan error, 1)
	go func() { ended <- f.remove(g, sum) }()
	<-held.Held()
	why := f.settle(g, at(10), list)
	held.Release()
	if err := <-ended; err != nil || why == "" {
		return fmt.Sprintf("while a file is removed a snapshot that lists it is answered %q; the removal ends with %v", why, err)
	}
	return ""
}

// A snapshot that arrives counts no file as here that is being removed: it is listed once the removal has ended, and keeps the
// file from the next one.
func TestListWaitsForRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, disk, files := filerAlone(t)
		g := blocks.Group{ID: 1, Incarnation: 1}
		list := []block.Sum{blockstest.Put(t, files, g)}
		held := disk.Add(vfs.Rule{Fault: vfs.Stuck, Op: "remove", Name: "*.points"})
		removed, listed := make(chan error, 1), make(chan int, 1)
		go func() { removed <- f.remove(g, list[0]) }()
		<-held.Held()
		go func() {
			f.list(g, raft.LogID{Term: 1, Index: 2}, list)
			listed <- len(files.Missing(g, list))
		}()
		synctest.Wait()
		if len(listed) > 0 {
			t.Error("it is listed while its file is being removed")
		}
		held.Release()
		if err, missing := <-removed, <-listed; err != nil || missing != 1 {
			t.Errorf("the removal ends with %v, and %d files are missing, want 1", err, missing)
		}
		blockstest.Put(t, files, g)
		if err := f.remove(g, list[0]); !errors.Is(err, errListed) {
			t.Errorf("a removal that comes later ends with %v, want that a snapshot lists the file", err)
		}
	})
}

// A head all of whose values were deleted is sealed on a replica that began with a snapshot, too, which has none of them: else no
// seal would end the deletes.
func TestHeadOfDeletedPointsIsSealed(t *testing.T) {
	for _, tt := range []struct {
		since uint64
		want  int64
	}{{0, 0}, {7, 1}} {
		x := &shardmap.GroupShard{Points: shard.New(points.Window{First: 0, Last: 999}), Since: tt.since}
		if v := shardView(x, time.Second, 0); v.HeadValues != tt.want {
			t.Errorf("with points since entry %d the head has %d values to be sealed, want %d", tt.since, v.HeadValues, tt.want)
		}
	}
}
