package sim

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"time"

	"muster/logstore/blocks"
	"muster/logstore/hints"
	"muster/logstore/vfs"
	"muster/repl"
	"muster/repl/sealing"
	"muster/shardmap/points/block"
)

// filing is what a run has of block files.
type filing struct {
	x      *series
	own    chance
	scale  time.Duration  // how many times as fast as those of hosts the clocks of cores go
	limits sealing.Limits // of memory
	turns  bool           // cores act
	rotten map[string]*rottenFile
}

// rottenFile is a file that has rotted.
type rottenFile struct {
	n     *node
	group blocks.Group
	sum   block.Sum
}

func (f *filing) draw(x *series) {
	f.x, f.own, f.rotten = x, chance(x.c.options.Seed*0xd1342543de82ef95+71), map[string]*rottenFile{}
	f.scale = [...]time.Duration{5, 30, 120}[f.own.below(3)]
	f.limits.Soft = int64(4<<10) << f.own.below(7)
	f.limits.Hard = f.limits.Soft * int64(2+f.own.below(3))
	f.turns = true
}

// init begins what befalls files, when faults begin to strike.
func (f *filing) init() {
	f.x.c.order.call(0, f.look)
	f.x.c.order.call(0, f.scrub)
}

// rotted returns that a file of a node has rotted and is not whole again, or nil.
func (f *filing) rotted(n *node, g blocks.Group, sum block.Sum) *rottenFile {
	return f.rotten[rottenName(n, g, sum)]
}

func rottenName(n *node, g blocks.Group, sum block.Sum) string {
	return fmt.Sprintf("%d/%s/%s", n.index, g, sum)
}

// scrub has all nodes read their files again.
func (f *filing) scrub() {
	c := f.x.c
	c.order.call(filesScrub, f.scrub)
	for _, n := range c.nodes {
		p := &n.files.points
		if !n.up || n.paused || p.store == nil || n.leave.closing {
			continue
		}
		for !p.store.Scrub(1 << 20) {
		}
		p.store.LookAgain()
		if len(p.store.Damaged()) > 0 {
			p.plan(filesPause)
		}
		for name, r := range f.rotten {
			if r.n != n || len(p.store.Missing(r.group, []block.Sum{r.sum})) > 0 {
				continue // it is known
			}
			if _, err := blocks.VerifyFile(n.files.mem, r.file()); err != nil {
				c.fail("I21: n%d has a rotten block file, and a scrub does not find it: %v", n.index, err)
			}
			delete(f.rotten, name) // whole again
		}
	}
}

func (r *rottenFile) file() string {
	return path.Join(dataDir, blocks.Dir, fmt.Sprintf("%s-i%d", r.group.ID, uint64(r.group.Incarnation)), r.sum.Name())
}

// look has something befall block files now and then.
func (f *filing) look() {
	c := f.x.c
	if c.chaos.stopped {
		return
	}
	c.order.call(filesLook, f.look)
	if f.own.below(filesRot) == 0 {
		f.rot()
	}
	if f.own.below(filesFail) == 0 {
		f.fail()
	}
}

// fail has the disk of a node refuse something of a block file, once.
func (f *filing) fail() {
	c := f.x.c
	n := c.nodes[f.own.below(len(c.nodes))]
	if !n.up || n.refusals.any() {
		return
	}
	op := [...]string{"create", "write", "sync", "rename", "remove"}[f.own.below(5)]
	fault, name := vfs.Error, path.Join(dataDir, blocks.Dir, "*", "*")
	switch f.own.below(24) {
	case 0:
		op, name = "syncdir", path.Join(dataDir, blocks.Dir, "*")
	case 1, 2, 3, 4:
		op, fault = "write", vfs.ShortWrite
	case 5, 6, 7, 8:
		name = path.Join(dataDir, hints.Dir, "*")
	case 9:
		name = path.Join(dataDir, lettersDir, "*")
	}
	n.files.fs.Add(vfs.Rule{Fault: fault, Op: op, Name: name, At: 1 + f.own.below(8)})
	c.note(n.index, "its disk is to fail at a %s of %s", op, name)
}

