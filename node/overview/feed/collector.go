package feed

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"muster/node/overview"
	"muster/repl/client"
)

const (
	// linger is how long a collector goes on after the last look: a page that is loaded anew, or a
	// reader that comes back, finds rates.
	linger = 10 * time.Second
	// rateWindow is over how long rates are counted, jobWindow over how long the pace of jobs, which
	// go on in jumps.
	rateWindow = 3 * time.Second
	jobWindow  = 15 * time.Second
)

// ErrClosed is what a closed collector returns.
var ErrClosed = errors.New("nobody collects overviews any more")

// Moment is one overview with what leads to it. Nothing in it is changed any more.
type Moment struct {
	Number   uint64 // from 1; of this collector
	Overview *overview.Overview
	// Changes are since the moment before, which Before is the mark of; Mark is that of this one.
	Changes []overview.Event
	Before  *overview.Mark
	Mark    *overview.Mark

	once sync.Once
	text []byte
	id   string
}

// Text returns the overview as JSON, and its mark as the id of an event. Both are made once for
// all who read them.
func (m *Moment) Text() (text []byte, id string) {
	m.once.Do(func() {
		text, err := json.Marshal(m.Overview)
		if err != nil {
			panic("feed: an overview is no JSON: " + err.Error())
		}
		m.text = text
		m.id = m.Mark.String()
	})
	return m.text, m.id
}

// Collector asks the nodes of a cluster in the name of one user while somebody looks. Its methods
// may be called by any number of goroutines.
type Collector struct {
	ask Asker // set once

	mu      sync.Mutex // guards what follows; no other lock is taken under it
	newest  *Moment
	made    chan struct{} // closed with the next moment, or when there will be none
	looking int           // calls of Next under way
	looked  time.Time     // when the last one ended
	stop    context.CancelFunc
	ended   chan struct{} // closed when collect has ended; nil: it never ran
	closed  error

	// Owned by collect, or by whoever starts it.
	samples []*overview.Sample // oldest first, within jobWindow
	last    *overview.Overview // the one that was made last
	events  []overview.Event
}

// NewCollector returns a collector that nobody looks at yet. The caller closes it.
func NewCollector(ask Asker) *Collector {
	return &Collector{ask: ask, made: make(chan struct{})}
}

// Next returns the newest moment with a number above after, and waits for it if need be. A moment
// that is older than it should be does not count: nobody has looked for a while. It ends with the
// error of ctx, or of a client or collector that was closed.
func (c *Collector) Next(ctx context.Context, after uint64) (*Moment, error) {
	c.mu.Lock()
	c.looking++
	defer func() {
		c.looking--
		c.looked = time.Now()
		c.mu.Unlock()
	}()
	for {
		if c.closed != nil {
			return nil, c.closed
		}
		if m := c.newest; m != nil && m.Number > after && (time.Since(m.Overview.At) < 2*pace || bug(bugStale)) {
			return m, nil
		}
		if c.stop == nil {
			var own context.Context
			own, c.stop = context.WithCancel(context.Background())
			c.ended = make(chan struct{})
			go c.collect(own, c.ended)
		}
		made := c.made
		c.mu.Unlock()
		var err error
		select {
		case <-made:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
}

// Close ends the collector, and all who wait for it with [ErrClosed].
func (c *Collector) Close() {
	c.mu.Lock()
	c.end(ErrClosed)
	stop, ended := c.stop, c.ended
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if ended != nil {
		<-ended
	}
}

// end has nobody wait for a moment any more. c.mu is held.
func (c *Collector) end(why error) {
	if c.closed == nil {
		c.closed = why
		close(c.made)
	}
}

// Idle reports whether nobody looks, nor has within linger.
func (c *Collector) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle()
}

// over reports whether nobody collects any more, for good: the client was closed.
func (c *Collector) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed != nil
}

func (c *Collector) idle() bool { return c.looking == 0 && time.Since(c.looked) >= linger }

// collect asks in rounds until nobody looks any more.
func (c *Collector) collect(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		s := c.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(s.Err, client.ErrClosed) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.end(s.Err)
			return
		}
		if !c.publish(s) {
			return
		}
		timer.Reset(max(pace-time.Since(began), restMin))
	}
}

func (c *Collector) round(ctx context.Context) *overview.Sample {
	if len(c.samples) == 0 {
		return round(ctx, c.ask, nil, "")
	}
	last := c.samples[len(c.samples)-1]
	return round(ctx, c.ask, last.Nodes(), last.Teller())
}

// publish makes the next moment. It reports false if nobody looks any more, and another call of
// Next has to start the collector anew.
func (c *Collector) publish(s *overview.Sample) bool {
	past := overview.Past{Events: c.events, Last: c.last}
	for _, old := range c.samples {
		age := s.At.Sub(old.At)
		if age <= jobWindow {
			past.Earlier = append(past.Earlier, old)
		}
		if past.Before == nil && age <= rateWindow {
			past.Before = old
		}
	}
	if last := len(c.samples) - 1; past.Before == nil && last >= 0 && s.At.Sub(c.samples[last].At) <= jobWindow {
		past.Before = c.samples[last] // a round took long
	}
	m := &Moment{Number: 1, Overview: overview.Make(s, past)}
	c.last = m.Overview
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return false // closed while the overview was made: nobody waits for it
	}
	if c.newest != nil {
		m.Number, m.Before = c.newest.Number+1, c.newest.Mark
		m.Changes = overview.Changes(m.Before, m.Overview)
	}
	m.Mark = overview.MarkOf(m.Overview, m.Before)
	if len(m.Changes) > 0 {
		c.events = append(c.events, m.Changes...)
		c.events = c.events[max(len(c.events)-overview.EventsMax, 0):]
		m.Overview.Events = append([]overview.Event{}, c.events...)
	}
	c.samples = append(c.samples, s)
	for len(c.samples) > 1 && s.At.Sub(c.samples[0].At) > jobWindow {
		c.samples = c.samples[1:]
	}
	c.newest = m
	close(c.made)
	c.made = make(chan struct{})
	if c.idle() {
		c.stop()
		c.stop = nil
		return false
	}
	return true
}
