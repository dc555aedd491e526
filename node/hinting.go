package node

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/logstore/hints"
	"muster/raft"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/hinting"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

const (
	// hintWithin is how long one try may take to bring a hint to its group.
	hintWithin = 5 * time.Second
	// hintsQueued bounds the hints that wait for the disk of this node, or to be told of.
	hintsQueued = 1024
)

// hintKeeper drives the core of the hints of this node: it keeps points that their group can't take now, and brings them to it
// when it can.
type hintKeeper struct {
	// Set once.
	node    *Node
	wall    func() time.Time
	limits  hinting.Limits
	store   *hints.Store // nil until the node serves
	letters deadLetters

	mail mailbox                  // for run
	news atomic.Pointer[hintNews] // of the last turn of run

	waiters atomic.Int64 // requests that wait

	mu   sync.Mutex
	seen map[raft.GroupID]uint64 // guarded by mu: the highest index of each group that an answer has named

	// Owned by run.
	core   *hinting.Core
	puts   []hints.Put
	waits  map[uint64]chan<- error // who asked for a hint that is being written, by number
	forget []uint64
	client *client.Client // nil: nothing is under way
	under  int            // tries
}

// begin reads the hints that are on the disk. It is called before the node serves.
func (k *hintKeeper) begin(n *Node, leave func() int64) error {
	k.node, k.mail = n, newMailbox()
	k.seen, k.waits = map[raft.GroupID]uint64{}, map[uint64]chan<- error{}
	k.letters = deadLetters{disk: n.fs, dir: path.Join(n.cfg.Data, lettersDir), leave: leave}
	store, err := hints.Open(hints.Options{FS: n.fs, Dir: n.cfg.Data, Chance: randomNumber(), Leave: leave, Log: n.log})
	if err != nil {
		return err
	}
	k.store = store
	if _, _, err := k.letters.look(); err != nil {
		return errors.Join(fmt.Errorf("look at the dead letters: %w", err), store.Close())
	}
	k.core = hinting.New(k.limits)
	var all []hinting.Hint
	for _, h := range store.All() {
		all = append(all, hinting.Hint{Number: h.Number, Group: h.Group, Bytes: h.Size, Points: h.Points, Taken: h.Taken})
	}
	k.core.Restore(all, store.Last())
	if len(all) > 0 {
		n.log.Info("hints found", "hints", len(all), "bytes", k.core.Bytes())
	}
	return nil
}

// close gives the files back. Nothing runs any more.
func (k *hintKeeper) close() error {
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

func (k *hintKeeper) now(loop *repl.Loop) hinting.Now {
	return hinting.Now{Host: loop.Now(), Wall: k.wall().UnixNano()}
}

func (k *hintKeeper) run() {
	n := k.node
	timer := time.NewTimer(0)
	defer timer.Stop()
	for k.mail.wait(n.ctx, timer) {
		loop := n.running()
		for _, f := range k.mail.take() {
			f(loop.Now())
		}
		k.write(loop)
		actions, next := k.core.Turn(k.now(loop))
		for i := range actions {
			k.act(loop, &actions[i])
		}
		k.tell()
		if k.under == 0 && k.client != nil {
			_ = k.client.Close() // it has no error
			k.client = nil
		}
		if len(k.forget) > 0 {
			next = loop.Now() // with what comes meanwhile
		}
		timer.Reset(next - loop.Now())
	}
	if k.client != nil {
		_ = k.client.Close()
	}
}

// write keeps what came since the last turn, and forgets what is to be forgotten, with one write and one sync.
func (k *hintKeeper) write(loop *repl.Loop) {
	if len(k.puts) == 0 && len(k.forget) == 0 {
		return
	}
	err := k.store.Append(k.puts, k.forget)
	if err != nil && k.node.ctx.Err() == nil {
		k.node.log.Warn("hints not written", "hints", len(k.puts), "forgotten", len(k.forget), "err", err)
	}
	for i := range k.puts {
		number := k.puts[i].Number
		k.core.Kept(number, err)
		if err != nil {
			k.answer(number, err)
		}
	}
	for _, number := range k.forget {
		k.core.Ended(k.now(loop), number, done(err))
	}
	k.puts, k.forget = nil, nil
}

// done is how an action of the disk has ended.
func done(err error) hinting.Outcome {
	if err != nil {
		return hinting.Outcome{Kind: hinting.Later, Why: err.Error()}
	}
	return hinting.Outcome{Kind: hinting.Done}
}

func (k *hintKeeper) answer(number uint64, err error) {
	if w := k.waits[number]; w != nil {
		w <- err // it has room
		delete(k.waits, number)
	}
}

// act carries out one action.
func (k *hintKeeper) act(loop *repl.Loop, a *hinting.Action) {
	number := a.Hint.Number
	switch a.Kind {
	case hinting.Answer:
		k.answer(number, nil)
	case hinting.Forget:
		k.forget = append(k.forget, number)
	case hinting.Bury:
		k.node.log.Warn("hint goes to the dead letters", "group", a.Hint.Group, "hint", number, "points", a.Hint.Points, "why", a.Why)
		h, why := a.Hint, a.Why
		k.beside(loop, number, func(context.Context, *client.Client) hinting.Outcome { return done(k.bury(h, why)) })
	case hinting.Propose:
		h := a.Hint
		k.beside(loop, number, func(ctx context.Context, c *client.Client) hinting.Outcome { return k.fill(ctx, c, h) })
	}
}

// beside does something about a hint beside run, and reports how it has ended.
func (k *hintKeeper) beside(loop *repl.Loop, number uint64, do func(context.Context, *client.Client) hinting.Outcome) {
	n := k.node
	if k.client == nil {
		c, err := ownClient(n)
		if err != nil {
			k.core.Ended(k.now(loop), number, done(err))
			return
		}
		k.client = c
	}
	c := k.client
	k.under++
	n.ended.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, hintWithin)
		defer cancel()
		o := do(ctx, c)
		k.mail.post(func(time.Duration) {
			k.under--
			k.core.Ended(k.now(loop), number, o)
		})
	})
}

