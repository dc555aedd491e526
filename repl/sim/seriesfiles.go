package sim

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/hints"
	"muster/raft"
	"muster/repl"
	"muster/repl/filer"
	"muster/repl/machine"
	"muster/repl/sealing"
	"muster/repl/wire"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// Points become block files, on the disks of the nodes, beside their logs. The store of the files, what a node does about them and
// the core that decides are the real ones; made up is how long each step takes, behind which the process may die, and how questions and ranges
// of files cross the network. The clocks of the cores go faster in some runs, so that heads grow old and windows rest within minutes.

const (
	// filesPause lies between two turns of a node's core, as in node/sealer.go.
	filesPause = 100 * time.Millisecond
	// filesLook is how often something may befall the files of some node, and filesScrub how often a node reads all of them again.
	filesLook  = time.Second
	filesScrub = 4 * time.Second
	// filesRot and filesFail are how many such looks there are for each file that rots, and for each failure of a disk
	// that strikes block files alone.
	filesRot, filesFail = 12, 12
	// filesFlip is how many ranges of files there are for each with another bit than was sent.
	filesFlip = 32
	// filesStep is how many writes to a file there are for each behind which time passes.
	filesStep = 3
	// filesWithin bounds how long the nodes of a healed cluster take to have all files: a core that was refused many times rests for a minute.
	filesWithin = 3 * time.Minute
)

// pointFiles are the block files of a node.
type pointFiles struct {
	n       *node
	settled map[settledState]bool // states whose files were here when they were to be written down

	// Of the process.
	store   *blocks.Store
	filer   *filer.Filer
	fetcher *repl.BlockFetcher
	planned bool          // a turn is
	due     time.Duration // when the next one is due by itself
	ended   []func(now time.Duration)
}

// settledState names a state of a replica.
type settledState struct {
	replica logstore.Replica
	at      raft.LogID
}

// are reports whether an operation of the disk is one of these files.
func (p *pointFiles) are(op string) bool {
	return p.n.c.series.active && slices.ContainsFunc([]string{blocks.Dir, hints.Dir, lettersDir}, func(dir string) bool {
		return strings.Contains(op, path.Join(dataDir, dir))
	})
}

// spared is the pattern of files that a failure of the log may strike.
func (p *pointFiles) spared() string {
	if p.n.c.series.active {
		return path.Join(dataDir, logstore.LogDir, "*")
	}
	return ""
}

// bytes is how much of the disk the files take.
func (p *pointFiles) bytes() (n int64) {
	if p.store != nil {
		n = p.store.Stats().Bytes
	}
	return n
}

// open is the start of a process, before its host.
func (p *pointFiles) open() error {
	n, x := p.n, &p.n.c.series
	if !x.active {
		return nil
	}
	if p.settled == nil {
		p.settled = map[settledState]bool{}
	}
	store := n.store
	files, err := blocks.Open(blocks.Options{FS: n.files.fs, Dir: dataDir, Leave: func() int64 { return logstore.LeaveFree(store) }, Piece: 512, Log: n.c.logger(n.index)})
	if err != nil {
		return err
	}
	p.store, p.planned, p.due, p.ended = files, false, 0, nil
	p.filer = filer.New(filer.Config{
		Self: n.id, Name: nameOf(n.id), Limits: x.files.limits, Files: files, Rouse: func() { p.plan(filesPause) }, Log: n.c.logger(n.index),
		Wall: func() int64 { return x.wall(n) },
		Snapshots: func(r logstore.Replica) (kept []raft.LogID) {
			for _, s := range n.store.Snapshots(r) {
				kept = append(kept, s.Base.ID)
			}
			return kept
		},
		Map: func(m repl.StateMachine) *machine.Map {
			if w, ok := m.(*watched); ok {
				return w.state
			}
			return nil
		},
	})
	p.fetcher = repl.NewBlockFetcher(repl.BlockFetcherConfig{
		Self: n.id, Files: files, Log: n.c.logger(n.index), Clock: &hostTime{n},
		Beside: func(f func()) { n.beside.spawn(func(*task) { f() }) },
		Fetch: func(_ context.Context, from raft.NodeID, g blocks.Group, sum block.Sum) error {
			return p.fetch(n.beside.running, files, from, g, sum)
		},
	})
	return nil
}

