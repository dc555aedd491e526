package repl

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

var flips = flag.Int("flips", 250, "how many cases of damage to try, by chance; 0: all that there are")

// image is all that is on a node's disk.
type image map[string][]byte

// picture returns the image of a disk whose node is down.
func picture(t *testing.T, disk *vfs.Mem) image {
	im := image{}
	for _, dir := range []string{"data", "data/log", "data/snap"} {
		names, err := disk.List(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			if b := disk.Bytes(path.Join(dir, name)); b != nil && name != "lock" && name != "headroom" {
				im[path.Join(dir, name)] = bytes.Clone(b)
			}
		}
	}
	if len(im) < 2 {
		t.Fatalf("the disk holds %d files", len(im))
	}
	return im
}

// disk makes a disk of an image.
func (im image) disk(t *testing.T) *vfs.Mem {
	m := vfs.NewMem()
	for _, dir := range []string{"data", "data/log", "data/snap"} {
		if err := m.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(im)) {
		f, err := m.Create(name)
		if err == nil {
			_, err = f.WriteAt(im[name], 0)
		}
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = m.SyncDir(path.Dir(name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// truth is what a node's log held before it was damaged.
type truth struct {
	state   map[raft.GroupID]raft.HardState
	base    map[raft.GroupID]raft.LogID
	entries map[raft.GroupID][]raft.Entry
	history map[raft.GroupID][]uint64
}

// original is a cluster of three at rest, as it stands on its disks.
type original struct {
	images  [3]image
	truths  [3]truth
	entries [3]map[entryOf]place // where each entry begins
}

// entryOf names an entry.
type entryOf struct {
	group raft.GroupID
	index uint64
}

// sameOn returns where a case hits a node. The logs of two nodes are not laid out
// alike: an entry is hit in the same byte of the same entry.
func (o *original) sameOn(i int, h harm) (string, int) {
	for e, at := range o.entries[0] {
		into := int64(h.offset) - at.offset
		if at.file != h.file || into < 0 || into >= raft.EntryHeaderSize+8 {
			continue
		}
		if there, ok := o.entries[i][e]; ok {
			offset := there.offset + into
			switch h.kind { // no disk loses parts of two
			case zeroSector:
				offset &^= vfs.SectorSize - 1
			case zeroPage:
				offset &^= vfs.PageSize - 1
			}
			return there.file, int(offset)
		}
	}
	if strings.Contains(h.file, "/snap/") { // it is named for its replica
		for name := range o.images[i] {
			if strings.Contains(name, "/snap/") {
				return name, h.offset
			}
		}
	}
	return h.file, h.offset
}

func newOriginal(t *testing.T) *original {
	c := newCluster(t, 77, 3)
	c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
	next := uint64(0)
	several := func(counts ...int) {
		for g, count := range counts {
			for range count {
				next++
				c.leader(raft.GroupID(g)).host.Propose(proposal(raft.GroupID(g), acks{c}, next))
			}
		}
		for _, n := range c.nodes {
			n.turn()
		}
		c.until("all have all", func() bool { return uint64(len(c.acked)) == next && c.settled() })
	}
	several(3, 650, 3)
	for _, n := range c.nodes {
		n.host.AskSnapshot(1)
		for range lookTicks {
			n.host.Tick()
		}
		n.turn()
	}
	c.until("each has a snapshot", func() bool {
		for _, n := range c.nodes {
			if s := n.store.Snapshots(n.replica().replica); len(s) == 0 || n.replica().snap.base.Index == 0 {
				return false
			}
		}
		return true
	})
	for range 3 {
		several(2, 3, 4)
	}
	several(20, 120, 60)
	o := new(original)
	for i, n := range c.nodes {
		for n.batch != nil {
			n.sync()
		}
		h := &o.truths[i]
		*h = truth{map[raft.GroupID]raft.HardState{}, map[raft.GroupID]raft.LogID{}, map[raft.GroupID][]raft.Entry{}, n.history}
		for _, r := range n.store.Replicas() {
			line, _ := n.store.Outline(r)
			h.state[r.Group], h.base[r.Group] = line.State, line.Base.ID
			h.entries[r.Group] = ReadIntact(n.store, r, []wire.RepairSpan{{First: line.Base.ID.Index + 1, Last: line.Last.Index}}, 1<<30)
		}
		n.stop()
		id := logstore.Identity{Stage: logstore.StageMember, Cluster: "flips", ClusterID: 1, Node: n.id, Chain: []logstore.Link{{Life: logstore.Life{Number: 1, Mark: 1}}}, Members: []logstore.IdentityMember{{Node: n.id, Addr: "127.0.0.1:4166"}}}
		if err := logstore.WriteIdentity(n.disk, "data", id); err != nil {
			t.Fatal(err)
		}
		o.images[i] = picture(t, n.disk)
		o.entries[i] = map[entryOf]place{}
		for g, entries := range h.entries {
			for _, e := range entries {
				at := n.where(g, e.ID.Index)
				at.offset -= min(raft.EntryHeaderSize, int64(len(e.Raw))-1)
				o.entries[i][entryOf{g, e.ID.Index}] = at
			}
		}
	}
	return o
}

// harm is one case of damage.
type harm struct {
	file   string
	offset int
	kind   harmKind
	all    bool // of all three nodes; else of the first
}

type harmKind uint8

const (
	flipLow    harmKind = iota // the lowest bit of the byte
	flipHigh                   // its highest bit
	flipAll                    // all of its bits
	zeroByte                   // the byte
	zeroSector                 // from the byte on; once for each sector
	zeroPage                   // from the byte on; once for each page
	harmKinds
)

var harmNames = [harmKinds]string{"lowest bit", "highest bit", "all bits", "byte zeroed", "sector zeroed", "page zeroed"}

func (h harm) String() string {
	who := "one node"
	if h.all {
		who = "all nodes"
	}
	return fmt.Sprintf("%s, %s at %d of %s", who, harmNames[h.kind], h.offset, h.file)
}

// do harms a file, and reports whether it is another one now.
func (h harm) do(b []byte, offset int) bool {
	before := bytes.Clone(b)
	switch h.kind {
	case flipLow:
		b[offset] ^= 1
	case flipHigh:
		b[offset] ^= 0x80
	case flipAll:
		b[offset] ^= 0xff
	case zeroByte:
		b[offset] = 0
	case zeroSector:
		clear(b[offset:min(len(b), offset+vfs.SectorSize)])
	case zeroPage:
		clear(b[offset:min(len(b), offset+vfs.PageSize)])
	}
	return !bytes.Equal(b, before)
}

// harms lists all cases: every byte of what the first node's disk holds.
func (o *original) harms() []harm {
	var list []harm
	for _, name := range slices.Sorted(maps.Keys(o.images[0])) {
		b := o.images[0][name]
		used := len(bytes.TrimRight(b[:max(0, len(b)-512)], "\x00"))
		for at := range b {
			// What was prepared and not written to holds no byte that
			// anybody was told is kept; a sector of it is taken.
			if at >= used+512 && at < len(b)-512 && strings.Contains(name, "/log/") {
				continue
			}
			for kind := range harmKinds {
				if kind == zeroSector && at%512 != 0 || kind == zeroPage && at%4096 != 0 {
					continue
				}
				list = append(list, harm{name, at, kind, false}, harm{name, at, kind, true})
			}
		}
	}
	return list
}

// outcome is what became of a case.
type outcome uint8

const (
	unchanged outcome = iota // it was no damage
	unnoticed                // nothing was lost
	repaired                 // and was known to be lost before
	refused                  // a node does not start, and says which file
	stopped                  // a group waits for a copy, and says where its own is damaged
	outcomes
)

var outcomeNames = [outcomes]string{"no damage", "nothing lost", "repaired", "does not start", "stopped"}

// try harms a copy of the cluster, starts it, and holds what becomes of it
// against what was there.
func (o *original) try(t *testing.T, h harm) outcome {
	c := &cluster{t: t, rnd: rand.New(rand.NewPCG(uint64(h.offset), uint64(h.kind))), cut: map[[2]raft.NodeID]bool{}, acked: map[uint64]bool{}, entriesTo: map[raft.NodeID]int{}}
	changed := false
	var images [3]image
	for i := range 3 {
		im := maps.Clone(o.images[i])
		if i == 0 || h.all {
			file, offset := o.sameOn(i, h)
			if im[file] != nil && offset < len(im[file]) {
				im[file] = bytes.Clone(im[file])
				changed = h.do(im[file], offset) || changed
			}
		}
		images[i] = im
	}
	if !changed {
		return unchanged
	}
	for i := range images {
		c.nodes = append(c.nodes, &testNode{c: c, id: raft.NodeID(i + 1)})
	}
	c.nodes[0].disk = images[0].disk(t)
	if path.Base(h.file) == "identity" {
		id, ok, err := logstore.ReadIdentity(c.nodes[0].disk, "data")
		switch {
		case err != nil && strings.Contains(err.Error(), "identity"):
			return refused
		case err != nil || !ok || id.Life().Number != 1 || id.Cluster != "flips":
			t.Fatalf("%s: the identity is %+v, %t, %v", h, id, ok, err)
		}
		return unnoticed
	}
	result := unnoticed
	for i, n := range c.nodes {
		if i == 1 && !h.all && result == unnoticed { // the others have nothing to do
			c.nodes = c.nodes[:1]
			break
		}
		if i > 0 {
			n.disk = images[i].disk(t)
		}
		n.restart()
		if len(n.host.mending.list) > 0 {
			result = repaired
		}
	}
	for round := 0; round < 30; round++ {
		waits := 0
		for _, n := range c.nodes {
			waits += len(n.host.mending.list)
		}
		if waits == 0 {
			break
		}
		c.round()
	}
	for i, n := range c.nodes {
		if n.holds(t, h, &o.truths[i]) {
			continue
		}
		result = stopped
		if !h.all {
			m := n.host.mending.list[0]
			t.Errorf("%s: group %d is not mended: %s", h, m.replica.Group, m.view().What())
		}
	}
	return result
}

// restart opens what is on disk, as a process does, and asks for no replica that
// is not there.
func (n *testNode) restart() {
	n.only = true
	n.start()
}

// round lets everything under way happen, in order, and a tick pass.
func (c *cluster) round() {
	c.now += 50 * time.Millisecond
	for _, n := range c.nodes {
		n.host.Tick()
		n.turn()
	}
	for busy := true; busy; {
		net := c.net
		c.net = nil
		busy = len(net) > 0
		for _, p := range net {
			c.deliver(p)
		}
		for _, n := range c.nodes {
			busy = busy || n.batch != nil || n.work != nil || len(n.senders) > 0
			n.sync()
			n.doWork()
			n.sendChunk()
		}
	}
}

// holds fails if a node has anything that it had not, or serves a group of which
// something is gone. It returns false if a group does not run, which must then
// say why.
func (n *testNode) holds(t *testing.T, h harm, was *truth) bool {
	all := true
	for g := range raft.GroupID(testGroups) {
		o := n.host.groups[g]
		if o == nil {
			all = false
			m := n.mending(g)
			if m == nil || m.Damage.Where.File == "" || m.What() == "" {
				t.Fatalf("%s: node %d: group %d is gone and nobody says so: %+v", h, n.id, g, m)
			}
			continue
		}
		line, ok := n.store.Outline(o.replica)
		state, old := line.State, was.state[g]
		if !ok || state.Term < old.Term || state.Term == old.Term && state.Vote != old.Vote {
			t.Fatalf("%s: node %d: group %d runs with term %d and vote %d, it promised %d and %d", h, n.id, g, state.Term, state.Vote, old.Term, old.Vote)
		}
		entries := was.entries[g]
		last := was.base[g].Index + uint64(len(entries))
		if line.Last.Index < last || line.Base.ID.Index < was.base[g].Index {
			t.Fatalf("%s: node %d: group %d has a log from %s to %s, it had one from %s to %d", h, n.id, g, line.Base.ID, line.Last, was.base[g], last)
		}
		got := ReadIntact(n.store, o.replica, []wire.RepairSpan{{First: line.Base.ID.Index + 1, Last: last}}, 1<<30)
		want := entries[line.Base.ID.Index-was.base[g].Index:]
		if len(got) != len(want) {
			t.Fatalf("%s: node %d: group %d runs and can read %d entries of %d", h, n.id, g, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i].Raw, want[i].Raw) {
				t.Fatalf("%s: node %d: group %d has entry %s, it had %s", h, n.id, g, got[i].ID, want[i].ID)
			}
		}
		history := n.history[g]
		if !slices.Equal(history, was.history[g][:min(len(history), len(was.history[g]))]) {
			t.Fatalf("%s: node %d: group %d has the state %v, it had %v", h, n.id, g, history, was.history[g])
		}
	}
	return all
}

// Whatever is wrong with what one of three keeps, it is noticed or was of no
// use, and is repaired from the others; and if all three are hit at the same
// place, what has no copy left stops its group. Nothing wrong is ever served and
// nothing is silently gone. One would doubt it: each byte on a disk has another
// meaning, and only some of them are entries.
func TestEveryByteOfADisk(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // each case makes disks, and throws them away
	o := newOriginal(t)
	list := o.harms()
	total := len(list)
	if *flips > 0 && *flips < total {
		// All sectors and pages are tried. Most bytes are zeros at the end of
		// a page: half of the others are to be about those that are not.
		rnd := rand.New(rand.NewPCG(4, 4))
		rnd.Shuffle(total, func(i, j int) { list[i], list[j] = list[j], list[i] })
		zeros, bytes := 0, 0
		list = slices.DeleteFunc(list, func(h harm) bool {
			switch {
			case h.kind == zeroSector || h.kind == zeroPage:
				return false
			case o.images[0][h.file][h.offset] == 0:
				zeros++
				return zeros > *flips/2
			}
			bytes++
			return bytes > *flips/2
		})
	}
	var one, all [harmKinds][outcomes]int
	for _, h := range list {
		if h.all {
			all[h.kind][o.try(t, h)]++
		} else {
			one[h.kind][o.try(t, h)]++
		}
		if t.Failed() {
			return
		}
	}
	size := 0
	for _, b := range o.images[0] {
		size += len(b)
	}
	t.Logf("%d of %d cases on %d files of %d bytes", len(list), total, len(o.images[0]), size)
	for _, table := range []struct {
		who    string
		counts *[harmKinds][outcomes]int
	}{{"one of three", &one}, {"all three", &all}} {
		for kind, row := range table.counts {
			var line []string
			for i, n := range row {
				if n > 0 {
					line = append(line, fmt.Sprintf("%s %d", outcomeNames[i], n))
				}
			}
			t.Logf("%s, %s: %s", table.who, harmNames[kind], strings.Join(line, ", "))
		}
	}
	if one[flipLow][repaired] == 0 || all[flipLow][stopped] == 0 {
		t.Error("nothing had to be repaired, or nothing stopped: the run shows nothing")
	}
}
