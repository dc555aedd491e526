package sealing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// never is a time that does not come.
const never = Now(math.MaxInt64)

// sayAgain and sayMax bound the pause after which a command is proposed again that has not changed the shard; it doubles. A group that
// refuses one for a reason of its own is asked once a minute.
const (
	sayAgain = 2 * time.Second
	sayMax   = time.Minute
)

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	Propose ActionKind = iota + 1 // put Command into the log of Group
	Make                          // Task: make the file of the frozen head Number of Shard, with Older
	Fetch                         // Task: get the file Sum of Group from the node From
	Remove                        // Task: remove the file Sum of Group from the disk
	Release                       // let the frozen head Number of Shard go: reads find its points in Sum, or in a file that replaced that
	Wrong                         // fence the replica of Group: it makes of seal Number of Shard the file Own, and the group has Sum
)

var actionNames = [...]string{Propose: "propose", Make: "make", Fetch: "fetch", Remove: "remove", Release: "release", Wrong: "wrong"}

func (k ActionKind) String() string { return actionNames[k] }

// Action is something that the owner is to do. A Make, a Fetch and a Remove are tasks: each ends with one [Core.Ended].
type Action struct {
	Kind    ActionKind
	Group   raft.GroupID
	Task    uint64 // of a task; no other one of the process has it
	Command shardmap.Command
	Shard   shardmap.ShardID
	Number  uint64      // of the seal
	Older   []block.Sum // oldest first
	Sum     block.Sum   // confirmed, but for a Remove
	Own     block.Sum
	From    raft.NodeID
	Bytes   int64 // of a Make or Fetch: about what it reads, or the size of the file
}

// Outcome is how a task has ended.
type Outcome struct {
	// File is, of a Make, what it has made; it is known before the file is durable, so it may stand beside an Err.
	File shardmap.PointsSealed
	Err  error // nil: a file that was made or fetched is durable under its name, or one that was removed will not come back
	Full bool  // Err is that the disk has no room
}

// Core decides for one node. One goroutine calls it.
type Core struct {
	self   raft.NodeID
	limits Limits

	groups  map[raft.GroupID]*group
	order   []raft.GroupID // of groups, ascending
	tasks   map[uint64]*task
	number  uint64 // of the last task
	paced   Now    // no file is made before, unless memory presses
	full    pause  // of the disk: nothing is made or fetched before
	refuses bool   // the heads have passed the hard limit, and are not far enough below it yet
	actions []Action
}

// group is a replica of this node.
type group struct {
	id        raft.GroupID
	view      GroupView
	viewed    bool // view, shards, disk and snapshots were handed in
	sharded   bool
	listed    bool
	kept      bool
	shards    []*shard // by id
	disk      map[block.Sum]struct{}
	snapshots map[block.Sum]struct{}
	removing  map[block.Sum]*removal // whose removal was begun; none of them is in disk
	fetches   map[block.Sum]*fetch   // that are wanted
	says      map[string]*pause      // commands that were proposed in this term
	making    *task                  // one at a time: see [group.removable]
	wrong     bool                   // a wrong state was found: nothing of it counts any more
	plan      *plan                  // nil: something of its files has changed
}

// shard is a shard of a group.
type shard struct {
	view  ShardView
	made  map[uint64]shardmap.PointsSealed // by seal: what this process has made of it
	rests map[uint64]*pause                // by seal: of the last failure
	seen  map[uint64]Now                   // by seal: when its head was first seen frozen
	freed map[uint64]bool                  // by seal: that its head was released
	// Since still the shard has had nothing in its head, with stillAt as its last seal.
	still   Now
	stillAt uint64
	counted uint64 // seals that were applied while this node led; nothing goes by it but a planted bug
}

// task is something that was begun and has not ended.
type task struct {
	kind   ActionKind
	group  *group // as it was when it began: one that has come back is another
	shard  shardmap.ShardID
	number uint64
	sum    block.Sum
	bytes  int64
}

type removal struct {
	task  uint64 // 0: none is under way
	until Now    // when it is tried again
}