// owns tells a machine of the files.
func (p *pointFiles) owns(m *machine.Map, r logstore.Replica) {
	if p.n.c.series.active {
		m.State.KeepHeads()
		m.Points = p.filer.Owner(r.Group, r.Incarnation)
	}
}

// missing is what the host asks of a snapshot.
func (p *pointFiles) missing(r logstore.Replica, sums []block.Sum) int {
	if p.store == nil {
		return 0
	}
	return len(p.store.Missing(blocks.Group{ID: r.Group, Incarnation: r.Incarnation}, sums))
}

// arriving is what snapshots that arrive fetch their files by.
func (p *pointFiles) arriving() repl.SnapshotFiles {
	if !p.n.c.series.active {
		return nil
	}
	return p.fetcher
}

// begin is called when the process has its host. Each state that it has found is one all of whose files are here, unless they rotted.
func (p *pointFiles) begin() {
	n := p.n
	if !n.c.series.active {
		return
	}
	n.host.Replicas.Each(func(v *repl.ReplicaView) {
		w, ok := v.Machine.(*watched)
		if !ok || w.state == nil || !p.settled[settledState{v.Replica, w.base}] {
			return // a snapshot that came whole may lack files, if there is no other
		}
		g := blocks.Group{ID: v.Replica.Group, Incarnation: v.Replica.Incarnation}
		made := map[block.Sum]bool{} // of entries that the log has behind the snapshot
		for _, s := range w.state.State.Shards() {
			for _, k := range s.KeptHeads() {
				made[k.Sum] = true
			}
		}
		for _, sum := range p.store.Missing(g, w.state.BlockFiles()) {
			if !made[sum] && n.c.series.files.rotted(n, g, sum) == nil && !n.refusals.any() {
				n.c.fail("I21: n%d starts with a state of group %d, at %s now, that names block file %s, which is not here and not to be made", n.index, g.ID, w.at, sum)
			}
		}
	})
	p.plan(0)
}

// end is the end of the process.
func (p *pointFiles) end() {
	if p.fetcher != nil {
		p.fetcher.Close()
	}
	p.store, p.filer, p.fetcher, p.ended = nil, nil, nil, nil
}

// hostTime is the clock of a node, as package repl sees it.
type hostTime struct{ n *node }

// Now implements [repl.Clock].
func (t *hostTime) Now() time.Time { return time.Unix(0, 0).Add(t.n.c.now) }

// AfterFunc implements [repl.Clock].
func (t *hostTime) AfterFunc(d time.Duration, f func()) repl.Timer {
	m := &hostTimer{n: t.n, f: f}
	m.Reset(d)
	return m
}

// hostTimer is a timer of that clock.
type hostTimer struct {
	n      *node
	f      func()
	number uint64 // of the last time that it was set
	runs   bool
}

// Reset implements [repl.Timer].
func (m *hostTimer) Reset(d time.Duration) (ran bool) {
	ran = m.runs
	m.number, m.runs = m.number+1, true
	number := m.number
	m.n.soon(d, func() {
		if m.runs && m.number == number {
			m.runs = false
			m.f()
		}
	})
	return ran
}

// Stop implements [repl.Timer].
func (m *hostTimer) Stop() (ran bool) {
	ran, m.runs = m.runs, false
	return ran
}

// now is what the core is told that its clock shows.
func (p *pointFiles) now() time.Duration { return p.n.ticks.now() * p.n.c.series.files.scale }

// plan plans a turn, unless one is planned.
func (p *pointFiles) plan(d time.Duration) {
	if p.planned || p.filer == nil {
		return
	}
	p.planned = true
	p.n.soon(d, p.turn)
}

// turn is a turn of the core, as node/sealer.go takes it.
func (p *pointFiles) turn() {
	n, f := p.n, &p.n.c.series.files
	if p.planned = false; n.host == nil || p.filer == nil || !f.turns {
		return
	}
	ended := p.ended
	p.ended = nil
	p.filer.Look(n.host, p.now())
	for _, f := range ended {
		f(p.now())
	}
	actions, next := p.filer.Turn(p.now())
	for i := range actions {
		if a := &actions[i]; a.Kind == sealing.Wrong {
			n.c.fail("I21: n%d makes of seal %d of %s of group %d block file %s, and the group has %s", n.index, a.Number, a.Shard, a.Group, a.Own, a.Sum)
		}
	}
	for _, t := range p.filer.Begin(n.host, actions) {
		p.do(t)
	}
	life := n.life
	if n.turn(); n.up && n.life == life {
		if d := (next - p.now()) / f.scale; d < time.Hour && !p.planned {
			// A turn that is roused comes earlier.
			p.due = n.ticks.now() + d
			due := p.due
			n.soon(max(d, filesPause), func() {
				if p.due == due {
					p.plan(0)
				}
			})
		}
	}
}

