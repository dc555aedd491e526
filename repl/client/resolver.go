package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"muster/repl/wire"
	"muster/shardmap/registry"
)

// Resolver picks instances of one service from a copy that it keeps up to date with a watch. A
// pick sends no request: it takes some tens of nanoseconds, and without options it allocates
// nothing. Any number of goroutines may use a resolver.
//
// When no node can be reached, it picks from the copy that it has, however old that is;
// [Resolver.Age] says how old, and [Resolver.Stale] whether that is more than usual. As long as any
// node tells of the service, an instance that goes down is no longer picked once that node has
// applied the change and has told of it.
type Resolver struct {
	// Set once.
	client *Client
	name   string
	ctx    context.Context // ends with the resolver
	end    context.CancelCauseFunc
	ended  chan struct{} // closed when its goroutine has ended

	copy  atomic.Pointer[resolved] // never nil, nor changed once it is stored
	heard atomic.Int64             // the client's time, in ns, as of which the copy was the newest
	cause atomic.Pointer[error]    // why nothing is heard; nil: nothing is known to be in the way
	turn  atomic.Uint64            // of PickRoundRobin, and of PickLeastLatency among equals
}

// ResolverStale is the age beyond which [Resolver.Stale] calls a copy old: a node tells every five
// seconds that nothing has changed, and one such message may be late.
const ResolverStale = 12 * time.Second

// Resolve returns a resolver of one service, once it has a copy of it; ctx bounds how long that
// may take, and is not needed afterwards. The resolver lasts until it or the client is closed.
//
// An error of code not-found says that there is no such service, one of code level that the cluster
// is below level 6. A service that is deleted later can be picked from again once it is set again.
func (c services) Resolve(ctx context.Context, name string) (*Resolver, error) {
	r, err := c.resolve(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("resolve service %s: %w", showService(name), err)
	}
	return r, nil
}

func (c services) resolve(ctx context.Context, name string) (*Resolver, error) {
	if err := checkService(name); err != nil {
		return nil, err
	}
	r := &Resolver{client: c.of, name: name, ended: make(chan struct{})}
	r.ctx, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
	giveUp := context.AfterFunc(ctx, func() { r.end(over(ctx)) })
	w, err := r.begin()
	if !giveUp() && err == nil {
		err = over(ctx) // ctx has ended, and the watch with it
	}
	if err == nil && r.copy.Load().service == nil {
		err = errNoService(name)
	}
	if err == nil && !c.of.goes() {
		err = ErrClosed
	}
	if err != nil {
		if w != nil {
			w.Close()
		}
		r.end(err)
		return nil, err
	}
	go r.run(w)
	return r, nil
}

// Close ends the resolver, and returns when it has ended. Its copy can still be picked from.
func (r *Resolver) Close() {
	r.end(errResolverClosed)
	<-r.ended
}

var errResolverClosed = errors.New("the resolver is closed")

// watchedService is a watch of a service, and what was read of it once the watch had begun.
type watchedService struct {
	*ServiceWatch
	from ServiceItem // of which Group and At are there even if the service is not
}

// order is where an event stands to what was read.
type order uint8

const (
	orderBehind  order = iota // it happened later
	orderBefore               // what was read has it
	orderUnknown              // nobody can say
)

// orderOf tells whether what was read has an event in it. Versions of a service grow wherever its
// slot moves. If no service was found, only log ids can tell, and only those of the same group.
func (w *watchedService) orderOf(e *ServiceEvent) order {
	switch {
	case e.Group == w.from.Group && e.ID.Index <= w.from.At.Index, e.Version <= w.from.Version:
		return orderBefore
	case e.Group != w.from.Group && w.from.Service == nil:
		return orderUnknown
	}
	return orderBehind
}