// points returns the points of a hint, as a fill. If they are lost the error wraps [hints.ErrDamaged]; any other one is about the disk,
// and may pass.
func (k *hintKeeper) points(number uint64) (*shardmap.PointsBody, error) {
	says, err := k.store.Read(number)
	if err != nil {
		return nil, err
	}
	p, err := shardmap.ReadPoints(&shardmap.Command{Kind: shardmap.CommandPoints, Items: [][]byte{says}})
	if err != nil {
		return nil, fmt.Errorf("hint %d: %w: %w", number, hints.ErrDamaged, err)
	}
	return &p, nil
}

// bury writes a hint into the dead letters.
func (k *hintKeeper) bury(h hinting.Hint, why string) error {
	l := letter{number: h.Number, group: fmt.Sprintf("group %d", h.Group), taken: time.Unix(0, h.Taken), why: why}
	var err error
	switch l.points, err = k.points(h.Number); {
	case errors.Is(err, hints.ErrDamaged):
		l.points, l.why = nil, fmt.Sprintf("%s; and it can't be read any more: %v", why, err)
	case err != nil:
		return err // a letter without its points would be all that is left of it
	}
	return k.letters.bury(&l)
}

// fill brings a hint to its group.
func (k *hintKeeper) fill(ctx context.Context, c *client.Client, h hinting.Hint) hinting.Outcome {
	p, err := k.points(h.Number)
	if errors.Is(err, hints.ErrDamaged) {
		return hinting.Outcome{Kind: hinting.Refused, Why: err.Error()}
	}
	if err != nil {
		return done(err)
	}
	table := k.node.table.Load()
	if table == nil {
		return hinting.Outcome{Kind: hinting.Later, Why: "this node has no table yet"} // it has just been started
	}
	w, ok := table.Catalog.Window(p.Shard.Window)
	switch {
	case !ok && uint64(p.Shard.Window) <= table.Index:
		return hinting.Outcome{Kind: hinting.Refused, Why: fmt.Sprintf("%s: its window was dropped", p.Shard)}
	case !ok:
		return hinting.Outcome{Kind: hinting.Later, Why: fmt.Sprintf("the table of index %d does not have the window yet", table.Index)}
	case int(p.Shard.Shard) >= len(w.Shards):
		return hinting.Outcome{Kind: hinting.Refused, Why: fmt.Sprintf("%s: its window has %d shards", p.Shard, len(w.Shards))}
	}
	a, err := client.BringPoints(ctx, c, w.Shards[p.Shard.Shard], p)
	if err != nil {
		return hinting.Outcome{Kind: kindOf(err), Why: err.Error()}
	}
	k.learn(&a)
	return hinting.Outcome{Kind: hinting.Done, Came: a.Outcome}
}

