package node

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/sealing"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

const (
	// sealPause lies between two turns of the core of seals: more of them gain nothing.
	sealPause = 100 * time.Millisecond
	// sealLook is after how long all shards are looked at though nothing has changed: windows end.
	sealLook = time.Minute
	// sealWarnEvery is how often the log tells at most that points are refused: under load that begins and ends each second.
	sealWarnEvery = time.Minute
	// sealWait is after how long a group is looked at again that replays its log.
	sealWait = time.Second
	// pointsBusyRetry is when points may be sent again that were refused because of memory.
	pointsBusyRetry = time.Second
	// listsAhead is how many lists of files are kept of snapshots that the log does not have yet: one that is
	// being written, one that arrives, and one that failed.
	listsAhead = 3
	// clearAfter is how long a group's files stay that has no replica here: nothing needs them, and nothing is lost by waiting.
	clearAfter = 10 * time.Minute
	// pointsMemoryMin and pointsMemoryMax bound --points-memory: with less each write would be a file, and no host has more.
	pointsMemoryMin = 1 << 20
	pointsMemoryMax = 1 << 40
)

// sealer drives the core that decides when heads of points become block files. It hands in what the replicas of this node have,
// and carries out what the core asks for.
type sealer struct {
	// Set once.
	node    *Node
	limits  sealing.Limits
	stopped chan error // from a task, to live: no block file can be written any more. At most one

	mail mailbox // for run

	refuses atomic.Bool // groups that are led here take no points
	presses atomic.Bool // heads take so much memory that files are made as fast as can be

	figures atomic.Pointer[sealFigures] // as of the last turn; nil: there was none

	// Owned by run, and by the host's goroutine while run waits for it.
	core   *sealing.Core
	warnAt time.Duration // before it the log does not tell again that points are refused
	groups map[raft.GroupID]*sealedGroup
	tasks  map[blocks.Group]int           // that are under way
	damage map[sealedFile]bool            // files that the core knows to be damaged
	lookAt time.Duration                  // when all shards are looked at again
	wait   bool                           // a group replays its log
	gone   map[blocks.Group]time.Duration // groups that have files, and no replica here, and since when
	made   sealedCounts

	noted atomic.Uint64 // lists, since the start

	mu       sync.Mutex
	removed  sync.Cond                   // of mu: a removal has ended
	lists    map[blocks.Group][]fileList // guarded by mu: what snapshots list
	removing map[sealedFile]bool         // guarded by mu: files that are about to go
}

// sealedCounts count what has been done since the start.
type sealedCounts struct{ files, bytes, fetched, removed uint64 }

// sealFigures are what others are told of.
type sealFigures struct {
	held, frozen int64 // memory of heads, and of the frozen ones among them, in bytes
	made         sealedCounts
}

// sealedFile names a block file.
type sealedFile struct {
	group blocks.Group
	sum   block.Sum
}

// fileList is the files that the snapshot of a group's state names.
type fileList struct {
	at    raft.LogID
	files []block.Sum
}

