package sim

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/shardmap"
)

// history is what clients asked and were told, by cell. At the end it is searched for an
// order that explains it (I7), without a look at any log. check.go has the faster check,
// which believes the log ids in the answers; this one believes nothing.
type history struct {
	spots []spot  // of each tag, spotsPerTag
	cells []*cell // all that there were, in order
	count uint64
}

// spot is where one cell after the other is used.
type spot struct {
	tag        string
	index      int // among those of the tag
	generation int
	cell       *cell // the present one
}

// cell is a few keys of one slot whose operations are searched for one order, since a
// write may be about several of them.
type cell struct {
	keys    [cellKeysMax][]byte
	size    int // how many of them there are
	counter bool
	used    int
	ops     []porcupine.Operation
}

const (
	// cellKeysMax bounds the keys of a cell.
	cellKeysMax = 3
	// spotsPerTag is how many cells a tag has at a time: the first has several keys, the
	// last a counter.
	spotsPerTag = 4
)

// histInput is what a client asked for.
type histInput struct {
	number uint64
	get    bool
	key    [cellKeysMax]int // of the cell: those of a get, or of the write
	keys   int
	write  write
	by     outcomeKey // of the write
	// ends: the first key ends, being at version.
	ends    bool
	version uint64
}

// histOutput is what it was told.
type histOutput struct {
	unknown bool // perhaps it took effect, at any time
	refused bool // nothing has changed, for a reason that lies in the keys
	version uint64
	effect
}

// histState is what the keys of a cell are.
type histState [cellKeysMax]histKey

type histKey struct {
	there           bool
	version, number uint64
}

func (h *history) begin() uint64 {
	h.count++
	return h.count
}

// init makes the spots of a run's tags.
func (h *history) init(tags []string) {
	for _, tag := range tags {
		for i := range spotsPerTag {
			h.spots = append(h.spots, spot{tag: tag, index: i})
		}
	}
}

// cell draws the cell of an operation.
func (h *history) cell(c *cluster) *cell { return h.use(c.chance.below(len(h.spots))) }

// cellIn draws the cell of an operation in a slot that has keys.
func (h *history) cellIn(c *cluster, s shardmap.Slot) *cell {
	tag := slices.IndexFunc(c.tags, func(tag string) bool { return tagSlot(tag) == s })
	return h.use(tag*spotsPerTag + c.chance.below(spotsPerTag))
}

// use returns the cell that is in a spot now, for one more operation.
func (h *history) use(i int) *cell {
	p := &h.spots[i]
	if p.cell == nil || p.cell.used >= cellOpsMax {
		p.generation++
		p.cell = &cell{size: 1}
		switch p.index {
		case 0:
			p.cell.size = cellKeysMax
		case spotsPerTag - 1:
			p.cell.counter = true
		}
		for k := range p.cell.size {
			p.cell.keys[k] = fmt.Appendf(nil, "{%s}%d.%d.%s", p.tag, p.index, p.generation, [...]string{"", "b", "c"}[k])
		}
		h.cells = append(h.cells, p.cell)
	}
	p.cell.used++
	return p.cell
}

// anyKey draws a key that was used lately; nil if it draws a spot that was not.
func (h *history) anyKey(c *cluster) []byte {
	if x := h.spots[c.chance.below(len(h.spots))].cell; x != nil {
		return x.keys[c.chance.below(x.size)]
	}
	return nil
}

// key draws one of the cell's keys.
func (x *cell) key(c *cluster) []byte {
	if x.size == 1 {
		return x.keys[0]
	}
	return x.keys[c.chance.below(x.size)]
}

// under returns the cell's keys that begin with a prefix, in order.
func (x *cell) under(prefix []byte) (keys []string) {
	for _, k := range x.keys[:x.size] {
		if bytes.HasPrefix(k, prefix) {
			keys = append(keys, string(k))
		}
	}
	return keys
}

// indexOf returns the place of a key in the cell, or -1.
func (x *cell) indexOf(key string) int {
	for i := range x.size {
		if string(x.keys[i]) == key {
			return i
		}
	}
	return -1
}

// add adds an operation to the history of its cell, if it has one.
func (h *history) add(o *op, in histInput, out histOutput) {
	// A write whose outcome its client does not know may take effect at any later time.
	end := int64(o.client.c.now)
	if out.unknown {
		end = math.MaxInt64
	}
	in.number = o.number
	o.cell.ops = append(o.cell.ops, porcupine.Operation{ClientId: o.client.id, Input: in, Output: out, Call: int64(o.began), Return: end})
}

// read adds what a get of some keys found.
func (h *history) read(o *op, keys [][]byte, all []found) {
	in, out := histInput{get: true}, histOutput{}
	for i, k := range keys {
		at := -1
		if o.cell != nil {
			at = o.cell.indexOf(string(k))
		}
		if at < 0 || slices.Contains(in.key[:in.keys], at) {
			continue
		}
		in.key[in.keys], out.results[in.keys] = at, all[i]
		in.keys++
	}
	if in.keys > 0 {
		h.add(o, in, out)
	}
}

// change adds what became of a write.
func (h *history) change(o *op, out histOutput) {
	if o.cell == nil || o.reads() {
		return
	}
	w, err := readWrite(&o.command, o.cell.under)
	if err != nil {
		o.client.c.fail("%s: %v", o, err)
	}
	in := histInput{write: w, keys: len(w.keys), by: outcomeKey{o.command.Session, o.command.Sequence}}
	for i, k := range w.keys {
		in.key[i] = o.cell.indexOf(k)
	}
	h.add(o, in, out)
}

