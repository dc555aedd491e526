package sim

import (
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"muster/repl/client"
	"muster/repl/client/lock"
	"muster/repl/wire"
	"muster/shardmap"
)

// In some runs processes fight for a lock, by the steps of package lock, while leaders change, slots move, clients are
// suspended and leases end. Each goes by the clock and the connections of a client. A fencing token must be larger than each
// that was known when its acquisition began, and no two holders may have the same. Whether two believe in a
// lock at one moment is told by the worlds of package lock: here clocks are more wrong than a holder can bear.

const (
	// locksEvery is how many runs there are for each with locks.
	locksEvery = 4
	// lockTTL is that of the locks: an election outlasts it now and then.
	lockTTL = 4 * time.Second
	// lockIdle is how long a process waits before it tries, and lockHeld how long it keeps the lock, at most. Each client
	// has one process; with two of them, which tried more often, most operations of a run were tries.
	lockIdle, lockHeld = 6 * time.Second, 8 * time.Second
	// lockCrash is how many holders there are for each that crashes, and never lets go.
	lockCrash = 4
	// lockPause is the least time between two steps of a process.
	lockPause = time.Millisecond
)

// Locks are the locks of a run.
type Locks struct {
	Held int // acquisitions
	Lost int // of these, those that their holder knew to be lost
	Busy int // tries that found that another process has it
}

// Add adds the counts of another run.
func (k *Locks) Add(o *Locks) {
	k.Held, k.Lost, k.Busy = k.Held+o.Held, k.Lost+o.Lost, k.Busy+o.Busy
}

// locks is what a run has of locks.
type locks struct {
	c      *cluster
	active bool
	own    chance
	name   string
	all    []*contender
	newest lock.Token          // that any process was told of
	given  map[lock.Token]bool // to holders
}

// draw decides whether the run has locks. It, and what processes do, draw from a chance of their own: runs without are
// as if there were no such thing.
func (x *locks) draw(c *cluster) {
	x.c, x.own = c, chance(c.options.Seed*0xd1342543de82ef95+53)
	x.active = (x.own.below(locksEvery) == 0 || c.options.Locked) && c.options.Only == nil && !c.options.Flaws && !c.options.Lose
	x.given = map[lock.Token]bool{}
}

// init begins the processes, when faults begin to strike.
func (x *locks) init() {
	if !x.active {
		return
	}
	x.name = "{" + x.c.tags[x.own.below(len(x.c.tags))] + "}lock"
	x.c.note(0, "processes take the lock %s", x.name)
	for _, cl := range x.c.clients {
		k := &contender{x: x, cl: cl}
		k.next, k.stop = iter.Pull(func(yield func(struct{}) bool) {
			k.yield = yield
			k.run()
		})
		x.all = append(x.all, k)
		k.resumeIn(x.own.between(0, lockIdle))
	}
}

// close ends the processes where they are.
func (x *locks) close() {
	for _, k := range x.all {
		k.stop()
	}
}

// contender is a process that takes a lock, keeps it for a while, and lets it go or crashes. It is a coroutine, as a [task]
// is: what it asks of the cluster are operations of its client, and it stands still until they have ended. It
// implements [lock.Cluster].
type contender struct {
	x     *locks
	cl    *simClient
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool // false: the run is over
	over  bool                // it is to return

	// Of the operation that it waits for, or waited for last.
	answer []byte
	err    error
}

// resumeIn has it continue after a time, or when its host does.
func (k *contender) resumeIn(d time.Duration) {
	c := k.x.c
	c.order.call(d, func() {
		if k.cl.asleep() {
			k.resumeIn(k.cl.host.until - c.now + lockPause)
			return
		}
		k.next()
	})
}

// pause lets time pass.
func (k *contender) pause(d time.Duration) {
	k.resumeIn(max(d, lockPause))
	k.over = !k.yield(struct{}{}) || k.cl.stopped
}

// run is its life.
func (k *contender) run() {
	for !k.over {
		k.contend()
		if !k.over {
			k.pause(k.x.own.between(0, lockIdle))
		}
	}
}

// contend tries once to take the lock.
func (k *contender) contend() {
	x := k.x
	if !x.c.builds.reached(shardmap.LeasesLevel) || k.cl.c.users.login(k.cl) {
		return
	}
	var mark [lock.MarkBytes]byte
	binary.LittleEndian.PutUint64(mark[:], x.own.next())
	binary.LittleEndian.PutUint64(mark[8:], x.own.next())
	newest := x.newest
	s, err := lock.NewSteps(k, x.name, lock.Options{TTL: lockTTL}, mark, k.cl.now)
	if err != nil {
		x.c.fail("a lock: %v", err)
	}
	token, err := s.Try()
	if err != nil {
		var held *lock.HeldError
		if errors.As(err, &held) {
			x.c.result.Locks.Busy++
			x.newest = max(x.newest, held.Holder.Token)
		}
		return
	}
	x.takes(k, token, newest)
	until, pause := k.cl.now()+x.own.between(0, lockHeld), s.Pause()
	for left := until - k.cl.now(); left > 0 && s.Err() == nil; left = until - k.cl.now() {
		k.pause(min(pause, left))
		if k.over {
			return
		}
		if pause <= left && s.Err() == nil {
			pause = s.Keep()
		}
	}
	if s.Err() != nil {
		x.c.result.Locks.Lost++
	}
	if !k.over && x.own.below(lockCrash) > 0 {
		_ = s.Release() // or it ends by itself
	}
}

