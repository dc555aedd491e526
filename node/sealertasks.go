package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/sealing"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// sealWork is a frozen head that becomes a file.
type sealWork struct {
	view  *shard.View
	merge int
}

// act begins what the core decided, in its order.
func (s *sealer) act(loop *repl.Loop, actions []sealing.Action) {
	if len(actions) == 0 {
		return
	}
	works := make([]sealWork, len(actions))
	if !loop.Ask(func(h *repl.Host) {
		for i := range actions {
			works[i] = s.inHost(h, &actions[i])
		}
	}) {
		return // the node stops
	}
	for i := range actions {
		a := &actions[i]
		g := s.groups[a.Group]
		switch a.Kind {
		case sealing.Make:
			s.begin(g.files, a, func() sealing.Outcome { return s.make(g.files, a, works[i]) })
		case sealing.Fetch:
			s.begin(g.files, a, func() sealing.Outcome { return s.fetch(g.files, a) })
		case sealing.Remove:
			s.begin(g.files, a, func() sealing.Outcome { return s.remove(g.files, a) })
		}
	}
}

// inHost does what only the goroutine of the host can do about an action.
func (s *sealer) inHost(h *repl.Host, a *sealing.Action) (w sealWork) {
	m, ok := h.Machine(a.Group).(*machine.Map)
	if g := s.groups[a.Group]; !ok || g.machine != m {
		return w // another state has taken its place since the turn
	}
	switch a.Kind {
	case sealing.Propose:
		h.Propose(repl.Proposal{Group: a.Group, Entry: machine.NewEntry(wire.Origin{}, wire.AppendWrite(nil, &a.Command)), Reply: repl.Reply{To: unheard{}}})
	case sealing.Release:
		m.State.ReleaseHead(a.Shard, a.Number)
	case sealing.Wrong:
		h.Replicas.Wrong(a.Group, fmt.Sprintf("seal %d of %s makes block file %s here, and the group has %s", a.Number, a.Shard, a.Own, a.Sum))
	case sealing.Make:
		w = workOf(m.State.Shard(a.Shard), a.Number)
	}
	return w
}

// workOf finds the frozen head of a seal.
func workOf(x *shardmap.GroupShard, number uint64) (w sealWork) {
	if x == nil {
		return w
	}
	for _, k := range x.KeptHeads() {
		if k.Number == number {
			return sealWork{k.View, int(k.Merge)}
		}
	}
	if f := x.Points.Frozen(); len(f) > 0 && f[0] == number {
		return sealWork{x.Points.View(), int(x.Merge)}
	}
	return w
}

// unheard is a [repl.Replier] of proposals whose answers nobody waits for: the core sees what was applied.
type unheard struct{}

// Answer implements [repl.Replier].
func (unheard) Answer(repl.Reply, wire.Type, []byte) bool { return false }

// Flush implements [repl.Replier].
func (unheard) Flush() {}

// begin begins a task.
func (s *sealer) begin(g blocks.Group, a *sealing.Action, do func() sealing.Outcome) {
	n := s.node
	s.tasks[g]++
	n.ended.Go(func() {
		o := do()
		if o.Err != nil && n.ctx.Err() == nil {
			n.log.Info("block file not done", "action", a.Kind, "group", g.ID, "shard", a.Shard, "seal", a.Number, "err", o.Err)
		}
		if errors.Is(o.Err, blocks.ErrStopped) && n.ctx.Err() == nil {
			select {
			case s.stopped <- o.Err:
			default: // it is told already
			}
		}
		s.mail.post(func(now time.Duration) { s.over(g, a, now, o) })
	})
}

// over takes note that a task has ended.
func (s *sealer) over(g blocks.Group, a *sealing.Action, now time.Duration, o sealing.Outcome) {
	if s.tasks[g]--; s.tasks[g] == 0 {
		delete(s.tasks, g)
	}
	sum := a.Sum
	switch {
	case o.Err != nil:
	case a.Kind == sealing.Make:
		sum = o.File.Sum
		s.made.files++
		s.made.bytes += uint64(o.File.Size)
		s.node.log.Debug("block file made", "group", g.ID, "shard", a.Shard, "seal", a.Number, "file", sum.Name(), "bytes", o.File.Size, "values", o.File.Values)
	case a.Kind == sealing.Fetch:
		s.made.fetched++
		s.node.log.Info("block file fetched", "group", g.ID, "file", sum.Name(), "from", a.From)
	case a.Kind == sealing.Remove:
		s.made.removed++
	}
	if o.Err == nil {
		delete(s.damage, sealedFile{g, sum})
	}
	s.core.Ended(a.Task, now, o)
}

var errHeadGone = errors.New("the frozen head is no longer here")

