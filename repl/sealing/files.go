package sealing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

const (
	// makesMax bounds the files that are made at once. One of two is small, so that a long merge does not
	// keep memory from getting free.
	makesMax = 2
	// smallMake is what a small one reads at most, in bytes.
	smallMake = 64 << 20
	// makeRate is how many bytes per second are read to make files, on the average, unless memory presses.
	makeRate = 64 << 20
	// makeTries is how often a file that the group has confirmed is made before it is fetched instead.
	makeTries = 3
	// fetchesMax bounds the files that are fetched at once.
	fetchesMax = 2
	// removesMax bounds the files that are removed at once.
	removesMax = 4
	// restMin and restMax bound the pause after a failed Make, and after all nodes were asked for a file in vain; it
	// doubles from one to the next.
	restMin = time.Second
	restMax = time.Minute
	// fullMin and fullMax bound the pause after the disk was full. Nothing is made or fetched meanwhile,
	// and one at a time after it, until one has ended well.
	fullMin = 5 * time.Second
	fullMax = time.Minute
	// removeAgain is after how long a removal is tried again that failed.
	removeAgain = time.Minute
)

// Names of bugs that are planted to show that the worlds find them.
const (
	bugSnapshot   = "file removed that a snapshot lists"
	bugNotDurable = "sealed proposed before its file is durable"
	bugReplaced   = "merge takes a file that was replaced"
	bugNumber     = "seal number reused after a leader change"
	bugGivesUp    = "fetch gives up"
	bugReleased   = "frozen head released without its file"
	bugBeside     = "file removed while it is made again"
	bugCompared   = "own file not compared with the confirmed one"
)

// pause is how long something waits that has failed.
type pause struct {
	tries int
	until Now
}

func (p *pause) failed(now Now, shortest, longest time.Duration) {
	p.until = now + doubled(shortest, longest, p.tries)
	p.tries++
}

// doubled is the shortest pause doubled so often, or the longest.
func doubled(shortest, longest time.Duration, times int) time.Duration {
	for range times {
		if shortest *= 2; shortest >= longest {
			return longest
		}
	}
	return shortest
}

// failed has a file fetched from the next node, at once unless all were asked.
func (f *fetch) failed(now Now, nodes int) {
	if f.tries++; nodes > 0 && f.tries%nodes == 0 {
		f.until = now + doubled(restMin, restMax, f.tries/nodes-1)
	}
}

// from is the node that is asked for a file after so many tries.
func (g *group) from(tries int) raft.NodeID { return g.view.Others[tries%len(g.view.Others)] }

// plan is what the files of a group are wanted for, as of its views.
type plan struct {
	stays    map[block.Sum]struct{} // not to be removed, snapshots aside
	loose    []block.Sum            // on the disk, and nothing needs them
	wanted   []want                 // to be fetched
	makes    []making
	releases []making
}

// want is a confirmed file that is not here.
type want struct {
	sum  block.Sum
	size int64
}

// making is a frozen head, and the file that it becomes.
type making struct {
	group  *group
	shard  *shard
	number uint64
	older  []block.Sum
	bytes  int64     // about what is read to make it
	memory int64     // of the frozen head
	sum    block.Sum // confirmed
}

// planned returns the plan of a group.
func (g *group) planned() *plan {
	if g.plan != nil {
		return g.plan
	}
	p := &plan{stays: map[block.Sum]struct{}{}}
	needed, sizes := map[block.Sum]struct{}{}, map[block.Sum]int64{}
	for _, s := range g.shards {
		for i := range s.view.Files {
			if s.view.Gone {
				p.stays[s.view.Files[i].Sum] = struct{}{} // as long as the state lists it; where it lacks it is not fetched any more
				continue
			}
			needed[s.view.Files[i].Sum] = struct{}{}
			sizes[s.view.Files[i].Sum] = s.view.Files[i].Size
		}
		for i := range s.view.Frozen {
			if f := s.view.Frozen[i].Confirmed; f != nil {
				sizes[f.Sum] = f.Size
			}
		}
	}
	makeable := map[block.Sum]struct{}{}
	for _, s := range g.shards {
		g.planShard(p, s, needed, makeable, sizes)
	}
	for sum := range needed {
		p.stays[sum] = struct{}{}
		if _, made := makeable[sum]; !made && !g.has(sum) {
			p.wanted = append(p.wanted, want{sum, sizes[sum]})
		}
	}
	for sum := range g.disk {
		if g.loose(sum, p.stays) {
			p.loose = append(p.loose, sum)
		}
	}
	slices.SortFunc(p.wanted, func(a, b want) int { return slices.Compare(a.sum[:], b.sum[:]) })
	slices.SortFunc(p.loose, func(a, b block.Sum) int { return slices.Compare(a[:], b[:]) })
	g.plan = p
	return p
}

