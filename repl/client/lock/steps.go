package lock

import (
	"context"
	"encoding/hex"
	"iter"
	"time"

	"muster/shardmap"
)

// Cluster is what [Steps] ask of a cluster: requests that a client makes, and that return once they were answered or given up.
// Their errors are those of the client's calls that do the same.
type Cluster interface {
	// Read returns what a key has; version 0: it is not there.
	Read(name string) (value []byte, version uint64, err error)
	Grant(name string, ttl time.Duration) (shardmap.LeaseID, error)
	KeepAlive(id shardmap.LeaseID) error
	Revoke(id shardmap.LeaseID) error
	// Take sets the key, attached to the lease, if it is not there. It returns what the key has then, which
	// is of another value if it was there.
	Take(name string, value []byte, id shardmap.LeaseID) (now []byte, version uint64, err error)
}

// Steps are one acquisition of a lock, and the lock, without goroutines, timers, clocks or chance: what [Try] and [Lock] are made
// of, for an owner that brings those. They are exported for the simulator; programs use [Acquire].
//
// # Duties of the owner
//
//  1. Call Try once. If it returns an error, all is over.
//  2. Call Keep after each pause that Pause or Keep returns, until Err does not return nil, and rely on the lock only while
//     Err returns nil.
//  3. Call Release to give the lock up, or nothing at all, as a process that has crashed.
type Steps struct {
	attempt *attempt
	lock    *Lock // nil before it is held
}

// MarkBytes is the size of the mark of an acquisition.
const MarkBytes = ownerDigits / 2

// NewSteps returns the steps of an acquisition. No other has the same mark; now is the owner's time.
func NewSteps(c Cluster, name string, o Options, mark [MarkBytes]byte, now func() time.Duration) (*Steps, error) {
	a, err := newAttempt(stepped{c}, name, o)
	if err != nil {
		return nil, err
	}
	hex.Encode(a.owner[:], mark[:])
	a.value = appendValue(nil, a.owner, o.Value)
	a.clock = func() *clock { return &clock{given: now, since: now()} }
	return &Steps{attempt: a}, nil
}

// Try is [Try].
func (s *Steps) Try() (Token, error) {
	l, err := s.attempt.once(context.Background())
	if err != nil {
		return 0, s.attempt.ended(context.Background(), err)
	}
	s.lock = l
	return l.Token(), nil
}

// Pause returns for how long the lock need not be kept. It may be over: then it is 0 or less.
func (s *Steps) Pause() time.Duration {
	_, pause := s.lock.held.left()
	return pause
}

// Keep keeps the lock, and returns for how long it need not be kept then.
func (s *Steps) Keep() time.Duration { return s.lock.keepOnce() }

// Err is [Lock.Err].
func (s *Steps) Err() error { return s.lock.Err() }

// Release is [Lock.Release].
func (s *Steps) Release() error { return s.lock.Release(context.Background()) }

// stepped is the cluster of an owner of [Steps], whose requests end by the owner's time alone.
type stepped struct{ Cluster }

func (c stepped) read(_ context.Context, name string) (record, error) {
	value, version, err := c.Read(name)
	return record{value, version}, err
}

func (c stepped) grant(_ context.Context, name string, ttl time.Duration) (shardmap.LeaseID, error) {
	return c.Grant(name, ttl)
}

func (c stepped) keepAlive(_ context.Context, id shardmap.LeaseID) error { return c.KeepAlive(id) }

func (c stepped) revoke(_ context.Context, id shardmap.LeaseID) error { return c.Revoke(id) }

func (c stepped) take(_ context.Context, name string, value []byte, id shardmap.LeaseID) (record, error) {
	now, version, err := c.Take(name, value, id)
	return record{now, version}, err
}

// changes is not used: [Steps] do not wait for a lock.
func (c stepped) changes(context.Context, string) iter.Seq2[record, error] {
	return func(func(record, error) bool) {}
}
