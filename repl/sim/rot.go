package sim

import (
	"slices"
	"strings"

	"muster/logstore/vfs"
)

// flip turns a bit over in the log of a node that is down. One node of a run at
// most is so hit: this version does not repair it, and the others must do
// without it. It may be hit again if it found nothing wrong when it started,
// for then what was hit is not in use, or was mended. It is called when the
// durable offset was written: what was promised last must not be what is hit
// while none stands behind it, for that can't be told from a torn write, which
// docs/storage.md says.
func (x *chaos) flip(n *node) {
	c := x.c
	n.flipDue = false
	if x.stopped || x.flipped != nil && x.flipped != n {
		return
	}
	c.result.Fired[BitFlip]++
	n.crash(PowerKeep)
	names, err := n.disk.List(dataDir + "/log")
	if err != nil {
		c.fail("n%d: %v", n.index, err)
	}
	names = slices.DeleteFunc(names, func(s string) bool { return !strings.HasSuffix(s, ".log") })
	var files [][]byte
	for _, name := range names {
		files = append(files, n.disk.Bytes(dataDir+"/log/"+name))
	}
	in, at := x.drawByte(files)
	name := dataDir + "/log/" + names[in]
	x.flippedIn, x.flippedAt, x.flippedBit = name, at, 1<<c.chance.below(8)
	n.disk.Corrupt(name, at, x.flippedBit)
	x.flipped, n.flipped = n, true
	c.note(n.index, "a bit of %s flips at %d", name, at)
}

// drawByte draws a byte of the log's segments, one that is not zero: the space
// between batches is no test.
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

// mend puts back what a flip damaged, as an operator would from a copy, now
// that the node has noticed it. It reports false if the node stays out of the
// run: sometimes, and where the file is not what it was.
func (x *chaos) mend(n *node) bool {
	f, err := n.disk.Open(x.flippedIn)
	if err != nil || x.c.chance.below(16) == 0 {
		return false
	}
	f.Close()
	n.disk.Corrupt(x.flippedIn, x.flippedAt, x.flippedBit)
	x.flipped, n.flipped = nil, false
	n.disk.Crash(vfs.KeepUnsynced, 0) // closes what the process had open
	n.restartIn(x.downtime())
	return true
}
