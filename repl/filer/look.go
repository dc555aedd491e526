package filer

import (
	"maps"
	"math"
	"slices"
	"time"

	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/sealing"
	"muster/shardmap"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// group is a replica as the core knows it.
type group struct {
	files   blocks.Group
	machine *machine.Map
	changes uint64 // of its shards, when they were handed in
	view    sealing.GroupView
	target  uint64 // what it has to apply to be current
	shards  map[shardmap.ShardID]headSince
	listed  []block.Sum  // by snapshots, as handed in
	kept    []raft.LogID // the snapshots that there were then
	noted   uint64       // how many lists there had been before
}

// headSince is when the head of a shard got its first point, and at which index.
type headSince struct {
	index uint64
	at    time.Duration
}

// Look looks at the replicas, between two entries, and hands in what has changed.
func (f *Filer) Look(h *repl.Host, now time.Duration) {
	all := now >= f.lookAt
	if all {
		f.lookAt = now + lookEvery
	}
	stored := map[blocks.Group]bool{}
	for _, g := range f.cfg.Files.Groups() {
		stored[g] = true
	}
	f.wait = false
	absent := maps.Clone(f.groups)
	h.Replicas.Each(func(v *repl.ReplicaView) {
		m := f.cfg.Map(v.Machine)
		if m == nil {
			return
		}
		id, of := v.Replica.Group, blocks.Group{ID: v.Replica.Group, Incarnation: v.Replica.Incarnation}
		g := f.groups[id]
		if g != nil && g.machine != m {
			return // another state took its place: the core forgets this one first
		}
		if g == nil {
			if len(m.State.Shards()) == 0 && !stored[of] {
				return
			}
			if f.tasks[of] > 0 {
				return // begun for one that was here before; its end wakes
			}
			g = f.meet(of, m)
		}
		delete(absent, id)
		f.handIn(h, g, v, now, all)
	})
	for id := range absent {
		f.core.Removed(id)
		delete(f.groups, id)
		f.cfg.Rouse() // what has taken its place is met next
	}
	gone := map[blocks.Group]time.Duration{}
	for g := range stored {
		if f.groups[g.ID] != nil && f.groups[g.ID].files == g || h.Replicas.Has(g.ID, g.Incarnation) {
			continue
		}
		if since, known := f.gone[g]; known {
			gone[g] = since
		} else {
			gone[g] = now
		}
	}
	f.gone = gone
}

// meet begins with a replica that the core does not know.
func (f *Filer) meet(of blocks.Group, m *machine.Map) *group {
	g := &group{files: of, machine: m, target: math.MaxUint64, shards: map[shardmap.ShardID]headSince{}, changes: math.MaxUint64}
	f.groups[of.ID] = g
	list := f.cfg.Files.List(of)
	sums := make([]block.Sum, len(list))
	for i := range list {
		sums[i] = list[i].Sum
	}
	f.core.Disk(of.ID, sums)
	f.core.Shards(of.ID, nil)
	f.core.Snapshots(of.ID, nil)
	maps.DeleteFunc(f.damage, func(x file, _ bool) bool { return x.group == of })
	return g
}

// handIn hands in what has changed of a replica.
func (f *Filer) handIn(h *repl.Host, g *group, v *repl.ReplicaView, now time.Duration, all bool) {
	id := g.files.ID
	if changes := g.machine.State.ShardChanges(); all || changes != g.changes {
		g.changes = changes
		f.shards(g, now)
	}
	if !g.view.Current {
		g.target = min(g.target, h.Replicas.Last(id)) // what is not committed may be cut off
	}
	current := g.view.Current || v.Applied >= g.target
	f.wait = f.wait || !current
	if view := (sealing.GroupView{Term: v.Term, Current: current, Others: v.Others}); g.view.Term != view.Term || g.view.Current != current || !slices.Equal(g.view.Others, view.Others) || g.view.Others == nil {
		view.Others = append([]raft.NodeID{}, view.Others...)
		g.view = view
		f.core.Group(id, view)
	}
	kept := f.cfg.Snapshots(v.Replica)
	noted := f.noted.Load()
	if noted == g.noted && slices.Equal(kept, g.kept) {
		return // to list the files of all shards takes long
	}
	g.noted, g.kept = noted, kept
	if listed := f.listed(g.files, kept); !slices.Equal(listed, g.listed) {
		g.listed = listed
		f.core.Snapshots(id, listed)
	}
}

// shards hands in the shards of a replica.
func (f *Filer) shards(g *group, now time.Duration) {
	wall := f.cfg.Wall()
	since := make(map[shardmap.ShardID]headSince, len(g.shards))
	for _, x := range g.machine.State.Shards() {
		first := g.shards[x.ShardID]
		if first.index != x.Since {
			first = headSince{x.Since, now}
		}
		since[x.ShardID] = first
		f.core.Shard(g.files.ID, shardView(x, first.at, wall))
	}
	for id := range g.shards {
		if _, there := since[id]; !there {
			f.core.Dropped(g.files.ID, id)
		}
	}
	g.shards = since
}

// shardView is a shard as the core sees it, whose head has points since a time.
func shardView(x *shardmap.GroupShard, since time.Duration, wall int64) sealing.ShardView {
	files := x.Points.Files()
	v := sealing.ShardView{
		Ref: x.ShardRef, Seals: x.Points.Generation() - 1, HeadBytes: x.Points.HeadBytes(), Tombstones: x.Points.Tombstones(), Over: wall > x.Span.Last,
		Files: make([]shardmap.PointsSealed, len(files)),
	}
	if x.Since != 0 { // else all that came was dropped, and nothing can be sealed
		// A replica that began with a snapshot has no trace of values that were deleted. They have to be sealed all the same, or
		// the deletes would stay for good.
		v.HeadValues, v.HeadSince = max(x.Points.HeadValues(), 1), since
	}
	for i, o := range files {
		v.Files[i] = shardmap.PointsSealed{Shard: x.ShardID, Number: o.Generation, Sum: o.Sum, Values: o.Values, First: o.First, Last: o.Last, Size: o.Size}
	}
	for _, k := range x.KeptHeads() {
		confirmed := k.PointsSealed
		v.Frozen = append(v.Frozen, sealing.FrozenView{Number: k.Number, Older: olderFiles(k.View.Files(), k.Merge, k.Fills), Bytes: k.Bytes, Confirmed: &confirmed})
	}
	for _, o := range x.Points.FrozenHeads() {
		v.Frozen = append(v.Frozen, sealing.FrozenView{Number: o.Generation, Older: olderFiles(files, x.Merge, o.Fills), Bytes: o.Bytes})
	}
	return v
}

// olderFiles returns the files that a seal opens.
func olderFiles(files []shard.File, merge uint32, fills bool) (sums []block.Sum) {
	if !fills {
		files = files[len(files)-int(merge):]
	}
	for i := range files {
		sums = append(sums, files[i].Sum)
	}
	return sums
}

// lost hands in files that were found damaged.
func (f *Filer) lost() {
	for _, d := range f.cfg.Files.Damaged() {
		x := file{d.File.Group, d.File.Sum}
		if g := f.groups[x.group.ID]; g != nil && g.files == x.group && !f.damage[x] {
			f.damage[x] = true
			f.core.Lost(x.group.ID, x.sum)
		}
	}
}

// Turn has the core decide. It returns what is to be done, and when the next turn is due.
func (f *Filer) Turn(now time.Duration) (actions []sealing.Action, next time.Duration) {
	f.lost()
	actions, next = f.core.Turn(now)
	f.presses.Store(f.core.Presses())
	f.refuses.Store(f.core.Refuses())
	next = min(next, f.lookAt)
	if f.wait {
		next = min(next, now+waitFor)
	}
	return actions, next
}

// Left returns the groups that have files here and for long no replica: nothing needs them.
func (f *Filer) Left(now time.Duration) (left []blocks.Group) {
	for g, since := range f.gone {
		if now >= since+clearAfter && f.tasks[g] == 0 {
			left = append(left, g)
		}
	}
	return left
}

// Cleared takes note that the files of a group that had no replica here have been removed.
func (f *Filer) Cleared(g blocks.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lists, g)
}
