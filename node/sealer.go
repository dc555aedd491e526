package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/filer"
	"muster/repl/sealing"
	"muster/repl/wire"
	"muster/shardmap/points/block"
)

const (
	// sealPause lies between two turns of the core of seals: more of them gain nothing.
	sealPause = 100 * time.Millisecond
	// sealWarnEvery is how often the log tells at most that points are refused: under load that begins and ends each second.
	sealWarnEvery = time.Minute
	// pointsMemoryMin and pointsMemoryMax bound --points-memory: with less each write would be a file, and no host has more.
	pointsMemoryMin = 1 << 20
	pointsMemoryMax = 1 << 40
)

// sealer runs what keeps this node's points in block files.
type sealer struct {
	// Set once.
	node    *Node
	limits  sealing.Limits
	stopped chan error // from a task, to live: no block file can be written any more. At most one

	mail mailbox // for run

	figures atomic.Pointer[sealFigures] // as of the last turn; nil: there was none

	filer   *filer.Filer  // run takes its turns
	refuses bool          // owned by run: as of its last turn
	warnAt  time.Duration // owned by run: before it the log does not tell again that points are refused
	usesAt  time.Duration // owned by run: when limits are looked at again

	uses atomic.Pointer[[]limitUse] // of the limits of databases, as of then; nil: nothing was looked at
}

// sealFigures are what others are told of.
type sealFigures struct {
	held, frozen int64 // memory of heads, and of the frozen ones among them, in bytes
	made         filer.Counts
}

func (s *sealer) init(n *Node) {
	s.node, s.mail, s.stopped = n, newMailbox(), make(chan error, 1)
	hard := int64(n.cfg.PointsMemory)
	s.limits = sealing.Limits{Soft: hard / 2, Hard: hard}
	s.filer = filer.New(filer.Config{
		Self: n.self().Node, Name: n.name, Limits: s.limits, Files: n.blocks.Load(), Rouse: s.mail.rouse, Log: n.log,
		Wall: func() int64 { return n.keeping.wall().UnixNano() },
		Snapshots: func(r logstore.Replica) (kept []raft.LogID) {
			for _, k := range n.store.Snapshots(r) {
				kept = append(kept, k.Base.ID)
			}
			return kept
		},
	})
}

// run takes the turns.
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
		next, going := s.turn(loop)
		if !going {
			return
		}
		timer.Reset(next - loop.Now())
		pause.Reset(sealPause)
	}
}

// turn shows the core what has changed, has it decide, and begins what it decided. It returns when the next turn is due, and false
// if the node stops.
func (s *sealer) turn(loop *repl.Loop) (next time.Duration, going bool) {
	now := loop.Now()
	queued := s.mail.take() // first: what has ended shows in what is looked at
	if !loop.Ask(func(h *repl.Host) {
		s.filer.Look(h, now)
		if now >= s.usesAt {
			s.usesAt = now + limitsLook
			uses := limitUsesOf(h, s.node.table.Load())
			s.uses.Store(&uses)
		}
	}) {
		return 0, false
	}
	for _, f := range queued {
		f(now)
	}
	s.clear(now)
	actions, next := s.filer.Turn(now)
	f := sealFigures{made: s.filer.Made()}
	f.held, f.frozen = s.filer.Held()
	s.figures.Store(&f)
	refused := s.refuses
	if s.refuses = s.filer.Refuses(); s.refuses && !refused && now >= s.warnAt {
		s.warnAt = now + sealWarnEvery
		s.node.log.Warn("points are refused: those in memory take all that --points-memory allows", "limit", s.limits.Hard)
	}
	if len(actions) == 0 {
		return next, true
	}
	var tasks []*filer.Task
	if !loop.Ask(func(h *repl.Host) { tasks = s.filer.Begin(h, actions) }) {
		return 0, false
	}
	for _, t := range tasks {
		s.begin(t)
	}
	return next, true
}

// begin begins a task.
func (s *sealer) begin(t *filer.Task) {
	n := s.node
	ways := filer.Ways{
		Paced: func(to io.Writer) io.Writer {
			rate := int64(n.cfg.SnapshotRate)
			if s.filer.Presses() {
				rate = 0
			}
			return &pacedFile{n.ctx, to, repl.NewPace(rate, n.ctx.Done())}
		},
		Fetch: func(from raft.NodeID, g blocks.Group, sum block.Sum) error {
			_, err := n.transport.FetchBlockFile(n.ctx, from, n.blocks.Load(), g, sum)
			return err
		},
	}
	n.ended.Go(func() {
		o := s.filer.Do(t, ways)
		if o.Err != nil && n.ctx.Err() == nil {
			n.log.Info("block file not done", "action", t.Kind, "group", t.Group, "shard", t.Shard, "seal", t.Number, "err", o.Err)
		}
		if errors.Is(o.Err, blocks.ErrStopped) && n.ctx.Err() == nil {
			select {
			case s.stopped <- o.Err:
			default: // it is told already
			}
		}
		s.mail.post(func(now time.Duration) { s.filer.Ended(t, now, o) })
	})
}

// pacedFile writes as fast as it may, until the node stops.
type pacedFile struct {
	ctx  context.Context
	to   io.Writer
	pace repl.Pace
}

func (p *pacedFile) Write(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.to.Write(b)
	if err == nil {
		err = p.pace(n)
	}
	return n, err
}

// clear removes the files of groups that have had no replica here for long.
func (s *sealer) clear(now time.Duration) {
	for _, g := range s.filer.Left(now) {
		if slices.ContainsFunc(s.node.store.Replicas(), func(r logstore.Replica) bool { return r.Group == g.ID && r.Incarnation == g.Incarnation }) {
			continue
		}
		s.node.log.Info("block files of a group that is not here are removed", "group", g.ID, "incarnation", uint64(g.Incarnation))
		s.node.fetcher.Drop(g)
		if err := s.node.blocks.Load().RemoveGroup(g); err != nil {
			s.node.log.Warn("block files not removed", "group", g.ID, "err", err)
		}
		s.filer.Cleared(g)
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
		{Name: "points: block files made", Out: f.made.Files, BytesOut: f.made.Bytes},
		{Name: "points: block files fetched", In: f.made.Fetched},
		{Name: "points: block files removed", Out: f.made.Removed},
	} {
		if r.In > 0 || r.Out > 0 || r.BytesIn > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// problems tells a person that points are refused, or will be.
func (s *sealer) problems() (list []wire.Problem) {
	if uses := s.uses.Load(); uses != nil {
		for i := range *uses {
			list = append(list, (*uses)[i].problems(s.node.name)...)
		}
	}
	f := s.figures.Load()
	if f == nil || !s.filer.Refuses() {
		return list
	}
	return append(list, wire.Problem{
		What:   fmt.Sprintf("node %s refuses points: those that are in memory and in no file take %d bytes, and --points-memory allows %d", s.node.name, f.held, s.limits.Hard),
		Remedy: "see whether its disk has room, and is fast enough for files to be made; if it is, give the node more memory by --points-memory",
	})
}
