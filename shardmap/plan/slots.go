package plan

import (
	"cmp"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// SlotCount is what a slot holds.
type SlotCount struct {
	Slot  shardmap.Slot
	Keys  uint64
	Bytes uint64
}

// SlotBytesMin is what a slot counts at least, in bytes: while a cluster is empty, slots are
// spread by their number.
const SlotBytesMin = 4 << 10

// slotBytesMax is what a slot counts at most. It is far beyond what one can hold, so a count
// above it is no count, and the sum over all slots does not overflow.
const slotBytesMax = 1 << 50

// SlackDefault is by how many percent a group may be off its share before slots move: what
// they hold changes all the time, and each move costs.
const SlackDefault = 5

// SlotSettings are what an operator decides about where slots are.
type SlotSettings struct {
	Slack int // percent; 0: SlackDefault
}

// SlotShare is what a group holds, and what it should, in bytes as slots count.
type SlotShare struct {
	Group         raft.GroupID
	Before, After uint64
	Share         uint64 // that its nodes' weights give it of all
}

// SlotPlan says which slots should move.
type SlotPlan struct {
	Targets []shardmap.SlotTarget // by slot; none: nothing is to be done
	Shares  []SlotShare           // of all data groups, by id
	Bytes   uint64                // of the slots that move, as they count
	// Weighed: some group should hold something. None should, where each has a voter on a
	// node of weight 0; then all slots stay.
	Weighed bool
}

// Slots returns which slots should move so that each data group holds its share of the
// bytes. The share of a group follows from the nodes of its voters: each node's weight is
// split evenly over the groups that have a voter there, and a group has the mean of its
// voters' parts, because each of them holds all of its data. A group with a voter on a node
// of weight 0 has no share: its slots go elsewhere.
//
// It is a pure function of its arguments. A slot that counts does not name counts
// [SlotBytesMin]. Slots that a job moves already are taken as moved, and left alone; so are
// those that no group owns.
//
// Slots go from the group that has the most too much to the one that has the most too
// little, a run of neighbours at a time, as large as fits both. That moves few bytes, and
// no more runs than there are groups that are off, unless their slots lie scattered or are
// of very different sizes. It is not the best of all plans: to find that is to pack
// knapsacks. What it leaves behind is within the slack, or less than one slot away from it;
// and the plan for what it leads to is empty.
func Slots(t *shardmap.Table, counts []SlotCount, s SlotSettings) SlotPlan {
	c := newSlotWorld(t, counts, s)
	for c.step() {
	}
	return c.plan(t)
}

// slotGroup is a data group while a plan is made.
type slotGroup struct {
	id    raft.GroupID
	held  int64 // bytes, as slots count
	began int64
	share int64
	slack int64           // bytes by which it may be off
	slots []shardmap.Slot // that may move, in order
}

// over is how many bytes g has too many, below zero too few.
func (g *slotGroup) over() int64 { return g.held - g.share }

type slotWorld struct {
	groups []slotGroup
	size   [shardmap.Slots]int64
	// owner has a slot's group, by its place in groups; -1: it is not to move.
	owner [shardmap.Slots]int
	// donors and takers are groups that have too much and too little, the worst first.
	donors, takers []int
	weighed        bool // as in [SlotPlan]
}

func newSlotWorld(t *shardmap.Table, counts []SlotCount, s SlotSettings) *slotWorld {
	c := &slotWorld{groups: make([]slotGroup, len(t.Groups))}
	place := map[raft.GroupID]int{}
	for i := range t.Groups {
		place[t.Groups[i].ID], c.groups[i].id = i, t.Groups[i].ID
	}
	for i := range c.size {
		c.size[i] = SlotBytesMin
	}
	for _, n := range counts {
		c.size[n.Slot] = int64(min(max(n.Bytes, SlotBytesMin), slotBytesMax))
	}
	moving := [shardmap.Slots]raft.GroupID{}
	for i := range t.Jobs {
		for _, to := range t.Jobs[i].Targets {
			for slot := to.SlotRange.From; slot <= to.SlotRange.To; slot++ {
				moving[slot] = to.To
			}
		}
	}
	var total int64
	for slot, id := range t.Slots {
		c.owner[slot] = -1
		stays := moving[slot]
		g, ok := place[cmp.Or(stays, id)]
		if !ok {
			continue
		}
		total += c.size[slot]
		c.groups[g].held += c.size[slot]
		if stays == 0 {
			c.owner[slot] = g
			c.groups[g].slots = append(c.groups[g].slots, shardmap.Slot(slot))
		}
	}
	parts, all := slotParts(t), 0.0
	for _, p := range parts {
		all += p
	}
	c.weighed = all > 0
	slack := cmp.Or(s.Slack, SlackDefault)
	for i := range c.groups {
		g := &c.groups[i]
		g.began, g.share = g.held, g.held // where no node has a weight, all stays
		if c.weighed {
			g.share = int64(float64(total) * parts[i] / all)
		}
		if g.share > 0 { // with none, nothing may stay
			g.slack = max(g.share*int64(slack)/100, SlotBytesMin)
		}
	}
	return c
}

// slotParts returns the part of all data that each group should have, in proportion.
func slotParts(t *shardmap.Table) []float64 {
	voters := map[raft.NodeID]int{} // groups with a voter there
	each := func(g *shardmap.TableGroup, f func(raft.NodeID)) {
		for _, r := range g.Replicas {
			if r.Role == shardmap.ReplicaVoter {
				f(r.Node)
			}
		}
	}
	for i := range t.Groups {
		each(&t.Groups[i], func(n raft.NodeID) { voters[n]++ })
	}
	parts := make([]float64, len(t.Groups))
	for i := range t.Groups {
		sum, count, none := 0.0, 0, false
		each(&t.Groups[i], func(id raft.NodeID) {
			n, ok := t.Node(id)
			if !ok {
				return // it has left the list; the group gets another voter
			}
			sum += float64(n.Weight) / float64(voters[id])
			count++
			none = none || n.Weight == 0
		})
		if count > 0 && !none {
			parts[i] = sum / float64(count)
		}
	}
	return parts
}

// step moves one run of slots; false if there is none whose move is worth it.
func (c *slotWorld) step() bool {
	c.donors, c.takers = c.donors[:0], c.takers[:0]
	for i := range c.groups {
		switch over := c.groups[i].over(); {
		case over > 0:
			c.donors = append(c.donors, i)
		case over < 0:
			c.takers = append(c.takers, i)
		}
	}
	worst := func(a, b int) int {
		beyond := func(g *slotGroup) int64 { return max(g.over(), -g.over()) - g.slack }
		return cmp.Or(cmp.Compare(beyond(&c.groups[b]), beyond(&c.groups[a])), cmp.Compare(a, b))
	}
	if len(c.donors) == 0 || len(c.takers) == 0 {
		return false
	}
	// Mostly the two that are worst off suit each other, and no other pair is looked at.
	if c.between(slices.MinFunc(c.donors, worst), slices.MinFunc(c.takers, worst)) {
		return true
	}
	slices.SortFunc(c.donors, worst)
	slices.SortFunc(c.takers, worst)
	for _, d := range c.donors {
		for _, r := range c.takers {
			if c.between(d, r) {
				return true
			}
		}
	}
	return false
}

// between moves a run of slots from one group to another, if it is worth it.
func (c *slotWorld) between(d, r int) bool {
	from, to := &c.groups[d], &c.groups[r]
	if from.over() <= from.slack && -to.over() <= to.slack {
		return false
	}
	run := c.run(from, to)
	if len(run) > 0 {
		c.move(run, d, r)
	}
	return len(run) > 0
}

// run returns the slots that should go from one group to another, neighbours, nil if there
// are none: as close as can be to the bytes that the one has too many and the other too
// few, and above that by no more than the slack of both. If each slot is larger, it is the
// smallest, if that leaves neither as far off as the other was.
//
// Each move makes the sum of the squares of what groups are off smaller, because less moves
// than both are off together. So there is an end.
func (c *slotWorld) run(from, to *slotGroup) []shardmap.Slot {
	over, under := from.over(), -to.over()
	want := min(over, under)
	fits := want + min(from.slack, to.slack)
	if from.share == 0 {
		fits = want + to.slack // it has no slack, and yet need not stop short
	}
	var best []shardmap.Slot
	var sum int64
	closest := want // to move none is off by that
	consider := func(run []shardmap.Slot, bytes int64) {
		if off := max(want-bytes, bytes-want); off < closest || off == closest && len(run) < len(best) {
			best, closest = run, off
		}
	}
	// Of the runs that end with slot i only two can be the closest: the longest within
	// want, and the one that begins a slot before it. first begins the former, and start the
	// neighbours that both are among.
	least, first, start := -1, 0, 0
	for i, s := range from.slots {
		if i > 0 && from.slots[i-1]+1 != s {
			first, start, sum = i, i, 0
		}
		for sum += c.size[s]; sum > want; first++ {
			sum -= c.size[from.slots[first]]
		}
		consider(from.slots[first:i+1], sum)
		if first > start {
			if more := sum + c.size[from.slots[first-1]]; more <= fits {
				consider(from.slots[first-1:i+1], more)
			}
		}
		if least < 0 || c.size[s] < c.size[from.slots[least]] {
			least = i
		}
	}
	if len(best) == 0 && least >= 0 {
		// Where nothing may stay, the last slots go although no group has room for them.
		if s := c.size[from.slots[least]]; s <= over+under-max(from.slack, to.slack) || from.share == 0 {
			best = from.slots[least : least+1]
		}
	}
	return best
}

func (c *slotWorld) move(run []shardmap.Slot, d, r int) {
	from, to := &c.groups[d], &c.groups[r]
	at, _ := slices.BinarySearch(from.slots, run[0])
	for _, s := range run {
		from.held -= c.size[s]
		to.held += c.size[s]
		c.owner[s] = r
	}
	into, _ := slices.BinarySearch(to.slots, run[0])
	to.slots = slices.Insert(to.slots, into, run...)
	from.slots = slices.Delete(from.slots, at, at+len(run))
}

// plan returns what the world has become, compared with the table.
func (c *slotWorld) plan(t *shardmap.Table) SlotPlan {
	p := SlotPlan{Weighed: c.weighed}
	for slot, g := range c.owner {
		if g < 0 || c.groups[g].id == t.Slots[slot] {
			continue
		}
		s := shardmap.Slot(slot)
		p.Bytes += uint64(c.size[slot])
		from, to := t.Slots[slot], c.groups[g].id
		if n := len(p.Targets); n > 0 {
			if last := &p.Targets[n-1]; last.From == from && last.To == to && last.SlotRange.To+1 == s {
				last.SlotRange.To = s
				continue
			}
		}
		p.Targets = append(p.Targets, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: s}, From: from, To: to})
	}
	for i := range c.groups {
		g := &c.groups[i]
		p.Shares = append(p.Shares, SlotShare{Group: g.id, Before: uint64(g.began), After: uint64(g.held), Share: uint64(g.share)})
	}
	return p
}
