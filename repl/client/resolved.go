package client

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"muster/shardmap/registry"
)

// resolved is a copy of a service as it is picked from. It is never changed.
type resolved struct {
	service   *registry.Service // nil: it was deleted
	version   uint64
	usual     *pool // what is picked from without options; nil: failure says why not
	failure   error
	latencies map[string]*latency // by instance; shared with the copies before
}

// publish makes a version of the service what is picked from.
func (r *Resolver) publish(s *registry.Service, version uint64) {
	c := &resolved{service: s, version: version, latencies: make(map[string]*latency)}
	if s == nil {
		c.failure = errNoService(r.name)
	} else {
		old := r.copy.Load()
		for i := range s.Instances {
			id := s.Instances[i].ID
			if old != nil {
				c.latencies[id] = old.latencies[id]
			}
			if c.latencies[id] == nil {
				c.latencies[id] = new(latency)
			}
		}
		c.usual, c.failure = c.gather(&registry.PickOptions{})
	}
	r.copy.Store(c)
}

// among returns what is picked from.
func (c *resolved) among(o *registry.PickOptions) (*pool, error) {
	if c.service != nil && (len(o.Tags) > 0 || len(o.Near) > 0) {
		return c.gather(o)
	}
	return c.usual, c.failure
}

func (c *resolved) gather(o *registry.PickOptions) (*pool, error) {
	all, err := c.service.Candidates(*o)
	if err != nil {
		return nil, fmt.Errorf("pick from service %s: %w", showService(c.service.Name), err)
	}
	p := &pool{all: all, sums: make([]uint64, len(all))}
	total := uint64(0)
	for i := range all {
		total += all[i].Weight
		p.sums[i] = total
	}
	return p, nil
}

// pool is some instances, of which one is to be picked.
type pool struct {
	all  []registry.Candidate // 1 or more, each of a weight above 0
	sums []uint64             // of the weights, up to and with each
}

// draw picks one by weight.
func (p *pool) draw(below func(uint64) uint64) *registry.Instance {
	n := below(p.sums[len(p.sums)-1])
	return p.all[sort.Search(len(p.sums), func(i int) bool { return p.sums[i] > n })].Instance
}

const (
	// LatencyHalf is the time in which what was told of an instance's latency comes to count for
	// half.
	LatencyHalf = 10 * time.Second
	// latencyParts is how many parts the mean of an instance's latency has: a new observation is
	// one of them.
	latencyParts = 4
)

// latency is how long an instance takes to answer, by what was told of it.
type latency struct {
	mean atomic.Int64 // ns
	told atomic.Int64 // when it was told of last, in the client's time, in ns; 0: never

	mu sync.Mutex // held to change both; no other lock is taken under it
}

// observe takes an observation.
func (l *latency) observe(now, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mean := took
	if l.told.Load() != 0 {
		old := l.at(now)
		mean = old + (took-old)/latencyParts
	}
	l.mean.Store(int64(mean))
	l.told.Store(max(int64(now), 1))
}

// at returns the latency that counts now.
func (l *latency) at(now time.Duration) time.Duration {
	told := time.Duration(l.told.Load())
	if told == 0 {
		return 0
	}
	const halvingsMax = 62
	return time.Duration(l.mean.Load()) >> min(max(now-told, 0)/LatencyHalf, halvingsMax)
}
