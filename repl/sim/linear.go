package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/shardmap"
)

// history is what clients asked and were told, by key. At the end it is searched for an
// order that explains it (I7), without a look at any log. check.go has the faster check,
// which believes the log ids in the answers; this one believes nothing.
type history struct {
	of    map[string][]porcupine.Operation
	keys  []string
	names []keyName // by place: a tag's n-th key
	count uint64
}

type keyName struct {
	key        []byte
	generation int
	used       int
}

type histInput struct {
	get       bool
	del       bool
	check     bool
	condition shardmap.Condition
	want      uint64
	number    uint64
}

type histOutput struct {
	unknown  bool // perhaps it took effect, at any time
	conflict bool
	found    bool // of a get
	deleted  uint64
	version  uint64
	number   uint64
}

type histState struct {
	there           bool
	version, number uint64
}

func (h *history) begin() uint64 {
	h.count++
	return h.count
}

// key draws the key of an operation.
func (h *history) key(c *cluster) []byte { return h.use(c, c.chance.below(len(c.tags)*keysPerTag)) }

// keyIn draws the key of an operation in a slot that has keys.
func (h *history) keyIn(c *cluster, s shardmap.Slot) []byte {
	tag := slices.IndexFunc(c.tags, func(tag string) bool { return tagSlot(tag) == s })
	return h.use(c, tag*keysPerTag+c.chance.below(keysPerTag))
}

// use returns the key that has the i-th name now, for one more operation.
func (h *history) use(c *cluster, i int) []byte {
	if h.names == nil {
		h.names = make([]keyName, len(c.tags)*keysPerTag)
		h.of = map[string][]porcupine.Operation{}
	}
	k := &h.names[i]
	if k.key == nil || k.used >= keyOpsMax {
		k.used = 0
		k.generation++
		k.key = fmt.Appendf(nil, "{%s}%d.%d", c.tags[i/keysPerTag], i%keysPerTag, k.generation)
	}
	k.used++
	return k.key
}

func (h *history) add(o *op, out histOutput) {
	if o.sums {
		return // of more keys than one
	}
	k := string(o.key)
	if h.of[k] == nil {
		h.keys = append(h.keys, k)
	}
	// A write whose outcome its client does not know may take effect at any later time.
	end := int64(o.client.c.now)
	if out.unknown {
		end = math.MaxInt64
	}
	h.of[k] = append(h.of[k], porcupine.Operation{
		ClientId: o.client.id,
		Input:    histInput{get: o.get, del: o.command.Kind == shardmap.CommandDel, check: o.command.Kind == shardmap.CommandCheck, condition: o.command.Condition, want: o.command.Version, number: o.number},
		Output:   out, Call: int64(o.began), Return: end,
	})
}

func (h *history) read(o *op, version, number uint64, found bool) {
	h.add(o, histOutput{found: found, version: version, number: number})
}

func (h *history) wrote(o *op, version, deleted uint64) {
	h.add(o, histOutput{version: version, deleted: deleted})
}

func (h *history) conflict(o *op) { h.add(o, histOutput{conflict: true}) }

func (h *history) unknown(o *op) {
	if !o.reads() {
		h.add(o, histOutput{unknown: true})
	}
}

func (h *history) refused(*op) {}

var histModel = porcupine.Model{
	Init: func() any { return histState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(histState), input.(histInput), output.(histOutput)
		if in.get {
			return out.found == s.there && (!s.there || s.version == out.version && s.number == out.number), s
		}
		holds := true
		switch in.condition {
		case shardmap.ConditionAbsent:
			holds = !s.there
		case shardmap.ConditionVersion:
			holds = s.there && s.version == in.want
		}
		if out.conflict || !holds {
			return (out.conflict || out.unknown) && !holds, s
		}
		if in.check {
			return true, s
		}
		if in.del {
			return out.unknown || (out.deleted == 1) == s.there, histState{}
		}
		// If the outcome of a set is unknown, so is its version: a later read or
		// condition shows it, and until then any fits.
		next := histState{there: true, version: out.version, number: in.number}
		return true, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// searchMax is how long one key's history may be searched.
const searchMax = 2 * time.Second

// check searches for an order of each key's operations.
func (h *history) check(c *cluster) {
	for _, k := range h.keys {
		ops := h.resolve(c, k)
		switch porcupine.CheckOperationsTimeout(histModel, ops, searchMax) {
		case porcupine.Illegal:
			s := ""
			for _, o := range ops {
				s += fmt.Sprintf("  c%d %.6f to %.6f: %s\n", o.ClientId, time.Duration(o.Call).Seconds(), time.Duration(o.Return).Seconds(), histModel.DescribeOperation(o.Input, o.Output))
			}
			c.fail("I7: the operations on key %q have no order:\n%s", k, s)
		case porcupine.Unknown:
			c.result.Unchecked++
		}
	}
}

// resolve fills in the version of writes whose outcome their clients don't know, if a
// client read it: values are unique, so a read names its write. For the others it asks
// the model, because a condition or a deletion may depend on a version that nobody read.
func (h *history) resolve(c *cluster, key string) []porcupine.Operation {
	ops := h.of[key]
	seen := map[uint64]uint64{}
	for _, o := range ops {
		if out := o.Output.(histOutput); o.Input.(histInput).get && out.found {
			seen[out.number] = out.version
		}
	}
	for i := range ops {
		in, out := ops[i].Input.(histInput), ops[i].Output.(histOutput)
		if !out.unknown || in.del {
			continue
		}
		if v, ok := seen[in.number]; ok {
			out.version = v
		} else {
			for _, v := range c.lives.ofKey([]byte(key)).keys[key] {
				if v.number == in.number && v.there {
					out.version = v.version
				}
			}
		}
		ops[i].Output = out
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
	c.shuffle.beside()
}