// rot changes something in a block file of a node. Another node that stays has it, and has not lost it too.
func (f *filing) rot() {
	c := f.x.c
	n := c.nodes[f.own.below(len(c.nodes))]
	p := &n.files.points
	if !n.up || n.dead || p.store == nil || n.decay.hurt || n.refusals.any() || n.ledger.doubtful {
		return
	}
	var all []blocks.File
	for _, g := range p.store.Groups() {
		for _, file := range p.store.List(g) {
			if f.rotted(n, g, file.Sum) == nil && slices.ContainsFunc(c.nodes, func(o *node) bool {
				return o != n && !o.dead && !o.decay.hurt && o.files.points.store != nil && f.rotted(o, g, file.Sum) == nil && len(o.files.points.store.Missing(g, []block.Sum{file.Sum})) == 0
			}) {
				all = append(all, file)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	file := all[f.own.below(len(all))]
	r := &rottenFile{n, file.Group, file.Sum}
	fault := [...]vfs.Fault{vfs.BitFlip, vfs.ZeroSector, vfs.Truncated, vfs.Missing}[f.own.below(4)]
	changed, err := n.files.mem.Damage(r.file(), int64(f.own.below(int(max(file.Size, 1)))), fault)
	if err != nil {
		c.fail("n%d: %v", n.index, err)
	}
	if changed {
		c.note(n.index, "block file %s rots: %v", file, fault)
		f.rotten[rottenName(n, file.Group, file.Sum)] = r
		c.result.Series.Rotted++
	}
}

// end has a healed cluster have all its files, and stops the cores: all replicas have the same then.
func (f *filing) end() {
	c := f.x.c
	for {
		c.until("all nodes have the block files of their groups, and no frozen head", filesWithin, f.settled)
		f.turns = false
		c.until("all replicas have applied the same", settleWithin, c.settled)
		if f.settled() {
			break
		}
		f.turns = true // a seal was on its way
		for _, n := range c.nodes {
			n.files.points.plan(0)
		}
		c.run(tick)
	}
	f.compare()
}

// settled reports whether each node has what its states name.
func (f *filing) settled() bool {
	for _, n := range f.x.c.nodes {
		if n.dead {
			continue
		}
		if !n.up || n.host == nil || f.lacks(n) != "" {
			return false
		}
	}
	return true
}

// lacks says what a node lacks of its files; "": nothing.
func (f *filing) lacks(n *node) (what string) {
	n.host.Replicas.Each(func(v *repl.ReplicaView) {
		w, ok := v.Machine.(*watched)
		if !ok || w.state == nil || what != "" {
			return
		}
		for _, s := range w.state.State.Shards() {
			if k := s.KeptHeads(); len(k) > 0 || s.Sealing {
				what = fmt.Sprintf("%s has %d heads that are kept; one is being sealed: %t", s.ShardID, len(k), s.Sealing)
			}
		}
		for _, sum := range n.files.points.store.Missing(blocks.Group{ID: v.Replica.Group, Incarnation: v.Replica.Incarnation}, w.state.BlockFiles()) {
			what = fmt.Sprintf("group %d lacks block file %s", v.Replica.Group, sum)
		}
	})
	return what
}

// compare checks that files of one name have the same bytes on all nodes, and are whole.
func (f *filing) compare() {
	c := f.x.c
	type copied struct {
		n *node
		b []byte
	}
	first := map[string]copied{}
	for _, n := range c.nodes {
		if n.dead || n.host == nil {
			continue
		}
		n.host.Replicas.Each(func(v *repl.ReplicaView) {
			w, ok := v.Machine.(*watched)
			if !ok || w.state == nil {
				return
			}
			g := blocks.Group{ID: v.Replica.Group, Incarnation: v.Replica.Incarnation}
			for _, sum := range w.state.BlockFiles() {
				name := (&rottenFile{n, g, sum}).file()
				b := n.files.mem.Bytes(name)
				was, known := first[name]
				if !known {
					if _, err := blocks.VerifyFile(n.files.mem, name); err != nil {
						c.fail("I21: n%d has a block file that is not whole: %v", n.index, err)
					}
					first[name] = copied{n, b}
					c.result.Series.Files++
					continue
				}
				if !bytes.Equal(was.b, b) {
					c.fail("I21: %s has %d bytes on n%d, and %d others on n%d", name, len(b), n.index, len(was.b), was.n.index)
				}
			}
		})
	}
}

// picture says what nodes lack.
func (f *filing) picture() (s string) {
	for _, n := range f.x.c.nodes {
		if n.up && n.host != nil && n.files.points.store != nil {
			if what := f.lacks(n); what != "" {
				held, frozen := n.files.points.filer.Held()
				s += fmt.Sprintf("n%d: %s; heads take %d bytes, of which %d are frozen; %+v\n", n.index, what, held, frozen, n.files.points.store.Stats())
			}
		}
	}
	return s
}