// kindOf tells what an error means for a hint: whether it is of no use to bring it again.
func kindOf(err error) hinting.OutcomeKind {
	e, ok := refusalIn(err)
	if !ok {
		return hinting.Maybe // its answer may be lost
	}
	switch e.Code {
	case wire.CodeMaybeApplied:
		return hinting.Maybe
	case wire.CodeBadRequest, wire.CodeTooLarge, wire.CodeNotFound, wire.CodeConflict, wire.CodeOverLimit:
		return hinting.Refused
	}
	return hinting.Later
}

// learn notes the index that an answer names.
func (k *hintKeeper) learn(a *client.PointsAnswer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[a.Group] = max(k.seen[a.Group], a.ID.Index)
}

// known is the highest index of a group that this node knows to be applied there.
func (k *hintKeeper) known(loop *repl.Loop, g raft.GroupID) uint64 {
	k.mu.Lock()
	index := k.seen[g]
	k.mu.Unlock()
	loop.Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group == g {
				index = max(index, v.Applied.Index)
			}
		}
	})
	return index
}

// keep has this node keep points. It returns once they are durable.
func (k *hintKeeper) keep(ctx context.Context, loop *repl.Loop, q *wire.Hint) *wire.Error {
	table := k.node.table.Load()
	command := shardmap.Command{Kind: shardmap.CommandPoints, Items: [][]byte{q.Points}}
	g, refused := machine.PointsGroup(&command, table)
	if refused != nil {
		return refused
	}
	if g != q.Group {
		return &wire.Error{Code: wire.CodeMoved, Object: "hint", Text: "another group has the shard", Epoch: table.Epoch,
			State: fmt.Sprintf("group %d was named, and the table of index %d has group %d", q.Group, table.Index, g), Next: "fetch the table, and take the group from it"}
	}
	p, err := shardmap.ReadPoints(&command)
	if err != nil {
		return wire.BadBody(wire.TypeHint, err)
	}
	count, err := pointsIn(&p)
	if err != nil {
		return wire.BadBody(wire.TypeHint, err)
	}
	hinting.AsFill(&p, k.known(loop, g))
	fill := p.Command()
	kept := make(chan error, 1)
	k.mail.post(func(time.Duration) {
		if len(k.puts) >= hintsQueued {
			kept <- wire.Busy("hints", fmt.Sprintf("%d wait for the disk", len(k.puts)), wire.BusyRetry)
			return
		}
		says := fill.Items[0]
		h, err := k.core.Take(k.now(loop), g, hints.Size(len(says)), count)
		if err != nil {
			kept <- err
			return
		}
		k.puts = append(k.puts, hints.Put{Hint: hints.Hint{Number: h.Number, Group: g, Taken: h.Taken, Points: count}, Says: says})
		k.waits[h.Number] = kept
	})
	select {
	case err = <-kept:
	case <-ctx.Done():
		return wire.Unavailable("hint", "the disk of the node has not taken it in time; it may be kept all the same")
	}
	return notKept(k.node, err)
}

// notKept is the error that answers a request for a hint that is not kept; nil: it is.
func notKept(n *Node, err error) *wire.Error {
	var full *hinting.FullError
	if e, ok := refusalIn(err); ok {
		return e
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &full):
		return &wire.Error{Code: wire.CodeBusy, Object: "hints of node " + n.name, Text: "no room for more", State: full.Error(),
			Next: "see why the group takes no points: muster hint list", RetryAfterMs: uint32(wire.BusyRetry.Milliseconds())}
	case errors.Is(err, logstore.ErrFull):
		return &wire.Error{Code: wire.CodeFull, Object: "hints of node " + n.name, Text: "its disk has no room", State: err.Error(), Next: "make room on its disk"}
	}
	return wire.Unavailable("hints of node "+n.name, err.Error())
}

// pointsIn counts the points of a share.
func pointsIn(p *shardmap.PointsBody) (uint64, error) {
	var r points.ShareReader
	b, err := r.Read(p.Share, p.Shard.Span)
	if err != nil {
		return 0, err
	}
	return uint64(b.Points()), nil
}
