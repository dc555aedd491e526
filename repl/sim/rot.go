package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
)

// decay is what the disk of a node has lost of its files, and how much of that it has got
// back.
type decay struct {
	n       *node
	due     Fault                     // what befalls its files once its log rests; 0: nothing
	hurt    bool                      // its files were hit, and are not known to be whole again
	scarred bool                      // its files were hit once, and it got back what it lost
	proved  bool                      // a start has read all of the log since then
	scrubs  int                       // how many scrubs have found nothing since then
	image   *vfs.Mem                  // its disk before that, until a process uses the new one
	wounded map[logstore.Replica]bool // replicas that were damaged at the start
}

// rots are what the faults of a rotting disk do to a file.
var rots = map[Fault]vfs.Fault{
	BitFlip: vfs.BitFlip, ZeroSector: vfs.ZeroSector, ZeroPage: vfs.ZeroPage, StaleSector: vfs.StaleSector,
	Misdirected: vfs.Misdirected, Truncated: vfs.Truncated, Missing: vfs.Missing,
}

// scrubEvery is the time between two complete scrubs of a disk that was hit. A real scrub
// takes days, and finds the same.
const scrubEvery = 2 * time.Second

// frail draws a node whose disk may rot: the others can do without it, for ever if
// necessary, and every other disk is whole.
func (x *chaos) frail() *node {
	if n := x.c.nodes[x.c.chance.below(len(x.c.nodes))]; x.mayRot(n) {
		return n
	}
	return nil
}

// mayRot reports whether the disk of a node may rot.
func (x *chaos) mayRot(n *node) bool {
	for _, o := range x.c.nodes {
		if o.decay.hurt || o.ledger.doubtful {
			return false
		}
	}
	if n.refusals.any() {
		return false // rot could not be told from a refusal
	}
	return n.up && !n.paused && !n.dead && x.c.majoritiesAfter(toCome, func(o *node) bool { return o != n && !o.dead })
}

// rot changes something on a disk, under a running process or one that was just killed. It
// is called after the durable offset was written: the last promises must not be hit before
// a later batch proves that they were synced, because that can't be told from a torn write
// (docs/storage.md).
func (x *chaos) rot(n *node) {
	c, f := x.c, n.decay.due
	n.decay.due = 0
	if x.stopped || n.refusals.any() || x.frailNow(n) {
		return
	}
	if (f == Truncated || f == Missing) && x.anyDead() {
		return
	}
	name, at, ok := x.drawPlace(n, f)
	if !ok {
		return
	}
	runs := c.chance.below(2) == 0 && f != Missing // a process that has the file open does not miss it
	if !runs {
		n.crash(PowerKeep)
		n.decay.image = n.files.mem.Copy()
	}
	if !n.decay.damage(name, at, rots[f]) {
		n.decay.image = nil
		return
	}
	x.hurts(n, f, name, at)
}

// damage does to a file what a rotting disk does, and reports whether the file has
// changed.
func (d *decay) damage(name string, at int64, fault vfs.Fault) bool {
	changed, err := d.n.files.mem.Damage(name, at, fault)
	if err != nil {
		d.n.c.fail("n%d: %v", d.n.index, err)
	}
	return changed
}

// zeroTail zeroes the end of a log that was just closed, with acknowledged entries in it:
// zeros there look like the room after a batch that was never finished.
func (x *chaos) zeroTail(n *node) {
	c := x.c
	n.decay.due = 0
	if x.stopped || x.frailNow(n) {
		return
	}
	file, end := "", int64(0)
	err := logstore.Walk(n.files.mem, dataDir, func(w *logstore.Walked) error {
		if w.Kind != logstore.WalkedSegment && w.Damage == nil {
			file, end = fmt.Sprintf("%s/%s/%016d.log", dataDir, logstore.LogDir, w.Segment), w.Offset+w.Bytes
		}
		return nil
	})
	if err != nil || file == "" {
		c.fail("n%d: its closed log ends in %q: %v", n.index, file, err)
	}
	last := (end - 1) / vfs.PageSize
	from := max(0, last-int64(c.chance.below(8)))
	if c.chance.below(8) == 0 && !x.anyDead() {
		from = 0 // its header too
	}
	n.decay.image = n.files.mem.Copy()
	for page := from; page <= last; page++ {
		n.decay.damage(file, page*vfs.PageSize, vfs.ZeroPage)
	}
	x.hurts(n, ZeroTail, file, from*vfs.PageSize)
}

