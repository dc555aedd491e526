package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/client"
	"muster/repl/errands"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// errandWithin is how long one request of an errand may take, retries included: longer than a group
	// lacks a leader after one has died. The core tries again after that.
	errandWithin = 30 * time.Second
	// errandTold is how often a core hears at most how far an errand is.
	errandTold = 100 * time.Millisecond
)

// errandRunner drives the core of errands of this node, and does what that decides as a client of its own
// cluster. While the meta group is led elsewhere it sleeps.
type errandRunner struct {
	// Set once.
	node *Node
	wall func() time.Time // by which the schedule goes: [time.Now], but in tests
	// sending, if not nil, is called by each delete before it sends its first command, and what it returns after the
	// last. It is nil but in tests.
	sending func() (sent func())
	// Owned by run.
	core   *errands.Core
	under  map[uint64]underway // what was started, by number
	client *client.Client      // nil: nothing is under way

	mail  mailbox     // for run
	leads atomic.Bool // the meta group is led here, with an entry of this term applied

	taken, failed atomic.Uint64 // backups
}

// underway is something that was started.
type underway struct {
	end  context.CancelFunc
	send chan struct{} // of a delete: run closes it once it may delete
}

func (e *errandRunner) init(n *Node) {
	e.node, e.core, e.under, e.mail = n, errands.New(n.self().Node), map[uint64]underway{}, newMailbox()
}

// led is told by the host when the lead of the meta group comes here, or goes.
func (e *errandRunner) led(leads bool) {
	e.leads.Store(leads)
	e.mail.rouse()
}

// changed is told of each new table.
func (e *errandRunner) changed() {
	if e.leads.Load() {
		e.mail.rouse()
	}
}

func (e *errandRunner) run() {
	n := e.node
	timer := time.NewTimer(0)
	defer timer.Stop()
	n.shelf.tidy(n.log)
	for e.mail.wait(n.ctx, timer) {
		loop := n.running()
		queued := e.mail.take()
		leads := e.leads.Load() // first: a leader decides by a table of its own term
		if t := n.table.Load(); t != nil {
			e.core.Table(t)
		}
		e.core.Lead(leads)
		for _, f := range queued {
			f(loop.Now())
		}
		actions, next := e.core.Turn(errands.Now{Host: loop.Now(), Wall: e.wall().Unix()})
		for i := range actions {
			e.act(loop, &actions[i])
		}
		if len(e.under) == 0 && e.client != nil {
			_ = e.client.Close() // it has no error
			e.client = nil
		}
		timer.Reset(next - loop.Now())
	}
	for _, u := range e.under {
		u.end()
	}
	// What is under way ends with the node's context, and waits for no answer of this goroutine.
	if e.client != nil {
		_ = e.client.Close()
	}
}

// act carries out one action.
func (e *errandRunner) act(loop *repl.Loop, a *errands.Action) {
	n := e.node
	switch a.Kind {
	case errands.Propose:
		n.ended.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
			defer cancel()
			if err := n.moves.propose(ctx, loop, a.Payload); err != nil && n.ctx.Err() == nil {
				n.log.Info("errand not noted", "err", err)
			}
		})
	case errands.Start:
		ctx, cancel := context.WithCancel(n.ctx)
		u := underway{end: cancel, send: make(chan struct{})}
		e.under[a.Number] = u
		c, err := e.open()
		n.ended.Go(func() {
			o := errands.Outcome{Progress: errands.Progress{Slot: a.Job.Errand.Slot}, Err: err}
			if err == nil {
				o = e.do(ctx, c, a, u.send)
			}
			if o.Err != nil && ctx.Err() == nil {
				n.log.Warn("errand not done", "job", a.Job.ID, "kind", a.Job.Kind, "err", o.Err)
			}
			cancel()
			e.mail.post(func(time.Duration) {
				delete(e.under, a.Number)
				e.core.Ended(a.Number, o)
			})
		})
	case errands.Send:
		if u, ok := e.under[a.Number]; ok {
			close(u.send)
		}
	case errands.Stop:
		if u, ok := e.under[a.Number]; ok {
			u.end()
		}
	case errands.Prune:
		n.ended.Go(func() { e.pruneBackups(a.Keep) })
	}
}

// do does an errand, and returns how it ended. A delete waits for send before it deletes.
func (e *errandRunner) do(ctx context.Context, c *client.Client, a *errands.Action, send <-chan struct{}) errands.Outcome {
	e.node.log.Info("errand begins", "job", a.Job.ID, "kind", a.Job.Kind, "slot", a.Job.Errand.Slot, "file", a.Job.Errand.File)
	if a.Job.Kind == shardmap.JobDelete {
		return e.delete(ctx, c, a, send)
	}
	return e.backup(ctx, c, a)
}

// bugUnbounded is planted to show that its test finds it.
const bugUnbounded = "delete of a prefix without a bound"

