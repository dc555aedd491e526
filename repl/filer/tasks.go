package filer

import (
	"errors"
	"fmt"
	"io"
	"slices"
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

// Task is something that the core wants done, which takes as long as a disk or a network does.
type Task struct {
	sealing.Action
	Files blocks.Group // of which group
	head  frozenHead   // of a Make
}

// frozenHead is a head that becomes a file.
type frozenHead struct {
	view  *shard.View // nil: it is no longer here
	merge int
}

// Begin does what only the goroutine of the host can do about actions, and returns what is left of them to be done, in their
// order. The owner begins all of it.
func (f *Filer) Begin(h *repl.Host, actions []sealing.Action) (tasks []*Task) {
	for i := range actions {
		a := &actions[i]
		g := f.groups[a.Group]
		m := f.cfg.Map(h.Machine(a.Group))
		here := m != nil && g.machine == m // else another state has taken its place since the turn
		switch a.Kind {
		case sealing.Propose:
			if here {
				h.Propose(repl.Proposal{Group: a.Group, Entry: machine.NewEntry(wire.Origin{}, wire.AppendWrite(nil, &a.Command)), Reply: repl.Reply{To: unheard{}}})
			}
		case sealing.Release:
			if here {
				m.State.ReleaseHead(a.Shard, a.Number)
			}
		case sealing.Wrong:
			if here {
				h.Replicas.Wrong(a.Group, fmt.Sprintf("seal %d of %s makes block file %s here, and the group has %s", a.Number, a.Shard, a.Own, a.Sum))
			}
		case sealing.Make, sealing.Fetch, sealing.Remove:
			t := &Task{Action: *a, Files: g.files}
			if here && a.Kind == sealing.Make {
				t.head = headOf(m.State.Shard(a.Shard), a.Number)
			}
			f.tasks[g.files]++
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// headOf finds the frozen head of a seal.
func headOf(x *shardmap.GroupShard, number uint64) (w frozenHead) {
	if x == nil {
		return w
	}
	for _, k := range x.KeptHeads() {
		if k.Number == number {
			return frozenHead{k.View, int(k.Merge)}
		}
	}
	if o := x.Points.Frozen(); len(o) > 0 && o[0] == number {
		return frozenHead{x.Points.View(), int(x.Merge)}
	}
	return w
}

// unheard is a [repl.Replier] of proposals whose answers nobody waits for: the core sees what was applied.
type unheard struct{}

// Answer implements [repl.Replier].
func (unheard) Answer(repl.Reply, wire.Type, []byte) bool { return false }

// Flush implements [repl.Replier].
func (unheard) Flush() {}

// Ways are how the owner writes and fetches.
type Ways struct {
	// Paced writes to a file at a pace.
	Paced func(io.Writer) io.Writer
	// Fetch fetches a file from another node. It returns once the file is durable and verified.
	Fetch func(from raft.NodeID, g blocks.Group, sum block.Sum) error
}

// Do does a task, on any goroutine, and returns how it has ended.
func (f *Filer) Do(t *Task, ways Ways) (o sealing.Outcome) {
	switch t.Kind {
	case sealing.Make:
		o = f.make(t, ways.Paced)
	case sealing.Fetch:
		o.Err = ways.Fetch(t.From, t.Files, t.Sum)
		o.Full = errors.Is(o.Err, logstore.ErrFull)
	case sealing.Remove:
		o.Err = f.remove(t.Files, t.Sum)
	}
	return o
}

// Ended takes note that a task has ended.
func (f *Filer) Ended(t *Task, now time.Duration, o sealing.Outcome) {
	if f.tasks[t.Files]--; f.tasks[t.Files] == 0 {
		delete(f.tasks, t.Files)
	}
	sum := t.Sum
	switch {
	case o.Err != nil:
	case t.Kind == sealing.Make:
		sum = o.File.Sum
		f.made.Files++
		f.made.Bytes += uint64(o.File.Size)
		f.cfg.Log.Debug("block file made", "group", t.Files.ID, "shard", t.Shard, "seal", t.Number, "file", sum.Name(), "bytes", o.File.Size, "values", o.File.Values)
	case t.Kind == sealing.Fetch:
		f.made.Fetched++
		f.cfg.Log.Info("block file fetched", "group", t.Files.ID, "file", sum.Name(), "from", t.From)
	case t.Kind == sealing.Remove:
		f.made.Removed++
	}
	if o.Err == nil {
		delete(f.damage, file{t.Files, sum})
	}
	f.core.Ended(t.Task, now, o)
}

var errHeadGone = errors.New("the frozen head is no longer here")

// make makes the file of a frozen head.
func (f *Filer) make(t *Task, paced func(io.Writer) io.Writer) (o sealing.Outcome) {
	if t.head.view == nil {
		return sealing.Outcome{Err: errHeadGone}
	}
	o.Err = f.Read(t.Files, func(open shard.Opener) (err error) {
		o.File, err = f.seal(t, paced, open)
		return err
	})
	o.Full = errors.Is(o.Err, logstore.ErrFull)
	return o
}

func (f *Filer) seal(t *Task, paced func(io.Writer) io.Writer, open shard.Opener) (s shardmap.PointsSealed, err error) {
	out, err := f.cfg.Files.Create(t.Files)
	if err != nil {
		return s, err
	}
	defer out.Abort()
	to, err := block.NewWriter(paced(out))
	if err != nil {
		return s, err
	}
	if _, err := t.head.view.Seal(to, t.Number, t.head.merge, open); err != nil {
		return s, err
	}
	info, err := to.Finish()
	if err != nil {
		return s, err
	}
	s = shardmap.PointsSealed{Shard: t.Shard, Number: t.Number, Sum: info.Sum, Values: info.Values, First: info.First, Last: info.Last}
	made, err := out.Commit(info.Sum)
	s.Size = made.Size
	return s, err
}

// errListed refuses the removal of a file that a snapshot lists, which has begun since the core decided.
var errListed = errors.New("a snapshot lists it")

// bugListedRemoved is planted to show that its test finds it: a file goes that a snapshot lists which has begun meanwhile.
const bugListedRemoved = "block file removed though a snapshot has begun"

// remove removes a file that nothing needs.
func (f *Filer) remove(g blocks.Group, sum block.Sum) error {
	x := file{g, sum}
	f.mu.Lock()
	listed := slices.ContainsFunc(f.lists[g], func(l fileList) bool { return slices.Contains(l.files, sum) })
	if listed && !bug(bugListedRemoved) {
		f.mu.Unlock()
		return errListed
	}
	f.removing[x] = true
	f.mu.Unlock()
	err := f.cfg.Files.Remove(g, sum)
	f.mu.Lock()
	delete(f.removing, x)
	f.mu.Unlock()
	f.removed.Broadcast()
	return err
}