// hurts records that a disk was hit.
func (x *chaos) hurts(n *node, f Fault, name string, at int64) {
	c := x.c
	c.result.Fired[f]++
	n.decay.hurt, n.decay.proved, n.decay.scrubs, n.decay.scarred = true, false, 0, true
	c.note(n.index, "%s in %s at %d", f, name, at)
	e := c.queue.get(evScrub)
	e.node = int32(n.index)
	c.after(scrubEvery, e)
}

// anyDead reports whether a node is out of the run. Then no file may go, or lose its
// header or its end: the node may take it for one that was put back, and wait for the word
// of every voter that it knows, for as long as it takes. Seed 838 waited for the dead one,
// which the others had removed. Only a replacement under a new id ends that.
func (x *chaos) anyDead() bool {
	return slices.ContainsFunc(x.c.nodes, func(o *node) bool { return o.dead })
}

// frailNow reports whether another node has been hit meanwhile, or too many are gone.
func (x *chaos) frailNow(n *node) bool {
	for _, o := range x.c.nodes {
		if o.decay.hurt || o.ledger.doubtful {
			return true
		}
	}
	return !x.c.majoritiesAfter(toCome, func(o *node) bool { return o != n && !o.dead })
}

// drawPlace draws what is hit: a segment of the log mostly, or a snapshot.
func (x *chaos) drawPlace(n *node, f Fault) (name string, at int64, ok bool) {
	c := x.c
	dir, suffix := dataDir+"/log", ".log"
	if c.chance.below(4) == 0 {
		dir, suffix = dataDir+"/"+logstore.SnapshotDir, ""
	}
	names, err := n.files.mem.List(dir)
	if err != nil {
		return "", 0, false
	}
	names = slices.DeleteFunc(names, func(s string) bool {
		// A power cut may leave a file's name and few of its bytes, or none.
		least := 1
		if suffix == ".log" {
			least = 2 * vfs.SectorSize
		}
		return !strings.HasSuffix(s, suffix) || strings.HasSuffix(s, ".tmp") || len(n.files.mem.Bytes(dir+"/"+s)) < least
	})
	if len(names) == 0 {
		return "", 0, false
	}
	if suffix == "" {
		name = dir + "/" + names[c.chance.below(len(names))]
		return name, int64(c.chance.below(len(n.files.mem.Bytes(name)))), true
	}
	var files [][]byte
	for _, name := range names {
		files = append(files, n.files.mem.Bytes(dir+"/"+name))
	}
	in, at := x.drawByte(files)
	if f == Misdirected && (in > 0 || len(files) < 3) {
		// In a later segment it could destroy both the last batch and the proof that it
		// was synced. A stray write hits older bytes.
		return "", 0, false
	}
	return dir + "/" + names[in], at, true
}

// scrub reads everything on a disk that was hit. The node is whole again once several
// scrubs and a start have found nothing.
func (d *decay) scrub() {
	if !d.hurt || d.n.dead {
		return
	}
	e := d.n.c.queue.get(evScrub)
	e.node = int32(d.n.index)
	d.n.c.after(scrubEvery, e)
	if !d.n.up || d.n.paused || d.n.leave.closing || d.n.files.failing.op != "" || d.n.files.failing.rule != nil {
		return
	}
	for done := false; !done; {
		var err error
		if done, err = d.n.store.Scrub(1 << 20); err != nil {
			d.n.c.fail("n%d: scrub: %v", d.n.index, err)
		}
	}
	if hurt := d.n.store.Damaged(); len(hurt) > 0 {
		d.scrubs = 0
		d.n.host.DamageFound()
		d.n.turn()
		return
	}
	switch d.scrubs++; {
	case d.scrubs < 3:
	case !d.proved:
		// A scrub leaves out the segment that is written to. A start reads all.
		d.n.crash(PowerKeep)
	default:
		d.hurt = false
		d.n.c.note(d.n.index, "is whole")
	}
}