func (h *history) unknown(o *op) { h.change(o, histOutput{unknown: true}) }

var histModel = porcupine.Model{
	Init: func() any { return histState{} },
	Step: func(before, input, output any) (bool, any) {
		s, in, out := before.(histState), input.(histInput), output.(histOutput)
		switch {
		case in.ends:
			k := &s[in.key[0]]
			fits := k.there && k.version == in.version
			*k = histKey{}
			return fits, s
		case in.get:
			for i, k := range in.key[:in.keys] {
				if found(s[k]) != out.results[i] {
					return false, before
				}
			}
			return true, before
		}
		var room [cellKeysMax]state
		keys := room[:in.keys]
		for i, k := range in.key[:in.keys] {
			keys[i] = state{there: s[k].there, version: s[k].version, number: s[k].number}
		}
		// If the outcome of a write is unknown, so is its version: a later read or
		// condition shows it, and until then any fits.
		e := in.write.carryOut(keys, out.version, 0, func(uint64) bool { return true })
		switch {
		case e.status != shardmap.StatusApplied:
			return out.unknown || out.refused, before
		case out.refused:
			return false, before
		case !out.unknown && (e.succeeded != out.succeeded || (e.deleted != out.deleted || e.more != out.more) && in.write.plain || !in.write.plain && e.results != out.results):
			return false, before
		}
		for i, k := range in.key[:in.keys] {
			s[k] = histKey{there: keys[i].there, version: keys[i].version, number: keys[i].number}
		}
		return true, s
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(histInput), output.(histOutput)
		switch {
		case in.ends:
			return fmt.Sprintf("key %d ends at version %d", in.key[0], in.version)
		case in.get:
			return fmt.Sprintf("get %v: %v", in.key[:in.keys], out.results[:in.keys])
		}
		return fmt.Sprintf("%d writes %+v to %v: %+v", in.number, in.write, in.key[:in.keys], out)
	},
}

// searchMax is how long the history of one cell may be searched.
const searchMax = 2 * time.Second

// check searches for an order of each cell's operations.
func (h *history) check(c *cluster) {
	for _, x := range h.cells {
		ops := x.resolve(c)
		switch porcupine.CheckOperationsTimeout(histModel, ops, searchMax) {
		case porcupine.Illegal:
			s := ""
			for _, o := range ops {
				s += fmt.Sprintf("  c%d %.6f to %.6f: %s\n", o.ClientId, time.Duration(o.Call).Seconds(), time.Duration(o.Return).Seconds(), histModel.DescribeOperation(o.Input, o.Output))
			}
			c.fail("I7: the operations on keys %q have no order:\n%s", x.keys[:x.size], s)
		case porcupine.Unknown:
			c.result.Unchecked++
		}
	}
}

// resolve fills in the version of writes whose outcome their clients don't know, if a
// client read it: values are unique, so a read names its write. For the others it asks
// the model, because a condition or a deletion may depend on a version that nobody read.
func (x *cell) resolve(c *cluster) []porcupine.Operation {
	seen := map[uint64]uint64{}
	for _, o := range x.ops {
		if in, out := o.Input.(histInput), o.Output.(histOutput); in.get {
			for _, r := range out.results[:in.keys] {
				if _, counts := counted(r.number); r.there && !counts {
					seen[r.number] = r.version
				}
			}
		}
	}
	l := c.lives.ofKey(x.keys[0])
	var ops []porcupine.Operation
	began := map[uint64]int64{} // by version: when the write began
	for _, o := range x.ops {
		in, out := o.Input.(histInput), o.Output.(histOutput)
		if was := l.outcomes[in.by]; out.unknown {
			if was.status == shardmap.StatusNoLease || was.status == shardmap.StatusReadTooLarge {
				continue // it changed nothing, for a reason that is not among these keys
			}
			out.version = was.version
			if v, ok := seen[in.number]; ok {
				out.version = v
			}
			o.Output = out
		}
		if !in.get {
			began[out.version] = o.Call
		}
		ops = append(ops, o)
	}
	// When a key ended is the log's to say, and that it did not end early is checked there.
	// Here it must fit in with what clients saw.
	for i := range x.size {
		h := l.keys[string(x.keys[i])]
		for j := range h {
			if !h[j].ended {
				continue
			}
			in := histInput{ends: true, keys: 1, version: h[j-1].version}
			in.key[0] = i
			ops = append(ops, porcupine.Operation{ClientId: clientCount + 1, Input: in, Output: histOutput{}, Call: began[in.version], Return: int64(h[j].seen)})
		}
	}
	return ops
}

// drawTags draws the slots that the run uses: a few, spread over the groups, so that
// operations meet.
func (c *cluster) drawTags() {
	c.slots = make([][]shardmap.Slot, c.options.Groups+1)
	c.lives = slotLives{founding: c.options.Groups, all: map[shardmap.Slot]*slotLife{}}
	for i := 0; len(c.tags) < tagsPerGroup*c.options.Groups; i++ {
		tag := fmt.Sprintf("t%d", i)
		slot := tagSlot(tag)
		g := c.lives.founder(slot)
		if len(c.slots[g]) < tagsPerGroup {
			c.slots[g], c.lives.slots = append(c.slots[g], slot), append(c.lives.slots, slot)
			c.tags = append(c.tags, tag)
		}
	}
	c.history.init(c.tags)
	c.shuffle.beside()
}