// do does a task of the core.
func (p *pointFiles) do(t *filer.Task) {
	n, files, does := p.n, p.store, p.filer
	n.beside.spawn(func(in *task) {
		if !in.wait(n.beside.stepTime()) {
			return
		}
		o := does.Do(t, filer.Ways{
			Paced: func(to io.Writer) io.Writer { return &stepper{in, to} },
			Fetch: func(from raft.NodeID, g blocks.Group, sum block.Sum) error { return p.fetch(in, files, from, g, sum) },
		})
		if p.filer != does {
			return // the process has ended
		}
		if errors.Is(o.Err, blocks.ErrStopped) {
			p.stops(o.Err)
			return
		}
		if o.Err != nil {
			n.c.note(n.index, "block file of group %d: %s: %v", t.Group, t.Kind, o.Err)
		}
		p.ended = append(p.ended, func(now time.Duration) { does.Ended(t, now, o) })
		p.plan(filesPause)
	})
}

// stops ends a process that can't tell which names of files are durable.
func (p *pointFiles) stops(err error) {
	n := p.n
	life := n.life
	n.c.note(n.index, "stops: %v", err)
	n.c.order.call(0, func() {
		if n.up && n.life == life {
			n.crash(n.c.chaos.power())
		}
	})
}

// stepper lets time pass while a file is written.
type stepper struct {
	in *task
	to io.Writer
}

func (s *stepper) Write(b []byte) (int, error) {
	n, f := s.in.of, &s.in.of.c.series.files
	if f.own.below(filesStep) == 0 && !s.in.wait(n.files.latency+f.own.skewed(10*time.Microsecond, time.Second)) {
		return 0, errEnded
	}
	return s.to.Write(b)
}

// fetch fetches a file from another node.
func (p *pointFiles) fetch(in *task, files *blocks.Store, from raft.NodeID, g blocks.Group, sum block.Sum) error {
	n, c := p.n, p.n.c
	if in == nil || from == 0 || int(from) > len(c.nodes) {
		c.fail("n%d fetches a block file from node %d, and is not to wait", n.index, from)
	}
	f, o := &c.series.files, c.nodes[from-1]
	r := repl.NewBlockReceipt(files, g, sum)
	defer r.Abort()
	for !r.Whole() {
		var q wire.BlockRange
		if !r.Ask(&q) {
			return errUnreached
		}
		lost, late := false, time.Duration(0)
		if !c.chaos.stopped {
			switch f.own.below(12) {
			case 0:
				lost = true
			case 1:
				late = f.own.skewed(time.Millisecond, askLateMax)
			}
		}
		if !in.wait(c.net.latency()) {
			return errEnded
		}
		if !o.up || o.paused || o.files.points.store == nil || !n.where.reaches(o.index) {
			return errUnreached
		}
		body := repl.ReadBlockRange(o.files.points.store, &q).Append(nil)
		if !in.wait(c.net.latency() + late) {
			return errEnded
		}
		if lost {
			return errUnreached
		}
		var a wire.BlockRangeAnswer
		if err := a.Read(body); err != nil {
			c.fail("n%d can't read what n%d says of a block file: %v", n.index, o.index, err)
		}
		if len(a.Data) > 0 && !c.chaos.stopped && f.own.below(filesFlip) == 0 {
			a.Data[f.own.below(len(a.Data))] ^= 1 << f.own.below(8)
		}
		if err := r.Take(&a); err != nil {
			return err
		}
	}
	_, err := r.Commit()
	if err == nil {
		c.result.Series.Fetched++
	}
	return err
}

// lookAgain asks the disk for what it has refused.
func (p *pointFiles) lookAgain() bool {
	if p.store == nil {
		return false
	}
	p.plan(filesPause)
	return p.store.LookAgain()
}

// read calls read with a way to open the files of a group.
func (p *pointFiles) read(g blocks.Group, read func(shard.Opener) error) error {
	if p.filer == nil {
		return read(nil) // there are no shards
	}
	return p.filer.Read(g, read)
}