// loose reports whether neither a snapshot nor anything of what stays needs a file.
func (g *group) loose(sum block.Sum, stays map[block.Sum]struct{}) bool {
	_, stay := stays[sum]
	_, listed := g.snapshots[sum]
	return !stay && (!listed || bug(bugSnapshot))
}

// planShard plans for the frozen heads of a shard. It adds to needed what these need, and to makeable what can be made of them.
func (g *group) planShard(p *plan, s *shard, needed, makeable map[block.Sum]struct{}, sizes map[block.Sum]int64) {
	here := func(sum block.Sum) bool {
		_, made := makeable[sum]
		return made || g.has(sum)
	}
	// Oldest first: a file may be made of one that is made here before it.
	for i := range s.view.Frozen {
		f := &s.view.Frozen[i]
		tired := s.tired(f.Number) && len(g.view.Others) > 0
		if f.Confirmed != nil && !s.freed[f.Number] && !tired && !slices.ContainsFunc(f.Older, func(o block.Sum) bool { return !here(o) }) {
			makeable[f.Confirmed.Sum] = struct{}{}
		}
	}
	// Newest first: the file of a head is needed if the state lists it, or if a newer one that is yet to be made here is made
	// of it. A log that is replayed brings heads whose files were replaced long ago.
	for i := len(s.view.Frozen) - 1; i >= 0; i-- {
		f := &s.view.Frozen[i]
		if s.freed[f.Number] || s.view.Gone {
			continue
		}
		m := making{group: g, shard: s, number: f.Number, older: f.Older, bytes: f.Bytes, memory: f.Bytes}
		for _, o := range f.Older {
			m.bytes += sizes[o]
		}
		if f.Confirmed == nil {
			own, made := s.made[f.Number]
			if made {
				p.stays[own.Sum] = struct{}{}
			}
			if made && g.has(own.Sum) {
				continue
			}
		} else {
			m.sum = f.Confirmed.Sum
			_, need := needed[m.sum]
			if !need || g.has(m.sum) || bug(bugReleased) {
				p.releases = append(p.releases, m)
				continue
			}
			if _, can := makeable[m.sum]; !can {
				for _, o := range f.Older {
					p.stays[o] = struct{}{} // reads find points there until the file was fetched
				}
				continue
			}
		}
		for _, o := range f.Older {
			needed[o] = struct{}{}
		}
		if !slices.ContainsFunc(f.Older, func(o block.Sum) bool { return !g.has(o) }) {
			p.makes = append(p.makes, m)
		}
	}
}

// tired reports whether the file of a seal was tried to be made too often in vain.
func (s *shard) tired(number uint64) bool {
	r := s.rests[number]
	return r != nil && r.tries >= makeTries
}

// compare finds out whether this replica makes the files that the group has confirmed.
func (c *Core) compare(g *group) {
	for _, s := range g.shards {
		for i := range s.view.Frozen {
			f := &s.view.Frozen[i]
			own, made := s.made[f.Number]
			if made && f.Confirmed != nil && own.Sum != f.Confirmed.Sum && !bug(bugCompared) {
				g.wrong = true
				c.actions = append(c.actions, Action{Kind: Wrong, Group: g.id, Shard: s.view.Ref.ShardID, Number: f.Number, Own: own.Sum, Sum: f.Confirmed.Sum})
				return
			}
		}
	}
}