// sealedGroup is a replica as the core knows it.
type sealedGroup struct {
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

func (s *sealer) init(n *Node) {
	s.node, s.mail, s.stopped = n, newMailbox(), make(chan error, 1)
	hard := int64(n.cfg.PointsMemory)
	s.limits = sealing.Limits{Soft: hard / 2, Hard: hard}
	s.core = sealing.New(n.self().Node, s.limits)
	s.groups, s.tasks, s.damage = map[raft.GroupID]*sealedGroup{}, map[blocks.Group]int{}, map[sealedFile]bool{}
	s.lists, s.removing = map[blocks.Group][]fileList{}, map[sealedFile]bool{}
	s.removed.L = &s.mu
}

// owner returns what a replica's machine is told of this node's files.
func (s *sealer) owner(id raft.GroupID, of raft.Incarnation) machine.PointsOwner {
	g := blocks.Group{ID: id, Incarnation: of}
	return machine.PointsOwner{
		Read:    func(read func(shard.Opener) error) error { return s.answer(g, read) },
		Changed: s.mail.rouse,
		Settle:  func(at raft.LogID, files []block.Sum) string { return s.settle(g, at, files) },
		Listed:  func(at raft.LogID, files []block.Sum) { s.list(g, at, files) },
		Busy:    s.busy,
	}
}

// busy refuses points while the heads of the node take too much memory.
func (s *sealer) busy() *wire.Error {
	if !s.refuses.Load() {
		return nil
	}
	return wire.Busy("points of node "+s.node.name, fmt.Sprintf("those that are in memory and in no file take more than --points-memory allows, %d bytes", s.limits.Hard), pointsBusyRetry)
}

// settle says why no snapshot may list some files of a group; "": it may, and they stay for it.
func (s *sealer) settle(g blocks.Group, at raft.LogID, files []block.Sum) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.node.blocks.Load().Missing(g, files) {
		return fmt.Sprintf("block file %s of points is not here yet", f.Name())
	}
	for _, f := range files {
		if s.removing[sealedFile{g, f}] {
			return fmt.Sprintf("block file %s of points is being removed, and comes back", f.Name())
		}
	}
	s.note(g, fileList{at, files})
	return ""
}

// list notes which files a snapshot lists that was read. It waits for those that are being removed: whoever reads a snapshot
// that arrives looks then which files are here.
func (s *sealer) list(g blocks.Group, at raft.LogID, files []block.Sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(g, fileList{at, files}) // first: none of them is removed from now on
	for slices.ContainsFunc(files, func(f block.Sum) bool { return s.removing[sealedFile{g, f}] }) {
		s.removed.Wait()
	}
}

// note adds a list, in place of one of the same snapshot: one that arrives is read again and again. s.mu is held.
func (s *sealer) note(g blocks.Group, l fileList) {
	lists := slices.DeleteFunc(s.lists[g], func(o fileList) bool { return o.at == l.at && slices.Equal(o.files, l.files) })
	s.lists[g] = append(lists, l)
	s.noted.Add(1)
}

// listed returns which files the snapshots of a replica list, sorted, and forgets the lists of those that are gone. kept are
// those that there are, oldest first.
func (s *sealer) listed(g blocks.Group, kept []raft.LogID) (sums []block.Sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := 0
	lists := s.lists[g]
	for i := len(lists) - 1; i >= 0; i-- {
		at := lists[i].at
		switch {
		case slices.Contains(kept, at):
		case ahead < listsAhead && (len(kept) == 0 || at.Index > kept[len(kept)-1].Index):
			ahead++
		default:
			lists = slices.Delete(lists, i, i+1)
			continue
		}
		sums = append(sums, lists[i].files...)
	}
	if s.lists[g] = lists; len(lists) == 0 {
		delete(s.lists, g)
	}
	slices.SortFunc(sums, compareSums)
	return slices.Compact(sums)
}

func compareSums(a, b block.Sum) int { return bytes.Compare(a[:], b[:]) }

// run owns the core.
func (s *sealer) run() {
	n := s.node
	loop := n.running()
	timer, pause := time.NewTimer(0), time.NewTimer(0)
	defer timer.Stop()
	defer pause.Stop()
	for s.mail.wait(n.ctx, timer) {
		select {
		case <-pause.C:
		case <-n.ctx.Done():
			return
		}
		next := s.turn(loop)
		timer.Reset(next - loop.Now())
		pause.Reset(sealPause)
	}
}

// turn hands in what has changed, has the core decide, and begins what it decided. It returns when the next turn is due.
func (s *sealer) turn(loop *repl.Loop) (next time.Duration) {
	now := loop.Now()
	queued := s.mail.take() // first: what has ended shows in what is looked at
	if !loop.Ask(func(h *repl.Host) { s.look(h, now) }) {
		return now + sealLook // the node stops
	}
	s.lost()
	for _, f := range queued {
		f(now)
	}
	s.clear(now)
	actions, next := s.core.Turn(now)
	s.presses.Store(s.core.Presses())
	f := sealFigures{made: s.made}
	f.held, f.frozen = s.core.Held()
	s.figures.Store(&f)
	if refuses := s.core.Refuses(); refuses != s.refuses.Swap(refuses) && refuses && now >= s.warnAt {
		s.warnAt = now + sealWarnEvery
		s.node.log.Warn("points are refused: those in memory take all that --points-memory allows", "limit", s.limits.Hard)
	}
	s.act(loop, actions)
	next = min(next, s.lookAt)
	if s.wait {
		next = min(next, now+sealWait)
	}
	return next
}

