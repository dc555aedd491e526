package repl

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// zeroTail zeroes the last pages that are in use of the log of a node that is
// stopped, or all of its last segment if pages is 0.
func (n *testNode) zeroTail(pages int) {
	n.c.t.Helper()
	file, end := "", int64(0)
	err := logstore.Walk(n.disk, "data", func(w *logstore.Walked) error {
		if w.Kind != logstore.WalkedSegment {
			file, end = path.Join("data", logstore.LogDir, fmt.Sprintf("%016d.log", w.Segment)), w.Offset+w.Bytes
		}
		return nil
	})
	if err != nil || file == "" {
		n.c.t.Fatalf("node %d: no log: %v", n.id, err)
	}
	last := (end - 1) / vfs.PageSize
	first := last - int64(pages) + 1
	if pages == 0 {
		first, last = 0, int64(len(n.disk.Bytes(file)))/vfs.PageSize-1
	}
	for page := max(0, first); page <= last; page++ {
		if _, err := n.disk.Damage(file, page*vfs.PageSize, vfs.ZeroPage); err != nil {
			n.c.t.Fatal(err)
		}
	}
}

// All three nodes stop cleanly, and then the end of the log of one of them, or of
// two, is zeros: that looks like room after a batch that was never finished. No
// acknowledged write is missing afterwards, and the damage is told by file and
// offset until it is mended.
func TestZerosAtTheEnd(t *testing.T) {
	for _, hurt := range []int{1, 2} {
		for _, pages := range []int{1, 2, 3, 8, 0} {
			t.Run(fmt.Sprintf("%d pages of %d nodes", pages, hurt), func(t *testing.T) {
				c := newCluster(t, uint64(pages), 0)
				c.start(3)
				c.fillGroups(9)
				for _, n := range c.nodes {
					n.stop()
				}
				for _, n := range c.nodes[:hurt] {
					n.zeroTail(pages)
				}
				lost := 0
				for _, n := range c.nodes {
					n.start()
					all := n.store.Damaged()
					for i := range all {
						d := &all[i]
						if lost += len(d.Lost); d.Promises || !strings.HasPrefix(d.Where.File, "data/log/") || d.Where.Reason == "" {
							t.Errorf("node %d: %v", n.id, d.Err())
						}
					}
				}
				if pages != 1 && lost == 0 {
					t.Error("nothing was lost: it shows nothing")
				}
				for range 3000 {
					c.step()
				}
				c.whole()
				for _, n := range c.nodes {
					c.again(n)
				}
				c.whole()
			})
		}
	}
}