// release lets frozen heads go whose files are here, or were replaced.
func (c *Core) release(g *group) {
	if g.wrong {
		return
	}
	for _, m := range g.planned().releases {
		m.shard.freed[m.number] = true
		c.actions = append(c.actions, Action{Kind: Release, Group: g.id, Shard: m.shard.view.Ref.ShardID, Number: m.number, Sum: m.sum})
		g.plan = nil
	}
}

// remove has files removed that nothing needs.
//
// A file that is being made may be one that was replaced: points that were deleted and written again make the file that was
// there before. Were that one removed meanwhile, the Make would end well and the file would be gone. So files are removed only
// while none of the group is made, and none is made while they are removed.
func (c *Core) remove(g *group, now Now, wake func(Now)) {
	if g.wrong || !g.view.Current || g.making != nil && !bug(bugBeside) {
		return
	}
	p := g.planned()
	sums := slices.Clone(p.loose)
	under := 0
	for sum, r := range g.removing {
		switch {
		case r.task != 0:
			under++
		case now < r.until:
			wake(r.until)
		case g.loose(sum, p.stays) && (g.fetches[sum] == nil || g.fetches[sum].task == 0):
			sums = append(sums, sum)
		}
	}
	slices.SortFunc(sums, func(a, b block.Sum) int { return slices.Compare(a[:], b[:]) })
	for _, sum := range sums[:min(len(sums), max(removesMax-under, 0))] {
		delete(g.disk, sum)
		g.removing[sum] = &removal{task: c.begin(&task{kind: Remove, group: g, sum: sum}, Action{Sum: sum})}
		g.plan = nil
	}
}

// removes reports whether a file of a group is being removed.
func (g *group) removes() bool {
	for _, r := range g.removing {
		if r.task != 0 {
			return true
		}
	}
	return false
}

// under counts the tasks of a kind that are under way, and those of them that are not small.
func (c *Core) under(kind ActionKind) (all, large int) {
	for _, t := range c.tasks {
		if t.kind == kind {
			if all++; t.bytes > smallMake {
				large++
			}
		}
	}
	return all, large
}

// mayWrite reports whether the disk may have room for one more file.
func (c *Core) mayWrite(now Now, wake func(Now)) bool {
	if c.full.tries == 0 {
		return true
	}
	if now < c.full.until {
		wake(c.full.until)
		return false
	}
	makes, _ := c.under(Make)
	fetches, _ := c.under(Fetch)
	return makes+fetches == 0
}