type fetch struct {
	task  uint64 // 0: none is under way
	tries int
	why   string // of the last failure
	until Now
}

// New returns a core for a node.
func New(self raft.NodeID, limits Limits) *Core {
	return &Core{self: self, limits: limits, groups: map[raft.GroupID]*group{}, tasks: map[uint64]*task{}}
}

// group returns the group of that id, which is made if it is not there.
func (c *Core) group(id raft.GroupID) *group {
	g := c.groups[id]
	if g == nil {
		g = &group{id: id, removing: map[block.Sum]*removal{}, fetches: map[block.Sum]*fetch{}, says: map[string]*pause{}}
		c.groups[id] = g
		at, _ := slices.BinarySearch(c.order, id)
		c.order = slices.Insert(c.order, at, id)
	}
	return g
}

// Group hands in how a replica is, when it has begun and when anything of that changes.
func (c *Core) Group(id raft.GroupID, v GroupView) {
	g := c.group(id)
	if v.Term != g.view.Term {
		clear(g.says) // what an earlier leadership has proposed may be lost
	}
	v.Others = slices.DeleteFunc(slices.Clone(v.Others), func(n raft.NodeID) bool { return n == c.self })
	slices.Sort(v.Others)
	g.view, g.viewed, g.plan = v, true, nil
}

// Shards hands in all shards of a replica, in any order: when it has begun, and when a snapshot has replaced them.
func (c *Core) Shards(id raft.GroupID, views []ShardView) {
	g := c.group(id)
	g.shards, g.sharded, g.plan = nil, true, nil
	for i := range views {
		g.set(&views[i])
	}
}

// Shard hands in a shard that is new or has changed.
func (c *Core) Shard(id raft.GroupID, v ShardView) { c.group(id).set(&v) }

func (g *group) set(v *ShardView) {
	at, there := slices.BinarySearchFunc(g.shards, v.Ref.ShardID, func(s *shard, id shardmap.ShardID) int { return compareShards(s.view.Ref.ShardID, id) })
	if !there {
		g.shards = slices.Insert(g.shards, at, &shard{made: map[uint64]shardmap.PointsSealed{}, rests: map[uint64]*pause{}, seen: map[uint64]Now{}, freed: map[uint64]bool{}})
	}
	s := g.shards[at]
	if g.view.Term != 0 && v.Seals > s.view.Seals {
		s.counted++
	}
	if !sameFiles(&s.view, v) {
		g.plan = nil
	}
	s.view = *v
	for number := range s.seen {
		if s.frozen(number) == nil {
			delete(s.seen, number)
			delete(s.rests, number)
			delete(s.made, number)
			delete(s.freed, number)
		}
	}
}

// sameFiles reports whether two views of a shard have the same files and frozen heads, and want them alike: points that come
// change none of that.
func sameFiles(a, b *ShardView) bool {
	return a.Gone == b.Gone && slices.EqualFunc(a.Files, b.Files, func(x, y shardmap.PointsSealed) bool { return x.Sum == y.Sum }) &&
		slices.EqualFunc(a.Frozen, b.Frozen, func(x, y FrozenView) bool {
			return x.Number == y.Number && (x.Confirmed == nil) == (y.Confirmed == nil)
		})
}

// Dropped hands in that a replica has dropped a shard.
func (c *Core) Dropped(id raft.GroupID, which shardmap.ShardID) {
	g := c.group(id)
	g.plan = nil
	g.shards = slices.DeleteFunc(g.shards, func(s *shard) bool { return s.view.Ref.ShardID == which })
}

func compareShards(a, b shardmap.ShardID) int {
	return cmp.Or(cmp.Compare(a.Window, b.Window), cmp.Compare(a.Shard, b.Shard))
}

// Disk hands in which files a group has on the disk under their names, when its replica has begun; the core knows what
// becomes of them then by what it asks for, and by [Core.Lost].
func (c *Core) Disk(id raft.GroupID, sums []block.Sum) {
	g := c.group(id)
	g.disk, g.listed, g.plan = set(sums), true, nil
}