// begin watches the service from now on, and reads it: what happens between the two is in both.
func (r *Resolver) begin() (*watchedService, error) {
	w := &watchedService{ServiceWatch: r.client.WatchServices(r.ctx, r.name, nil)}
	_, err := w.Next() // the watch is open
	if err == nil {
		err = r.read(w)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// read reads the service.
func (r *Resolver) read(w *watchedService) (err error) {
	asked := r.client.look()
	w.from, err = r.client.services.get(r.ctx, r.name, ReadOptions{})
	if err != nil && !isCode(err, wire.CodeNotFound) {
		return err
	}
	r.publish(w.from.Service, w.from.Version)
	r.hear(asked)
	return nil
}

// run keeps the copy up to date.
func (r *Resolver) run(w *watchedService) {
	defer r.client.running.Done()
	defer close(r.ended)
	for fails := 0; ; fails++ {
		if w != nil {
			fails = 0
			err := r.follow(w)
			r.cause.Store(&err)
			w.Close()
		}
		// The copy is as good as ever: it is picked from until there is a newer one.
		if !r.pause(watchPause(fails)) {
			return
		}
		var err error
		if w, err = r.begin(); err != nil {
			r.cause.Store(&err)
		}
	}
}

// follow takes what the watch tells, until it ends.
func (r *Resolver) follow(w *watchedService) error {
	for {
		e, err := w.Next()
		if err == nil {
			err = r.take(w, &e)
		}
		if err != nil {
			return err
		}
		r.hear(r.client.look())
	}
}

// take brings the copy up to an event.
func (r *Resolver) take(w *watchedService, e *ServiceEvent) error {
	if e.Kind != WatchSet && e.Kind != WatchDel {
		return nil
	}
	switch w.orderOf(e) {
	case orderBehind:
		r.publish(e.Service, e.Version)
	case orderUnknown:
		return r.read(w) // which has the event
	}
	return nil
}

// hear notes that the copy was the newest as of a time.
func (r *Resolver) hear(at time.Duration) {
	r.heard.Store(int64(at))
	r.cause.Store(nil)
}

// pause waits, and reports whether the resolver continues.
func (r *Resolver) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.ctx.Done():
	case <-r.client.stop:
	}
	return false
}

// Age returns how long ago the copy was known to be the newest, as far as the node knew that tells
// of the service: a node that is cut off from the others may not know of changes. Up to some six
// seconds are usual while nothing changes.
func (r *Resolver) Age() time.Duration {
	return max(r.client.look()-time.Duration(r.heard.Load()), 0)
}

// Stale reports whether the copy is older than [ResolverStale]: no node has told of the service
// for so long, so instances may have gone down or come up since.
func (r *Resolver) Stale() bool { return r.Age() > ResolverStale }

// Err returns why the copy is not kept up to date, or nil if nothing is known to be in the way. If
// nodes just fall silent there is no error, and the copy grows old.
func (r *Resolver) Err() error {
	if err := r.cause.Load(); err != nil {
		return *err
	}
	return nil
}

// Service returns the copy, and its version; nil if the service was deleted. It is shared:
// change nothing in it.
func (r *Resolver) Service() (*registry.Service, uint64) {
	c := r.copy.Load()
	return c.service, c.version
}

// Pick returns an instance that is up, each as often as its weight says; o says which instances
// are wanted. If o.Draw is nil, chance decides. The instance is shared: change nothing in it.
//
// An error that is [registry.ErrNoneUp] says that there is none, one of code not-found that the
// service was deleted.
func (r *Resolver) Pick(o registry.PickOptions) (*registry.Instance, error) {
	c := r.copy.Load()
	p, err := c.among(&o)
	switch {
	case err != nil:
		return nil, err
	case o.Sticky != nil:
		return registry.PickSticky(p.all, o.Sticky), nil
	case o.Draw == nil:
		return p.draw(rand.Uint64N), nil
	}
	return p.draw(o.Draw), nil
}

// PickRoundRobin returns the instances that [Resolver.Pick] may return, one after the other and each
// as often as the others: weights don't count, nor do o.Sticky and o.Draw.
func (r *Resolver) PickRoundRobin(o registry.PickOptions) (*registry.Instance, error) {
	p, err := r.copy.Load().among(&o)
	if err != nil {
		return nil, err
	}
	return p.all[r.turn.Add(1)%uint64(len(p.all))].Instance, nil
}

// PickLeastLatency returns, of the instances that [Resolver.Pick] may return, the one that
// answers soonest, by what [Resolver.Observe] was told. An instance of which nothing was told comes
// first, so that each is tried; equals take turns. What was told counts for less as time passes,
// for half with each [LatencyHalf], so that an instance that was slow is tried again. Weights don't
// count, nor do o.Sticky and o.Draw.
func (r *Resolver) PickLeastLatency(o registry.PickOptions) (*registry.Instance, error) {
	c := r.copy.Load()
	p, err := c.among(&o)
	if err != nil {
		return nil, err
	}
	now, n := r.client.now(), len(p.all)
	first := int(r.turn.Add(1) % uint64(n))
	best, least := 0, time.Duration(-1)
	for i := range n {
		at := (first + i) % n
		l := c.latencies[p.all[at].Instance.ID].at(now)
		if least < 0 || l < least {
			best, least = at, l
		}
	}
	return p.all[best].Instance, nil
}

// Observe says how long an instance took to answer. A call that failed counts as long as its
// caller was ready to wait. It does nothing for an id that the service does not have.
func (r *Resolver) Observe(instance string, took time.Duration) {
	if l := r.copy.Load().latencies[instance]; l != nil {
		l.observe(r.client.now(), max(took, 0))
	}
}