// opened checks the damage that a log reports when it is opened. It returns false if the
// node can't continue with this disk: then it has got its former disk back, as from an
// image, or is out of the run.
func (d *decay) opened() bool {
	d.proved = true
	all := d.n.store.Damaged()
	if len(all) == 0 {
		d.image = nil
		return true
	}
	if d.n.refusals.any() {
		d.n.refusals.unhurt(all)
	} else if !d.hurt {
		d.n.c.fail("n%d: its disk is whole, its log says: %v", d.n.index, all[0].Err())
	}
	clear(d.wounded)
	for i := range all {
		hit := &all[i]
		d.n.c.note(d.n.index, "is damaged: %v", hit.Err())
		if !hit.Promises {
			d.wounded[hit.Replica] = true
			continue
		}
		d.n.c.result.Unmendable++
		if d.image != nil && d.n.c.chance.below(8) != 0 {
			d.n.files.mem, d.image = d.image, nil
			if d.n.files.fullUntil == 0 {
				d.n.files.mem.Limit(0) // the image may be from a time when the disk was full
			}
			d.n.files.fs = vfs.NewFaulty(d.n.files.mem)
			d.hurt = false
			d.n.start-- // the process that found it said nothing
			d.n.files.hints.forgets()
			d.n.c.note(d.n.index, "gets the image of its disk back")
		} else {
			d.n.dead, d.hurt = true, false
			d.n.c.note(d.n.index, "is out of the run")
		}
		return false
	}
	d.image = nil
	return true
}

// mended compares replicas that are whole again with what they promised: they must be what
// they were, or what a leader could have made of them.
func (d *decay) mended() {
	if len(d.wounded) == 0 {
		return
	}
	for _, r := range d.n.store.Replicas() {
		if !d.wounded[r] {
			continue
		}
		if _, hurt := d.n.store.DamageOf(r); hurt {
			continue
		}
		resume := d.n.refusals.suspend()
		restored, err := d.n.store.Restore(r)
		resume()
		delete(d.wounded, r)
		if err != nil {
			d.n.c.fail("n%d: %s is mended, and can't be restored: %v", d.n.index, r, err)
		}
		d.n.c.note(d.n.index, "%s is mended", r)
		d.n.c.result.Mended++
		d.n.ledger.checkReplica(r, &restored)
		d.n.ledger.pending = slices.DeleteFunc(d.n.ledger.pending, func(w logstore.Write) bool { return w.Replica == r })
	}
}

// gaveBack checks that a log gets back exactly the entries that it lost.
func (s *shadow) gaveBack(n *node, entries []raft.Entry) {
	t := n.c.truth[s.replica.Group]
	for i := range entries {
		e := &entries[i]
		if term, ok := s.termAt(e.ID.Index); !ok || term != e.ID.Term {
			n.c.fail("I2: n%d gives %s of group %d back to a log that had an entry of term %d there", n.index, e.ID, t.group, term)
		}
		before, _ := s.termAt(e.ID.Index - 1)
		t.wrote(n, e, before)
	}
}

var errHurt = errors.New("its disk is damaged")

// drawByte draws a byte of the log's segments that is not zero: damage between batches
// tests nothing.
func (x *chaos) drawByte(files [][]byte) (file int, at int64) {
	rnd := &x.c.chance
	how := rnd.below(6)
	last := len(files) - 1
	end := 0
	for ; last > 0; last-- { // the last segment with a batch in it
		if end = lastSector(files[last]); end > 0 {
			break
		}
	}
	for range 10_000 {
		file = rnd.below(len(files))
		sectors := len(files[file]) / vfs.SectorSize
		switch how {
		case 0: // a segment's own header
			at = int64(rnd.below(40))
		case 1: // a batch's header
			at = int64(rnd.below(sectors)*vfs.SectorSize + rnd.below(64))
		case 2: // its first record's header
			at = int64(rnd.below(sectors)*vfs.SectorSize + 64 + rnd.below(40))
		case 3, 4: // what was written last
			file = last
			at = int64(max(1, end-rnd.below(5))*vfs.SectorSize + 64 + rnd.below(240))
		default:
			at = int64(rnd.below(len(files[file])))
		}
		if files[file][at] != 0 {
			break
		}
	}
	return file, at
}

// lastSector returns the last sector of a segment that is in use.
func lastSector(b []byte) int {
	for i := len(b)/vfs.SectorSize - 1; i > 0; i-- {
		for _, v := range b[i*vfs.SectorSize:][:vfs.SectorSize] {
			if v != 0 {
				return i
			}
		}
	}
	return 0
}