// Lost hands in that a file was found damaged, and was put aside.
func (c *Core) Lost(id raft.GroupID, sum block.Sum) {
	g := c.group(id)
	g.plan = nil
	delete(g.disk, sum)
}

// Snapshots hands in which files are listed by the snapshots of a group: those that are kept, and one that is being written or
// received.
func (c *Core) Snapshots(id raft.GroupID, sums []block.Sum) {
	g := c.group(id)
	g.snapshots, g.kept, g.plan = set(sums), true, nil
}

func set(sums []block.Sum) map[block.Sum]struct{} {
	m := make(map[block.Sum]struct{}, len(sums))
	for _, s := range sums {
		m[s] = struct{}{}
	}
	return m
}

// Removed hands in that the replica of a group is not here any more, nor are its files.
func (c *Core) Removed(id raft.GroupID) {
	delete(c.groups, id)
	c.order = slices.DeleteFunc(c.order, func(o raft.GroupID) bool { return o == id })
}

// ready reports whether all is known of a group that its decisions go by.
func (g *group) ready() bool { return g.viewed && g.sharded && g.listed && g.kept && !g.wrong }

func (g *group) shard(id shardmap.ShardID) *shard {
	at, there := slices.BinarySearchFunc(g.shards, id, func(s *shard, id shardmap.ShardID) int { return compareShards(s.view.Ref.ShardID, id) })
	if !there {
		return nil
	}
	return g.shards[at]
}

// frozen returns the head that was frozen by a seal, nil if it is not here.
func (s *shard) frozen(number uint64) *FrozenView {
	for i := range s.view.Frozen {
		if s.view.Frozen[i].Number == number {
			return &s.view.Frozen[i]
		}
	}
	return nil
}

// has reports whether a file is on the disk, durable under its name.
func (g *group) has(sum block.Sum) bool {
	_, ok := g.disk[sum]
	return ok
}

// Turn returns what is to be done now, and when to call it again at the latest. It walks all shards of the node.
func (c *Core) Turn(now Now) (actions []Action, next Now) {
	next = never
	wake := func(at Now) {
		if at > now {
			next = min(next, at)
		}
	}
	for _, id := range c.order {
		g := c.groups[id]
		for key, p := range g.says {
			if wake(p.until); now >= p.until+sayMax {
				delete(g.says, key) // it is not wanted any more
			}
		}
		g.look(now)
	}
	c.judge()
	for _, id := range c.order {
		if g := c.groups[id]; g.ready() {
			c.compare(g)
			c.release(g)
		}
	}
	for _, id := range c.order {
		if g := c.groups[id]; g.ready() {
			c.remove(g, now, wake)
		}
	}
	c.make(now, wake)
	c.fetch(now, wake)
	for _, id := range c.order {
		if g := c.groups[id]; g.ready() && g.view.Term != 0 {
			c.confirm(g, now, wake)
			c.drop(g, now, wake)
		}
	}
	c.seal(now, wake)
	actions, c.actions = c.actions, nil
	return actions, next
}

// look notes since when the shards are as they are.
func (g *group) look(now Now) {
	for _, s := range g.shards {
		for i := range s.view.Frozen {
			if n := s.view.Frozen[i].Number; s.seen[n] == 0 {
				s.seen[n] = max(now, 1)
			}
		}
		if s.view.HeadValues > 0 || s.view.Seals != s.stillAt || s.still == 0 {
			s.still, s.stillAt = max(now, 1), s.view.Seals
		}
	}
}

// Ended hands in how a task has ended.
func (c *Core) Ended(number uint64, now Now, o Outcome) {
	t := c.tasks[number]
	if t == nil {
		return
	}
	delete(c.tasks, number)
	if t.kind != Remove {
		c.room(now, o)
	}
	g := t.group
	g.plan = nil
	switch t.kind {
	case Make:
		g.making = nil
		g.wasMade(t, now, o)
	case Fetch:
		f := g.fetches[t.sum]
		if f == nil {
			f = &fetch{} // it was not wanted any more
		}
		f.task = 0
		if o.Err == nil {
			delete(g.fetches, t.sum)
			g.add(t.sum)
			return
		}
		if f.why = o.Err.Error(); !o.Full {
			f.failed(now, len(g.view.Others))
		}
	case Remove:
		if delete(g.removing, t.sum); o.Err != nil && !g.has(t.sum) {
			g.removing[t.sum] = &removal{until: now + removeAgain}
		}
	}
}