// look looks at the replicas, between two entries, and hands in what has changed.
func (s *sealer) look(h *repl.Host, now time.Duration) {
	files := s.node.blocks.Load()
	all := now >= s.lookAt
	if all {
		s.lookAt = now + sealLook
	}
	stored := map[blocks.Group]bool{}
	for _, g := range files.Groups() {
		stored[g] = true
	}
	s.wait = false
	absent := maps.Clone(s.groups)
	h.Replicas.Each(func(v *repl.ReplicaView) {
		m, ok := v.Machine.(*machine.Map)
		if !ok {
			return
		}
		id, of := v.Replica.Group, blocks.Group{ID: v.Replica.Group, Incarnation: v.Replica.Incarnation}
		g := s.groups[id]
		if g != nil && g.machine != m {
			return // another state took its place: the core forgets this one first
		}
		if g == nil {
			if len(m.State.Shards()) == 0 && !stored[of] {
				return
			}
			if s.tasks[of] > 0 {
				return // begun for one that was here before; its end wakes
			}
			g = s.meet(of, m)
		}
		delete(absent, id)
		s.handIn(h, g, v, now, all)
	})
	for id := range absent {
		s.core.Removed(id)
		delete(s.groups, id)
		s.mail.rouse() // what has taken its place is met next
	}
	gone := map[blocks.Group]time.Duration{}
	for g := range stored {
		if s.groups[g.ID] != nil && s.groups[g.ID].files == g || h.Replicas.Has(g.ID, g.Incarnation) {
			continue
		}
		if since, known := s.gone[g]; known {
			gone[g] = since
		} else {
			gone[g] = now
		}
	}
	s.gone = gone
}

// meet begins with a replica that the core does not know.
func (s *sealer) meet(of blocks.Group, m *machine.Map) *sealedGroup {
	g := &sealedGroup{files: of, machine: m, target: math.MaxUint64, shards: map[shardmap.ShardID]headSince{}, changes: math.MaxUint64}
	s.groups[of.ID] = g
	list := s.node.blocks.Load().List(of)
	sums := make([]block.Sum, len(list))
	for i := range list {
		sums[i] = list[i].Sum
	}
	s.core.Disk(of.ID, sums)
	s.core.Shards(of.ID, nil)
	s.core.Snapshots(of.ID, nil)
	maps.DeleteFunc(s.damage, func(f sealedFile, _ bool) bool { return f.group == of })
	return g
}

// handIn hands in what has changed of a replica.
func (s *sealer) handIn(h *repl.Host, g *sealedGroup, v *repl.ReplicaView, now time.Duration, all bool) {
	id := g.files.ID
	if changes := g.machine.State.ShardChanges(); all || changes != g.changes {
		g.changes = changes
		s.shards(g, now)
	}
	if !g.view.Current {
		g.target = min(g.target, h.Replicas.Last(id)) // what is not committed may be cut off
	}
	current := g.view.Current || v.Applied >= g.target
	s.wait = s.wait || !current
	if view := (sealing.GroupView{Term: v.Term, Current: current, Others: v.Others}); g.view.Term != view.Term || g.view.Current != current || !slices.Equal(g.view.Others, view.Others) || g.view.Others == nil {
		view.Others = append([]raft.NodeID{}, view.Others...)
		g.view = view
		s.core.Group(id, view)
	}
	var kept []raft.LogID
	for _, k := range s.node.store.Snapshots(v.Replica) {
		kept = append(kept, k.Base.ID)
	}
	noted := s.noted.Load()
	if noted == g.noted && slices.Equal(kept, g.kept) {
		return // to list the files of all shards takes long
	}
	g.noted, g.kept = noted, kept
	if listed := s.listed(g.files, kept); !slices.Equal(listed, g.listed) {
		g.listed = listed
		s.core.Snapshots(id, listed)
	}
}