// delete deletes the keys with a prefix that exist when it begins, and none that is written later. So a
// node that was suspended does no harm when it continues before it hears that another one leads.
func (e *errandRunner) delete(ctx context.Context, c *client.Client, a *errands.Action, send <-chan struct{}) errands.Outcome {
	begun := errands.Progress{Slot: a.Job.Errand.Slot}
	prefix := []byte(a.Job.Errand.Prefix)
	bounds, err := e.bounds(ctx, c, prefix)
	if err != nil {
		return errands.Outcome{Progress: begun, Err: err, Final: lasting(err)}
	}
	e.mail.post(func(time.Duration) { e.core.Bounded(a.Number) })
	select {
	case <-send:
	case <-ctx.Done():
		return errands.Outcome{Progress: begun, Err: ctx.Err()}
	}
	if e.sending != nil {
		defer e.sending()()
	}
	if bug(bugUnbounded) {
		bounds = nil
	}
	last := time.Time{}
	// The client waits for commands that it has sent: no key goes after a person has seen the job paused.
	done, err := client.DeletePrefix(e.node.ctx, c, prefix, client.PrefixOptions{From: begun.Slot, Bounds: bounds, Within: errandWithin, Until: ctx.Done(), Progress: func(p client.PrefixDeleted) {
		if time.Since(last) >= errandTold {
			last = time.Now()
			now := errands.Progress{Slot: p.Next, Keys: uint64(p.Keys)}
			e.mail.post(func(time.Duration) { e.core.Progress(a.Number, now) })
		}
	}})
	return errands.Outcome{Progress: errands.Progress{Slot: done.Next, Keys: uint64(done.Keys)}, Err: err, Final: lasting(err)}
}

// bounds returns the last versions of the slots that can have keys with a prefix.
func (e *errandRunner) bounds(ctx context.Context, c *client.Client, prefix []byte) (*client.SlotVersions, error) {
	ctx, cancel := context.WithTimeout(ctx, errandWithin)
	defer cancel()
	return c.SlotVersions(ctx, prefix)
}

// backup writes a backup of the cluster into the directory of this node.
func (e *errandRunner) backup(ctx context.Context, c *client.Client, a *errands.Action) errands.Outcome {
	var now errands.Progress
	size, m, err := e.node.shelf.write(ctx, a.Job.Errand.File, func(w io.Writer) error {
		last := time.Time{}
		_, err := client.TakeBackup(ctx, c, w, client.BackupOptions{Version: Version, Within: errandWithin, Progress: func(p client.BackupProgress) {
			if now.Keys = p.Keys; time.Since(last) >= errandTold {
				last = time.Now()
				told := now
				e.mail.post(func(time.Duration) { e.core.Progress(a.Number, told) })
			}
		}})
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			e.failed.Add(1)
		}
		return errands.Outcome{Progress: now, Err: err, Final: lasting(err)}
	}
	e.taken.Add(1)
	e.node.log.Info("backup taken", "job", a.Job.ID, "file", a.Job.Errand.File, "keys", m.Keys(), "services", m.Services(), "bytes", size)
	return errands.Outcome{Progress: errands.Progress{Keys: m.Keys(), Bytes: uint64(size)}}
}

// lasting reports whether the same errand would end with the same error a moment later: a person has to do
// something first.
func lasting(err error) bool {
	var refusal *wire.Error
	if errors.As(err, &refusal) {
		return refusal.Code.Retry() == wire.RetryNever
	}
	unusable := (*unusableError)(nil)
	return errors.As(err, &unusable)
}

// open returns the client of what is under way.
func (e *errandRunner) open() (*client.Client, error) {
	if e.client != nil {
		return e.client, nil
	}
	c, err := ownClient(e.node)
	if err != nil {
		return nil, err
	}
	e.client = c
	return c, nil
}

// ownClient returns a client of the cluster that speaks as this node. It may do what [wire.OfErrands] says.
func ownClient(n *Node) (*client.Client, error) {
	var secret []byte
	if n.guard.speech() != speaksOnly {
		secret = n.guard.secret
	}
	c, err := client.Open(client.Options{
		Endpoints: []string{n.addr}, Forward: client.ForwardNever, Secret: secret,
		// Dial protects each connection by itself.
		Insecure: true, Dial: func(ctx context.Context, addr string) (net.Conn, error) { return dialAsSelf(ctx, n, addr) },
	})
	if err != nil {
		return nil, fmt.Errorf("client of node %s: %w", n.name, err)
	}
	return c, nil
}

// dialAsSelf connects to a member as this node: to itself in memory. Nobody else is dialled.
func dialAsSelf(ctx context.Context, n *Node, addr string) (net.Conn, error) {
	self := n.self().Node
	to := nodeAt(n, addr)
	if to == self || normalAddr(addr) == normalAddr(n.addr) {
		p, err := n.guard.asSelf()
		if err != nil {
			return nil, err
		}
		return n.door.inside(p, n.addr)
	}
	if to == 0 {
		return nil, wire.BadRequest("node at "+addr, "it is no member of the cluster", "name a node of muster node list")
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn = quick(conn)
	if !n.guard.speech().dialsTLS(wire.RoleClient) {
		return conn, nil
	}
	defer closeWith(ctx, conn)()
	// A company's CA says which host this is, and not which node.
	t, err := n.guard.dialFor(conn, to, addr, n.guard.holder.Get().Issued)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// asSelf is what the cluster's certificate of this node proves to itself; the zero value where nobody is
// asked who he is.
func (g *guard) asSelf() (trust.Proven, error) {
	shown := g.holder.Get().Issued
	if s := g.speech(); s == speaksPlain || s == speaksOff || shown == nil {
		return trust.Proven{}, nil
	}
	return g.holder.Get().Trusted.Verify([]*x509.Certificate{shown.Leaf}, g.now())
}