// takes checks the token of a process that has the lock, and that began to try when newest was the newest that was known.
func (x *locks) takes(k *contender, token, newest lock.Token) {
	x.c.result.Locks.Held++
	if x.given[token] {
		x.c.fail("I9: c%d holds the lock %s with fencing token %d, with which another process has held it", k.cl.id, x.name, token)
	}
	if token <= newest {
		x.c.fail("I9: c%d holds the lock %s with fencing token %d, and there was %d when it began to try", k.cl.id, x.name, token, newest)
	}
	x.given[token], x.newest = true, max(x.newest, token)
}

// ask makes an operation of the client, and waits until it has ended.
func (k *contender) ask(begin func(o *op)) (t wire.Type, answer []byte, err error) {
	cl, c := k.cl, k.x.c
	if k.over || cl.stopped || cl.busy() >= openMax {
		return 0, nil, wire.Unavailable("lock", "the client is busy")
	}
	key := []byte(k.x.name)
	slot := shardmap.SlotOf(key)
	o := &op{client: cl, number: c.history.begin(), key: key, group: c.lives.owner(slot), contender: k}
	o.call = client.Call{Owner: o, Slot: slot}
	begin(o)
	k.answer, k.err = nil, nil
	cl.submit(o)
	// The client's core is in the midst of something else, perhaps: what it wants is done in an event of its own.
	c.order.call(0, func() {
		if !cl.asleep() {
			cl.settle()
		}
	})
	if k.over = !k.yield(struct{}{}); k.over {
		return 0, nil, wire.MaybeApplied("lock", "the run is over")
	}
	return o.frame(), k.answer, k.err
}

// ended is told that its operation has ended.
func (k *contender) ended() { k.resumeIn(0) }

// Read implements [lock.Cluster].
func (k *contender) Read(string) (value []byte, version uint64, err error) {
	_, answer, err := k.ask(func(o *op) {
		o.kind, o.get = opGet, true
		o.body = (&wire.Get{Keys: [][]byte{o.key}}).Append(nil)
	})
	if err != nil {
		return nil, 0, err
	}
	var a wire.GetAnswer
	if err := a.Read(answer); err != nil {
		return nil, 0, err
	}
	version, value, there, _ := a.Next()
	if !there {
		return nil, 0, nil
	}
	return value, version, nil
}

// lease makes a command about a lease.
func (k *contender) lease(kind opKind, do shardmap.LeaseOp, id shardmap.LeaseID, ttl time.Duration) (a wire.LeaseAnswer, err error) {
	_, answer, err := k.ask(func(o *op) {
		o.kind = kind
		o.writes(shardmap.LeaseCommand(o.call.Slot, do, id, uint64(ttl.Milliseconds())))
	})
	if err == nil {
		err = a.Read(answer)
	}
	return a, err
}

// Grant implements [lock.Cluster].
func (k *contender) Grant(_ string, ttl time.Duration) (shardmap.LeaseID, error) {
	a, err := k.lease(opGrant, shardmap.LeaseGrant, 0, ttl)
	return a.Lease, err
}

// KeepAlive implements [lock.Cluster].
func (k *contender) KeepAlive(id shardmap.LeaseID) error {
	_, err := k.lease(opKeepalive, shardmap.LeaseKeepalive, id, 0)
	return err
}

// Revoke implements [lock.Cluster].
func (k *contender) Revoke(id shardmap.LeaseID) error {
	_, err := k.lease(opRevoke, shardmap.LeaseRevoke, id, 0)
	return err
}

// Take implements [lock.Cluster].
func (k *contender) Take(name string, value []byte, id shardmap.LeaseID) (now []byte, version uint64, err error) {
	key := []byte(name)
	_, answer, err := k.ask(func(o *op) {
		o.kind = opTxn
		o.writes(shardmap.TxnCommand(o.call.Slot, &shardmap.Txn{
			If:   []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: key}},
			Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: key, Value: value, Lease: id}},
			Else: []shardmap.Op{{Kind: shardmap.OpGet, Key: key}},
		}))
	})
	if err != nil {
		return nil, 0, err
	}
	var a wire.TxnAnswer
	if err := a.Read(answer); err != nil {
		return nil, 0, err
	}
	if a.Succeeded {
		return value, a.Version, nil
	}
	r, _ := a.Next()
	return r.Value, r.Version, nil
}