// make makes the file of a frozen head.
func (s *sealer) make(g blocks.Group, a *sealing.Action, w sealWork) (o sealing.Outcome) {
	if w.view == nil {
		return sealing.Outcome{Err: errHeadGone}
	}
	o.Err = s.read(g, func(open shard.Opener) (err error) {
		o.File, err = s.seal(g, a, w, open)
		return err
	})
	o.Full = errors.Is(o.Err, logstore.ErrFull)
	return o
}

func (s *sealer) seal(g blocks.Group, a *sealing.Action, w sealWork, open shard.Opener) (f shardmap.PointsSealed, err error) {
	file, err := s.node.blocks.Load().Create(g)
	if err != nil {
		return f, err
	}
	defer file.Abort()
	rate := int64(s.node.cfg.SnapshotRate)
	if s.presses.Load() {
		rate = 0
	}
	to, err := block.NewWriter(&pacedFile{s.node.ctx, file, repl.NewPace(rate, s.node.ctx.Done())})
	if err != nil {
		return f, err
	}
	if _, err := w.view.Seal(to, a.Number, w.merge, open); err != nil {
		return f, err
	}
	info, err := to.Finish()
	if err != nil {
		return f, err
	}
	f = shardmap.PointsSealed{Shard: a.Shard, Number: a.Number, Sum: info.Sum, Values: info.Values, First: info.First, Last: info.Last}
	made, err := file.Commit(info.Sum)
	f.Size = made.Size
	return f, err
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

// fetch fetches a file from another node.
func (s *sealer) fetch(g blocks.Group, a *sealing.Action) sealing.Outcome {
	_, err := s.node.transport.FetchBlockFile(s.node.ctx, a.From, s.node.blocks.Load(), g, a.Sum)
	return sealing.Outcome{Err: err, Full: errors.Is(err, logstore.ErrFull)}
}

// errListed refuses the removal of a file that a snapshot lists, which has begun since the core decided.
var errListed = errors.New("a snapshot lists it")

// bugListedRemoved is planted to show that its test finds it: a file goes that a snapshot lists which has begun meanwhile.
const bugListedRemoved = "block file removed though a snapshot has begun"

// remove removes a file that nothing needs.
func (s *sealer) remove(g blocks.Group, a *sealing.Action) sealing.Outcome {
	f := sealedFile{g, a.Sum}
	s.mu.Lock()
	listed := slices.ContainsFunc(s.lists[g], func(l fileList) bool { return slices.Contains(l.files, a.Sum) })
	if listed && !bug(bugListedRemoved) {
		s.mu.Unlock()
		return sealing.Outcome{Err: errListed}
	}
	s.removing[f] = true
	s.mu.Unlock()
	err := s.node.blocks.Load().Remove(g, a.Sum)
	s.mu.Lock()
	delete(s.removing, f)
	s.mu.Unlock()
	s.removed.Broadcast()
	return sealing.Outcome{Err: err}
}

// read calls read with a way to open block files of a group, and closes them. Damage that was met is found in its file, which
// is then fetched.
func (s *sealer) read(g blocks.Group, read func(shard.Opener) error) error {
	files := s.node.blocks.Load()
	open := map[block.Sum]*blocks.Reader{}
	defer func() {
		for _, r := range open {
			_ = r.Close() // nothing was written
		}
	}()
	err := read(func(sum block.Sum) (*block.Reader, error) {
		if r := open[sum]; r != nil {
			return r.Reader, nil
		}
		r, err := files.Open(g, sum)
		if err != nil {
			return nil, err
		}
		open[sum] = r
		return r.Reader, nil
	})
	var met *block.DamageError
	if errors.As(err, &met) {
		// A cursor does not say in which file.
		for sum := range open {
			if damage := files.Verify(g, sum); damage != nil {
				err = damage
			}
		}
	}
	if absent(err) {
		s.mail.rouse()
	}
	return err
}

// absent reports whether a file is not here, or not whole, so that it is made or fetched.
func absent(err error) bool {
	var damaged *blocks.Damaged
	return errors.Is(err, blocks.ErrUnknown) || errors.As(err, &damaged)
}

// answer is read for a question: its error for a file that is not here lets the question be asked again.
func (s *sealer) answer(g blocks.Group, read func(shard.Opener) error) error {
	err := s.read(g, read)
	switch {
	case absent(err):
		return wire.NotReady(fmt.Sprintf("points of group %d", g.ID), err.Error(), "try again, or ask another replica: the file is made or fetched", wire.BusyRetry)
	case errors.Is(err, blocks.ErrBusy):
		return wire.Busy(fmt.Sprintf("points of group %d", g.ID), err.Error(), wire.BusyRetry)
	}
	return err
}