// shards hands in the shards of a replica.
func (s *sealer) shards(g *sealedGroup, now time.Duration) {
	wall := s.node.keeping.wall().UnixNano()
	since := make(map[shardmap.ShardID]headSince, len(g.shards))
	for _, x := range g.machine.State.Shards() {
		first := g.shards[x.ShardID]
		if first.index != x.Since {
			first = headSince{x.Since, now}
		}
		since[x.ShardID] = first
		s.core.Shard(g.files.ID, shardView(x, first.at, wall))
	}
	for id := range g.shards {
		if _, there := since[id]; !there {
			s.core.Dropped(g.files.ID, id)
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
	for i, f := range files {
		v.Files[i] = shardmap.PointsSealed{Shard: x.ShardID, Number: f.Generation, Sum: f.Sum, Values: f.Values, First: f.First, Last: f.Last, Size: f.Size}
	}
	for _, k := range x.KeptHeads() {
		confirmed := k.PointsSealed
		v.Frozen = append(v.Frozen, sealing.FrozenView{Number: k.Number, Older: olderFiles(k.View.Files(), k.Merge, k.Fills), Bytes: k.Bytes, Confirmed: &confirmed})
	}
	for _, f := range x.Points.FrozenHeads() {
		v.Frozen = append(v.Frozen, sealing.FrozenView{Number: f.Generation, Older: olderFiles(files, x.Merge, f.Fills), Bytes: f.Bytes})
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
func (s *sealer) lost() {
	for _, d := range s.node.blocks.Load().Damaged() {
		f := sealedFile{d.File.Group, d.File.Sum}
		if g := s.groups[f.group.ID]; g != nil && g.files == f.group && !s.damage[f] {
			s.damage[f] = true
			s.core.Lost(f.group.ID, f.sum)
		}
	}
}

// clear removes the files of groups that have had no replica here for long.
func (s *sealer) clear(now time.Duration) {
	for g, since := range s.gone {
		if now < since+clearAfter || s.tasks[g] > 0 || slices.ContainsFunc(s.node.store.Replicas(), func(r logstore.Replica) bool { return r.Group == g.ID && r.Incarnation == g.Incarnation }) {
			continue
		}
		s.node.log.Info("block files of a group that is not here are removed", "group", g.ID, "incarnation", uint64(g.Incarnation))
		s.node.fetcher.Drop(g)
		if err := s.node.blocks.Load().RemoveGroup(g); err != nil {
			s.node.log.Warn("block files not removed", "group", g.ID, "err", err)
		}
		s.mu.Lock()
		delete(s.lists, g)
		s.mu.Unlock()
	}
}

// rows are the counters of points, where there are any.
func (s *sealer) rows() (rows []wire.CounterRow) {
	f := s.figures.Load()
	if f == nil {
		return nil
	}
	files := s.node.blocks.Load().Stats()
	for _, r := range []wire.CounterRow{
		{Name: "points: bytes in memory and in no file", BytesIn: uint64(f.held)},
		{Name: "points: bytes whose files are being made", BytesIn: uint64(f.frozen)},
		{Name: "points: block files", In: uint64(files.Files), BytesIn: uint64(files.Bytes)},
		{Name: "points: block files made", Out: f.made.files, BytesOut: f.made.bytes},
		{Name: "points: block files fetched", In: f.made.fetched},
		{Name: "points: block files removed", Out: f.made.removed},
	} {
		if r.In > 0 || r.Out > 0 || r.BytesIn > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// problems tells a person that points are refused.
func (s *sealer) problems() []wire.Problem {
	f := s.figures.Load()
	if f == nil || !s.refuses.Load() {
		return nil
	}
	return []wire.Problem{{
		What:   fmt.Sprintf("node %s refuses points: those that are in memory and in no file take %d bytes, and --points-memory allows %d", s.node.name, f.held, s.limits.Hard),
		Remedy: "see whether its disk has room, and is fast enough for files to be made; if it is, give the node more memory by --points-memory",
	}}
}