// make has files made: where memory presses the largest head first, else the one that was frozen first.
func (c *Core) make(now Now, wake func(Now)) {
	presses := c.Presses()
	var list []making
	for _, id := range c.order {
		g := c.groups[id]
		if !g.ready() || g.making != nil || g.removes() && !bug(bugBeside) || !g.view.Current && !presses {
			continue
		}
		for _, m := range g.planned().makes {
			if r := m.shard.rests[m.number]; r != nil && now < r.until {
				wake(r.until)
			} else {
				list = append(list, m)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b making) int {
		if presses {
			return cmp.Compare(b.memory, a.memory)
		}
		return cmp.Compare(a.shard.seen[a.number], b.shard.seen[b.number])
	})
	for _, m := range list {
		all, large := c.under(Make)
		if all >= makesMax || !c.mayWrite(now, wake) {
			return
		}
		if now < c.paced && !presses {
			wake(c.paced)
			return
		}
		if m.group.making != nil || m.bytes > smallMake && large > 0 {
			continue
		}
		t := &task{kind: Make, group: m.group, shard: m.shard.view.Ref.ShardID, number: m.number, bytes: m.bytes}
		m.group.making = t
		c.paced = max(c.paced, now) + time.Duration(float64(m.bytes)/makeRate*float64(time.Second))
		c.begin(t, Action{Shard: t.shard, Number: m.number, Older: slices.Clone(m.older), Bytes: m.bytes})
	}
}

// fetch has files fetched that can't be made here.
func (c *Core) fetch(now Now, wake func(Now)) {
	under, _ := c.under(Fetch)
	for _, id := range c.order {
		g := c.groups[id]
		if !g.ready() || !g.view.Current || len(g.view.Others) == 0 {
			continue
		}
		wanted := g.planned().wanted
		for sum, f := range g.fetches {
			if f.task == 0 && !slices.ContainsFunc(wanted, func(w want) bool { return w.sum == sum }) {
				delete(g.fetches, sum)
			}
		}
		for _, w := range wanted {
			f := g.fetches[w.sum]
			if f == nil {
				f = &fetch{}
				g.fetches[w.sum] = f
			}
			r := g.removing[w.sum]
			switch {
			case f.task != 0 || r != nil && r.task != 0 || f.tries >= 2*len(g.view.Others) && bug(bugGivesUp):
			case now < f.until:
				wake(f.until)
			case under < fetchesMax && c.mayWrite(now, wake):
				under++
				f.task = c.begin(&task{kind: Fetch, group: g, sum: w.sum}, Action{Sum: w.sum, From: g.from(f.tries), Bytes: w.size})
			}
		}
	}
}

// Held returns the memory of all heads, and that of the frozen ones among them, in bytes.
func (c *Core) Held() (all, frozen int64) {
	for _, id := range c.order {
		for _, s := range c.groups[id].shards {
			all += s.view.HeadBytes
			for i := range s.view.Frozen {
				frozen += s.view.Frozen[i].Bytes
			}
		}
	}
	return all + frozen, frozen
}

// Presses reports whether the heads of this node are over the soft limit.
func (c *Core) Presses() bool {
	all, _ := c.Held()
	return all >= c.limits.Soft
}

// judge decides whether leaders take points. Once they take none, they do again halfway from the hard limit to the soft one: a
// limit that is passed and met with each write would refuse every other client.
func (c *Core) judge() {
	all, _ := c.Held()
	c.refuses = all >= c.limits.Hard || c.refuses && all > (c.limits.Hard+c.limits.Soft)/2
}

// Refuses reports whether the groups that are led here are to take no points, as of the last Turn: the heads of this node are over
// the hard limit, or were and are not far enough below it.
func (c *Core) Refuses() bool { return c.refuses }

// Pauses reports whether replicas that are not to lead are to apply no entries, since the frozen heads of this node are over the
// hard limit, and files of them can be made. Heads that are not frozen are bounded by leaders, and the seals that
// freeze them are entries to be applied. A Make that fails again and again is no reason to wait: it may be the log that brings what
// it lacks.
func (c *Core) Pauses() bool {
	if _, frozen := c.Held(); frozen < c.limits.Hard {
		return false
	}
	for _, id := range c.order {
		g := c.groups[id]
		if !g.ready() {
			continue
		}
		if slices.ContainsFunc(g.planned().makes, func(m making) bool { return !m.shard.tired(m.number) }) {
			return true
		}
	}
	return false
}

// confirm proposes the names of files of this leader that are durable.
func (c *Core) confirm(g *group, now Now, wake func(Now)) {
	for _, s := range g.shards {
		for i := range s.view.Frozen {
			f := &s.view.Frozen[i]
			if f.Confirmed != nil {
				continue
			}
			if own, made := s.made[f.Number]; made && g.has(own.Sum) {
				c.propose(g, now, wake, key("sealed", s, f.Number), own.Command())
			}
			break // the names are confirmed in order
		}
	}
}

// drop proposes that the group forgets the shards of windows that the table does not have.
func (c *Core) drop(g *group, now Now, wake func(Now)) {
	var d shardmap.DropShards
	for _, s := range g.shards { // in the order of their windows
		w := s.view.Ref.Window
		if n := len(d.Windows); s.view.Gone && n < shardmap.DropShardsMax && (n == 0 || d.Windows[n-1] != w) {
			d.Windows = append(d.Windows, w)
		}
	}
	if len(d.Windows) > 0 {
		c.propose(g, now, wake, fmt.Sprintf("drop from %d", d.Windows[0]), d.Command())
	}
}