// room notes by what became of a file whether the disk has room.
func (c *Core) room(now Now, o Outcome) {
	switch {
	case o.Err == nil:
		c.full = pause{}
	case o.Full:
		c.full.failed(now, fullMin, fullMax)
	}
}

// add notes that a file is on the disk.
func (g *group) add(sum block.Sum) {
	g.disk[sum] = struct{}{}
	delete(g.removing, sum) // a removal that had failed has nothing to remove any more
}

// wasMade notes what became of a Make.
func (g *group) wasMade(t *task, now Now, o Outcome) {
	if o.Err == nil {
		g.add(o.File.Sum)
	}
	s := g.shard(t.shard)
	if s == nil || s.frozen(t.number) == nil {
		return
	}
	switch {
	case o.Err == nil || bug(bugNotDurable) && o.File.Sum != (block.Sum{}):
		delete(s.rests, t.number)
		o.File.Shard, o.File.Number = t.shard, t.number
		s.made[t.number] = o.File
		if bug(bugNotDurable) {
			g.add(o.File.Sum)
		}
	case !o.Full:
		if s.rests[t.number] == nil {
			s.rests[t.number] = &pause{}
		}
		s.rests[t.number].failed(now, restMin, restMax)
	}
}

// propose has a command proposed, if it is not under way.
func (c *Core) propose(g *group, now Now, wake func(Now), key string, command shardmap.Command) {
	if g.said(key, now) {
		return
	}
	if g.says[key] == nil {
		g.says[key] = &pause{}
	}
	g.says[key].failed(now, sayAgain, sayMax)
	wake(g.says[key].until)
	c.actions = append(c.actions, Action{Kind: Propose, Group: g.id, Command: command})
}

// said reports whether a command was proposed, and is not to be proposed again yet.
func (g *group) said(key string, now Now) bool { return g.says[key] != nil && now < g.says[key].until }

// begin begins a task.
func (c *Core) begin(t *task, a Action) uint64 {
	c.number++
	c.tasks[c.number] = t
	a.Kind, a.Group, a.Task = t.kind, t.group.id, c.number
	c.actions = append(c.actions, a)
	return c.number
}

// Settled reports whether all files of a replica's state are on its disk, so that a snapshot of it may be kept, and if not, why.
func (c *Core) Settled(id raft.GroupID) (settled bool, why string) {
	g := c.groups[id]
	switch {
	case g == nil || !g.viewed || !g.sharded || !g.listed:
		return false, "the files of the group are not known yet"
	case g.wrong:
		return false, "the state of the replica is wrong"
	}
	for _, s := range g.shards {
		for i := range s.view.Files {
			if f := &s.view.Files[i]; !g.has(f.Sum) {
				return false, fmt.Sprintf("%s lacks the file %s: %s", s.view.Ref.ShardID, f.Sum.Name(), c.lacks(g, s, f))
			}
		}
	}
	return true, ""
}

// lacks says why a confirmed file is not here.
func (c *Core) lacks(g *group, s *shard, f *shardmap.PointsSealed) string {
	x := g.fetches[f.Sum]
	switch {
	case g.making != nil && g.making.shard == s.view.Ref.ShardID:
		return "it is being made"
	case x != nil && x.task != 0:
		return fmt.Sprintf("it is being fetched from node %s", g.from(x.tries))
	case len(g.view.Others) == 0 && x == nil && len(g.planned().makes) == 0:
		return "it can't be made here, and no other node has a replica of the group"
	case c.full.tries > 0 && !s.view.Gone:
		return "the disk is full; it is made or fetched when there is room"
	case x != nil && x.why != "":
		return fmt.Sprintf("it is fetched again after %d tries: %s", x.tries, x.why)
	}
	return "it waits for its turn"
}
